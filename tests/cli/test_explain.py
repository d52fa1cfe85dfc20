"""`bitline explain`: a layer of a package, with levers whose prices are those of compiling for the changed chip."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bitline import api
from bitline.pipeline.explaining import explain, price
from bitline.report.levers import Change
from tests.cli.invoke import bitline

EXAMPLES = Path(__file__).parents[2] / "src" / "bitline" / "examples"
Json = dict[str, Any]


def compiled(place: Path, *overrides: str) -> Path:
    words = [word for override in overrides for word in ("--set", override)]
    answer = bitline(
        *("compile", str(EXAMPLES / "mnist_cnn.onnx"), "--target", "reram-tile", *words),
        *("--calib", str(EXAMPLES / "mnist_calib_64.npz"), "-o", str(place)),
    )
    assert answer.status == 0, answer.err
    return place


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(tmp_path_factory.mktemp("explain") / "package")


def explained(package: Path, layer: str, *words: str) -> Json:
    answer = bitline("explain", str(package), layer, "--json", *words)
    assert answer.status == 0, answer.err
    found: Json = json.loads(answer.out)
    return found


def test_the_text_of_a_layer_that_is_reloaded(package: Path) -> None:
    answer = bitline("explain", str(package), "/fc1/Gemm")
    assert answer.status == 0
    assert answer.out.startswith("/fc1/Gemm: kernel 8 (MatMul)\n")
    assert "49, cycled, 49 writes per inference" in answer.out
    assert "but a core has 9 arrays: they pass through 4 at a time" in answer.out
    assert "bound by  write 100 %" in answer.out
    assert "cheapest lever: " in answer.out


def test_a_miss_is_guessed(package: Path) -> None:
    answer = bitline("explain", str(package), "fc1")
    assert answer.status == 2
    assert "did you mean /fc1/Gemm?" in answer.err


def test_a_folder_that_is_no_package(tmp_path: Path) -> None:
    assert bitline("explain", str(tmp_path), "x").status == 5


def test_values_agree_with_the_package(package: Path) -> None:
    opened = api.open_package(package)
    figures = opened.figures()
    network = opened.contents.network
    found = [explained(package, kernel.nodes[0], "--no-levers") for kernel in network.kernels]
    assert [f["kernel"] for f in found] == list(range(len(network.kernels)))
    assert all(f["latency_us"] == figures["latency_us"] for f in found)
    assert sum(f["loads"] for f in found) == figures["array_writes"]
    assert max(f["writes_per_cell_max"] for f in found) <= figures["writes_per_cell_max"]
    assert sum(f["energy_share"] for f in found) <= 1
    assert all(f["levers"] == [] and f["lever"] is None for f in found)
    for f in found:
        assert sum(f["energy_by_unit_nj"].values()) == pytest.approx(f["energy_nj"])


@pytest.mark.parametrize("layer", ["/conv1/Conv", "/fc1/Gemm", "/pool/MaxPool"])
def test_a_lever_is_priced_as_compiling_for_the_changed_chip_would_be(
    package: Path, tmp_path: Path, layer: str
) -> None:
    lever = explained(package, layer)["lever"]
    changed = compiled(tmp_path / "changed", f"{lever['key']}={lever['after']:g}")
    again = explained(changed, layer, "--no-levers")
    assert again["duration_us"] == lever["layer_us"]
    assert again["latency_us"] == lever["latency_us"]
    assert (again["tiles"], again["loads"]) == (lever["tiles"], lever["loads"])


def test_a_lever_that_plans_again_is_priced_right_as_well(package: Path, tmp_path: Path) -> None:
    levers = {lever["key"]: lever for lever in explained(package, "/fc1/Gemm")["levers"]}
    lever = levers["memory.psum_bytes"]
    assert lever["replanned"]
    again = explained(compiled(tmp_path / "c", "memory.psum_bytes=16384"), "/fc1/Gemm", "--no-levers")
    assert (again["duration_us"], again["latency_us"]) == (lever["layer_us"], lever["latency_us"])


def test_levers_are_sorted_by_what_they_save(package: Path) -> None:
    saved = [lever["saved_share"] for lever in explained(package, "/conv1/Conv")["levers"]]
    assert saved == sorted(saved, reverse=True)


@pytest.mark.parametrize(
    ("key", "before", "after"),
    [
        ("cores", 4, 2048),  # no chip has more than 1024
        ("memory.input_bytes", 32768, 16),  # not one pixel fits
        ("array.rows", 64, 32768 * 2),
    ],
)
def test_a_change_that_no_chip_can_have_has_no_price(package: Path, key: str, before: int, after: int) -> None:
    contents = api.open_package(package).contents
    found = explain(contents, "/conv1/Conv", levers=False)
    assert price(contents, found.explained, Change(key=key, before=before, after=after)) is None

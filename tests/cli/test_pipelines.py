"""`compile --stream N` as a user meets it: figures, package, any number of samples, refusals."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bitline import api, examples
from tests.cli.invoke import bitline

MODEL = str(examples.path("mnist_cnn.onnx"))


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """MNIST on ISAAC, one input at a time and three."""
    folder = tmp_path_factory.mktemp("streams")
    for count in (1, 3):
        place = folder / str(count)
        answer = bitline(
            "compile", MODEL, "--target", "isaac", "--calib", "random:2", "--stream", str(count), "-o", str(place)
        )
        assert answer.status == 0, answer.err
    return {count: folder / str(count) for count in (1, 3)}


def test_the_figures_of_a_stream(packages: dict[int, Path]) -> None:
    alone, together = (json.loads((packages[n] / "summary.json").read_text()) for n in (1, 3))
    assert alone["interval_us"] == alone["latency_us"]
    assert (alone["stream_inputs"], alone["stream_window"]) == (1, 1)
    assert (together["stream_inputs"], together["stream_window"]) == (3, 3)
    assert together["interval_us"] < 0.7 * together["latency_us"]
    assert together["samples_per_s"] == pytest.approx(1e6 / together["interval_us"])
    assert [together[key] for key in ("macs", "mvm_fires")] == [alone[key] for key in ("macs", "mvm_fires")]
    assert together["dma_rectangles"] < alone["dma_rectangles"], "of one inference, whose pools are on few cores"


def test_headline_and_page_tell_the_interval(packages: dict[int, Path], tmp_path: Path) -> None:
    answer = bitline("report", str(packages[3]))
    assert answer.status == 0
    page = (packages[3] / "report.html").read_text()
    assert "results per second" in page
    assert "3 inputs are on their way at once" in page
    assert "results per second" not in (packages[1] / "report.html").read_text()


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7])
def test_any_number_of_samples(packages: dict[int, Path], count: int) -> None:
    samples = {"input": np.random.default_rng(count).random((count, 1, 28, 28), np.float32)}
    alone, together = (api.open_package(packages[n]).run(samples, check_samples=1) for n in (1, 3))
    assert together.samples == count
    for name, values in alone.outputs.items():
        assert np.array_equal(values, together.outputs[name])
    assert together.checked is not None
    assert together.checked.exact.against_reference.equal == together.checked.exact.against_reference.values


def test_step_by_step(packages: dict[int, Path]) -> None:
    package = api.open_package(packages[3])
    samples = {"input": np.random.default_rng(0).random((2, 1, 28, 28), np.float32)}
    assert np.array_equal(package.run(samples, step=True).outputs["logits"], package.run(samples).outputs["logits"])


def test_the_whole_stream_is_verified(packages: dict[int, Path]) -> None:
    answer = bitline("verify", str(packages[3]), "--json")
    assert answer.status == 0, answer.out
    checks = {check["name"]: check for check in json.loads(answer.out)["checks"]}
    assert all(not check["errors"] for check in checks.values())


def test_the_same_stream_gives_the_same_bytes(packages: dict[int, Path]) -> None:
    place = packages[3].parent / "again"
    again = bitline("compile", MODEL, "--target", "isaac", "--calib", "random:2", "--stream", "3", "-o", str(place))
    assert again.status == 0
    for file in sorted(packages[3].iterdir()):
        assert file.read_bytes() == (place / file.name).read_bytes(), file.name


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--target", "reram-tile"), "its weights do not all stay in the arrays"),
        (("--target", "isaac", "--set", "memory.dram_bytes=1", "--set", "memory.shared_bytes=52000"), "3 inputs"),
    ],
)
def test_what_is_no_pipeline(words: tuple[str, ...], told: str, tmp_path: Path) -> None:
    answer = bitline("compile", MODEL, *words, "--calib", "random:2", "--stream", "3", "-o", str(tmp_path / "out"))
    assert answer.status in (2, 4)
    assert told in answer.err
    assert "help:" in answer.err
    assert not (tmp_path / "out").exists()


def test_a_stream_of_none() -> None:
    answer = bitline("compile", MODEL, "--target", "isaac", "--calib", "random:2", "--stream", "0", "-o", "out")
    assert answer.status == 2
    assert "--stream" in answer.err

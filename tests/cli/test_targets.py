"""`bitline targets`: the catalog, the data sheet, a file of one's own, and a new user's path from there to a report."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from bitline import api
from bitline.report.figures import Json
from bitline.report.html.columns import grouped
from bitline.target.load import catalog_names, load_target
from bitline.target.schema import KEYS, entry
from tests.cli.invoke import Answer, bitline

EXAMPLES = Path(__file__).parents[2] / "src" / "bitline" / "examples"


def parsed(answer: Answer) -> dict[str, Json]:
    assert answer.status == 0, answer.err
    found = json.loads(answer.out)
    assert isinstance(found, dict)
    return found  # pyright: ignore[reportUnknownVariableType]


def test_list_shows_one_line_per_chip() -> None:
    answer = bitline("targets list")
    assert answer.status == 0
    assert [line.split()[0] for line in answer.out.splitlines()] == ["target", *catalog_names()]


def test_list_as_json() -> None:
    found = parsed(bitline("targets list --json"))
    assert isinstance(found["targets"], dict)
    assert isinstance(found["sizes"], dict)
    assert list(found["targets"]) == list(found["sizes"]) == list(catalog_names())
    assert found["sizes"]["reram-tile"] == {"cores": 4, "arrays": 36, "rows": 64, "cols": 64, "weights": 147_456}


def test_show_prints_the_sheet_and_overrides() -> None:
    answer = bitline("targets show wtm2101 --set array.cols=1024")
    assert answer.status == 0
    assert re.search(r"^  weights in all +1,835,008 ", answer.out, re.MULTILINE)
    assert "set by the user" in answer.out
    assert "vector.rounding quarters_half_up: programs round once, ties to even" in answer.out


def test_show_as_json() -> None:
    found = parsed(bitline("targets show isaac --json"))
    target, derived = found["target"], found["derived"]
    assert isinstance(target, dict)
    assert isinstance(derived, dict)
    assert target["name"] == "isaac"
    assert derived["weights"] == {
        "value": 66_060_288,
        "unit": "",
        "meaning": "weights in all",
        "formula": "42 cores x 96 arrays x 128 rows x 128 columns",
    }
    assert isinstance(found["limits"], list)


@pytest.mark.parametrize(
    "words", ["targets show nothing", "targets new mine.yaml --from nothing", "targets new --from x"]
)
def test_what_is_not_there_is_a_usage_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str) -> None:
    monkeypatch.chdir(tmp_path)
    answer = bitline(words)
    assert answer.status == 2
    assert answer.err.startswith("error[BL010")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", catalog_names())
@pytest.mark.parametrize("how", [(), ("--extends",)])
def test_new_writes_the_same_chip(tmp_path: Path, name: str, how: tuple[str, ...]) -> None:
    file = tmp_path / "mine.yaml"
    found = parsed(bitline("targets", "new", str(file), "--from", name, "--json", *how))
    assert (found["file"], found["from"], found["extends"]) == (str(file), name, bool(how))
    chip, base = load_target(str(file)), load_target(name)
    assert chip.name == "mine"
    assert all(entry(chip, key) == entry(base, key) for key in KEYS)


def test_new_from_a_file_elsewhere_and_with_overrides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "deep").mkdir()
    monkeypatch.chdir(tmp_path)
    assert bitline("targets new base.yaml --from reram-tile --set cores=7").status == 0
    answer = bitline("targets new deep/mine.yaml --from base.yaml --extends --set array.cols=32")
    assert answer.status == 0, answer.err
    chip = load_target("deep/mine.yaml")
    assert (chip.cores.value, chip.array.cols.value) == (7, 32)
    assert 'extends: "../base.yaml"' in Path("deep/mine.yaml").read_text(encoding="utf-8")


def test_new_never_overwrites(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("precious", encoding="utf-8")
    answer = bitline("targets", "new", str(file), "--from", "reram-tile")
    assert answer.status == 2
    assert "exists and is not overwritten" in answer.err
    assert file.read_text(encoding="utf-8") == "precious"


def test_new_into_a_folder_that_is_not_there(tmp_path: Path) -> None:
    answer = bitline("targets", "new", str(tmp_path / "no" / "mine.yaml"), "--from", "reram-tile")
    assert answer.status == 2
    assert "cannot write" in answer.err
    assert list(tmp_path.iterdir()) == []


def compile_example(target: str, package: Path) -> dict[str, Json]:
    return parsed(
        bitline(
            *("compile", str(EXAMPLES / "mnist_cnn.onnx"), "--target", target, "--json"),
            *("--calib", str(EXAMPLES / "mnist_calib_64.npz"), "-o", str(package)),
        )
    )


def number(figures: dict[str, Json], key: str) -> float:
    value = figures[key]
    assert isinstance(value, int | float)
    return value


def test_the_path_of_a_new_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Copy a target, change array size and converter, compile for both, see the difference in both reports."""
    monkeypatch.chdir(tmp_path)
    assert bitline("targets new mine.yaml --from reram-tile").status == 0
    text = Path("mine.yaml").read_text(encoding="utf-8")
    array, adc = text.index("\narray:"), text.index("\nadc:")
    size = text[array:adc]
    for key in ("rows", "cols", "group_rows"):
        size, count = re.subn(rf"(\n  {key}: {{value: )64,.*}}", r'\g<1>128, source: "our test chip"}', size)
        assert count == 1
    rest, count = re.subn(r"(\n  bits: {value: )8,.*}", r'\g<1>7, source: "our test chip"}', text[adc:])
    assert count == 1
    Path("mine.yaml").write_text(text[:array] + size + rest, encoding="utf-8")
    sheet = bitline("targets show mine.yaml")
    assert sheet.status == 0
    assert re.search(r"bits that never clip, against 7 +9 bit", sheet.out)

    before, after = compile_example("reram-tile", tmp_path / "before"), compile_example("mine.yaml", tmp_path / "after")
    assert number(after, "mvm_fires") < number(before, "mvm_fires")
    assert number(after, "weight_updates") < number(before, "weight_updates")
    assert number(after, "latency_us") != number(before, "latency_us")
    pages = [(tmp_path / name / "report.html").read_text(encoding="utf-8") for name in ("before", "after")]
    assert ["our test chip" in page for page in pages] == [False, True]
    assert "mine: made from reram-tile" in pages[1]
    for figures, page in zip((before, after), pages, strict=True):
        assert f"{grouped(number(figures, 'latency_us'), 1)} us" in page
        assert f"{number(figures, 'writes_per_cell_max'):,.0f} writes per inference of the worst cell" in page
    samples = np.random.default_rng(0).normal(0, 1, (1, 1, 28, 28)).astype(np.float32)
    ran = [api.open_package(name).run({"input": samples}) for name in ("before", "after")]
    assert ran[0].clipped == 0
    assert ran[1].clipped > 0
    exact = parsed(bitline("run after random:1 --json"))
    assert (exact["mismatches_vs_reference"], exact["mismatches_vs_golden"]) == (0, 0)


@pytest.mark.parametrize("name", ["isaac", "puma", "wtm2101"])
def test_new_targets_compute_the_example_exactly(tmp_path: Path, name: str) -> None:
    """Simulator, reference and golden agree; limits of the chip are said while compiling."""
    answer = bitline(
        *("compile", str(EXAMPLES / "mnist_cnn.onnx"), "--target", name),
        *("--calib", str(EXAMPLES / "mnist_calib_64.npz"), "-o", str(tmp_path / "package")),
    )
    assert answer.status == 0, answer.err
    assert ("target wtm2101, vector.rounding quarters_half_up" in answer.err) == (name == "wtm2101")
    assert ("target isaac, array.weight_encoding flip" in answer.err) == (name == "isaac")
    page = (tmp_path / "package" / "report.html").read_text(encoding="utf-8")
    assert "stated by the target, not done by programs" in page
    ran = parsed(bitline("run", str(tmp_path / "package"), "random:1", "--json"))
    assert (ran["mismatches_vs_reference"], ran["mismatches_vs_golden"]) == (0, 0)

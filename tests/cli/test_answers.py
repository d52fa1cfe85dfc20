"""What commands answer: with --json one object with the keys that other programs rely on; files where -o says."""

from __future__ import annotations

import csv
import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest

from bitline import __version__, examples
from tests.cli.invoke import bitline
from tests.cli.models import CLASSES, network, samples, save_npz

Json = dict[str, Any]

SCHEDULE_KEYS = (
    *("weight_updates", "weight_updates_default", "weight_updates_floor", "fc_weight_updates", "latency_us"),
    "energy_uj",
)
KEYS: dict[str, tuple[str, ...]] = {
    "quantize": ("weight_bits", "activation_bits", "granularity", "sqnr_db", "agree", "steps", "seconds"),
    "place": (
        *("arrays_used", "lower_bound", "proof", "utilisation", "pieces", "row_cuts", "col_cuts", "mvm_fires"),
        *("interval", "seconds", "pareto", "blocks"),
    ),
    "schedule": (*SCHEDULE_KEYS, "seconds", "layers"),
    "compile": (
        *("instructions_static", "instructions_executed", "cycles", "dram_bytes", "macs_on_arrays", "utilisation"),
        *("compile_seconds", "peak_rss_mb", "verified", "package", *SCHEDULE_KEYS),
    ),
    "run": (
        *("samples", "simulate_seconds", "preprocess_seconds", "inference_seconds", "postprocess_seconds", "checked"),
        *("mismatches_vs_reference", "mismatches_vs_golden", "teacher_forced_equal", "sqnr_vs_onnxruntime_db"),
        *("teacher_forced_within_one_step", "argmax_agreement"),
    ),
    "verify": ("verified", "checks", "seconds"),
    "explain": ("layer", "weights", "why", "tiles", "critical", "waits", "energy_by_unit_nj", "levers", "lever"),
    "report": ("report", "latency_us", "writes_per_cell", "writes_per_cell_max", "lifetime_inferences"),
    "targets": ("targets",),
}
BLOCK_KEYS = {
    *("core_id", "index", "w_row_start", "w_col_start", "rows", "cols", "node", "row_offset", "col_offset"),
}
COMMANDS = {
    "quantize": "quantize net.onnx --calib calib.npz --test labelled.npz -o q.onnx",
    "place": "place net.onnx --target reram-tile",
    "schedule": "schedule net.onnx --target reram-tile",
    "compile": "compile net.onnx --target reram-tile --calib calib.npz -o package",
    "run": "run package labelled.npz",
    "verify": "verify package",
    "explain": "explain package dense",
    "report": "report package",
    "targets": "targets list",
}


@pytest.fixture(scope="session")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a float model, samples, and their package."""
    folder = tmp_path_factory.mktemp("ready")
    onnx.save(network(), folder / "net.onnx")
    save_npz(folder / "calib.npz", image=samples())
    save_npz(folder / "labelled.npz", image=samples(), y=np.array([0, 1, 2, 3]))
    np.save(folder / "image.npy", samples())
    answer = bitline(
        *("compile", f"{folder}/net.onnx", "--target", "reram-tile"),
        *("--calib", f"{folder}/calib.npz", "-o", f"{folder}/package"),
    )
    assert answer.status == 0, answer.err
    return folder


@pytest.fixture
def here(ready: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(ready)
    return ready


def asked(words: str) -> Json:
    """The one object on stdout."""
    answer = bitline(f"{words} --json")
    assert answer.status == 0, answer.err
    return json.loads(answer.out)


@pytest.mark.parametrize("command", COMMANDS)
def test_json_is_one_object_with_schema_and_version(here: Path, command: str) -> None:
    answer = bitline(f"{COMMANDS[command]} --json")
    assert answer.status == 0, answer.err
    said, end = json.JSONDecoder().raw_decode(answer.out)
    assert answer.out[end:] == "\n"
    assert said["schema"] == f"bitline.{command}/1"
    assert said["version"] == __version__
    missing = [key for key in KEYS[command] if key not in said]
    assert missing == []
    json.dumps(said, allow_nan=False)


@pytest.mark.parametrize("command", COMMANDS)
def test_text_comes_without_json(here: Path, command: str) -> None:
    answer = bitline(COMMANDS[command])
    assert answer.status == 0, answer.err
    assert answer.out.strip()
    assert not answer.out.startswith("{")


def test_labels_give_top1_in_percent(here: Path) -> None:
    said = asked(COMMANDS["quantize"])
    assert {said["top1_float"], said["top1_quant"]} <= {0.0, 25.0, 50.0, 75.0, 100.0}
    assert asked("run package labelled.npz")["top1"] in {0.0, 25.0, 50.0, 75.0, 100.0}
    assert "top1" not in asked("run package calib.npz")


def test_blocks_of_place(here: Path) -> None:
    said = asked("place net.onnx net.onnx --target reram-tile")
    assert said["pieces"] == len(said["blocks"]) > 0
    assert set(said["blocks"][0]) >= BLOCK_KEYS
    assert {block["node"] for block in said["blocks"]} == {"conv1", "dense"}
    assert bitline("place net.onnx --target reram-tile -o blocks.csv").status == 0
    with Path("blocks.csv").open() as stream:
        assert set(next(csv.DictReader(stream))) >= BLOCK_KEYS


def test_run_is_exact_and_writes_its_outputs(here: Path, tmp_path: Path) -> None:
    place = tmp_path / "out.npz"
    said = asked(f"run package calib.npz --check 2 -o {place}")
    assert (said["samples"], said["checked"], said["output"]) == (4, 2, str(place))
    assert said["mismatches_vs_reference"] == said["mismatches_vs_golden"] == 0
    assert said["teacher_forced_within_one_step"] == 1.0
    with np.load(place) as archive:
        assert archive.files == ["scores"]
        assert archive["scores"].shape == (4, CLASSES)
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.npz"]


def outputs(words: str, place: Path) -> npt.NDArray[np.float32]:
    assert bitline(f"{words} -o {place}").status == 0
    with np.load(place / "outputs.npz") as archive:
        return archive["scores"]


def test_ways_to_give_data_agree(here: Path, tmp_path: Path) -> None:
    expected = outputs("run package calib.npz", tmp_path / "npz")
    assert np.array_equal(outputs("run package image.npy", tmp_path / "npy"), expected)
    assert np.array_equal(outputs("run package calib.npz --check 0", tmp_path / "unchecked"), expected)
    assert np.array_equal(outputs("run package calib.npz --limit 2", tmp_path / "limited"), expected[:2])
    twice = outputs("run package calib.npz image.npy", tmp_path / "twice")
    assert np.array_equal(twice, np.concatenate([expected, expected]))
    one = outputs("run package calib.npz --step --limit 1", tmp_path / "step")
    assert np.array_equal(one, expected[:1])


def test_no_check_leaves_its_keys_out(here: Path) -> None:
    said = asked("run package random:3 --check 0")
    assert (said["samples"], said["checked"]) == (3, 0)
    assert "mismatches_vs_reference" not in said


def test_the_same_compilation_gives_the_same_bytes(here: Path, tmp_path: Path) -> None:
    assert bitline(f"compile net.onnx --target reram-tile --calib calib.npz -o {tmp_path}/again").status == 0
    for entry in Path("package").iterdir():
        assert (tmp_path / "again" / entry.name).read_bytes() == entry.read_bytes(), entry.name


def test_a_package_is_replaced_and_links_are_left_alone(here: Path, tmp_path: Path) -> None:
    place = tmp_path / "p"
    words = f"compile net.onnx --target reram-tile --calib random:1 -o {place}"
    assert bitline(words).status == 0
    first = (place / "manifest.json").read_bytes()
    assert bitline(f"{words} --set cores=2").status == 0
    assert (place / "manifest.json").read_bytes() != first
    assert [entry.name for entry in tmp_path.iterdir()] == ["p"]
    link = tmp_path / "link"
    link.symlink_to(place)
    assert bitline("verify", str(link)).status == 0
    assert bitline(words.replace(str(place), str(link))).status == 0
    assert not link.is_symlink()
    assert bitline("verify", str(place)).status == 0


def test_names_of_files_are_only_names(here: Path, tmp_path: Path) -> None:
    odd = tmp_path / "100%s {x} \x1b[31m ünï.onnx"
    onnx.save(network(conv="%s%n{0}\x07"), odd)
    place = tmp_path / "pack age %d"
    answer = bitline("compile", str(odd), "--target", "reram-tile", "--calib", "random:1", "-o", str(place))
    assert answer.status == 0, answer.err
    assert "\x1b" not in answer.out + answer.err
    assert "100%s {x} \\x1b[31m ünï" in answer.out
    assert bitline("verify", str(place)).status == 0
    assert bitline("run", str(place), "random:1").status == 0
    page = (place / "report.html").read_text()
    assert "\x1b" not in page
    assert "\x07" not in page


QUOTED = "--preprocess 'mean=0.1307 std=0.3081'"
UNQUOTED = "--preprocess mean=0.1307 std=0.3081"


def test_the_way_of_the_readme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """quantize, compile the QDQ model, verify, run with labels, report; images preprocessed in both spellings."""
    monkeypatch.chdir(tmp_path)
    model, calib, test = (
        shlex.quote(str(examples.path(name))) for name in ("mnist_cnn.onnx", "mnist_calib_64.npz", "mnist_test_200.npz")
    )
    asked(f"quantize {model} --calib {calib} {QUOTED} -o q1.onnx")
    said = asked(f"quantize {model} --calib {calib} {UNQUOTED} -o q2.onnx --test {test}")
    assert Path("q1.onnx").read_bytes() == Path("q2.onnx").read_bytes()
    assert min(said["top1_float"], said["top1_quant"], said["agree"]) >= 95.0
    made = asked("compile q1.onnx --target sram-dcim -o package")
    assert made["macs_on_arrays"] == made["macs"] > 10_000_000
    assert asked("verify package")["verified"] is True
    ran = asked(f"run package {test} {UNQUOTED} --limit 50")
    assert (ran["samples"], ran["mismatches_vs_reference"], ran["mismatches_vs_golden"]) == (50, 0, 0)
    assert ran["top1"] >= 90.0
    assert asked("report package -o page.html")["report"] == "page.html"
    assert Path("page.html").read_text().lower().startswith("<!doctype html>")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["package", "page.html", "q1.onnx", "q2.onnx"]


def test_targets_show_takes_overrides() -> None:
    said = asked("targets show sram-dcim --set array.rows=32")
    assert said["target"]["array"]["rows"]["value"] == 32
    listed = asked("targets list")["targets"]
    assert set(listed) >= {"reram-tile", "sram-dcim"}


@pytest.mark.parametrize("words", ["", "targets"])
def test_no_command_shows_what_there_is(words: str) -> None:
    answer = bitline(*words.split())
    assert answer.status == 2
    assert "Commands:" in answer.err
    assert answer.out == ""


@pytest.mark.parametrize("command", [*COMMANDS, "demo", "targets show"])
def test_every_command_has_help(command: str) -> None:
    answer = bitline(f"{command} --help")
    assert answer.status == 0
    assert "--json" in answer.out or command == "targets"
    assert answer.err == ""

"""`bitline run` on files as people have them: folders with broken images, labels, hooks, streams, state, Ctrl-C."""

from __future__ import annotations

import csv
import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from PIL import Image

from bitline.data import load
from tests.cli.invoke import bitline
from tests.data.pictures import picture, save
from tests.graph.build import parsed
from tests.inference.models import CLASSES, compiled, stream

PROGRAM = "from bitline.cli.main import main; main()"
BROKEN = ("p007.png", "p100.png", "p199.png")
REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Packages, and a folder of 200 images of which 3 are broken: one cut, one text, one empty."""
    folder = tmp_path_factory.mktemp("run")
    compiled("images").save(folder / "package")
    compiled("leaky").save(folder / "leaky")
    compiled("stream").save(folder / "stream")
    photos = folder / "photos"
    photos.mkdir()
    for i in range(200):
        save(photos / f"p{i:03}.png", picture(12, 10, seed=i))
    cut, text, empty = (photos / name for name in BROKEN)
    cut.write_bytes(cut.read_bytes()[:200])
    text.write_text("this is no image")
    empty.write_bytes(b"")
    (folder / "labels.txt").write_text("\n".join(f"name {i}" for i in range(CLASSES)))
    return folder


@pytest.fixture
def here(ready: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(ready)
    return ready


def rows(place: Path) -> list[dict[str, str]]:
    with place.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_200_images_of_which_3_are_broken(here: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    answer = bitline(f"run package photos --labels labels.txt --top 3 --annotate -o {out} --json")
    assert answer.status == 1
    said = json.loads(answer.out)
    assert (said["samples"], said["files"], said["checked"]) == (197, 200, 1)
    assert said["mismatches_vs_reference"] == said["mismatches_vs_golden"] == 0
    assert [Path(bad["file"]).name for bad in said["bad_files"]] == list(BROKEN)
    assert {bad["code"] for bad in said["bad_files"]} == {"BL0206"}
    for part in ("preprocess", "inference", "postprocess"):
        assert said[f"{part}_seconds"] > 0
    assert len(said["results"]) == 197
    table = rows(out / "results.csv")
    assert [Path(row["file"]).name for row in table] == [
        f"p{i:03}.png" for i in range(200) if f"p{i:03}.png" not in BROKEN
    ]
    written = json.loads((out / "results.json").read_text())
    assert (written["schema"], len(written["results"])) == ("bitline.results/1", 197)
    assert written["bad_files"] == said["bad_files"]
    with np.load(out / "outputs.npz") as archive:
        scores = archive["scores"]
    assert scores.shape == (197, CLASSES)
    assert [int(row["class_1"]) for row in table] == scores.argmax(axis=1).tolist()
    assert [row["label_1"] for row in table] == [f"name {i}" for i in scores.argmax(axis=1)]
    assert "class_4" not in table[0]
    pictures = sorted((out / "annotated").iterdir())
    assert [p.name for p in pictures] == [Path(row["file"]).name for row in table]
    with Image.open(pictures[0]) as image:
        assert image.width >= 300
    assert sorted(p.name for p in out.iterdir()) == ["annotated", "outputs.npz", "results.csv", "results.json"]


def test_what_a_person_reads_in_a_pipe(here: Path) -> None:
    answer = bitline("run package photos")
    assert answer.status == 1
    lines = answer.out.splitlines()
    assert lines[0].startswith("p000.png  class ")
    assert lines[20] == "... and 177 more; `-o DIR` keeps them all"
    assert lines[21].startswith("197 samples of 200 files in ")
    assert "3 of 200 files gave no result:" in answer.err
    for name, why in zip(BROKEN, ("truncated", "no PNG, JPEG or BMP", "the file is empty"), strict=True):
        (line,) = (line for line in answer.err.splitlines() if name in line)
        assert line.startswith(f"  photos/{name}: error[BL0206]: cannot be read: ")
        assert why in line
    assert answer.err.count("images become 'image', 8 x 8 RGB, NCHW") == 1
    assert "\r" not in answer.err
    assert "\x1b" not in answer.err


def on_terminal(here: Path, *words: str, **environment: str) -> tuple[int, str]:
    """Exit status and what comes to a terminal on stderr."""
    master, slave = pty.openpty()
    command = [sys.executable, "-c", PROGRAM, "run", "package", "photos", *words]
    settings = {**os.environ, "TERM": "xterm", "COLUMNS": "100", **environment}
    settings |= {"NO_COLOR": environment.get("NO_COLOR", "")}
    with subprocess.Popen(command, cwd=here, stderr=slave, stdout=subprocess.DEVNULL, env=settings) as process:
        os.close(slave)
        seen = b""
        while True:
            try:
                part = os.read(master, 65536)
            except OSError:  # Linux: the other end is closed
                break
            if not part:
                break
            seen += part
        status = process.wait(timeout=60)
    os.close(master)
    return status, seen.decode()


def test_a_bar_on_a_terminal(here: Path) -> None:
    status, seen = on_terminal(here)
    assert status == 1
    assert "━" in seen
    assert "/200" in seen
    assert "/s" in seen
    assert " left" in seen
    after = seen.rpartition("\x1b[2K")[2]  # the line is gone before anything else is said
    assert after.startswith("images become")
    assert "3 of 200 files gave no result" in after


@pytest.mark.parametrize(("words", "environment"), [(["--json"], {}), ([], {"NO_COLOR": "1"}), ([], {"TERM": "dumb"})])
def test_no_bar_where_nobody_wants_one(here: Path, words: list[str], environment: dict[str, str]) -> None:
    status, seen = on_terminal(here, "--limit", "9", *words, **environment)
    assert status == 1
    assert "\x1b" not in seen
    assert "1 of 9 files gave no result" in seen


def test_without_any_good_file_nothing_is_left(here: Path, tmp_path: Path) -> None:
    names = " ".join(f"photos/{name}" for name in BROKEN)
    answer = bitline(f"run package {names} -o {tmp_path}/out")
    assert (answer.status, answer.out) == (5, "")
    assert answer.err.count("error[BL0206]") == 3
    assert list(tmp_path.iterdir()) == []


def test_places_of_results(here: Path, tmp_path: Path) -> None:
    assert bitline(f"run package photos --limit 2 -o {tmp_path}/a.npz").status == 0
    assert bitline(f"run package photos --limit 2 -o {tmp_path}/out").status == 0
    assert bitline(f"run package photos --limit 3 -o {tmp_path}/out").status == 0
    assert len(rows(tmp_path / "out" / "results.csv")) == 3
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").touch()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.npz", "mine", "out"]
    for words, word in (
        (f"-o {tmp_path}/mine", "was not written by bitline"),
        (f"-o {tmp_path}/none/out", "does not exist"),
        ("--annotate", "needs a folder"),
        (f"--annotate -o {tmp_path}/b.npz", "needs a folder"),
    ):
        answer = bitline(f"run package photos {words}")
        assert answer.status == 2
        assert word in answer.err


def test_results_in_json_only_where_asked_for(here: Path) -> None:
    said: dict[str, Any] = json.loads(bitline("run package photos --limit 2 --json").out)
    assert "results" not in said
    said = json.loads(bitline("run package photos --limit 2 --json --top 1").out)
    assert [len(row["classes"]) for row in said["results"]] == [1, 1]


def test_images_of_the_same_name_are_kept_apart(here: Path, tmp_path: Path) -> None:
    for name in ("a/p.png", "b/P.png", "c/p.bmp"):
        (tmp_path / name).parent.mkdir()
        save(tmp_path / name, picture(8, 8))
    assert bitline(f"run package {tmp_path} --annotate -o {tmp_path}/out").status == 0
    assert sorted(p.name for p in (tmp_path / "out/annotated").iterdir()) == ["P-2.png", "p-3.png", "p.png"]


def test_boxes_of_a_hook(here: Path, tmp_path: Path) -> None:
    hook = REPOSITORY / "tests/inference/hooks.py"
    words = f"run package photos --limit 4 --postprocess {hook}:whole --labels labels.txt --annotate -o {tmp_path}/out"
    assert bitline(words).status == 0
    found = rows(tmp_path / "out/boxes.csv")
    assert [(row["x1"], row["y1"], row["label"][:5]) for row in found] == [("10.00", "12.00", "name ")] * 4
    assert [row["boxes"] for row in rows(tmp_path / "out/results.csv")] == ["1"] * 4
    assert len(list((tmp_path / "out/annotated").iterdir())) == 4
    answer = bitline(f"run package photos --limit 2 --postprocess {hook}:whole")
    assert answer.out.startswith("p000.png  1 box: ")
    answer = bitline(f"run package photos --limit 2 --postprocess {hook}:raises")
    assert answer.status == 2
    assert "error[BL0110]: the post-processing hook failed: it raised ZeroDivisionError" in answer.err


@pytest.mark.parametrize(
    ("words", "code", "word"),
    [
        ("--preprocess crop=5", "BL0101", "leaves 5 x 5 pixels, the model takes 8 x 8"),
        ("--preprocess 'resize=9 crop=8 mean=1,2'", "BL0101", "2 values of mean for 3 channels"),
        ("--preprocess men=1", "BL0101", "did you mean `mean`?"),
        ("--labels gone.txt", "BL0206", "labels cannot be read"),
        ("--labels photos/p000.png", "BL0206", "no UTF-8"),
        ("--keep-state", "BL0101", "carries no state"),
        ("--annotate --top 0 -o out", "BL0101", "nothing to draw"),
        ("--hop 0", "BL0101", "--hop"),
        ("--hop 3", "BL0101", "--hop cuts streams"),
        ("--postprocess gone:f", "BL0101", "ModuleNotFoundError"),
    ],
)
def test_options_that_are_wrong(here: Path, words: str, code: str, word: str) -> None:
    answer = bitline(f"run package photos --limit 5 {words}")
    assert answer.status in (2, 5)
    assert f"error[{code}]" in answer.err
    assert word in answer.err
    assert "Traceback" not in answer.err
    assert answer.out == ""


def test_preprocess_without_quotes(here: Path, tmp_path: Path) -> None:
    for i, words in enumerate(("'resize=9 crop=8 color=BGR mean=0.5'", "resize=9 crop=8 color=BGR mean=0.5")):
        assert bitline(f"run package photos --limit 3 -o {tmp_path}/{i}.npz --preprocess {words}").status == 0
    with np.load(tmp_path / "0.npz") as first, np.load(tmp_path / "1.npz") as second:
        np.testing.assert_array_equal(first["scores"], second["scores"])


def test_a_stream_and_a_model_calibrated_on_one(here: Path, tmp_path: Path) -> None:
    sound = np.random.default_rng(0).normal(0, 0.3, 200).astype(np.float32)
    np.save(tmp_path / "s.npy", sound)
    said = json.loads(bitline(f"run stream {tmp_path}/s.npy --hop 4 --json").out)
    assert said["samples"] == (200 - 16) // 4 + 1
    assert said["mismatches_vs_golden"] == 0
    onnx.save(stream(), tmp_path / "stream.onnx")
    words = f"compile {tmp_path}/stream.onnx --target sram-dcim --calib {tmp_path}/s.npy --hop 2 -o {tmp_path}/p"
    answer = bitline(words)
    assert answer.status == 0, answer.err
    assert "93 samples of s.npy, 200 numbers in frames of 16, 2 apart" in answer.err


def test_state(here: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.random.default_rng(0).random((6, 4)).astype(np.float32))
    answer = bitline(f"run leaky {tmp_path}/x.npy --keep-state --check 3 --json -o {tmp_path}/out")
    assert answer.status == 0, answer.err
    said = json.loads(answer.out)
    assert (said["samples"], said["checked"], said["mismatches_vs_golden"]) == (6, 3, 0)
    assert bitline(f"run leaky {tmp_path}/x.npy").status == 2
    assert "no data for input 'h'" in bitline(f"run leaky {tmp_path}/x.npy").err


def test_what_cannot_be_drawn_is_said(here: Path, tmp_path: Path) -> None:
    answer = bitline(f"run package random:2 --annotate -o {tmp_path}/out")
    assert answer.status == 0
    assert "no image files among DATA: nothing to draw on" in answer.err
    assert json.loads((tmp_path / "out/results.json").read_text())["scores"] == "softmax of 'scores'"


def test_names_of_files_cannot_write_on_the_terminal(here: Path, tmp_path: Path) -> None:
    save(tmp_path / "a\x1b[31m\nb.png", picture(8, 8))
    (tmp_path / "=c\x1b[2J\nd.png").write_text("text")
    answer = bitline("run", "package", str(tmp_path), "-o", str(tmp_path / "out"))
    assert answer.status == 1
    answer = bitline("run", "package", str(tmp_path / "a\x1b[31m\nb.png"), str(tmp_path / "=c\x1b[2J\nd.png"))
    assert answer.out.startswith("a\\x1b[31m\\nb.png  class ")
    assert "=c\\x1b[2J\\nd.png: error[BL0206]" in answer.err
    assert "\x1b" not in answer.out + answer.err
    (row,) = rows(tmp_path / "out" / "results.csv")
    assert row["file"].endswith("a\\x1b[31m\\nb.png")


def test_ctrl_c_keeps_what_was_done(here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = load.read_image

    def interrupted(path: Path, color: Any) -> Image.Image:
        if path.name == "p150.png":
            raise KeyboardInterrupt
        return read(path, color)

    monkeypatch.setattr(load, "read_image", interrupted)
    answer = bitline(f"run package photos --annotate -o {tmp_path}/out --json")
    assert answer.status == 130
    said = json.loads(answer.out)
    assert said["interrupted"] is True
    assert 100 < said["samples"] < 150
    assert (
        len(rows(tmp_path / "out/results.csv")) == said["samples"] == len(list((tmp_path / "out/annotated").iterdir()))
    )
    monkeypatch.setattr(load, "read_image", read)

    def at_once(path: Path, color: Any) -> Image.Image:
        raise KeyboardInterrupt

    monkeypatch.setattr(load, "read_image", at_once)
    answer = bitline(f"run package photos -o {tmp_path}/none")
    assert (answer.status, answer.out) == (130, "")
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_ctrl_c_from_a_keyboard(here: Path, tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(
        "import time\ndef hook(outputs, frame):\n    print('called', flush=True)\n    time.sleep(0.02)\n    return []\n"
    )
    words = ["run", "package", "photos", "--postprocess", f"{tmp_path}/slow.py:hook", "-o", f"{tmp_path}/out"]
    command = [sys.executable, "-c", PROGRAM, *words]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=here, **pipes) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "called\n"
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"files; what was done before is in {tmp_path}/out" in err
    assert "Traceback" not in err
    kept = rows(tmp_path / "out/results.csv")
    assert 1 <= len(kept) < 197
    assert json.loads((tmp_path / "out/results.json").read_text())["interrupted"] is True


@pytest.mark.parametrize(
    ("body", "signature", "told"),
    [
        ("s = MatMul(x, w) y = ArgMax<axis=1, keepdims=0>(s)", "int64[1] y", 100.0),
        ("s = MatMul(x, w) v, y = TopK(s, k)", "int64[1,2] y", None),
        ("y = MatMul(x, w)", "float[1,3] y", 100.0),
    ],
)
def test_labels_meet_classes_that_the_network_numbers(
    body: str, signature: str, told: float | None, tmp_path: Path
) -> None:
    """The class itself is compared with its label; of several classes none is more meant than another."""
    constants: dict[str, npt.NDArray[Any]] = {"w": np.eye(3, dtype=np.float32), "k": np.array([2])}
    onnx.save(parsed(f"float[1,3] x) => ({signature}", body, constants), tmp_path / "net.onnx")
    x = np.array([[3, 1, 0], [0, 2, 1], [1, 0, 5], [4, 0, 0]], np.float32)
    np.savez(tmp_path / "labelled.npz", x=x, y=x.argmax(axis=1))
    place = str(tmp_path / "package")
    data = str(tmp_path / "labelled.npz")
    made = bitline("compile", str(tmp_path / "net.onnx"), "--target", "sram-dcim", "--calib", data, "-o", place)
    assert made.status == 0, made.err
    answer = bitline("run", place, data, "--json")
    assert answer.status == 0, answer.err
    assert json.loads(answer.out).get("top1") == told

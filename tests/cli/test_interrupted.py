"""A compile that is killed, finds the disk full or may not write leaves a whole package or none, and says why."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path

import numpy as np
import onnx
import pytest

from bitline import examples
from bitline.core.files import YOUNG_SECONDS
from tests.cli.invoke import bitline
from tests.cli.models import network

SOAK = os.environ.get("BITLINE_HYPOTHESIS") == "soak"
KILLS = 20 if SOAK else 3
"""For each of two signals."""
PROGRAM = """
import sys
from bitline.cli.main import main
try:
    print('ready', flush=True)  # the signal may come before main() is there to take it
    main()
except KeyboardInterrupt:
    sys.exit(130)
"""


def compile_words(output: Path, *more: str) -> list[str]:
    model, calibration = examples.path("mnist_cnn.onnx"), examples.path("mnist_calib_64.npz")
    data = ["--calib", str(calibration), "--preprocess", "mean=0.1307 std=0.3081"]
    return ["compile", str(model), "--target", "reram-tile", *data, "-o", str(output), *more]


def started(words: list[str]) -> subprocess.Popen[str]:
    """A compile in a process of its own, which has just begun."""
    command = [sys.executable, "-c", PROGRAM, *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.fixture(scope="module")
def duration(tmp_path_factory: pytest.TempPathFactory) -> float:
    """Seconds of a whole compile."""
    folder = tmp_path_factory.mktemp("whole")
    process = started(compile_words(folder / "out"))
    begun = time.monotonic()
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return time.monotonic() - begun


def wait_until_writing(folder: Path, process: subprocess.Popen[str]) -> None:
    """Until the new package lies in its hidden folder, in part."""
    while process.poll() is None and not any(folder.glob(".out.new.*/*")):
        time.sleep(0.0005)


@pytest.mark.parametrize("number", range(KILLS))
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_killed(how: signal.Signals, number: int, duration: float, tmp_path: Path) -> None:
    """Every third while the package is written; every second where a package was before."""
    rng = np.random.default_rng([int(how), number])
    out = tmp_path / "out"
    before = number % 2 == 1
    if before:
        onnx.save(network(), tmp_path / "net.onnx")
        words = f"compile {tmp_path}/net.onnx --target reram-tile --calib random:2 -o {out}"
        assert bitline(words).status == 0
    process = started(compile_words(out))
    if number % 3 == 2:
        wait_until_writing(tmp_path, process)
        time.sleep(float(rng.uniform(0, 0.02)))
    else:
        time.sleep(float(rng.uniform(0, duration)))
    process.send_signal(how)
    stdout, stderr = process.communicate(timeout=120)
    assert "Traceback" not in stdout + stderr
    assert process.returncode in (0, -how, 130), stderr
    hidden = [entry for entry in tmp_path.iterdir() if entry.name.startswith(".")]
    assert how == signal.SIGKILL or not hidden, hidden
    if out.exists():
        assert bitline("verify", str(out)).status == 0
    assert not before or out.exists() or hidden  # moved aside in the instant of the exchange
    taken_for_whole: list[set[str]] = []
    for entry in hidden:
        if bitline("verify", str(entry)).status == 0:
            taken_for_whole.append({file.name for file in entry.iterdir()})
        long_ago = time.time() - 2 * YOUNG_SECONDS
        os.utime(entry, (long_ago, long_ago))
    again = bitline(*compile_words(out))
    assert again.status == 0, again.err
    assert bitline("verify", str(out)).status == 0
    whole = {file.name for file in out.iterdir()}
    assert all(found == whole for found in taken_for_whole)
    assert {entry.name for entry in tmp_path.iterdir()} <= {"out", "net.onnx"}


@pytest.fixture
def small_disk(tmp_path: Path, request: pytest.FixtureRequest) -> Generator[Path]:
    """A file system of so many bytes."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={request.param}", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("only root may mount a small file system here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize("small_disk", [20_000], indirect=True)
def test_a_full_disk_is_found_before_the_work(small_disk: Path) -> None:
    """There is no such model: what is said shows what was looked at first."""
    answer = bitline("compile", "absent.onnx", "--target", "reram-tile", "-o", f"{small_disk}/out")
    assert answer.status == 2
    assert "error[BL0104]: cannot write to folder" in answer.err
    assert "No space left on device" in answer.err
    assert list(small_disk.iterdir()) == []


@pytest.mark.parametrize("small_disk", [200_000], indirect=True)
@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
def test_a_disk_that_runs_full(small_disk: Path, as_json: bool) -> None:
    answer = bitline(*compile_words(small_disk / "out"), *(["--json"] if as_json else []))
    assert answer.status == 2, answer.err
    assert "error[BL0104]" in answer.err
    assert "No space left on device" in answer.err
    assert list(small_disk.iterdir()) == []


@pytest.mark.parametrize("small_disk", [100_000], indirect=True)
def test_a_file_on_a_disk_that_runs_full(small_disk: Path) -> None:
    model, calibration = examples.path("mnist_cnn.onnx"), examples.path("mnist_calib_64.npz")
    (small_disk / "q.onnx").write_text("mine")
    words = ["quantize", str(model), "--calib", str(calibration), "--preprocess", "mean=0.13 std=0.31"]
    answer = bitline(*words, "-o", f"{small_disk}/q.onnx")
    (small_disk / "filler").write_bytes(bytes(30_000))
    if answer.status == 0:  # it has just room for the model alone
        answer = bitline(*words, "-o", f"{small_disk}/q.onnx")
    assert answer.status == 2, answer.err
    assert "No space left on device" in answer.err
    assert sorted(entry.name for entry in small_disk.iterdir()) == ["filler", "q.onnx"]


def test_files_that_may_not_grow(tmp_path: Path) -> None:
    """The limit of a user's files, which needs no root to be set."""

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (80_000, 80_000))

    command = [sys.executable, "-c", PROGRAM, *compile_words(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, preexec_fn=limited)
    assert done.returncode == 2, done.stderr
    assert "error[BL0104]: cannot write to folder" in done.stderr
    assert "File too large" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def read_only(tmp_path: Path) -> Generator[Path]:
    """A folder that takes no files, not even from root."""
    place = tmp_path / "folder"
    place.mkdir()
    if os.geteuid() != 0:
        place.chmod(0o500)
        yield place
        place.chmod(0o700)
        return
    if subprocess.run(["mount", "--bind", str(place), str(place)], check=False, capture_output=True).returncode:
        pytest.skip("root writes anywhere, and may not mount here")
    subprocess.run(["mount", "-o", "remount,ro,bind", str(place)], check=True)
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize(
    "words",
    [
        "compile absent.onnx --target reram-tile -o {0}/out",
        "quantize absent.onnx --calib absent.npz -o {0}/q.onnx",
        "place absent.onnx --target reram-tile -o {0}/place.csv",
        "report absent -o {0}/page.html",
        "demo -o {0}/demo",
        "demo -o {0}/new/demo",
    ],
)
def test_a_read_only_folder_is_found_before_the_work(words: str, read_only: Path) -> None:
    answer = bitline(words.format(read_only))
    assert answer.status == 2, answer.err
    assert "error[BL0104]" in answer.err
    assert "Read-only file system" in answer.err or "Permission denied" in answer.err
    assert list(read_only.iterdir()) == []


def test_a_reader_that_has_gone(tmp_path: Path) -> None:
    """`bitline place ... | head -1`"""
    onnx.save(network(), tmp_path / "net.onnx")
    command = [sys.executable, "-c", "from bitline.cli.main import main; main()", "place", f"{tmp_path}/net.onnx"]
    with subprocess.Popen(
        [*command, "--target", "reram-tile"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        err = process.stderr.read()
    assert (process.returncode, err) == (1, "")


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (MemoryError(), 5, ("error[BL0203]: there is not enough memory", "bitline doctor")),
        (OSError(28, "No space left on device", "/tmp/x"), 2, ("error[BL0104]: the system says: No space", "/tmp/x")),
        (OSError(2, "No such file or directory", "ours.py"), 70, ("error[BL0901]: bitline has a bug",)),
    ],
)
def test_what_is_wrong_with_the_machine_is_not_our_bug(
    error: Exception, status: int, words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk may also be met by libraries, which keep compiled code and temporary files."""

    def load(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("bitline.api.load", load)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for more in ([], ["--json"]):
        answer = bitline("schedule", "net.onnx", "--target", "reram-tile", *more)
        assert answer.status == status, answer.err
        assert all(word in answer.err for word in words), answer.err
        assert "Traceback" not in answer.err + answer.out
        assert answer.out.startswith("{") == bool(more)


def test_a_bug_is_told_even_where_no_file_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: object, **__: object) -> None:
        raise ZeroDivisionError("ours")

    monkeypatch.setattr("bitline.api.load", load)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "absent"))
    answer = bitline("schedule", "net.onnx", "--target", "reram-tile")
    assert answer.status == 70
    assert "error[BL0901]: bitline has a bug: ZeroDivisionError: ours" in answer.err

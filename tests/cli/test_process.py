"""`bitline` as a process of its own: what it imports, what a bug of ours looks like, what Ctrl-C leaves behind."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import onnx
import pytest

from bitline import examples
from tests.cli.invoke import bitline
from tests.cli.models import network

HEAVY = ("numpy", "onnx", "onnxruntime", "numba", "pydantic", "safetensors", "ortools", "jinja2", "ruamel")


def python(program: str, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program with `bitline`'s arguments."""
    command = [sys.executable, "-c", program, *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment or None, timeout=60)


@pytest.mark.parametrize("words", [("--help",), ("-h",), ("--version",)])
def test_help_imports_nothing_heavy(words: tuple[str, ...]) -> None:
    program = (
        "import atexit, sys\n"
        f"atexit.register(lambda: print('loaded:', [m for m in {HEAVY} if m in sys.modules]))\n"
        "from bitline.cli.main import main\n"
        "main()\n"
    )
    done = python(program, *words)
    assert done.returncode == 0, done.stderr
    assert "bitline" in done.stdout.lower()
    assert "loaded: []" in done.stdout


def test_a_bug_of_ours_is_no_traceback(tmp_path: Path) -> None:
    onnx.save(network(), tmp_path / "net.onnx")
    program = (
        "from bitline import api\n"
        "def load(*_, **__):\n"
        "    raise ZeroDivisionError('of \\x1b[31m ours')\n"
        "api.load = load\n"
        "from bitline.cli.main import main\n"
        "main()\n"
    )
    words = ("schedule", f"{tmp_path}/net.onnx", "--target", "reram-tile", "--json")
    done = python(program, *words, TMPDIR=str(tmp_path))
    assert done.returncode == 70
    assert "Traceback" not in done.stdout + done.stderr
    assert "error[BL0901]: bitline has a bug: ZeroDivisionError: of \\x1b[31m ours" in done.stderr
    assert json.loads(done.stdout)["errors"][0]["code"] == "BL0901"
    (report,) = tmp_path.glob("bitline-bug-*.txt")
    assert str(report) in done.stderr
    assert "ZeroDivisionError" in report.read_text()


def test_a_refusal_in_a_real_process(tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"garbage")
    words = ("compile", f"{tmp_path}/bad.onnx", "--target", "reram-tile", "-o", f"{tmp_path}/out")
    done = python("from bitline.cli.main import main; main()", *words)
    assert (done.returncode, done.stdout) == (5, "")
    assert done.stderr.startswith("error[BL0202]")
    assert [entry.name for entry in tmp_path.iterdir()] == ["bad.onnx"]


@pytest.mark.parametrize("delay", [0.0, 0.2, 0.7, 1.6, 3.1])
def test_ctrl_c_leaves_no_broken_package(tmp_path: Path, delay: float) -> None:
    program = """import sys
from bitline.cli.main import main
try:
    print('ready', flush=True)  # the signal may come before main() is there to take it
    main()
except KeyboardInterrupt:
    print('interrupted', file=sys.stderr)
    sys.exit(130)
"""
    model, calibration = examples.path("mnist_cnn.onnx"), examples.path("mnist_calib_64.npz")
    words = ["--calib", str(calibration), "--preprocess", "mean=0.1307 std=0.3081", "-o", str(tmp_path / "out")]
    command = [sys.executable, "-c", program, "compile", str(model), "--target", "reram-tile", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(delay)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert "Traceback" not in out + err
    left = [entry.name for entry in tmp_path.iterdir()]
    if process.returncode in (0, -signal.SIGINT):  # it was faster than the signal, which came at the end or at exit
        assert left == ["out"]
        assert bitline("verify", str(tmp_path / "out")).status == 0
    else:
        assert process.returncode == 130, err
        assert "interrupted" in err
        assert left == []


@pytest.mark.parametrize("at", ["array_math.json", "program.bin", "weights.safetensors"])
@pytest.mark.parametrize("before", [False, True], ids=["first", "again"])
def test_ctrl_c_while_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str, before: bool) -> None:
    """The folder is not there, or still the package of before."""
    onnx.save(network(), tmp_path / "net.onnx")
    words = f"compile {tmp_path}/net.onnx --target reram-tile --calib random:2 -o {tmp_path}/out"
    if before:
        assert bitline(words).status == 0
    write = Path.write_bytes

    def interrupted(self: Path, data: bytes) -> int:
        if self.name == at:
            raise KeyboardInterrupt
        return write(self, data)

    monkeypatch.setattr(Path, "write_bytes", interrupted)
    answer = bitline(words + " --weight-bits 4")
    monkeypatch.undo()
    assert answer.status == 130
    assert (answer.out, "interrupted" in answer.err) == ("", True)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == (["net.onnx", "out"] if before else ["net.onnx"])
    if before:
        assert bitline("verify", f"{tmp_path}/out").status == 0


def test_ctrl_c_when_all_is_done_disturbs_no_library() -> None:
    program = """import atexit, os, signal
from bitline.cli.main import main
atexit.register(lambda: os.kill(os.getpid(), signal.SIGINT))  # as late as a library clears up
main()
"""
    done = python(program, "targets", "list")
    assert (done.returncode, done.stderr) == (0, "")
    assert "reram-tile" in done.stdout

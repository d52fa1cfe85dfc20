"""The doctor finds what is broken, says what to do about it, and sees nothing where all is well."""

from __future__ import annotations

import importlib.metadata
import json
import os
import sys
import tempfile
from pathlib import Path

import pytest

from bitline.cli import doctor
from bitline.cli.doctor import Finding
from tests.cli.invoke import bitline

NEEDS = ("numpy<3,>=2.1", "ruamel-yaml>=0.18", "torch>=2.6; extra == 'train'", "click >= 8.2")


def test_this_machine_is_fit() -> None:
    answer = bitline("doctor")
    assert (answer.status, answer.err) == (0, "")
    lines = answer.out.splitlines()
    assert lines[-1] == "everything bitline needs is here"
    for what in (
        "Python",
        "onnxruntime",
        "u8 x s8 products",
        "temporary folder",
        "first compile",
        "memory",
        "terminal",
    ):
        assert any(what in line for line in lines), what


def test_the_same_as_json() -> None:
    answer = bitline("doctor --json")
    said = json.loads(answer.out)
    assert (answer.status, said["schema"], said["ok"]) == (0, "bitline.doctor/1", True)
    assert len(said["findings"]) >= 16
    for finding in said["findings"]:
        assert set(finding) == {"what", "state", "value", "help"}
        assert finding["state"] in ("ok", "note")
        assert finding["value"]


def test_something_broken_ends_in_status_1(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "LIBRARIES", ("numpy", "absent-library"))
    answer = bitline("doctor")
    assert answer.status == 1
    assert "BROKEN  absent-library" in answer.out
    assert "-> python -m pip install 'absent-library'" in answer.out
    assert answer.out.splitlines()[-1] == "1 broken"
    said = json.loads(bitline("doctor --json").out)
    assert not said["ok"]


def healthy(finding: Finding) -> bool:
    """Every finding that is not ok has a way out."""
    assert finding.value
    assert (finding.state == "ok") == (not finding.help)
    return finding.state == "ok"


@pytest.mark.parametrize(
    ("version", "state"), [((3, 11, 0), "ok"), ((3, 13, 1), "ok"), ((3, 10, 9), "broken"), ((2, 7, 18), "broken")]
)
def test_python(version: tuple[int, int, int], state: str) -> None:
    finding = doctor.python_version(version)
    assert healthy(finding) == (state == "ok")
    assert finding.state == state


@pytest.mark.parametrize(
    ("version", "requirement", "fits"),
    [
        ("2.1", "numpy>=2.1,<3", True),
        ("2.1.0", "numpy<3,>=2.1", True),
        ("2.0.9", "numpy>=2.1", False),
        ("3.0.0", "numpy<3", False),
        ("2.10", "numpy>=2.9", True),
        ("2.5.1+cpu", "numpy>=2.5.1", True),
        ("1.0", "", True),
    ],
)
def test_versions(version: str, requirement: str, fits: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "version", {"numpy": version}.__getitem__)
    finding = doctor.library("numpy", [requirement])
    assert healthy(finding) == fits
    assert version in finding.value


def test_names_of_requirements() -> None:
    """`ruamel.yaml` is written `ruamel-yaml` by some tools, and extras are not asked for."""
    assert healthy(doctor.library("ruamel.yaml", NEEDS))
    assert doctor.library("torch-that-is-absent", NEEDS).value == "not installed"
    assert not healthy(doctor.library("ruamel.yaml", ["ruamel-yaml>=99"]))


def test_a_library_that_does_not_load(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "version", {"broken_library": "1.0"}.__getitem__)
    monkeypatch.setitem(sys.modules, "broken_library", None)
    finding = doctor.library("broken_library", [])
    assert not healthy(finding)
    assert "cannot be loaded" in finding.value


@pytest.mark.parametrize(
    ("flags", "state"),
    [({"avx2", "avx_vnni"}, "ok"), ({"avx2"}, "note"), ({"asimd", "asimddp"}, "ok"), (set[str](), "ok")],
)
def test_processors(flags: set[str], state: str) -> None:
    finding = doctor.processor(frozenset(flags))
    healthy(finding)
    assert finding.state == state


def saturating(a: int, b: int, depth: int) -> list[int]:
    """Pairs of products added in 16 bits, as vpmaddubsw does."""
    pairs = [max(-(2**15), min(2**15 - 1, 2 * a * b))] * (depth // 2) + [a * b] * (depth % 2)
    return [sum(pairs)] * 3


def test_saturating_products_are_seen() -> None:
    finding = doctor.exact_products(saturating)
    assert not healthy(finding)
    assert finding.state == "broken"
    assert "255 x 127 x 2: 32767, not 64770" in finding.value
    assert healthy(doctor.exact_products(lambda a, b, depth: [a * b * depth] * 7))


def test_an_engine_that_is_not_there() -> None:
    def absent(_a: int, _b: int, _depth: int) -> list[int]:
        raise ImportError("no onnxruntime")

    assert not healthy(doctor.exact_products(absent))


def test_folders(tmp_path: Path) -> None:
    finding = doctor.folder("folder", lambda: tmp_path, "another")
    assert finding.state in ("ok", "note")
    assert "MiB free" in finding.value
    assert list(tmp_path.iterdir()) == []
    absent = doctor.folder("folder", lambda: tmp_path / "absent", "another")
    assert (absent.state, absent.help) == ("broken", "another")
    assert "No such file" in absent.value
    assert doctor.folder("folder", lambda: tmp_path / "absent", "another", "note").state == "note"
    refusing = Path("/proc") if os.geteuid() == 0 else Path("/")
    assert not healthy(doctor.folder("folder", lambda: refusing, "another"))


def test_no_temporary_folder_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> str:
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", none)
    finding = doctor.folder("temporary folder", lambda: Path(tempfile.gettempdir()), "set TMPDIR")
    assert not healthy(finding)


def test_the_first_compile_is_said_to_be_slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stats:
        cache_path = str(tmp_path / "kept")

    class Function:
        stats = Stats()
        __name__ = "walk"

    monkeypatch.setattr(doctor, "COMPILED", ("bitline.core.machine",))
    monkeypatch.setattr("bitline.core.machine.walk", Function(), raising=False)
    (finding,) = doctor.compiled_code()
    assert finding.state == "note"
    assert finding.value.startswith("0 of 1 functions")
    (tmp_path / "kept/machine.walk-12.py311.nbi").touch()
    (finding,) = doctor.compiled_code()
    assert healthy(finding)


def test_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stats:
        cache_path = "/proc/kept"

    class Function:
        stats = Stats()
        __name__ = "walk"

    monkeypatch.setattr(doctor, "COMPILED", ("bitline.core.machine",))
    monkeypatch.setattr("bitline.core.machine.walk", Function(), raising=False)
    broken, _ = doctor.compiled_code()
    assert broken.state == "broken"
    assert "NUMBA_CACHE_DIR" in broken.help


@pytest.mark.parametrize(("mib", "state"), [(8_000, "ok"), (1_000, "note"), (100, "broken")])
def test_memory(mib: int, state: str) -> None:
    finding = doctor.memory(mib << 20)
    healthy(finding)
    assert finding.state == state
    assert f"{mib:,} MiB" in finding.value


def test_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal:
        encoding = "ascii"

        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdout", Terminal())
    finding = doctor.terminal()
    assert finding.state == "note"
    assert "PYTHONIOENCODING" in finding.help

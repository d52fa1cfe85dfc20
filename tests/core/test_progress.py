"""The seam of progress: stages of compilation and verification name themselves; silence takes everything."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx

from bitline import api
from bitline.core.progress import SILENT, Progress, Silent
from tests.inference.models import stream


class Names:
    """A `Progress` that remembers the names of stages."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def stage(self, name: str, total: int | None = None) -> None:
        assert total is None
        self.names.append(name)

    def advance(self, count: int = 1) -> None:
        raise AssertionError("these stages have no parts")


def test_silence_is_a_progress() -> None:
    quiet: Progress = Silent()
    assert isinstance(SILENT, Silent)
    for progress in (quiet, SILENT):
        assert progress.stage("run") is None
        assert progress.advance(3) is None


def test_long_work_names_its_stages(tmp_path: Path) -> None:
    onnx.save(stream(), tmp_path / "stream.onnx")
    seen = Names()
    calib = {"sound": np.random.default_rng(0).random((4, 16)).astype(np.float32)}
    package = api.compile(tmp_path / "stream.onnx", target="sram-dcim", calib=calib, progress=seen)
    assert seen.names == ["compiling", "drawing reports", "checking the program"]
    seen = Names()
    assert package.verify(progress=seen).ok
    assert seen.names == ["checking placement, schedule and program", "comparing numbers", "compiling again"]

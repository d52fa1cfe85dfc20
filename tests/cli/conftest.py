"""Models for the tests of `bitline place`, and their folder to work in."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.place.models import depthwise, gemms


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("place")
    gemms(folder / "g5.onnx", 5, 40, 40)
    gemms(folder / "g9.onnx", 9, 40, 45)
    (folder / "blocks_without_sizes.csv").write_text("core_id,index,w_row_start,w_col_start\n0,0,0,0\n")
    gemms(folder / "g48.onnx", 48, 235, 123)
    gemms(folder / "g43.onnx", 43, 235, 123)
    gemms(folder / "g42.onnx", 42, 235, 123)
    gemms(folder / "wide.onnx", 1, 64, 4264)
    gemms(folder / "heavy.onnx", 3, 64, 300, bias=1e4)
    depthwise(folder / "dw.onnx", 96)
    return folder


@pytest.fixture
def here(models: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(models)
    return models

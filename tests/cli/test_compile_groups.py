"""`compile --depthwise-group` as a user types it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.invoke import Answer, bitline
from tests.place.models import depthwise


def figures(answer: Answer) -> dict[str, Any]:
    assert answer.status == 0, answer.err
    return json.loads(answer.out)


@pytest.mark.parametrize("target", ["sram-dcim", "reram-tile"])
def test_smaller_groups_take_fewer_cells_and_fire_more_often(tmp_path: Path, target: str) -> None:
    source = depthwise(tmp_path / "depthwise.onnx", 24)
    words = ("compile", str(source), "--target", target, "--calib", "random:4", "--json", "-o")
    large = figures(bitline(*words, str(tmp_path / "large")))
    small = figures(bitline(*words, str(tmp_path / "small"), "--depthwise-group", "2"))
    assert blocks(tmp_path / "small") > blocks(tmp_path / "large")
    assert small["mvm_fires"] > large["mvm_fires"]
    for name in ("large", "small"):
        assert bitline("verify", str(tmp_path / name)).status == 0
        ran = figures(bitline("run", str(tmp_path / name), "random:3", "--check", "3", "--json"))
        assert (ran["mismatches_vs_reference"], ran["mismatches_vs_golden"]) == (0, 0)
    manifest = json.loads((tmp_path / "small" / "manifest.json").read_text())
    assert manifest["options"]["depthwise_group"] == "2"


def blocks(package: Path) -> int:
    """Blocks of weights in a package."""
    return len((package / "placement.csv").read_text().splitlines()) - 1

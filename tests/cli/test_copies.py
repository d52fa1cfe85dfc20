"""`--array-budget` as a user types it: what it gives, what a package says of it, and what is refused with a way out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import onnx
import pytest

from bitline import api
from tests.cli.invoke import Answer, bitline
from tests.verify.compiled import quantised_tiny

CHIP = (
    *("--target", "sram-dcim", "--set", "cores=5", "--set", "array.per_core=12"),
    *("--set", "array.rows=32", "--set", "array.cols=8", "--set", "array.group_rows=32"),
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Quantised already: convolution, depthwise convolution, pool, dense."""
    path = tmp_path_factory.mktemp("copies") / "tiny.onnx"
    onnx.save(quantised_tiny().proto, path)
    return path


def compiled(model: Path, output: Path, *words: str) -> Answer:
    return bitline("compile", str(model), *CHIP, "-o", str(output), *words)


def figures(answer: Answer) -> dict[str, Any]:
    assert answer.status == 0, answer.err
    return json.loads(answer.out)


def test_a_budget_shortens_the_interval_and_is_kept(model: Path, tmp_path: Path) -> None:
    plain = figures(compiled(model, tmp_path / "plain", "--stream", "12", "--json"))
    assert "layers" not in plain
    found = figures(compiled(model, tmp_path / "copied", "--stream", "12", "--array-budget", "40", "--json"))
    assert found["arrays_used"] <= 40
    assert found["interval_us"] < 0.7 * plain["interval_us"]
    assert found["layers"][0]["copies"] > 1
    assert sum(layer["arrays"] for layer in found["layers"]) == found["arrays_used"]
    for layer in found["layers"]:
        assert layer["fires"] == -(-layer["pixels"] // layer["copies"])
    assert found["interval"] == max(layer["fires"] for layer in found["layers"])
    package = api.open_package(tmp_path / "copied")
    assert package.contents.manifest.options["array_budget"] == "40"
    ran = figures(bitline("run", str(tmp_path / "copied"), "random:15", "--check", "2", "--json"))
    assert (ran["mismatches_vs_reference"], ran["mismatches_vs_golden"]) == (0, 0)


def test_a_budget_lowers_the_latency_of_one_inference(model: Path, tmp_path: Path) -> None:
    plain = figures(compiled(model, tmp_path / "plain", "--json"))
    found = figures(compiled(model, tmp_path / "copied", "--array-budget", "40", "--json"))
    assert found["arrays_used"] <= 40
    assert found["latency_us"] < plain["latency_us"]
    assert bitline("verify", str(tmp_path / "copied")).status == 0


def test_the_summary_and_explain_speak_of_copies(model: Path, tmp_path: Path) -> None:
    said = compiled(model, tmp_path / "copied", "--stream", "12", "--array-budget", "40")
    assert said.status == 0
    (line,) = [line for line in said.out.splitlines() if line.strip().startswith("copies")]
    assert " of conv" in line
    answer = bitline("explain", str(tmp_path / "copied"), "conv")
    assert answer.status == 0, answer.err
    assert "copies of its weights lie in arrays of their own" in answer.out


@pytest.mark.parametrize(
    ("words", "message", "way_out"),
    [
        (("--array-budget", "61"), "a budget of 61 arrays, but sram-dcim has 5 cores x 12 = 60", "--set cores=6"),
        (("--array-budget", "3"), "one copy of every layer takes", "or more, or leave it out"),
        (("--stream", "4", "--array-budget", "3"), "the budget has 3", "or more, or leave it out"),
        (
            ("--set", "cores=1", "--set", "array.per_core=3", "--array-budget", "3"),
            "one copy of every layer takes 6 arrays",
            "take more cores (`--set cores=2 --array-budget 6`), or leave it out",
        ),
        (
            ("--set", "cores=20", "--set", "array.per_core=2", "--array-budget", "40"),
            "does not fit 20 cores of 2 arrays",
            "take more cores",
        ),
    ],
)
def test_budgets_that_cannot_be_are_refused_with_a_way_out(
    words: tuple[str, ...], message: str, way_out: str, model: Path, tmp_path: Path
) -> None:
    if "array.per_core=2" in words:
        words = (*words, "--set", "array.rows=8", "--set", "array.group_rows=8")
    answer = compiled(model, tmp_path / "out", *words)
    assert answer.status == 2
    assert message in answer.err
    assert way_out in answer.err
    assert not (tmp_path / "out").exists()


def test_cores_that_are_advised_hold_one_copy_of_every_layer(model: Path, tmp_path: Path) -> None:
    words = ("--set", "array.per_core=3", "--set", "cores=2", "--array-budget", "6", "--json")
    assert figures(compiled(model, tmp_path / "out", *words))["arrays_used"] == 6


def test_no_number_of_arrays(model: Path, tmp_path: Path) -> None:
    assert compiled(model, tmp_path / "out", "--array-budget", "0").status == 2

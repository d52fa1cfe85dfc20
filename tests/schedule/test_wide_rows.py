"""A row of Softmax that is too wide for the output buffer waits in the buffer of the partial sums, or of the inputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from bitline import api
from bitline.core.diagnostics import Refusal
from bitline.graph.model import Model
from bitline.quant.ptq import quantize
from tests.lower.engines import build, differences

CLASSES = 500
TARGET = "sram-dcim"


def softmax(folder: Path) -> Model:
    """Three rows, whose results have 16 bits."""
    node = helper.make_node("Softmax", ["x"], ["y"], name="soft", axis=-1)
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, CLASSES]) for name in "xy")
    model = helper.make_model(
        helper.make_graph([node], "net", [x], [y]), opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    )
    onnx.save(model, folder / "net.onnx")
    loaded = api.load(folder / "net.onnx")
    data = np.random.default_rng(0).normal(0, 3, (4, 1, 3, CLASSES)).astype(np.float32)
    return quantize(loaded, {"x": data}).model


@pytest.mark.parametrize(
    ("output", "psum", "given", "space", "slots"),
    [
        (4 * CLASSES + 16, CLASSES, 0, "output", 2),
        (2 * CLASSES + 8, 4 * CLASSES + 16, 0, "output", 1),  # the buffer meant for results comes first
        (CLASSES, 4 * CLASSES + 16, 0, "psum", 2),
        (CLASSES, 2 * CLASSES + 8, 0, "psum", 1),
        (CLASSES, CLASSES, 6 * CLASSES + 32, "input", 2),
        (CLASSES, CLASSES, 3 * CLASSES + 16, "input", 1),
    ],
)
def test_where_rows_wait(output: int, psum: int, given: int, space: str, slots: int, tmp_path: Path) -> None:
    sizes = [f"memory.output_bytes={output}", f"memory.psum_bytes={psum}"]
    sizes += [f"memory.input_bytes={given}"] if given else []
    made = build(softmax(tmp_path), TARGET, tuple(sizes))
    (plan,) = made.planned.schedule.kernels
    assert (plan.result_space, plan.output_slots) == (space, slots)
    assert differences(made, seed=1) == []


def test_what_fits_nowhere_is_refused(tmp_path: Path) -> None:
    few = [f"memory.{name}_bytes={CLASSES}" for name in ("output", "psum")]
    with pytest.raises(Refusal, match="a row of 500"):
        build(softmax(tmp_path), TARGET, (*few, f"memory.input_bytes={3 * CLASSES}"))

"""A row of Softmax that is too wide for the output buffer waits in the buffer of the partial sums."""

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
    ("output", "psum", "space", "slots"),
    [
        (4 * CLASSES + 16, CLASSES, "output", 2),
        (2 * CLASSES + 8, 4 * CLASSES + 16, "output", 1),  # the buffer meant for results comes first
        (CLASSES, 4 * CLASSES + 16, "psum", 2),
        (CLASSES, 2 * CLASSES + 8, "psum", 1),
    ],
)
def test_where_rows_wait(output: int, psum: int, space: str, slots: int, tmp_path: Path) -> None:
    sizes = [f"memory.output_bytes={output}", f"memory.psum_bytes={psum}"]
    made = build(softmax(tmp_path), TARGET, tuple(sizes))
    (plan,) = made.planned.schedule.kernels
    assert (plan.result_space, plan.output_slots) == (space, slots)
    assert differences(made, seed=1) == []


def test_what_fits_nowhere_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="a row of 500"):
        build(softmax(tmp_path), TARGET, (f"memory.output_bytes={CLASSES}", f"memory.psum_bytes={CLASSES}"))

"""A state that a repetition carries may itself be an output: its last value, in every engine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from bitline import api
from bitline.quant.options import QuantOptions

STEPS, INPUTS, HIDDEN = 12, 4, 3


def recurrent(operator: str, direction: str) -> onnx.ModelProto:
    """LSTM or GRU whose only outputs are its last states."""
    gates = 4 if operator == "LSTM" else 3
    rng = np.random.default_rng(7)
    shapes = {"w": (1, gates * HIDDEN, INPUTS), "r": (1, gates * HIDDEN, HIDDEN), "b": (1, 2 * gates * HIDDEN)}
    constants = [numpy_helper.from_array(rng.normal(0, 0.4, s).astype(np.float32), n) for n, s in shapes.items()]
    states = ["h", "c"] if operator == "LSTM" else ["h"]
    node = helper.make_node(
        operator, ["x", "w", "r", "b"], ["", *states], name="cell", hidden_size=HIDDEN, direction=direction
    )
    graph = helper.make_graph(
        [node],
        "states",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [STEPS, 1, INPUTS])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1, HIDDEN]) for name in states],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("operator", ["LSTM", "GRU"])
@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_last_states_agree_in_every_engine(operator: str, direction: str, tmp_path: Path) -> None:
    path = tmp_path / "states.onnx"
    onnx.save(recurrent(operator, direction), path)
    data = np.random.default_rng(1).normal(0, 1, (2, STEPS, 1, INPUTS)).astype(np.float32)
    package = api.compile(path, target="sram-dcim", calib={"x": data}, options=QuantOptions(method="minmax"))
    ran = package.run({"x": data}, check_samples=2)
    assert ran.checked is not None
    for agreement in (ran.checked.exact.against_reference, ran.checked.exact.against_golden):
        assert agreement.equal == agreement.values
    assert ran.checked.sqnr_vs_onnxruntime_db > 15
    assert np.abs(ran.outputs["h"]).max() > 0.05
    assert package.verify().errors == ()

"""One quantised cell twice: repeated over a sequence by the chip, and fed frame by frame; equal in every bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from bitline import api
from bitline.graph.model import Model
from bitline.graph.passes import simplify
from bitline.graph.states import state_pairs
from bitline.ir.kernels import Host
from bitline.quant.options import QuantOptions
from bitline.quant.ptq import quantize
from tests.graph.build import as_model

Array = npt.NDArray[Any]

STEPS, WIDE, HIDDEN = 100, 6, 8
STATES = {"LSTM": ("h", "c"), "GRU": ("h",)}
GATES = {"LSTM": 4, "GRU": 3}


def cell(kind: str) -> Model:
    """One step in float: (x, states) to (new states, y)."""
    rng = np.random.default_rng(len(kind))
    states, rows = STATES[kind], GATES[kind] * HIDDEN
    values = {
        "w": rng.standard_normal((1, rows, WIDE)) * 0.8,
        "r": rng.standard_normal((1, rows, HIDDEN)) * 0.5,
        "b": rng.standard_normal((1, 2 * rows)) * 0.3,
        "v": rng.standard_normal((HIDDEN, 3)),
    }
    ends = [f"{name}_out" for name in states]
    inner = helper.make_node(kind, ["x", "w", "r", "b", "", *states], ["", *ends], name="cell", hidden_size=HIDDEN)
    if kind == "GRU":
        inner.attribute.append(helper.make_attribute("linear_before_reset", 1))
    shape = [1, 1, HIDDEN]
    graph = helper.make_graph(
        [inner, helper.make_node("MatMul", ["h_out", "v"], ["y"], name="read")],
        kind,
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, WIDE]),
            *(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in states),
        ],
        [
            *(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ends),
            helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1, 3]),
        ],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in values.items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    proto.ir_version = 8
    onnx.checker.check_model(proto)
    return simplify(as_model(proto, kind))


def repeated(step: Model, kind: str) -> Model:
    """A Scan over `STEPS` frames whose body is the quantised step, from zeros on."""
    body = onnx.GraphProto()
    body.CopyFrom(step.proto.graph)
    order = [*STATES[kind], "x"]
    inputs = {value.name: value for value in step.proto.graph.input}
    del body.input[:]
    body.input.extend(inputs[name] for name in order)
    scale, zero = (
        numpy_helper.to_array(next(t for t in body.initializer if t.name == name))
        for name in ("x_scale", "x_zero_point")
    )
    shape = [1, 1, HIDDEN]
    ends = [f"{name}_out" for name in STATES[kind]]
    nodes = [
        helper.make_node("QuantizeLinear", ["frames", "sx", "zx"], ["frames_q"], name="in_q"),
        helper.make_node("DequantizeLinear", ["frames_q", "sx", "zx"], ["frames_dq"], name="in_dq"),
        helper.make_node(
            "Scan",
            [*(f"{name}0" for name in STATES[kind]), "frames_dq"],
            [*(f"{name}_last" for name in ends), "ys"],
            name="loop",
            body=body,
            num_scan_inputs=1,
        ),
    ]
    graph = helper.make_graph(
        nodes,
        f"{kind}_sequence",
        [helper.make_tensor_value_info("frames", TensorProto.FLOAT, [STEPS, 1, 1, WIDE])],
        [
            *(helper.make_tensor_value_info(f"{name}_last", TensorProto.FLOAT, shape) for name in ends),
            helper.make_tensor_value_info("ys", TensorProto.FLOAT, [STEPS, 1, 1, 3]),
        ],
        [
            numpy_helper.from_array(scale, "sx"),
            numpy_helper.from_array(zero, "zx"),
            *(numpy_helper.from_array(np.zeros(shape, np.float32), f"{name}0") for name in STATES[kind]),
        ],
    )
    proto = helper.make_model(graph, opset_imports=list(step.proto.opset_import))
    proto.ir_version = step.proto.ir_version
    onnx.checker.check_model(proto)
    return as_model(proto, f"{kind}_sequence")


@pytest.mark.parametrize(("kind", "target"), [("LSTM", "sram-dcim"), ("GRU", "sram-dcim"), ("LSTM", "reram-tile")])
def test_a_sequence_equals_its_frames_bit_for_bit(kind: str, target: str) -> None:
    step = cell(kind)
    pairs = state_pairs(step)
    assert pairs == tuple((f"{name}_out", name) for name in STATES[kind])
    rng = np.random.default_rng(1)
    frames = rng.standard_normal((STEPS, 1, 1, WIDE)).astype(np.float32)
    samples = {"x": rng.standard_normal((200, 1, WIDE)).astype(np.float32)}
    quantised = quantize(step, samples, QuantOptions(states=pairs)).model

    whole = api.compile(repeated(quantised, kind), target=target)
    network = whole.contents.network
    assert not any(isinstance(kernel, Host) for kernel in network.kernels)
    assert [repeat.count for repeat in network.repeats] == [STEPS]
    at_once = whole.run({"frames": frames[None]}, check_samples=1)
    assert at_once.checked is not None
    exact = at_once.checked.exact
    assert exact.against_reference.equal == exact.against_reference.values
    assert exact.against_golden.equal == exact.against_golden.values

    single = api.compile(quantised, target=target, state=[f"{out}={into}" for out, into in pairs])
    state = {into: np.zeros((1, 1, HIDDEN), np.float32) for _, into in pairs}
    made: list[Array] = []
    for frame in frames:
        ran = single.run({"x": frame, **state})
        made.append(ran.outputs["y"].reshape(-1))
        state = {into: ran.outputs[out].reshape(1, 1, HIDDEN).astype(np.float32) for out, into in pairs}
    assert np.std(made) > 0.1, "the outputs say something"
    np.testing.assert_array_equal(at_once.outputs["ys"].reshape(STEPS, -1), np.stack(made))
    for out, into in pairs:
        np.testing.assert_array_equal(at_once.outputs[f"{out}_last"].reshape(-1), state[into].reshape(-1), err_msg=out)

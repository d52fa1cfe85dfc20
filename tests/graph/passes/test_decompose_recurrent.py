"""LSTM and GRU written out give what ONNX Runtime's own operators give; what cannot be written out is named."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from bitline.engines.ort import run_model
from bitline.graph import shapes
from bitline.graph.passes.decompose_recurrent import decompose_recurrent, near_recurrent
from tests.graph.build import assert_same_function, lines, random_feeds

INPUTS, HIDDEN = 4, 6
GATES = {"LSTM": 4, "GRU": 3}


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    op_type: str = "LSTM"
    direction: str = "forward"
    steps: int = 1
    batch: int = 1
    bias: bool = True
    states: int = 0  # how many of h and c are given
    reset_last: int = 0
    outputs: tuple[str, ...] = ("y", "h", "c")
    layout: int = 0


def recurrent(case: Case, **attributes: Any) -> onnx.ModelProto:
    """One node `/rnn/LSTM` with random constant weights and inputs `x`, `h0`, `c0`."""
    rng = np.random.default_rng(1)
    directions = 2 if case.direction == "bidirectional" else 1
    rows = GATES[case.op_type] * HIDDEN
    weights = {
        "w": rng.standard_normal((directions, rows, INPUTS)),
        "r": rng.standard_normal((directions, rows, HIDDEN)),
        "b": rng.standard_normal((directions, 2 * rows)),
    }
    state = [case.batch, directions, HIDDEN] if case.layout else [directions, case.batch, HIDDEN]
    x = [case.batch, case.steps, INPUTS] if case.layout else [case.steps, case.batch, INPUTS]
    given_states = ["h0", "c0"][: case.states]
    operands = ["x", "w", "r", "b" if case.bias else "", "", *given_states]
    while not operands[-1]:
        operands.pop()
    if case.op_type == "GRU":
        attributes["linear_before_reset"] = case.reset_last
    if case.layout:
        attributes["layout"] = 1
    outputs = case.outputs[: 3 if case.op_type == "LSTM" else 2]
    node = helper.make_node(
        case.op_type, operands, outputs, name="/rnn/LSTM", hidden_size=HIDDEN, direction=case.direction, **attributes
    )
    graph = helper.make_graph(
        [node],
        "net",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, x),
            *(helper.make_tensor_value_info(name, TensorProto.FLOAT, state) for name in given_states),
        ],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs if name],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )
    return shapes.inferred(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))


def written_out(before: onnx.ModelProto) -> onnx.ModelProto:
    after = shapes.inferred(decompose_recurrent(before))
    assert not {"LSTM", "GRU"} & {node.op_type for node in after.graph.node}
    assert near_recurrent(before) == ()
    return after


DIRECTIONS = ("forward", "reverse", "bidirectional")


@pytest.mark.parametrize(("direction", "steps", "batch"), list(product(DIRECTIONS, (1, 5), (1, 3))))
@pytest.mark.parametrize(("bias", "states"), [(True, 0), (True, 1), (False, 2)])
def test_lstm(direction: str, steps: int, batch: int, bias: bool, states: int) -> None:
    before = recurrent(Case(direction=direction, steps=steps, batch=batch, bias=bias, states=states))
    assert_same_function(before, written_out(before), tolerance=1e-5)


@pytest.mark.parametrize(("direction", "steps", "batch"), list(product(DIRECTIONS, (1, 5), (1, 3))))
@pytest.mark.parametrize(("bias", "states", "reset_last"), [(True, 0, 1), (True, 1, 0), (False, 1, 1), (False, 0, 0)])
def test_gru(direction: str, steps: int, batch: int, bias: bool, states: int, reset_last: int) -> None:
    case = Case(
        op_type="GRU", direction=direction, steps=steps, batch=batch, bias=bias, states=states, reset_last=reset_last
    )
    before = recurrent(case)
    assert_same_function(before, written_out(before), tolerance=1e-5)


@pytest.mark.parametrize(("op_type", "direction", "steps"), list(product(GATES, DIRECTIONS, (1, 4))))
def test_batch_first_equals_batch_second_turned(op_type: str, direction: str, steps: int) -> None:
    """ONNX Runtime does not run layout 1 itself."""
    case = Case(op_type=op_type, direction=direction, steps=steps, batch=3, states=1)
    second = recurrent(case)
    first = written_out(recurrent(replace(case, layout=1)))
    feeds = random_feeds(second)
    wanted = run_model(second, feeds, optimise=False)
    got = run_model(first, {name: value.swapaxes(0, 1).copy() for name, value in feeds.items()}, optimise=False)
    for name, value in wanted.items():
        turned = value.transpose(2, 0, 1, 3) if name == "y" else value.swapaxes(0, 1)
        np.testing.assert_allclose(got[name], turned, rtol=1e-5, atol=1e-5, err_msg=name)


def test_one_step_of_an_lstm_in_full() -> None:
    after = written_out(recurrent(Case(states=2, outputs=("", "h", "c"))))
    assert lines(after) == [
        "/rnn/LSTM/rows = Reshape(x, /rnn/LSTM/shape_1_4)",
        "/rnn/LSTM/h0 = Reshape(h0, /rnn/LSTM/shape_1_6)",
        "/rnn/LSTM/c0 = Reshape(c0, /rnn/LSTM/shape_1_6)",
        "/rnn/LSTM/inputs = Gemm(/rnn/LSTM/rows, /rnn/LSTM/weights, /rnn/LSTM/bias)",
        "/rnn/LSTM/cell/states = MatMul(/rnn/LSTM/h0, /rnn/LSTM/cell/state_weights)",
        "/rnn/LSTM/cell/gates = Add(/rnn/LSTM/inputs, /rnn/LSTM/cell/states)",
        "/rnn/LSTM/cell/sums, /rnn/LSTM/cell/sum_g = Split(/rnn/LSTM/cell/gates, /rnn/LSTM/cell/split_18_6) axis=1",
        "/rnn/LSTM/cell/iof = Sigmoid(/rnn/LSTM/cell/sums)",
        "/rnn/LSTM/cell/i, /rnn/LSTM/cell/o, /rnn/LSTM/cell/f = "
        "Split(/rnn/LSTM/cell/iof, /rnn/LSTM/cell/split_6_6_6) axis=1",
        "/rnn/LSTM/cell/g = Tanh(/rnn/LSTM/cell/sum_g)",
        "/rnn/LSTM/cell/fresh = Mul(/rnn/LSTM/cell/i, /rnn/LSTM/cell/g)",
        "/rnn/LSTM/cell/kept = Mul(/rnn/LSTM/cell/f, /rnn/LSTM/c0)",
        "/rnn/LSTM/cell/c = Add(/rnn/LSTM/cell/kept, /rnn/LSTM/cell/fresh)",
        "/rnn/LSTM/cell/squashed = Tanh(/rnn/LSTM/cell/c)",
        "/rnn/LSTM/cell/h = Mul(/rnn/LSTM/cell/o, /rnn/LSTM/cell/squashed)",
        "/rnn/LSTM/y_h0 = Reshape(/rnn/LSTM/cell/h, /rnn/LSTM/shape_1_1_6)",
        "h = Concat(/rnn/LSTM/y_h0) axis=0",
        "/rnn/LSTM/y_c0 = Reshape(/rnn/LSTM/cell/c, /rnn/LSTM/shape_1_1_6)",
        "c = Concat(/rnn/LSTM/y_c0) axis=0",
    ]


def test_many_steps_are_one_scan_with_a_body_of_its_own() -> None:
    after = written_out(recurrent(Case(steps=7, states=2)))
    counts = Counter(node.op_type for node in after.graph.node)
    assert counts["Scan"] == 1
    assert counts["Gemm"] == 1  # the input's weights multiply all steps at once
    (scan,) = (node for node in after.graph.node if node.op_type == "Scan")
    assert list(scan.input) == ["/rnn/LSTM/h0", "/rnn/LSTM/c0", "/rnn/LSTM/steps"]
    body = next(entry.g for entry in scan.attribute if entry.name == "body")
    assert Counter(node.op_type for node in body.node)["MatMul"] == 1
    bound = {tensor.name for tensor in body.initializer} | {value.name for value in body.input}
    bound |= {name for node in body.node for name in node.output}
    assert {name for node in body.node for name in node.input} <= bound
    alone = helper.make_model(body, opset_imports=after.opset_import, ir_version=after.ir_version)
    onnx.checker.check_model(alone, full_check=True)


def test_both_directions_are_two_scans() -> None:
    after = written_out(recurrent(Case(steps=3, direction="bidirectional")))
    scans = [node for node in after.graph.node if node.op_type == "Scan"]
    ways = [[list(entry.ints) for entry in scan.attribute if entry.name.endswith("directions")] for scan in scans]
    assert ways == [[[0], [0]], [[1], [1]]]
    assert len({node.name for node in after.graph.node}) == len(after.graph.node)


def test_the_number_of_nodes_does_not_grow_with_the_steps() -> None:
    few, many = (len(written_out(recurrent(Case(steps=steps))).graph.node) for steps in (2, 100))
    assert few == many


def test_unread_outputs_are_not_made() -> None:
    after = written_out(recurrent(Case(steps=3, outputs=("", "h", ""))))
    assert [value.name for value in after.graph.output] == ["h"]
    assert "Concat" not in {node.op_type for node in after.graph.node if node.output[0] != "h"}


@pytest.mark.parametrize("activations", [["Sigmoid", "Relu", "Tanh"], ["Tanh", "Sigmoid", "Relu"]])
@pytest.mark.parametrize("steps", [1, 3])
def test_other_activations(activations: list[str], steps: int) -> None:
    before = recurrent(Case(steps=steps, states=2), activations=activations)
    assert_same_function(before, written_out(before), tolerance=1e-5)


def test_full_sequence_lens_are_the_same_as_none() -> None:
    before = recurrent(Case(steps=3, batch=2, states=1))
    before.graph.node[0].input[4] = "n"
    before.graph.initializer.append(numpy_helper.from_array(np.array([3, 3], np.int32), "n"))
    assert_same_function(before, written_out(before), tolerance=1e-5)


def _short(model: onnx.ModelProto) -> None:
    model.graph.node[0].input[4] = "n"
    model.graph.initializer.append(numpy_helper.from_array(np.array([3, 2], np.int32), "n"))


def _peepholes(model: onnx.ModelProto) -> None:
    model.graph.node[0].input.extend(["", "p"])
    model.graph.initializer.append(numpy_helper.from_array(np.ones((1, 3 * HIDDEN), np.float32), "p"))


def _variable(name: str) -> Any:
    def change(model: onnx.ModelProto) -> None:
        (tensor,) = (tensor for tensor in model.graph.initializer if tensor.name == name)
        model.graph.input.append(helper.make_tensor_value_info(name, tensor.data_type, tensor.dims))
        model.graph.initializer.remove(tensor)

    return change


@pytest.mark.parametrize(
    ("change", "attributes", "why"),
    [
        (_short, {}, "sequence_lens"),
        (_peepholes, {}, "peepholes"),
        (_variable("w"), {}, "weights that are no constants"),
        (_variable("r"), {}, "weights that are no constants"),
        (_variable("b"), {}, "a bias that is no constant"),
        (None, {"clip": 1.0}, "clip"),
        (None, {"input_forget": 1}, "input_forget"),
        (None, {"activations": ["Sigmoid", "Softsign", "Tanh"]}, "activations Sigmoid, Softsign, Tanh"),
        (None, {"activations": ["HardSigmoid", "Tanh", "Tanh"], "activation_alpha": [0.3]}, "activation_alpha"),
    ],
)
def test_what_stays_is_named(change: Any, attributes: dict[str, Any], why: str) -> None:
    before = recurrent(Case(steps=3, batch=2, states=1), **attributes)
    if change is not None:
        change(before)
    assert lines(decompose_recurrent(before)) == lines(before)
    (miss,) = near_recurrent(before)
    assert why in miss.why
    assert miss.why.startswith("/rnn/LSTM: LSTM ")


def test_a_plain_recurrent_layer_stays() -> None:
    node = helper.make_node("RNN", ["x", "w", "r"], ["y"], name="rnn", hidden_size=2)
    graph = helper.make_graph(
        [node],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [3, 1, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.ones((1, 2, 2), np.float32), name) for name in ("w", "r")],
    )
    before = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    assert lines(decompose_recurrent(before)) == lines(before)
    assert "is not written out" in near_recurrent(before)[0].why


def test_names_below_the_layers_own_stay_free() -> None:
    before = recurrent(Case(steps=2))
    before.graph.node.insert(0, helper.make_node("Relu", ["x"], ["/rnn/LSTM/rows"], name="relu"))
    before.graph.node[1].input[0] = "/rnn/LSTM/rows"
    after = written_out(shapes.inferred(before))
    assert after.graph.node[1].name == "/rnn/LSTM_/rows"
    assert_same_function(before, after, tolerance=1e-5)


@given(
    op_type=st.sampled_from(sorted(GATES)),
    direction=st.sampled_from(DIRECTIONS),
    steps=st.integers(1, 12),
    batch=st.integers(1, 3),
    states=st.integers(0, 1),
    reset_last=st.integers(0, 1),
)
def test_the_function_stays(op_type: str, direction: str, steps: int, batch: int, states: int, reset_last: int) -> None:
    case = Case(op_type=op_type, direction=direction, steps=steps, batch=batch, states=states, reset_last=reset_last)
    before = recurrent(case)
    assert_same_function(before, written_out(before), tolerance=2e-5)

"""The plan: what is a step, what shares a grid with what, and what stays in float."""

from __future__ import annotations

import numpy as np
import pytest

from bitline.graph.passes.name_nodes import name_nodes
from bitline.quant.kinds import Kind
from bitline.quant.steps import Plan, plan_steps
from tests.graph.build import as_model, parsed

W = np.ones((2, 2, 1, 1), np.float32)
X = "float[1,2,4,4] x) => (float[1,2,4,4] y"


def planned(
    signature: str,
    body: str,
    constants: dict[str, np.ndarray] | None = None,
    leave: dict[str, str] | None = None,
    opset: int = 17,
) -> Plan:
    return plan_steps(as_model(name_nodes(parsed(signature, body, constants, opset=opset))), leave or {})


def steps(
    signature: str, body: str, constants: dict[str, np.ndarray] | None = None, leave: dict[str, str] | None = None
) -> list[tuple[str, Kind, str]]:
    plan = planned(signature, body, constants, leave)
    return [(step.node, step.kind, step.activation) for step in plan.steps]


def test_relu_and_clip_join_the_layer_before_them() -> None:
    body = "a = Conv(x, w) b = Relu(a) c = Add(b, x) d = Clip(c, low) e = MaxPool<kernel_shape = [1, 1]>(d) y = Relu(e)"
    assert steps(X, body, {"w": W, "low": np.array(0, np.float32)}) == [
        ("Conv_a", Kind.MATMUL, "Relu_b"),
        ("Add_c", Kind.ELEMENTWISE, "Clip_d"),
        ("MaxPool_e", Kind.MOVE, ""),
        ("Relu_y", Kind.UNARY, ""),
    ]


def test_a_relu_stays_apart_where_others_read_the_layer() -> None:
    assert [step[2] for step in steps(X, "a = Conv(x, w) b = Relu(a) y = Add(a, b)", {"w": W})] == ["", "", ""]
    two = "float[1,2,4,4] x) => (float[1,2,4,4] y, float[1,2,4,4] a"
    assert [step[2] for step in steps(two, "a = Conv(x, w) y = Relu(a)", {"w": W})] == ["", ""]


def test_a_clip_with_computed_limits_or_left_in_float_stays_apart() -> None:
    signature = "float[1,2,4,4] x, float high) => (float[1,2,4,4] y"
    assert [step[2] for step in steps(signature, "a = Conv(x, w) y = Clip(a, , high)", {"w": W})] == [""]
    assert steps(X, "a = Conv(x, w) y = Relu(a)", {"w": W}, {"Relu_y": "told so"}) == [("Conv_a", Kind.MATMUL, "")]


@pytest.mark.parametrize(
    ("trans", "shape", "axis"),
    [(0, (4, 3), 1), (1, (3, 4), 0)],
)
def test_the_weight_axis_of_gemm(trans: int, shape: tuple[int, int], axis: int) -> None:
    body = f"y = Gemm<transB = {trans}>(x, w, b)"
    weights = {"w": np.ones(shape, np.float32), "b": np.ones(3, np.float32)}
    (step,) = planned("float[1,4] x) => (float[1,3] y", body, weights).steps
    assert (step.weight, step.weight_axis, step.bias) == ("w", axis, "b")


@pytest.mark.parametrize(("group", "axis"), [(1, 1), (2, None)])
def test_the_weight_axis_of_a_transposed_convolution(group: int, axis: int | None) -> None:
    (step,) = planned("float[1,2,4,4] x) => (float y", f"y = ConvTranspose<group = {group}>(x, w)", {"w": W}).steps
    assert (step.kind, step.weight_axis) == (Kind.MATMUL, axis)


def test_operands_are_activations_or_constants() -> None:
    signature = "float[4] x, bool[4] c, int64[2] i) => (float[4] y, float[2,4] z"
    body = "a = Max(x, k, x) y = Where(c, k, a) z = Gather(t, i)"
    plan = planned(signature, body, {"k": np.ones(4, np.float32), "t": np.ones((3, 4), np.float32)})
    found = {step.op_type: (step.inputs, step.constants) for step in plan.steps}
    assert found == {"Max": (("x", "x"), ("k",)), "Where": (("a",), ("k",)), "Gather": ((), ("t",))}


def test_moves_share_the_grid_of_what_they_move() -> None:
    signature = "float[2,4] x, int64[2] i) => (float y, float z, float[2,4] u"
    body = "a, b = Split<axis = 1>(x) c = Transpose(a) y = Exp(c) z = Concat<axis = 0>(a, b) u = Gather(t, i)"
    owner = planned(signature, body, {"t": np.ones((3, 4), np.float32)}).owner
    assert owner == {"x": "x", "a": "x", "b": "x", "c": "x", "y": "y", "z": "z", "u": "t"}


def test_what_a_float_node_makes_is_quantised_only_for_a_step() -> None:
    plan = planned("float[2,4] x) => (float y, float z", "a = LogSoftmax(x) b = LogSoftmax(a) y = Exp(b) z = Relu(x)")
    assert plan.owner == {"b": "b", "y": "y", "x": "x", "z": "z"}
    assert [(left.op_type, left.why) for left in plan.left] == [("LogSoftmax", "no integer form")] * 2


def test_moves_between_float_nodes_stay_in_float() -> None:
    body = "a = LogSoftmax(x) b = Transpose(a) c = Flatten(b) d = LogSoftmax(c) y = Flatten(d)"
    plan = planned("float[2,4] x) => (float y", body)
    assert plan.steps == ()
    assert {left.why for left in plan.left if left.op_type != "LogSoftmax"} == {"moves what is float before and after"}


def test_moves_that_a_step_makes_or_reads_are_quantised() -> None:
    before = planned("float[2,4] x) => (float y", "a = Exp(x) b = Transpose(a) y = LogSoftmax(b)")
    after = planned("float[2,4] x) => (float y", "a = LogSoftmax(x) b = Transpose(a) y = Exp(b)")
    fork = planned("float[2,4] x) => (float y, float z", "a = Flatten(x) b = Transpose(a) y = LogSoftmax(b) z = Exp(a)")
    alone = planned("float[2,4] x) => (float y", "y = Transpose(x)")
    assert [[step.op_type for step in plan.steps] for plan in (before, after, fork, alone)] == [
        ["Exp", "Transpose"],
        ["Transpose", "Exp"],
        ["Flatten", "Transpose", "Exp"],
        ["Transpose"],
    ]
    assert after.owner == {"a": "a", "b": "a", "y": "y"}


def test_integers_are_not_reported() -> None:
    signature = "int64[4] i, bool[4] c) => (int64[4] y, bool[4] d"
    plan = planned(signature, "y = Add(i, i) d = Not(c)")
    assert (plan.steps, plan.left, plan.owner) == ((), (), {})


def test_a_node_told_to_stay_in_float() -> None:
    plan = planned(X, "a = Conv(x, w) y = Exp(a)", {"w": W}, {"Conv_a": "for a test"})
    assert [(left.node, left.op_type, left.why) for left in plan.left] == [("Conv_a", "Conv", "for a test")]
    assert plan.owner == {"a": "a", "y": "y"}


def test_results_of_repetitions_that_are_joined_get_one_grid() -> None:
    """Between floats a Concat stays float; the ends of two Scans meet on a grid, as the chip repeats both."""
    scan = "Scan<num_scan_inputs = 1, body = g (float[2] s, float[2] i) => (float[2] o) {o = Add(s, i)}>"
    joined = f"a = {scan}(h, x) b = {scan}(h, x) y = Concat<axis = 0>(a, b)"
    signature = "float[2] h, float[3,2] x) => (float[4] y"
    model = as_model(name_nodes(parsed(signature, joined)))
    assert [step.op_type for step in plan_steps(model).steps] == ["Concat"]
    alone = as_model(
        name_nodes(
            parsed(
                "float[2] h, float[3,2] x) => (float[1,2] y",
                f"a = {scan}(h, x) y = Unsqueeze(a, k)",
                {"k": np.array([0])},
            )
        )
    )
    assert plan_steps(alone).steps == ()

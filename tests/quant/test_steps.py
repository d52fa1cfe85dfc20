"""The plan of steps, and the list of everything that cannot be quantised."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from bitline.core.diagnostics import Refusal
from bitline.graph.passes.name_nodes import name_nodes
from bitline.quant.steps import Kind, plan_steps
from tests.graph.build import as_model, parsed

W = np.ones((2, 2, 1, 1), np.float32)
X = "float[1,2,4,4] x) => (float[1,2,4,4] y"


def plan(signature: str, body: str, constants: dict[str, np.ndarray] | None = None) -> list[tuple[str, Kind, str]]:
    model = as_model(name_nodes(parsed(signature, body, constants)))
    return [(step.node, step.kind, step.activation) for step in plan_steps(model)]


def test_relu_and_clip_join_the_layer_before_them() -> None:
    body = "a = Conv(x, w) b = Relu(a) c = Add(b, x) d = Clip(c, low) e = MaxPool<kernel_shape = [1, 1]>(d) y = Relu(e)"
    assert plan(X, body, {"w": W, "low": np.array(0, np.float32)}) == [
        ("Conv_a", Kind.MATMUL, "Relu_b"),
        ("Add_c", Kind.ADD, "Clip_d"),
        ("MaxPool_e", Kind.MOVE, ""),
        ("Relu_y", Kind.UNARY, ""),
    ]


def test_a_relu_stays_apart_where_others_read_the_layer() -> None:
    assert [step[2] for step in plan(X, "a = Conv(x, w) b = Relu(a) y = Add(a, b)", {"w": W})] == ["", "", ""]
    two = "float[1,2,4,4] x) => (float[1,2,4,4] y, float[1,2,4,4] a"
    assert [step[2] for step in plan(two, "a = Conv(x, w) y = Relu(a)", {"w": W})] == ["", ""]


@pytest.mark.parametrize(
    ("trans", "shape", "axis"),
    [(0, (4, 3), 1), (1, (3, 4), 0)],
)
def test_the_weight_axis_of_gemm(trans: int, shape: tuple[int, int], axis: int) -> None:
    body = f"y = Gemm<transB = {trans}>(x, w, b)"
    weights = {"w": np.ones(shape, np.float32), "b": np.ones(3, np.float32)}
    (step,) = plan_steps(as_model(parsed("float[1,4] x) => (float[1,3] y", body, weights)))
    assert (step.weight, step.weight_axis, step.bias) == ("w", axis, "b")


def test_all_unsupported_operators_are_listed_at_once() -> None:
    body = "a = Conv(x, w) b = Concat<axis = 1>(a, x) c = Relu(b) i = TopK_free(c) y = Relu(a)".replace(
        "i = TopK_free(c)", "s = ReduceMax(c)"
    )
    with pytest.raises(Refusal) as refusal:
        plan(X, body, {"w": W})
    assert [(d.code, d.place) for d in refusal.value.diagnostics] == [
        ("BL0301", "net.onnx:Concat_b"),
        ("BL0301", "net.onnx:ReduceMax_s"),
    ]
    assert refusal.value.exit_code == 3


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("y = Conv(x, x)", "should be constant"),
        ("y = MatMul(x, x)", "should be constant"),
        ('y = Conv<auto_pad = "VALID">(x, w)', "auto_pad"),
        ("y = Pad(x, none, one)", "value other than 0"),
        ("a = ReduceMean<axes = [1], keepdims = 1>(x) y = Add(x, a)", "not the mean over height and width"),
        ("y, i = MaxPool<kernel_shape = [1, 1]>(x) j = Cast<to = 1>(i)", "second output"),
        ("d = Cast<to = 11>(x) e = Relu(d) y = Cast<to = 1>(e)", "not float32"),
        ("d = Relu(w) y = Relu(x)", "inputs are constant"),
    ],
)
def test_forms_that_cannot_be_quantised(body: str, said: str) -> None:
    constants = {"w": W, "none": np.zeros(8, np.int64), "one": np.array(1, np.float32)}
    with pytest.raises(Refusal) as refusal:
        plan(X, body, constants)
    assert said in " ".join(d.message for d in refusal.value.diagnostics if d.code == "BL0302")


@pytest.mark.parametrize("attribute", ["transA = 1", "alpha = 2.0", "beta = 2.0"])
def test_gemm_in_another_form(attribute: str) -> None:
    proto: onnx.ModelProto = parsed(
        "float[3,3] x) => (float[3,3] y",
        f"y = Gemm<{attribute}>(x, w, b)",
        {"w": np.eye(3, dtype=np.float32), "b": np.ones(3, np.float32)},
    )
    with pytest.raises(Refusal) as refusal:
        plan_steps(as_model(proto))
    assert "transA, alpha or beta" in refusal.value.diagnostics[0].message

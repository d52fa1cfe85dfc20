"""Polynomials are read off the graph, names of fused nodes keep the common folder."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitline.engines.ort import run_model
from bitline.graph.model import Wiring
from bitline.graph.passes.match import (
    close,
    constant_operand,
    fused_name,
    polynomial,
    reduced_axes,
    same_polynomial,
    scalar,
)
from tests.graph.build import parsed

VALUES = {
    "two": np.array(2, np.float32),
    "three": np.array([[3]], np.float32),
    "half": np.array(0.5, np.float32),
    "zero": np.array(0, np.float32),
    "many": np.array([1, 2], np.float32),
}
X = "float[2] x, float[2] z) => (float[2] y"


def poly(body: str, name: str = "y") -> tuple[float, ...] | None:
    return polynomial(Wiring(parsed(X, body, VALUES).graph), name, "x")


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        ("y = Add(x, three)", (3, 1)),
        ("y = Sub(three, x)", (3, -1)),
        ("y = Neg(x)", (0, -1)),
        ("y = Div(x, two)", (0, 0.5)),
        ("y = Pow(x, two)", (0, 0, 1)),
        ("y = Pow(x, three)", (0, 0, 0, 1)),
        ("a = Mul(x, x) b = Mul(a, x) c = Mul(b, half) y = Add(c, x)", (0, 1, 0, 0.5)),
        ("a = Add(x, two) y = Mul(a, a)", (4, 4, 1)),
    ],
)
def test_polynomials(body: str, wanted: tuple[float, ...]) -> None:
    found = poly(body)
    assert found is not None
    assert same_polynomial(found, wanted)


@pytest.mark.parametrize(
    "body",
    [
        "y = Add(x, z)",
        "y = Exp(x)",
        "y = Mul(x, many)",
        "y = Div(two, x)",
        "y = Div(x, zero)",
        "y = Pow(x, half)",
        "a = Pow(x, three) y = Mul(a, x)",  # of degree 4
    ],
)
def test_no_polynomials(body: str) -> None:
    assert poly(body) is None


def test_a_deep_chain_is_given_up() -> None:
    body = " ".join(f"t{i + 1} = Add({'x' if i == 0 else f't{i}'}, two)" for i in range(30))
    assert poly(f"{body} y = Relu(t30)", "t30") is None
    assert poly(f"{body} y = Relu(t30)", "t5") == (10.0, 1.0)


@given(st.lists(st.sampled_from(["add", "mul", "sub", "neg", "square"]), min_size=1, max_size=5), st.floats(-2, 2))
def test_a_polynomial_gives_what_the_graph_gives(steps: list[str], at: float) -> None:
    templates = {"add": "Add({}, two)", "mul": "Mul({}, half)", "sub": "Sub(three, {})", "neg": "Neg({})"}
    body, last = "", "x"
    for index, step in enumerate(steps):
        call = "Mul({0}, {0})" if step == "square" else templates[step]
        body += f"t{index} = {call.format(last)} "
        last = f"t{index}"
    proto = parsed(
        "float[2] x) => (float[a,b] y" if "three" in body else "float[2] x) => (float[2] y",
        f"{body} y = Identity({last})",
        VALUES,
    )
    found = polynomial(Wiring(proto.graph), last, "x")
    if found is None:
        assert steps.count("square") > 1
        return
    value = run_model(proto, {"x": np.full(2, at, np.float32)}, optimise=False)["y"].reshape(-1)[0]
    wanted = sum(coefficient * np.float32(at) ** power for power, coefficient in enumerate(found))
    assert abs(value - wanted) <= 1e-3 * (1 + abs(wanted))


def test_scalars_and_constant_operands() -> None:
    graph = parsed(X, "a = Mul(x, two) b = Mul(many, a) y = Add(b, z)", VALUES).graph
    wiring = Wiring(graph)
    assert scalar(wiring, "three") == 3.0
    assert scalar(wiring, "many") is None
    assert scalar(wiring, "x") is None
    (first, second, third) = graph.node
    found = constant_operand(second, wiring)
    assert found is not None
    assert found[0] == "a"
    np.testing.assert_array_equal(found[1], [1, 2])
    assert constant_operand(first, wiring) is not None
    assert constant_operand(third, wiring) is None


@pytest.mark.parametrize(
    ("opset", "body", "wanted"),
    [
        (13, "y = ReduceMean<axes = [-1, 0]>(x)", (0, 2)),
        (13, "y = ReduceMean(x)", (0, 1, 2)),
        (18, "y = ReduceMean(x, axes)", (1,)),
        (18, "y = ReduceMean<noop_with_empty_axes = 1>(x)", ()),
    ],
)
def test_axes_of_reductions(opset: int, body: str, wanted: tuple[int, ...]) -> None:
    proto = parsed("float[2,3,4] x) => (float[a,b,c] y", body, {"axes": np.array([1], np.int64)}, opset=opset)
    assert reduced_axes(proto.graph.node[0], Wiring(proto.graph)) == wanted


def test_axes_that_are_computed_are_unknown() -> None:
    proto = parsed("float[2,3] x, int64[1] axes) => (float[a,b] y", "y = ReduceMean(x, axes)", opset=18)
    assert reduced_axes(proto.graph.node[0], Wiring(proto.graph)) is None


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        (["/a/norm/Sub", "/a/norm/Div"], "/a/norm/Gelu"),
        (["/a/norm/Sub", "/a/Mul"], "/a/Gelu"),
        (["/Sub", "/Div"], "/Sub/Gelu"),
        (["p2o.Div.3", "p2o.Mul.9"], "p2o.Div.3/Gelu"),
    ],
)
def test_names_keep_the_common_folder(names: list[str], wanted: str) -> None:
    nodes = [onnx.helper.make_node("Sub", ["a"], ["b"], name=name) for name in names]
    assert fused_name(nodes, "Gelu") == wanted


def test_digits_that_exporters_drop_do_not_matter() -> None:
    assert close(1.41421, 2**0.5)
    assert not close(1.414, 2**0.5)
    assert same_polynomial((0.0, 1.0, 0.0), (0.0, 1.0))
    assert not same_polynomial((1.0, 1.0), (0.0, 1.0))

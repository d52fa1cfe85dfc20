"""LayerNorm as exporters write it is recognised with the same function; what only resembles it is named and stays."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitline.graph.passes.fuse_layernorm import fuse_layernorm, near_layernorms
from bitline.graph.passes.raise_opset import opset_of
from tests.graph.build import assert_same_function, constants, lines, parsed

X = "float[2,5,6] x) => (float[2,5,6] y"
EPSILON = np.array(1e-5, np.float32)
LINE = {
    "eps": EPSILON,
    "two": np.array(2, np.float32),
    "one": np.array(1, np.float32),
    "half": np.array(0.5, np.float32),
    "minus_half": np.array(-0.5, np.float32),
    "g": np.linspace(0.5, 1.5, 6, dtype=np.float32),
    "b": np.linspace(-1, 1, 6, dtype=np.float32),
}
CORE = (
    "m = ReduceMean<axes = [-1]>(x) d = Sub(x, m) p = Pow(d, two) v = ReduceMean<axes = [-1]>(p) "
    "e = Add(v, eps) s = Sqrt(e) "
)


def layernorm(body: str, extra: dict[str, np.ndarray] | None = None, opset: int = 13) -> onnx.ModelProto:
    proto = parsed(X, body, LINE | (extra or {}), opset=opset)
    for node in proto.graph.node:
        node.name = f"/norm/{node.op_type}_{node.output[0]}"
    return proto


def fused(before: onnx.ModelProto, inputs: int = 3) -> onnx.NodeProto:
    """The single node that is left, after a check that it does the same."""
    after = fuse_layernorm(before)
    assert [node.op_type for node in after.graph.node] == ["LayerNormalization"], lines(after)
    assert opset_of(after) >= 17
    assert_same_function(before, after, tolerance=1e-5)
    (node,) = after.graph.node
    assert len(node.input) == inputs
    assert node.name == "/norm/LayerNormalization"
    assert near_layernorms(before) == ()
    return node


def test_as_torch_writes_it() -> None:
    before = layernorm(f"{CORE} n = Div(d, s) a = Mul(n, g) y = Add(a, b)")
    node = fused(before)
    values = constants(fuse_layernorm(before))
    np.testing.assert_array_equal(values[node.input[1]], LINE["g"])
    np.testing.assert_array_equal(values[node.input[2]], LINE["b"])
    assert [list(node.output), node.input[0]] == [["y"], "x"]


@pytest.mark.parametrize(
    ("body", "inputs"),
    [
        (f"{CORE} n = Div(d, s) a = Mul(g, n) y = Add(b, a)", 3),  # the constant first
        (f"{CORE} n = Div(d, s) y = Mul(n, g)", 2),  # no beta
        (f"{CORE} n = Div(d, s) y = Add(n, b)", 3),  # no gamma
        (f"{CORE} y = Div(d, s)", 2),
        (CORE.replace("Pow(d, two)", "Mul(d, d)") + "y = Div(d, s)", 2),
        (CORE + "m2 = ReduceMean<axes = [2]>(x) d2 = Sub(x, m2) y = Div(d2, s)", 2),  # the mean taken twice
        (CORE.replace("[-1]", "[1, 2]") + "y = Div(d, s)", 2),  # the last two axes
        (CORE.replace("[-1]", "[-1, -2]") + "y = Div(d, s)", 2),
        (CORE.replace("e = Add(v, eps) s = Sqrt(e)", "s = Sqrt(v)") + "y = Div(d, s)", 2),  # no epsilon
        (CORE.replace("Add(v, eps)", "Add(eps, v)") + "y = Div(d, s)", 2),
        (CORE.replace("Sqrt(e)", "Pow(e, half)") + "y = Div(d, s)", 2),
        (f"{CORE} r = Reciprocal(s) n = Mul(d, r) a = Mul(n, g) y = Add(a, b)", 3),
        (f"{CORE} r = Div(one, s) y = Mul(r, d)", 2),
        (CORE.replace("Sqrt(e)", "Pow(e, minus_half)") + "n = Mul(d, s) y = Mul(n, g)", 2),
        (
            CORE.replace("Sqrt(e)", "Pow(e, minus_half)")
            + "f = Mul(s, g) a = Mul(x, f) c = Mul(m, f) h = Sub(b, c) y = Add(a, h)",
            3,
        ),
        (f"{CORE} r = Reciprocal(s) f = Mul(r, g) a = Mul(x, f) c = Mul(m, f) h = Sub(b, c) y = Add(a, h)", 3),
        (f"{CORE} r = Reciprocal(s) f = Mul(g, r) a = Mul(f, x) c = Mul(f, m) h = Sub(b, c) y = Add(h, a)", 3),
        (f"{CORE} r = Reciprocal(s) a = Mul(x, r) c = Mul(m, r) h = Sub(b, c) y = Add(a, h)", 3),
    ],
)
def test_other_ways_to_write_it(body: str, inputs: int) -> None:
    fused(layernorm(body), inputs)


def test_axes_as_an_input() -> None:
    body = CORE.replace("ReduceMean<axes = [-1]>(x)", "ReduceMean(x, axes)")
    body = body.replace("ReduceMean<axes = [-1]>(p)", "ReduceMean(p, axes)")
    fused(layernorm(f"{body} y = Div(d, s)", {"axes": np.array([2], np.int64)}, opset=18), 2)


def test_a_gamma_of_one_number_or_with_axes_of_1_is_spread() -> None:
    for shape in ((), (1,), (1, 1, 6), (6,)):
        gamma = np.full(shape, 0.5, np.float32)
        before = layernorm(f"{CORE} n = Div(d, s) y = Mul(n, k)", {"k": gamma})
        node = fused(before, 2)
        assert constants(fuse_layernorm(before))[node.input[1]].shape == (6,)


def test_gamma_over_other_axes_stays_outside() -> None:
    before = layernorm(f"{CORE} n = Div(d, s) y = Mul(n, k)", {"k": np.ones((5, 1), np.float32)})
    after = fuse_layernorm(before)
    assert [node.op_type for node in after.graph.node] == ["LayerNormalization", "Mul"]
    assert_same_function(before, after)


def test_what_others_read_is_still_computed() -> None:
    before = parsed("float[2,5,6] x) => (float[2,5,6] y, float[2,5,1] v", f"{CORE} y = Div(d, s)", LINE, opset=17)
    after = fuse_layernorm(before)
    assert [node.op_type for node in after.graph.node] == [
        "ReduceMean",
        "Sub",
        "Pow",
        "ReduceMean",
        "LayerNormalization",
    ]
    assert_same_function(before, after)


def test_two_norms_get_two_names() -> None:
    second = (
        "m2 = ReduceMean<axes = [-1]>(n) d2 = Sub(n, m2) p2 = Mul(d2, d2) v2 = ReduceMean<axes = [-1]>(p2) "
        "e2 = Add(v2, eps) s2 = Sqrt(e2) y = Div(d2, s2)"
    )
    before = layernorm(f"{CORE} n = Div(d, s) {second}")
    after = fuse_layernorm(before)
    assert [node.name for node in after.graph.node] == ["/norm/LayerNormalization", "/norm/LayerNormalization_1"]
    assert_same_function(before, after)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (CORE.replace("[-1]", "[1]") + "y = Div(d, s)", "axes [1] of 3, not the last ones"),
        (CORE.replace("v = ReduceMean<axes = [-1]>", "v = ReduceMean<axes = [1]>") + "y = Div(d, s)", "different"),
        (CORE + "y = Div(x, s)", "not the deviation"),
        (CORE.replace("Pow(d, two)", "Mul(d, x)") + "y = Div(d, s)", "not one of squares"),
        (CORE.replace("Pow(d, two)", "Pow(d, three)") + "y = Div(d, s)", "not one of squares"),
        (
            CORE.replace("m = ReduceMean<axes = [-1]>(x)", "m = ReduceMax<axes = [-1]>(x)") + "y = Div(d, s)",
            "not the mean",
        ),
        (f"{CORE} r = Reciprocal(s) q = Exp(x) a = Mul(q, r) c = Mul(m, r) h = Sub(b, c) y = Add(a, h)", "whose mean"),
    ],
)
def test_near_misses_stay_and_are_named(body: str, why: str) -> None:
    before = layernorm(body, {"three": np.array(3, np.float32)})
    assert lines(fuse_layernorm(before)) == lines(before)
    (miss,) = near_layernorms(before)
    assert why in miss.why
    assert miss.why.startswith("/norm/")


@pytest.mark.parametrize("body", ["r = Div(two, s) y = Mul(d, r)", "r = Pow(e, two) y = Mul(d, r)", "y = Mul(d, s)"])
def test_other_factors_stay(body: str) -> None:
    before = layernorm(f"{CORE} {body}")
    after = fuse_layernorm(before)
    assert not any(node.op_type == "LayerNormalization" for node in after.graph.node)
    assert_same_function(before, after, tolerance=0)


def test_epsilon_beside_the_root_is_another_function() -> None:
    before = layernorm(CORE.replace("e = Add(v, eps) s = Sqrt(e)", "e = Sqrt(v) s = Add(e, eps)") + "y = Div(d, s)")
    assert lines(fuse_layernorm(before)) == lines(before)


def test_an_opset_that_cannot_be_raised_is_named() -> None:
    before = parsed(
        "float[1,1,4,4] x, float[1,4] r, int64[1] i) => (float[1,1,4,4] y, float[1,1,1,1] z",
        f"{CORE} y = Div(d, s) z = RoiAlign(x, r, i)",
        LINE,
        opset=13,
    )
    assert lines(fuse_layernorm(before)) == lines(before)
    (miss,) = near_layernorms(before)
    assert "RoiAlign has changed" in miss.why


@given(
    shape=st.lists(st.integers(2, 4), min_size=2, max_size=4),
    axes=st.integers(1, 2),
    gamma=st.booleans(),
    beta=st.booleans(),
    square=st.sampled_from(["Pow(d, two)", "Mul(d, d)"]),
    epsilon=st.sampled_from([1e-3, 1e-5, 1e-12]),
    opset=st.sampled_from([13, 17, 18]),
)
def test_the_function_stays(
    shape: list[int], axes: int, gamma: bool, beta: bool, square: str, epsilon: float, opset: int
) -> None:
    rng = np.random.default_rng(len(shape))
    inner = shape[-axes:]
    over = list(range(-axes, 0))
    mean = "ReduceMean({}, axes)" if opset >= 18 else f"ReduceMean<axes = {over}>({{}})"
    body = f"m = {mean.format('x')} d = Sub(x, m) p = {square} v = {mean.format('p')} e = Add(v, eps) s = Sqrt(e) "
    body += "n = Div(d, s) " + ("a = Mul(n, g) " if gamma else "a = Identity(n) ")
    body += "y = Add(a, b)" if beta else "y = Identity(a)"
    sizes = ",".join(map(str, shape))
    values = {
        "eps": np.array(epsilon, np.float32),
        "two": np.array(2, np.float32),
        "g": rng.standard_normal(inner).astype(np.float32),
        "b": rng.standard_normal(inner).astype(np.float32),
        "axes": np.array(over, np.int64),
    }
    before = parsed(f"float[{sizes}] x) => (float[{sizes}] y", body, values, opset=opset)
    after = fuse_layernorm(before)
    assert sum(node.op_type == "LayerNormalization" for node in after.graph.node) == 1
    assert not any(node.op_type == "Sqrt" for node in after.graph.node)
    assert_same_function(before, after, tolerance=1e-4)

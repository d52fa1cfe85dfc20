"""GELU is recognised in every order of its factors with the same function; what only resembles it stays."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitline.graph.passes.fuse_gelu import fuse_gelu, near_gelus
from bitline.graph.passes.raise_opset import opset_of
from tests.graph.build import assert_same_function, lines, parsed

X = "float[3,40] x) => (float[3,40] y"
VALUES = {
    "root2": np.array(1.4142135381698608, np.float32),  # as torch writes it
    "paddle_root2": np.array(1.41421, np.float32),
    "inverse": np.array([0.70710677], np.float32),
    "half": np.array(0.5, np.float32),
    "one": np.array(1, np.float32),
    "two": np.array([[2]], np.float32),
    "three": np.array(3, np.float32),
    "cubic": np.array(0.044715, np.float32),
    "root": np.array(0.7978845608028654, np.float32),
    "many": np.full(40, 0.5, np.float32),
}
ERF = "t = Div(x, root2) f = Erf(t) g = Add(f, one) "
CUBE = "p = Pow(x, three) q = Mul(p, cubic) u = Add(x, q) t = Mul(u, root) f = Tanh(t) g = Add(f, one) "


def gelu(body: str, opset: int = 17, signature: str = X) -> onnx.ModelProto:
    proto = parsed(signature, body, VALUES, opset=opset)
    for node in proto.graph.node:
        node.name = f"/mlp/act/{node.op_type}_{node.output[0]}"
    return proto


def check_fused(before: onnx.ModelProto, approximate: str = "") -> None:
    after = fuse_gelu(before)
    suffix = f" approximate={approximate}" if approximate else ""
    assert lines(after) == [f"y = Gelu(x){suffix}"]
    assert after.graph.node[0].name == "/mlp/act/Gelu"
    assert opset_of(after) == 20
    assert near_gelus(before) == ()
    assert_same_function(before, after, tolerance=1e-5)


@pytest.mark.parametrize(
    "body",
    [
        f"{ERF} a = Mul(x, g) y = Mul(a, half)",  # torch, transformers
        f"{ERF} a = Mul(half, x) y = Mul(a, g)",  # timm, TensorFlow
        f"{ERF} a = Mul(g, half) y = Mul(x, a)",
        f"{ERF} a = Mul(x, g) y = Div(a, two)",
        f"{ERF} a = Div(x, two) y = Mul(g, a)",
        "t = Mul(inverse, x) f = Erf(t) g = Add(one, f) a = Mul(g, x) y = Mul(half, a)",
        "t = Div(x, paddle_root2) f = Erf(t) g = Add(f, one) a = Mul(x, g) y = Mul(a, half)",
        "t = Div(x, root2) f = Erf(t) h = Mul(f, half) g = Add(h, half) y = Mul(x, g)",
        "t = Div(x, root2) f = Erf(t) g = Add(f, one) h = Mul(x, half) y = Mul(h, g)",
    ],
)
def test_erf(body: str) -> None:
    check_fused(gelu(body))


@pytest.mark.parametrize(
    "body",
    [
        f"{CUBE} a = Mul(half, x) y = Mul(a, g)",
        f"{CUBE} a = Mul(x, g) y = Mul(a, half)",
        "s = Mul(x, x) p = Mul(s, x) q = Mul(cubic, p) u = Add(q, x) t = Mul(root, u) f = Tanh(t) g = Add(one, f) "
        "h = Mul(half, g) y = Mul(x, h)",
        # x * (1 + 0.044715 x^2), as GPT-2 and TensorFlow have it
        "s = Mul(x, x) q = Mul(s, cubic) w = Add(q, one) r = Mul(x, root) t = Mul(r, w) f = Tanh(t) g = Add(f, one) "
        "a = Mul(half, x) y = Mul(a, g)",
    ],
)
def test_tanh(body: str) -> None:
    check_fused(gelu(body), "tanh")


def test_the_factors_in_every_order() -> None:
    for first, second, third in permutations(["x", "g", "half"]):
        for left in (True, False):
            last = f"y = Mul(a, {third})" if left else f"y = Mul({third}, a)"
            check_fused(gelu(f"{ERF} a = Mul({first}, {second}) {last}"))


def test_an_input_that_is_itself_a_sum() -> None:
    before = gelu("z = Add(x, many) t = Div(z, root2) f = Erf(t) g = Add(f, one) a = Mul(z, g) y = Mul(a, half)")
    after = fuse_gelu(before)
    assert lines(after) == ["z = Add(x, many)", "y = Gelu(z)"]
    assert_same_function(before, after)


def test_a_product_that_is_read_twice_ends_where_it_is_right() -> None:
    before = gelu(f"{ERF} a = Mul(half, x) y = Mul(a, g) z = Mul(y, two)", signature=f"{X}, float[3,40] z")
    after = fuse_gelu(before)
    assert lines(after) == ["y = Gelu(x)", "z = Mul(y, two)"]
    assert_same_function(before, after)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (f"{ERF} y = Mul(x, g)", "factors are 1 and 1, not 0.5 and 0.5"),
        (f"{ERF} a = Mul(x, g) y = Mul(a, many)", "factors are 1 and 1"),
        ("t = Div(x, root2) f = Erf(t) a = Mul(x, f) y = Mul(a, half)", "factors are 0.5 and 0,"),
        ("f = Erf(x) g = Add(f, one) a = Mul(x, g) y = Mul(a, half)", "not the expected polynomial"),
        (f"{ERF} e = Exp(x) a = Mul(e, g) y = Mul(a, half)", "not the expected polynomial"),
        (f"{ERF} a = Mul(g, g) y = Mul(a, half)", "not multiplied by one tensor"),
        ("t = Div(x, root2) f = Erf(t) y = Exp(f)", "not multiplied by one tensor"),
    ],
)
def test_near_misses_stay_and_are_named(body: str, why: str) -> None:
    before = gelu(body)
    assert lines(fuse_gelu(before)) == lines(before)
    (miss,) = near_gelus(before)
    assert why in miss.why
    assert miss.why.startswith("/mlp/act/Erf_f")


def test_an_erf_that_others_read_stays() -> None:
    before = gelu(f"{ERF} a = Mul(x, g) y = Mul(a, half)", signature=f"{X}, float[3,40] g")
    assert lines(fuse_gelu(before)) == lines(before)
    assert "has other readers" in near_gelus(before)[0].why


def test_a_tanh_of_its_own_is_no_near_miss() -> None:
    before = gelu("y = Tanh(x)")
    assert lines(fuse_gelu(before)) == lines(before)
    assert near_gelus(before) == ()


def test_an_opset_that_cannot_be_raised_is_named() -> None:
    before = parsed(
        "float[1,1,4,4] x) => (float[1,1,4,4] y, float[1,1,2,2] z",
        f"{ERF} a = Mul(x, g) y = Mul(a, half) z = LpPool<kernel_shape = [3, 3]>(x)",
        {name: value for name, value in VALUES.items() if value.size == 1},
    )
    assert lines(fuse_gelu(before)) == lines(before)
    (miss,) = near_gelus(before)
    assert "LpPool has changed" in miss.why


@given(st.floats(0.3, 3), st.floats(0.3, 3), st.sampled_from(["x", "g"]))
def test_constants_may_be_spread_over_the_factors(first: float, second: float, on: str) -> None:
    """x * k1 * (g * k2) * c is a GELU for every k1 and k2 with k1 * k2 * c = 1/2."""
    other = "x" if on == "g" else "g"
    values = VALUES | {
        "k": np.array(first, np.float32),
        "l": np.array(second, np.float32),
        "c": np.array(0.5 / (np.float32(first) * np.float32(second)), np.float32),
    }
    before = parsed(
        X, f"{ERF} a = Mul({on}, k) b = Div({other}, m) d = Mul(a, b) y = Mul(d, c)", values | {"m": 1 / values["l"]}
    )
    after = fuse_gelu(before)
    assert lines(after) == ["y = Gelu(x)"]
    assert_same_function(before, after)

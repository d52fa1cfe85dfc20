"""Hard-swish is recognised with the same function; a ReLU6 or a hard sigmoid of its own is not one."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitline.graph.passes.fuse_hardswish import fuse_hardswish, near_hardswishes
from bitline.graph.passes.raise_opset import opset_of
from tests.graph.build import assert_same_function, lines, parsed

X = "float[3,40] x) => (float[3,40] y"
VALUES = {
    "zero": np.array(0, np.float32),
    "one": np.array(1, np.float32),
    "three": np.array([3], np.float32),
    "six": np.array(6, np.float32),
    "six1": np.array([6], np.float32),
    "sixth": np.array(1 / 6, np.float32),
    "half": np.array(0.5, np.float32),
    "big": np.array(5, np.float32),
}


def swish(body: str, opset: int = 13) -> onnx.ModelProto:
    proto = parsed(X, body, VALUES, opset=opset)
    for node in proto.graph.node:
        node.name = f"{node.op_type}.{node.output[0]}"
    return proto


@pytest.mark.parametrize(
    "body",
    [
        "a = Add(x, three) c = Clip(a, zero, six) m = Mul(x, c) y = Div(m, six1)",  # Paddle
        "a = Add(three, x) c = Clip(a, zero, six) m = Mul(c, x) y = Mul(m, sixth)",
        "a = Add(x, three) c = Clip(a, zero, six) d = Div(c, six1) y = Mul(x, d)",  # torch
        "a = Add(x, three) c = Clip(a, zero, six) d = Mul(x, sixth) y = Mul(d, c)",
        "s = Mul(x, sixth) a = Add(s, half) c = Clip(a, zero, one) y = Mul(x, c)",
        "h = HardSigmoid<alpha = 0.16666667, beta = 0.5>(x) y = Mul(x, h)",
        "a = Div(x, three) h = HardSigmoid<alpha = 0.5, beta = 0.5>(a) y = Mul(h, x)",
    ],
)
def test_ways_to_write_it(body: str) -> None:
    before = swish(body)
    after = fuse_hardswish(before)
    assert lines(after) == ["y = HardSwish(x)"]
    assert after.graph.node[0].name.endswith("/HardSwish")
    assert opset_of(after) == 14
    assert near_hardswishes(before) == ()
    assert_same_function(before, after, tolerance=1e-5)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("a = Add(x, three) c = Clip(a, zero, big) m = Mul(x, c) y = Div(m, six1)", "not the expected polynomial"),
        ("a = Add(x, half) c = Clip(a, zero, six) m = Mul(x, c) y = Div(m, six1)", "not the expected polynomial"),
        ("a = Add(x, three) c = Clip(a, zero, six) m = Mul(x, c) y = Div(m, three)", "the factors are"),
        ("a = Add(x, three) c = Clip(a, zero, six) e = Exp(x) m = Mul(e, c) y = Div(m, six1)", "not the expected"),
        ("a = Add(x, three) c = Clip(a, zero, six) y = Exp(c)", "not multiplied"),
    ],
)
def test_near_misses_stay_and_are_named(body: str, why: str) -> None:
    before = swish(body)
    assert lines(fuse_hardswish(before)) == lines(before)
    (miss,) = near_hardswishes(before)
    assert why in miss.why
    assert miss.why.startswith("Clip.c")


@pytest.mark.parametrize(
    "body",
    [
        "y = Clip(x, zero, six)",  # ReLU6
        "c = Clip(x, zero, six) y = Mul(x, c)",
        "y = HardSigmoid(x)",
        "h = HardSigmoid<alpha = 0.2, beta = 0.5>(x) y = Mul(x, h)",
        "a = Add(x, three) c = Clip(a, half, six) m = Mul(x, c) y = Div(m, six1)",
        "a = Add(x, three) c = Clip(a, zero) m = Mul(x, c) y = Div(m, six1)",
    ],
)
def test_other_activations_stay_without_a_word(body: str) -> None:
    before = swish(body)
    assert lines(fuse_hardswish(before)) == lines(before)
    assert near_hardswishes(before) == ()


def test_a_gate_of_another_tensor_stays() -> None:
    """Squeeze and excitation: the gate is made from the tensor's mean, not from the tensor."""
    before = parsed(
        "float[1,3,2,2] x) => (float[1,3,2,2] y",
        "p = GlobalAveragePool(x) h = HardSigmoid<alpha = 0.16666667, beta = 0.5>(p) y = Mul(x, h)",
    )
    assert lines(fuse_hardswish(before)) == lines(before)


def test_an_opset_that_cannot_be_raised_is_named() -> None:
    body = "h = HardSigmoid<alpha = 0.16666667, beta = 0.5>(x) y = Mul(x, h)"
    before = parsed("float[1,3] x) => (float[1,3] y", body, opset=13)
    del before.opset_import[:]
    before.opset_import.append(onnx.helper.make_opsetid("some.domain", 1))
    assert lines(fuse_hardswish(before)) == lines(before)
    assert "imports no operators" in near_hardswishes(before)[0].why


@given(st.floats(1.25, 8), st.booleans())
def test_the_function_stays_at_any_scale_of_the_clip(high: float, first: bool) -> None:
    scale = np.float32(high)
    values = {
        "k": np.array(scale / 6, np.float32),
        "t": np.array(scale / 2, np.float32),
        "zero": np.array(0, np.float32),
        "high": np.array(scale, np.float32),
    }
    product = "Mul(x, c)" if first else "Mul(c, x)"
    before = parsed(X, f"s = Mul(x, k) a = Add(s, t) c = Clip(a, zero, high) m = {product} y = Div(m, high)", values)
    after = fuse_hardswish(before)
    assert lines(after) == ["y = HardSwish(x)"]
    assert_same_function(before, after)

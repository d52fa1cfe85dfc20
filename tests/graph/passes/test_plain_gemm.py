"""Linear layers end in one form with the same function."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitline.graph.passes.plain_gemm import plain_gemm
from tests.graph.build import assert_same_function, lines, parsed

W = np.arange(12, dtype=np.float32).reshape(4, 3)
B = np.array([1, 2, 3], np.float32)


@pytest.mark.parametrize("add", ["Add(t, b)", "Add(b, t)"])
def test_matmul_and_bias_become_gemm(add: str) -> None:
    before = parsed("float[2,4] x) => (float[2,3] y", f"t = MatMul(x, w) y = {add}", {"w": W, "b": B})
    before.graph.node[0].name = "fc"
    after = plain_gemm(before)
    assert lines(after) == ["y = Gemm(x, w, b)"]
    assert after.graph.node[0].name == "fc"
    assert_same_function(before, after)


@pytest.mark.parametrize(
    ("signature", "body", "bias"),
    [
        ("float[1,2,4] x) => (float[1,2,3] y", "t = MatMul(x, w) y = Add(t, b)", B),  # not a matrix
        ("float[2,4] x) => (float[2,3] y", "t = MatMul(x, w) y = Add(t, b)", np.ones((2, 3), np.float32)),  # by row
        ("float[2,4] x) => (float[1,2,3] y", "t = MatMul(x, w) y = Add(t, b)", np.ones((1, 1, 3), np.float32)),
        ("float[2,4] x) => (float[2,3] y, float[2,3] t", "t = MatMul(x, w) y = Add(t, b)", B),
    ],
)
def test_other_additions_stay(signature: str, body: str, bias: np.ndarray) -> None:
    before = parsed(signature, body, {"w": W, "b": bias})
    assert lines(plain_gemm(before)) == lines(before)


@given(
    alpha=st.sampled_from([1.0, 0.5, -2.0]),
    beta=st.sampled_from([1.0, 3.0]),
    shape=st.sampled_from([(3,), (1, 3), (1,), (), (1, 1)]),
    transposed=st.booleans(),
)
def test_gemm_keeps_its_function(alpha: float, beta: float, shape: tuple[int, ...], transposed: bool) -> None:
    weight = np.ascontiguousarray(W.T) if transposed else W
    bias = np.full(shape, 1.5, np.float32)
    before = parsed(
        "float[2,4] x) => (float[2,3] y",
        f"y = Gemm<alpha = {alpha}, beta = {beta}, transB = {int(transposed)}>(x, w, b)",
        {"w": weight, "b": bias},
    )
    after = plain_gemm(before)
    (node,) = after.graph.node
    assert {entry.name for entry in node.attribute} == {"transB"}
    assert [list(tensor.dims) for tensor in after.graph.initializer if tensor.name == node.input[2]] == [[3]]
    assert_same_function(before, after)


def test_a_bias_by_row_stays() -> None:
    before: onnx.ModelProto = parsed(
        "float[2,4] x) => (float[2,3] y", "y = Gemm<beta = 2.0>(x, w, b)", {"w": W, "b": np.ones((2, 3), np.float32)}
    )
    assert lines(plain_gemm(before)) == lines(before)

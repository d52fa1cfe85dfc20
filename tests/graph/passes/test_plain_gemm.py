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
        ("float[4] x) => (float[3] y", "t = MatMul(x, w) y = Add(t, b)", B),  # a vector
        ("float[1,2,4] x) => (float[1,2,3] y", "t = MatMul(x, w) y = Add(t, b)", np.ones((2, 3), np.float32)),
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


def named(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    model.graph.node[0].name = name
    return model


@pytest.mark.parametrize("bias", [B, np.array(2, np.float32), B.reshape(1, 1, 3)])
def test_a_matmul_of_more_axes_becomes_a_gemm_between_reshapes(bias: np.ndarray) -> None:
    before = named(
        parsed("float[2,5,4] x) => (float[2,5,3] y", "t = MatMul(x, w) y = Add(t, b)", {"w": W, "b": bias}), "/fc"
    )
    after = plain_gemm(before)
    assert [node.op_type for node in after.graph.node] == ["Reshape", "Gemm", "Reshape"]
    assert [node.name for node in after.graph.node] == ["/fc/rows", "/fc", "/fc/shape"]
    assert_same_function(before, after)


def test_layers_that_read_the_same_tensor_share_its_reshape() -> None:
    before = parsed(
        "float[2,5,4] x) => (float[2,5,3] y, float[2,5,3] z",
        "q = MatMul(x, w) y = Add(q, b) k = MatMul(x, w) z = Add(k, b)",
        {"w": W, "b": B},
    )
    for index, node in enumerate(before.graph.node):
        node.name = f"n{index}"
    after = plain_gemm(before)
    assert [node.op_type for node in after.graph.node] == ["Reshape", "Gemm", "Reshape", "Gemm", "Reshape"]
    assert_same_function(before, after)


def test_a_product_of_variable_matrices_stays() -> None:
    before = parsed("float[2,5,4] x, float[2,4,3] k) => (float[2,5,3] y", "t = MatMul(x, k) y = Add(t, b)", {"b": B})
    assert lines(plain_gemm(before)) == lines(before)


def test_stacked_weights_become_a_matrix() -> None:
    before = named(parsed("float[2,5,4] x) => (float[2,5,3] y", "y = MatMul(x, w)", {"w": W[None]}), "fc")
    after = plain_gemm(before)
    assert lines(after) == ["y = MatMul(x, fc.weight)"]
    assert_same_function(before, after)
    matrix = parsed("float[5,4] x) => (float[1,5,3] y", "y = MatMul(x, w)", {"w": W[None]})  # here they add an axis
    assert lines(plain_gemm(matrix)) == lines(matrix)


@pytest.mark.parametrize("sizes", ["3,5", "2,3,5"])
def test_weights_on_the_left_move_to_the_right(sizes: str) -> None:
    out = sizes.replace("3,5", "4,5")
    before = named(parsed(f"float[{sizes}] x) => (float[{out}] y", "y = MatMul(w, x)", {"w": W}), "fc")
    after = plain_gemm(before)
    assert [node.op_type for node in after.graph.node] == ["Transpose", "MatMul", "Transpose"]
    assert [node.name for node in after.graph.node] == ["fc/operand", "fc", "fc/turned"]
    assert_same_function(before, after)


def test_a_transposed_operand_is_transposed_before() -> None:
    before = named(parsed("float[4,2] x) => (float[2,3] y", "y = Gemm<transA = 1>(x, w, b)", {"w": W, "b": B}), "fc")
    after = plain_gemm(before)
    assert lines(after) == ["y.operand = Transpose(x) perm=[1, 0]", "y = Gemm(y.operand, w, b)"]
    assert_same_function(before, after)


def test_a_transposed_constant_is_transposed_here() -> None:
    before = named(parsed("float[4,2] x) => (float[3,2] y", "y = Gemm<transA = 1>(w, x)", {"w": W}), "fc")
    after = plain_gemm(before)
    assert lines(after) == ["y = Gemm(y.operand, x)"]
    assert_same_function(before, after)


@given(
    shape=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    stacked=st.integers(0, 2),
    bias=st.sampled_from([(), (3,), (1, 3), None]),
    first=st.booleans(),
)
def test_the_function_stays(shape: list[int], stacked: int, bias: tuple[int, ...] | None, first: bool) -> None:
    sizes = ",".join(map(str, [*shape, 4]))
    weight = W.reshape(*[1] * stacked, 4, 3)
    body = "y = MatMul(x, w)" if bias is None else "t = MatMul(x, w) y = " + ("Add(t, b)" if first else "Add(b, t)")
    before = parsed(f"float[{sizes}] x) => (float[a] y", body, {"w": weight, "b": np.full(bias or (), 0.5, np.float32)})
    for index, node in enumerate(before.graph.node):
        node.name = f"n{index}"
    after = plain_gemm(before)
    assert_same_function(before, after)

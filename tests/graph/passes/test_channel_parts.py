"""The scale of the queries moves into their columns of one projection for all three, however they are cut apart."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitline.graph.model import Wiring
from bitline.graph.passes.channel_parts import part_of_channels
from bitline.graph.passes.fold_affine import fold_affine
from bitline.graph.passes.squash import squash
from tests.graph.build import assert_same_function, constants, lines, parsed

RNG = np.random.default_rng(0)
HEADS, SIZE, ROWS = 2, 3, 5
COLUMNS = 3 * HEADS * SIZE
VALUES: dict[str, np.ndarray[Any, Any]] = {
    "w": RNG.standard_normal((4, COLUMNS)).astype(np.float32),
    "b": RNG.standard_normal(COLUMNS).astype(np.float32),
    "five": np.array([1, ROWS, 3, HEADS, SIZE], np.int64),
    "four": np.array([1, HEADS, ROWS, SIZE], np.int64),
    "axis0": np.array([0], np.int64),
    "i0": np.array(0, np.int64),
    "i1": np.array(1, np.int64),
    "i2": np.array(2, np.int64),
    "eighth": np.array(0.125, np.float32),
    "n0": np.array([0], np.int64),
    "n4": np.array([4], np.int64),
    "n6": np.array([6], np.int64),
    "n12": np.array([12], np.int64),
    "n18": np.array([18], np.int64),
    "minus": np.array([-1], np.int64),
    "last": np.array([-1], np.int64),
    "thirds": np.array([6, 6, 6], np.int64),
    "rows": np.array([2, 3], np.int64),
}
START = f"float[{ROWS},4] x) => (float[a] y, float[b] k, float[c] v"
PROJECT = "p = Gemm(x, w, b) r = Reshape(p, five) t = Transpose<perm = [2, 0, 3, 1, 4]>(r) "


def scaled(body: str, *kinds: str, signature: str = START) -> onnx.ModelProto:
    """The model without its Mul, after a check that it does the same."""
    before = parsed(signature, body, VALUES)
    for index, node in enumerate(before.graph.node):
        node.name = f"n{index}"
    after = fold_affine(squash(before))
    assert_same_function(before, after, tolerance=1e-5)
    assert not {"Mul", "Div"} & {node.op_type for node in after.graph.node}, lines(after)
    assert set(kinds) <= {node.op_type for node in after.graph.node}
    return after


@pytest.mark.parametrize(
    "body",
    [
        # timm: Split, Squeeze, Mul
        PROJECT + "qs, ks, vs = Split(t) q = Squeeze(qs, axis0) k = Squeeze(ks, axis0) v = Squeeze(vs, axis0) "
        "y = Mul(q, eighth)",
        # torchvision: three indices
        PROJECT + "q = Gather(t, i0) k = Gather(t, i1) v = Gather(t, i2) y = Mul(eighth, q)",
        # the columns cut before they are shaped
        "p = Gemm(x, w, b) qs, k, v = Split<axis = 1>(p, thirds) q = Reshape(qs, four) y = Mul(q, eighth)",
        "p = Gemm(x, w, b) qs = Slice(p, n0, n6, last) k = Slice(p, n6, n12, last) v = Slice(p, n12, n18, last) "
        "q = Reshape(qs, four) y = Mul(q, eighth)",
    ],
)
def test_queries_of_one_projection(body: str) -> None:
    after = scaled(body)
    values = constants(after)
    np.testing.assert_array_equal(values["w"][:, :6], VALUES["w"][:, :6] * np.float32(0.125))
    np.testing.assert_array_equal(values["w"][:, 6:], VALUES["w"][:, 6:])
    np.testing.assert_array_equal(values["b"][6:], VALUES["b"][6:])


def test_the_scale_after_the_product_of_queries_and_keys() -> None:
    body = (
        PROJECT + "qs, ks, v = Split(t) q = Squeeze(qs, axis0) ku = Squeeze(ks, axis0) "
        "k = Transpose<perm = [0, 1, 3, 2]>(ku) s = MatMul(q, k) y = Mul(s, eighth)"
    )
    signature = f"float[{ROWS},4] x) => (float[a] y, float[c] v"
    scaled(body, "Gemm", "Split", "MatMul", signature=signature)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("p = Gemm(x, w, b) q, k = Split<axis = 0>(p, rows) v = Relu(k) y = Mul(q, eighth)", "rows, not columns"),
        (
            "p = Gemm(x, w, b) q = Slice(p, n0, n6, last) k = Slice(p, n4, n12, last) v = Relu(k) y = Mul(q, eighth)",
            "columns 4 and 5 are in both",
        ),
        (
            "p = Gemm(x, w, b) q = Slice(p, n0, n6, last) k = Relu(p) v = Relu(k) y = Mul(q, eighth)",
            "another reader of all",
        ),
        ("p = Gemm(x, w, b) r = Relu(p) q, k, v = Split<axis = 1>(r, thirds) y = Mul(q, eighth)", "an activation"),
        ("p = Gemm(x, w, b) q, k, v = Split<axis = 1>(p, thirds) y = Add(q, eighth)", "a summand"),
    ],
)
def test_left_alone(body: str, why: str) -> None:
    before = parsed(START, body, VALUES)
    assert lines(fold_affine(before)) == lines(before), why


def test_a_slice_that_goes_backward_is_not_followed() -> None:
    before = parsed(
        f"float[{ROWS},4] x) => (float[a,b] y",
        "p = Gemm(x, w, b) q = Slice(p, n6, n0, last, minus) y = Mul(q, eighth)",
        VALUES,
    )
    gemm, cut, _ = before.graph.node
    assert part_of_channels([gemm, cut], "q", 1, Wiring(before.graph)) is None
    assert lines(fold_affine(before)) == lines(before)


@given(st.permutations([0, 1, 2, 3, 4]), st.integers(0, 4), st.lists(st.integers(1, 4), min_size=2, max_size=3))
def test_the_function_stays_wherever_the_cut_lies(order: list[int], axis: int, sizes: list[int]) -> None:
    """Numbers of channels move as values do: a factor is folded only if the columns are the part's own."""
    shape = [[1, ROWS, 3, HEADS, SIZE][at] for at in order]
    first = max(1, min(sizes[0], shape[axis] - 1))
    if shape[axis] == 1:
        return
    values = VALUES | {"cut": np.array([first, shape[axis] - first], np.int64)}
    before = parsed(
        f"float[{ROWS},4] x) => (float[a] y, float[b] k",
        f"p = Gemm(x, w, b) r = Reshape(p, five) t = Transpose<perm = {list(order)}>(r) "
        f"q, k = Split<axis = {axis}>(t, cut) y = Mul(q, eighth)",
        values,
    )
    after = fold_affine(before)
    assert_same_function(before, after, tolerance=1e-5)
    folded = not any(node.op_type == "Mul" for node in after.graph.node)
    assert folded == (order[axis] in (2, 3, 4))

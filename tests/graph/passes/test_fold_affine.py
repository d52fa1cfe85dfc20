"""Constant factors and summands end in the layer beside them, with the same function; what no layer can take stays."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitline.graph import shapes
from bitline.graph.passes.fold_affine import fold_affine
from bitline.graph.passes.fold_batchnorm import fold_batchnorm
from bitline.graph.passes.plain_gemm import plain_gemm
from tests.graph.build import assert_same_function, constants, lines, parsed

RNG = np.random.default_rng(0)


def drawn(*shape: int) -> np.ndarray[Any, Any]:
    return RNG.standard_normal(shape).astype(np.float32) + np.float32(0.25)


IMAGE = "float[1,4,5,5] x) => (float[1,6,5,5] y"
W, B = drawn(6, 4, 1, 1), drawn(6)
S, T = drawn(6, 1, 1), drawn(1, 6, 1, 1)


def folded(before: onnx.ModelProto, *op_types: str) -> onnx.ModelProto:
    before.graph.node[0].name = before.graph.node[0].name or "layer"
    after = fold_affine(before)
    assert [node.op_type for node in after.graph.node] == list(op_types), lines(after)
    assert_same_function(before, after, tolerance=1e-4)
    return after


def test_scale_and_shift_of_each_channel_move_into_the_convolution_before() -> None:
    before = parsed(IMAGE, "c = Conv(x, w, b) m = Mul(c, s) y = Add(m, t)", {"w": W, "b": B, "s": S, "t": T})
    after = folded(before, "Conv")
    assert after.graph.node[0].name == "layer"
    np.testing.assert_allclose(constants(after)["w"], W * S.reshape(6, 1, 1, 1), rtol=1e-6)
    np.testing.assert_allclose(constants(after)["b"], B * S.reshape(6) + T.reshape(6), rtol=1e-5)


@pytest.mark.parametrize("body", ["Mul(k, c)", "Div(c, k)", "Add(k, c)", "Sub(c, k)", "Sub(k, c)"])
@pytest.mark.parametrize("shape", [(), (1,), (6, 1, 1), (1, 6, 1, 1), (1, 1, 1, 1)])
def test_every_operator_and_every_form_of_the_constant(body: str, shape: tuple[int, ...]) -> None:
    folded(parsed(IMAGE, f"c = Conv(x, w) y = {body}", {"w": W, "k": drawn(*shape)}), "Conv")


def test_batch_normalisation_followed_by_scale_and_shift() -> None:
    """As in models that came from Caffe: the BatchNormalization has no scale of its own."""
    norm = {name: np.abs(drawn(6)) + 1 for name in ("g", "beta", "mean", "var")}
    before = parsed(
        IMAGE,
        "c = Conv(x, w) n = BatchNormalization(c, g, beta, mean, var) m = Mul(n, s) y = Add(m, t)",
        {"w": W, "s": S, "t": T} | norm,
    )
    after = fold_affine(fold_batchnorm(before))
    assert [node.op_type for node in after.graph.node] == ["Conv"]
    assert_same_function(before, after, tolerance=1e-4)


@pytest.mark.parametrize("groups", [1, 2])
def test_transposed_convolution(groups: int) -> None:
    before = parsed(
        "float[1,4,5,5] x) => (float[1,6,6,6] y",
        f"c = ConvTranspose<group = {groups}>(x, w) m = Mul(c, s) y = Add(m, t)",
        {"w": drawn(4, 6 // groups, 2, 2), "s": S, "t": T},
    )
    folded(before, "ConvTranspose")


@pytest.mark.parametrize("transposed", [0, 1])
def test_gemm_either_way_round(transposed: int) -> None:
    before = parsed(
        "float[2,4] x) => (float[2,6] y",
        f"c = Gemm<transB = {transposed}, alpha = 0.5, beta = 2.0>(x, w, b) m = Mul(c, s) y = Add(m, t)",
        {"w": drawn(6, 4) if transposed else drawn(4, 6), "b": B, "s": drawn(6), "t": drawn(1, 6)},
    )
    folded(before, "Gemm")


def test_a_matmul_takes_factors_but_no_summands() -> None:
    values = {"w": drawn(4, 6), "s": drawn(6), "t": drawn(6)}
    before = parsed("float[2,3,4] x) => (float[2,3,6] y", "c = MatMul(x, w) m = Mul(c, s) y = Add(m, t)", values)
    folded(before, "MatMul", "Add")


def test_one_number_moves_through_layout_operators() -> None:
    before = parsed(
        "float[6,4] x) => (float[2,3,6] y",
        "c = Gemm(x, w, b) r = Reshape(c, n) p = Transpose<perm = [1, 0, 2]>(r) y = Div(p, k)",
        {"w": drawn(4, 6), "b": B, "n": np.array([3, 2, 6], np.int64), "k": np.array(8, np.float32)},
    )
    after = folded(before, "Gemm", "Reshape", "Transpose")
    assert after.graph.node[-1].output[0] == "y"


def test_one_number_a_channel_does_not() -> None:
    before = parsed(
        "float[6,4] x) => (float[3,2,6] y",
        "c = Gemm(x, w, b) r = Reshape(c, n) y = Mul(r, k)",
        {"w": drawn(4, 6), "b": B, "n": np.array([3, 2, 6], np.int64), "k": drawn(6)},
    )
    folded(before, "Gemm", "Reshape", "Mul")


@pytest.mark.parametrize("scale", ["Mul(s, k)", "Div(s, k)"])
def test_the_scale_of_attention_moves_into_the_projection(scale: str) -> None:
    before = parsed(
        "float[6,4] x, float[2,4,3] keys) => (float[2,3,3] y",
        "c = Gemm(x, w, b) r = Reshape(c, n) p = Transpose<perm = [1, 0, 2]>(r) s = MatMul(p, keys) y = " + scale,
        {"w": drawn(4, 4), "b": drawn(4), "n": np.array([3, 2, 4], np.int64), "k": np.array(0.125, np.float32)},
    )
    folded(before, "Gemm", "Reshape", "Transpose", "MatMul")


def test_a_summand_does_not_move_through_a_product() -> None:
    before = parsed(
        "float[3,4] x, float[4,3] keys) => (float[3,3] y",
        "c = Gemm(x, w, b) s = MatMul(c, keys) y = Add(s, k)",
        {"w": drawn(4, 4), "b": drawn(4), "k": np.array(0.125, np.float32)},
    )
    folded(before, "Gemm", "MatMul", "Add")


@pytest.mark.parametrize(
    ("signature", "body", "why"),
    [
        (f"{IMAGE}, float[1,6,5,5] c", "c = Conv(x, w) y = Mul(c, s)", "an output"),
        (f"{IMAGE}, float[1,6,5,5] z", "c = Conv(x, w) z = Relu(c) y = Mul(c, s)", "two readers"),
        (IMAGE, "c = Conv(x, w) r = Relu(c) y = Mul(r, s)", "an activation between"),
        (IMAGE, "c = Conv(x, w) y = Mul(c, rows)", "another axis"),
        ("float[1,4,5,5] x) => (float[2,6,5,5] y", "c = Conv(x, w) y = Mul(c, batch)", "another shape"),
        (IMAGE, "c = Conv(x, w) y = Div(s, c)", "a reciprocal"),
        (IMAGE, "c = Conv(x, w) y = Div(c, zeros)", "a division by zero"),
        ("float[1,4,5,5] x, float[6,4,1,1] w1) => (float[1,6,5,5] y", "c = Conv(x, w1) y = Mul(c, s)", "weights"),
    ],
)
def test_left_alone(signature: str, body: str, why: str) -> None:
    values = {"w": W, "s": S, "rows": drawn(5, 1), "batch": drawn(2, 1, 1, 1), "zeros": np.zeros((), np.float32)}
    before = parsed(signature, body, values)
    assert lines(fold_affine(before)) == lines(before), why


def test_weights_that_others_read_stay_theirs() -> None:
    before = parsed(
        "float[1,4,5,5] x) => (float[1,6,5,5] y, float[1,6,5,5] z",
        "c = Conv(x, w) y = Mul(c, s) z = Conv(x, w)",
        {"w": W, "s": S},
    )
    after = folded(before, "Conv", "Conv")
    np.testing.assert_array_equal(constants(after)["w"], W)


def test_a_factor_moves_into_the_layer_after() -> None:
    body = "r = Relu(x) m = Mul(r, k) y = Conv<pads = [1, 1, 1, 1]>(m, w, b)"
    values = {"w": drawn(6, 4, 3, 3), "b": B, "k": np.array([0.5], np.float32)}
    after = folded(parsed(IMAGE, body, values), "Relu", "Conv")
    np.testing.assert_array_equal(constants(after)["w"], values["w"] * np.float32(0.5))
    np.testing.assert_array_equal(constants(after)["b"], B)


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_a_summand_moves_into_a_layer_without_padding(groups: int) -> None:
    before = parsed(
        "float[1,4,5,5] x) => (float[1,8,3,3] y",
        f"r = Relu(x) m = Add(r, t) y = Conv<group = {groups}>(m, w)",
        {"w": drawn(8, 4 // groups, 3, 3), "t": drawn(4, 1, 1)},
    )
    folded(before, "Relu", "Conv")


def test_scale_and_shift_after_an_activation_move_into_a_pointwise_convolution() -> None:
    """The learnable affine blocks of PP-LCNetV3."""
    before = parsed(
        IMAGE,
        "r = HardSwish(x) m = Mul(r, k) a = Add(m, t) y = Conv(a, w, b)",
        {"w": W, "b": B, "k": np.array(1.5, np.float32), "t": np.array([0.25], np.float32)},
    )
    folded(before, "HardSwish", "Conv")


@pytest.mark.parametrize("transposed", [0, 1])
def test_a_summand_before_a_gemm(transposed: int) -> None:
    before = parsed(
        "float[2,4] x) => (float[2,6] y",
        f"r = Relu(x) m = Sub(r, t) y = Gemm<transB = {transposed}>(m, w)",
        {"w": drawn(6, 4) if transposed else drawn(4, 6), "t": drawn(4)},
    )
    folded(before, "Relu", "Gemm")


@pytest.mark.parametrize(
    ("signature", "body", "op_types"),
    [
        (IMAGE, "r = Relu(x) m = Add(r, t) y = Conv<pads = [1, 1, 1, 1]>(m, w3)", ["Relu", "Add", "Conv"]),
        (IMAGE, "r = Relu(x) m = Mul(r, t) y = Conv(m, w)", ["Relu", "Mul", "Conv"]),  # one a channel
        (
            f"{IMAGE}, float[1,4,5,5] m",
            "r = Relu(x) m = Mul(r, k) y = Conv(m, w)",
            ["Relu", "Mul", "Conv"],
        ),
        (
            "float[4,2] x) => (float[2,6] y",
            "r = Relu(x) m = Add(r, q) y = Gemm<transA = 1>(m, g)",
            ["Relu", "Add", "Gemm"],
        ),
        (
            "float[4,4] x) => (float[4,4] y",
            "r = Relu(x) m = Add(r, q) p = Transpose(m) y = Gemm(p, h)",
            ["Relu", "Add", "Transpose", "Gemm"],
        ),
        ("float[4,4] x) => (float[4,4] y", "r = Relu(x) m = Mul(r, k) y = MatMul(r, m)", ["Relu", "Mul", "MatMul"]),
    ],
)
def test_left_alone_before_a_layer(signature: str, body: str, op_types: list[str]) -> None:
    values = {"w": W, "w3": drawn(6, 4, 3, 3), "t": drawn(4, 1, 1), "k": np.array(2, np.float32)}
    values |= {"q": drawn(4, 1) if "transA" in body else drawn(4), "g": drawn(4, 6), "h": drawn(4, 4)}
    folded(parsed(signature, body, values), *op_types)


def test_half_precision_keeps_its_type() -> None:
    values = {"w": W.astype(np.float16), "s": S.astype(np.float16)}
    before = parsed("float16[1,4,5,5] x) => (float16[1,6,5,5] y", "c = Conv(x, w) y = Mul(c, s)", values)
    after = fold_affine(before)
    assert lines(after) == ["y = Conv(x, w, .bias)"]
    assert {value.dtype for value in constants(after).values()} == {np.dtype(np.float16)}


@given(
    st.lists(st.sampled_from(["mul", "add", "div", "channel", "relu", "reshape"]), min_size=1, max_size=6),
    st.integers(0, 1),
    st.integers(0, 1000),
)
def test_the_function_stays(steps: list[str], pad: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    values: dict[str, np.ndarray[Any, Any]] = {"w": drawn(4, 4, 3, 3), "v": drawn(4, 4, 3, 3)}
    body = "c = Conv<pads = [1, 1, 1, 1]>(x, w) "
    last = "c"
    for index, step in enumerate(steps):
        name = f"t{index}"
        shape = (4, 1, 1) if step == "channel" else ()
        values[f"k{index}"] = rng.uniform(0.5, 2, shape).astype(np.float32)
        call = {
            "mul": f"Mul({last}, k{index})",
            "add": f"Add(k{index}, {last})",
            "div": f"Div({last}, k{index})",
            "channel": f"{rng.choice(['Mul', 'Add', 'Sub'])}({last}, k{index})",
            "relu": f"Relu({last})",
            "reshape": f"Reshape({last}, n)",
        }[step]
        body += f"{name} = {call} "
        last = name
    values["n"] = np.array([1, 4, 5, 5], np.int64)
    before = parsed(
        "float[1,4,5,5] x) => (float[a,b,c1,d] y",
        f"{body} y = Conv<pads = [{pad}, {pad}, {pad}, {pad}]>({last}, v)",
        values,
    )
    for index, node in enumerate(before.graph.node):
        node.name = f"n{index}"
    before = shapes.grown(plain_gemm(before))
    after = fold_affine(before)
    assert_same_function(before, after, tolerance=2e-3)
    assert lines(fold_affine(after)) == lines(after)

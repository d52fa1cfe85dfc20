"""Every operator and form: the kind it gets, or why it stays in float."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from bitline.graph.model import Wiring
from bitline.quant.kinds import Kind, classify, far_from_zero
from tests.graph.build import as_model, parsed

CONSTANTS = {
    "w": np.ones((2, 2, 3, 3), np.float32),
    "w1": np.ones((2, 2, 3), np.float32),
    "w3": np.ones((2, 2, 1, 1, 1), np.float32),
    "m": np.ones((4, 5), np.float32),
    "v": np.ones(4, np.float32),
    "stack": np.ones((2, 4, 5), np.float32),
    "b5": np.ones(5, np.float32),
    "one": np.array(1, np.float32),
    "two": np.array(2, np.float32),
    "tiny": np.array([1, 1e-6, 1, 1], np.float32),
    "lowest": np.array(-np.inf, np.float32),
    "zero": np.array(0, np.float32),
    "pads": np.array([0, 0, 1, 1] * 2, np.int64),
    "ids": np.array([1, 0], np.int64),
    "axes": np.array([1], np.int64),
    "none": np.array([], np.int64),
    "scales": np.array([1, 1, 2, 2], np.float32),
    "shape": np.array([2, 16], np.int64),
    "perhaps": np.array(True),
    "s": np.array([0.1], np.float32),
    "table": np.ones((7, 4), np.float32),
}
IMAGE = "float[1,2,4,4] x, int64[2] i) => (float y"
ROWS = "float[3,4] x, float[4,3] z, int64[2] i) => (float y"

FITTING = [
    (IMAGE, "y = Conv(x, w)", Kind.MATMUL),
    ("float[1,2,4] x) => (float y", "y = Conv(x, w1)", Kind.MATMUL),
    (IMAGE, "y = ConvTranspose(x, w)", Kind.MATMUL),
    (ROWS, "y = Gemm(x, m, b5)", Kind.MATMUL),
    (ROWS, "y = MatMul(x, m)", Kind.MATMUL),
    (ROWS, "y = MatMul(x, z)", Kind.PRODUCT),
    (ROWS, "y = MatMul(x, stack)", Kind.PRODUCT),
    (ROWS, "y = MatMul(z, x)", Kind.PRODUCT),
    ("float[5,2] x) => (float y", "y = MatMul(m, x)", Kind.PRODUCT),
    (ROWS, "y = Div(x, two)", Kind.ELEMENTWISE),
    (ROWS, "y = Div(x, x)", Kind.ELEMENTWISE),
    (ROWS, "y = Max(x, v, one)", Kind.ELEMENTWISE),
    (ROWS, "y = PRelu(x, v)", Kind.ELEMENTWISE),
    ("float[4] x, bool[4] c) => (float y", "y = Where(c, one, lowest)", Kind.ELEMENTWISE),
    (ROWS, "y = Pow(x, two)", Kind.UNARY),
    (ROWS, "y = Clip(x, zero)", Kind.UNARY),
    (IMAGE, "y = Pad(x, pads)", Kind.MOVE),
    (IMAGE, "y = Pad(x, pads, zero)", Kind.MOVE),
    (IMAGE, 'y = Pad<mode = "reflect">(x, pads)', Kind.MOVE),
    (IMAGE, "y = Pad(x, pads, one)", Kind.JOIN),
    (IMAGE, "y = Resize(x, , scales)", Kind.MOVE),
    (IMAGE, 'y = Resize<mode = "linear">(x, , scales)', Kind.JOIN),
    (ROWS, "y = Gather(table, i)", Kind.MOVE),
    (ROWS, "y = Gather(x, ids)", Kind.MOVE),
    (ROWS, "y = Cast<to = 1>(x)", Kind.MOVE),
    (ROWS, "y = Dropout(x)", Kind.MOVE),
    (ROWS, "y = ReduceMax<axes = [0]>(x)", Kind.MOVE),
    (ROWS, "y = ReduceMean(x)", Kind.AVERAGE),
    (ROWS, "y = ReduceSum(x, axes)", Kind.AVERAGE),
    (ROWS, "y = Concat<axis = 0>(x, table)", Kind.JOIN),
    (ROWS, "y = Softmax(x)", Kind.SOFTMAX),
    (ROWS, "y = LayerNormalization(x, v, v)", Kind.NORM),
]

LEFT = [
    ("float[1,2,4,4] x, float[2,2,3,3] k) => (float y", "y = Conv(x, k)", "weights not constant"),
    ("float[1,2,2,2,2] x) => (float y", "y = Conv(x, w3)", "3-D"),
    (IMAGE, 'y = Conv<auto_pad = "VALID">(x, w)', "auto_pad"),
    (IMAGE, "y = ConvTranspose<output_shape = [6, 6]>(x, w)", "output_shape"),
    (ROWS, "y = Gemm(x, z)", "weights not constant"),
    (ROWS, "y = Gemm<alpha = 2.0>(x, m)", "transA, alpha or beta set"),
    (ROWS, "y = Gemm<transA = 1>(z, m)", "transA, alpha or beta set"),
    (ROWS, "y = Gemm(x, m, one)", "bias not one value a column"),
    (ROWS, "y = MatMul(x, v)", "weights a vector"),
    ("float[4] x, float[4,2] z) => (float y", "y = MatMul(x, z)", "product with a vector"),
    (ROWS, "y = Div(x, tiny)", "divisor too close to 0 for 8 bits"),
    (ROWS, "y = Pow(x, v)", "exponent no constant number"),
    (ROWS, "y = Pow(x, x)", "exponent no constant number"),
    ("float[3,4] x, float[4] k) => (float y", "y = PRelu(x, k)", "slope not constant"),
    ("float[3,4] x, float k) => (float y", "y = Clip(x, k)", "an operand that should be constant is not"),
    (IMAGE, "y = Pad(x, pads, lowest)", "pads with minus infinity"),
    ("float[1,2,4,4] x, float k) => (float y", "y = Pad(x, pads, k)", "fill value not constant"),
    (IMAGE, 'y = Resize<mode = "cubic">(x, , scales)', "mode cubic"),
    ("float[3,4] x, int64[1] a) => (float y", "y = ReduceSum(x, a)", "axes not constant"),
    (ROWS, "y = ReduceSum<noop_with_empty_axes = 1>(x, none)", "reduces nothing"),
    (ROWS, "y = Dropout(x, one, perhaps)", "drops at random"),
    ("int64[3,4] x) => (float y", "y = Cast<to = 1>(x)", "makes floats of another type"),
    (ROWS, "y = CumSum(x, ids)", "no integer form"),
    (ROWS, "y = Relu(v)", "all inputs constant"),
    ("double[3] x) => (double y", "y = Relu(x)", "output not float32"),
    ("float16[3] x) => (float16 y", "y = Relu(x)", "output not float32"),
    ("bool[3] c, int64[3] x) => (int64 y", "y = Where(c, x, x)", "output not float32"),
]


def verdict(signature: str, body: str) -> Kind | str:
    used = {name: value for name, value in CONSTANTS.items() if name in body.replace("(", " ").replace(")", " ")}
    proto = as_model(parsed(signature, body, used)).proto
    return classify(proto.graph.node[0], Wiring(proto.graph))


@pytest.mark.parametrize(("signature", "body", "kind"), FITTING, ids=lambda value: str(value)[:50])
def test_what_has_an_integer_form(signature: str, body: str, kind: Kind) -> None:
    assert verdict(signature, body) is kind


@pytest.mark.parametrize(("signature", "body", "why"), LEFT, ids=lambda value: str(value)[:50])
def test_what_stays_in_float(signature: str, body: str, why: str) -> None:
    assert verdict(signature, body) == why


def test_minus_infinity_in_front_of_a_pool_is_a_move() -> None:
    body = "p = Pad(x, pads, lowest) y = MaxPool<kernel_shape = [2, 2]>(p)"
    assert verdict(IMAGE, body) is Kind.MOVE


def test_a_second_output_in_use() -> None:
    signature = "float[1,2,4,4] x) => (float y, int64 i"
    assert verdict(signature, "y, i = MaxPool<kernel_shape = [2, 2]>(x)") == "second output in use"


def test_operators_of_others() -> None:
    proto = parsed("float[3] x) => (float[3] y", "y = Relu(x)")
    node = onnx.helper.make_node("Relu", ["x"], ["y"], domain="acme")
    assert classify(node, Wiring(proto.graph)) == "operator of acme"


@pytest.mark.parametrize(
    ("values", "far"), [([1, 2], True), ([0.05, 2], False), ([-1, 1], True), ([0, 1], False), ([0.126, -1], True)]
)
def test_divisors_that_eight_bits_hold(values: list[float], far: bool) -> None:
    assert far_from_zero(np.array(values, np.float32)) is far

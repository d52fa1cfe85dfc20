"""Small models of every kind: the QDQ form has the structure that lowering reads, runs, and stays close to float."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx
import pytest

from bitline.engines.ort import Session
from bitline.graph.model import Model, dtype_of, shape_of
from bitline.graph.passes.name_nodes import name_nodes
from bitline.quant.calibration import batches
from bitline.quant.options import QuantOptions
from bitline.quant.ptq import QuantResult, quantize
from tests.graph.build import as_model, constants, lines, parsed

RNG = np.random.default_rng(1)


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class Case:
    """`pairs`: the scale of the tensor after each QuantizeLinear; `dequantised`: types of constants; `close`: dB."""

    signature: str
    body: str
    pairs: dict[str, str]
    constants: dict[str, np.ndarray] = field(default_factory=dict[str, np.ndarray])
    dequantised: dict[str, str] = field(default_factory=dict[str, str])
    floats: tuple[str, ...] = ()
    close: float = 30.0


ROWS = "float[3,4] x) => (float y"
PAIR = "float[3,4] x, float[4] z) => (float y"
IMAGE = "float[1,2,4,4] x) => (float y"
X = {"x": "x_scale"}
XY = {"x": "x_scale", "y_f": "y_scale"}
MOVED = {"x": "x_scale", "y_f": "x_scale"}
PAIRS = XY | {"z": "z_scale"}
IDS = np.array([1, 0], np.int64)

CASES = {
    "Conv 1-D": Case(
        signature="float[1,2,6] x) => (float y",
        body="a = Conv(x, w, b) y = Relu(a)",
        pairs=XY,
        constants={"w": normal(3, 2, 3), "b": normal(3)},
        dequantised={"w": "int8 axis 0", "b": "int32 axis 0"},
    ),
    "ConvTranspose": Case(
        signature=IMAGE,
        body="a = ConvTranspose(x, w, b) y = Clip(a, low)",
        pairs=XY,
        constants={"w": normal(2, 3, 3, 3), "b": normal(3), "low": np.array(0, np.float32)},
        dequantised={"w": "int8 axis 1", "b": "int32 axis 0"},
    ),
    "ConvTranspose in groups": Case(
        signature=IMAGE,
        body="y = ConvTranspose<group = 2>(x, w, b)",
        pairs=XY,
        constants={"w": normal(2, 3, 3, 3), "b": normal(6)},
        dequantised={"w": "int8", "b": "int32"},
    ),
    "Gemm": Case(
        signature=ROWS,
        body="y = Gemm<transB = 1>(x, w, b)",
        pairs=XY,
        constants={"w": normal(5, 4), "b": normal(5)},
        dequantised={"w": "int8 axis 0", "b": "int32 axis 0"},
    ),
    "MatMul of rank 3": Case(
        signature="float[2,3,4] x) => (float y",
        body="y = MatMul(x, w)",
        pairs=XY,
        constants={"w": normal(4, 5)},
        dequantised={"w": "int8 axis 1"},
    ),
    "MatMul of activations": Case(
        signature="float[2,3,4] x, float[2,4,5] z) => (float y", body="y = MatMul(x, z)", pairs=PAIRS
    ),
    "MatMul with a constant on the left": Case(
        signature=ROWS, body="y = MatMul(k, x)", pairs=XY, constants={"k": normal(5, 3)}, dequantised={"k": "uint8"}
    ),
    "MatMul with a stack": Case(
        signature=ROWS, body="y = MatMul(x, k)", pairs=XY, constants={"k": normal(2, 4, 5)}, dequantised={"k": "uint8"}
    ),
    "Add": Case(signature=PAIR, body="a = Add(x, z) y = Relu(a)", pairs=PAIRS),
    "Sub of a constant": Case(
        signature=ROWS, body="y = Sub(k, x)", pairs=XY, constants={"k": normal(4)}, dequantised={"k": "uint8"}
    ),
    "Mul by a number": Case(
        signature=ROWS,
        body="y = Mul(x, k)",
        pairs=XY,
        constants={"k": np.array(0.125, np.float32)},
        dequantised={"k": "uint8"},
    ),
    "Div": Case(
        signature=ROWS, body="a = Sigmoid(x) y = Div(x, a)", pairs=XY | {"a": "a_scale"}, close=20.0
    ),
    "Max, Min, Sum": Case(
        signature=PAIR,
        body="a = Max(x, z, k) b = Min(a, x) y = Sum(b, z, k)",
        pairs=PAIRS | {"a": "a_scale", "b": "b_scale"},
        constants={"k": normal(3, 1)},
        dequantised={"k": "uint8"},
    ),
    "PRelu": Case(
        signature=ROWS,
        body="y = PRelu(x, k)",
        pairs=XY,
        constants={"k": np.abs(normal(4)) / 4},
        dequantised={"k": "uint8"},
    ),
    "Where": Case(
        signature="float[3,4] x, bool[3,1] c) => (float y",
        body="y = Where(c, x, k)",
        pairs=XY,
        constants={"k": normal(4)},
        dequantised={"k": "uint8"},
    ),
    "Where of two constants": Case(
        signature="bool[3,4] c) => (float y",
        body="y = Where(c, j, k)",
        pairs={"y_f": "y_scale"},
        constants={"j": np.array(2, np.float32), "k": np.array(-1, np.float32)},
        dequantised={"j": "uint8", "k": "uint8"},
    ),
    "unary": Case(
        signature=ROWS,
        body="a = LeakyRelu(x) b = Pow(a, two) c = Sqrt(b) y = Erf(c)",
        pairs=XY | {"a": "a_scale", "b": "b_scale", "c": "c_scale"},
        constants={"two": np.array(2, np.float32)},
        close=15.0,
    ),
    "layout": Case(
        signature="float[1,4,2,2] x) => (float y",
        body="a = DepthToSpace<blocksize = 2>(x) b = Squeeze(a) c = Expand(b, s) d = Tile(c, r) y = Transpose(d)",
        pairs=MOVED | dict.fromkeys("abcd", "x_scale"),
        constants={"s": np.array([2, 4, 4], np.int64), "r": np.array([1, 1, 2], np.int64)},
    ),
    "Split": Case(
        signature="float[3,4] x) => (float y, float z",
        body="y, a = Split<axis = 1>(x) z = Flatten(a)",
        pairs=MOVED | {"a": "x_scale", "z_f": "x_scale"},
    ),
    "selection by integers": Case(
        signature="float[3,4] x, int64[2] i) => (float y",
        body="a = Gather(x, i) b = GatherElements<axis = 1>(a, j) y = ReduceMax<axes = [0]>(b)",
        pairs=MOVED | {"a": "x_scale", "b": "x_scale"},
        constants={"j": np.array([[0, 1], [2, 3]], np.int64)},
    ),
    "pools, nearest, zeros": Case(
        signature=IMAGE,
        body="a = Resize(x, , s) b = Pad(a, p) c = Pad(b, p, low) y = MaxPool<kernel_shape = [2, 2]>(c)",
        pairs=MOVED | dict.fromkeys("abc", "x_scale"),
        constants={
            "s": np.array([1, 1, 2, 2], np.float32),
            "p": np.array([0, 0, 1, 0, 0, 0, 0, 1], np.int64),
            "low": np.array(-np.inf, np.float32),
        },
    ),
    "embedding": Case(
        signature="int64[2] i) => (float y",
        body="a = Gather(t, i) y = Relu(a)",
        pairs={"a": "t_scale", "y_f": "y_scale"},
        constants={"t": normal(7, 4)},
        dequantised={"t": "uint8"},
    ),
    "Concat": Case(
        signature=PAIR,
        body="a = Unsqueeze(z, o) y = Concat<axis = 0>(x, a, k)",
        pairs=PAIRS | {"a": "z_scale"},
        constants={"k": 3 * normal(1, 4), "o": np.array([0], np.int64)},
        dequantised={"k": "uint8"},
    ),
    "ScatterND": Case(
        signature=PAIR, body="y = ScatterND(x, i, z)", pairs=PAIRS, constants={"i": np.array([1], np.int64)}
    ),
    "linear Resize": Case(
        signature=IMAGE,
        body='y = Resize<mode = "linear">(x, , s)',
        pairs=XY,
        constants={"s": np.array([1, 1, 2, 2], np.float32)},
    ),
    "averages": Case(
        signature=IMAGE,
        body="a = AveragePool<kernel_shape = [2, 2]>(x) b = ReduceMean<axes = [1]>(a) y = ReduceSum(b, o)",
        pairs=XY | {"a": "a_scale", "b": "b_scale"},
        constants={"o": np.array([3], np.int64)},
        close=25.0,
    ),
    "Softmax": Case(signature=ROWS, body="y = Softmax(x)", pairs=XY, close=25.0),
    "LayerNormalization": Case(
        signature=ROWS,
        body="y = LayerNormalization(x, g, h)",
        pairs=XY,
        constants={"g": normal(4), "h": normal(4)},
    ),
    "float between": Case(
        signature=ROWS,
        body="a = Exp(x) b = LogSoftmax(a) c = Transpose(b) d = LogSoftmax(c) e = Transpose(d) y = Neg(e)",
        pairs=XY | {"a": "a_scale", "d": "d_scale", "e": "d_scale"},
        floats=("b", "c"),
    ),
    "weights that are computed": Case(
        signature="float[1,2,4,4] x, float[3,2,1,1] k) => (float y",
        body="a = Conv(x, k) b = Relu(a) y = Flatten(b)",
        pairs={"a": "a_scale", "b": "b_scale", "y_f": "b_scale"},
        floats=("x", "k"),
    ),
}  # fmt: skip


def model_of(case: Case) -> Model:
    return as_model(name_nodes(parsed(case.signature, case.body, case.constants)))


def samples_of(model: Model, count: int) -> dict[str, np.ndarray]:
    drawn: dict[str, np.ndarray] = {}
    for value in model.inputs:
        full, dtype = (count, *(shape_of(value) or ())), dtype_of(value.type.tensor_type.elem_type)
        integers = RNG.integers(0, 2, full).astype(dtype)
        drawn[value.name] = RNG.uniform(-2, 2, full).astype(dtype) if dtype.kind == "f" else integers
    return drawn


def pairs_of(result: QuantResult) -> dict[str, str]:
    nodes = result.model.proto.graph.node
    return {node.input[0]: node.input[1] for node in nodes if node.op_type == "QuantizeLinear"}


@pytest.mark.parametrize("name", CASES)
def test_structure_and_closeness(name: str) -> None:
    case = CASES[name]
    model = model_of(case)
    samples = samples_of(model, 16)
    result = quantize(model, samples, QuantOptions(method="minmax"))
    proto = result.model.proto
    onnx.checker.check_model(proto, full_check=True)
    assert pairs_of(result) == case.pairs
    values = constants(proto)
    for weight, wanted in case.dequantised.items():
        (node,) = [node for node in proto.graph.node if node.input[0] == f"{weight}_q"]
        axis = "".join(f" axis {entry.i}" for entry in node.attribute)
        assert f"{values[node.input[0]].dtype}{axis}" == wanted
        assert weight not in values, "the float constant is gone"
    dequantised = {node.output[0] for node in proto.graph.node if node.op_type == "DequantizeLinear"}
    for node in proto.graph.node:
        for read in node.input:
            assert not (f"{read}_dq" in dequantised and node.op_type != "QuantizeLinear"), f"{node.name} reads {read}"
    assert not [tensor for tensor in case.floats if f"{tensor}_dq" in dequantised]
    sessions = [Session(each.proto, optimise=False) for each in (model, result.model)]
    signal = noise = 0.0
    for batch in batches(samples, model):
        wanted_values, got_values = (session.run(batch) for session in sessions)
        for key, value in wanted_values.items():
            signal += float((value.astype(np.float64) ** 2).sum())
            noise += float(((value.astype(np.float64) - got_values[key]) ** 2).sum())
    assert 10 * np.log10(signal / max(noise, 1e-20)) > case.close


@pytest.mark.parametrize("name", ["Gemm", "ConvTranspose", "Concat", "embedding", "unary", "Where"])
@pytest.mark.parametrize("bits", [3, 8])
def test_other_widths_and_one_scale_for_all_weights(name: str, bits: int) -> None:
    model = model_of(CASES[name])
    result = quantize(model, samples_of(model, 8), QuantOptions(activation_bits=bits, granularity="tensor"))
    onnx.checker.check_model(result.model.proto, full_check=True)
    values = constants(result.model.proto)
    zero_points = [value for key, value in values.items() if key.endswith("_zero_point")]
    assert max(int(value.max()) for value in zero_points) < 2**bits
    assert all(value.shape == () for value in zero_points)


def test_one_constant_in_two_roles() -> None:
    """A table that is also the weights of the last layer: uint8 as a table, int8 as weights."""
    table = normal(6, 4)
    model = as_model(
        name_nodes(parsed("int64[2] i) => (float y", "a = Gather(t, i) y = Gemm<transB = 1>(a, t)", {"t": table}))
    )
    values = constants(quantize(model, samples_of(model, 8)).model.proto)
    assert {key: str(value.dtype) for key, value in values.items() if key.endswith("_q")} == {
        "t_q": "int8",
        "t_operand0_q": "uint8",
    }


def test_an_output_that_float_nodes_make_stays_in_float() -> None:
    model = as_model(name_nodes(parsed("float[3,4] x) => (float[3,4] a, float[3,4] y", "a = LogSoftmax(x) y = Exp(a)")))
    result = quantize(model, samples_of(model, 8))
    assert lines(result.model.proto)[:3] == [
        "a = LogSoftmax(x)",
        "a_q = QuantizeLinear(a, a_scale, a_zero_point)",
        "a_dq = DequantizeLinear(a_q, a_scale, a_zero_point)",
    ]


def test_float_nodes_read_floats_where_float_nodes_made_them() -> None:
    body = "a = LogSoftmax(x) b = Relu(a) c = LogSoftmax(a) d = Neg(x) e = LogSoftmax(b) y = Sum(c, d, e)"
    model = as_model(name_nodes(parsed("float[3,4] x) => (float[3,4] y", body)))
    result = quantize(model, samples_of(model, 8))
    kept = [line for line in lines(result.model.proto) if "Linear" not in line]
    assert kept == [
        "a = LogSoftmax(x)",
        "b = Relu(a_dq)",
        "c = LogSoftmax(a)",
        "d = Neg(x_dq)",
        "e = LogSoftmax(b_dq)",
        "y_f = Sum(c_dq, d_dq, e_dq)",
    ]


def test_branches_read_what_was_dequantised() -> None:
    branches = "then_branch = t () => (float[3,4] b) { b = LogSoftmax(a) }, else_branch = e () => (float[3,4] d) "
    body = f"a = Exp(x) y = If(c) <{branches} {{ d = Neg(a) }}>"
    model = as_model(name_nodes(parsed("float[3,4] x, bool c) => (float[3,4] y", body)))
    given = samples_of(model, 8) | {"c": np.arange(8) % 2 == 0}
    result = quantize(model, given)
    onnx.checker.check_model(result.model.proto, full_check=True)
    (node,) = [node for node in result.model.proto.graph.node if node.op_type == "If"]
    assert [inner.input[0] for entry in node.attribute for inner in entry.g.node] == ["a_dq", "a_dq"]
    assert "in float, no integer form: 1 If" in result.steps


def test_the_report_groups_what_stays_in_float() -> None:
    body = "a = LogSoftmax(x) b = CumSum(a, z) c = LogSoftmax(b) d = Relu(c) e = Pow(d, k) y = Relu(e)"
    values = {"z": np.array(0, np.int64), "k": np.full(4, 2, np.float32)}
    model = as_model(name_nodes(parsed("float[3,4] x) => (float[3,4] y", body, values)))
    steps = quantize(model, samples_of(model, 4)).steps
    assert [step for step in steps if step.startswith("in float")] == [
        "in float, no integer form: 2 LogSoftmax, 1 CumSum",
        "in float, exponent no constant number: 1 Pow",
    ]
    many = "a = LogSoftmax(x) n = Neg(a) b = Pow(n, k) c = PRelu(b, x) d = Cast<to = 1>(i) f = Clip(c, , m) "
    many += 'g = Resize<mode = "cubic">(f, , s) h = Div(g, k) y = Sum(h, d)'
    values = {"k": np.array([1e-9, 1, 2, 3], np.float32), "s": np.ones(2, np.float32)}
    model = as_model(name_nodes(parsed("float[3,4] x, int64[4] i, float m) => (float y", many, values)))
    floats = [step for step in quantize(model, samples_of(model, 4)).steps if step.startswith("in float")]
    assert len(floats) == 6
    assert floats[-1].startswith("in float for other reasons: 1 ")

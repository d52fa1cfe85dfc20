"""What random networks found, each in its smallest form: compiled wrong, crashed, or more than a step away."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto

from bitline import pipeline
from bitline.graph.model import Model
from bitline.ir.kernels import Host
from bitline.lower.golden import golden_model
from bitline.quant.options import QuantOptions
from tests.graph.build import parsed
from tests.lower.engines import Artefacts, build, differences, teacher_forced_worst

Array = npt.NDArray[np.generic]


def qdq(signature: str, body: str, constants: dict[str, Array], folder: Path) -> Model:
    """`body` between quantised tensors; x and y have scale 0.05, w 2^-12 in 16 bits."""
    grid: dict[str, Array] = {
        "s": np.array(0.05, np.float32), "z": np.array(128, np.uint8),
        "f": np.array(2.0**-12, np.float32), "o": np.array(0, np.int16),
    }  # fmt: skip
    path = folder / "found.onnx"
    onnx.save(parsed(signature, body, grid | constants, opset=21), path)
    return pipeline.quantise(pipeline.load(path, {}), None, QuantOptions()).model


def compiled(model: Model, *, worst: int = 1) -> Artefacts:
    made = build(model, "reram-tile", ("cores=2",))
    assert not differences(made, 3)
    assert max(teacher_forced_worst(model, made, seed) for seed in range(3)) <= worst
    return made


READ = "q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z)"
READ_16 = "q = QuantizeLinear(x, f, o) d = DequantizeLinear(q, f, o)"
WRITE = "p = QuantizeLinear(r, s, z) y = DequantizeLinear(p, s, z)"
WRITE_16 = "p = QuantizeLinear(r, f, o) y = DequantizeLinear(p, f, o)"
X = "float[1,3,4,5] x) => (float[1,3,4,5] y"


def test_names_that_the_integer_model_would_take(tmp_path: Path) -> None:
    """`golden.onnx` called its own tensors t1, t2, ... and c1, c2, ...; so may users."""
    body = f"{READ} r = Sigmoid(d) t2 = QuantizeLinear(r, s, z) t3 = DequantizeLinear(t2, s, z) e = Mul(t3, t3) "
    body += "c0 = QuantizeLinear(e, s, z) c1 = DequantizeLinear(c0, s, z) g = LogSoftmax(c1) "
    body += "t1 = QuantizeLinear(g, s, z) y = DequantizeLinear(t1, s, z)"
    made = compiled(qdq(X, body, {}, tmp_path))
    names = [name for node in golden_model(made.network, made.lowered.constants).graph.node for name in node.output]
    assert len({*names}) == len(names)


def test_the_integer_model_takes_no_limits_of_int64(tmp_path: Path) -> None:
    """ONNX Runtime 1.31.1 gives Max([2^31, ...], 1) = 1 where it works on several values at once."""
    body = f"{READ} e = Softmax(d) u = QuantizeLinear(e, s, z) v = DequantizeLinear(u, s, z) "
    body += "g = LayerNormalization(v, gain) h = QuantizeLinear(g, s, z) i = DequantizeLinear(h, s, z) r = Div(i, d) "
    model = qdq(X, body + WRITE, {"gain": np.ones(5, np.float32)}, tmp_path)
    made = build(model, "reram-tile")
    golden = onnx.shape_inference.infer_shapes(golden_model(made.network, made.lowered.constants), data_prop=True)
    types = {value.name: value.type.tensor_type.elem_type for value in golden.graph.value_info}
    limits = [node for node in golden.graph.node if node.op_type in ("Max", "Min", "Clip")]
    assert not [node.name for node in limits if types[node.output[0]] == TensorProto.INT64]
    assert {types[node.output[0]] for node in golden.graph.node if node.op_type == "Where"} == {TensorProto.INT64}


@pytest.mark.parametrize(("gain", "kind"), [(1.0, "Norm"), (1e5, "Host")])
def test_a_norm_of_inputs_far_below_epsilon(gain: float, kind: str, tmp_path: Path) -> None:
    """sqrt(eps) is 10^8 steps of the input; the output is as fine as what is left of it, or 10^5 times finer."""
    body = "q = QuantizeLinear(x, i, o) d = DequantizeLinear(q, i, o) r = LayerNormalization<epsilon=0.01>(d, gain) "
    body += "p = QuantizeLinear(r, j, o) y = DequantizeLinear(p, j, o)"
    constants: dict[str, Array] = {
        "i": np.array(1e-9, np.float32), "j": np.array(1e-8, np.float32), "gain": np.full(5, gain, np.float32),
    }  # fmt: skip
    made = compiled(qdq(X, body, constants, tmp_path))
    assert kind in {kernel.kind for kernel in made.network.kernels}


def test_quotients_whose_divisor_passes_31_bits(tmp_path: Path) -> None:
    body = f"{READ_16} e = Clip(d, l, h) u = QuantizeLinear(e, s, n) v = DequantizeLinear(u, s, n) r = Div(d, v) "
    limits: dict[str, Array] = {
        "l": np.array(0.5, np.float32), "h": np.array(12.0, np.float32), "n": np.array(0, np.uint8),
    }  # fmt: skip
    made = compiled(qdq(X, body + WRITE_16, limits, tmp_path))
    assert [k.op for k in made.network.kernels if k.kind == "Elementwise"][-1] == "quotient"


def test_a_reshape_of_a_reshape_with_ones_in_between(tmp_path: Path) -> None:
    shapes = {"a": (1, 4, 1, 15), "b": (1, 6, 1, 10), "c": (1, 3, 4, 5)}
    body = f"{READ} e = Transpose<perm=[0,2,1,3]>(d) f1 = Reshape(e, a) f2 = Reshape(f1, b) g = Reshape(f2, c) "
    constants: dict[str, Array] = {name: np.array(shape, np.int64) for name, shape in shapes.items()}
    made = compiled(qdq(X, f"{body} r = Neg(g) {WRITE}", constants, tmp_path))
    assert not any(isinstance(kernel, Host) for kernel in made.network.kernels)


def test_one_tensor_under_two_names_for_the_host(tmp_path: Path) -> None:
    shape: dict[str, Array] = {"a": np.array([1, 1, 60], np.int64), "b": np.array([1, 3, 4, 5], np.int64)}
    body = f"{READ} m = Neg(d) u = QuantizeLinear(m, s, z) v = DequantizeLinear(u, s, z) e = Reshape(v, a) "
    body += "g = Reshape(v, b) i = LogSoftmax(e) k = Hardmax(g) j = Reshape(i, b) r = Add(j, k) "
    made = compiled(qdq(X, body + WRITE, shape, tmp_path), worst=0x10000)
    assert any(isinstance(kernel, Host) for kernel in made.network.kernels)


WHOLE = "int64[1,6] x, float[1,6] v) => (float[1,6] y"


@pytest.mark.parametrize(("factor", "kind"), [("x", "Host"), ("few", "Elementwise"), ("many", "Host")])
def test_products_of_integers_stay_on_the_chip_where_53_bits_hold_them(factor: str, kind: str, tmp_path: Path) -> None:
    body = f"q = QuantizeLinear(v, s, z) d = DequantizeLinear(q, s, z) m = Mul(x, {factor}) e = Equal(m, four) "
    body += "w = Cast<to=1>(e) r = Where(e, d, w) "
    constants: dict[str, Array] = {
        "few": np.array([-2, 2, 3, 4, 5, 6]), "many": np.array([1, 2, 3, 4, 5, 1 << 22]), "four": np.array([4]),
    }  # fmt: skip
    made = compiled(qdq(WHOLE, body + WRITE, constants, tmp_path))
    assert [k.kind for k in made.network.kernels if any("Mul" in node for node in k.nodes)] == [kind]


@pytest.mark.parametrize("slope", [0.01, 0.25, 1.3])
def test_slopes_of_16_bits_keep_their_bits(slope: float, tmp_path: Path) -> None:
    """x and x * slope share a shift; the second factor was left with 5 bits, 149 steps off."""
    slopes = np.linspace(-slope, slope, 60).astype(np.float32).reshape(1, 3, 4, 5)
    compiled(qdq(X, f"{READ_16} r = PRelu(d, c) {WRITE_16}", {"c": slopes}, tmp_path))


def test_a_large_and_a_small_operand_keep_their_bits(tmp_path: Path) -> None:
    """The factor of a small operand may reach further than that of a large one."""
    body = f"{READ_16} e = Sigmoid(d) u = QuantizeLinear(e, tiny, n) v = DequantizeLinear(u, tiny, n) r = Add(d, v) "
    small: dict[str, Array] = {"tiny": np.array(1 / 255, np.float32), "n": np.array(0, np.uint8)}
    compiled(qdq(X, body + WRITE_16, small, tmp_path))


def test_an_output_that_is_an_input(tmp_path: Path) -> None:
    body = f"{READ} r = Tanh(d) {WRITE} v = Reshape(d, a)"
    made = compiled(qdq(f"{X}, float[1,60] v", body, {"a": np.array([1, 60], np.int64)}, tmp_path))
    tensors = {port.name: port.tensor for port in made.network.ports}
    assert tensors["v"] == tensors["x"]


def test_what_the_user_gives_as_integers_is_read_as_it_is(tmp_path: Path) -> None:
    """Row numbers of a table: below 0 from the end."""
    body = "e = Gather(t, x) r = Neg(e) p = QuantizeLinear(r, s, z) y = DequantizeLinear(p, s, z)"
    table: dict[str, Array] = {"t": np.random.default_rng(0).normal(0, 2, (13, 4)).astype(np.float32)}
    made = compiled(qdq("int64[1,5] x) => (float[1,5,4] y", body, table, tmp_path))
    assert next(port.dtype for port in made.network.ports if port.direction == "input") == "int64"

"""Networks that once were compiled wrong, crashed, or go to the host with the reason: one operator, odd form."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest

from bitline import pipeline
from bitline.graph.model import Model
from bitline.ir.kernels import Elementwise, Host
from bitline.quant.options import QuantOptions
from tests.graph.build import parsed
from tests.lower.engines import build, differences, teacher_forced_worst

Array = npt.NDArray[np.generic]
ONE_ARRAY = ("array.rows=16", "array.cols=16", "array.per_core=1")
CHIPS = (
    ("reram-tile", ()),
    ("sram-dcim", (*ONE_ARRAY, "cores=2")),
    ("reram-tile", (*ONE_ARRAY, "cores=1")),
    ("sram-dcim", ("array.rows=16", "array.cols=8", "array.per_core=2", "cores=3")),
)


def weights(*shape: int) -> npt.NDArray[np.float32]:
    return np.random.default_rng(7).normal(0, 0.4, shape).astype(np.float32)


def sizes(*values: int) -> npt.NDArray[np.int64]:
    return np.array(values, np.int64)


SHUFFLE = "b = Reshape(a, split) c = Transpose<perm=[0,2,1,3,4]>(b) d = Reshape(c, whole)"
"""Channel shuffle of `a` in two groups, as `d`."""


def shuffled(channels: int) -> dict[str, Array]:
    return {
        "w": weights(channels, 3, 1, 1),
        "split": sizes(1, 2, channels // 2, 4, 5),
        "whole": sizes(1, channels, 4, 5),
    }


IMAGE = "float[1,3,4,5] x"
FLOAT: dict[str, tuple[str, str, dict[str, Array]]] = {
    "a window along columns only, on one pixel": (
        "float[1,3,1,1] x", "y = Conv<pads=[0,1,0,1]>(x, w)", {"w": weights(4, 3, 1, 3)}),
    "a line of one": ("float[1,3,1] x", "y = Conv<pads=[1,1]>(x, w)", {"w": weights(4, 3, 3)}),
    "a line as input": ("float[1,3,8] x", "y = Conv<pads=[1,1]>(x, w)", {"w": weights(4, 3, 3)}),
    "pixels in another order": (
        IMAGE, "a = Conv(x, w) b = Transpose<perm=[0,3,2,1]>(a) y = MatMul(b, m)",
        {"w": weights(4, 3, 1, 1), "m": weights(4, 6)}),
    "channels as rows": (
        IMAGE, "a = Conv(x, w) b = Reshape(a, s) y = MatMul(b, m)",
        {"w": weights(4, 3, 1, 1), "m": weights(20, 6), "s": sizes(1, 4, 20)}),
    "depthwise behind a shuffle": (
        IMAGE, f"a = Conv(x, w) {SHUFFLE} y = Conv<group=40, pads=[1,1,1,1]>(d, v)",
        shuffled(40) | {"v": weights(40, 1, 3, 3)}),
    "maximum behind a shuffle": (
        IMAGE, f"a = Conv(x, w) {SHUFFLE} y = MaxPool<kernel_shape=[2,2]>(d)", shuffled(8)),
    "mean behind a shuffle": (IMAGE, f"a = Conv(x, w) {SHUFFLE} y = GlobalAveragePool(d)", shuffled(8)),
    "maximum over merged axes": (
        IMAGE, "a = Conv(x, w) b = Reshape(a, s) y = MaxPool<kernel_shape=[1,2]>(b)",
        {"w": weights(4, 3, 1, 1), "s": sizes(1, 16, 1, 5)}),
    "maximum over channels": (
        IMAGE, "a = Conv(x, w) b = Transpose<perm=[0,2,1,3]>(a) y = MaxPool<kernel_shape=[2,2]>(b)",
        {"w": weights(4, 3, 1, 1)}),
    "groups wider than an array": (
        "float[1,16,4,5] x", "y = Conv<group=2>(x, w)", {"w": weights(48, 8, 3, 3)}),
    "groups of two whole arrays": (
        "float[1,16,4,5] x", "y = Conv<group=2>(x, w)", {"w": weights(64, 8, 3, 3)}),
    "three groups and a remainder each": (
        "float[1,12,4,5] x", "y = Conv<group=3>(x, w)", {"w": weights(60, 4, 3, 3)}),
    "a sum of two layouts": (
        IMAGE, "a = Conv(x, w) b = Flatten(a) c = MatMul(b, m) y = Add(b, c)",
        {"w": weights(4, 3, 1, 1), "m": weights(80, 80)}),
}  # fmt: skip


def read(proto: onnx.ModelProto, folder: Path, samples: int) -> Model:
    path = folder / "odd.onnx"
    onnx.save(proto, path)
    model = pipeline.load(path, {})
    shape = [d.dim_value for d in proto.graph.input[0].type.tensor_type.shape.dim]
    data = np.random.default_rng(1).normal(0, 1, (samples, *shape[1:])).astype(np.float32)
    return pipeline.quantise(model, {"x": data} if samples else None, QuantOptions(method="minmax")).model


@pytest.mark.parametrize(("target", "overrides"), CHIPS)
@pytest.mark.parametrize("name", FLOAT)
def test_an_odd_network_is_exact(name: str, target: str, overrides: tuple[str, ...], tmp_path: Path) -> None:
    signature, body, constants = FLOAT[name]
    model = read(parsed(f"{signature}) => (float y", body, constants), tmp_path, 4)
    made = build(model, target, overrides)
    assert not differences(made, 3)
    assert teacher_forced_worst(model, made, 3) <= 1


def quantised(operator: str, shape: str, constants: dict[str, Array], scale: float = 0.05) -> onnx.ModelProto:
    """`operator` computes `o` from `xd`, between quantised tensors of scale 0.05 and `scale`, zero point 128."""
    body = (
        "xq = QuantizeLinear(x, xs, z) xd = DequantizeLinear(xq, xs, z) "
        f"{operator} yq = QuantizeLinear(o, ys, z) y = DequantizeLinear(yq, ys, z)"
    )
    grid: dict[str, Array] = {
        "xs": np.array(0.05, np.float32),
        "ys": np.array(scale, np.float32),
        "z": np.array(128, np.uint8),
    }
    return parsed(f"float[{shape}] x) => (float y", body, grid | constants, opset=19)


def real(value: float) -> npt.NDArray[np.float32]:
    return np.array(value, np.float32)


EXACT: dict[str, tuple[str, str, dict[str, Array], float]] = {
    "a clamp below zero, then Relu": ("c = Clip(xd, l, h) o = Relu(c)", "1,25", {"l": real(-3), "h": real(-1)}, 0.05),
    "limits the wrong way round": ("o = Clip(xd, l, h)", "1,25", {"l": real(2), "h": real(-1)}, 0.05),
    "almost the same scale": ("o = Identity(xd)", "1,25", {}, 0.050005),
    "no number for negative reals": ("o = Sqrt(xd)", "1,25", {}, 0.05),
    "infinity at zero": ("o = Log(xd)", "1,25", {}, 0.05),
    "a scalar factor": ("o = Mul(xd, c)", "1,25", {"c": real(1.5)}, 0.05),
    "one slope": ("o = PRelu(xd, c)", "1,25", {"c": real(0.2)}, 0.05),
    "padding that does not count, cut off": (
        "o = AveragePool<kernel_shape=[3,3], strides=[2,2], pads=[1,1,1,1], ceil_mode=1>(xd)", "1,3,6,6", {}, 0.05),
    "a dilated mean": ("o = AveragePool<kernel_shape=[2,2], dilations=[2,2]>(xd)", "1,3,6,6", {}, 0.05),
    "a tensor and itself": ("o = Add(xd, xd)", "1,25", {}, 0.05),
}  # fmt: skip


@pytest.mark.parametrize("name", EXACT)
def test_an_odd_operator_is_exact(name: str, tmp_path: Path) -> None:
    operator, shape, constants, scale = EXACT[name]
    model = read(quantised(operator, shape, constants, scale), tmp_path, 0)
    made = build(model, *CHIPS[0])
    assert not differences(made, 3)
    assert max(teacher_forced_worst(model, made, seed) for seed in range(3)) <= 1


AWAY = np.linspace(-1, 2, 256).astype(np.float32)
ON_CHIP: dict[str, tuple[str, str, dict[str, Array], str]] = {
    "a factor for every element": ("o = Mul(xd, c)", "1,256", {"c": AWAY}, "product"),
    "a slope for every element": ("o = PRelu(xd, c)", "1,256", {"c": AWAY}, "prelu"),
    "a divisor for every element": ("o = Div(xd, c)", "1,256", {"c": AWAY + np.float32(4)}, "quotient"),
    "a bound for every element": ("o = Max(xd, c)", "1,256", {"c": AWAY}, "largest"),
    "a term for every element": ("o = Sub(c, xd)", "1,256", {"c": AWAY}, "sum"),
}


@pytest.mark.parametrize("name", ON_CHIP)
def test_an_operand_of_many_numbers_is_a_constant_tensor(name: str, tmp_path: Path) -> None:
    operator, shape, constants, op = ON_CHIP[name]
    model = read(quantised(operator, shape, constants), tmp_path, 0)
    made = build(model, *CHIPS[0])
    (kernel,) = made.network.kernels
    assert isinstance(kernel, Elementwise)
    assert kernel.op == op
    assert sum(bool(tensor.constant) for tensor in made.network.tensors) == 1
    assert not differences(made, 3)
    assert max(teacher_forced_worst(model, made, seed) for seed in range(3)) <= 1


TO_HOST: dict[str, tuple[str, str, dict[str, Array], float, str]] = {
    "LogSoftmax": ("o = LogSoftmax(xd)", "1,256", {}, 0.05, "not computed element by element"),
    "CumSum": ("o = CumSum(xd, c)", "1,256", {"c": np.array(1)}, 0.05, "not computed element by element"),
    "Hardmax": ("o = Hardmax(xd)", "1,256", {}, 0.05, "not computed element by element"),
    "LpNormalization": ("o = LpNormalization(xd)", "1,256", {}, 0.05, "not computed element by element"),
    "LRN": ("o = LRN<size=3>(xd)", "1,4,3,3", {}, 0.05, "not computed element by element"),
    "TopK": ("o, i = TopK(xd, c)", "1,25", {"c": np.array([25])}, 0.05, "not computed element by element"),
    "Einsum": ('o = Einsum<equation = "ij->ij">(xd)', "1,25", {}, 0.05, "element"),
    "AveragePool": (
        "o = AveragePool<kernel_shape=[3,3], strides=[2,2], pads=[1,1,1,1], ceil_mode=1, count_include_pad=1>(xd)",
        "1,3,6,6", {}, 0.05, "counts padding and reaches beyond it"),
    "Softmax": ("o = Softmax(xd)", "1,25", {}, 1e-9, "output scale is too fine"),
    "GlobalAveragePool": ("o = GlobalAveragePool(xd)", "1,3,6,5", {}, 1e-9, "output scale is too far below"),
    "MatMul": (
        "wd = DequantizeLinear(w, s) o = MatMul(xd, wd)",
        "1,4", {"w": np.ones((4, 3), np.int8), "s": real(0.1)}, 1e-10, "scale"),
    "Add": ("o = Add(xd, xd)", "1,25", {}, 1e-12, "output scale is too far below"),
}  # fmt: skip


@pytest.mark.parametrize("operator", TO_HOST)
def test_what_no_unit_can_do_goes_to_the_host_which_says_why(operator: str, tmp_path: Path) -> None:
    body, shape, constants, scale, why = TO_HOST[operator]
    model = read(quantised(body, shape, constants, scale), tmp_path, 0)
    made = build(model, *CHIPS[0])
    (kernel,) = [k for k in made.network.kernels if isinstance(k, Host)]
    assert operator in kernel.why
    assert re.search(why, kernel.why), kernel.why
    assert any(operator in node for node in kernel.nodes), kernel.nodes
    assert not differences(made, 3)
    assert max(teacher_forced_worst(model, made, seed) for seed in range(3)) == 0


def test_the_chip_goes_on_behind_the_host(tmp_path: Path) -> None:
    """One call for the whole of what no unit does, kernels before and after it."""
    body = "m = Relu(xd) mq = QuantizeLinear(m, xs, z) md = DequantizeLinear(mq, xs, z) a = LogSoftmax(md) o = Neg(a)"
    again = "p = HardSigmoid(y) pq = QuantizeLinear(p, ys, z) pd = DequantizeLinear(pq, ys, z)"
    proto = quantised(body, "1,25", {})
    more = parsed("float[1,25] y, float ys, uint8 z) => (float pd", again, {}, opset=19)
    proto.graph.node.extend(more.graph.node)
    proto.graph.output[0].name = "pd"
    model = read(proto, tmp_path, 0)
    made = build(model, *CHIPS[1])
    assert [kernel.kind for kernel in made.network.kernels] == ["Elementwise", "Host", "Elementwise"]
    host = made.network.kernels[1]
    assert len(host.nodes) == 2
    assert len(made.built.program.calls) == 1
    assert not differences(made, 3)
    assert teacher_forced_worst(model, made, 3) <= 1

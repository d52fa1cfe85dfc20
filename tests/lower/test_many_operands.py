"""Max, Min and Sum of three and more quantised tensors: on the chip, exact or within a step, on every grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from bitline import api, pipeline
from bitline.graph import shapes
from bitline.ir.kernels import Elementwise, Host
from bitline.numerics.reference import evaluate
from bitline.quant.options import QuantOptions
from tests.lower.engines import build, differences, stored_values, teacher_forced_worst

LIMITS = {"uint8": (0, 255), "int8": (-128, 127), "int16": (-(2**15), 2**15 - 1)}
OPS = {"Max": "largest", "Min": "smallest", "Sum": "sum"}
SHAPE = (1, 2, 3, 4)


@dataclass(frozen=True, slots=True)
class Grid:
    dtype: str
    scale: float
    zero: int


U8, S8, S16 = Grid("uint8", 0.05, 128), Grid("int8", 0.031, -9), Grid("int16", 2.0**-12, 0)
COARSE, FINE_16 = Grid("uint8", 0.4, 3), Grid("int16", 0.0007, 1200)
CASES: dict[str, tuple[list[Grid], Grid]] = {
    "one grid": ([U8] * 4, U8),
    "u8": ([U8, COARSE, Grid("uint8", 0.011, 0), U8], Grid("uint8", 0.17, 40)),
    "s8": ([S8, Grid("int8", 0.2, 0), Grid("int8", 0.006, 100), S8], Grid("int8", 0.043, 5)),
    "mixed": ([U8, S8, S16, COARSE], Grid("int8", 0.15, 0)),
    "16 bits": ([S16, FINE_16, S16, U8], Grid("int16", 0.001, -50)),
    "a result that saturates": ([COARSE, U8, S8, COARSE], Grid("uint8", 0.002, 128)),
}


def network(
    operator: str, grids: Sequence[Grid], result: Grid, *, parts: Sequence[Sequence[int]] = (), relu: bool = False
) -> onnx.ModelProto:
    """y = Q(operator(DQ(Q(x0)), DQ(Q(x1)), ...)), each on a grid of its own, `parts` their shapes."""
    constants: list[onnx.TensorProto] = []
    nodes: list[onnx.NodeProto] = []

    def pair(source: str, name: str, grid: Grid) -> None:
        scale, zero = f"{name}.scale", f"{name}.zero"
        constants.append(numpy_helper.from_array(np.array(grid.scale, np.float32), scale))
        constants.append(numpy_helper.from_array(np.array(grid.zero, grid.dtype), zero))
        nodes.append(helper.make_node("QuantizeLinear", [source, scale, zero], [f"{name}.q"], f"{name}.Q"))
        nodes.append(helper.make_node("DequantizeLinear", [f"{name}.q", scale, zero], [name], f"{name}.DQ"))

    for place, grid in enumerate(grids):
        pair(f"x{place}", f"d{place}", grid)
    nodes.append(helper.make_node(operator, [f"d{place}" for place in range(len(grids))], ["r"], operator))
    if relu:
        nodes.append(helper.make_node("Relu", ["r"], ["k"], "relu"))
    pair("k" if relu else "r", "y", result)
    inputs = [
        helper.make_tensor_value_info(f"x{place}", TensorProto.FLOAT, list(parts[place] if parts else SHAPE))
        for place in range(len(grids))
    ]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, list(SHAPE))]
    graph = helper.make_graph(nodes, "g", inputs, outputs, constants)
    return shapes.inferred(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10))


def saved(proto: onnx.ModelProto, folder: Path) -> Path:
    path = folder / "many.onnx"
    onnx.save(proto, path)
    return path


@pytest.mark.parametrize("operator", OPS)
@pytest.mark.parametrize("count", [3, 4])
@pytest.mark.parametrize("case", CASES)
def test_on_the_chip_and_within_a_step_of_onnx_runtime(operator: str, count: int, case: str, tmp_path: Path) -> None:
    grids, result = CASES[case]
    package = api.compile(saved(network(operator, grids[:count], result), tmp_path), target="sram-dcim")
    kernels = package.contents.network.kernels
    assert [k.op for k in kernels if isinstance(k, Elementwise)] == [OPS[operator]] * (count - 2)
    assert not any(isinstance(kernel, Host) for kernel in kernels)
    rng = np.random.default_rng(7)
    feeds = {f"x{place}": rng.normal(0, 3, (4, *SHAPE[1:])).astype(np.float32) for place in range(count)}
    checked = package.run(feeds, check_samples=4).checked
    assert checked is not None
    for agreement in (checked.exact.against_reference, checked.exact.against_golden):
        assert agreement.equal == agreement.values
    assert checked.teacher_forced.within_one == checked.teacher_forced.values
    assert package.verify().errors == ()


@pytest.mark.parametrize("operator", OPS)
@pytest.mark.parametrize("relu", [False, True])
def test_operands_that_broadcast_and_a_relu(operator: str, relu: bool, tmp_path: Path) -> None:
    parts = [SHAPE, (4,), (2, 1, 1), (1, 1, 3, 1), SHAPE, (1, 1, 1, 1)]
    proto = network(operator, [U8, S8, S16, COARSE, U8, S8], Grid("int8", 0.15, 0), parts=parts, relu=relu)
    model = pipeline.quantise(pipeline.load(saved(proto, tmp_path), {}), None, QuantOptions()).model
    made = build(model, "reram-tile", ("cores=3",))
    assert [kernel.kind for kernel in made.network.kernels] == ["Elementwise"] * 3
    assert not differences(made, 3)
    assert max(teacher_forced_worst(model, made, seed) for seed in range(3)) <= 1


def test_numbers_among_many_operands(tmp_path: Path) -> None:
    """A number bounds the result, or is added once."""
    for operator in OPS:
        proto = network(operator, [U8, S8, U8, COARSE, S16], U8)
        node = next(node for node in proto.graph.node if node.op_type == operator)
        proto.graph.initializer.append(numpy_helper.from_array(np.array(0.3, np.float32), "number"))
        node.input[1] = "number"
        model = pipeline.quantise(pipeline.load(saved(proto, tmp_path), {}), None, QuantOptions()).model
        made = build(model, "sram-dcim")
        assert not any(isinstance(kernel, Host) for kernel in made.network.kernels)
        assert not differences(made, 3)
        assert max(teacher_forced_worst(model, made, seed) for seed in range(3)) <= 1


GRIDS = st.one_of(
    st.builds(Grid, st.just("uint8"), st.floats(0.001, 1.0), st.integers(0, 255)),
    st.builds(Grid, st.just("int8"), st.floats(0.001, 1.0), st.integers(-128, 127)),
    st.builds(Grid, st.just("int16"), st.floats(2.0**-14, 2.0**-7), st.integers(-1000, 1000)),
)


@settings(max_examples=25)
@given(st.sampled_from(sorted(OPS)), st.lists(GRIDS, min_size=3, max_size=7), GRIDS, st.integers(0, 1000))
def test_many_operands_round_once(operator: str, grids: list[Grid], result: Grid, seed: int) -> None:
    """The nearest integer of the exact result, or the next one where it lies near the middle of two."""
    with TemporaryDirectory() as folder:
        model = pipeline.load(saved(network(operator, grids, result), Path(folder)), {})
        made = build(model, "sram-dcim")
    rng = np.random.default_rng(seed)
    codes = {f"d{i}.q": rng.integers(*LIMITS[g.dtype], SHAPE, endpoint=True) for i, g in enumerate(grids)}
    reals = [(codes[f"d{i}.q"] - g.zero) * float(np.float32(g.scale)) for i, g in enumerate(grids)]
    stored = {name: stored_values(made.network.tensor(name), values) for name, values in codes.items()}
    out = next(port for port in made.network.ports if port.direction == "output")
    got = evaluate(made.network, made.lowered.constants, stored).values[out.tensor].reshape(-1)[out.view.evaluate()]
    exact = sum(reals) if operator == "Sum" else (np.max if operator == "Max" else np.min)(np.array(reals), axis=0)
    steps = np.clip(exact / float(np.float32(result.scale)) + result.zero, *LIMITS[result.dtype])
    assert np.abs(got.reshape(SHAPE) - steps).max() <= 0.51

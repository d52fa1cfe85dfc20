"""Real artefacts to check and to spoil: the MNIST example and small networks, compiled once per run of the tests."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from bitline import examples, pipeline
from bitline.codegen.build import Built
from bitline.data.grammar import parse_preprocess
from bitline.data.load import load_data
from bitline.graph.model import Model
from bitline.ir.kernels import Constants, Network
from bitline.ir.residency import BlockResidency
from bitline.ir.schedule import Schedule
from bitline.quant.options import QuantOptions
from bitline.target.load import load_target
from bitline.verify.residency import Geometry
from tests.graph.build import parsed

TARGETS = ("reram-tile", "sram-dcim")
SMALL_MEMORIES = ("cores=2", "memory.input_bytes=512", "memory.psum_bytes=512", "memory.output_bytes=256")


def _arrays(per_core: int, rows: int, cols: int) -> tuple[str, ...]:
    return (f"array.per_core={per_core}", f"array.rows={rows}", f"array.cols={cols}", f"array.group_rows={rows}")


TINY_CHIPS = {
    "segments": ("reram-tile", (*SMALL_MEMORIES, *_arrays(2, 16, 8))),
    "resident": ("sram-dcim", (*SMALL_MEMORIES, *_arrays(4, 32, 8))),
    "cycled": ("reram-tile", (*SMALL_MEMORIES, *_arrays(2, 8, 8))),
}
"""Chips so small that the tiny network needs two segments; that it stays; that weights are written for every tile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Artefacts:
    """What the structural checks of a package look at."""

    network: Network
    constants: Constants
    schedule: Schedule
    blocks: tuple[BlockResidency, ...]
    built: Built
    geometry: Geometry
    memory_sizes: dict[str, int]

    @property
    def cells(self) -> bytes:
        return self.built.constants["weights"]


def compile_for(model: Model, target: str, overrides: tuple[str, ...] = (), *, stream: int = 1) -> Artefacts:
    """All stages for a QDQ model, no check; a stream with neighbouring kernels on every core."""
    chip = load_target(target, overrides)
    lowered = pipeline.to_kernels(model, chip)
    planned = pipeline.make_plan(lowered.network, chip, stream, stretches=stream > 1)
    array, memory = chip.array, chip.memory
    return Artefacts(
        network=lowered.network,
        constants=lowered.constants,
        schedule=planned.schedule,
        blocks=planned.blocks,
        built=pipeline.make_program(lowered, planned, chip),
        geometry=Geometry(
            cores=chip.cores.value,
            arrays_per_core=array.per_core.value,
            array_rows=array.rows.value,
            array_cols=array.cols.value,
        ),
        memory_sizes={"shared": memory.shared_bytes.value, "dram": memory.dram_bytes.value},
    )


@cache
def quantised_mnist() -> Model:
    model = pipeline.load(examples.path("mnist_cnn.onnx"), {})
    calibration = str(examples.path("mnist_calib_64.npz"))
    samples = load_data(calibration, model, parse_preprocess("mean=0.1307 std=0.3081"))
    return pipeline.quantise(model, samples.feeds, QuantOptions()).model


@cache
def mnist(target: str) -> Artefacts:
    return compile_for(quantised_mnist(), target)


def _weights(name: str, *shape: int) -> onnx.TensorProto:
    values = np.random.default_rng(len(name)).normal(0, 0.3, shape).astype(np.float32)
    return numpy_helper.from_array(values, name)


@cache
def quantised_tiny() -> Model:
    """6x6 pixels of 3 channels: 3x3 conv, depthwise 3x3 conv, max pool, fully connected."""
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["a"], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["ar"], name="relu"),
        helper.make_node("Conv", ["ar", "w2"], ["b"], name="depthwise", group=6),
        helper.make_node("MaxPool", ["b"], ["c"], name="pool", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["c"], ["d"], name="flatten"),
        helper.make_node("Gemm", ["d", "w3", "b3"], ["y"], name="dense"),
    ]
    weights = [_weights("w1", 6, 3, 3, 3), _weights("b1", 6), _weights("w2", 6, 1, 3, 3)]
    weights += [_weights("w3", 24, 20), _weights("b3", 20)]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 3, 6, 6])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 20])],
        weights,
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "tiny.onnx"
        onnx.save(made, path)
        model = pipeline.load(path, {})
        samples: dict[str, npt.NDArray[np.generic]] = {
            "x": np.random.default_rng(0).normal(0, 1, (8, 3, 6, 6)).astype(np.float32)
        }
        return pipeline.quantise(model, samples, QuantOptions()).model


@cache
def tiny(chip: str) -> Artefacts:
    """The tiny network on a chip of `TINY_CHIPS`."""
    return compile_for(quantised_tiny(), *TINY_CHIPS[chip])


@cache
def streamed_tiny() -> Artefacts:
    """The tiny network on three small cores, as a pipeline over five inputs."""
    memories = ("cores=3", *SMALL_MEMORIES[1:])
    return compile_for(quantised_tiny(), "sram-dcim", (*memories, *_arrays(4, 32, 8)), stream=5)


@cache
def streamed_mnist(target: str) -> Artefacts:
    return compile_for(quantised_mnist(), target, stream=3)


BRANCHES = """
a = Conv<pads = [1, 1, 1, 1]>(x, wa) ar = Relu(a) b = Conv<pads = [1, 1, 1, 1]>(ar, wb) br = Relu(b)
c = Conv<pads = [1, 1, 1, 1]>(x, wc) cr = Relu(c) d = Conv<pads = [1, 1, 1, 1]>(cr, wd) dr = Relu(d)
s = Add(br, dr) y = GlobalAveragePool(s)
"""
"""Two branches that know nothing of one another but the bytes that their tensors share."""


@cache
def streamed_branches() -> Artefacts:
    constants: dict[str, npt.NDArray[np.generic]] = {
        name: np.random.default_rng(i).normal(0, 0.3, (8, 3 if name in ("wa", "wc") else 8, 3, 3)).astype(np.float32)
        for i, name in enumerate(("wa", "wb", "wc", "wd"))
    }
    with TemporaryDirectory() as folder:
        path = Path(folder) / "branches.onnx"
        onnx.save(parsed("float[1,3,6,6] x) => (float[1,8,1,1] y", BRANCHES, constants, opset=17), path)
        model = pipeline.load(path, {})
    samples: dict[str, npt.NDArray[np.generic]] = {
        "x": np.random.default_rng(9).normal(0, 1, (4, 3, 6, 6)).astype(np.float32)
    }
    return compile_for(pipeline.quantise(model, samples, QuantOptions()).model, "isaac", stream=4)


MIXED = """
e = Gather(table, ids) q = QuantizeLinear(e, s, z) d = DequantizeLinear(q, s, z)
xq = QuantizeLinear(x, s, z) xd = DequantizeLinear(xq, s, z)
w = Where(keep, d, xd) wq = QuantizeLinear(w, f, o) wd = DequantizeLinear(wq, f, o)
h = LogSoftmax(wd) hq = QuantizeLinear(h, s, z) hd = DequantizeLinear(hq, s, z)
n = LayerNormalization(wd, gain) nq = QuantizeLinear(n, s, z) nd = DequantizeLinear(nq, s, z)
t = Transpose<perm = [0, 2, 1]>(hd) m = MatMul(nd, t) mq = QuantizeLinear(m, f, o) md = DequantizeLinear(mq, f, o)
g = Sigmoid(md) y_q = QuantizeLinear(g, s, z) y = DequantizeLinear(y_q, s, z)
"""
"""A look-up, a selection of three operands, a call of the host, a norm, a product and a curve."""


@cache
def quantised_mixed() -> Model:
    constants: dict[str, npt.NDArray[np.generic]] = {
        "table": np.random.default_rng(5).normal(0, 1, (7, 6)).astype(np.float32),
        "gain": np.ones(6, np.float32),
        "s": np.array(0.03, np.float32), "z": np.array(3, np.int8),
        "f": np.array(2.0**-11, np.float32), "o": np.array(0, np.int16),
    }  # fmt: skip
    signature = "int64[1,3] ids, float[1,3,6] x, bool[1,3,1] keep) => (float[1,3,3] y"
    with TemporaryDirectory() as folder:
        path = Path(folder) / "mixed.onnx"
        onnx.save(parsed(signature, MIXED, constants, opset=21), path)
        return pipeline.load(path, {})


@cache
def mixed() -> Artefacts:
    """Kernels without weights on two cores."""
    return compile_for(quantised_mixed(), "reram-tile", (*SMALL_MEMORIES, *_arrays(1, 8, 8)))


def with_adc(network: Network, bits: int) -> Network:
    """The same network for converters of `bits` bits."""
    kernels = tuple(
        replace(kernel, math=replace(kernel.math, adc_bits=bits)) if kernel.kind == "MatMul" else kernel
        for kernel in network.kernels
    )
    return replace(network, kernels=kernels)

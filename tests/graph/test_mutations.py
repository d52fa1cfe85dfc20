"""Random damage to sound models: whatever passes the gate is quantised and compiled, whatever does not is refused.

Nothing crashes, nothing hangs, nothing ends in a traceback. Every damaged model has a forked process of its own.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import bitline
from bitline import pipeline
from bitline.core.diagnostics import Refusal
from bitline.data.load import load_data
from bitline.quant.options import QuantOptions
from tests.forked import run_forked
from tests.graph import hostile as h

SECONDS = 10.0
MEMORY = 4 << 30
SOAK = os.environ.get("BITLINE_HYPOTHESIS") == "soak"
BATCHES = 40 if SOAK else 4
PER_BATCH = 50
SMALL = ("array.rows=16", "array.cols=8", "array.per_core=2", "cores=2")


def convolutional(opset: int = 17) -> onnx.ModelProto:
    """Most of its bytes say what it is; few are weights."""
    rng = np.random.default_rng(opset)
    shapes = {"w1": (2, 2, 3, 3), "b1": (2,), "w2": (8, 3), "b2": (3,)}
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["c"], "conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"], "relu"),
        helper.make_node("MaxPool", ["r"], ["p"], "pool", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Add", ["p", "p"], ["a"], "add"),
        helper.make_node("Flatten", ["a"], ["f"], "flatten"),
        helper.make_node("Gemm", ["f", "w2", "b2"], ["y"], "dense"),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 2, 4, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 3])],
        [numpy_helper.from_array(rng.normal(0, 0.3, s).astype(np.float32), name) for name, s in shapes.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How far a damaged model came."""

    stage: str
    code: str


def attempt(path: Path) -> Ended:
    """Through the gate, quantisation and all other stages; a `Refusal` is a good end."""
    stage = "load"
    try:
        model = bitline.load(path)
        stage = "compile"
        samples = load_data("random:2", model)
        bitline.compile(model, target="reram-tile", overrides=SMALL, calib=samples.feeds)
    except Refusal as refusal:
        return Ended(stage=stage, code=refusal.diagnostics[0].code)
    return Ended(stage="done", code="")


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    """Mostly one byte changed; sometimes more, or bytes put in or taken out, or a piece doubled.

    Inserting and deleting upsets every length before it, which the gate sees at once: changes get further.
    """
    out = bytearray(data)
    for _ in range(int(rng.choice([1, 1, 1, 2, 4]))):
        at, value = int(rng.integers(len(out))), int(rng.integers(256))
        match int(rng.integers(12)):
            case 0 | 1 | 2 | 3:
                out[at] = value
            case 4 | 5 | 6 | 7 | 8:
                out[at] ^= 1 << int(rng.integers(8))
            case 9:
                out.insert(at, value)
            case 10:
                del out[at]
            case _:
                out[at:at] = out[at : at + int(rng.integers(1, 30))]
    return bytes(out)


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """The sound models; all libraries are loaded when this has run, so that forked processes need not load them."""
    folder = tmp_path_factory.mktemp("seeds")
    path = h.written(convolutional())(folder)
    model = bitline.load(path)
    samples = load_data("random:2", model)
    quantised = pipeline.quantise(model, samples.feeds, QuantOptions())
    found = [convolutional(), convolutional(opset=11), quantised.model.proto]
    data = [proto.SerializeToString() for proto in found]
    for make in (h.functions([[1], []]), h.nested(1)):
        data.append(make(folder).read_bytes())
    path.write_bytes(data[2])
    assert attempt(path) == Ended(stage="done", code="")
    return data


def reworded(data: bytes, rng: np.random.Generator) -> bytes:
    """One field says something else, in a file that is a model still: this gets further than bytes do."""
    proto = onnx.ModelProto.FromString(data)
    graph = proto.graph
    nodes, names = list(graph.node), [v.name for v in (*graph.input, *graph.initializer)]
    names += [name for node in nodes for name in node.output]
    node = nodes[int(rng.integers(len(nodes)))]
    number = int(rng.choice([-(2**63), -(2**31), -7, -1, 0, 1, 2, 3, 5, 20, 64, 2**31, 2**62, 2**63 - 1]))
    match int(rng.integers(10)):
        case 0 if graph.initializer:
            tensor = graph.initializer[int(rng.integers(len(graph.initializer)))]
            if tensor.dims:
                tensor.dims[int(rng.integers(len(tensor.dims)))] = number
        case 1:
            value = (*graph.input, *graph.output, *graph.value_info)[int(rng.integers(len(graph.input) + 1))]
            dims = value.type.tensor_type.shape.dim
            if dims:
                dims[int(rng.integers(len(dims)))].dim_value = number
        case 2 | 3 if node.input:
            node.input[int(rng.integers(len(node.input)))] = str(rng.choice([*names, ""]))
        case 4 if node.output:
            node.output[0] = str(rng.choice(names))
        case 5:
            node.op_type = str(rng.choice([*KINDS, *(other.op_type for other in nodes)]))
        case 6:
            key = str(
                rng.choice(["axis", "group", "pads", "strides", "dilations", "kernel_shape", "alpha", "ceil_mode"])
            )
            kept = [entry for entry in node.attribute if entry.name != key]
            wide = [number] * int(rng.integers(1, 6)) if key not in ("axis", "group", "ceil_mode") else number
            del node.attribute[:]
            node.attribute.extend([*kept, helper.make_attribute(key, wide)])
        case 7:
            kept = [other for other in nodes if other is not node]
            copies = [onnx.NodeProto.FromString(other.SerializeToString()) for other in kept]
            del graph.node[:]
            graph.node.extend(copies)
        case 8:
            proto.opset_import[0].version = int(rng.integers(-1, 30))
        case _ if node.attribute:
            entry = node.attribute[int(rng.integers(len(node.attribute)))]
            if entry.ints:
                entry.ints[int(rng.integers(len(entry.ints)))] = number
            else:
                entry.i = number
        case _:
            proto.ir_version = number
    return proto.SerializeToString()


KINDS = (
    *("Relu", "Sigmoid", "Softmax", "Transpose", "Reshape", "Shape", "Identity", "Concat", "MatMul", "Mul"),
    *("ConvTranspose", "GlobalAveragePool", "AveragePool", "BatchNormalization", "Pad", "Dropout", "Unsqueeze"),
)


@pytest.mark.parametrize("damage", [damaged, reworded])
@pytest.mark.parametrize("batch", range(BATCHES))
def test_damaged_models(
    batch: int, damage: Callable[[bytes, np.random.Generator], bytes], seeds: list[bytes], tmp_path: Path
) -> None:
    rng = np.random.default_rng(batch)
    path = tmp_path / "net.onnx"
    ends: Counter[str] = Counter()
    for number in range(PER_BATCH):
        data = damage(seeds[number % len(seeds)], rng)
        path.write_bytes(data)
        outcome = run_forked(partial(attempt, path), seconds=SECONDS, memory_bytes=MEMORY)
        if outcome.value is None:
            kept = path.with_name(f"bad-{number}.onnx")
            kept.write_bytes(data)
            pytest.fail(f"{kept}: late {outcome.late}, signal {outcome.signal}\n{outcome.traceback}")
        ends[f"{outcome.value.stage} {outcome.value.code}".strip()] += 1
    print(dict(ends))  # shown with -s
    assert ends.total() == PER_BATCH
    assert ends["done"] >= 1
    assert ends.total() > ends["done"]

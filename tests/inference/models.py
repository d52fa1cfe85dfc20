"""Small networks for chips: of images in both layouts, of a stream, with state; compiled once per run of the tests."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from bitline import api
from bitline.numerics.stored import Array

CLASSES = 10


def weights(name: str, *shape: int) -> onnx.TensorProto:
    values = np.random.default_rng(len(name)).normal(0, 0.3, shape).astype(np.float32)
    return numpy_helper.from_array(values, name)


def model(
    nodes: Sequence[onnx.NodeProto],
    inputs: dict[str, list[int]],
    outputs: dict[str, list[int]],
    constants: Sequence[onnx.TensorProto] = (),
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def images(layout: str = "NCHW", softmax: bool = False) -> onnx.ModelProto:
    """8 x 8 RGB images, 10 classes."""
    first = [helper.make_node("Transpose", ["image"], ["t"], name="turn", perm=[0, 3, 1, 2])]
    nodes = [
        *(first if layout == "NHWC" else []),
        helper.make_node("Conv", ["t" if first and layout == "NHWC" else "image", "w1"], ["c"], name="conv"),
        helper.make_node("Relu", ["c"], ["r"], name="relu"),
        helper.make_node("Flatten", ["r"], ["f"], name="flatten"),
        helper.make_node("Gemm", ["f", "w2"], ["l" if softmax else "scores"], name="dense"),
        *([helper.make_node("Softmax", ["l"], ["scores"], name="soft")] if softmax else []),
    ]
    shape = [1, 3, 8, 8] if layout == "NCHW" else [1, 8, 8, 3]
    constants = [weights("w1", 4, 3, 3, 3), weights("w2", 4 * 6 * 6, CLASSES)]
    return model(nodes, {"image": shape}, {"scores": [1, CLASSES]}, constants)


def stream() -> onnx.ModelProto:
    """Frames of 16 numbers become 4."""
    nodes = [helper.make_node("Gemm", ["sound", "w"], ["y"], name="dense")]
    return model(nodes, {"sound": [1, 16]}, {"y": [1, 4]}, [weights("w", 16, 4)])


def leaky() -> onnx.ModelProto:
    """h' = relu(W (x + h)): what comes out goes in again with the next sample."""
    nodes = [
        helper.make_node("Add", ["x", "h"], ["s"], name="sum"),
        helper.make_node("Gemm", ["s", "w"], ["m"], name="dense"),
        helper.make_node("Relu", ["m"], ["y"], name="relu"),
    ]
    return model(nodes, {"x": [1, 4], "h": [1, 4]}, {"y": [1, 4]}, [weights("w", 4, 4)])


@cache
def compiled(kind: str) -> api.Package:
    """`images`, `images NHWC`, `stream` or `leaky` for a digital chip."""
    name, _, layout = kind.partition(" ")
    made = {"images": lambda: images(layout or "NCHW"), "stream": stream, "leaky": leaky}[name]()
    rng = np.random.default_rng(0)
    calib: dict[str, Array] = {}
    for value in made.graph.input:
        shape = [d.dim_value for d in value.type.tensor_type.shape.dim]
        calib[value.name] = rng.random((16, *shape[1:])).astype(np.float32)
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.onnx"
        onnx.save(made, path)
        labels = {"state": "y=h"} if name == "leaky" else {}
        return api.compile(path, target="sram-dcim", calib=calib, labels=labels)

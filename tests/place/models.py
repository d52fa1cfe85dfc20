"""Small models whose placements are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def gemms(path: Path, count: int, rows: int, cols: int, bias: float = 0.5) -> Path:
    """`count` layers of rows x cols weights that read the same input."""
    random = np.random.default_rng(count)
    nodes, weights, outputs = [], [], []
    for i in range(count):
        w = random.normal(0, 0.05, (rows, cols)).astype(np.float32)
        b = np.full(cols, bias, np.float32)
        weights += [numpy_helper.from_array(w, f"w{i}"), numpy_helper.from_array(b, f"b{i}")]
        nodes.append(helper.make_node("Gemm", ["x", f"w{i}", f"b{i}"], [f"y{i}"], name=f"gemm{i}"))
        outputs.append(helper.make_tensor_value_info(f"y{i}", TensorProto.FLOAT, [1, cols]))
    graph = helper.make_graph(
        nodes, "gemms", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, rows])], outputs, weights
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.save(model, path)
    return path


def depthwise(path: Path, channels: int, size: int = 8) -> Path:
    """A depthwise convolution and a pointwise one after it."""
    random = np.random.default_rng(channels)
    w = random.normal(0, 0.3, (channels, 1, 3, 3)).astype(np.float32)
    p = random.normal(0, 0.1, (16, channels, 1, 1)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["h"], name="depthwise", group=channels, pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["h", "p"], ["y"], name="pointwise"),
    ]
    graph = helper.make_graph(
        nodes,
        "depthwise",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, channels, size, size])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 16, size, size])],
        [numpy_helper.from_array(w, "w"), numpy_helper.from_array(p, "p")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.save(model, path)
    return path

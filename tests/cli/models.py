"""Small networks of one convolution and one linear layer, sound or spoilt in one place, and samples for them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from bitline.numerics.stored import Array

SHAPE = (1, 2, 6, 6)
CLASSES = 10


def weights(name: str, *shape: int) -> onnx.TensorProto:
    """Seeded normal weights."""
    values = np.random.default_rng(len(name)).normal(0, 0.3, shape).astype(np.float32)
    return numpy_helper.from_array(values, name)


def network(
    *,
    axes: Sequence[int | str] = SHAPE,
    middle: Sequence[onnx.NodeProto] = (),
    conv: str = "conv1",
    features: int = 4 * 6 * 6,
    opset: int = 17,
) -> onnx.ModelProto:
    """Convolution, Relu, `middle` (which turns `r` into `m`), Flatten, linear layer. Input `image`, output `scores`."""
    nodes = [
        helper.make_node("Conv", ["image", "w1", "b1"], ["c"], name=conv, pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"], name="relu1"),
        *middle,
        helper.make_node("Flatten", ["m" if middle else "r"], ["f"], name="flatten"),
        helper.make_node("Gemm", ["f", "w2", "b2"], ["scores"], name="dense"),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, list(axes))],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [axes[0], CLASSES])],
        [weights("w1", 4, 2, 3, 3), weights("b1", 4), weights("w2", features, CLASSES), weights("b2", CLASSES)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def with_weight(model: onnx.ModelProto, name: str, value: float) -> onnx.ModelProto:
    """The same network with the first number of one weight tensor replaced."""
    for tensor in model.graph.initializer:
        if tensor.name == name:
            values = numpy_helper.to_array(tensor).copy()
            values.reshape(-1)[0] = value
            tensor.CopyFrom(numpy_helper.from_array(values, name))
    return model


def samples(count: int = 4) -> npt.NDArray[np.float32]:
    """Seeded samples for `network()`."""
    return np.random.default_rng(0).normal(0, 1, (count, *SHAPE[1:])).astype(np.float32)


def save_npz(place: Path, **arrays: Array) -> None:
    """An .npz beside the model."""
    np.savez(place, **arrays)  # pyright: ignore[reportArgumentType]

"""Small ONNX models for tests: from ONNX's own text form, or drawn at random."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from bitline.engines.ort import run_model
from bitline.graph import shapes
from bitline.graph.model import Model, dtype_of, shape_of

Array = npt.NDArray[Any]


def parsed(
    signature: str, body: str, constants: Mapping[str, Array] | None = None, *, opset: int = 17
) -> onnx.ModelProto:
    """`parsed("float[1,3] x) => (float[1,3] y", "y = Relu(x)")`; shapes of inner tensors are inferred."""
    text = f'<ir_version: 8, opset_import: ["" : {opset}]> g ({signature}) {{ {body} }}'
    proto = onnx.parser.parse_model(text)
    for name, value in (constants or {}).items():
        proto.graph.initializer.append(numpy_helper.from_array(value, name))
    onnx.checker.check_model(proto)
    return shapes.inferred(proto)


def as_model(proto: onnx.ModelProto, name: str = "net") -> Model:
    return Model(proto=shapes.with_shapes(proto), name=name, path=Path(f"{name}.onnx"))


def lines(proto: onnx.ModelProto) -> list[str]:
    """One line a node: `y = Conv(x, w) group=1 pads=[1, 1, 1, 1]`, attributes in alphabetical order."""
    return [
        " ".join(
            [
                f"{', '.join(node.output)} = {node.op_type}({', '.join(node.input)})",
                *sorted(f"{entry.name}={_text(helper.get_attribute_value(entry))}" for entry in node.attribute),
            ]
        )
        for node in proto.graph.node
    ]


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def constants(proto: onnx.ModelProto) -> dict[str, Array]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}


def random_feeds(proto: onnx.ModelProto, seed: int = 0) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    return {
        value.name: rng.standard_normal(shape_of(value) or ()).astype(dtype_of(value.type.tensor_type.elem_type))
        for value in proto.graph.input
    }


def assert_same_function(before: onnx.ModelProto, after: onnx.ModelProto, *, tolerance: float = 1e-5) -> None:
    """ONNX Runtime, unoptimised, gives the same outputs, and the interface of the model is the same."""
    onnx.checker.check_model(after, full_check=True)
    assert [value.name for value in before.graph.input] == [value.name for value in after.graph.input]
    assert [value.name for value in before.graph.output] == [value.name for value in after.graph.output]
    feeds = random_feeds(before)
    wanted, got = (run_model(proto, feeds, optimise=False) for proto in (before, after))
    for name, value in wanted.items():
        np.testing.assert_allclose(got[name], value, rtol=tolerance, atol=tolerance, err_msg=name)


@dataclass
class Chain:
    """A network under construction: `add` appends a node that reads the newest tensor."""

    size: int
    channels: int
    rng: np.random.Generator
    nodes: list[onnx.NodeProto] = field(default_factory=list[onnx.NodeProto])
    weights: dict[str, Array] = field(default_factory=dict[str, Array])
    last: str = "x"

    def add(self, op_type: str, others: Sequence[str] = (), **attributes: Any) -> None:
        output = f"t{len(self.nodes)}"
        node = helper.make_node(
            op_type, [self.last, *others], [output], name=f"{op_type}{len(self.nodes)}", **attributes
        )
        self.nodes.append(node)
        self.last = output

    def weight(self, *shape: int, positive: bool = False) -> str:
        name = f"w{len(self.weights)}"
        value = self.rng.standard_normal(shape).astype(np.float32)
        self.weights[name] = np.abs(value) + np.float32(0.5) if positive else value
        return name

    def integers(self, values: Sequence[int]) -> str:
        name = f"w{len(self.weights)}"
        self.weights[name] = np.asarray(values, np.int64)
        return name


KINDS = ("conv", "norm", "relu", "clip", "pad", "average", "max", "identity", "dropout", "shape", "residual", "dead")


@st.composite
def networks(draw: st.DrawFn, kinds: Sequence[str] = KINDS) -> onnx.ModelProto:
    """A float network of 1 to 6 layers on 1 x c x n x n, ending in whatever the draw ends in."""
    chain = Chain(
        size=draw(st.integers(6, 9)),
        channels=draw(st.integers(1, 4)),
        rng=np.random.default_rng(draw(st.integers(0, 10_000))),
    )
    shape = [1, chain.channels, chain.size, chain.size]
    for kind in draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=6)):
        _layer(draw, chain, kind)
    if chain.last == "x":
        chain.add("Relu")
    graph = helper.make_graph(
        chain.nodes,
        "net",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, shape)],
        [onnx.ValueInfoProto(name=chain.last)],
        [numpy_helper.from_array(value, name) for name, value in chain.weights.items()],
    )
    graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return shapes.inferred(proto)


def _layer(draw: st.DrawFn, chain: Chain, kind: str) -> None:
    channels = chain.channels
    match kind:
        case "conv":
            kernel, out = draw(st.integers(1, 3)), draw(st.integers(1, 4))
            mode = draw(st.sampled_from(["NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"]))
            stride = draw(st.integers(1, 2)) if chain.size > 4 else 1
            kernel = 1 if chain.size <= 4 and mode in ("VALID", "NOTSET") else kernel
            extra: dict[str, Any] = {"pads": [draw(st.integers(0, 1)) for _ in range(4)]} if mode == "NOTSET" else {}
            weights = [chain.weight(out, channels, kernel, kernel)]
            if draw(st.booleans()):
                weights.append(chain.weight(out))
            chain.add("Conv", weights, auto_pad=mode, strides=[stride] * 2, **extra)
            chain.channels, chain.size = out, (chain.size - kernel) // stride + 1
        case "norm":
            weights = [chain.weight(channels), chain.weight(channels), chain.weight(channels)]
            chain.add("BatchNormalization", [*weights, chain.weight(channels, positive=True)])
        case "relu":
            chain.add("Relu")
        case "clip":
            low, high = chain.weight(), chain.weight()
            chain.weights[low], chain.weights[high] = np.array(-0.5, np.float32), np.array(1.5, np.float32)
            chain.add("Clip", [low, high])
        case "pad":
            amounts = [0, 0, *(draw(st.integers(0, 2)) for _ in range(2))] * 2
            chain.add("Pad", [chain.integers(amounts)], mode="constant")
        case "average" if chain.size >= 3:
            mode = draw(st.sampled_from(["NOTSET", "SAME_UPPER"]))
            counts = draw(st.integers(0, 1))
            extra: dict[str, Any] = {"pads": [draw(st.integers(0, 1))] * 4} if mode == "NOTSET" else {}
            chain.add("AveragePool", kernel_shape=[3, 3], auto_pad=mode, count_include_pad=counts, **extra)
            chain.size -= 2
        case "max" if chain.size >= 2:
            chain.add("MaxPool", kernel_shape=[2, 2], auto_pad=draw(st.sampled_from(["NOTSET", "SAME_LOWER", "VALID"])))
            chain.size -= 1
        case "identity":
            chain.add("Identity")
        case "dropout":
            chain.add("Dropout")
        case "shape":
            tensor = chain.last
            chain.add("Shape")
            shape = chain.last
            chain.last = tensor
            chain.add("Reshape", [shape])
        case "residual":
            tensor = chain.last
            chain.add("Relu")
            chain.add("Add", [tensor])
        case "dead":
            tensor = chain.last
            chain.add("Exp")
            chain.last = tensor
        case _:
            pass

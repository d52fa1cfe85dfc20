"""Reading a QDQ graph: which float tensors stand for integers, and what the constants are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, numpy_helper

from bitline.core.diagnostics import Diagnostic, Refusal
from bitline.graph.model import reads
from bitline.ir.index_map import IndexMap
from bitline.ir.kernels import Dtype

Array = npt.NDArray[np.generic]
Attributes = dict[str, int | float | str | list[int]]

DTYPES: dict[np.dtype[np.generic], Dtype] = {
    np.dtype(np.uint8): "u8",
    np.dtype(np.int8): "s8",
    np.dtype(np.int16): "s16",
}
ONNX_TYPE: dict[Dtype, int] = {
    "u8": TensorProto.UINT8,
    "s8": TensorProto.INT8,
    "s16": TensorProto.INT16,
    "s32": TensorProto.INT32,
    "s64": TensorProto.INT64,
    "f32": TensorProto.FLOAT,
}
"""What ONNX calls a stored type."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Constant:
    """A dequantised initializer: real = scale * (values - zero_point), scale a scalar or one per index of `axis`."""

    values: Array
    scale: npt.NDArray[np.float64]
    zero_point: npt.NDArray[np.int64]
    axis: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """A float tensor of the graph as a view of stored integers; `view` has the ONNX shape, batch included."""

    tensor: str
    view: IndexMap


@dataclass(slots=True, kw_only=True)
class QdqGraph:
    """A QDQ model with look-ups; problems collect in `problems` and are raised together."""

    proto: onnx.ModelProto
    name: str
    shapes: dict[str, tuple[int, ...]]
    initializers: dict[str, Array]
    producer: dict[str, onnx.NodeProto]
    uses: dict[str, int]
    readers: dict[str, list[onnx.NodeProto]]
    types: dict[str, int]
    problems: list[Diagnostic] = field(default_factory=list[Diagnostic])

    def problem(self, code: str, node: onnx.NodeProto, message: str, way_out: str) -> None:
        """Remember something wrong with a node of the user's model."""
        place = f"{self.name}:{node.name or node.output[0]}"
        self.problems.append(Diagnostic(code=code, message=f"{node.op_type} {message}", place=place, help=way_out))

    def raise_problems(self) -> None:
        """Raise `Refusal` with everything found so far, if anything."""
        if self.problems:
            raise Refusal(self.problems)

    def constant(self, name: str) -> Constant | None:
        """The constant behind a float tensor: a dequantised initializer, or a plain float one (scale 1)."""
        if name in self.initializers:
            values = self.initializers[name]
            return Constant(values=values, scale=np.ones(1), zero_point=np.zeros(1, np.int64), axis=0)
        node = self.producer.get(name)
        if node is None or node.op_type != "DequantizeLinear" or node.input[0] not in self.initializers:
            return None
        scale, zero = self.parameters(node)
        return Constant(
            values=self.initializers[node.input[0]],
            scale=scale,
            zero_point=zero,
            axis=int_attribute(node, "axis", 1),
        )

    def parameters(self, node: onnx.NodeProto) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
        """(scale, zero point) of a QuantizeLinear or DequantizeLinear, each at least 1-D; they must be constants."""
        for name in node.input[1:]:
            if name and name not in self.initializers:
                self.problem("BL0304", node, f"has {name!r}, no constant, as scale or zero point", "fix the scales")
                self.raise_problems()
        scale = np.atleast_1d(self.initializers[node.input[1]]).astype(np.float64)
        has_zero = len(node.input) > 2 and node.input[2] != ""
        zero = np.atleast_1d(self.initializers[node.input[2]]) if has_zero else np.zeros(1, np.uint8)
        return scale, zero.astype(np.int64)

    def real_result(self, node: onnx.NodeProto) -> bool:
        """Whether the first output is float32, the type in which reals are handed to and fro."""
        return self.types.get(node.output[0]) == onnx.TensorProto.FLOAT

    def zero_dtype(self, node: onnx.NodeProto) -> np.dtype[np.generic]:
        """The integer type of a QuantizeLinear or DequantizeLinear: its zero point's, else what its tensor has."""
        if len(node.input) > 2 and node.input[2]:
            return self.initializers[node.input[2]].dtype
        integers = node.output[0] if node.op_type == "QuantizeLinear" else node.input[0]
        kind = self.types.get(integers, 0) or onnx.TensorProto.UINT8
        return np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind))

    def convolved(self, name: str) -> bool:
        """Whether a Conv reads the quantised tensor `name`."""
        return any(
            reader.op_type == "Conv" and reader.input[0] == real.output[0]
            for real in self.readers.get(name, [])
            if real.op_type == "DequantizeLinear"
            for reader in self.readers.get(real.output[0], [])
        )


def attributes(node: onnx.NodeProto) -> Attributes:
    """Attributes by name, as numbers, strings or lists of integers."""
    out: Attributes = {}
    for attribute in node.attribute:
        match attribute.type:
            case onnx.AttributeProto.INT:
                out[attribute.name] = attribute.i
            case onnx.AttributeProto.FLOAT:
                out[attribute.name] = attribute.f
            case onnx.AttributeProto.STRING:
                out[attribute.name] = attribute.s.decode(errors="replace")
            case onnx.AttributeProto.INTS:
                out[attribute.name] = list(attribute.ints)
            case _:
                pass
    return out


def int_attribute(node: onnx.NodeProto, name: str, default: int) -> int:
    """An integer attribute."""
    value = attributes(node).get(name, default)
    return value if isinstance(value, int) else default


def ints_attribute(node: onnx.NodeProto, name: str, default: list[int]) -> list[int]:
    """A list of integers."""
    value = attributes(node).get(name, default)
    return value if isinstance(value, list) else default


def read_qdq(proto: onnx.ModelProto, name: str) -> QdqGraph:
    """Look-ups over a checked model with static shapes."""
    graph = proto.graph
    shapes: dict[str, tuple[int, ...]] = {}
    types = {t.name: t.data_type for t in graph.initializer}
    for info in [*graph.input, *graph.output, *graph.value_info]:
        types[info.name] = info.type.tensor_type.elem_type
        shapes[info.name] = tuple(dim.dim_value for dim in info.type.tensor_type.shape.dim)
    initializers = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    shapes |= {key: value.shape for key, value in initializers.items()}
    uses: dict[str, int] = {}
    for used in _used(graph):
        uses[used] = uses.get(used, 0) + 1
    producer = {output: node for node in graph.node for output in node.output if output}
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for used in dict.fromkeys(reads(node)):
            readers.setdefault(used, []).append(node)
    return QdqGraph(
        proto=proto,
        name=name,
        shapes=shapes,
        initializers=initializers,
        producer=producer,
        uses=uses,
        readers=readers,
        types=types,
    )


def _used(graph: onnx.GraphProto) -> Iterator[str]:
    for node in graph.node:
        yield from reads(node)
    for output in graph.output:
        yield output.name


def float_inputs(graph: QdqGraph) -> Mapping[str, tuple[int, ...]]:
    """Graph inputs that are no initializers, with their shapes."""
    return {i.name: graph.shapes[i.name] for i in graph.proto.graph.input if i.name not in graph.initializers}

"""The noun of everything above the line: a checked ONNX model, and how its tensors and nodes are looked up."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

Array = npt.NDArray[Any]

HELD = frozenset(
    {onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE, onnx.TensorProto.BOOL}
    | {onnx.TensorProto.INT8, onnx.TensorProto.INT16, onnx.TensorProto.INT32, onnx.TensorProto.INT64}
    | {onnx.TensorProto.UINT8, onnx.TensorProto.UINT16, onnx.TensorProto.UINT32, onnx.TensorProto.UINT64}
)
"""Element types that a network may take and give."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """An ONNX model that passed the gate: checked, every tensor inside and of static shape. Treat `proto` as frozen."""

    proto: onnx.ModelProto
    name: str
    path: Path
    remarks: tuple[str, ...] = ()

    def place(self, node: str = "") -> str:
        """`resnet18.onnx:/layer4/conv2/Conv`: what diagnostics print."""
        return f"{self.path.name}:{node}" if node else self.path.name

    @property
    def inputs(self) -> tuple[onnx.ValueInfoProto, ...]:
        return tuple(self.proto.graph.input)

    @property
    def outputs(self) -> tuple[onnx.ValueInfoProto, ...]:
        return tuple(self.proto.graph.output)


def shape_of(value: onnx.ValueInfoProto) -> tuple[int, ...] | None:
    """The static shape of a tensor, or None where it has none."""
    tensor = value.type.tensor_type
    if not value.type.HasField("tensor_type") or not tensor.HasField("shape"):
        return None
    if any(dim.WhichOneof("value") != "dim_value" for dim in tensor.shape.dim):
        return None
    return tuple(dim.dim_value for dim in tensor.shape.dim)


def dtype_of(elem_type: int) -> np.dtype[Any]:
    """The numpy type of an ONNX element type."""
    return np.dtype(onnx.helper.tensor_dtype_to_np_dtype(elem_type))


def attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    """The value of an attribute, strings decoded, or `default` where the node does not carry it."""
    for entry in node.attribute:
        if entry.name == name:
            value = onnx.helper.get_attribute_value(entry)
            return value.decode() if isinstance(value, bytes) else value
    return default


def set_attribute(node: onnx.NodeProto, name: str, value: int | float | str | list[int] | None) -> None:
    """Give a node an attribute, or take it away (`None`)."""
    kept = [entry for entry in node.attribute if entry.name != name]
    if value is not None:
        kept.append(onnx.helper.make_attribute(name, value))
    del node.attribute[:]
    node.attribute.extend(kept)


class Wiring:
    """Who makes and who reads each tensor of a graph, as it stands when this is built.

    A pass that changes the graph and looks again tells it: `set_inputs`, `set_output`, `put`. New names come from
    `fresh`, `fresh_node` and `node_below`, which give none twice.
    """

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.graph = graph
        self.constants: dict[str, onnx.TensorProto] = {tensor.name: tensor for tensor in graph.initializer}
        self.outputs = {value.name for value in graph.output}
        self.values = {value.name: value for value in (*graph.value_info, *graph.input, *graph.output)}
        self.producer: dict[str, onnx.NodeProto] = {}
        self.readers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
        for node in graph.node:
            for name in node.output:
                self.producer[name] = node
            for name in reads(node):
                self.readers[name].append(node)
        self._taken = set(self.constants) | self.outputs | set(self.values) | set(self.producer) | set(self.readers)
        self._taken_nodes = {node.name for node in graph.node}

    def array(self, name: str) -> Array | None:
        """The value of a constant, or None where `name` is not one."""
        tensor = self.constants.get(name)
        return None if tensor is None else numpy_helper.to_array(tensor)

    def shape(self, name: str) -> tuple[int, ...] | None:
        if name in self.constants:
            return tuple(self.constants[name].dims)
        value = self.values.get(name)
        return None if value is None else shape_of(value)

    def elem_type(self, name: str) -> int:
        """The ONNX element type, 0 where unknown."""
        if name in self.constants:
            return self.constants[name].data_type
        value = self.values.get(name)
        return 0 if value is None else value.type.tensor_type.elem_type

    def only_reader(self, name: str) -> onnx.NodeProto | None:
        """The one node that reads `name`; None where it is an output of the graph or is read elsewhere too."""
        if name in self.outputs or len(self.readers[name]) != 1:
            return None
        return self.readers[name][0]

    def set_inputs(self, node: onnx.NodeProto, names: Iterable[str]) -> None:
        """Let a node of the graph, without subgraphs, read these tensors."""
        for name in filter(None, node.input):
            self.readers[name] = [reader for reader in self.readers[name] if reader is not node]
        wanted = list(names)
        del node.input[:]
        node.input.extend(wanted)
        for name in filter(None, wanted):
            self.readers[name].append(node)

    def set_output(self, node: onnx.NodeProto, name: str) -> None:
        """Let a node of the graph make `name` in place of its first output."""
        self.producer.pop(node.output[0], None)
        node.output[0] = name
        self.producer[name] = node

    def put(self, name: str, value: Array) -> None:
        """Add an initializer, or replace the one of that name."""
        tensor = numpy_helper.from_array(np.ascontiguousarray(value).reshape(value.shape), name)
        if name in self.constants:
            self.constants[name].CopyFrom(tensor)
            return
        self.graph.initializer.append(tensor)
        self.constants[name] = self.graph.initializer[-1]

    def fresh(self, wanted: str) -> str:
        """A name for a tensor: `wanted`, or `wanted_1`, `wanted_2`, ... where one has or had that name."""
        return _free(wanted, self._taken)

    def fresh_node(self, wanted: str) -> str:
        """A name for a node: `wanted`, or `wanted_1`, `wanted_2`, ... where one has or had that name."""
        return _free(wanted, self._taken_nodes)

    def node_below(self, node: onnx.NodeProto, suffix: str) -> str:
        """A name for a node that comes from `node`, below its own; none from a node without a name."""
        return self.fresh_node(f"{node.name}/{suffix}") if node.name else ""


def _free(wanted: str, taken: set[str]) -> str:
    name, count = wanted, 0
    while name in taken:
        count += 1
        name = f"{wanted}_{count}"
    taken.add(name)
    return name


def reads(node: onnx.NodeProto) -> Iterator[str]:
    """The tensors a node reads, once for each operand; a subgraph's free names count."""
    yield from (name for name in node.input if name)
    for graph in subgraphs(node):
        yield from sorted(_free_names(graph))


def subgraphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    for entry in node.attribute:
        if entry.HasField("g"):
            yield entry.g
        yield from entry.graphs


def _free_names(graph: onnx.GraphProto) -> set[str]:
    bound = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
    bound |= {name for node in graph.node for name in node.output}
    used = {name for node in graph.node for name in reads(node)} | {value.name for value in graph.output}
    return used - bound


def renamed(node: onnx.NodeProto, new_name: Mapping[str, str]) -> None:
    """Give the tensors that a node reads and makes, in its subgraphs too, their new names."""
    for names in (node.input, node.output):
        for index, name in enumerate(names):
            if name in new_name:
                names[index] = new_name[name]
    for graph in subgraphs(node):
        for inner in graph.node:
            renamed(inner, new_name)
        for value in graph.output:
            value.name = new_name.get(value.name, value.name)


def copied(model: onnx.ModelProto) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


def keep_nodes(graph: onnx.GraphProto, kept: Iterable[onnx.NodeProto]) -> None:
    """Replace the node list. The nodes given are copied: look them up again afterwards."""
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in kept]
    del graph.node[:]
    graph.node.extend(nodes)


def set_constant(graph: onnx.GraphProto, name: str, value: Array) -> None:
    """Add an initializer, or replace the one of that name."""
    tensor = numpy_helper.from_array(np.ascontiguousarray(value).reshape(value.shape), name)
    for present in graph.initializer:
        if present.name == name:
            present.CopyFrom(tensor)
            return
    graph.initializer.append(tensor)

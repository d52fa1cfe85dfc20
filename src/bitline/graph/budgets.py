"""What a model file may cost before anything is computed with it, and the search for what would cost more.

ONNX's checker accepts tensors of 2^38 elements, thousands of nested subgraphs, functions that call one another
2^30 times and loops of 2^60 turns (measured on a matrix of hostile files). Nothing here computes or allocates.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import onnx

from bitline.core.diagnostics import Diagnostic, Refusal
from bitline.graph.model import HELD, subgraphs
from bitline.graph.passes.fold_constants import FOLD_BYTES, FOLD_BYTES_TOTAL
from bitline.graph.wire import Damaged, Extent

Nodes = Sequence[onnx.NodeProto]
Call = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The budgets of the gate."""

    model_bytes: int = 2 * 2**30  # protobuf cannot hold more in one message
    external_bytes: int = 64 * 2**30
    held_bytes: int | None = None  # weights held in memory; None: as much as the machine has free
    fields: int = 3_000_000  # of the protobuf message, about 1 s to count
    nodes: int = 1_000_000  # also after all functions are put in
    nesting: int = 8  # of subgraphs
    subgraphs: int = 1_000
    calls: int = 64  # of functions within functions
    turns: int = 1_000_000  # of a Loop, nested ones multiplied
    tensor_bytes: int = 4 * 2**30
    stored_bytes: int = 2**31 - 1  # of one tensor with values: protobuf takes no longer field, and says nothing
    attribute_bytes: int = 512 * 2**20
    fold_bytes: int = FOLD_BYTES
    fold_bytes_total: int = FOLD_BYTES_TOTAL
    name_length: int = 1_000


DEFAULTS: Final = Limits()


def over(what: str, count: int | str, limit: int, place: str, help: str = "simplify the model") -> Diagnostic:
    """A budget that is passed."""
    return Diagnostic(code="BL0203", message=f"{what}: {count}; the limit is {limit}", place=place, help=help)


def invalid(message: str, place: str) -> Diagnostic:
    """A file that says something impossible."""
    return Diagnostic(code="BL0202", message=message, place=place, help="export or copy the model again")


def check_extent(extent: Extent, place: str, limits: Limits) -> None:
    """Raise `Refusal` (BL0203) where the file holds too much. An unfinished walk gives lower bounds."""
    counts = (
        ("fields of the file", extent.fields, limits.fields),
        ("nodes", extent.nodes, limits.nodes),
        ("subgraphs", extent.subgraphs, limits.subgraphs),
        ("nesting of subgraphs", extent.nesting, limits.nesting),
    )
    said = "" if extent.complete else " or more"
    found = [over(what, f"{count}{said}", limit, place) for what, count, limit in counts if count > limit]
    if found:
        raise Refusal(found)


def damaged(error: Damaged, place: str) -> Refusal:
    """What the walk over the bytes found."""
    return Refusal([invalid(f"not an ONNX file, or damaged: {error}", place)])


def check_contents(proto: onnx.ModelProto, place: str, limits: Limits) -> None:
    """Names, tensors, attributes and functions, all findings at once. Raises `Refusal` (BL0202, BL0203, BL0302)."""
    found: list[Diagnostic] = []
    for owner, graph in all_graphs(proto):
        found += _names(graph, owner, place, limits)
        found += _tensors(graph, place, limits)
    for function in proto.functions:
        nodes = [node for _, node in all_nodes(function.node)]
        names = (function.name, function.domain, *function.input, *function.output, *_names_of(nodes))
        found += _name_findings(names, place, limits)
    for _, node in all_nodes((*proto.graph.node, *(n for f in proto.functions for n in f.node))):
        found += _attributes(node, place, limits)
    found += _odd_types(proto.graph, place)
    found += _functions(proto, place, limits)
    if found:
        raise Refusal(list(dict.fromkeys(found)))


def all_graphs(proto: onnx.ModelProto) -> Iterator[tuple[onnx.NodeProto | None, onnx.GraphProto]]:
    """The graph and every subgraph, those of functions too, with the node each belongs to."""
    yield None, proto.graph
    for nodes in (proto.graph.node, *(function.node for function in proto.functions)):
        for node in nodes:
            yield from _graphs_below(node)


def _graphs_below(node: onnx.NodeProto) -> Iterator[tuple[onnx.NodeProto, onnx.GraphProto]]:
    for graph in subgraphs(node):
        yield node, graph
        for inner in graph.node:
            yield from _graphs_below(inner)


def all_nodes(nodes: Sequence[onnx.NodeProto]) -> Iterator[tuple[int, onnx.NodeProto]]:
    """Every node and how many subgraphs it lies in. Nesting was limited before."""
    for node in nodes:
        yield 0, node
        for graph in subgraphs(node):
            for level, inner in all_nodes(graph.node):
                yield level + 1, inner


def _names_of(nodes: Nodes) -> Iterator[str]:
    for node in nodes:
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
        yield from (entry.name for entry in node.attribute)


def _names(graph: onnx.GraphProto, owner: onnx.NodeProto | None, place: str, limits: Limits) -> Iterator[Diagnostic]:
    values = (*graph.input, *graph.output, *graph.value_info)
    axes = (
        dim.dim_param
        for value in values
        if value.type.HasField("tensor_type")
        for dim in value.type.tensor_type.shape.dim
    )
    names = (graph.name, *(v.name for v in values), *(t.name for t in graph.initializer), *axes)
    yield from _name_findings((*names, *_names_of(graph.node)), place, limits)


def _name_findings(names: Sequence[str | bytes], place: str, limits: Limits) -> Iterator[Diagnostic]:
    """Protobuf hands over names that are no UTF-8 as bytes. A NUL ends a name for programs in C and for archives."""
    damaged = next((name for name in names if isinstance(name, bytes)), None)
    if damaged is not None:
        yield invalid(f"the name {damaged[:80]!r} is not UTF-8", place)
    with_nul = next((name for name in names if isinstance(name, str) and "\0" in name), None)
    if with_nul is not None:
        yield invalid(f"the name {with_nul[:80]!r} holds a NUL character", place)
    longest = max((len(name) for name in names), default=0)
    if longest > limits.name_length:
        start = next(name for name in names if len(name) == longest)[:40]
        yield over(f"length of the name that begins {start!r}", longest, limits.name_length, place, "rename it")


def _tensors(graph: onnx.GraphProto, place: str, limits: Limits) -> Iterator[Diagnostic]:
    for tensor in graph.initializer:
        yield from tensor_findings(tensor, f"{place}:{str(tensor.name)[:80]}", limits.stored_bytes)
    if graph.sparse_initializer:
        yield Diagnostic(
            code="BL0302", message="sparse initializers", place=place, help="store the weights as dense tensors"
        )


def tensor_findings(tensor: onnx.TensorProto, place: str, limit: int) -> Iterator[Diagnostic]:
    """What is wrong with the type, the sizes or the raw bytes of a stored tensor."""
    what = f"the tensor {str(tensor.name)[:80]!r}"
    if any(size < 0 for size in tensor.dims):
        yield invalid(f"{what} has a negative size: {list(tensor.dims)[:12]}", place)
        return
    needed = stored_bytes(tensor)
    if needed is None:
        yield invalid(f"{what} has the unknown element type {tensor.data_type}", place)
    elif needed > limit:
        yield over(f"bytes of {what} {list(tensor.dims)[:12]}", needed, limit, place)
    elif tensor.HasField("raw_data") and tensor.data_type != onnx.TensorProto.STRING:
        held = len(tensor.raw_data)
        if held != needed:
            yield invalid(f"{what} {list(tensor.dims)[:12]} needs {needed} bytes and holds {held}", place)


def stored_bytes(tensor: onnx.TensorProto) -> int | None:
    """Bytes of a tensor's elements as ONNX stores them; None for an unknown type."""
    bits = _bits(tensor.data_type)
    return None if bits is None else -(-math.prod(tensor.dims) * bits // 8)


def _bits(elem_type: int) -> int | None:
    types: dict[int, str] = {number: name for name, number in onnx.TensorProto.DataType.items()}
    if elem_type == onnx.TensorProto.UNDEFINED or elem_type not in types:
        return None
    if elem_type == onnx.TensorProto.STRING:
        return 8
    packed = {"INT4": 4, "UINT4": 4, "FLOAT4E2M1": 4, "INT2": 2, "UINT2": 2}
    return packed.get(types[elem_type]) or 8 * onnx.helper.tensor_dtype_to_np_dtype(elem_type).itemsize


def _attributes(node: onnx.NodeProto, place: str, limits: Limits) -> Iterator[Diagnostic]:
    where = f"{place}:{str(node.name or node.op_type)[:80]}"
    for entry in node.attribute:
        if entry.HasField("g") or entry.graphs:
            continue
        size = entry.ByteSize()
        if size > limits.attribute_bytes:
            yield over(f"bytes of the attribute {entry.name[:80]!r}", size, limits.attribute_bytes, where)
        for tensor in (*([entry.t] if entry.HasField("t") else []), *entry.tensors):
            yield from tensor_findings(tensor, where, min(limits.stored_bytes, limits.attribute_bytes))


def _odd_types(graph: onnx.GraphProto, place: str) -> Iterator[Diagnostic]:
    ports = [v.name for v in (*graph.input, *graph.output) if v.type.tensor_type.elem_type == onnx.TensorProto.STRING]
    ports += [tensor.name for tensor in graph.initializer if tensor.data_type == onnx.TensorProto.STRING]
    for name in ports:
        yield Diagnostic(
            code="BL0302",
            message=f"the tensor {name[:80]!r} holds strings",
            place=place,
            help="turn text into numbers before the network",
        )
    for value in (*graph.input, *graph.output):
        kind = value.type.tensor_type.elem_type
        if kind not in HELD and kind not in (onnx.TensorProto.STRING, onnx.TensorProto.UNDEFINED) and _bits(kind):
            yield Diagnostic(
                code="BL0302",
                message=f"{value.name[:80]!r} is of type {onnx.TensorProto.DataType.Name(kind)}",
                place=place,
                help="give the network inputs and outputs of 8 bits or more, floats of float16, float32 or float64",
            )


def _functions(proto: onnx.ModelProto, place: str, limits: Limits) -> Iterator[Diagnostic]:
    """Functions that call themselves, call one another too deep, or grow beyond the budget when put in."""
    bodies = {(f.domain, f.name): [node for _, node in all_nodes(f.node)] for f in proto.functions}
    grown: dict[Call, tuple[int, int]] = {}  # nodes, and functions on the longest way down

    def size(node: onnx.NodeProto, above: tuple[Call, ...]) -> tuple[int, int]:
        call = (node.domain, node.op_type)
        return function_size(call, above) if call in bodies else (1, 0)

    def function_size(call: Call, above: tuple[Call, ...]) -> tuple[int, int]:
        if call in above:
            raise _Found(invalid(f"the function {call[1][:80]!r} calls itself", place))
        if call not in grown and len(above) < limits.calls:
            sizes = [size(node, (*above, call)) for node in bodies[call]]
            grown[call] = (sum(count for count, _ in sizes), 1 + max((depth for _, depth in sizes), default=0))
        depth = len(above) + (grown[call][1] if call in grown else 1)
        if depth > limits.calls:
            raise _Found(over("functions within functions", depth, limits.calls, place))
        return grown[call]

    try:
        total = sum(size(node, ())[0] for _, node in all_nodes(proto.graph.node))
        for call in bodies:
            function_size(call, ())
    except _Found as stopped:
        yield stopped.diagnostic
        return
    if total > limits.nodes:
        yield over("nodes, with all functions put in", total, limits.nodes, place)


class _Found(Exception):
    """Ends the search in functions."""

    def __init__(self, diagnostic: Diagnostic) -> None:
        super().__init__(diagnostic.message)
        self.diagnostic = diagnostic


def check_loops(graph: onnx.GraphProto, place: str, limits: Limits) -> None:
    """Raise `Refusal` for a Loop without a constant number of turns (BL0302) or with too many (BL0203)."""
    found = list(_loops(graph, {}, 1, place, limits))
    if found:
        raise Refusal(found)


def _loops(
    graph: onnx.GraphProto, outer: Mapping[str, onnx.TensorProto], turns: int, place: str, limits: Limits
) -> Iterator[Diagnostic]:
    """Only scalars are looked up: a number of turns is one."""
    known = dict(outer) | {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        value = next((entry.t for entry in node.attribute if entry.name == "value"), None)
        if node.op_type == "Constant" and value is not None and node.output:
            known[node.output[0]] = value
        inside = turns
        if node.op_type == "Loop" and node.domain in ("", "ai.onnx"):
            where = f"{place}:{node.name or node.op_type}"
            limit = known.get(node.input[0]) if node.input else None
            if limit is None or math.prod(limit.dims) != 1 or limit.data_location == onnx.TensorProto.EXTERNAL:
                yield Diagnostic(
                    code="BL0302",
                    message="a Loop whose number of turns is no constant",
                    place=where,
                    help="export with a fixed number of steps, or with the loop unrolled",
                )
                continue
            inside *= max(0, int(onnx.numpy_helper.to_array(limit).reshape(())))
            if inside > limits.turns:
                yield over("turns of a Loop", inside, limits.turns, where)
                continue
        for inner in subgraphs(node):
            yield from _loops(inner, known, inside, place, limits)

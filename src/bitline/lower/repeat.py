"""Scan -> kernels inside a `Repeat`: the body once, with carried tensors for its states.

h, y = Scan(h0, x[T, ..])     -->   H = h0
                                    repeat T times:  step = x[t];  (kernels of the body);  y[t] = ...;  H = new h
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from math import prod

import onnx
from onnx import helper

from bitline.graph import shapes
from bitline.graph.model import attribute
from bitline.ir import index_map
from bitline.ir.index_map import IndexMap
from bitline.ir.kernels import LIMITS, Host, Part, Repeat, Tensor
from bitline.lower.elementwise import rescale
from bitline.lower.layout import on_grid
from bitline.lower.qdq import DTYPES, QdqGraph, Value, read_qdq
from bitline.lower.state import Lowering, Scalar, Target, Unfit, name_of
from bitline.lower.stored import stored_view

Inside = Callable[[QdqGraph, Mapping[str, Value]], dict[str, Value]]
"""Lowers a subgraph, given what its first QuantizeLinear nodes make; returns what its float tensors stand for."""


def lower_scan(state: Lowering, node: onnx.NodeProto, inside: Inside) -> None:
    """A body that needs nothing of the host, forward or backward, states on one grid -> kernels inside a `Repeat`."""
    body: onnx.GraphProto = attribute(node, "body", None)
    scanned = int(attribute(node, "num_scan_inputs", 0))
    states = len(node.input) - scanned
    _check_form(node, body, states)
    graph = _body(state, body)
    count = state.shape(node.input[states])[0]
    backward = [bool(v) for v in attribute(node, "scan_input_directions", [0] * scanned)]
    backward_out = [bool(v) for v in attribute(node, "scan_output_directions", [0] * (len(body.output) - states))]

    known: dict[str, Value] = {}
    carried: list[Value] = []
    for place in range(states):
        quantise = _only_quantise(node, graph, body.input[place].name)
        carried.append(_first_state(state, node, place, _grid(state, graph, quantise)))
        known[quantise.output[0]] = carried[-1]
    sources = [_source(state, node, states + i) for i in range(scanned)]

    first = len(state.kernels)
    for i, source in enumerate(sources):
        quantise = _only_quantise(node, graph, body.input[states + i].name)
        step = _step(state, node, source, backward[i])
        y = _grid(state, graph, quantise)
        low, high = LIMITS[y.dtype]
        rescale(
            state,
            node,
            Target(y=y, nodes=(name_of(node),), shape=step.view.shape, low=low, high=high),
            step,
        )
        known[quantise.output[0]] = state.quantised.pop(y.name)
    values = inside(graph, known)
    results = [values.get(value.name) for value in body.output]
    if any(value is None for value in results) or any(isinstance(k, Host) for k in state.kernels[first:]):
        raise Unfit(node, "a part of its body needs the host")
    found = [value for value in results if value is not None]

    for name, value, reverse in zip(node.output[states:], found[states:], backward_out, strict=True):
        if name:
            state.values[name] = _filled(state, node, name, value, count, reverse)
    held = {value.tensor for value in carried}
    ends = [_apart(state, node, value) if value.tensor in held else value for value in found[:states]]
    for name, value, end in zip(node.output, carried, ends, strict=False):
        tensor = state.tensor(value)
        low, high = LIMITS[tensor.dtype]
        target = Target(y=tensor, nodes=(name_of(node),), shape=end.view.shape, low=low, high=high)
        same = on_grid(state, node, target, end, 0)
        part = Part(x=same.tensor, read=same.view, write=value.view)
        state.add_move(value.tensor, [part], tensor, (name_of(node),))
        if name:
            state.values[name] = value
    state.repeats.append(
        Repeat(
            name=name_of(node),
            nodes=(name_of(node),),
            first=first,
            last=len(state.kernels) - 1,
            count=count,
            carried=tuple(value.tensor for value in carried),
        )
    )


def _apart(state: Lowering, node: onnx.NodeProto, value: Value) -> Value:
    """A copy: a state that becomes another one must not be overwritten before that."""
    return state.copied(value, *stored_view(value.view.shape, "rows"), name_of(node))


def _check_form(node: onnx.NodeProto, body: onnx.GraphProto, states: int) -> None:
    axes = [*attribute(node, "scan_input_axes", []), *attribute(node, "scan_output_axes", [])]
    if any(axes) or states < 0 or not len(body.input) == len(node.input):
        raise Unfit(node, "it does not scan along the first axis")


def _body(state: Lowering, body: onnx.GraphProto) -> QdqGraph:
    """The body as a graph of its own; constants from outside are seen in it."""
    proto = onnx.ModelProto()
    proto.CopyFrom(helper.make_model(body, opset_imports=list(state.graph.proto.opset_import)))
    proto.ir_version = state.graph.proto.ir_version
    return read_qdq(shapes.inferred(proto), state.graph.name)


def _only_quantise(node: onnx.NodeProto, graph: QdqGraph, name: str) -> onnx.NodeProto:
    """The one reader of an input of the body."""
    readers = graph.readers.get(name, [])
    if len(readers) != 1 or readers[0].op_type != "QuantizeLinear" or graph.uses[name] != 1:
        raise Unfit(node, f"its body reads {name!r} without quantising it")
    return readers[0]


def _grid(state: Lowering, graph: QdqGraph, quantise: onnx.NodeProto) -> Tensor:
    """A tensor on the grid of a QuantizeLinear, row by row."""
    scale, zero = graph.parameters(quantise)
    dtype = DTYPES.get(graph.zero_dtype(quantise))
    if scale.size != 1 or dtype is None:
        raise Unfit(quantise, "a state is quantised per channel, or to a type that no unit has")
    stored, view = stored_view(graph.shapes[quantise.input[0]], "rows")
    name = state.free(quantise.output[0])
    return Tensor(
        name=name, shape=stored, dtype=dtype, scale=float(scale[0]), zero_point=int(zero[0]), onnx="", view=view
    )


def _first_state(state: Lowering, node: onnx.NodeProto, place: int, y: Tensor) -> Value:
    """A tensor of its own with the first value of a state."""
    given = state.operand(node, place)
    if isinstance(given, Scalar):
        given = state.scalar_tensor(given.real)
    given = state.reshaped(given, state.shape(node.input[place]), name_of(node))
    low, high = LIMITS[y.dtype]
    target = Target(y=y, nodes=(name_of(node),), shape=given.view.shape, low=low, high=high)
    same = on_grid(state, node, target, given, place)
    part = Part(x=same.tensor, read=same.view, write=y.view)
    state.add_move(y.name, [part], y, (name_of(node),))
    return Value(tensor=y.name, view=y.view)


def _source(state: Lowering, node: onnx.NodeProto, place: int) -> Value:
    """What is scanned, stored so that its first axis is one digit."""
    value = state.operand(node, place)
    if isinstance(value, Scalar):
        raise Unfit(node, "it scans a constant")
    return state.plain(value, "rows", name_of(node))


def _stride(value: Value, tensor: Tensor) -> int:
    """Stored elements from one index of the first axis to the next."""
    return prod(tensor.shape) // value.view.shape[0]


def _step(state: Lowering, node: onnx.NodeProto, source: Value, backward: bool) -> Value:
    """One index of the first axis, another one in every pass."""
    x = state.tensor(source)
    count, *rest = source.view.shape
    stored, view = stored_view(tuple(rest), "rows")
    read = index_map.take_slice(source.view, 0, count - 1 if backward else 0, 1)
    assert isinstance(read, IndexMap), read
    read = index_map.join_dims(read, [[0, 1], *([i] for i in range(2, len(rest) + 1))]) if rest else read
    name = state.free(f"{x.name}.step")
    stride = _stride(source, x)
    part = Part(x=x.name, read=read, write=view, read_step=-stride if backward else stride)
    tensor = replace(x, name=name, shape=stored, onnx="", view=view, constant="")
    state.add_move(name, [part], tensor, (name_of(node),))
    return Value(tensor=name, view=view)


def _filled(state: Lowering, node: onnx.NodeProto, name: str, value: Value, count: int, backward: bool) -> Value:
    """A tensor that holds the value of every pass."""
    x = state.tensor(value)
    shape = (count, *value.view.shape)
    stored, view = stored_view(shape, "rows")
    own = state.free(f"{name}.steps")
    write = index_map.take_slice(view, 0, count - 1 if backward else 0, 1)
    assert isinstance(write, IndexMap), write
    write = index_map.join_dims(write, [[0, 1], *([i] for i in range(2, len(shape)))])
    stride = prod(stored) // count
    part = Part(x=x.name, read=value.view, write=write, write_step=-stride if backward else stride)
    tensor = replace(x, name=own, shape=stored, onnx="", view=view, constant="")
    state.add_move(own, [part], tensor, (name_of(node),))
    return Value(tensor=own, view=view)

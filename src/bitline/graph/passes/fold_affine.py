"""Multiplications by and additions of constants move into the layer before them, or else the one after them.

    y = Add(Mul(Conv(x, w, b), s), t)      s, t per channel     -->   y = Conv(x, w * s, b * s + t)
    y = Div(Transpose(Reshape(Gemm(x, w, b))), 8)               -->   y = Transpose(Reshape(Gemm(x, w / 8, b / 8)))
    y = Mul(MatMul(Transpose(Gemm(x, w, b)), k), 0.125)         -->   y = MatMul(Transpose(Gemm(x, w / 8, b / 8)), k)
    q, k, v = Split(Gemm(x, w, b)); y = Mul(q, 0.125)           -->   y, k, v = Split(Gemm(x, w', b')), q's columns / 8
    y = Conv(Mul(x, 2), w)                                      -->   y = Conv(x, w * 2)
    y = Conv(Add(x, t), w, b)              without padding      -->   y = Conv(x, w, b + sum of w * t)

The layer needs constant weights and an output that nobody else reads. Between it and the constant may lie layout
operators, if the constant is one number, and a product of two variable matrices, a Split or a Slice, if it is a factor.
Only one number, not one a channel, moves into the multiplications of a layer after it: there it would not stay within
the rows of a channel and could spoil their quantisation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx

from bitline.graph.model import Array, Wiring, copied, keep_nodes
from bitline.graph.passes.channel_parts import FORMS, PARTITIONS, part_of_channels
from bitline.graph.passes.drop_dead import drop_dead
from bitline.graph.passes.match import constant_operand
from bitline.graph.passes.scale_layer import LAYERS, output_channels, scale_inputs, scale_outputs, shift_inputs

_AFFINE = ("Mul", "Div", "Add", "Sub")
_LAYOUT = (*FORMS, "Transpose")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    """node = factor * data + offset; the two as broadcast by ONNX's rule, in float64."""

    data: str
    factor: Array
    offset: Array


def fold_affine(model: onnx.ModelProto) -> onnx.ModelProto:
    folded = copied(model)
    graph = folded.graph
    wiring = Wiring(graph)
    gone: set[int] = set()
    changed = True
    while changed:
        changed = False
        for index, node in enumerate(graph.node):
            if index in gone or node.op_type not in _AFFINE:
                continue
            line = _line(node, wiring)
            if line is not None and (_into_producer(node, line, wiring) or _into_reader(node, line, wiring)):
                gone.add(index)
                changed = True
    if gone:
        keep_nodes(graph, (node for index, node in enumerate(graph.node) if index not in gone))
        return drop_dead(folded)
    return folded


def _line(node: onnx.NodeProto, wiring: Wiring) -> _Line | None:
    """None where neither operand or both are constant, or the constant changes the shape."""
    operands = constant_operand(node, wiring)
    if operands is None or operands[1].dtype.kind != "f":
        return None
    data, value = operands[0], operands[1].astype(np.float64)
    shape = wiring.shape(data)
    if shape is None or value.ndim > len(shape) or wiring.shape(node.output[0]) != shape:
        return None
    first = node.input[0] == data
    one, zero = np.ones(1), np.zeros(1)
    match node.op_type, first:
        case "Mul", _:
            return _Line(data=data, factor=value, offset=zero)
        case "Add", _:
            return _Line(data=data, factor=one, offset=value)
        case "Sub", True:
            return _Line(data=data, factor=one, offset=-value)
        case "Sub", False:
            return _Line(data=data, factor=-one, offset=value)
        case "Div", True if value.all():
            return _Line(data=data, factor=1 / value, offset=zero)
        case _:
            return None


def _into_producer(node: onnx.NodeProto, line: _Line, wiring: Wiring) -> bool:
    one_number = line.factor.size == line.offset.size == 1
    chain = _made_for(line.data, node, wiring, layouts=one_number, parts=one_number and not line.offset.any())
    if not chain:
        return False
    layer = chain[-1]
    channels = output_channels(layer, wiring)
    shape = wiring.shape(layer.output[0])
    if channels is None or shape is None:
        return False
    axis = len(shape) - 1 if layer.op_type == "MatMul" else 1
    factor, offset = (
        _per_channel(value if len(chain) == 1 else value.reshape(()), len(shape), axis, channels)
        for value in (line.factor, line.offset)
    )
    if factor is None or offset is None:
        return False
    cut = next((index for index, made in enumerate(chain) if made.op_type in PARTITIONS), None)
    if cut is not None:
        part = line.data if cut == 0 else next(name for name in chain[cut].output if name in chain[cut - 1].input)
        mine = part_of_channels(chain[cut:][::-1], part, axis, wiring)
        if mine is None:
            return False
        factor = np.where(mine, factor, 1.0)
    if not scale_outputs(layer, factor, offset, wiring):
        return False
    _take_over(chain[0], line.data, node, wiring)
    return True


def _take_over(producer: onnx.NodeProto, name: str, node: onnx.NodeProto, wiring: Wiring) -> None:
    """Let `producer` make what `node` made, in place of `name`."""
    output = node.output[0]
    wiring.set_inputs(node, [])
    producer.output[list(producer.output).index(name)] = output
    wiring.producer[output] = producer
    del wiring.producer[name]


def _made_for(
    name: str, reader: onnx.NodeProto, wiring: Wiring, *, layouts: bool, parts: bool, most: int = 16
) -> list[onnx.NodeProto]:
    """At most so many operators from `name` back to a layer, the layer last; empty where others read between them.

    Other parts of what a Split or Slice divides may have readers of their own.
    """
    producer = wiring.producer.get(name)
    readers = wiring.readers[name]
    sliced = reader.op_type == "Slice" and all(other.op_type == "Slice" for other in readers)
    if producer is None or name in wiring.outputs or (readers != [reader] and not sliced):
        return []
    if output_channels(producer, wiring) is not None:
        return [producer]
    if (layouts and producer.op_type in _LAYOUT) or (parts and producer.op_type in PARTITIONS):
        operands = producer.input[:1]
    elif parts and producer.op_type == "MatMul":
        operands = producer.input[:]
    else:
        return []
    for operand in operands if most > 1 else []:
        rest = _made_for(operand, producer, wiring, layouts=layouts, parts=parts, most=most - 1)
        if rest:
            return [producer, *rest]
    return []


def _per_channel(value: Array, rank: int, axis: int, channels: int) -> Array | None:
    """The constant as one number a channel; None where it varies along another axis."""
    shape = (1,) * (rank - value.ndim) + value.shape
    if value.ndim > rank or any(size != 1 for index, size in enumerate(shape) if index != axis):
        return None
    return np.ascontiguousarray(np.broadcast_to(value.reshape(-1), (channels,)))


def _into_reader(node: onnx.NodeProto, line: _Line, wiring: Wiring) -> bool:
    """Into the layer that alone reads `node`; layout operators may lie between for one number."""
    first = reader = wiring.only_reader(node.output[0])
    name = node.output[0]
    while reader is not None and reader.op_type in _LAYOUT and reader.input[0] == name:
        name = reader.output[0]
        reader = wiring.only_reader(name)
    if first is None or reader is None or reader.op_type not in LAYERS or reader.input[0] != name:
        return False
    if list(reader.input).count(name) != 1 or not _absorb(reader, line, wiring, direct=first is reader):
        return False
    wiring.set_inputs(node, [])
    wiring.set_inputs(first, [line.data, *first.input[1:]])
    return True


def _absorb(layer: onnx.NodeProto, line: _Line, wiring: Wiring, *, direct: bool) -> bool:
    if not line.offset.any() and line.factor.size == 1:
        return scale_inputs(layer, float(line.factor.reshape(-1)[0]), wiring)
    shape = wiring.shape(layer.input[0])
    if (line.factor != 1).any() or shape is None or len(shape) < 2 or not (direct or line.offset.size == 1):
        return False
    offset = _per_channel(line.offset if direct else line.offset.reshape(()), len(shape), 1, shape[1])
    return offset is not None and shift_inputs(layer, offset, wiring)

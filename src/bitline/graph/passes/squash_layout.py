"""Operators that only move values come down to few forms: one Reshape, one Transpose, a Slice.

    y = Squeeze(Unsqueeze(Flatten(x)))                    -->   y = Reshape(x)
    y = Transpose(Transpose(x, [0,2,1]), [2,0,1])         -->   y = Transpose(x, [1,0,2])
    y = Transpose(x[1,8,4], [1,0,2])                      -->   y = Reshape(x)            only axes of 1 move
    y = ReduceMean(x[2,1,8], axes=[1])                    -->   y = Reshape(x)            likewise Sum, Max, Min, Prod
    y = Gather(x, 3, axis=0)                              -->   y = Reshape(Slice(x, 3, 4))
    y = Gather(x, [2,3,4])                                -->   y = Slice(x, 2, 5)
    y = Mul(Expand(x), z[the expanded shape])             -->   y = Mul(x, z)
    y = Cast(Expand(x)); y = Where(Expand(c), 0, -inf)    -->   y = Expand(Cast(x)); y = Expand(Where(c, 0, -inf))

A Reshape whose target is the same as its input's own form goes with `squash_neutral`. Sizes must be static; tensors
without elements are left alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx

from bitline.graph import shapes
from bitline.graph.model import Array, Wiring, attribute, copied, keep_nodes
from bitline.graph.passes.drop_dead import drop_dead
from bitline.graph.passes.match import made_by, reduced_axes

_FORMS = ("Reshape", "Flatten", "Squeeze", "Unsqueeze")
_REDUCTIONS = ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd")
_UNARY = frozenset(
    {"Cast", "Not", "Neg", "Relu", "Sigmoid", "Tanh", "Exp", "Log", "Sqrt", "Abs", "Erf", "Floor"}
    | {"Ceil", "Round", "Reciprocal", "LeakyRelu"}
)
_BROADCASTING = frozenset(
    {"Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "And", "Or", "Xor", "Where", "Equal"}
    | {"Less", "Greater", "LessOrEqual", "GreaterOrEqual", "Mod"}
)


def squash_layout(model: onnx.ModelProto) -> onnx.ModelProto:
    squashed = copied(model)
    while True:
        nodes = _sweep(squashed.graph)
        if nodes is None:
            return squashed
        keep_nodes(squashed.graph, nodes)
        squashed = shapes.grow(drop_dead(squashed))


def _sweep(graph: onnx.GraphProto) -> list[onnx.NodeProto] | None:
    """The nodes after every rewrite that does not build on another one of the same sweep; None if there is none."""
    wiring = Wiring(graph)
    nodes: list[onnx.NodeProto] = []
    changed = False
    origins: dict[str, str] = {}  # what a Reshape gives --> what the first one before it took
    for node in graph.node:
        made = _rewritten(node, wiring, origins)
        changed = changed or made is not None
        nodes += [node] if made is None else made
    return nodes if changed else None


def _rewritten(node: onnx.NodeProto, wiring: Wiring, origins: dict[str, str]) -> list[onnx.NodeProto] | None:
    if not node.input or any(True for entry in node.attribute if entry.HasField("g")):
        return None
    known = [wiring.shape(name) for name in (node.input[0], node.output[0])]
    source, target = known
    if source is None or target is None or 0 in source or 0 in target:
        return None
    if node.op_type in _FORMS:
        origins[node.output[0]] = origins.get(node.input[0], node.input[0])
        return _one_reshape(node, origins[node.output[0]], target, wiring)
    if node.op_type == "Transpose":
        return _one_transpose(node, source, target, wiring)
    if node.op_type in _REDUCTIONS:
        axes = reduced_axes(node, wiring)
        alone = axes is not None and all(source[axis] == 1 for axis in axes)
        return [_reshape(node.name, node.input[0], node.output[0], target, wiring)] if alone else None
    if node.op_type == "Gather":
        return _slice_of(node, source, target, wiring)
    if node.op_type in _BROADCASTING:
        return _without_expand(node, target, wiring) or _expand_after(node, target, wiring)
    return _expand_after(node, target, wiring) if node.op_type in _UNARY else None


def _reshape(
    name: str, source: str, target: str, shape: Sequence[int], wiring: Wiring, *, sizes: str = ""
) -> onnx.NodeProto:
    if not sizes:
        sizes = wiring.fresh(f"{target}.shape")
        wiring.put(sizes, np.asarray(shape, np.int64))
    return onnx.helper.make_node("Reshape", [source, sizes], [target], name=name)


def _one_reshape(
    node: onnx.NodeProto, origin: str, target: tuple[int, ...], wiring: Wiring
) -> list[onnx.NodeProto] | None:
    if node.op_type == "Reshape" and origin == node.input[0]:
        return None
    return [_reshape(node.name, origin, node.output[0], target, wiring)]


def _one_transpose(
    node: onnx.NodeProto, source: tuple[int, ...], target: tuple[int, ...], wiring: Wiring
) -> list[onnx.NodeProto] | None:
    order = _order(node, len(source))
    inner = made_by(wiring, node.input[0], "Transpose")
    if inner is not None:
        order = [_order(inner, len(source))[axis] for axis in order]
        made = onnx.helper.make_node("Transpose", [inner.input[0]], [node.output[0]], name=node.name, perm=order)
        return [made]
    moving = [axis for axis in order if source[axis] > 1]
    if moving == sorted(moving):
        return [_reshape(node.name, node.input[0], node.output[0], target, wiring)]
    return None


def _order(node: onnx.NodeProto, rank: int) -> list[int]:
    return list(attribute(node, "perm", list(range(rank))[::-1]))


def _slice_of(
    node: onnx.NodeProto, source: tuple[int, ...], target: tuple[int, ...], wiring: Wiring
) -> list[onnx.NodeProto] | None:
    """A Gather of one index, or of indices at even distances, as a Slice and, where the rank changes, a Reshape."""
    indices = wiring.array(node.input[1])
    axis = attribute(node, "axis", 0) % len(source)
    if indices is None or node.input[0] in wiring.constants or not _within(indices, source[axis]):
        return None
    flat = indices.astype(np.int64).reshape(-1) % source[axis]
    step = int(flat[1] - flat[0]) if flat.size > 1 else 1
    if step == 0 or (np.diff(flat) != step).any():
        return None
    end = int(flat[-1]) + step
    bounds = {"start": int(flat[0]), "end": end if end >= 0 else -source[axis] - 1, "axis": axis, "step": step}
    output = node.output[0]
    names = [wiring.fresh(f"{output}.{word}") for word in bounds]
    for name, value in zip(names, bounds.values(), strict=True):
        wiring.put(name, np.asarray([value], np.int64))
    if indices.ndim == 1:
        return [onnx.helper.make_node("Slice", [node.input[0], *names], [output], name=node.name)]
    part = wiring.fresh(f"{output}.slice")
    return [
        onnx.helper.make_node("Slice", [node.input[0], *names], [part], name=node.name),
        _reshape(wiring.node_below(node, "Reshape"), part, output, target, wiring),
    ]


def _within(indices: Array, size: int) -> bool:
    return indices.size > 0 and bool(((indices >= -size) & (indices < size)).all())


def _without_expand(node: onnx.NodeProto, target: tuple[int, ...], wiring: Wiring) -> list[onnx.NodeProto] | None:
    """The operator repeats its operands itself, where another operand already has the whole shape."""
    for index, name in enumerate(node.input):
        expand = made_by(wiring, name, "Expand")
        if expand is None:
            continue
        others = [wiring.shape(other) for place, other in enumerate(node.input) if place != index]
        own = wiring.shape(expand.input[0])
        if own is None or any(shape is None for shape in others):
            continue
        if np.broadcast_shapes(own, *(shape for shape in others if shape is not None)) == target:
            made = onnx.NodeProto()
            made.CopyFrom(node)
            made.input[index] = expand.input[0]
            return [made]
    return None


def _expand_after(node: onnx.NodeProto, target: tuple[int, ...], wiring: Wiring) -> list[onnx.NodeProto] | None:
    """What is computed element by element is computed before it is repeated, if all else is one number."""
    expands = [(index, made_by(wiring, name, "Expand")) for index, name in enumerate(node.input)]
    repeated = [(index, expand) for index, expand in expands if expand is not None]
    if len(repeated) != 1:
        return None
    (index, expand), others = (
        repeated[0],
        [name for name, (_, made) in zip(node.input, expands, strict=True) if not made],
    )
    shape = wiring.shape(expand.input[0])
    sizes: Array | None = wiring.array(expand.input[1])
    if shape is None or sizes is None or wiring.shape(node.input[index]) != target:
        return None
    other_shapes = [wiring.shape(name) for name in others]
    if any(other is None or np.prod(other) != 1 or len(other) > len(shape) for other in other_shapes):
        return None
    small = wiring.fresh(f"{node.output[0]}.once")
    made = onnx.NodeProto()
    made.CopyFrom(node)
    made.input[index] = expand.input[0]
    made.output[0] = small
    again = onnx.helper.make_node(
        "Expand", [small, expand.input[1]], [node.output[0]], name=wiring.node_below(node, "Expand")
    )
    return [made, again]

"""Operators that give back what they get go.

    y = Mul(x, 1); y = Add(x, 0); y = Pow(x, 1); y = Cast(float x, to=float)      -->   uses of y become uses of x
    y = Transpose(x, [0,1,2]); y = Concat(x); y = Slice(all of x); y = Pad(x, 0)  -->   uses of y become uses of x
    y = Where(true, x, z); y = And(x, true)                                       -->   uses of y become uses of x
    z = Relu(x); y = Relu(z)                                                      -->   uses of y become uses of z
    y = Cast(Cast(bool x, to=float), to=int)                                      -->   y = Cast(x, to=int)

Where the operator also repeats x to a larger shape, an Expand is left.
"""

from __future__ import annotations

import numpy as np
import onnx

from bitline.graph.model import Wiring, attribute, dtype_of
from bitline.graph.passes.drop_dead import drop_dead
from bitline.graph.passes.drop_identities import drop_identities
from bitline.graph.passes.match import made_by, scalar

_NEVER_NEGATIVE = ("Relu", "Sigmoid", "HardSigmoid", "Softmax", "Abs", "Sqrt", "Exp")
_MOVES = frozenset(
    {"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Expand", "Tile", "Slice", "Pad", "Concat"}
    | {"Split", "CenterCropPad"}
)
_SAMPLES = frozenset(["MaxPool", "AveragePool", "GlobalMaxPool", "GlobalAveragePool", "Resize"])
_NEUTRAL_LEFT = {"Mul": 1, "Add": 0, "And": True, "Or": False, "Xor": False}
_NEUTRAL_RIGHT = {**_NEUTRAL_LEFT, "Div": 1, "Sub": 0, "Pow": 1}


def squash_neutral(model: onnx.ModelProto) -> onnx.ModelProto:
    squashed = drop_identities(model)
    while _sweep(squashed.graph):
        squashed = drop_dead(drop_identities(squashed))
    return squashed


def _sweep(graph: onnx.GraphProto) -> bool:
    """Change what can be changed at once; whether anything was. A changed node makes the tensors it made before."""
    wiring = Wiring(graph)
    changed = False
    for node in graph.node:
        if _shorten_casts(node, wiring):
            changed = True
            continue
        source = None if node.op_type == "Identity" else _same_as(node, wiring)
        if source is not None and _replace(node, source, wiring):
            changed = True
    return changed


def _replace(node: onnx.NodeProto, source: str, wiring: Wiring) -> bool:
    """Make the node an Identity of `source`, or an Expand where it also repeats it."""
    output = node.output[0]
    shape = wiring.shape(output)
    if shape is None or any(node.output[1:]) or wiring.elem_type(source) != wiring.elem_type(output):
        return False
    if shape == wiring.shape(source):
        node.CopyFrom(onnx.helper.make_node("Identity", [source], [output], name=node.name))
        return True
    if wiring.shape(source) is None or 0 in shape:
        return False
    sizes = wiring.fresh(f"{output}.shape")
    wiring.put(sizes, np.asarray(shape, np.int64))
    node.CopyFrom(onnx.helper.make_node("Expand", [source, sizes], [output], name=node.name))
    return True


def _same_as(node: onnx.NodeProto, wiring: Wiring) -> str | None:
    """The tensor whose values the node gives back, possibly repeated; None for any other node."""
    if not node.input or not node.input[0] or len(node.output) != 1:
        return None
    first = node.input[0]
    stays = wiring.shape(first) is not None and wiring.shape(first) == wiring.shape(node.output[0])
    match node.op_type:
        case "Cast":
            return first if wiring.elem_type(first) == attribute(node, "to", 0) else None
        case "Transpose":
            order: list[int] = attribute(node, "perm", [])
            return first if stays and order == sorted(order) and order else None
        case "Relu":
            return first if _not_negative(first, wiring) else None
        case "Clip":
            return first if not any(node.input[1:]) else None
        case "Where":
            condition = wiring.array(first)
            if condition is None or not (condition.all() or not condition.any()):
                return None
            return node.input[1] if condition.all() else node.input[2]
        case "Slice":
            return first if stays and _goes_forward(node, wiring) else None
        case op_type if op_type in _MOVES:
            return first if stays and _moves_nothing(node, wiring) else None
        case op_type if op_type in _SAMPLES:
            return first if stays and _samples_once(node, wiring) else None
        case _:
            return _beside_neutral(node, wiring)


def _beside_neutral(node: onnx.NodeProto, wiring: Wiring) -> str | None:
    if len(node.input) != 2:
        return None
    left, right = (wiring.array(name) if name in wiring.constants else None for name in node.input)
    if right is not None and node.op_type in _NEUTRAL_RIGHT and (right == _NEUTRAL_RIGHT[node.op_type]).all():
        return node.input[0]
    if left is not None and node.op_type in _NEUTRAL_LEFT and (left == _NEUTRAL_LEFT[node.op_type]).all():
        return node.input[1]
    return None


def _not_negative(name: str, wiring: Wiring) -> bool:
    if made_by(wiring, name, *_NEVER_NEGATIVE) is not None:
        return True
    clip = made_by(wiring, name, "Clip")
    low = scalar(wiring, clip.input[1]) if clip is not None and len(clip.input) > 1 and clip.input[1] else None
    return low is not None and low >= 0


def _moves_nothing(node: onnx.NodeProto, wiring: Wiring) -> bool:
    """Whether an operator that keeps the shape also keeps every value at its place."""
    if node.op_type == "Concat":
        return len(node.input) == 1
    if node.op_type != "Pad":
        return True
    amounts = wiring.array(node.input[1]) if len(node.input) > 1 else None
    return amounts is not None and not amounts.any()  # [1, -1] keeps the shape and moves all


def _goes_forward(node: onnx.NodeProto, wiring: Wiring) -> bool:
    """A Slice that keeps the shape gives all of its input, unless it goes backward."""
    if len(node.input) < 5 or not node.input[4]:
        return True
    steps = wiring.array(node.input[4])
    return steps is not None and bool((steps > 0).all())


def _samples_once(node: onnx.NodeProto, wiring: Wiring) -> bool:
    """Whether each output of a pool or Resize that keeps the shape is the input at its own place."""
    shape = wiring.shape(node.input[0]) or ()
    if node.op_type.startswith("Global"):
        return all(size == 1 for size in shape[2:])
    if node.op_type == "Resize":
        known = attribute(node, "coordinate_transformation_mode", "half_pixel")
        plain = known in ("half_pixel", "asymmetric", "align_corners", "half_pixel_symmetric")
        scales = wiring.array(node.input[2]) if len(node.input) > 2 and node.input[2] else np.ones(1)
        return (
            plain
            and attribute(node, "mode", "nearest") in ("nearest", "linear")
            and scales is not None
            and bool((scales == 1).all())
        )
    window: list[int] = attribute(node, "kernel_shape", [])
    return set(window) == {1} and not any(attribute(node, "pads", [])) and set(attribute(node, "strides", [1])) == {1}


def _shorten_casts(node: onnx.NodeProto, wiring: Wiring) -> bool:
    """A Cast of a Cast that loses nothing reads the tensor before it."""
    inner = made_by(wiring, node.input[0], "Cast") if node.op_type == "Cast" else None
    if inner is None or not _lossless(wiring.elem_type(inner.input[0]), attribute(inner, "to", 0)):
        return False
    node.input[0] = inner.input[0]
    return True


def _lossless(old: int, new: int) -> bool:
    """From boolean to anything, or to a wider type of the same kind. (numpy calls int64 to float64 safe; it is not.)"""
    if not old or not new or onnx.TensorProto.STRING in (old, new):
        return False
    before, after = dtype_of(old), dtype_of(new)
    return before.kind == "b" or (before.kind == after.kind and before.kind in "iuf" and np.can_cast(before, after))

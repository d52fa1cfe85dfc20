"""Whether operands fit one another, where ONNX's shape inference does not look.

It takes the channels of a convolution from the weights and the sizes of a Reshape from its second operand, and
compares neither with the first, nor scales with what they scale. ONNX Runtime refuses such a model when it is loaded,
which may be much later.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import onnx

from bitline.core.diagnostics import Diagnostic, Refusal
from bitline.graph.model import Wiring, attribute


def check_operands(graph: onnx.GraphProto, place: str) -> None:
    """Raise `Refusal` (BL0202) for every convolution, Reshape and (de)quantisation whose operands disagree."""
    wiring = Wiring(graph)
    found = [
        Diagnostic(
            code="BL0202",
            message=f"{node.op_type}: {why}",
            place=f"{place}:{node.name or node.op_type}",
            help="export the model again; ONNX Runtime does not take it either",
        )
        for node in graph.node
        if node.domain in ("", "ai.onnx")
        for why in _contradictions(node, wiring)
    ]
    if found:
        raise Refusal(found)


def _contradictions(node: onnx.NodeProto, wiring: Wiring) -> Iterator[str]:
    shapes = [wiring.shape(name) if name else None for name in (*node.input, *node.output)]
    match node.op_type, shapes:
        case "Conv" | "ConvTranspose", [x, w, *rest] if x is not None and w is not None:
            bias = rest[0] if len(node.input) > 2 else None
            yield from _convolution(node, x, w, bias)
        case "Reshape", [x, _, y] if x is not None and y is not None and math.prod(x) != math.prod(y):
            yield f"{list(x)} has {math.prod(x)} elements, {list(y)} has {math.prod(y)}"
        case "QuantizeLinear" | "DequantizeLinear", [x, scale, *rest] if x is not None and scale is not None:
            yield from _scaled(node, x, scale, rest[0] if len(node.input) > 2 else None)
        case _:
            return


def _scaled(
    node: onnx.NodeProto, x: tuple[int, ...], scale: tuple[int, ...], zero: tuple[int, ...] | None
) -> Iterator[str]:
    """One scale, one for each index of an axis, or (opset 21) one for each block of an axis."""
    axis: int = attribute(node, "axis", 1)
    if zero is not None and math.prod(zero) != math.prod(scale):
        yield f"{math.prod(scale)} scales and {math.prod(zero)} zero points"
    if math.prod(scale) == 1 or (len(scale) == len(x) > 1 and attribute(node, "block_size", 0)):
        return
    if not -len(x) <= axis < len(x):
        yield f"axis {axis} of {list(x)}"
    elif scale != (x[axis],):
        yield f"scales {list(scale)} for axis {axis} of {list(x)}"


def _convolution(
    node: onnx.NodeProto, x: tuple[int, ...], w: tuple[int, ...], bias: tuple[int, ...] | None
) -> Iterator[str]:
    groups: int = attribute(node, "group", 1)
    if len(x) < 3 or len(w) != len(x):
        yield f"input {list(x)} and weights {list(w)} have no or different numbers of spatial axes"
        return
    if groups < 1:
        yield f"{groups} groups"
        return
    transposed = node.op_type == "ConvTranspose"
    takes, outputs = (w[0], w[1] * groups) if transposed else (w[1] * groups, w[0])
    if x[1] != takes:
        yield f"the input {list(x)} has {x[1]} channels, the weights {list(w)} in {groups} groups take {takes}"
    if takes % groups or outputs % groups:
        yield f"{takes} to {outputs} channels cannot be divided into {groups} groups"
    if bias is not None and bias != (outputs,):
        yield f"the bias {list(bias)} is not one number for each of {outputs} channels"

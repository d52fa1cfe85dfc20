"""Layers that read 16 bits, on arrays that are driven with 8: the input in two halves, over the same weights.

    y = W x + b, x int16   -->   high = floor(x / 256) + 128, uint8 with zero point 128;   low = x mod 256, uint8
                                 t1 = W (high - 128) * 256;  t2 = W low + b     in steps of y's scale / 2^10, 32 bits
                                 y = RNE((t1 + t2) / 2^10)

Both halves are exact, padding included: 0 is 256 * 0 + 0. Both are unsigned, so that arrays hold the weights once and
are driven twice. Three roundings instead of one, two of them 1024 times finer than a step of y: at most 0.501 steps.
"""

from __future__ import annotations

from dataclasses import replace
from functools import wraps
from typing import Final

import onnx

from bitline.ir.index_map import identity
from bitline.ir.kernels import LIMITS, Tensor
from bitline.lower.elementwise import add_elementwise
from bitline.lower.qdq import Value
from bitline.lower.state import Build, Lowering, Target, name_of

HALF: Final = 256
MIDDLE: Final = 128
FINER_BITS: Final = 10
"""Of the sums of one half: 32 bits leave room for 64 times the range of an int16 result."""


def by_halves(layer: Build) -> Build:
    """The same layer, for inputs of 8 and of 16 bits. Raises `Unfit` where `layer` does."""

    @wraps(layer)
    def lowered(state: Lowering, node: onnx.NodeProto, target: Target) -> None:
        value = state.values.get(node.input[0])
        if value is None or state.tensor(value).dtype != "s16":
            layer(state, node, target)
            return
        high, low = _split(state, node, value)
        without_bias = list(node.input[:2])
        parts = [
            _partial(state, node, target, layer, half, inputs)
            for half, inputs in ((high, without_bias), (low, list(node.input)))
        ]
        add_elementwise(state, target, "sum", [(part, 1) for part in parts], shift=FINER_BITS)

    return lowered


def _split(state: Lowering, node: onnx.NodeProto, value: Value) -> tuple[Value, Value]:
    """(floor(x / 256), x mod 256), each stored as x is; made once for all layers that read the tensor."""
    x = state.tensor(value)
    names = (f"{x.name}.high", f"{x.name}.low")
    if names[0] not in state.quantised:
        whole = Value(tensor=x.name, view=identity(x.shape))
        # RNE((2 x - 255) / 512) = floor(x / 256): no tie, as 2 x - 255 is odd
        high = _half(
            state,
            node,
            names[0],
            replace(x, dtype="u8", scale=x.scale * HALF, zero_point=MIDDLE),
            [(whole, 2)],
            -255,
            9,
        )
        low = _half(state, node, names[1], replace(x, dtype="u8", zero_point=0), [(whole, 1), (high, -HALF)], 0, 0)
        state.quantised |= {names[0]: high, names[1]: low}
    high, low = (Value(tensor=state.quantised[name].tensor, view=value.view) for name in names)
    return high, low


def _half(
    state: Lowering,
    node: onnx.NodeProto,
    name: str,
    like: Tensor,
    operands: list[tuple[Value, int]],
    bias: int,
    shift: int,
) -> Value:
    y = replace(like, name=state.free(name), onnx="", constant="")
    low, high = LIMITS[y.dtype]
    target = Target(y=y, nodes=(name_of(node),), shape=y.shape, low=low, high=high)
    add_elementwise(state, target, "sum", operands, bias=bias, shift=shift)
    return state.quantised.pop(y.name)


def _partial(
    state: Lowering, node: onnx.NodeProto, target: Target, layer: Build, half: Value, inputs: list[str]
) -> Value:
    """The sums of one half, in steps 2^10 times finer than those of the result."""
    read = onnx.NodeProto()
    read.CopyFrom(node)
    del read.input[:]
    own = state.free(half.tensor)  # a name of the graph for a tensor that the graph does not have
    read.input.extend([own, *inputs[1:]])
    state.values[own] = half
    y = replace(
        target.y,
        name=state.free(f"{half.tensor}.sum"),
        dtype="s32",
        scale=target.y.scale / 2**FINER_BITS,
        zero_point=0,
        onnx="",
    )
    low, high = LIMITS["s32"]
    layer(state, read, replace(target, y=y, low=low, high=high))
    del state.values[own]
    return state.quantised.pop(y.name)

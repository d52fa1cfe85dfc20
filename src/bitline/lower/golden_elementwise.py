"""Element by element as ONNX operators: sums, products, quotients, selections, tables and curves."""

from __future__ import annotations

from typing import assert_never

import numpy as np
from onnx import TensorProto

from bitline.ir.kernels import (
    LIMITS,
    NUMPY,
    Elementwise,
    Tensor,
)
from bitline.lower.golden_builder import Builder
from bitline.lower.qdq import ONNX_TYPE
from bitline.numerics.elementwise import CURVE_FRACTION_BITS


def write_elementwise(builder: Builder, kernel: Elementwise) -> None:
    y = builder.network.tensor(kernel.y)
    xs = [builder.network.tensor(read.x) for read in kernel.reads]
    taken = [builder.operand(read) for read in kernel.reads]
    m = [builder.constant(np.array(float(read.mantissa))) for read in kernel.reads]
    down = builder.constant(np.array(2.0**-kernel.shift))

    def n(k: int) -> str:
        return builder.centred(taken[k], xs[k])

    match kernel.op:
        case "sum":
            total = builder.op("Mul", n(0), m[0])
            for k in range(1, len(taken)):
                total = builder.op("Add", total, builder.op("Mul", n(k), m[k]))
            if kernel.bias:
                total = builder.op("Add", total, builder.constant(np.array(float(kernel.bias))))
            rows = builder.finish(builder.op("Mul", total, down), y, kernel.low, kernel.high)
        case "product":
            total = builder.op("Mul", builder.op("Mul", n(0), n(1)), m[0])
            rows = builder.finish(builder.op("Mul", total, down), y, kernel.low, kernel.high)
        case "quotient":
            rows = builder.finish(_quotient(builder, kernel, taken, xs), y, kernel.low, kernel.high)
        case "largest" | "smallest":
            scaled = [
                builder.op("Round", builder.op("Mul", builder.op("Mul", n(k), m[k]), down)) for k in range(len(taken))
            ]
            best = builder.op("Max" if kernel.op == "largest" else "Min", *scaled)
            rows = builder.finish(best, y, kernel.low, kernel.high)
        case "prelu":
            below = builder.op("Mul", builder.op("Mul", n(0), n(1)), m[1])
            positive = builder.op("GreaterOrEqual", n(0), builder.constant(np.array(0.0)))
            total = builder.op("Where", positive, builder.op("Mul", n(0), m[0]), below)
            rows = builder.finish(builder.op("Mul", total, down), y, kernel.low, kernel.high)
        case "select":
            chosen = builder.cast(taken[0], TensorProto.BOOL)
            total = builder.op("Where", chosen, builder.op("Mul", n(1), m[1]), builder.op("Mul", n(2), m[2]))
            rows = builder.finish(builder.op("Mul", total, down), y, kernel.low, kernel.high)
        case "equal":
            same = builder.op("Equal", *(builder.cast(name, TensorProto.INT64) for name in taken))
            rows = builder.op("Cast", same, to=ONNX_TYPE[y.dtype])
        case "modulo":
            rows = builder.op("Cast", _modulo(builder, taken), to=ONNX_TYPE[y.dtype])
        case "table":
            smallest = builder.integers(LIMITS[xs[0].dtype][0])
            index = builder.op("Sub", builder.cast(taken[0], TensorProto.INT64), smallest)
            entries = builder.constants[kernel.table].astype(NUMPY[y.dtype])
            rows = builder.op("Gather", builder.constant(entries), index, axis=0)
        case "length":
            squares = [builder.op("Mul", builder.op("Mul", n(k), n(k)), m[k]) for k in range(2)]
            root = builder.op("Floor", builder.op("Sqrt", builder.op("Add", *squares)))
            half = builder.constant(np.array(float(1 << kernel.shift >> 1)))
            nearest = builder.op("Floor", builder.op("Mul", builder.op("Add", root, half), down))
            rows = builder.finish(nearest, y, kernel.low, kernel.high)
        case "curve":
            rows = builder.finish(_curve(builder, kernel, taken[0]), y, kernel.low, kernel.high)
        case _:
            assert_never(kernel.op)
    builder.stored(rows, y, kernel.write)


def _quotient(builder: Builder, kernel: Elementwise, taken: list[str], xs: list[Tensor]) -> str:
    """The rounded quotient as double."""
    a, b = (
        builder.op("Sub", builder.cast(name, TensorProto.INT64), builder.integers(x.zero_point))
        for name, x in zip(taken, xs, strict=True)
    )
    size = builder.op("Abs", b)
    numerator = builder.op("Mul", builder.op("Abs", a), builder.integers(2 * kernel.reads[0].mantissa))
    half = builder.op("Mul", size, builder.integers(1 << kernel.shift))
    divisor = builder.at_least(builder.op("Mul", size, builder.integers(1 << (kernel.shift + 1))), 1)
    whole = builder.op("Div", builder.op("Add", numerator, half), divisor)
    none = builder.op("Equal", b, builder.integers(0))
    bounded = builder.op("Where", none, builder.integers(1 << 40), whole)
    down = builder.op("Where", builder.op("Less", b, builder.integers(0)), builder.integers(-1), builder.integers(1))
    sign = builder.op("Mul", builder.op("Sign", a), down)
    return builder.cast(builder.op("Mul", bounded, sign), TensorProto.DOUBLE)


def _modulo(builder: Builder, taken: list[str]) -> str:
    a, b = (builder.cast(name, TensorProto.INT64) for name in taken)
    none = builder.op("Equal", b, builder.integers(0))
    rest = builder.op("Mod", a, builder.op("Where", none, builder.integers(1), b))
    return builder.op("Where", none, builder.integers(0), rest)


def _curve(builder: Builder, kernel: Elementwise, name: str) -> str:
    """The interpolated value, rounded, as double."""
    knots = builder.constants[kernel.table].astype(np.int64)
    bits = 16 - (knots.size - 1).bit_length() + 1
    u = builder.op("Add", builder.cast(name, TensorProto.INT64), builder.integers(1 << 15))
    index = builder.op("Div", u, builder.integers(1 << bits))
    rest = builder.op("Sub", u, builder.op("Mul", index, builder.integers(1 << bits)))
    left = builder.op("Gather", builder.constant(knots), index, axis=0)
    steps = np.append(np.diff(knots), 0)
    step = builder.op("Gather", builder.constant(steps), index, axis=0)
    total = builder.op("Add", builder.op("Mul", left, builder.integers(1 << bits)), builder.op("Mul", step, rest))
    scale = builder.constant(np.array(2.0 ** -(bits + CURVE_FRACTION_BITS)))
    return builder.op("Round", builder.op("Mul", builder.cast(total, TensorProto.DOUBLE), scale))

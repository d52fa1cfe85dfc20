"""What works on windows and rows as ONNX operators: pools, softmax, LayerNormalization, products, look-ups."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from bitline.ir.kernels import (
    LIMITS,
    NUMPY,
    BatchMatMul,
    Lookup,
    Norm,
    Pool,
    Softmax,
)
from bitline.lower.golden_builder import Builder
from bitline.lower.qdq import ONNX_TYPE
from bitline.numerics.norm import INVERSE_BITS, VARIANCE_BITS


def write_pool(builder: Builder, kernel: Pool) -> None:
    x, y = builder.network.tensor(kernel.x), builder.network.tensor(kernel.y)
    padding = LIMITS[x.dtype][0] if kernel.op == "max" else x.zero_point
    taken = builder.cast(builder.gathered(kernel.x, kernel.read, padding), TensorProto.INT32)
    axis = builder.integers(2)
    if kernel.op == "max":
        best = builder.cast(builder.op("ReduceMax", taken, axis, keepdims=0), TensorProto.DOUBLE)
        low, high = builder.constant(np.array(float(kernel.low))), builder.constant(np.array(float(kernel.high)))
        rows = builder.op("Cast", builder.op("Clip", best, low, high), to=ONNX_TYPE[y.dtype])
    else:
        real = builder.op("Sub", taken, builder.constant(np.array(x.zero_point, np.int32)))
        total = builder.cast(builder.op("ReduceSum", real, axis, keepdims=0), TensorProto.DOUBLE)
        count = (kernel.read.evaluate() >= 0).sum(axis=2) if kernel.divide_by_valid else np.ones((1, 1, 1), np.int64)
        factors = np.array([np.ldexp(float(s.mantissa), -s.shift) for s in kernel.scales])[count - 1]
        rows = builder.finish(builder.op("Mul", total, builder.constant(factors)), y, kernel.low, kernel.high)
    builder.stored(rows, y, kernel.write)


def write_softmax(builder: Builder, kernel: Softmax) -> None:
    y = builder.network.tensor(kernel.y)
    x = builder.cast(builder.gathered(kernel.x, kernel.read, 0), TensorProto.INT64)
    top = builder.op("ReduceMax", x, builder.integers(-1), keepdims=1)
    distance = builder.op("Sub", top, x)
    table = builder.constants[kernel.table].astype(np.int64)
    if table.size == 256:
        e = builder.op("Gather", builder.constant(table), distance, axis=0)
    else:
        high = builder.op("Div", distance, builder.integers(256))
        low = builder.op("Sub", distance, builder.op("Mul", high, builder.integers(256)))
        parts = [
            builder.op("Gather", builder.constant(half), index, axis=0)
            for half, index in zip((table[:256], table[256:]), (high, low), strict=True)
        ]
        both = builder.op("Add", builder.op("Mul", *parts), builder.integers(1 << 23))
        e = builder.op("Div", both, builder.integers(1 << 24))
    total = builder.op("ReduceSum", e, builder.integers(-1), keepdims=1)
    scaled = builder.op("Mul", e, builder.integers(2 * kernel.factor))
    half = builder.op("Mul", total, builder.integers(1 << kernel.fraction_bits))
    divisor = builder.op("Mul", total, builder.integers(1 << (kernel.fraction_bits + 1)))
    quotient = builder.op("Div", builder.op("Add", scaled, half), divisor)
    builder.stored(builder.finish_integer(quotient, y, *LIMITS[y.dtype]), y, kernel.write)


def write_norm(builder: Builder, kernel: Norm) -> None:
    """`numerics.norm.layer_norm` in int64."""
    y, form = builder.network.tensor(kernel.y), kernel.format
    n = kernel.read.shape[1]
    x = builder.cast(builder.gathered(kernel.x, kernel.read, 0), TensorProto.INT64)
    total = builder.op("ReduceSum", x, builder.integers(-1), keepdims=1)
    squares = builder.op("ReduceSum", builder.op("Mul", x, x), builder.integers(-1), keepdims=1)
    spread = builder.op("Sub", builder.op("Mul", squares, builder.integers(n)), builder.op("Mul", total, total))
    scaling = "Mul" if form.deviation_bits >= 0 else "Div"
    scaled = builder.op(scaling, spread, builder.integers(1 << abs(2 * form.deviation_bits)))
    wide = builder.op("Add", scaled, builder.integers(form.epsilon))
    a = builder.between(wide, 1, (1 << VARIANCE_BITS) - 1)
    edges = builder.constant(np.array([1 << (60 - 2 * i) for i in range(30)], np.int64))
    k = builder.op(
        "ReduceSum", builder.cast(builder.op("Less", a, edges), TensorProto.INT64), builder.integers(-1), keepdims=1
    )
    powers = builder.constant(np.array([1 << (2 * i) for i in range(31)], np.int64))
    root = builder.floor_root(builder.op("Mul", a, builder.op("Gather", powers, k, axis=0)))
    inverse = builder.op("Div", builder.integers(1 << INVERSE_BITS), root)
    deviation = builder.op("Sub", builder.op("Mul", x, builder.integers(n)), total)
    down = INVERSE_BITS - form.deviation_bits - form.normal_bits
    downs = builder.constant(np.array([1 << max(down - i, 0) for i in range(31)], np.int64))
    t = builder.round_shift(builder.op("Mul", deviation, inverse), builder.op("Gather", downs, k, axis=0))
    table = builder.constants[kernel.table].astype(np.int64)
    line = builder.op("Add", builder.op("Mul", t, builder.constant(table[:, 0])), builder.constant(table[:, 1]))
    rounded = builder.round_shift(line, builder.integers(1 << form.shift))
    builder.stored(builder.finish_integer(rounded, y, kernel.low, kernel.high), y, kernel.write)


def write_batch_matmul(builder: Builder, kernel: BatchMatMul) -> None:
    """Sums in double, which holds them exactly."""
    y = builder.network.tensor(kernel.y)
    a, b = (builder.centred(builder.operand(read), builder.network.tensor(read.x)) for read in (kernel.a, kernel.b))
    sums = builder.op("MatMul", a, builder.op("Transpose", b, perm=[0, 2, 1]))
    factor = builder.constant(np.array(np.ldexp(float(kernel.a.mantissa), -kernel.shift)))
    builder.stored(builder.finish(builder.op("Mul", sums, factor), y, kernel.low, kernel.high), y, kernel.write)


def write_lookup(builder: Builder, kernel: Lookup) -> None:
    y = builder.network.tensor(kernel.y)
    table = builder.constants[kernel.table].astype(NUMPY[y.dtype])
    index = builder.cast(builder.gathered(kernel.x, kernel.read, 0), TensorProto.INT64)
    count = builder.integers(len(table))
    wrapped = builder.op(
        "Where", builder.op("Less", index, builder.integers(0)), builder.op("Add", index, count), index
    )
    rows = builder.op("Gather", builder.constant(table), builder.between(wrapped, 0, len(table) - 1), axis=0)
    builder.stored(rows, y, kernel.write)

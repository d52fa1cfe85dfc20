"""Layers as `MatMulInteger` over gathered rows, and bit by bit where a converter can clip."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from onnx import TensorProto

from bitline.ir.kernels import (
    MatMul,
    Tensor,
)
from bitline.lower.golden_builder import Array, Builder


def write_matmul(builder: Builder, kernel: MatMul) -> None:
    x, y = builder.network.tensor(kernel.x), builder.network.tensor(kernel.y)
    matrix = builder.constants[kernel.matrix.name]
    parameters = builder.constants[kernel.post.parameters].astype(np.int64)
    groups, rows, _ = matrix.shape
    height, width, _ = kernel.read.shape
    gathered = builder.gathered(kernel.x, kernel.read, x.zero_point)
    driven = builder.op("Reshape", gathered, builder.integers(height * width, groups * rows))
    acc = _clipped_sums(builder, kernel, driven, x) if not kernel.math.lossless else _sums(builder, matrix, driven, x)
    biased = builder.op("Add", acc, builder.constant(parameters[:, 0].astype(np.int32)))
    factors = np.ldexp(parameters[:, 1].astype(np.float64), -parameters[:, 2].astype(np.int32))
    real = builder.op("Mul", builder.cast(biased, TensorProto.DOUBLE), builder.constant(factors))
    builder.stored(builder.finish(real, y, kernel.post.low, kernel.post.high), y, kernel.write)


def _sums(builder: Builder, matrix: Array, driven: str, x: Tensor) -> str:
    """sum_r (x[r] - zero_point) * w[r, c], [pixels, groups * cols]."""
    groups, rows, cols = matrix.shape
    zero = builder.constant(np.array(x.zero_point, np.uint8 if x.dtype == "u8" else np.int8))
    if groups == 1:
        return builder.op("MatMulInteger", driven, builder.constant(matrix[0].astype(np.int8)), zero)
    split = builder.op("Reshape", driven, builder.integers(-1, groups, rows))
    turned = builder.op("Transpose", split, perm=[1, 0, 2])
    product = builder.op("MatMulInteger", turned, builder.constant(matrix.astype(np.int8)), zero)
    back = builder.op("Transpose", product, perm=[1, 0, 2])
    return builder.op("Reshape", back, builder.integers(-1, groups * cols))


def _clipped_sums(builder: Builder, kernel: MatMul, driven: str, x: Tensor) -> str:
    """The same through converters: bits of the inputs times slices of the weights, clipped one by one."""
    math, matrix = kernel.math, builder.constants[kernel.matrix.name].astype(np.int64)
    groups, rows, cols = matrix.shape
    wide = builder.op(
        "Add", builder.cast(driven, TensorProto.INT32), builder.constant(np.array(math.input_offset, np.int32))
    )
    codes = builder.cast(wide, TensorProto.UINT8)
    planes = [_bit(builder, codes, bit) for bit in range(math.input_bits)]
    parts: list[str] = []
    for first in range(0, groups, math.bundle):
        last = min(first + math.bundle, groups)
        count = last - first
        whole = np.zeros((count, rows, count, cols), np.int64)
        whole[np.arange(count), :, np.arange(count)] = matrix[first:last]
        cells = whole.reshape(count * rows, count * cols) + math.weight_offset
        parts.append(_block(builder, kernel, planes, cells, first * rows))
    acc = parts[0] if len(parts) == 1 else builder.op("Concat", *parts, axis=1)
    zero = (x.zero_point + math.input_offset) * matrix.sum(axis=1).reshape(-1)
    total = builder.op("Sub", acc, builder.constant(zero))
    return builder.cast(total, TensorProto.INT32)


def _bit(builder: Builder, codes: str, bit: int) -> str:
    shifted = builder.op("Div", codes, builder.constant(np.array(1 << bit, np.uint8)))
    return builder.op("Mod", shifted, builder.constant(np.array(2, np.uint8)))


def _block(builder: Builder, kernel: MatMul, planes: list[str], cells: npt.NDArray[np.int64], first_row: int) -> str:
    """int64 sums of one diagonal block, its weight offset taken off."""
    math = kernel.math
    total = ""
    for start in range(0, len(cells), math.group_rows):
        end = min(start + math.group_rows, len(cells))
        for bit, plane in enumerate(planes):
            rows = builder.op(
                "Slice",
                plane,
                builder.integers(first_row + start),
                builder.integers(first_row + end),
                builder.integers(1),
            )
            terms: list[str] = []
            for s in range(math.slices):
                cell = (cells[start:end] >> (s * math.cell_bits)) & ((1 << math.cell_bits) - 1)
                sums = builder.op("MatMulInteger", rows, builder.constant(cell.astype(np.uint8)))
                limit = builder.constant(np.array(math.adc_max, np.int32))
                clipped = builder.cast(builder.op("Min", sums, limit), TensorProto.INT64)
                terms.append(builder.op("Mul", clipped, builder.integers(1 << (bit + s * math.cell_bits))))
            ones = builder.constant(np.ones((end - start, 1), np.uint8))
            driven = builder.cast(builder.op("MatMulInteger", rows, ones), TensorProto.INT64)
            terms.append(builder.op("Mul", driven, builder.integers(-(math.weight_offset << bit))))
            for term in terms:
                total = builder.op("Add", total, term) if total else term
    return total

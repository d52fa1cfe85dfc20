"""What a compute-in-memory array computes: cells, bit-serial inputs, converters. The formula is in
`ir.kernels.ArrayMath`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bitline.ir.kernels import ArrayMath
from bitline.ir.program import MathOp

Ints = npt.NDArray[np.int64]
Math = ArrayMath | MathOp


@dataclass(frozen=True, slots=True, kw_only=True)
class Converted:
    """Sums, how many conversions were made and how many of them clipped."""

    sums: Ints
    conversions: int
    clipped: int


def exact_product(x: npt.NDArray[np.generic], w: npt.NDArray[np.generic]) -> Ints:
    """x @ w in integers, through double, which is exact below 2^53: |x| < 2^9, |w| < 2^9, at most 2^35 rows."""
    return np.rint(x.astype(np.float64) @ w.astype(np.float64)).astype(np.int64)


def encode_cells(weights: npt.NDArray[np.generic], weight_offset: int) -> npt.NDArray[np.uint8]:
    """Weights as the array stores them: w + weight_offset as a byte, two's complement where the offset is 0."""
    return ((weights.astype(np.int64) + weight_offset) & 0xFF).astype(np.uint8)


def decode_cells(cells: npt.NDArray[np.uint8], weight_offset: int) -> Ints:
    """What a stored byte stands for before the offset is taken off: 0..255, or -128..127 where the offset is 0."""
    return cells.astype(np.int64) if weight_offset else cells.view(np.int8).astype(np.int64)


def converts(math: Math) -> bool:
    """Whether a converter stands between the columns and the sum, so that a sum may clip."""
    return math.adc_bits > 0 and math.group_rows * ((1 << math.cell_bits) - 1) > (1 << math.adc_bits) - 1


def array_product(math: Math, x: Ints, cells: npt.NDArray[np.uint8]) -> Converted:
    """Sums of one block: x [pixels, rows] as driven (0..2^input_bits-1, or signed where no converter clips), cells
    [rows, cols].

    The first row of the block starts a row group. The term of `input_offset` is left to `input_correction`.
    """
    stored = decode_cells(cells, math.weight_offset)
    pixels, rows = x.shape
    cols = cells.shape[1]
    groups = -(-rows // math.group_rows)
    conversions = pixels * cols * groups * math.slices * math.input_bits if math.adc_bits else 0
    if not converts(math):
        total = exact_product(x, stored)
        clipped = 0
    else:
        total = np.zeros((pixels, cols), np.int64)
        clipped = 0
        limit = (1 << math.adc_bits) - 1
        for start in range(0, rows, math.group_rows):
            part = slice(start, start + math.group_rows)
            for bit in range(math.input_bits):
                driven = (x[:, part] >> bit) & 1
                for s in range(math.slices):
                    cell = (stored[part] >> (s * math.cell_bits)) & ((1 << math.cell_bits) - 1)
                    sums = exact_product(driven, cell)
                    clipped += int((sums > limit).sum())
                    total += np.minimum(sums, limit) << (bit + s * math.cell_bits)
    total -= math.weight_offset * x.sum(axis=1, keepdims=True)
    return Converted(sums=total, conversions=conversions, clipped=clipped)

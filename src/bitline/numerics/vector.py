"""Element-wise, pooling and softmax arithmetic on integers (int64 arrays hold the values of any narrower type)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bitline.numerics.rounding import divide_by_power_of_two, requantise, wrap32

Ints = npt.NDArray[np.int64]

SOFTMAX_TABLE_BITS = 24
SOFTMAX_FRACTION_BITS = 16


def requantise_columns(acc: Ints, parameters: Ints, zero_point: int, low: int, high: int) -> Ints:
    """acc [..., C] with parameters [C, 3] = bias, mantissa, shift: the accumulator wraps at 32 bits, then one
    rounding."""
    biased = wrap32(acc + parameters[:, 0])
    return requantise(biased, parameters[:, 1], parameters[:, 2], zero_point, low, high)


def look_up(x: Ints, table: Ints, smallest: int) -> Ints:
    """table[x - smallest]."""
    return table[x - smallest]


def softmax_table(scale_x: float, *, wide: bool) -> Ints:
    """T[d] = round(2^24 * exp(-d * scale_x)) for d = max - q in 0..255; for 16 bits (`wide`) 256 entries for the high
    byte of d, then 256 for the low one."""
    steps = np.arange(256, dtype=np.float64)
    parts = [np.exp(-scale_x * step * steps) for step in ((256, 1) if wide else (1,))]
    return np.rint(np.concatenate(parts) * 2.0**SOFTMAX_TABLE_BITS).astype(np.int64)


def exponentials(distance: Ints, table: Ints) -> Ints:
    """e of d = max - q by one table of 8 bits, or by two of 16: (T[d >> 8] * T[256 + (d & 255)] + 2^23) >> 24."""
    if table.size == 256:
        return table[distance]
    both = table[distance >> 8] * table[256 + (distance & 255)]
    return (both + (1 << (SOFTMAX_TABLE_BITS - 1))) >> SOFTMAX_TABLE_BITS


def softmax(x: Ints, table: Ints, factor: int, fraction_bits: int, zero_point: int, low: int, high: int) -> Ints:
    """Over the last axis: e = T[max - x], S = sum e, y = (2 e K + S 2^f) // (S 2^(f+1)): round half up of e K / (S
    2^f)."""
    e = exponentials(x.max(axis=-1, keepdims=True) - x, table)
    total = e.sum(axis=-1, keepdims=True)
    y = (2 * e * factor + (total << fraction_bits)) // (total << (fraction_bits + 1))
    return np.clip(y + zero_point, low, high)


def mean(total: Ints, mantissa: int, shift: int, zero_point: int, low: int, high: int) -> Ints:
    """total = sum of values with the zero point taken off; mantissa / 2^shift holds scale ratio and 1 / count."""
    return requantise(total, mantissa, shift, zero_point, low, high)


def matmul(a: Ints, b: Ints, mantissa: int, shift: int, zero_point: int, low: int, high: int) -> Ints:
    """a [..., m, k], b [..., n, k], zero points taken off, to [..., m, n]; sums stay below 2^48, which double holds."""
    sums = np.rint(a.astype(np.float64) @ np.swapaxes(b, -1, -2).astype(np.float64)).astype(np.int64)
    return np.clip(divide_by_power_of_two(sums * np.int64(mantissa), shift) + zero_point, low, high)

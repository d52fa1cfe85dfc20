"""Operators of `ir.kernels.Elementwise` on integers: int64 arrays, zero points taken off (n = x - z)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from bitline.numerics.rounding import divide_by_power_of_two

Ints = npt.NDArray[np.int64]

CURVE_FRACTION_BITS = 8
"""Fraction bits of the knots of a curve."""
BITS_16 = 16


def weighted_sum(operands: Sequence[Ints], mantissas: Sequence[int], bias: int, shift: int) -> Ints:
    """RNE((sum n_k * m_k + bias) / 2^shift): one rounding. Every term stays below 2^52."""
    total = np.int64(bias) + sum(n * np.int64(m) for n, m in zip(operands, mantissas, strict=True))
    return divide_by_power_of_two(np.asarray(total, np.int64), shift)


def product(a: Ints, b: Ints, mantissa: int, shift: int) -> Ints:
    """RNE(a * b * m / 2^shift); |a * b * m| < 2^53."""
    return divide_by_power_of_two(a * b * np.int64(mantissa), shift)


def quotient(a: Ints, b: Ints, mantissa: int, shift: int) -> Ints:
    """sign * ((2 |a| m + |b| 2^shift) // (|b| 2^(shift + 1))): half away from zero; a / 0 is sign * 2^40, 0 / 0 0."""
    numerator = 2 * np.abs(a) * np.int64(mantissa)
    divisor = np.abs(b)
    whole = (numerator + (divisor << shift)) // np.maximum(divisor << (shift + 1), 1)
    sign = np.sign(a) * np.where(b < 0, -1, 1)
    return sign * np.where(divisor == 0, np.int64(1 << 40), whole)


def extreme(operands: Sequence[Ints], mantissas: Sequence[int], shift: int, *, largest: bool) -> Ints:
    """max or min over k of RNE(n_k * m_k / 2^shift)."""
    scaled = [weighted_sum([n], [m], 0, shift) for n, m in zip(operands, mantissas, strict=True)]
    best = scaled[0]
    for other in scaled[1:]:
        best = np.maximum(best, other) if largest else np.minimum(best, other)
    return best


def prelu(x: Ints, slope: Ints, mantissas: Sequence[int], shift: int) -> Ints:
    """RNE((x * m_0 where x >= 0, else x * slope * m_1) / 2^shift)."""
    value = np.where(x >= 0, x * np.int64(mantissas[0]), x * slope * np.int64(mantissas[1]))
    return divide_by_power_of_two(value, shift)


def select(condition: Ints, a: Ints, b: Ints, mantissas: Sequence[int], shift: int) -> Ints:
    """RNE((a * m_1 where the condition is not 0, else b * m_2) / 2^shift)."""
    return divide_by_power_of_two(
        np.where(condition != 0, a * np.int64(mantissas[1]), b * np.int64(mantissas[2])), shift
    )


def modulo(a: Ints, b: Ints) -> Ints:
    """a - b * floor(a / b), with the sign of b; 0 where b is 0."""
    return np.where(b == 0, 0, np.mod(a, np.where(b == 0, 1, b)))


def length(a: Ints, b: Ints, mantissas: Sequence[int], shift: int) -> Ints:
    """floor(sqrt(S) / 2^shift + 1/2), S = a^2 m_0 + b^2 m_1 < 2^52, shift >= 1.

    Below 2^52 the floor of the double nearest to sqrt(S) is isqrt(S): n^2 - 1 has a root 1/(2n) below n, and doubles
    below n <= 2^26 lie closer than that.
    """
    squares = a * a * np.int64(mantissas[0]) + b * b * np.int64(mantissas[1])
    root = np.floor(np.sqrt(squares.astype(np.float64))).astype(np.int64)
    return (root + (1 << shift >> 1)) >> shift


def curve(x: Ints, knots: Ints) -> Ints:
    """A function of 16 bits by 2^k + 1 knots at equal distances over -2^15..2^15, straight lines between them:

    u = x + 2^15; i = u >> (16 - k); r = u - (i << (16 - k)); y = RNE((t[i] 2^(16-k) + (t[i+1] - t[i]) r) / 2^(16-k+8)).
    """
    bits = BITS_16 - (knots.size - 1).bit_length() + 1
    u = x + (1 << (BITS_16 - 1))
    index = u >> bits
    rest = u - (index << bits)
    left, right = knots[index], knots[np.minimum(index + 1, knots.size - 1)]
    return divide_by_power_of_two((left << bits) + (right - left) * rest, bits + CURVE_FRACTION_BITS)

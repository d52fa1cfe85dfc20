"""LayerNormalization on integers. Floor division and floor square root are unique, so any hardware that reaches them
conforms."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from bitline.ir.kernels import NormFormat
from bitline.numerics.rounding import divide_by_power_of_two

Ints = npt.NDArray[np.int64]
Reals = npt.NDArray[np.float64]

VARIANCE_BITS = 62
ROOT_BITS = 60
"""The variance is shifted into 2^60..2^62, so that its root has 31 bits."""
INVERSE_BITS = 61
FACTOR_BITS = 30
"""Of the normalised value and of the gain, whose product with the offset added has 62."""
OFFSET_BITS = 60
LARGEST_ROW = 4096
MOST_DEVIATION_BITS = 30
LARGEST_PRODUCT = 2.0**27
"""Of gain and normalised value, in steps of the output, so that their last bits are an eighth of a step each."""
LARGEST_OFFSET = 2.0**18
"""In steps of the output, so that what the rounded epsilon costs stays below 0.16 of a step."""


def floor_root(value: Ints) -> Ints:
    """Floor of the square root of 0 <= value < 2^62."""
    root = np.sqrt(value.astype(np.float64)).astype(np.int64)
    root = np.where(root * root > value, root - 1, root)
    return np.where((root + 1) * (root + 1) <= value, root + 1, root)


def layer_norm(x: Ints, table: Ints, form: NormFormat, zero_point: int, low: int, high: int) -> Ints:
    """Rows x [rows, n] of at most 4,096 values of at most 16 bits; table [n, 2] = gain G, offset B; h, N, shift the
    `deviation_bits`, `normal_bits`, `shift` of the format:

        d = n x - sum x                                          n times the deviation
        A = clamp(floor((n sum x^2 - (sum x)^2) 4^h) + epsilon, 1, 2^62 - 1)     4^h n^2 times the variance
        k = the least number with A 4^k >= 2^60;  inv = 2^61 // isqrt(A 4^k)
        t = RNE(d inv / 2^max(61 - h - N - k, 0))                normalised, N fraction bits
        y = clamp(RNE((t G + B) / 2^shift) + zero_point, low, high)

    The zero point of x cancels in d. With the constants of `norm_constants` nothing passes 62 bits and a sign:

    * n sum x^2 <= 2^24 2^30; |d| < 2^28 and inv <= 2^31, so their product is below 2^59.
    * n sum x^2 - (sum x)^2 <= (n span / 2)^2, and h is such that (n span / 2)^2 4^h + epsilon < 2^62.
    * |t| <= 2^30 + 2, since N is such that the largest normalised value is 2^30 at most; |G| <= 2^30, |B| <= 2^60.
    * 61 - h - N - k >= 0 where d is not 0: V, the variance times n^2 with eps in it, is at least n - 1 and n^2 eps;
      2^(h + k) < 2^31 / sqrt(V), since A 4^k < 2^62; and 2^N < 2^30 / min(sqrt(n - 1), span / sqrt(eps)).

    y is within one step of the real value. The last rounding costs 1/2; the last bits of t and of G 1/8 each; root and
    quotient 2^-29 and the rounded epsilon 1 / (4 A) of t G, together below 0.16, as A >= 2^19 where d is not 0 and
    |t G| <= 2^18 + 2^16 where the result is not at an end of its type. Measured: 0.58 at most.
    """
    n, h = x.shape[-1], form.deviation_bits
    total = x.sum(axis=-1, keepdims=True)
    spread = n * (x * x).sum(axis=-1, keepdims=True) - total * total
    scaled = spread << (2 * h) if h >= 0 else spread >> (-2 * h)
    a = np.clip(scaled + form.epsilon, 1, (1 << VARIANCE_BITS) - 1)
    k = sum((a < (1 << (ROOT_BITS - 2 * i))).astype(np.int64) for i in range(ROOT_BITS // 2))
    inverse = (1 << INVERSE_BITS) // floor_root(a << (2 * k))
    t = divide_by_power_of_two((n * x - total) * inverse, np.maximum(INVERSE_BITS - h - form.normal_bits - k, 0))
    y = divide_by_power_of_two(t * table[:, 0] + table[:, 1], form.shift)
    return np.clip(y + zero_point, low, high)


@dataclass(frozen=True, slots=True, kw_only=True)
class NormConstants:
    """`table` [n, 2] = G, B."""

    table: Ints
    format: NormFormat


def norm_constants(
    gain: Reals, offset: Reals, epsilon: float, *, scale_x: float, span: int, scale_y: float
) -> NormConstants | None:
    """Constants for rows of n = len(gain) integers that differ by at most `span`: as many fraction bits as fit,
    G = round(gain / scale_y 2^(shift - N)), B = round(offset / scale_y 2^shift).

    None where a result could be more than a step off: a gain times the largest normalised value beyond 2^27 steps of
    the output, an offset beyond 2^18, or an epsilon that is negative, not finite, or beyond 2^122 / n^2 squares of
    input steps.
    """
    n = len(gain)
    steepest = float(np.abs(gain / scale_y).max(initial=0.0))
    highest = float(np.abs(offset / scale_y).max(initial=0.0))
    if not 0 <= epsilon < math.inf or not (steepest < math.inf and highest <= LARGEST_OFFSET):
        return None
    epsilon_steps = Fraction(epsilon) / Fraction(scale_x) ** 2
    variance = n * n * (Fraction(span * span, 4) + epsilon_steps)
    deviation_bits = min(_room_bits(variance, (1 << VARIANCE_BITS) - 1), MOST_DEVIATION_BITS)
    if deviation_bits < -MOST_DEVIATION_BITS:
        return None
    squares = [Fraction(max(n - 1, 1))] + ([span * span / epsilon_steps] if epsilon_steps else [])
    largest = min(squares)
    if steepest * math.sqrt(largest) > LARGEST_PRODUCT:
        return None
    normal_bits = _room_bits(largest, 1 << (2 * FACTOR_BITS))
    gain_bits = FACTOR_BITS - math.frexp(steepest)[1]
    shift = min(normal_bits + gain_bits, OFFSET_BITS - math.frexp(highest)[1], VARIANCE_BITS)
    columns = [np.ldexp(gain / scale_y, shift - normal_bits), np.ldexp(offset / scale_y, shift)]
    form = NormFormat(
        epsilon=round(n * n * epsilon_steps * Fraction(4) ** deviation_bits),
        deviation_bits=deviation_bits,
        normal_bits=normal_bits,
        shift=shift,
    )
    return NormConstants(table=np.rint(np.stack(columns, axis=1)).astype(np.int64), format=form)


def _room_bits(square: Fraction, limit: int) -> int:
    """The largest i with square 4^i < limit."""
    i = (limit.bit_length() + 1 - square.numerator.bit_length() + square.denominator.bit_length()) // 2
    while square * Fraction(4) ** i >= limit:
        i -= 1
    return i

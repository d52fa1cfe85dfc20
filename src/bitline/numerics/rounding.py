"""One rounding, half to even, as everywhere in bitline.

Rounding twice, as gemmlowp does, changes 15 % of a ResNet-20's outputs; once stays within ONNX Runtime's own noise.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]

MANTISSA_BITS = 24
"""So that mantissa times an accumulator below 2^29 is exact in a double, hence in `golden.onnx`."""
MAX_SHIFT = 62


def divide_by_power_of_two(value: Ints, shift: npt.ArrayLike) -> Ints:
    """RNE(value / 2^shift) for |value| < 2^62, 0 <= shift <= 62."""
    bits = np.asarray(shift, np.int64)
    floor = value >> bits
    rest = value - (floor << bits)
    half = np.where(bits > 0, np.int64(1) << np.maximum(bits - 1, 0), 0)
    up = (rest > half) | ((rest == half) & (bits > 0) & (floor & 1 == 1))
    return floor + up


def requantise(acc: Ints, mantissa: npt.ArrayLike, shift: npt.ArrayLike, zero_point: int, low: int, high: int) -> Ints:
    """clamp(RNE(acc * mantissa / 2^shift) + zero_point, low, high); |acc| < 2^37."""
    scaled = divide_by_power_of_two(acc * np.asarray(mantissa, np.int64), shift)
    return np.clip(scaled + zero_point, low, high)


def fixed_point(factor: float, bits: int = MANTISSA_BITS) -> tuple[int, int]:
    """(mantissa, shift) with factor ~ mantissa / 2^shift, the mantissa of `bits` bits; error <= 2^-bits relative.

    Factors below 2^-62 keep fewer bits, as the shift ends at 62. Raises ValueError outside (0, 2^bits).
    """
    if not 0 < factor < 2**bits or not math.isfinite(factor):
        raise ValueError(f"factor {factor!r} is not between 0 and 2^{bits}")
    fraction, exponent = math.frexp(factor)
    shift = bits - exponent
    mantissa = round(math.ldexp(fraction, bits))
    while shift > MAX_SHIFT:
        mantissa, shift = mantissa >> 1, shift - 1
    return mantissa, shift


def wrap32(value: Ints) -> Ints:
    """The int32 that an accumulator of 32 bits would hold."""
    return ((value + 2**31) & 0xFFFFFFFF) - 2**31

"""Scales and zero points: how a range becomes the grid of integers that stands for it.

    activation   uint8, per tensor, asymmetric:   x = scale * (q - zero_point),   0 <= q <= 2^bits - 1
      in 16 bits int16, per tensor, symmetric:    x = scale * q,                  |q| <= 32767
    weight       int8, symmetric, zero point 0:   w = scale * q,                  |q| <= 2^(bits-1) - 1
    bias         int32, scale = input scale * weight scale, zero point 0

0.0 is always on the grid, for padding and Relu. No scale is 0 or so small that a product of two leaves float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

SMALLEST_SCALE: Final = 2.0**-60  # the product of two is 2^-120, still a normal float32
LARGEST_BIAS: Final = 2.0**24  # a bias above it widens the weight scale: bias plus sum stay far within int32


WIDE: Final = 16
WIDEST: Final = 32767


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """The grid of one activation tensor; `scale` is exact in float32. `bits`: 16 is int16, else q is within uint8."""

    scale: float
    zero_point: int
    bits: int = 8

    @property
    def wide(self) -> bool:
        return self.bits == WIDE

    @property
    def dtype(self) -> np.dtype[np.uint8] | np.dtype[np.int16]:
        return np.dtype(np.int16) if self.wide else np.dtype(np.uint8)

    @property
    def largest(self) -> int:
        return WIDEST if self.wide else 2**self.bits - 1

    @property
    def smallest(self) -> int:
        return -WIDEST - 1 if self.wide else 0

    def limits(self) -> tuple[float, float]:
        """The values of the smallest and the largest q."""
        return (self.smallest - self.zero_point) * self.scale, (self.largest - self.zero_point) * self.scale

    def quantised(self, values: Array) -> npt.NDArray[np.uint8] | npt.NDArray[np.int16]:
        """As QuantizeLinear has it: divide in float32, round half to even, add, saturate."""
        with np.errstate(over="ignore"):  # a mask near minus infinity, which saturates
            steps = np.rint(values.astype(np.float32) / np.float32(self.scale))
        q = np.clip(steps, self.smallest - self.zero_point, self.largest - self.zero_point) + self.zero_point
        return q.astype(np.int16) if self.wide else q.astype(np.uint8)


def activation_grid(low: float, high: float, bits: int) -> Grid:
    """The grid over [low, high], widened to hold 0; 16 bits: symmetric around it."""
    low, high = min(low, 0.0), max(high, 0.0)
    if high == low:
        return Grid(scale=1.0, zero_point=0, bits=bits)
    if bits == WIDE:
        scale = float(np.float32(max(max(high, -low) / WIDEST, SMALLEST_SCALE)))
        return Grid(scale=scale, zero_point=0, bits=bits)
    largest = 2**bits - 1
    scale = float(np.float32(max((high - low) / largest, SMALLEST_SCALE)))
    zero_point = int(np.clip(np.rint(-low / scale), 0, largest))
    return Grid(scale=scale, zero_point=zero_point, bits=bits)


def weight_scale(weight: Array, axis: int | None, bits: int, floor: Array | float) -> npt.NDArray[np.float32]:
    """Scale of each slice along `axis`, or of all (`None`): largest magnitude on the largest q; at least `floor`."""
    others = tuple(index for index in range(weight.ndim) if index != axis) if axis is not None else None
    largest = np.abs(weight.astype(np.float64)).max(axis=others, initial=0.0)
    return np.maximum(np.maximum(largest / (2 ** (bits - 1) - 1), floor), SMALLEST_SCALE).astype(np.float32)


def quantised_weight(
    weight: Array, scale: npt.NDArray[np.float32], axis: int | None, bits: int
) -> npt.NDArray[np.int8]:
    """The nearest q of each weight, half to even."""
    bound = 2 ** (bits - 1) - 1
    shape = [1] * weight.ndim
    if axis is not None:
        shape[axis] = -1
    q = np.rint(weight.astype(np.float64) / scale.astype(np.float64).reshape(shape))
    return np.clip(q, -bound, bound).astype(np.int8)


def bias_floor(bias: Array, input_scale: float) -> npt.NDArray[np.float64]:
    """The smallest weight scale per channel with which the bias stays below `LARGEST_BIAS` (dead channels need it)."""
    return np.abs(bias.astype(np.float64)) / (input_scale * LARGEST_BIAS)


def quantised_bias(bias: Array, scale: npt.NDArray[np.float32]) -> npt.NDArray[np.int32]:
    q = np.rint(bias.astype(np.float64) / scale.astype(np.float64))
    assert np.all(np.abs(q) <= 2**30), "the weight scale was chosen too small for its bias"
    return q.astype(np.int32)

"""Rows that a LayerNormalization finds hard, with gains, offsets and scales, and its value in extended precision."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from bitline.ir.kernels import LIMITS, Dtype
from bitline.numerics.norm import NormConstants, layer_norm, norm_constants

Reals = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
WIDTHS: Final[tuple[Dtype, ...]] = ("u8", "s8", "s16")
KINDS: Final = (
    "uniform", "normal", "constant", "one step", "small outlier", "large outlier", "extremes", "ramp", "near epsilon",
)  # fmt: skip
ROWS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Rows `x` [rows, n] of `dtype`, `scale_x` a step; a result of type `result`, `scale_y` a step."""

    x: Ints
    dtype: Dtype
    scale_x: float
    epsilon: float
    gain: Reals
    offset: Reals
    result: Dtype
    scale_y: float
    zero_point: int

    @property
    def constants(self) -> NormConstants | None:
        low, high = LIMITS[self.dtype]
        return norm_constants(
            self.gain, self.offset, self.epsilon, scale_x=self.scale_x, span=high - low, scale_y=self.scale_y
        )

    def integers(self, constants: NormConstants) -> Ints:
        return layer_norm(self.x, constants.table, constants.format, self.zero_point, *LIMITS[self.result])

    def steps(self) -> Reals:
        """What the result would be, unrounded."""
        real = self.normalised() * self.gain + self.offset
        return np.clip(real / self.scale_y + self.zero_point, *LIMITS[self.result]).astype(np.float64)

    def normalised(self) -> npt.NDArray[np.longdouble]:
        n = self.x.shape[-1]
        centred = (n * self.x - self.x.sum(axis=-1, keepdims=True)).astype(np.longdouble) / n
        epsilon = np.longdouble(self.epsilon) / np.longdouble(self.scale_x) ** 2
        variance = (centred**2).mean(axis=-1, keepdims=True) + epsilon
        return centred / np.sqrt(np.where(variance > 0, variance, 1))


def rows_of(
    kind: str, n: int, dtype: Dtype, rng: np.random.Generator, *, scale: float = 1.0, epsilon: float = 0.0
) -> Ints:
    """Four rows of one kind."""
    low, high = LIMITS[dtype]
    base = np.repeat(rng.integers(low, high + 1, (ROWS, 1)), n, axis=1)
    places = np.arange(ROWS), rng.integers(0, n, ROWS)
    match kind:
        case "uniform":
            x = rng.integers(low, high + 1, (ROWS, n))
        case "normal":
            x = np.rint(rng.normal((low + high) / 2, (high - low) / 8, (ROWS, n)))
        case "constant":
            x = base
        case "one step":
            x = base + rng.integers(0, 2, (ROWS, n))
        case "small outlier":
            x = base
            x[places] += rng.choice([-1, 1], ROWS)
        case "large outlier":
            x = base
            x[places] = rng.choice([low, high], ROWS)
        case "extremes":
            x = rng.choice([low, high], (ROWS, n))
        case "ramp":
            x = base + np.arange(n)
        case _:
            deviation = min(max(epsilon**0.5 / scale, 0.3), (high - low) / 4) * rng.uniform(0.05, 3)
            x = np.rint(base + rng.normal(0, deviation, (ROWS, n)))
    return np.clip(x, low, high).astype(np.int64)


def case(kind: str, n: int, dtype: Dtype, result: Dtype, rng: np.random.Generator) -> Case:
    """Ranges of the input from 1e-6 to 10, epsilon from 1e-12 to 1e-2; the output's scale fits these rows or, as a
    calibration on others leaves it, is up to twice too coarse or too fine."""
    low, high = LIMITS[dtype]
    smallest, largest = LIMITS[result]
    epsilon = float(10.0 ** rng.uniform(-12, -2))
    scale_x = float(np.float32(2 * 10.0 ** rng.uniform(-6, 1) / (high - low)))
    x = rows_of(kind, n, dtype, rng, scale=scale_x, epsilon=epsilon)
    gain = rng.uniform(-2, 2, n) * 10.0 ** rng.uniform(-1, 1) if rng.random() < 0.7 else np.ones(n)
    offset = rng.uniform(-1, 1, n) * 10.0 ** rng.uniform(-3, 1) if rng.random() < 0.7 else np.zeros(n)
    zero_point = 0 if result == "s16" else int(rng.integers(smallest, largest + 1))
    found = Case(x=x, dtype=dtype, scale_x=scale_x, epsilon=epsilon, gain=gain, offset=offset, result=result,
                 scale_y=1.0, zero_point=zero_point)  # fmt: skip
    reach = float(np.abs(found.normalised() * gain + offset).max())
    scale_y = float(np.float32(2 * max(reach, 1e-6) * rng.uniform(0.5, 2) / (largest - smallest)))
    return replace(found, scale_y=scale_y)


def every_kind(n: int, dtype: Dtype, result: Dtype, seed: int) -> Iterator[Case]:
    rng = np.random.default_rng(seed)
    for kind in KINDS:
        yield case(kind, n, dtype, result, rng)

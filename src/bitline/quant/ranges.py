"""From calibration samples to the range of every activation: smallest and largest value, or percentiles.

Two runs over the samples: the first finds the extremes, the second counts values in 2048 bins between them. Minus
infinity, which masks hold, counts as the smallest float32.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from bitline.core.diagnostics import Diagnostic, Refusal
from bitline.engines.ort import Session, expose
from bitline.graph.model import Model
from bitline.quant.calibration import batches

BINS: Final = 2048

FAR: Final = -1e4
"""What reaches this or below, in front of a Softmax, masks: its exponential is 0 beside any score."""

LOWEST: Final = float(np.finfo(np.float32).min)

Range = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What one tensor held over all samples. `counts` are of `BINS` equal bins from `low` to `high`.

    `crest` is the smallest maximum of a row along the axis asked for; rows masked from end to end do not count.
    """

    low: float
    high: float
    counts: npt.NDArray[np.int64]
    crest: float | None = None

    def minmax(self) -> Range:
        return self.low, self.high

    def percentile(self, percent: float) -> Range:
        """The range that leaves `100 - percent` percent of the values outside at either end, linear within a bin."""
        total = int(self.counts.sum())
        if total == 0 or self.high <= self.low:
            return self.minmax()
        below = np.concatenate(([0], np.cumsum(self.counts))) / total
        edges = np.linspace(self.low, self.high, BINS + 1)
        tail = 1 - percent / 100
        low = edges[0] if tail == 0 else float(np.interp(tail, below, edges))
        high = edges[-1] if tail == 0 else float(np.interp(1 - tail, below, edges))
        # np.interp takes the last of equal abscissae: an empty stretch at the low end is skipped, as wanted
        return float(low), float(high)


def observe(
    model: Model,
    tensors: Sequence[str],
    feeds: Mapping[str, npt.NDArray[Any]],
    *,
    histogram: bool = True,
    crests: Mapping[str, int] = {},
) -> dict[str, Observation]:
    """Extremes and histogram of each tensor over all samples; its crest where `crests` names an axis for it.

    Raises `Refusal` (BL0105) where values are NaN or become infinite.
    """
    tensors = list(dict.fromkeys((*tensors, *crests)))
    inputs = [value.name for value in model.inputs]
    inner = [name for name in tensors if name not in inputs]
    session = Session(expose(model.proto, inner), optimise=False, place=model.place())
    lows = dict.fromkeys(tensors, np.inf)
    highs = dict.fromkeys(tensors, -np.inf)
    least = dict.fromkeys(crests, np.inf)
    for batch in batches(feeds, model):
        values = batch | session.run(batch, inner)
        for name in tensors:
            held = values[name] if values[name].size else np.zeros(1, np.float32)
            lows[name] = float(np.minimum(lows[name], np.maximum(held.min(), LOWEST)))  # unlike min(), hands NaN on
            highs[name] = float(np.maximum(highs[name], np.maximum(held.max(), LOWEST)))
        for name, axis in crests.items():
            tops = values[name].max(axis=axis)
            least[name] = float(np.min(tops[tops > FAR], initial=least[name]))
    _check_finite(model, lows, highs)
    counts = {name: np.zeros(BINS, np.int64) for name in tensors}
    if histogram:
        for batch in batches(feeds, model):
            values = batch | session.run(batch, inner)
            for name in tensors:
                counts[name] += _histogram(values[name], lows[name], highs[name])
    return {
        name: Observation(
            low=lows[name],
            high=highs[name],
            counts=counts[name],
            crest=least[name] if np.isfinite(least.get(name, np.inf)) else None,
        )
        for name in tensors
    }


def _histogram(values: npt.NDArray[Any], low: float, high: float) -> npt.NDArray[np.int64]:
    if high <= low:
        return np.zeros(BINS, np.int64)
    finite = np.maximum(values.ravel().astype(np.float64), low)
    bins = ((finite - low) * (BINS / (high - low))).astype(np.int64)
    return np.bincount(np.minimum(bins, BINS - 1), minlength=BINS).astype(np.int64)


def _check_finite(model: Model, lows: Mapping[str, float], highs: Mapping[str, float]) -> None:
    found = [
        Diagnostic(
            code="BL0105",
            message=f"tensor {name!r} becomes NaN or infinite on the calibration data",
            place=model.place(),
            help="check the preprocessing of the data, and the model in float",
        )
        for name in lows
        if not np.isfinite(lows[name]) or not np.isfinite(highs[name])
    ]
    if found:
        raise Refusal(found)

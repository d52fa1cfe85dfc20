"""The search for fewer bins, in slices of time: a bin is opened, its pieces are squeezed into the others, and again."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from bitline.core.interrupts import uninterrupted

Ints = npt.NDArray[np.int64]

SLICE_SECONDS: Final = 0.02
FIRST_STEPS: Final = 16  # of a slice, before its speed is known
STAY: Final = 2**63


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """State after a slice: the best positions [piece, (bin, row, col)], their bins, steps done so far."""

    positions: Ints
    bins: int
    steps: int


def fewer(
    sizes: Ints, rows: int, cols: int, positions: Ints, *, floor: int, seed: int, steps: int | None = None
) -> Iterator[Slice]:
    """Better and better packings, starting from `positions`; ends at `floor` bins or after `steps`.

    What is found after a number of steps does not depend on where the slices end.
    """
    from bitline.pack.squeeze import SEED, WEIGHT, squeeze

    state = np.array([SEED * (2 * seed + 1) % STAY, 0], dtype=np.int64)
    best, bins = positions, int(positions[:, 0].max(initial=-1)) + 1
    areas = sizes[:, 0] * sizes[:, 1]
    done, size = 0, FIRST_STEPS
    while bins > floor:
        current = _opened(best, areas, bins)
        weights = np.full(len(sizes), WEIGHT, dtype=np.int64)
        ranks = np.empty(len(sizes), dtype=np.int64)
        ranks[np.argsort(-areas, kind="stable")] = np.arange(len(sizes))
        rules = np.zeros(bins, dtype=np.int64)
        left = 1
        while left:
            now = size if steps is None else min(size, steps - done)
            if now <= 0:
                return
            started = time.perf_counter()
            with uninterrupted():
                left = squeeze(sizes, rows, cols, bins - 1, current, weights, ranks, rules, state, now)
            spent = time.perf_counter() - started
            done += now
            size = max(FIRST_STEPS, min(4 * size, int(now * SLICE_SECONDS / max(spent, 1e-6))))
            if not left:
                best, bins = current, bins - 1
            yield Slice(positions=best, bins=bins, steps=done)


def _opened(positions: Ints, areas: Ints, bins: int) -> Ints:
    """Without the emptiest bin: its pieces are in bin -1, the last bin has its number."""
    number = positions[:, 0]
    emptiest = int(np.bincount(number, weights=areas, minlength=bins).argmin())
    opened = positions.copy()
    opened[number == bins - 1, 0] = emptiest
    opened[number == emptiest, 0] = -1
    return opened

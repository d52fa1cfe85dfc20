"""Calls the compiled search of `cutting` for one number of bins after another."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import numpy as np

from bitline.core.interrupts import uninterrupted
from bitline.pack.cutting_decode import BANDS, COLS, ROWS, STEP, TILED_COLS, TILED_ROWS
from bitline.pack.cutting_search import (
    BEST_COST,
    BEST_FOUND,
    BEST_UNPLACED,
    COST,
    EVEN,
    STEPS,
    UNPLACED,
    search_cuts,
)
from bitline.pack.layout import States
from bitline.pack.layout_bounds import regions
from bitline.pack.layout_random import random_state
from bitline.pack.maxrects import Ints
from bitline.pack.shapes import Bin

CHUNK: Final = 20_000
"""Parts times search steps of one call of compiled code: well under a second."""
FREE_ROOM: Final = 48
"""Free rectangles that are kept of a bin that starts with few; more than a few are rare."""
NEVER: Final = 1 << 60


def fewest_bins(
    table: Ints,
    bin: Bin,
    states: States,
    prices: tuple[int, int],
    limits: tuple[int, int | None],
    steps: int,
    until: float | None,
    stop: Callable[[], bool],
    seed: int,
) -> tuple[Ints, int] | None:
    """(parts as in `cutting_decode`, steps) of the cheapest cutting into the fewest bins that the search reaches, from
    `limits[0]` on and up to `limits[1]`; None where there is none. Bins start as `states` say.

    Every number of bins gets `steps` steps, and where these fail as many that leave no slivers; of the time until
    `until`, half of what is left; and a few steps only where the time is over or `stop` says so.
    """
    down, across, goal = _fewest_parts(table, bin, prices)
    most_parts = 8 * int((down * across).sum()) + 64
    enough = most_parts + len(states.free_at) if limits[1] is None else limits[1]
    bins, done = max(1, limits[0]), 0
    while bins <= enough:
        now = time.monotonic()
        over = _over(until if until is None or bins == enough else now + (until - now) / 2, stop)
        unplaced = NEVER
        for fussy in (False, True):
            found, left, taken = _search(
                table, states, bins, (*prices, goal), most_parts, steps, over, seed, fussy=fussy
            )
            done += taken
            unplaced = min(unplaced, left)
            if found is not None:
                return found, done
        if bins == enough:
            return None
        bins = min(enough, bins + max(1, unplaced // bin.area))
    return None


def _over(until: float | None, stop: Callable[[], bool]) -> Callable[[], bool]:
    """Whether a search is to end now."""
    return lambda: stop() or (until is not None and time.monotonic() > until)


def _fewest_parts(table: Ints, bin: Bin, prices: tuple[int, int]) -> tuple[Ints, Ints, int]:
    """Of every matrix: parts above one another, parts side by side, at least; what all of these but tiles cost.

    The cells at rows i * high and columns j * wide lie in a part each, those with i > 0 in a part below row 0.
    """
    shapes = regions(bin)
    high = max(rows for rows, _ in shapes) // table[:, STEP] * table[:, STEP]
    wide = max(cols for _, cols in shapes)
    down, across = -(-table[:, ROWS] // np.maximum(high, 1)), -(-table[:, COLS] // wide)
    down = np.where(high == 0, 1, down)
    tile_rows, tile_cols = table[:, TILED_ROWS] // np.maximum(high, 1), table[:, TILED_COLS] // wide
    tiles = tile_rows * tile_cols
    first = across - np.where(tiles > 0, tile_cols, 0)
    further = down * across - tiles - first
    return down, across, int((first * prices[1] + further * prices[0]).sum())


def _search(
    table: Ints,
    states: States,
    bins: int,
    prices: tuple[int, int, int],
    most_parts: int,
    steps: int,
    over: Callable[[], bool],
    seed: int,
    *,
    fussy: bool,
) -> tuple[Ints | None, int, int]:
    """(parts or None, cells without a place, steps) for this number of bins. `prices`: of a part below row 0, of any
    other, and of a cutting that cannot be cheaper."""
    count = len(table)
    genes = np.zeros((count + 1, 3), dtype=np.int64)
    genes[:count, 0], genes[count, 2] = EVEN, 1
    best_genes = genes.copy()
    state = np.zeros(8, dtype=np.int64)
    state[[UNPLACED, COST, BEST_UNPLACED, BEST_COST]] = NEVER
    random = random_state(seed)
    room = max(FREE_ROOM, 2 * int(np.diff(states.free_at).max()))
    cols, marks = int(states.masks[-1, 0]), int(np.diff(states.masks_at).max())
    marks = cols + 3 if (table[:, BANDS] > 0).any() else marks  # one for every column, both ends, and two to come
    scratch = (
        np.zeros((bins, room, 4), dtype=np.int64),
        np.zeros(bins, dtype=np.int64),
        np.zeros((bins * marks, 2), dtype=np.int64),
        np.zeros(bins, dtype=np.int64),
        np.zeros((most_parts + count + 4, 7), dtype=np.int64),
        np.arange(most_parts + count + 4),
        np.zeros((most_parts, 9), dtype=np.int64),
    )
    best = np.zeros((most_parts, 9), dtype=np.int64)
    price, goal = np.array(prices[:2], dtype=np.int64), prices[2]
    starts = states.free_at, states.free, states.masks_at, states.masks
    chunk = max(1, CHUNK // most_parts)
    done = 0
    while done < steps:
        now = min(chunk, steps - done)
        with uninterrupted():
            search_cuts(
                *(table, genes, best_genes, bins, states.bands, *starts, price, goal, int(fussy), now),
                *(random, state, *scratch, best),
            )
        done = int(state[STEPS])
        if (state[BEST_UNPLACED] == 0 and state[BEST_COST] <= goal) or over():
            break
    unplaced = int(state[BEST_UNPLACED])
    return (best[: state[BEST_FOUND]].copy() if unplaced == 0 else None), unplaced, done

"""Load-aware packing: into a given number of bins, so that no bin has much more load than another.

    spread([Piece(rows=1, cols=4, load=5), Piece(rows=1, cols=4, load=5), Piece(rows=3, cols=4, load=1)],
           rows=4, cols=4, bins=2)
    -->  the two of load 5 in different bins

An array fires its blocks one after another, so the largest load of a bin is the interval of a pipeline. A placement
under a limit of load is searched (`spread_decode`), the limit then lowered, half way to the largest that failed, down
to `spread_bounds.load_bound`; at the end the sum of squared loads is made smaller. Equal input gives equal placements,
unless `seconds` end the search.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from bitline.core.interrupts import uninterrupted
from bitline.pack.shapes import Piece, Spot
from bitline.pack.spread_bounds import load_bound

Ints = npt.NDArray[np.int64]

CHUNK: Final = 20_000
"""Pieces times search steps of one call of compiled code: well under a second."""
FREE_ROOM: Final = 48
NEVER: Final = 1 << 60
ROUNDS: Final = 12
"""Limits of load that share the steps."""


@dataclass(slots=True, kw_only=True)
class _Search:
    """The pieces that do not fill a bin, the best placement so far and what the search goes on from."""

    pieces: Ints
    shape: tuple[int, int]
    bins: int
    random: Ints
    genes: Ints
    until: float | None
    steps_left: int
    best: Ints | None = field(default=None)
    best_genes: Ints
    best_load: int


def spread(
    pieces: Sequence[Piece],
    *,
    rows: int,
    cols: int,
    bins: int,
    steps: int = 20_000,
    seed: int = 0,
    seconds: float | None = None,
) -> tuple[Spot, ...] | None:
    """A spot for every piece in bins 0..bins-1, with the smallest largest load that the search finds; None if it finds
    no placement at all, which proves nothing. No piece may exceed a bin."""
    from bitline.pack.layout_random import random_state

    full = [i for i, p in enumerate(pieces) if (p.rows, p.cols) == (rows, cols)]
    rest = [i for i, p in enumerate(pieces) if (p.rows, p.cols) != (rows, cols)]
    left = bins - len(full)
    if left < 0 or (rest and left == 0):
        return None
    assert all(0 < p.rows <= rows and 0 < p.cols <= cols for p in pieces), "cut first"
    spots = [Spot(bin=left + full.index(i) if i in full else 0, row=0, col=0) for i in range(len(pieces))]
    if rest:
        table = np.array([(pieces[i].rows, pieces[i].cols, pieces[i].load) for i in rest], dtype=np.int64)
        genes = np.zeros((len(rest) + 1, 2), dtype=np.int64)
        search = _Search(
            pieces=table,
            shape=(rows, cols),
            bins=left,
            random=random_state(seed),
            genes=genes,
            until=None if seconds is None else time.monotonic() + seconds,
            steps_left=steps,
            best_genes=genes,
            best_load=max(1, int(table[:, 2].sum())),
        )
        floor = load_bound([pieces[i] for i in rest], rows=rows, cols=cols, bins=left)[0]
        positions = _lowered(search, max(1, floor), steps)
        if positions is None:
            return None
        for i, (b, row, col) in zip(rest, positions.tolist(), strict=True):
            spots[i] = Spot(bin=b, row=row, col=col)
    return tuple(spots)


def _lowered(search: _Search, floor: int, steps: int) -> Ints | None:
    """[piece, (bin, row, col)] under the lowest limit found."""
    _run(search, search.best_load, steps, only_fit=True)
    if search.best is None:
        return None
    failed = floor - 1
    while search.steps_left > steps // 4 and search.best_load > floor:
        limit = floor if failed < floor else (failed + search.best_load) // 2
        if limit in (failed, search.best_load):
            failed = floor - 1  # again from the floor, with further random numbers
            continue
        if not _run(search, limit, max(1, steps // ROUNDS), only_fit=True):
            failed = limit
    _run(search, search.best_load, search.steps_left, only_fit=False)
    return search.best


def _run(search: _Search, limit: int, steps: int, *, only_fit: bool) -> bool:
    """Search under this limit, from the best genes; whether a placement was found. The last is kept."""
    from bitline.pack.spread_decode import (
        BEST_UNPLACED,
        CHOICES,
        EVEN,
        MEASURES,
        RULES,
        UNPLACED,
        search_spread,
    )

    count, bins = len(search.pieces), search.bins
    genes = search.best_genes.copy()
    if not genes.any():
        genes[:count, 0], genes[:count, 1] = EVEN, 1
    best_genes = genes.copy()
    state, squares = np.zeros(6, dtype=np.int64), np.full(2, np.inf)
    state[[UNPLACED, BEST_UNPLACED]] = NEVER
    scratch = (
        np.zeros(count, dtype=np.int64),
        np.zeros((bins, FREE_ROOM, 4), dtype=np.int64),
        np.zeros(bins, dtype=np.int64),
        np.zeros((bins, 2), dtype=np.int64),
        np.zeros(bins, dtype=np.int64),
        np.zeros((count, 3), dtype=np.int64),
    )
    best = np.zeros((count, 3), dtype=np.int64)
    starts = CHOICES * MEASURES * RULES if only_fit else 0
    done = 0
    while done < max(1, min(steps, search.steps_left)):
        now = min(max(1, CHUNK // count), steps - done)
        with uninterrupted():
            search_spread(
                *(search.pieces, genes, best_genes, bins, *search.shape, limit, int(only_fit), starts, now),
                *(search.random, state, squares, *scratch, best),
            )
        done += now
        if search.until is not None and time.monotonic() > search.until:
            search.steps_left = 0
            break
        if only_fit and state[BEST_UNPLACED] == 0:
            break
    search.steps_left = max(0, search.steps_left - done)
    if state[BEST_UNPLACED]:
        return False
    loads = np.bincount(best[:, 0], weights=search.pieces[:, 2], minlength=bins)
    search.best, search.best_genes, search.best_load = best, best_genes, max(1, int(loads.max()))
    return True

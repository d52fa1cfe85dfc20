"""Calls the compiled search of `spread`: under one limit of load after another, then for a few bins at a time."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

import numpy as np

from bitline.core.interrupts import uninterrupted
from bitline.pack.layout_random import draw, random_state
from bitline.pack.maxrects import Ints
from bitline.pack.spread_decode import (
    BEST_UNPLACED,
    CHOICES,
    EVEN,
    MEASURES,
    RULES,
    STEPS,
    UNPLACED,
    search_spread,
)
from bitline.pack.spread_swap import relieve

CHUNK: Final = 20_000
"""Pieces times search steps of one call of compiled code: well under a second."""
FREE_ROOM: Final = 48
"""Free rectangles that are kept of a bin that starts with few; more than a few are rare."""
NEVER: Final = 1 << 60
STARTS: Final = CHOICES * MEASURES * RULES
"""Steps that begin a search: all even genes."""
ROUNDS: Final = 10
"""Limits of load that share half of the steps."""
FEW: Final = 5
"""Bins, at most, that are filled anew at once."""
RELIEFS: Final = 100
"""Moves of one call of compiled code."""


Shape = tuple[int, int, Ints]
"""(rows, cols, maximal free rectangles [n, 4]) of an empty bin."""


@dataclass(slots=True, kw_only=True)
class _Budget:
    """Search steps and time left, and the random numbers."""

    steps: int
    until: float | None
    random: Ints

    @property
    def spent(self) -> bool:
        return self.steps <= 0 or (self.until is not None and time.monotonic() > self.until)


def lowered(
    pieces: Ints,
    shape: Shape,
    bins: int,
    floor: int,
    start: Ints | None,
    steps: int,
    seed: int,
    until: float | None,
) -> Ints | None:
    """[piece, (bin, row, col)] with the smallest largest load found, `floor` at best; None where no placement is found
    and none was given. `pieces[p]` is (rows, cols, load)."""
    budget = _Budget(steps=steps, until=until, random=random_state(seed))
    genes = np.zeros((len(pieces) + 1, 2), dtype=np.int64)
    genes[:-1, 0], genes[:-1, 1] = EVEN, 1
    enough = steps if start is None else steps // ROUNDS
    best, genes = _run(pieces, shape, bins, NEVER, genes, budget, enough)
    packed = best is not None
    if start is not None and (best is None or _worth(pieces, start, bins) < _worth(pieces, best, bins)):
        best = start
    if best is None:
        return None
    failed, reached = floor - 1, _busiest(pieces, best, bins)
    while packed and not budget.spent and budget.steps > steps // 2 and reached > floor:
        limit = floor if failed < floor else (failed + reached) // 2
        if limit == failed:
            failed = floor - 1  # again from the floor, with further random numbers
            continue
        starts = STARTS if limit == floor else 0
        found, better = _run(pieces, shape, bins, limit, genes, budget, -(-steps // ROUNDS), starts=starts)
        if found is None:
            failed = limit
        else:
            best, genes, reached = found, better, _busiest(pieces, found, bins)
    budget.steps -= (kept := budget.steps // 3)
    best = _even_out(pieces, shape, bins, floor, best, budget)
    budget.steps += kept
    limit = max(floor, _busiest(pieces, best, bins))
    found, _ = _run(pieces, shape, bins, limit, genes, budget, budget.steps, starts=0, only_fit=False)
    return best if found is None or _worth(pieces, best, bins) <= _worth(pieces, found, bins) else found


def _even_out(pieces: Ints, shape: Shape, bins: int, floor: int, best: Ints, budget: _Budget) -> Ints:
    """Fill the busiest bin anew, together with a few others, the least busy most often, so that all stay below it."""
    best = np.ascontiguousarray(best).copy()
    while not budget.spent and bins > 1:
        with uninterrupted():
            budget.steps -= 1 + relieve(pieces, best, bins, shape[2], floor, RELIEFS)
        loads = np.bincount(best[:, 0], weights=pieces[:, 2], minlength=bins).astype(np.int64)
        busiest, reached = int(loads.argmax()), int(loads.max())
        if reached <= floor:
            break
        others = np.argsort(loads, kind="stable")
        others = others[others != busiest]
        count = min(len(others), 1 + draw(budget.random, FEW - 1))
        among = len(others) if draw(budget.random, 2) else max(count, len(others) // 4)
        chosen = {int(others[draw(budget.random, among)]) for _ in range(count)}
        group = np.array([busiest, *sorted(chosen)])
        inside = np.flatnonzero(np.isin(best[:, 0], group))
        genes = np.zeros((len(inside) + 1, 2), dtype=np.int64)
        genes[:-1, 0], genes[:-1, 1] = EVEN, 1
        part = np.ascontiguousarray(pieces[inside])
        found, _ = _run(part, shape, len(group), reached - 1, genes, budget, 2 * STARTS)
        if found is not None:
            found[:, 0] = group[found[:, 0]]
            best[inside] = found
    return best


def _run(
    pieces: Ints,
    shape: Shape,
    bins: int,
    limit: int,
    genes: Ints,
    budget: _Budget,
    steps: int,
    *,
    starts: int = STARTS,
    only_fit: bool = True,
) -> tuple[Ints | None, Ints]:
    """(positions or None, genes of the best): search under this limit, from `genes`; at least one step."""
    count = len(pieces)
    genes = genes.copy()
    best_genes = genes.copy()
    limit = max(1, min(limit, int(pieces[:, 2].sum())))
    state, squares = np.zeros(6, dtype=np.int64), np.full(2, np.inf)
    state[[UNPLACED, BEST_UNPLACED]] = NEVER
    scratch = (
        np.zeros(count, dtype=np.int64),
        np.zeros((bins, max(FREE_ROOM, 2 * len(shape[2])), 4), dtype=np.int64),
        np.zeros(bins, dtype=np.int64),
        np.zeros((bins, 2), dtype=np.int64),
        np.zeros(bins, dtype=np.int64),
        np.zeros((count, 3), dtype=np.int64),
    )
    best = np.zeros((count, 3), dtype=np.int64)
    total, done = max(1, min(steps, budget.steps)), 0
    while done < total and (done == 0 or not budget.spent):
        now = min(max(1, CHUNK // count), total - done)
        with uninterrupted():
            search_spread(
                *(pieces, genes, best_genes, bins, *shape, limit, int(only_fit), starts, now),
                *(budget.random, state, squares, *scratch, best),
            )
        budget.steps -= int(state[STEPS]) - done
        done = int(state[STEPS])
        if only_fit and state[BEST_UNPLACED] == 0:
            break
    return (best if state[BEST_UNPLACED] == 0 else None), best_genes


def _busiest(pieces: Ints, positions: Ints, bins: int) -> int:
    return _worth(pieces, positions, bins)[0]


def _worth(pieces: Ints, positions: Ints, bins: int) -> tuple[int, int]:
    """(largest load of a bin, sum of squared loads)"""
    loads = np.zeros(bins, dtype=np.int64)
    np.add.at(loads, positions[:, 0], pieces[:, 2])
    return int(loads.max()), int((loads**2).sum())

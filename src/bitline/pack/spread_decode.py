"""The compiled heart of `spread`: pieces into a given number of bins, no bin above a given load.

All bins are open at once. The largest piece goes first, into a free rectangle of a bin that may still take its load;
what "largest" means and which bin is taken is in the genes: per piece a weight and whether it prefers the least loaded
bin to the snuggest rectangle; for all, a measure and a placing rule. The search changes a few genes at a time and keeps
what leaves no more cells and load without a place, then what has no larger sum of squared loads.
"""

# pyright: reportUnknownParameterType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bitline.pack.layout_decode import cut_free, score_place
from bitline.pack.layout_random import draw
from bitline.pack.maxrects import Ints, compiled

Floats = npt.NDArray[np.float64]

EVEN = 256
"""Weight of a piece before the search changes it."""
MEASURES, RULES, CHOICES = 9, 5, 4
UNPLACED, SQUARES, BEST_UNPLACED, BEST_SQUARES, IDLE, STEPS = range(6)
"""Of the array `state`: what the search stands at, the best, steps without a better one, steps."""
RESTART = 500


@compiled
def keys_of(pieces: Ints, genes: Ints, rows: int, cols: int, limit: int, keys: Ints) -> None:
    """How large every piece is, negative: its share of a bin's cells, sides or load, times its weight."""
    count = len(pieces)
    measure = genes[count, 0]
    for p in range(count):
        area = 100000 * pieces[p, 0] * pieces[p, 1] // (rows * cols)
        load = 100000 * pieces[p, 2] // limit
        high, wide = 100000 * pieces[p, 0] // rows, 100000 * pieces[p, 1] // cols
        if measure == 0:
            key = area + load
        elif measure == 1:
            key = max(area, load)
        elif measure == 2:
            key = area + load // 4
        elif measure == 3:
            key = area
        elif measure == 4:
            key = max(high, wide)
        elif measure == 5:
            key = high
        elif measure == 6:
            key = wide
        elif measure == 7:
            key = min(high, wide)
        else:
            key = load
        keys[p] = -(key + 1) * genes[p, 0]


@compiled
def _choice(kind: int, b: int, load: int) -> int:
    """What counts first in the choice of a bin: nothing, its load, the opposite, or its number."""
    if kind == 1:
        return load
    if kind == 2:
        return -load
    return b if kind == 3 else 0


@compiled
def decode(
    pieces: Ints,
    genes: Ints,
    bins: int,
    rows: int,
    cols: int,
    opening: Ints,
    limit: int,
    most: int,
    keys: Ints,
    free: Ints,
    free_count: Ints,
    largest: Ints,
    loads: Ints,
    positions: Ints,
) -> tuple[int, float]:
    """(what found no place, sum of squared loads); what found none is in cells, and in loads as the share of `limit`
    that they are times the cells of a bin. It stops above `most`.

    `pieces[p]` is (rows, cols, load); `positions[p]` becomes (bin, row, col). `opening` [n, 4]: the maximal free
    rectangles of an empty bin. `free` [bins, room, 4], `free_count`,
    `largest` [bins, 2] (most rows and columns of a free rectangle) and `keys` are scratch.
    """
    count = len(pieces)
    rule = genes[count, 1]
    cells = rows * cols
    keys_of(pieces, genes, rows, cols, limit, keys)
    order = np.argsort(keys, kind="mergesort")
    room = free.shape[1]
    scratch = np.empty((6 * room, 4), np.int64)
    opened, ready = 0, 0
    unplaced = 0
    loads[:bins] = 0
    for p in order:
        height, width, load = pieces[p, 0], pieces[p, 1], pieces[p, 2]
        seen = min(opened + 1, bins)  # one empty bin stands for all
        if ready < seen:
            free_count[ready] = len(opening)
            tallest, widest = 0, 0
            for f in range(len(opening)):
                for side in range(4):
                    free[ready, f, side] = opening[f, side]
                tallest, widest = (
                    max(tallest, opening[f, 2] - opening[f, 0]),
                    max(widest, opening[f, 3] - opening[f, 1]),
                )
            largest[ready, 0], largest[ready, 1] = tallest, widest
            ready += 1
        chosen, at = -1, 0
        best, second, third = 0, 0, 0
        for b in range(seen):
            if loads[b] + load > limit or height > largest[b, 0] or width > largest[b, 1]:
                continue
            first = _choice(genes[p, 1], b, loads[b])
            if chosen >= 0 and first > best:
                continue
            for f in range(free_count[b]):
                slack_rows = free[b, f, 2] - free[b, f, 0] - height
                slack_cols = free[b, f, 3] - free[b, f, 1] - width
                if slack_rows < 0 or slack_cols < 0:
                    continue
                score, other = score_place(free[b, f, 0], free[b, f, 1], slack_rows, slack_cols, height, width, 0, rule)
                if (
                    chosen < 0
                    or first < best
                    or (first == best and (score < second or (score == second and other < third)))
                ):
                    chosen, at = b, f
                    best, second, third = first, score, other
        if chosen < 0:
            unplaced += height * width + cells * load // limit
            if unplaced > most:
                return unplaced, 0.0
            positions[p, 0] = -1
            continue
        row, col = free[chosen, at, 0], free[chosen, at, 1]
        positions[p, 0], positions[p, 1], positions[p, 2] = chosen, row, col
        loads[chosen] += load
        number = free_count[chosen]
        for f in range(number):
            for side in range(4):
                scratch[f, side] = free[chosen, f, side]
        number = min(room, cut_free(scratch, number, row, col, row + height, col + width, 1, 1))
        free_count[chosen] = number
        tallest, widest = 0, 0
        for f in range(number):
            for side in range(4):
                free[chosen, f, side] = scratch[f, side]
            tallest, widest = max(tallest, scratch[f, 2] - scratch[f, 0]), max(widest, scratch[f, 3] - scratch[f, 1])
        largest[chosen, 0], largest[chosen, 1] = tallest, widest
        if chosen == opened:
            opened += 1
    squares = 0.0
    for b in range(bins):
        squares += float(loads[b]) * float(loads[b])
    return unplaced, squares


@compiled
def search_spread(
    pieces: Ints,
    genes: Ints,
    best_genes: Ints,
    bins: int,
    rows: int,
    cols: int,
    opening: Ints,
    limit: int,
    only_fit: int,
    starts: int,
    steps: int,
    random: Ints,
    state: Ints,
    squares: Floats,
    keys: Ints,
    free: Ints,
    free_count: Ints,
    largest: Ints,
    loads: Ints,
    positions: Ints,
    best: Ints,
) -> None:
    """So many steps, the first `starts` of which are the even genes; `best`: positions of the best.

    With `only_fit` it ends where every piece has a place.
    """
    count = len(pieces)
    tried = genes.copy()
    for _ in range(steps):
        if only_fit and state[BEST_UNPLACED] == 0:
            return
        tried[:] = genes
        turn = state[STEPS]
        first = turn == 0
        starting = turn < starts
        kicked = starting or state[IDLE] >= RESTART
        if starting and not first:
            tried[:count, 0], tried[:count, 1] = EVEN, turn % CHOICES
            tried[count, 0] = turn // CHOICES % MEASURES
            tried[count, 1] = turn // (CHOICES * MEASURES) % RULES
        elif first:
            pass
        elif kicked:
            tried[:] = best_genes
            _mutate(tried, random, 2 + draw(random, max(3, count // 3)))
        else:
            _mutate(tried, random, 1 + draw(random, 3))
        state[STEPS] += 1
        state[IDLE] = 0 if kicked else state[IDLE] + 1
        most = bins * 4294967296 if kicked or first else state[UNPLACED]
        unplaced, value = decode(
            pieces, tried, bins, rows, cols, opening, limit, most, keys, free, free_count, largest, loads, positions
        )
        if unplaced > most:
            continue
        better = unplaced < state[UNPLACED] or (unplaced == state[UNPLACED] and value < squares[0])
        if not (first or kicked or better or (unplaced == state[UNPLACED] and value == squares[0])):
            continue
        genes[:] = tried
        state[UNPLACED], squares[0] = unplaced, value
        if first or unplaced < state[BEST_UNPLACED] or (unplaced == state[BEST_UNPLACED] and value < squares[1]):
            state[BEST_UNPLACED], squares[1] = unplaced, value
            state[IDLE] = 0
            best[:] = positions
            best_genes[:] = tried
        elif better and not starting:
            state[IDLE] = 0


@compiled
def _mutate(genes: Ints, random: Ints, times: int) -> None:
    last = len(genes) - 1
    for _ in range(times):
        p = draw(random, last)
        kind = draw(random, 16)
        if kind < 10:
            genes[p, 0] = 32 + draw(random, 1024)
        elif kind < 14:
            genes[p, 1] = draw(random, CHOICES)
        elif kind == 14:
            genes[last, 0] = draw(random, MEASURES)
        else:
            genes[last, 1] = draw(random, RULES)

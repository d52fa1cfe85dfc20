"""Local search over the genes of `cutting_decode`: one or a few of them changed, the decoded cutting kept if no worse.

A cutting is better where fewer cells found no place, then where its cuts cost less. The random numbers are a fixed
sequence, and all state is in arrays, so that the search may be called piece by piece.
"""

# pyright: reportUnknownParameterType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from bitline.pack.cutting_decode import (
    MEASURES,
    NO_SLIVERS,
    ORIENT,
    PREFER,
    PREFERENCES,
    ROW_OFFSET,
    RULES,
    SLACKS,
    WEIGHT,
    decode,
)
from bitline.pack.layout_random import draw
from bitline.pack.maxrects import Ints, compiled

UNPLACED, COST, FOUND, BEST_UNPLACED, BEST_COST, BEST_FOUND, IDLE, STEPS = range(8)
"""Of the array `state`: the cutting that the search stands at, the best one, steps without a better one, steps."""
EVEN = 256
"""Weight of a matrix before the search changes it."""
RESTART = 400
STARTS = 20
"""Steps that begin a search, for every even preference but `NO_SLIVERS`, or for that: every rule with even weights."""


@compiled
def search_cuts(
    wholes: Ints,
    genes: Ints,
    best_genes: Ints,
    bins: int,
    bands: int,
    free_at: Ints,
    free_start: Ints,
    masks_at: Ints,
    masks_start: Ints,
    prices: Ints,
    goal: int,
    fussy: int,
    steps: int,
    random: Ints,
    state: Ints,
    free: Ints,
    free_count: Ints,
    stretches: Ints,
    stretch_count: Ints,
    waiting: Ints,
    heap: Ints,
    parts: Ints,
    best: Ints,
) -> None:
    """So many steps, ending where all cells have a place at a cost of `goal` or less.

    `fussy`: begin with all matrices that prefer `NO_SLIVERS`, which fills bins to the last cell and cuts very often.
    `prices`: of a part below the first rows of its matrix, and of any other. `best` are the parts of the best cutting.
    """
    count = len(wholes)
    starts = STARTS if fussy else NO_SLIVERS * STARTS
    tried = genes.copy()
    for _ in range(steps):
        if state[BEST_UNPLACED] == 0 and state[BEST_COST] <= goal:
            return
        tried[:] = genes
        turn = state[STEPS]
        first, starting = turn == 0, turn < starts
        kicked = starting or state[IDLE] >= RESTART
        if starting:
            _start(tried, turn, fussy)
        elif kicked or turn == starts:
            tried[:] = best_genes
            _mutate(tried, random, 2 + draw(random, max(3, count // 2)))
        else:
            _mutate(tried, random, 1 + draw(random, 3))
        state[STEPS] += 1
        state[IDLE] = 0 if kicked else state[IDLE] + 1
        most = bins * 4294967296 if kicked or first else state[UNPLACED]
        unplaced, found = decode(
            wholes,
            tried,
            bins,
            bands,
            free_at,
            free_start,
            masks_at,
            masks_start,
            most,
            free,
            free_count,
            stretches,
            stretch_count,
            waiting,
            heap,
            parts,
        )
        if unplaced > most:
            continue
        cost = 0
        for p in range(found):
            cost += prices[0] if parts[p, ROW_OFFSET] > 0 else prices[1]
        better = unplaced < state[UNPLACED] or (unplaced == state[UNPLACED] and cost < state[COST])
        if not (first or kicked or better or (unplaced == state[UNPLACED] and cost == state[COST])):
            continue
        genes[:] = tried
        state[UNPLACED], state[COST], state[FOUND] = unplaced, cost, found
        if first or unplaced < state[BEST_UNPLACED] or (unplaced == state[BEST_UNPLACED] and cost < state[BEST_COST]):
            state[BEST_UNPLACED], state[BEST_COST], state[BEST_FOUND] = unplaced, cost, found
            state[IDLE] = 0
            best[:found] = parts[:found]
            best_genes[:] = tried
        elif better:
            state[IDLE] = 0


@compiled
def _start(genes: Ints, turn: int, fussy: int) -> None:
    last = len(genes) - 1
    genes[:last, WEIGHT], genes[:last, ORIENT] = EVEN, 0
    genes[:last, PREFER] = NO_SLIVERS if fussy else turn // STARTS
    genes[last, 0], genes[last, 1], genes[last, 2] = turn % 2, turn // 4 % RULES, 1 - turn // 2 % 2


@compiled
def _mutate(genes: Ints, random: Ints, times: int) -> None:
    last = len(genes) - 1
    for _ in range(times):
        w = draw(random, last)
        kind = draw(random, 16)
        if kind < 5:
            genes[w, WEIGHT] = 32 + draw(random, 1024)
        elif kind < 10:
            genes[w, WEIGHT] = max(8, genes[w, WEIGHT] * (85 + draw(random, 33)) // 100)
        elif kind < 12:
            genes[w, ORIENT] = 1 - genes[w, ORIENT]
        elif kind < 14:
            prefer = draw(random, PREFERENCES)
            end = w + (1 + draw(random, 1 + last // 8) if draw(random, 4) == 0 else 1)
            genes[w : min(last, end), PREFER] = prefer
        elif kind == 14:
            genes[last, 0] = draw(random, MEASURES)
        elif draw(random, 2):
            genes[last, 1] = draw(random, RULES)
        else:
            genes[last, 2] = draw(random, SLACKS)

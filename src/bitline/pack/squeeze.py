"""One bin fewer: the pieces of a bin are left over, and some bins at a time are packed anew until none is left over.

A step takes up to four bins apart, puts their pieces and those left over in an order, fills the bins again and keeps
the result where what is left over costs no more: cells times a weight, which rises for pieces that are left over long
(breakout, Morris 1993). The order is either fresh, by a noisy notion of large, or the kept one with a few pieces moved;
each bin has a skyline rule of its own. The random numbers are a fixed sequence, so that as many steps give the same
packing.

Skylines alone: with maximal free rectangles for two of five bins, or only now and then, the dense public instances take
two to six times as long, and the others no less.
"""

# pyright: reportUnknownParameterType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from typing import Final

import numpy as np

from bitline.pack.maxrects import Ints, compiled
from bitline.pack.skyline import RULES, fill_skyline

MOST_BINS: Final = 4  # taken apart in a step
IDLE: Final = 500  # steps without a cheaper rest, after which the pieces left over weigh more
WEIGHT: Final = 16  # of every piece at first
HEAVIEST: Final = 1 << 20
SEED: Final = 88172645463325252  # Marsaglia's


@compiled
def squeeze(
    sizes: Ints,
    rows: int,
    cols: int,
    bins: int,
    positions: Ints,
    weights: Ints,
    ranks: Ints,
    rules: Ints,
    state: Ints,
    steps: int,
) -> int:
    """Pieces left over after at most so many steps; `positions[piece, 0]` is -1 for them.

    `positions`, `weights`, the kept order `ranks`, the `rules` of the bins and `state` (random number, idle steps) are
    changed; two calls do what one of as many steps does.
    """
    count = len(sizes)
    sky = np.empty((count + 1, 3), np.int64)
    chosen, tried = np.empty(MOST_BINS, np.int64), np.empty(MOST_BINS, np.int64)
    pool, waiting, keys = np.empty(count, np.int64), np.empty(count, np.int64), np.empty(count, np.int64)
    found = positions.copy()
    left, cost = _rest(positions, sizes, weights)
    for _ in range(steps):
        if left == 0:
            break
        many = _choose_bins(chosen, bins, state)
        size = _gather(pool, positions, chosen, many)
        waiting[:size] = pool[:size]
        fresh = _next(state) % 2 == 0
        if fresh:
            _by_size(waiting, keys, size, sizes, state)
        else:
            _by_rank(waiting, keys, size, ranks)
            _disturb(waiting, size, positions, state)
        pool[:size] = waiting[:size]

        over = size
        for j in range(many):
            rule = int(rules[chosen[j]])
            if fresh or _next(state) % 16 == 0:
                rule = RULES[_next(state) % len(RULES)]
            tried[j] = rule
            over = fill_skyline(waiting, over, sizes, rows, cols, rule, chosen[j], found, sky)
        price = 0
        for i in range(over):
            piece = waiting[i]
            found[piece, 0] = -1
            price += weights[piece] * sizes[piece, 0] * sizes[piece, 1]

        state[1] += 1
        if price <= cost:
            if price < cost:
                state[1] = 0
            left, cost = over, price
            for j in range(many):
                rules[chosen[j]] = tried[j]
            _keep(pool, size, found, positions, keys, waiting, ranks)
        if state[1] >= IDLE:
            state[1] = 0
            _weigh(positions, weights)
            left, cost = _rest(positions, sizes, weights)
    return left


@compiled
def _next(state: Ints) -> int:
    """The next of a sequence of 63-bit numbers (Marsaglia 2003, xorshift64)."""
    x = state[0]
    x ^= x << 13
    x ^= (x >> 7) & 0x01FFFFFFFFFFFFFF
    x ^= x << 17
    state[0] = x
    return x & 0x7FFFFFFFFFFFFFFF


@compiled
def _rest(positions: Ints, sizes: Ints, weights: Ints) -> tuple[int, int]:
    """Pieces left over and what they cost."""
    left, cost = 0, 0
    for piece in range(len(sizes)):
        if positions[piece, 0] < 0:
            left += 1
            cost += weights[piece] * sizes[piece, 0] * sizes[piece, 1]
    return left, cost


@compiled
def _weigh(positions: Ints, weights: Ints) -> None:
    """Pieces left over weigh a quarter more, the others a little less."""
    for piece in range(len(weights)):
        if positions[piece, 0] < 0:
            weights[piece] = min(HEAVIEST, weights[piece] + weights[piece] // 4)
        elif weights[piece] > WEIGHT:
            weights[piece] -= weights[piece] // 50


@compiled
def _choose_bins(chosen: Ints, bins: int, state: Ints) -> int:
    """One to four different bins, most often two; how many."""
    draw = _next(state) % 16
    many = min(bins, 1 + (draw >= 5) + (draw >= 13) + (draw >= 15))
    count = 0
    while count < many:
        number = _next(state) % bins
        known = False
        for j in range(count):
            known = known or chosen[j] == number
        if not known:
            chosen[count] = number
            count += 1
    return many


@compiled
def _gather(pool: Ints, positions: Ints, chosen: Ints, many: int) -> int:
    """The pieces of the chosen bins and those left over; how many."""
    size = 0
    for piece in range(len(positions)):
        number = positions[piece, 0]
        wanted = number < 0
        for j in range(many):
            wanted = wanted or chosen[j] == number
        if wanted:
            pool[size] = piece
            size += 1
    return size


@compiled
def _by_size(items: Ints, keys: Ints, count: int, sizes: Ints, state: Ints) -> None:
    """Large ones first, by one of five notions of large and with noise of 6 to 50 %."""
    notion = _next(state) % 6
    noise = 64 << (_next(state) % 4)
    for i in range(count):
        r, c = sizes[items[i], 0], sizes[items[i], 1]
        if notion < 2:
            large = r * c
        elif notion == 2:
            large = max(r, c)
        elif notion == 3:
            large = r + c
        elif notion == 4:
            large = r
        else:
            large = c
        keys[i] = large * (1024 + _next(state) % noise)
    _sort(items, keys, count)


@compiled
def _by_rank(items: Ints, keys: Ints, count: int, ranks: Ints) -> None:
    for i in range(count):
        keys[i] = -ranks[items[i]]
    _sort(items, keys, count)


@compiled
def _sort(items: Ints, keys: Ints, count: int) -> None:
    """By falling key; equal ones as they stand."""
    for i in range(1, count):
        item, key = items[i], keys[i]
        j = i
        while j > 0 and keys[j - 1] < key:
            items[j], keys[j] = items[j - 1], keys[j - 1]
            j -= 1
        items[j], keys[j] = item, key


@compiled
def _disturb(items: Ints, count: int, positions: Ints, state: Ints) -> None:
    """Move or exchange one piece, seldom up to three, half the time one that is left over."""
    for _ in range(1 + (_next(state) % 4 == 0) + (_next(state) % 8 == 0)):
        source, target = _next(state) % count, _next(state) % count
        if _next(state) % 2 == 0:
            for i in range(count):
                if positions[items[(source + i) % count], 0] < 0:
                    source = (source + i) % count
                    break
        piece = items[source]
        if _next(state) % 2 == 0:
            items[source], items[target] = items[target], piece
        else:
            step = 1 if source < target else -1
            for i in range(source, target, step):
                items[i] = items[i + step]
            items[target] = piece


@compiled
def _keep(order: Ints, count: int, found: Ints, positions: Ints, keys: Ints, places: Ints, ranks: Ints) -> None:
    """What `found` says of the pieces in `order` holds from now on; they get their own ranks again, in this order."""
    for i in range(count):
        piece = order[i]
        positions[piece, 0], positions[piece, 1], positions[piece, 2] = (
            found[piece, 0],
            found[piece, 1],
            found[piece, 2],
        )
        keys[i], places[i] = -ranks[piece], i
    _sort(places, keys, count)
    for i in range(count):
        ranks[order[i]] = -keys[i]

"""Fewer bins by a goal: some bins less than there are, the pieces left over, and repacking until none is left over."""

# pyright: reportUnknownParameterType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import numpy as np

from bitline.pack.maxrects import Ints, compiled, fill_bin
from bitline.pack.skyline import fill_skyline


@compiled
def _next(state: Ints) -> int:
    x = state[0]
    x ^= x << 13
    x ^= (x >> 7) & 0x01FFFFFFFFFFFFFF
    x ^= x << 17
    state[0] = x
    return (x >> 2) & 0x1FFFFFFFFFFFFFFF


@compiled
def _sort(items: Ints, keys: Ints, count: int) -> None:
    """By falling key."""
    for i in range(1, count):
        item, key = items[i], keys[i]
        j = i
        while j > 0 and keys[j - 1] < key:
            items[j], keys[j] = items[j - 1], keys[j - 1]
            j -= 1
        items[j], keys[j] = item, key


@compiled
def _move(order: Ints, source: int, target: int) -> None:
    piece = order[source]
    if source < target:
        for i in range(source, target):
            order[i] = order[i + 1]
    else:
        for i in range(source, target, -1):
            order[i] = order[i - 1]
    order[target] = piece


@compiled
def squeeze(
    sizes: Ints, rows: int, cols: int, bins: int, positions: Ints, weights: Ints, ranks: Ints, rules: Ints, steps: int, state: Ints, resort: int, nrules: int
) -> int:
    """Pieces left over after so many steps; `positions[piece, 0]` is -1 for them. """
    count = len(sizes)
    out = np.zeros(count, np.int64)
    taken = np.empty(count, np.int64)
    chosen = np.empty(4, np.int64)
    tried_rule = np.empty(4, np.int64)
    waiting = np.empty(count, np.int64)
    keys = np.empty(count, np.int64)
    free = np.empty((1024, 4), np.int64)
    sky = np.empty((count + 2, 3), np.int64)
    found = positions.copy()
    left = 0
    cost = 0
    for i in range(count):
        if positions[i, 0] < 0:
            left += 1
            cost += weights[i] * sizes[i, 0] * sizes[i, 1]
    best_cost = cost
    idle = 0
    for step in range(steps):
        if left == 0:
            break
        # bins
        draw = _next(state) % 16
        many = min(bins, 1 if draw < 5 else (2 if draw < 13 else (3 if draw < 15 else 4)))
        n = 0
        while n < many:
            b = _next(state) % bins
            fresh = True
            for j in range(n):
                if chosen[j] == b:
                    fresh = False
            if fresh:
                chosen[n] = b
                n += 1
        pool = 0
        for i in range(count):
            b = positions[i, 0]
            take = b < 0
            for j in range(many):
                if chosen[j] == b:
                    take = True
            if take:
                waiting[pool] = i
                pool += 1
        again = _next(state) % 16 < resort
        by = _next(state) % 6
        spread = 64 << (_next(state) % 4)
        for i in range(pool):
            r, c = sizes[waiting[i], 0], sizes[waiting[i], 1]
            if by < 2:
                size = r * c
            elif by == 2:
                size = max(r, c)
            elif by == 3:
                size = r + c
            elif by == 4:
                size = r
            else:
                size = c
            keys[i] = size * (1024 + _next(state) % spread) if again else -ranks[waiting[i]]
        _sort(waiting, keys, pool)
        if not again:
            moves = 1 + (_next(state) % 4 == 0) + (_next(state) % 8 == 0)
            for _ in range(moves):
                a = _next(state) % pool
                if _next(state) % 2 == 0:
                    for i in range(pool):
                        if positions[waiting[(a + i) % pool], 0] < 0:
                            a = (a + i) % pool
                            break
                b = _next(state) % pool
                if _next(state) % 2:
                    waiting[a], waiting[b] = waiting[b], waiting[a]
                else:
                    _move(waiting, a, b)
        for i in range(pool):
            taken[i] = waiting[i]
        remaining = pool
        for j in range(many):
            rule = rules[chosen[j]]
            if again or _next(state) % 16 == 0:
                rule = _next(state) % nrules
            if rule < 4:
                remaining = fill_bin(waiting, remaining, sizes, rows, cols, rule, chosen[j], found, free)
            else:
                remaining = fill_skyline(waiting, remaining, sizes, rows, cols, rule - 4, chosen[j], found, sky)
            tried_rule[j] = rule
        new = 0
        for i in range(remaining):
            new += weights[waiting[i]] * sizes[waiting[i], 0] * sizes[waiting[i], 1]
        idle += 1
        if new <= cost:
            for i in range(remaining):
                found[waiting[i], 0] = -1
            for j in range(many):
                rules[chosen[j]] = tried_rule[j]
            for i in range(pool):
                keys[i] = ranks[taken[i]]
                waiting[i] = i
            _sort(waiting, keys, pool)
            for i in range(pool):
                ranks[taken[i]] = keys[pool - 1 - i]
                p = taken[i]
                positions[p, 0], positions[p, 1], positions[p, 2] = found[p, 0], found[p, 1], found[p, 2]
            if new < cost:
                idle = 0
            cost, left = new, remaining
        if idle >= 500:
            idle = 0
            cost = 0
            for i in range(count):
                if positions[i, 0] < 0:
                    weights[i] += max(1, weights[i] // 4)
                    cost += weights[i] * sizes[i, 0] * sizes[i, 1]
                if weights[i] > 16:
                    weights[i] -= weights[i] // 50
            cost = 0
            for i in range(count):
                if positions[i, 0] < 0:
                    cost += weights[i] * sizes[i, 0] * sizes[i, 1]
    return left

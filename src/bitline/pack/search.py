"""Order search: the packing of a sequence of pieces is made better by moving pieces in the sequence.

An order is decoded by `maxrects.first_fit`; a neighbour has one piece moved or two exchanged, most often a piece of the
emptiest bin. It is kept where it takes fewer bins, or as many with no smaller sum of squared fills, which is large
where one bin is nearly empty. Iterated local search (Lourenco, Martin and Stutzle 2003); the random numbers are a fixed
sequence, so that as many steps give the same packing.
"""

# pyright: reportUnknownParameterType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import numpy as np

from bitline.pack.maxrects import Ints, compiled, first_fit

KICK_AFTER = 400
"""Steps without a better packing after which some pieces are moved at random."""
KICKS = 4
SEED = 88172645463325252
"""Marsaglia's."""


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
def _fills(positions: Ints, sizes: Ints, bins: int, fill: Ints) -> float:
    """Cells used of every bin; the sum of their squares."""
    fill[:bins] = 0
    for piece in range(sizes.shape[0]):
        fill[positions[piece, 0]] += sizes[piece, 0] * sizes[piece, 1]
    total = 0.0
    for b in range(bins):
        total += float(fill[b]) * float(fill[b])
    return total


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
def improve(
    order: Ints, sizes: Ints, rows: int, cols: int, rule: int, floor: int, steps: int, state: Ints, best: Ints
) -> int:
    """Bins of the best packing after so many steps, or of the first with `floor` bins; its positions go into `best`.

    `order` and `state`, the number of the random sequence, are changed, so that a further call goes on.
    """
    count = len(order)
    positions = np.zeros((count, 3), np.int64)
    fill = np.zeros(count, np.int64)
    bins = first_fit(order, sizes, rows, cols, rule, count, positions)
    value = _fills(positions, sizes, bins, fill)
    best[:] = positions
    best_bins, best_value = bins, value
    idle = 0
    tried = order.copy()
    for _ in range(steps):
        if best_bins <= floor or count < 2:
            break
        tried[:] = order
        if idle >= KICK_AFTER:
            for _ in range(KICKS):
                _move(tried, _next(state) % count, _next(state) % count)
        else:
            source = _next(state) % count
            if _next(state) % 4:
                emptiest = 0
                for b in range(bins):
                    if fill[b] < fill[emptiest]:
                        emptiest = b
                for i in range(count):
                    if positions[tried[(source + i) % count], 0] == emptiest:
                        source = (source + i) % count
                        break
            target = _next(state) % count
            if _next(state) % 2:
                tried[source], tried[target] = tried[target], tried[source]
            else:
                _move(tried, source, target)
        found = np.zeros((count, 3), np.int64)
        found_bins = first_fit(tried, sizes, rows, cols, rule, bins, found)
        kicked = idle >= KICK_AFTER
        idle = 0 if kicked else idle + 1
        if found_bins > bins and not kicked:
            continue
        if found_bins > bins:
            found_bins = first_fit(tried, sizes, rows, cols, rule, count, found)
        found_fill = np.zeros(count, np.int64)
        found_value = _fills(found, sizes, found_bins, found_fill)
        if kicked or found_bins < bins or found_value >= value:
            if found_bins < bins or found_value > value:
                idle = 0
            order[:] = tried
            positions, fill = found, found_fill
            bins, value = found_bins, found_value
            if bins < best_bins or (bins == best_bins and value > best_value):
                best[:] = positions
                best_bins, best_value = bins, value
    return best_bins

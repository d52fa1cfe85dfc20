"""The compiled heart of `layout`: a sequence of pieces into bins that are not plain.

The free cells of a bin are maximal free rectangles, as in `maxrects`. Its bias rows are a list of stretches of columns
with a bit mask each: bit b set where bias row b is taken in these columns. A piece with bias rows is tried at the left
edge of every free rectangle and at every column inside it where the mask changes, or where the piece would end at such
a change.
"""

# pyright: reportUnknownParameterType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import numpy as np

from bitline.pack.layout_random import draw
from bitline.pack.maxrects import (
    AREA,
    LONG_SIDE,
    SHORT_SIDE,
    TOP_LEFT,
    Ints,
    compiled,
    cut_free,
    inlined,
)

LEFT_TOP, TIGHT = 4, 5
LAYOUT_RULES = (SHORT_SIDE, LONG_SIDE, AREA, TOP_LEFT, LEFT_TOP, TIGHT)
"""`TIGHT`: where the columns have the fewest bias rows left."""

KICK_AFTER = 300
KICKS = 4


@compiled
def fill_bins(
    order: Ints,
    sizes: Ints,
    bands: int,
    free_at: Ints,
    free_start: Ints,
    masks_at: Ints,
    masks_start: Ints,
    rule: int,
    max_bins: int,
    positions: Ints,
) -> int:
    """Bins used, first fit, or `max_bins + 1` where they are not enough; `positions[piece]` becomes (bin, row, col,
    band).

    `sizes[piece]` is (rows, cols, bands). Bin b starts as state min(b, last state) says: the free rectangles
    `free_start[free_at[s]:free_at[s + 1]]` and the stretches (first column, mask) of `masks_start`; the last stretch
    is a sentinel that starts behind the last column.
    """
    waiting = order.copy()
    waiting_count = len(order)
    states = len(free_at) - 1
    free = np.empty((256, 4), np.int64)
    stretches = np.empty((64, 2), np.int64)
    bins = 0
    while waiting_count > 0:
        if bins >= max_bins:
            return max_bins + 1
        state = min(bins, states - 1)
        free_count = free_at[state + 1] - free_at[state]
        if len(free) < 6 * free_count:
            free = np.empty((6 * free_count, 4), np.int64)
        free[:free_count] = free_start[free_at[state] : free_at[state + 1]]
        stretch_count = masks_at[state + 1] - masks_at[state]
        if len(stretches) < stretch_count + 2:
            stretches = np.empty((2 * stretch_count + 2, 2), np.int64)
        stretches[:stretch_count] = masks_start[masks_at[state] : masks_at[state + 1]]
        refused = 0
        for turn in range(waiting_count):
            piece = waiting[turn]
            height, width, needed = sizes[piece, 0], sizes[piece, 1], sizes[piece, 2]
            row, col, band = _choose(free, free_count, stretches, stretch_count, height, width, needed, bands, rule)
            if row < 0:
                waiting[refused] = piece
                refused += 1
                continue
            positions[piece, 0], positions[piece, 1] = bins, row
            positions[piece, 2], positions[piece, 3] = col, band
            if len(free) < 6 * free_count:
                free = np.concatenate((free, np.empty((6 * free_count, 4), np.int64)))
            free_count = cut_free(free, free_count, row, col, row + height, col + width, 1, 1)
            if needed:
                if len(stretches) < stretch_count + 2:
                    stretches = np.concatenate((stretches, np.empty((stretch_count + 2, 2), np.int64)))
                stretch_count = take_bands(stretches, 0, stretch_count, col, col + width, band, needed)
        if refused == waiting_count and bins >= states - 1:
            return max_bins + 1  # a piece that an empty bin refuses
        waiting_count = refused
        bins += 1
    return bins


@compiled
def _choose(
    free: Ints,
    free_count: int,
    stretches: Ints,
    stretch_count: int,
    height: int,
    width: int,
    needed: int,
    bands: int,
    rule: int,
) -> tuple[int, int, int]:
    """(row, col, band) of the best place by the rule, ties to the first of the list; row -1 where there is none."""
    row, col, band = -1, 0, 0
    best, second = 0, 0
    for f in range(free_count):
        slack_rows = free[f, 2] - free[f, 0] - height
        slack_cols = free[f, 3] - free[f, 1] - width
        if slack_rows < 0 or slack_cols < 0:
            continue
        tries = 1 if needed == 0 else 2 * stretch_count + 1
        for t in range(tries):
            at = free[f, 1]
            if t > 0:  # a piece without bias rows is tried at the left edge alone
                at = stretches[(t - 1) >> 1, 0] - (width if t & 1 == 0 else 0)
                if at <= free[f, 1] or at + width > free[f, 3]:
                    continue
            start, left = 0, 0
            if needed > 0:
                start = first_band(stretches, 0, stretch_count, at, at + width, needed, bands)
                if start < 0:
                    continue
                mask = taken_bands(stretches, 0, stretch_count, at, at + width)
                for b in range(bands if rule == TIGHT else 0):
                    left += 1 - ((mask >> b) & 1)
            score, other = score_place(free[f, 0], at, slack_rows, slack_cols, height, width, left, rule)
            if row < 0 or score < best or (score == best and other < second):
                row, col, band = free[f, 0], at, start
                best, second = score, other
    return row, col, band


@inlined
def score_place(
    row: int, col: int, slack_rows: int, slack_cols: int, height: int, width: int, left: int, rule: int
) -> tuple[int, int]:
    short, long = min(slack_rows, slack_cols), max(slack_rows, slack_cols)
    if rule == SHORT_SIDE:
        return short, long
    if rule == LONG_SIDE:
        return long, short
    if rule == AREA:
        return (slack_rows + height) * (slack_cols + width), short
    if rule == TOP_LEFT:
        return row, col
    if rule == LEFT_TOP:
        return col, row
    return left, short


@inlined
def first_band(stretches: Ints, at: int, count: int, first: int, last: int, needed: int, bands: int) -> int:
    """First bias row of the first free interval of `needed` in columns first..last-1, or -1.

    The stretches are `stretches[at : at + count]`.
    """
    mask = taken_bands(stretches, at, count, first, last)
    run, b = 0, 0
    while b < bands and run < needed:
        run = 0 if (mask >> b) & 1 else run + 1
        b += 1
    return b - needed if run == needed else -1


@inlined
def taken_bands(stretches: Ints, at: int, count: int, first: int, last: int) -> int:
    """Mask of the bias rows that are taken in one of the columns first..last-1."""
    mask = 0
    for s in range(at, at + count - 1):
        if stretches[s, 0] < last and first < stretches[s + 1, 0]:
            mask |= stretches[s, 1]
    return mask


@compiled
def take_bands(stretches: Ints, at: int, count: int, first: int, last: int, band: int, needed: int) -> int:
    """Mark bias rows band..band+needed-1 of columns first..last-1 as taken, in place; the new count of stretches."""
    for edge in (first, last):
        s = at
        while stretches[s, 0] < edge:
            s += 1
        if stretches[s, 0] != edge:
            for i in range(at + count, s, -1):
                stretches[i, 0], stretches[i, 1] = stretches[i - 1, 0], stretches[i - 1, 1]
            stretches[s, 0], stretches[s, 1] = edge, stretches[s - 1, 1]
            count += 1
    mask = 0
    for b in range(band, band + needed):
        mask |= 1 << b
    for s in range(at, at + count - 1):
        if first <= stretches[s, 0] < last:
            stretches[s, 1] |= mask
    return count


@compiled
def _value(positions: Ints, sizes: Ints, bins: int, fill: Ints) -> float:
    """Cells and bias cells used of every bin; the sum of their squares, large where a bin is nearly empty."""
    fill[:bins] = 0
    for piece in range(len(sizes)):
        fill[positions[piece, 0]] += (sizes[piece, 0] + 64 * sizes[piece, 2]) * sizes[piece, 1]
    total = 0.0
    for b in range(bins):
        total += float(fill[b]) * float(fill[b])
    return total


@compiled
def improve_layout(
    order: Ints,
    sizes: Ints,
    bands: int,
    free_at: Ints,
    free_start: Ints,
    masks_at: Ints,
    masks_start: Ints,
    rule: int,
    floor: int,
    steps: int,
    random: Ints,
    best: Ints,
) -> int:
    """Iterated local search over the order (see `search`), stopping at `floor` bins: bins of the best, whose positions
    go into `best`. `order` and `random` change, so that a further call goes on."""
    count = len(order)
    limit = count + len(free_at)
    positions = np.zeros((count, 4), np.int64)
    found = np.zeros((count, 4), np.int64)
    fill = np.zeros(limit + 1, np.int64)
    bins = fill_bins(order, sizes, bands, free_at, free_start, masks_at, masks_start, rule, limit, positions)
    value = _value(positions, sizes, bins, fill)
    best[:] = positions
    best_bins = bins
    idle = 0
    tried = order.copy()
    for _ in range(steps):
        if best_bins <= floor or count < 2:
            break
        tried[:] = order
        kicked = idle >= KICK_AFTER
        for _ in range(KICKS if kicked else 1):
            source, target = draw(random, count), draw(random, count)
            if not kicked and draw(random, 2):  # a piece of the last bin, further to the front
                for i in range(count):
                    if positions[order[(source + i) % count], 0] == bins - 1:
                        source = (source + i) % count
                        break
                target = draw(random, source + 1)
            piece = tried[source]
            if draw(random, 2):
                tried[source] = tried[target]
            elif source < target:
                tried[source:target] = tried[source + 1 : target + 1].copy()
            else:
                tried[target + 1 : source + 1] = tried[target:source].copy()
            tried[target] = piece
        idle = 0 if kicked else idle + 1
        allowed = limit if kicked else bins
        bins_found = fill_bins(tried, sizes, bands, free_at, free_start, masks_at, masks_start, rule, allowed, found)
        if bins_found > allowed:
            continue
        value_found = _value(found, sizes, bins_found, fill)
        if kicked or bins_found < bins or value_found >= value:
            if bins_found < bins or value_found > value:
                idle = 0
            order[:] = tried
            positions[:] = found
            bins, value = bins_found, value_found
            if bins < best_bins:
                best[:] = positions
                best_bins = bins
    return best_bins

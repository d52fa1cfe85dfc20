"""The compiled heart of `cutting`: whole matrices, cut where that fills a hole, into a given number of bins.

The largest of what is left goes first, into the free rectangle that suits it best. Where none holds it whole, a part
that fills the best free rectangle is cut off and placed, and the rest waits with the others. What "largest" and "best"
mean is in the genes, which the search changes: per matrix a weight and two preferences, for all a measure and a rule.
"""

# pyright: reportUnknownParameterType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import numpy as np

from bitline.pack.layout_decode import interval, score_place, take_bands
from bitline.pack.maxrects import Ints, compiled, cut_free

ROWS, COLS, STEP, BANDS, TILED_ROWS, TILED_COLS, SMALL_ROWS, SMALL_COLS = range(8)
"""Columns of `wholes`. Tiles that fill a bin are gone: rows 0..TILED_ROWS-1 of columns 0..TILED_COLS-1."""
NO_SLIVERS = 3
"""A preference: to be cut where the rest of a free rectangle would be too small for anything."""
WEIGHT, ORIENT, PREFER = range(3)
"""Columns of `genes`; the last line holds MEASURE, RULE, SLACK of all."""
MEASURES, RULES, SLACKS, PREFERENCES = 5, 5, 4, 4

WHOLE, ROW_OFFSET, COL_OFFSET, HEIGHT, WIDTH, BIN, ROW, COL, BAND = range(9)
"""Columns of `parts`."""


@compiled
def decode(
    wholes: Ints,
    genes: Ints,
    bins: int,
    bands: int,
    free_at: Ints,
    free_start: Ints,
    masks_at: Ints,
    masks_start: Ints,
    most_unplaced: int,
    free: Ints,
    free_count: Ints,
    largest: Ints,
    stretches: Ints,
    stretch_count: Ints,
    waiting: Ints,
    parts: Ints,
) -> tuple[int, int]:
    """(cells that found no place, parts). It stops where more than `most_unplaced` cells find none.

    Bin b starts as in `layout_decode.fill_bins`; those before the last state are in use, something lies in them.
    `free` [bins, room, 4], `largest` [bins, 3] (most rows, most columns, most cells of a free rectangle), `stretches`
    [bins, room, 2], both with room for any start, and `waiting` [room, 6] are scratch.
    """
    last = len(genes) - 1
    measure, rule, slack = genes[last, 0], genes[last, 1], genes[last, 2]
    room = free.shape[1]
    scratch = np.empty((6 * room, 4), np.int64)
    states = len(free_at) - 1
    opened, ready, count = states - 1, 0, 0
    for w in range(len(wholes)):
        count = _start(wholes, genes, w, measure, waiting, count)
    found, unplaced = 0, 0
    while count > 0:
        count -= 1
        w, top, left = waiting[count, 0], waiting[count, 1], waiting[count, 2]
        height, width = waiting[count, 3], waiting[count, 4]
        needed = wholes[w, BANDS] if top == 0 else 0
        seen = min(opened + 1, bins)  # one empty bin stands for all
        while ready < seen:
            state = min(ready, states - 1)
            number, marks = free_at[state + 1] - free_at[state], masks_at[state + 1] - masks_at[state]
            free[ready, :number] = free_start[free_at[state] : free_at[state + 1]]
            stretches[ready, :marks] = masks_start[masks_at[state] : masks_at[state + 1]]
            free_count[ready], stretch_count[ready] = number, marks
            _measure(free[ready], number, largest[ready])
            ready += 1
        fussy = genes[w, PREFER] == NO_SLIVERS
        small_rows, small_cols = wholes[w, SMALL_ROWS] if fussy else 0, wholes[w, SMALL_COLS] if fussy else 0
        b, row, col, band, part_rows, part_cols = _fit(
            free,
            free_count,
            largest,
            stretches,
            stretch_count,
            seen,
            height,
            width,
            needed,
            bands,
            rule,
            small_rows,
            small_cols,
        )
        if b < 0 and fussy:
            b, row, col, band, part_rows, part_cols = _fill(
                free,
                free_count,
                largest,
                stretches,
                stretch_count,
                seen,
                height,
                width,
                needed,
                bands,
                wholes[w],
                genes[w],
                slack,
                small_rows,
                small_cols,
            )
            if b < 0:
                b, row, col, band, part_rows, part_cols = _fit(
                    free, free_count, largest, stretches, stretch_count, seen, height, width, needed, bands, rule, 0, 0
                )
        if b < 0:
            b, row, col, band, part_rows, part_cols = _fill(
                free,
                free_count,
                largest,
                stretches,
                stretch_count,
                seen,
                height,
                width,
                needed,
                bands,
                wholes[w],
                genes[w],
                slack,
                0,
                0,
            )
        if b < 0 or found == len(parts) or count + 2 >= len(waiting):
            unplaced += height * width
            if unplaced > most_unplaced:
                return unplaced, found
            continue
        parts[found, WHOLE], parts[found, ROW_OFFSET], parts[found, COL_OFFSET] = w, top, left
        parts[found, HEIGHT], parts[found, WIDTH] = part_rows, part_cols
        parts[found, BIN], parts[found, ROW], parts[found, COL], parts[found, BAND] = b, row, col, band
        found += 1
        number = free_count[b]
        scratch[:number] = free[b, :number]
        number = min(room, cut_free(scratch, number, row, col, row + part_rows, col + part_cols, 1, 1))
        free[b, :number] = scratch[:number]
        free_count[b] = number
        _measure(free[b], number, largest[b])
        if needed > 0 and stretch_count[b] + 2 <= stretches.shape[1]:
            stretch_count[b] = take_bands(stretches[b], stretch_count[b], col, col + part_cols, band, needed)
        if b == opened:
            opened += 1
        # the rests: below and right, the corner with the one that the matrix prefers
        across = genes[w, ORIENT]
        if part_rows < height:
            wide = width if across else part_cols
            count = _wait(waiting, count, genes, measure, w, top + part_rows, left, height - part_rows, wide)
        if part_cols < width:
            high = part_rows if across else height
            count = _wait(waiting, count, genes, measure, w, top, left + part_cols, high, width - part_cols)
    return unplaced, found


@compiled
def _measure(free: Ints, count: int, largest: Ints) -> None:
    largest[:] = 0
    for f in range(count):
        rows, cols = free[f, 2] - free[f, 0], free[f, 3] - free[f, 1]
        largest[0], largest[1] = max(largest[0], rows), max(largest[1], cols)
        largest[2] = max(largest[2], rows * cols)


@compiled
def _start(wholes: Ints, genes: Ints, w: int, measure: int, waiting: Ints, count: int) -> int:
    """What the tiles that fill a bin leave of a matrix."""
    rows, cols, tiled_rows, tiled_cols = wholes[w, ROWS], wholes[w, COLS], wholes[w, TILED_ROWS], wholes[w, TILED_COLS]
    across = genes[w, ORIENT] or tiled_rows == 0
    if tiled_rows < rows:
        count = _wait(
            waiting, count, genes, measure, w, tiled_rows, 0, rows - tiled_rows, cols if across else tiled_cols
        )
    if tiled_rows > 0 and tiled_cols < cols:
        count = _wait(
            waiting, count, genes, measure, w, 0, tiled_cols, tiled_rows if across else rows, cols - tiled_cols
        )
    return count


@compiled
def _wait(
    waiting: Ints, count: int, genes: Ints, measure: int, w: int, top: int, left: int, height: int, width: int
) -> int:
    """Insert into `waiting`, whose largest is the last; the new count."""
    if measure == 0:
        large = height * width
    elif measure == 1:
        large = max(height, width) * 256
    elif measure == 2:
        large = height * 256
    elif measure == 3:
        large = width * 256
    else:
        large = min(height, width) * 256
    key = large * genes[w, WEIGHT]
    at = count
    while at > 0 and waiting[at - 1, 5] > key:
        waiting[at] = waiting[at - 1]
        at -= 1
    waiting[at, 0], waiting[at, 1], waiting[at, 2] = w, top, left
    waiting[at, 3], waiting[at, 4], waiting[at, 5] = height, width, key
    return count + 1


@compiled
def _fit(
    free: Ints,
    free_count: Ints,
    largest: Ints,
    stretches: Ints,
    stretch_count: Ints,
    bins: int,
    height: int,
    width: int,
    needed: int,
    bands: int,
    rule: int,
    small_rows: int,
    small_cols: int,
) -> tuple[int, int, int, int, int, int]:
    """(bin, row, col, band, rows, cols) where it fits whole, by the rule; bin -1 where it does not. No free rectangle
    counts of which it would leave less than small_rows x small_cols."""
    chosen, row, col, band = -1, 0, 0, 0
    best, second = 0, 0
    for b in range(bins):
        if height > largest[b, 0] or width > largest[b, 1]:
            continue
        tries = 1 if needed == 0 else 2 * stretch_count[b] + 1
        for f in range(free_count[b]):
            slack_rows = free[b, f, 2] - free[b, f, 0] - height
            slack_cols = free[b, f, 3] - free[b, f, 1] - width
            if slack_rows < 0 or slack_cols < 0 or 0 < slack_rows < small_rows or 0 < slack_cols < small_cols:
                continue
            for t in range(tries):
                at = free[b, f, 1]
                if t > 0:
                    at = stretches[b, (t - 1) >> 1, 0] - (width if t & 1 == 0 else 0)
                    if at <= free[b, f, 1] or at + width > free[b, f, 3]:
                        continue
                start, left = 0, 0
                if needed > 0:
                    start, left = interval(stretches[b], stretch_count[b], at, at + width, needed, bands)
                    if start < 0:
                        continue
                score, other = score_place(free[b, f, 0], at, slack_rows, slack_cols, height, width, left, rule)
                if chosen < 0 or score < best or (score == best and other < second):
                    chosen, row, col, band = b, free[b, f, 0], at, start
                    best, second = score, other
    return chosen, row, col, band, height, width


@compiled
def _fill(
    free: Ints,
    free_count: Ints,
    largest: Ints,
    stretches: Ints,
    stretch_count: Ints,
    bins: int,
    height: int,
    width: int,
    needed: int,
    bands: int,
    whole: Ints,
    gene: Ints,
    slack: int,
    left_rows: int,
    left_cols: int,
) -> tuple[int, int, int, int, int, int]:
    """(bin, row, col, band, rows, cols) of the part to cut off: it fills most of a free rectangle and leaves nothing
    or at least left_rows x left_cols of it; bin -1: none."""
    chosen, row, col, band, rows, cols = -1, 0, 0, 0, 0, 0
    best = 0
    for b in range(bins):
        if 8 * min(height, largest[b, 0]) * min(width, largest[b, 1]) < best or 8 * largest[b, 2] < best:
            continue
        tries = 1 if needed == 0 else stretch_count[b] + 1
        for f in range(free_count[b]):
            r0, c0, r1, c1 = free[b, f, 0], free[b, f, 1], free[b, f, 2], free[b, f, 3]
            high = _cut_side(height, r1 - r0, whole[SMALL_ROWS], whole[STEP], left_rows)
            if high == 0:
                continue
            for t in range(tries):
                at = c0
                if t > 0:
                    at = stretches[b, t - 1, 0]
                    if at <= c0 or at >= c1:
                        continue
                wide, start = c1 - at, 0
                if needed > 0:
                    wide, start = _reach(stretches[b], stretch_count[b], at, c1, needed, bands)
                wide = _cut_side(width, wide, whole[SMALL_COLS], 1, left_cols)
                if wide == 0:
                    continue
                if needed > 0:
                    start, _ = interval(stretches[b], stretch_count[b], at, at + wide, needed, bands)
                score = 8 * high * wide - slack * ((r1 - r0) * (c1 - at) - high * wide)
                if (gene[PREFER] == 1 and high < height) or (gene[PREFER] == 2 and wide < width):
                    score -= 4 * high * wide
                if chosen < 0 or score > best:
                    chosen, row, col, band, rows, cols = b, r0, at, start, high, wide
                    best = score
    return chosen, row, col, band, rows, cols


@compiled
def _cut_side(side: int, room: int, small: int, step: int, left: int) -> int:
    """The largest length of at most `room` that may be cut off a side; 0 where there is none."""
    if side <= room and (side == room or room - side >= left):
        return side
    length = min(room, side - small) // step * step
    if 0 < room - length < left:
        length = min(room - left, side - small) // step * step
    return length if length >= small else 0


@compiled
def _reach(stretches: Ints, count: int, first: int, last: int, needed: int, bands: int) -> tuple[int, int]:
    """The most columns from `first` on, up to `last`, that have a common interval of `needed` free bias rows."""
    for s in range(count):
        if stretches[s, 0] <= first:
            continue
        start, _ = interval(stretches, count, first, min(stretches[s, 0], last), needed, bands)
        if start < 0:
            before = stretches[s - 1, 0]
            return max(0, before - first), 0
        if stretches[s, 0] >= last:
            break
    return last - first, 0

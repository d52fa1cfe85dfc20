"""The compiled heart of `cutting`: whole matrices, cut where that fills a hole, into a given number of bins.

The largest of what is left goes first, into the free rectangle that suits it best. Where none holds it whole, a part
that fills the best free rectangle is cut off and placed, and the rest waits with the others. What "largest" and "best"
mean is in the genes, which the search changes: per matrix a weight and two preferences, for all a measure and a rule.
"""

# pyright: reportUnknownParameterType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import numpy as np

from bitline.pack.cutting_places import (
    ANSWER,
    AT_BAND,
    AT_COL,
    AT_ROW,
    FIELDS,
    FIT,
    KINDS,
    PART,
    PART_COLS,
    PART_ROWS,
    SCORE,
    TIDY_FIT,
    UNKNOWN,
    ask,
    best_bin,
)
from bitline.pack.cutting_queue import pop, push
from bitline.pack.layout_decode import take_bands
from bitline.pack.maxrects import Ints, compiled, cut_free, inlined

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
    stretches: Ints,
    stretch_count: Ints,
    waiting: Ints,
    heap: Ints,
    parts: Ints,
) -> tuple[int, int]:
    """(cells that found no place, parts). It stops where more than `most_unplaced` cells find none.

    Bin b starts as in `layout_decode.fill_bins`; those before the last state are in use, something lies in them.
    `free` [bins, room, 4], `stretches` [bins * room, 2], both with room for any start, and the queue are scratch;
    `heap` holds 0..len(waiting)-1.
    """
    last = len(genes) - 1
    measure, rule, slack = genes[last, 0], genes[last, 1], genes[last, 2]
    room, stretch_room = free.shape[1], len(stretches) // bins
    scratch = np.empty((6 * room, 4), np.int64)
    asked = np.full((KINDS, FIELDS), -1, np.int64)
    answers = np.empty((KINDS, bins, ANSWER), np.int64)
    live = np.empty(bins, np.int64)  # bins with a free rectangle, by number
    states = len(free_at) - 1
    opened, ready, lives, count = states - 1, 0, 0, 0
    for w in range(len(wholes)):
        count = _start(wholes, genes, w, measure, waiting, heap, count)
    found, unplaced, age = 0, 0, count
    while count > 0:
        count = pop(waiting, heap, count)
        entry = heap[count]
        w, top, left = waiting[entry, 0], waiting[entry, 1], waiting[entry, 2]
        height, width = waiting[entry, 3], waiting[entry, 4]
        needed = wholes[w, BANDS] if top == 0 else 0
        seen = min(opened + 1, bins)  # one empty bin stands for all
        while ready < seen:
            state = min(ready, states - 1)
            first, stretch_count[ready] = masks_at[state], masks_at[state + 1] - masks_at[state]
            for s in range(stretch_count[ready]):
                stretches[ready * stretch_room + s, 0] = masks_start[first + s, 0]
                stretches[ready * stretch_room + s, 1] = masks_start[first + s, 1]
            first, number = free_at[state], free_at[state + 1] - free_at[state]
            _keep_free(free, free_count, answers, ready, free_start, first, number)
            if number > 0:
                live[lives] = ready
                lives += 1
            ready += 1
        prefer, small_rows, small_cols = genes[w, PREFER], wholes[w, SMALL_ROWS], wholes[w, SMALL_COLS]
        b, kind = -1, (TIDY_FIT if prefer == NO_SLIVERS else FIT) - 1
        while b < 0 and kind < PART:
            kind += 1
            ask(
                kind,
                asked,
                answers,
                live,
                lives,
                height,
                width,
                needed,
                small_rows,
                small_cols,
                wholes[w, STEP],
                prefer,
            )
            b = best_bin(
                kind,
                asked,
                answers,
                live,
                lives,
                free,
                free_count,
                stretches,
                stretch_count,
                bands,
                rule,
                slack,
            )
        if b < 0 or found == len(parts) or count + 2 >= len(waiting):
            unplaced += height * width
            if unplaced > most_unplaced:
                return unplaced, found
            continue
        row, col, band = answers[kind, b, AT_ROW], answers[kind, b, AT_COL], answers[kind, b, AT_BAND]
        part_rows, part_cols = answers[kind, b, PART_ROWS], answers[kind, b, PART_COLS]
        parts[found, WHOLE], parts[found, ROW_OFFSET], parts[found, COL_OFFSET] = w, top, left
        parts[found, HEIGHT], parts[found, WIDTH] = part_rows, part_cols
        parts[found, BIN], parts[found, ROW], parts[found, COL], parts[found, BAND] = b, row, col, band
        found += 1
        number = free_count[b]
        for f in range(number):
            for side in range(4):
                scratch[f, side] = free[b, f, side]
        number = min(room, cut_free(scratch, number, row, col, row + part_rows, col + part_cols, 1, 1))
        _keep_free(free, free_count, answers, b, scratch, 0, number)
        if number == 0:
            lives = _drop(live, lives, b)
        if needed > 0 and stretch_count[b] + 2 <= stretch_room:
            stretch_count[b] = take_bands(
                stretches, b * stretch_room, stretch_count[b], col, col + part_cols, band, needed
            )
        if b == opened:
            opened += 1
        # the rests: below and right, the corner with the one that the matrix prefers
        across = genes[w, ORIENT]
        if part_rows < height:
            wide = width if across else part_cols
            count = _wait(waiting, heap, count, genes, measure, w, top + part_rows, left, height - part_rows, wide, age)
            age += 1
        if part_cols < width:
            high = part_rows if across else height
            count = _wait(waiting, heap, count, genes, measure, w, top, left + part_cols, high, width - part_cols, age)
            age += 1
    return unplaced, found


@compiled
def _keep_free(free: Ints, free_count: Ints, answers: Ints, b: int, rects: Ints, first: int, count: int) -> None:
    """`rects[first:first + count]` become the free rectangles of bin b, which will be asked anew."""
    free_count[b] = count
    for f in range(count):
        for side in range(4):
            free[b, f, side] = rects[first + f, side]
    for kind in range(KINDS):
        answers[kind, b, SCORE] = UNKNOWN


@compiled
def _drop(live: Ints, count: int, b: int) -> int:
    """Take bin b out of the list; the new count."""
    kept = 0
    for i in range(count):
        if live[i] != b:
            live[kept] = live[i]
            kept += 1
    return kept


@inlined
def _start(wholes: Ints, genes: Ints, w: int, measure: int, waiting: Ints, heap: Ints, count: int) -> int:
    """What the tiles that fill a bin leave of a matrix."""
    rows, cols, tiled_rows, tiled_cols = wholes[w, ROWS], wholes[w, COLS], wholes[w, TILED_ROWS], wholes[w, TILED_COLS]
    across = genes[w, ORIENT] or tiled_rows == 0
    if tiled_rows < rows:
        count = _wait(
            waiting,
            heap,
            count,
            genes,
            measure,
            w,
            tiled_rows,
            0,
            rows - tiled_rows,
            cols if across else tiled_cols,
            count,
        )
    if tiled_rows > 0 and tiled_cols < cols:
        count = _wait(
            waiting,
            heap,
            count,
            genes,
            measure,
            w,
            0,
            tiled_cols,
            tiled_rows if across else rows,
            cols - tiled_cols,
            count,
        )
    return count


@inlined
def _wait(
    waiting: Ints,
    heap: Ints,
    count: int,
    genes: Ints,
    measure: int,
    w: int,
    top: int,
    left: int,
    height: int,
    width: int,
    age: int,
) -> int:
    """Into the queue; the new count."""
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
    return push(waiting, heap, count, w, top, left, height, width, large * genes[w, WEIGHT], age)

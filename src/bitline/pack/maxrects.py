"""The compiled heart of the packer: pieces in a given order into maximal free rectangles (Jylanki 2010).

First fit in the given order puts into bin b, one after another, all pieces that bins 0..b-1 refused and that still
fit; so one bin is filled at a time and one list of free rectangles is enough. Import it only where something is packed:
numba loads slowly, and the first call on a machine compiles.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:  # numba has no types of its own
    F = TypeVar("F")

    def compiled(function: F) -> F: ...

else:
    from numba import njit

    compiled = njit(cache=True)

Ints = npt.NDArray[np.int64]

SHORT_SIDE, LONG_SIDE, AREA, TOP_LEFT = range(4)
RULES = (SHORT_SIDE, LONG_SIDE, AREA, TOP_LEFT)


@compiled
def first_fit(order: Ints, sizes: Ints, rows: int, cols: int, rule: int, max_bins: int, positions: Ints) -> int:
    """Bins used, or `max_bins + 1` where they are not enough; `positions[piece]` becomes (bin, row, col).

    `sizes[piece]` is (rows, cols). All arrays are contiguous.
    """
    waiting = order.copy()
    count = len(order)
    low_rows, low_cols = rows, cols  # of the waiting pieces: lower or narrower free rectangles are not kept
    for piece in order:
        low_rows, low_cols = min(low_rows, sizes[piece, 0]), min(low_cols, sizes[piece, 1])
    free = np.empty((256, 4), np.int64)
    start = 0  # waiting[start : start + count]
    bins = 0
    while count > 0:
        if bins == max_bins:
            return max_bins + 1
        free[0, 0], free[0, 1], free[0, 2], free[0, 3] = 0, 0, rows, cols
        free_count = 1
        tallest, widest = rows, cols  # of the free rectangles
        no_height, no_width = rows + 1, cols + 1  # the last refused: free rectangles only shrink, so no larger one fits
        next_rows, next_cols = rows, cols
        refused = 0
        seen = 0
        for turn in range(start, start + count):
            if free_count == 0:  # full
                break
            seen += 1
            piece = waiting[turn]
            height, width = sizes[piece, 0], sizes[piece, 1]
            best = -1
            if height <= tallest and width <= widest and (height < no_height or width < no_width):
                best = _choose(free, free_count, height, width, rule)
                if best < 0:
                    no_height, no_width = height, width
            if best < 0:
                waiting[start + refused] = piece
                refused += 1
                next_rows, next_cols = min(next_rows, height), min(next_cols, width)
                continue
            row, col = free[best, 0], free[best, 1]
            positions[piece, 0], positions[piece, 1], positions[piece, 2] = bins, row, col
            if len(free) < 6 * free_count:  # what `_cut` asks for
                free = np.concatenate((free, np.empty((6 * free_count, 4), np.int64)))
            free_count = _cut(free, free_count, row, col, row + height, col + width, low_rows, low_cols)
            tallest, widest = 0, 0
            for f in range(free_count):
                tallest, widest = max(tallest, free[f, 2] - free[f, 0]), max(widest, free[f, 3] - free[f, 1])
        if seen < count:  # the others wait as well, behind the refused ones
            next_rows, next_cols = min(next_rows, low_rows), min(next_cols, low_cols)
            for turn in range(refused):
                waiting[start + seen - 1 - turn] = waiting[start + refused - 1 - turn]
            start += seen - refused
            refused += count - seen
        count = refused
        low_rows, low_cols = next_rows, next_cols
        bins += 1
    return bins


@compiled
def _choose(free: Ints, count: int, height: int, width: int, rule: int) -> int:
    """The free rectangle (row, col, row end, col end) to take, or -1 where none is large enough.

    The one with the smallest shorter left-over side (`SHORT_SIDE`), or longer one, or area, or the one that starts
    first (`TOP_LEFT`); ties go to the side not yet compared, then to the first of the list.
    """
    best, best_score, best_second = -1, 0, 0
    for f in range(count):
        slack_rows = free[f, 2] - free[f, 0] - height
        slack_cols = free[f, 3] - free[f, 1] - width
        if slack_rows < 0 or slack_cols < 0:
            continue
        short, long = min(slack_rows, slack_cols), max(slack_rows, slack_cols)
        if rule == SHORT_SIDE:
            score, second = short, long
        elif rule == LONG_SIDE:
            score, second = long, short
        elif rule == AREA:
            score, second = (slack_rows + height) * (slack_cols + width), short
        else:
            score, second = free[f, 0], free[f, 1]
        if best < 0 or score < best_score or (score == best_score and second < best_second):
            best, best_score, best_second = f, score, second
    return best


@compiled
def _cut(free: Ints, count: int, row: int, col: int, row_end: int, col_end: int, low_rows: int, low_cols: int) -> int:
    """Take the piece out of the free list, in place; the new count. No rectangle left contains another.

    `free` has room for 6 times `count`: up to 4 rests of each, and the touched ones, which wait at its end. A rectangle
    that the piece does not touch was maximal before, so it lies in no rest; only the rests are tested.
    """
    kept = 0
    touched = 0
    room = len(free)
    for f in range(count):
        a0, b0, a1, b1 = free[f, 0], free[f, 1], free[f, 2], free[f, 3]
        if a0 < row_end and row < a1 and b0 < col_end and col < b1:
            touched += 1
            target = room - touched
        else:
            target = kept
            kept += 1
            if target == f:
                continue
        free[target, 0], free[target, 1], free[target, 2], free[target, 3] = a0, b0, a1, b1
    end = kept
    for t in range(room - 1, room - 1 - touched, -1):
        for side in range(4):
            a0, b0, a1, b1 = free[t, 0], free[t, 1], free[t, 2], free[t, 3]
            if side == 0:
                a1 = row
            elif side == 1:
                a0 = row_end
            elif side == 2:
                b1 = col
            else:
                b0 = col_end
            if a1 - a0 >= low_rows and b1 - b0 >= low_cols:
                end = _add_maximal(free, kept, end, a0, b0, a1, b1, (2, 0, 3, 1)[side])
    return end


@compiled
def _add_maximal(free: Ints, kept: int, end: int, a0: int, b0: int, a1: int, b1: int, edge: int) -> int:
    """Append (a0, b0)-(a1, b1) unless one of `free[:end]` contains it; drop those of `free[kept:end]` inside it.

    Its coordinate `edge` is a side of the piece that was placed, and both kinds end there as well: what holds all rows
    of a rest beside the piece has rows of the piece, so it may not reach past that side.
    """
    side = (a0, b0, a1, b1)[edge]
    for f in range(end):
        if free[f, edge] != side:
            continue
        if free[f, 0] <= a0 and free[f, 1] <= b0 and a1 <= free[f, 2] and b1 <= free[f, 3]:
            return end
    last = end
    end = kept
    for f in range(kept, last):
        c0, d0, c1, d1 = free[f, 0], free[f, 1], free[f, 2], free[f, 3]
        if free[f, edge] == side and a0 <= c0 and b0 <= d0 and c1 <= a1 and d1 <= b1:
            continue
        if end < f:
            free[end, 0], free[end, 1], free[end, 2], free[end, 3] = c0, d0, c1, d1
        end += 1
    free[end, 0], free[end, 1], free[end, 2], free[end, 3] = a0, b0, a1, b1
    return end + 1

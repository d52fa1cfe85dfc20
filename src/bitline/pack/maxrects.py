"""The compiled heart of the packer: pieces in a given order into maximal free rectangles (Jylanki 2010).

First fit in the given order puts into bin b, one after another, all pieces that bins 0..b-1 refused and that still
fit; so one bin is filled at a time and one list of free rectangles is enough. Import it only where something is packed:
numba loads slowly, and the first call on a machine compiles.

numba counts the references of an array, an atomic operation each, at a call whose callee leaves a loop early, raises or
binds an array anew, or calls what may raise and is not inlined. The functions called for every piece do none of these;
so a division by zero is not an error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:  # numba has no types of its own
    F = TypeVar("F")

    def compiled(function: F) -> F: ...
    def inlined(function: F) -> F: ...

else:
    from numba import njit

    compiled = njit(cache=True, error_model="numpy")
    inlined = njit(cache=True, error_model="numpy", forceinline=True)

Ints = npt.NDArray[np.int64]

SHORT_SIDE, LONG_SIDE, AREA, TOP_LEFT = range(4)
RULES = (SHORT_SIDE, LONG_SIDE, AREA, TOP_LEFT)


@compiled
def first_fit(order: Ints, sizes: Ints, rows: int, cols: int, rule: int, max_bins: int, positions: Ints) -> int:
    """Bins used, or `max_bins + 1` where they are not enough; `positions[piece]` becomes (bin, row, col).

    `sizes[piece]` is (rows, cols). All arrays are contiguous.
    """
    waiting = np.empty((len(order), 3), np.int64)  # height, width, piece
    bins, room = -1, 1024
    while bins < 0:
        bins = _decode(order, sizes, rows, cols, rule, max_bins, positions, waiting, np.empty((room, 4), np.int64))
        room *= 4
    return bins


@compiled
def _decode(
    order: Ints, sizes: Ints, rows: int, cols: int, rule: int, max_bins: int, positions: Ints, waiting: Ints, free: Ints
) -> int:
    """`first_fit` with room for a list of free rectangles; -1 where there is too little room."""
    placed = rows + 1  # the height of a piece that waits no more: too tall for any free rectangle
    for turn in range(len(order)):
        waiting[turn, 0], waiting[turn, 1], waiting[turn, 2] = sizes[order[turn], 0], sizes[order[turn], 1], order[turn]
    count, low_rows, low_cols = _compact(waiting, len(order), placed, rows, cols)
    left = count
    bins = 0
    while left > 0:
        if bins == max_bins:
            return max_bins + 1
        free[0, 0], free[0, 1], free[0, 2], free[0, 3] = 0, 0, rows, cols
        free_count = 1
        tallest, widest = rows, cols  # of the free rectangles
        no_height, no_width = rows + 1, cols + 1  # the last refused: free rectangles only shrink, so no larger one fits
        for turn in range(count):
            height, width = waiting[turn, 0], waiting[turn, 1]
            if height > tallest or width > widest or (height >= no_height and width >= no_width):
                continue
            best = _choose(free, free_count, height, width, rule)
            if best < 0:
                no_height, no_width = height, width
                continue
            row, col = free[best, 0], free[best, 1]
            piece = waiting[turn, 2]
            positions[piece, 0], positions[piece, 1], positions[piece, 2] = bins, row, col
            waiting[turn, 0] = placed
            left -= 1
            if len(free) < 6 * free_count:  # what `cut_free` asks for
                return -1
            free_count = cut_free(free, free_count, row, col, row + height, col + width, low_rows, low_cols)
            if free_count == 0:
                break
            tallest, widest = 0, 0
            for f in range(free_count):
                tallest, widest = max(tallest, free[f, 2] - free[f, 0]), max(widest, free[f, 3] - free[f, 1])
        if 4 * left < 3 * count:
            count, low_rows, low_cols = _compact(waiting, count, placed, rows, cols)
        bins += 1
    return bins


@compiled
def _compact(waiting: Ints, count: int, placed: int, rows: int, cols: int) -> tuple[int, int, int]:
    """Close the gaps; how many wait, the least height among them and the least width.

    Lower or narrower free rectangles need not be kept.
    """
    end = 0
    for turn in range(count):
        height, width, piece = waiting[turn, 0], waiting[turn, 1], waiting[turn, 2]
        if height != placed:
            waiting[end, 0], waiting[end, 1], waiting[end, 2] = height, width, piece
            end += 1
            rows, cols = min(rows, height), min(cols, width)
    return end, rows, cols


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
def cut_free(
    free: Ints, count: int, row: int, col: int, row_end: int, col_end: int, low_rows: int, low_cols: int
) -> int:
    """Take the piece out of the free list, in place; the new count. No rectangle left contains another.

    `free` has room for 6 times `count`: up to 4 rests of each, and at its end the touched ones and copies of those
    beside the piece. A rectangle that the piece does not touch was maximal before, so it lies in no rest; a rest lies
    in one only if that ends at the same side of the piece: what holds all rows of a rest beside the piece has rows of
    the piece, so it may not reach past that side. The same holds of two rests.
    """
    kept = touched = 0
    near = end_near = len(free) - count
    for f in range(count):
        a0, b0, a1, b1 = free[f, 0], free[f, 1], free[f, 2], free[f, 3]
        if a0 < row_end and row < a1 and b0 < col_end and col < b1:
            touched += 1
            target = len(free) - touched
        else:
            if (a1 == row) | (a0 == row_end) | (b1 == col) | (b0 == col_end):
                near -= 1
                free[near, 0], free[near, 1], free[near, 2], free[near, 3] = a0, b0, a1, b1
            target = kept
            kept += 1
            if target == f:
                continue
        free[target, 0], free[target, 1], free[target, 2], free[target, 3] = a0, b0, a1, b1
    end = kept
    for t in range(len(free) - 1, len(free) - 1 - touched, -1):
        for side in range(4):
            a0, b0, a1, b1 = free[t, 0], free[t, 1], free[t, 2], free[t, 3]
            if side == 0:
                edge, border, a1 = 2, row, row
            elif side == 1:
                edge, border, a0 = 0, row_end, row_end
            elif side == 2:
                edge, border, b1 = 3, col, col
            else:
                edge, border, b0 = 1, col_end, col_end
            if a1 - a0 < low_rows or b1 - b0 < low_cols:
                continue
            if _inside(free, near, end_near, edge, border, a0, b0, a1, b1):
                continue
            if _inside(free, kept, end, edge, border, a0, b0, a1, b1):
                continue
            end = _drop_inner(free, kept, end, edge, border, a0, b0, a1, b1)
            free[end, 0], free[end, 1], free[end, 2], free[end, 3] = a0, b0, a1, b1
            end += 1
    return end


@compiled
def _inside(free: Ints, first: int, last: int, edge: int, border: int, a0: int, b0: int, a1: int, b1: int) -> bool:
    """Whether one of `free[first:last]` whose coordinate `edge` is `border` contains (a0, b0)-(a1, b1)."""
    f = first
    while f < last and not (
        free[f, edge] == border and free[f, 0] <= a0 and free[f, 1] <= b0 and a1 <= free[f, 2] and b1 <= free[f, 3]
    ):
        f += 1
    return f < last


@compiled
def _drop_inner(free: Ints, first: int, last: int, edge: int, border: int, a0: int, b0: int, a1: int, b1: int) -> int:
    """Drop those of `free[first:last]` that lie in (a0, b0)-(a1, b1), whose coordinate `edge` is `border`; the end."""
    end = first
    for f in range(first, last):
        c0, d0, c1, d1 = free[f, 0], free[f, 1], free[f, 2], free[f, 3]
        if free[f, edge] == border and a0 <= c0 and b0 <= d0 and c1 <= a1 and d1 <= b1:
            continue
        if end < f:
            free[end, 0], free[end, 1], free[end, 2], free[end, 3] = c0, d0, c1, d1
        end += 1
    return end

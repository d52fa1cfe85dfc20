"""Rectangles that share a cell: all pairs, without looking at all pairs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

I64 = npt.NDArray[np.int64]

PAIRS: Final = 1 << 20
"""Pairs looked at together."""


def touching(plane: I64, boxes: I64) -> Iterator[tuple[int, int]]:
    """Numbers i < j of rectangles of one plane that share a cell.

    `plane` [n] says where each of the `boxes` [n, 4] = (row, col, row end, col end) lies; none is empty, no number is
    negative or above 2^40. Sweeps along the rows or the columns, whichever has fewer intervals in common.
    """
    if len(plane) < 2:
        return
    along_rows, along_cols = (_meeting(plane, boxes[:, axis], boxes[:, axis + 2]) for axis in (0, 1))
    axis, (order, later) = (1, along_rows) if along_rows[1].sum() <= along_cols[1].sum() else (0, along_cols)
    first, end = boxes[order, axis], boxes[order, axis + 2]
    before = np.concatenate(([0], np.cumsum(later)))
    at = 0
    while at < len(order):
        stop = max(at + 1, int(np.searchsorted(before, before[at] + PAIRS, side="right")) - 1)
        one = np.repeat(np.arange(at, stop), later[at:stop])
        other = one + 1 + np.arange(len(one)) - (before[one] - before[at])
        shared = (first[one] < end[other]) & (first[other] < end[one])
        pairs = np.sort(np.column_stack((order[one[shared]], order[other[shared]])), axis=1)
        yield from ((int(i), int(j)) for i, j in pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))])
        at = stop


def _meeting(plane: I64, first: I64, end: I64) -> tuple[I64, I64]:
    """(order, later): the interval at place k of `order` meets the `later[k]` that come next, and none after them."""
    order = np.lexsort((first, plane))
    lane = np.unique(plane, return_inverse=True)[1].reshape(-1) * (int(end.max()) + 1)
    starts, ends = (lane + first)[order], (lane + end)[order]
    return order, np.searchsorted(starts, ends) - np.arange(len(order)) - 1

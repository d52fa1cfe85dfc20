"""Load-aware packing: into a given number of bins, so that no bin has much more load than another.

    spread([Piece(rows=1, cols=4, load=5), Piece(rows=1, cols=4, load=5), Piece(rows=3, cols=4, load=1)],
           rows=4, cols=4, bins=2)
    -->  the two of load 5 in different bins

An array fires its blocks one after another, so the largest load of a bin is the interval of a pipeline. A placement
under a limit of load is searched (`spread_run`), the limit then lowered, half way to the largest that failed, down to
`spread_bounds.load_bound`; then bins are emptied and filled anew, the busiest with some others; at the end the sum of
squared loads is made smaller. Equal input gives equal placements, unless `seconds` end the search.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from bitline.pack.shapes import Piece, Rect, Spot
from bitline.pack.spread_bounds import load_bound

Ints = npt.NDArray[np.int64]

MOST_OPENING = 64
"""Free rectangles of an empty bin; where there are more, nothing is searched."""


def spread(
    pieces: Sequence[Piece],
    *,
    rows: int,
    cols: int,
    bins: int,
    opening: Sequence[Rect] = (),
    start: Sequence[Spot] | None = None,
    steps: int = 20_000,
    seed: int = 0,
    seconds: float | None = None,
) -> tuple[Spot, ...] | None:
    """A spot for every piece in bins 0..bins-1, with the smallest largest load that the search finds, and no larger
    than that of the placement `start`; None if it finds no placement at all, which proves nothing. `opening`: the
    maximal free rectangles of an empty bin, where that is more than a rectangle. No piece may exceed a bin."""
    from bitline.pack.spread_run import lowered

    assert all(0 < p.rows <= rows and 0 < p.cols <= cols for p in pieces), "cut first"
    free = np.array(opening or ((0, 0, rows, cols),), dtype=np.int64)
    if len(free) > MOST_OPENING:
        return None if start is None else tuple(start)
    full = [i for i, p in enumerate(pieces) if (p.rows, p.cols) == (rows, cols)]
    rest = [i for i, p in enumerate(pieces) if (p.rows, p.cols) != (rows, cols)]
    left = bins - len(full)
    if left < 0 or (rest and left == 0):
        return None
    spots = {i: Spot(bin=left + number, row=0, col=0) for number, i in enumerate(full)}
    if rest:
        table = np.array([(pieces[i].rows, pieces[i].cols, pieces[i].load) for i in rest], dtype=np.int64)
        floor, _ = load_bound([pieces[i] for i in rest], rows=rows, cols=cols, bins=left)
        until = None if seconds is None else time.monotonic() + seconds
        given = None if start is None else _numbered([start[i] for i in rest], left)
        positions = lowered(table, (rows, cols, free), left, floor, given, steps, seed, until)
        if positions is None:
            return None
        for i, (b, row, col) in zip(rest, positions.tolist(), strict=True):
            spots[i] = Spot(bin=b, row=row, col=col)
    return tuple(spots[i] for i in range(len(pieces)))


def _numbered(spots: Sequence[Spot], bins: int) -> Ints | None:
    """[piece, (bin, row, col)] in bins 0, 1, ...; None where these are too many."""
    number: dict[int, int] = {}
    positions = np.array([(number.setdefault(s.bin, len(number)), s.row, s.col) for s in spots], dtype=np.int64)
    return positions if len(number) <= bins else None

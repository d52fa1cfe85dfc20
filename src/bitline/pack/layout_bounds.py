"""How few bins that are more than a rectangle can hold the pieces: the certificate beside a layout.

The open cells of a bin fall into regions that no piece leaves: between edges, between rows and columns that are blocked
all along. The functions of `bounds` are superadditive, so that `sum f(rows_i) * g(cols_i)` over the pieces of a region
is at most `f` of its rows times `g` of its columns; a bin holds what its regions hold together. The bias rows of a bin
are a second packing of its own, of rectangles bands x cols.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import numpy as np
import numpy.typing as npt

from bitline.pack.dff import EXACT_FLOAT, dual_feasible
from bitline.pack.shapes import Bin, Piece

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Which = Literal["area", "dff", "bias", "bias-dff"]


def layout_bound(pieces: Sequence[Piece], bin: Bin) -> tuple[int, Which]:
    """(bins needed at least, which bound says so), the simplest of those that say as much.

    `area`: cells; `bias`: columns times bias rows; `dff` and `bias-dff`: the same two after the best pair of
    dual-feasible functions, which count pieces that cannot lie beside one another.
    """
    if not pieces:
        return 0, "area"
    cells = sum(piece.rows * piece.cols for piece in pieces)
    biased = [(piece.bands, piece.cols) for piece in pieces if piece.bands]
    shapes = regions(bin)
    columns = runs(open_cells(bin), axis=1)
    found: list[tuple[int, Which]] = [(-(-cells // bin.area) if bin.area else len(pieces), "area")]
    if biased and bin.bands and columns:
        demand = sum(bands * cols for bands, cols in biased)
        found.append((-(-demand // (bin.bands * sum(last - first for first, last in columns))), "bias"))
        found.append((_dff(biased, [(bin.bands, last - first) for first, last in columns]), "bias-dff"))
    if shapes:
        found.append((_dff([(piece.rows, piece.cols) for piece in pieces], shapes), "dff"))
    return max(found, key=lambda each: (each[0], each[1] in ("area", "bias"), each[1] == "area"))


def open_rows(bin: Bin) -> list[int]:
    """Rows where a region may end: top, edges, bottom."""
    return sorted({0, bin.rows, *(edge for edge in bin.edges if 0 < edge < bin.rows)})


def open_cells(bin: Bin) -> Bools:
    """[rows, cols]: which cells may be used."""
    cells = np.ones((bin.rows, bin.cols), dtype=np.bool_)
    for row, col, row_end, col_end in bin.blocked:
        cells[max(row, 0) : max(row_end, 0), max(col, 0) : max(col_end, 0)] = False
    return cells


def runs(cells: Bools, axis: int) -> list[tuple[int, int]]:
    """(first, last + 1) of all stretches of rows (axis 0) or columns (axis 1) that have an open cell."""
    lines = np.asarray(cells.any(axis=1 - axis), dtype=np.int8)
    edges = np.flatnonzero(np.diff(np.concatenate(([0], lines, [0]))))
    return [(int(first), int(last)) for first, last in edges.reshape(-1, 2)]


def regions(bin: Bin) -> list[tuple[int, int]]:
    """(rows, cols) of the rectangles of a bin that no piece leaves: cut at edges and at lines without an open cell."""
    cells = open_cells(bin)
    found: list[tuple[int, int]] = []
    waiting = [cells[top:bottom] for top, bottom in pairwise(open_rows(bin))]
    while waiting:
        part = waiting.pop()
        rows, cols = runs(part, axis=0), runs(part, axis=1)
        if rows == [(0, part.shape[0])] and cols == [(0, part.shape[1])]:
            found.append(part.shape)
        else:
            waiting += [part[r0:r1, c0:c1] for r0, r1 in rows for c0, c1 in cols]
    return found


def _dff(sizes: Sequence[tuple[int, int]], shapes: Sequence[tuple[int, int]]) -> int:
    """The best bound of all pairs of dual-feasible functions on the largest sides of all regions."""
    distinct, count = np.unique(np.asarray(sizes, dtype=np.int64), axis=0, return_counts=True)
    shape, times = np.unique(np.asarray(shapes, dtype=np.int64), axis=0, return_counts=True)
    largest = shape.max(axis=0)
    if (distinct > largest).any():
        return len(sizes)  # one of them fits no bin; the caller learns that from the packing
    tables: list[tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]] = []
    for side in (0, 1):
        both = np.concatenate((distinct[:, side], shape[:, side]))
        values = np.unique(dual_feasible(both, int(largest[side]))[0], axis=0).astype(np.float64)
        tables.append((values[:, : len(distinct)], values[:, len(distinct) :]))
    (rows, row_caps), (cols, col_caps) = tables
    scale = max(len(sizes), len(shapes)) * row_caps.max() * col_caps.max()
    assert scale < EXACT_FLOAT, "bins too large for exact sums"
    totals = (rows * count) @ cols.T
    caps = (row_caps * times) @ col_caps.T
    return int((-(-totals.astype(np.int64) // np.maximum(caps.astype(np.int64), 1))).max())

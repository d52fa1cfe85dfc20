"""Free cutting: whole matrices into as few bins as their area allows, cut wherever that fills a bin.

    cut_and_pack([Whole(rows=6, cols=4), Whole(rows=2, cols=4)], rows=4, cols=4, smallest=1)
    -->  2 bins; the first matrix as rows 0..3 and rows 4..5, the latter above the second matrix

A cut between columns costs a broadcast of inputs, a cut between rows one addition of partial sums per output. The
fewest bins come first, then the cheapest cuts. Equal input gives equal cuttings, unless `seconds` or `stop` end the
search.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np
import numpy.typing as npt

from bitline.pack.layout import start_states
from bitline.pack.layout_bounds import open_cells, regions, runs
from bitline.pack.shapes import Bin, Piece, Spot

Ints = npt.NDArray[np.int64]

ROWS, COLS, TILED_ROWS, TILED_COLS = 0, 1, 4, 5
WHOLE, ROW_OFFSET, COL_OFFSET, BIN = 0, 1, 2, 5
"""Columns of the tables of `cutting_decode`, whose import is slow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    """A matrix before any cut. Rows are cut at multiples of `row_step`; `bands` bias rows are needed over its columns,
    by the parts that start in its row 0; `load`: how often each part fires."""

    rows: int
    cols: int
    row_step: int = 1
    bands: int = 0
    load: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Rows row_offset..+rows-1 and columns col_offset..+cols-1 of a matrix, and where they lie."""

    row_offset: int
    col_offset: int
    rows: int
    cols: int
    spot: Spot


@dataclass(frozen=True, slots=True, kw_only=True)
class Cutting:
    """The parts of every matrix, by row and column. Bins that were empty are numbered by their first part."""

    bins: int
    bound: int
    parts: tuple[tuple[Part, ...], ...]
    steps: int

    @property
    def row_cuts(self) -> int:
        """Parts whose result is added to that of a part above them."""
        return sum(part.row_offset > 0 for parts in self.parts for part in parts)

    @property
    def col_cuts(self) -> int:
        """Parts of first rows, beyond one for each matrix."""
        return sum(part.row_offset == 0 for parts in self.parts for part in parts) - len(self.parts)

    @property
    def row_additions(self) -> int:
        """Partial sums added per output, all outputs of an MVM of every matrix counted once."""
        return sum(part.cols for parts in self.parts for part in parts if part.row_offset)


def cut_and_pack(
    wholes: Sequence[Whole],
    *,
    rows: int,
    cols: int,
    row_price: int = 2,
    col_price: int = 1,
    smallest: int = 8,
    least_bins: int = 0,
    steps: int = 4000,
    seconds: float | None = None,
    seed: int = 0,
) -> Cutting:
    """Cut and pack into plain bins of rows x cols. See `cut_into`, which always finds an answer here."""
    cutting = cut_into(
        wholes,
        Bin(rows=rows, cols=cols),
        row_price=row_price,
        col_price=col_price,
        smallest=smallest,
        least_bins=least_bins,
        steps=steps,
        seconds=seconds,
        seed=seed,
    )
    assert cutting is not None, "a part of every matrix fits an empty bin"
    return cutting


def cut_into(
    wholes: Sequence[Whole],
    bin: Bin,
    *,
    fixed: Sequence[tuple[Piece, Spot]] = (),
    row_price: int = 2,
    col_price: int = 1,
    smallest: int = 8,
    least_bins: int = 0,
    max_bins: int | None = None,
    steps: int = 4000,
    seconds: float | None = None,
    stop: Callable[[], bool] = lambda: False,
    seed: int = 0,
) -> Cutting | None:
    """Cut and pack into bins that may be more than a rectangle; None if that took over `max_bins`.

    `fixed` pieces lie where they lie and take cells and bias rows; their bins count and keep their numbers.
    No side of a part is below `smallest`, unless it is a side of the matrix or what `row_step` leaves of it. From
    the bound or `least_bins` on, every number of bins gets at most `steps` steps; of the first that suffices, the
    cheapest cutting is kept. More bins than needed give fewer cuts. Once `seconds` are over or `stop` says so, every
    number of bins gets a few steps, so that there is an answer soon.
    """
    from bitline.pack.cutting_run import fewest_bins

    filled = sorted({spot.bin for _, spot in fixed})
    bound = cut_bound(wholes, bin, [piece for piece, _ in fixed])
    if not wholes:
        return Cutting(bins=len(filled), bound=bound, parts=(), steps=0)
    assert min(row_price, col_price) >= 0, "a cut earns nothing"
    until = None if seconds is None else time.monotonic() + seconds
    table = _table(wholes, bin, smallest, tiles=bin.plain and not fixed)
    live = (table[:, TILED_ROWS] < table[:, ROWS]) | (table[:, TILED_COLS] < table[:, COLS])
    tiles = _tiles(table, bin)
    found, done = np.zeros((0, 9), dtype=np.int64), 0
    if live.any():
        most = None if max_bins is None else max_bins - len(tiles)
        answer = fewest_bins(
            np.ascontiguousarray(table[live]),
            bin,
            start_states(bin, fixed, filled),
            (row_price, col_price),
            (max(max(bound, least_bins) - len(tiles), len(filled)), most),
            steps,
            until,
            stop,
            seed,
        )
        if answer is None:
            return None
        found, done = answer
        found[:, WHOLE] = np.flatnonzero(live)[found[:, WHOLE]]
    first = max(1 + int(found[:, BIN].max(initial=-1)), len(filled))
    tiles[:, BIN] += first
    bins = first + len(tiles)
    if max_bins is not None and bins > max_bins:
        return None
    parts = _parts(np.concatenate((found, tiles)), len(wholes), filled)
    return Cutting(bins=bins, bound=bound, parts=parts, steps=done)


def cut_bound(wholes: Sequence[Whole], bin: Bin, others: Sequence[Piece] = ()) -> int:
    """Bins needed at least, however the matrices are cut, beside other pieces: by cells and by bias rows."""
    cells = sum(each.rows * each.cols for each in (*wholes, *others))
    bound = -(-cells // bin.area)
    if bin.bands:
        open_cols = sum(last - first for first, last in runs(open_cells(bin), axis=1))
        bound = max(bound, -(-sum(each.cols * each.bands for each in (*wholes, *others)) // (open_cols * bin.bands)))
    return bound


def _table(wholes: Sequence[Whole], bin: Bin, smallest: int, *, tiles: bool) -> Ints:
    """[matrix, (columns of `cutting_decode`)]. `tiles`: parts that fill a bin are cut off. They suit bins that are
    nothing but a rectangle, and take room from others where there are bins to be filled up."""
    shapes = regions(bin)
    high, wide = max(rows for rows, _ in shapes), max(cols for _, cols in shapes)
    table = np.zeros((len(wholes), 8), dtype=np.int64)
    for line, whole in zip(table, wholes, strict=True):
        assert whole.rows <= high or whole.row_step <= high, "no cut between two row steps"
        assert 0 <= whole.bands <= bin.bands, "bias rows that no bin has"
        small_rows = min(smallest, whole.rows, (high + 1) // 2) if whole.row_step == 1 else 1
        small_cols = min(smallest, whole.cols, (wide + 1) // 2)
        down, across = _tiles_along(whole.rows, high, small_rows), _tiles_along(whole.cols, wide, small_cols)
        tiled = tiles and down > 0 < across and high % whole.row_step == 0
        line[:] = (
            whole.rows,
            whole.cols,
            whole.row_step,
            whole.bands,
            down * high if tiled else 0,
            across * wide if tiled else 0,
            small_rows,
            small_cols,
        )
    return table


def _tiles_along(side: int, room: int, small: int) -> int:
    """How many tiles are cut off, so that no rest is too small."""
    return side // room - (0 < side % room < small)


def _tiles(table: Ints, bin: Bin) -> Ints:
    """Parts that fill a bin, in bins 0, 1, ..."""
    tiles: list[tuple[int, ...]] = []
    for w, line in enumerate(table.tolist()):
        for row in range(0, line[TILED_ROWS], bin.rows):
            for col in range(0, line[TILED_COLS], bin.cols):
                tiles.append((w, row, col, bin.rows, bin.cols, len(tiles), 0, 0, 0))
    return np.array(tiles, dtype=np.int64).reshape(-1, 9)


def _parts(found: Ints, wholes: int, filled: Sequence[int]) -> tuple[tuple[Part, ...], ...]:
    """In bins with their numbers: first come those that were `filled` before."""
    parts: list[list[Part]] = [[] for _ in range(wholes)]
    number = dict(enumerate(filled))
    taken = set(filled)
    empty = (n for n in count() if n not in taken)
    order = np.lexsort((found[:, COL_OFFSET], found[:, ROW_OFFSET], found[:, WHOLE]))
    for w, row_offset, col_offset, rows, cols, b, row, col, band in found[order].tolist():
        if b not in number:
            number[b] = next(empty)
        spot = Spot(bin=number[b], row=row, col=col, band=band)
        parts[w].append(Part(row_offset=row_offset, col_offset=col_offset, rows=rows, cols=cols, spot=spot))
    return tuple(map(tuple, parts))

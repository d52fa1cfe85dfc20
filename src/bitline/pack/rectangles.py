"""Pack rectangles into as few equal bins as are found; without rotation, for word lines are no bit lines.

    pack([(2, 3), (2, 3), (4, 1)], rows=4, cols=4)
    -->  Packing(bins=1, bin_of=(0, 0, 0), row_start=(0, 2, 0), col_start=(0, 0, 3))

MaxRects for every pair of a sort order and a placing rule; the fewest bins are kept, and the search ends where
`bounds.lower_bound` is met. Where it is not, `steps` or `seconds` of a search for one bin fewer (`pack.search`) may
follow. Equal input gives an equal packing, but for `seconds`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt

from bitline.core.interrupts import uninterrupted
from bitline.pack.bounds import lower_bound
from bitline.pack.search import fewer

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Packing:
    """Where each piece lies, in the order of the pieces. Bins are numbered by their first piece."""

    bins: int
    bin_of: tuple[int, ...]
    row_start: tuple[int, ...]
    col_start: tuple[int, ...]


def pack(
    pieces: Sequence[tuple[int, int]],
    *,
    rows: int,
    cols: int,
    max_bins: int | None = None,
    steps: int = 0,
    seconds: float | None = None,
    seed: int = 0,
) -> Packing | None:
    """Positions of all `pieces`, given as (rows, cols), in bins of `rows` x `cols`; None if they took over `max_bins`.

    The search ends after `steps`, or, where `seconds` are given, when they are over. None proves nothing unless
    `bounds.lower_bound` is above `max_bins` too. No piece may exceed a bin.
    """
    limit = len(pieces) if max_bins is None else max_bins
    if not steps and seconds is None:
        return multistart(pieces, rows=rows, cols=cols, max_bins=limit)
    end = None if seconds is None else time.perf_counter() + seconds
    best: Packing | None = None
    for best in packings(pieces, rows=rows, cols=cols, steps=steps or None, seed=seed):  # noqa: B007 the last counts
        if end is not None and time.perf_counter() >= end:
            break
    return best if best is not None and best.bins <= limit else None


def packings(
    pieces: Sequence[tuple[int, int]], *, rows: int, cols: int, steps: int | None = None, seed: int = 0
) -> Iterator[Packing]:
    """The best packing so far, again and again, every few hundredths of a second; the caller stops when it likes.

    Ends where the lower bound is met or after `steps`.
    """
    whole, sizes = _parts(pieces, rows, cols)
    floor, _ = lower_bound([(r, c) for r, c in sizes.tolist()], rows, cols)
    found = _multistart(sizes, rows, cols, floor, len(pieces))
    assert found is not None, "there is always a bin for every piece"
    packing = numbered(whole, *found)
    yield packing
    if found[0] == floor:
        return
    bins = found[0]
    for state in fewer(sizes, rows, cols, found[1], floor=floor, seed=seed, steps=steps):
        if state.bins < bins:
            bins, packing = state.bins, numbered(whole, state.bins, state.positions)
        yield packing


def multistart(pieces: Sequence[tuple[int, int]], *, rows: int, cols: int, max_bins: int) -> Packing | None:
    """The packing with the fewest bins of all sort orders and rules, the first found of equals; None above the
    limit."""
    whole, sizes = _parts(pieces, rows, cols)
    limit = max_bins - int(whole.sum())
    floor, _ = lower_bound([(r, c) for r, c in sizes.tolist()], rows, cols)
    if floor > limit:
        return None
    found = _multistart(sizes, rows, cols, floor, limit)
    return None if found is None else numbered(whole, *found)


def _parts(pieces: Sequence[tuple[int, int]], rows: int, cols: int) -> tuple[npt.NDArray[np.bool_], Ints]:
    """Which pieces fill a bin, and the sizes of the others."""
    too_large = [piece for piece in pieces if not (0 < piece[0] <= rows and 0 < piece[1] <= cols)]
    assert not too_large, f"cut first: {too_large[:3]} in bins of {rows} x {cols}"
    sizes = np.asarray(pieces, dtype=np.int64).reshape(-1, 2)
    whole = (sizes == (rows, cols)).all(axis=1)
    return whole, sizes[~whole]


def numbered(whole: npt.NDArray[np.bool_], bins: int, part: Ints) -> Packing:
    """The packing of all pieces from that of those which are not `whole`: these have a bin each."""
    positions = np.zeros((len(whole), 3), dtype=np.int64)
    positions[~whole] = part
    whole_bins = int(whole.sum())
    positions[whole, 0] = bins + np.arange(whole_bins)
    bin_of, row_start, col_start = positions.T.tolist()
    number: dict[int, int] = {}
    for b in bin_of:
        number.setdefault(b, len(number))
    return Packing(
        bins=bins + whole_bins,
        bin_of=tuple(number[b] for b in bin_of),
        row_start=tuple(row_start),
        col_start=tuple(col_start),
    )


def _multistart(sizes: Ints, rows: int, cols: int, floor: int, max_bins: int) -> tuple[int, Ints] | None:
    """(bins, [piece, (bin, row, col)]) of the packing with the fewest bins, the first found of equals."""
    if not len(sizes):
        return 0, np.zeros((0, 3), dtype=np.int64)

    from bitline.pack.maxrects import RULES, first_fit

    best: tuple[int, Ints] | None = None
    allowed = max_bins
    for order, rule in product(_orders(sizes), RULES):
        positions = np.zeros((len(sizes), 3), dtype=np.int64)
        with uninterrupted():
            bins = first_fit(order, sizes, rows, cols, rule, allowed, positions)
        if bins > allowed:
            continue
        best, allowed = (bins, positions), bins - 1
        if bins == floor:
            break
    return best


def _orders(sizes: Ints) -> Iterator[Ints]:
    """Large pieces first, by six notions of large; ties by rows, by cols, then as given."""
    r, c = sizes[:, 0], sizes[:, 1]
    for large in (r * c, np.maximum(r, c), r + c, r, c, np.minimum(r, c)):
        yield np.lexsort((-c, -r, -large)).astype(np.int64)

"""Pack rectangles into as few equal bins as the multistart finds; without rotation, for word lines are no bit lines.

    pack([(2, 3), (2, 3), (4, 1)], rows=4, cols=4)
    -->  Packing(bins=1, bin_of=(0, 0, 0), row_start=(0, 2, 0), col_start=(0, 0, 3))

MaxRects for every pair of a sort order and a placing rule; the fewest bins are kept, and the search ends where
`bounds.lower_bound` is met. Where it is not, `steps` of an order search (`pack.search`) may follow. Equal input gives
an equal packing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt

from bitline.core.interrupts import uninterrupted
from bitline.pack.bounds import lower_bound

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Packing:
    """Where each piece lies, in the order of the pieces. Bins are numbered by their first piece."""

    bins: int
    bin_of: tuple[int, ...]
    row_start: tuple[int, ...]
    col_start: tuple[int, ...]


def pack(
    pieces: Sequence[tuple[int, int]], *, rows: int, cols: int, max_bins: int | None = None, steps: int = 0
) -> Packing | None:
    """Positions of all `pieces`, given as (rows, cols), in bins of `rows` x `cols`; None if they took over `max_bins`.

    None proves nothing unless `bounds.lower_bound` is above `max_bins` too. No piece may exceed a bin.
    """
    too_large = [piece for piece in pieces if not (0 < piece[0] <= rows and 0 < piece[1] <= cols)]
    assert not too_large, f"cut first: {too_large[:3]} in bins of {rows} x {cols}"

    sizes = np.asarray(pieces, dtype=np.int64).reshape(-1, 2)
    whole = (sizes == (rows, cols)).all(axis=1)
    whole_bins = int(whole.sum())
    limit = len(pieces) if max_bins is None else max_bins
    found = _search(sizes[~whole], rows, cols, limit - whole_bins, steps)
    if found is None:
        return None
    part_bins, part_positions = found

    positions = np.zeros((len(pieces), 3), dtype=np.int64)
    positions[~whole] = part_positions
    positions[whole, 0] = part_bins + np.arange(whole_bins)
    bin_of, row_start, col_start = positions.T.tolist()
    number: dict[int, int] = {}
    for b in bin_of:
        number.setdefault(b, len(number))
    return Packing(
        bins=part_bins + whole_bins,
        bin_of=tuple(number[b] for b in bin_of),
        row_start=tuple(row_start),
        col_start=tuple(col_start),
    )


def _search(sizes: Ints, rows: int, cols: int, max_bins: int, steps: int) -> tuple[int, Ints] | None:
    """(bins, [piece, (bin, row, col)]) of the packing with the fewest bins, the first found of equals."""
    floor, _ = lower_bound([(r, c) for r, c in sizes.tolist()], rows, cols)
    if floor > max_bins:
        return None
    if not len(sizes):
        return 0, np.zeros((0, 3), dtype=np.int64)

    from bitline.pack.maxrects import RULES, first_fit

    best: tuple[int, Ints] | None = None
    start = next(_orders(sizes)), RULES[0]
    allowed = max_bins
    for order, rule in product(_orders(sizes), RULES):
        positions = np.zeros((len(sizes), 3), dtype=np.int64)
        with uninterrupted():
            bins = first_fit(order, sizes, rows, cols, rule, allowed, positions)
        if bins > allowed:
            continue
        best, start, allowed = (bins, positions), (order, rule), bins - 1
        if bins == floor:
            break
    if not steps or (best is not None and best[0] == floor):
        return best
    return _improved(best, start, sizes, (rows, cols), (floor, max_bins), steps)


def _improved(
    best: tuple[int, Ints] | None,
    start: tuple[Ints, int],
    sizes: Ints,
    shape: tuple[int, int],
    limits: tuple[int, int],
    steps: int,
) -> tuple[int, Ints] | None:
    """The better of `best` and what an order search from `start` finds; None where both take over `limits[1]`."""
    from bitline.pack.search import SEED, improve

    order, rule = start
    positions = np.zeros((len(sizes), 3), dtype=np.int64)
    with uninterrupted():
        bins = improve(order.copy(), sizes, *shape, rule, limits[0], steps, np.array([SEED], np.int64), positions)
    if best is not None and best[0] <= bins:
        return best
    return (bins, positions) if bins <= limits[1] else None


def _orders(sizes: Ints) -> Iterator[Ints]:
    """Large pieces first, by six notions of large; ties by rows, by cols, then as given."""
    r, c = sizes[:, 0], sizes[:, 1]
    for large in (r * c, np.maximum(r, c), r + c, r, c, np.minimum(r, c)):
        yield np.lexsort((-c, -r, -large)).astype(np.int64)

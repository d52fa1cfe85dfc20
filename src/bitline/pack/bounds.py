"""How few bins can hold the pieces at all: the certificate beside a packing.

Groups that have a bin of their own are closed first (`pack.reduce`). The others need at least as many bins as their
area fills (`area`), as the best pair of dual-feasible functions says (`dff`, see `pack.dff`), and as there are pieces
of which no two share a bin (`clique`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from bitline.pack.conflicts import conflicts, greedy_clique
from bitline.pack.dff import strongest
from bitline.pack.reduce import Group, Kind, closed

Ints = npt.NDArray[np.int64]
Which = Literal["area", "dff", "clique", "scale"]

MOST_IN_CLIQUE: Final = 150  # kinds among which a clique is looked for, the largest


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """At least `value` bins, and what it takes to see it: those of the `groups`, one after another, and then

    * area: the cells of all pieces, no group;
    * dff, scale: `row_values` and `col_values` of their sizes, and of a bin (`row_cap`, `col_cap`): no sizes that fit
      into a bin together are worth more than it, by rows and by columns; the pieces are worth their products;
    * clique: as many others, of which no two share a bin.
    """

    value: int
    which: Which
    groups: tuple[Group, ...] = ()
    row_values: tuple[tuple[int, int], ...] = ()
    col_values: tuple[tuple[int, int], ...] = ()
    row_cap: int = 0
    col_cap: int = 0
    clique: tuple[Kind, ...] = ()


def area_bound(pieces: Sequence[tuple[int, int]], rows: int, cols: int) -> int:
    """Cells of all pieces by cells of a bin, rounded up."""
    return -(-sum(r * c for r, c in pieces) // (rows * cols))


def dff_bound(pieces: Sequence[tuple[int, int]], rows: int, cols: int) -> int:
    """The best bound of all pairs of dual-feasible functions; never below `area_bound`, whose pair is among them."""
    if not pieces:
        return 0
    kinds, count = kinds_of(pieces)
    return max(strongest(kinds, count, rows, cols)[0], area_bound(pieces, rows, cols))


def lower_bound(pieces: Sequence[tuple[int, int]], rows: int, cols: int) -> tuple[int, Which]:
    """(bins needed at least, which bound says so); the simplest of those that say as much."""
    found = best_bound(pieces, rows, cols)
    return found.value, found.which


def best_bound(pieces: Sequence[tuple[int, int]], rows: int, cols: int) -> Bound:
    """The best of the cheap bounds: a few milliseconds for hundreds of pieces."""
    best = Bound(value=area_bound(pieces, rows, cols), which="area")
    if not pieces:
        return best
    kinds, count = kinds_of(pieces)
    groups, left = closed(kinds, count, rows, cols)
    for some, others in ((), count), (groups, left):
        found = _of_the_others(kinds[others > 0], others[others > 0], rows, cols, some)
        best = found if found.value > best.value else best
        if not groups:
            break
    return best


def kinds_of(pieces: Sequence[tuple[int, int]]) -> tuple[Ints, Ints]:
    """The different sizes, and how many pieces have each."""
    kinds, count = np.unique(np.asarray(pieces, dtype=np.int64), axis=0, return_counts=True)
    return kinds, count.astype(np.int64)


def _of_the_others(kinds: Ints, count: Ints, rows: int, cols: int, groups: tuple[Group, ...]) -> Bound:
    bins = sum(group.times for group in groups)
    areas = kinds[:, 0] * kinds[:, 1]
    area = bins + -(-int(areas @ count) // (rows * cols))
    best = Bound(value=area, which="area")
    if groups:  # the cells of some pieces only: sizes are their own values
        best = Bound(
            value=area,
            which="dff",
            groups=groups,
            row_values=value_table(kinds[:, 0], kinds[:, 0]),
            col_values=value_table(kinds[:, 1], kinds[:, 1]),
            row_cap=rows,
            col_cap=cols,
        )
    if not len(kinds):
        return best
    value, (row_values, row_cap), (col_values, col_cap) = strongest(kinds, count, rows, cols)
    if bins + value > best.value:
        best = Bound(
            value=bins + value,
            which="dff",
            groups=groups,
            row_values=value_table(kinds[:, 0], row_values),
            col_values=value_table(kinds[:, 1], col_values),
            row_cap=row_cap,
            col_cap=col_cap,
        )
    clique = _clique(kinds, count, rows, cols)
    if bins + len(clique) > best.value:
        return Bound(value=bins + len(clique), which="clique", groups=groups, clique=clique)
    return best


def value_table(sizes: Ints, values: Ints) -> tuple[tuple[int, int], ...]:
    """(size, value) of each size once."""
    return tuple(sorted(set(zip(sizes.tolist(), values.tolist(), strict=True))))


def _clique(kinds: Ints, count: Ints, rows: int, cols: int) -> tuple[Kind, ...]:
    """Pieces of which no two share a bin. More than one of a kind only where none shares a bin with its like."""
    largest = np.argsort(-(kinds[:, 0] * cols + kinds[:, 1] * rows), kind="stable")[:MOST_IN_CLIQUE]
    some = kinds[largest]
    with_itself = (2 * some[:, 0] > rows) & (2 * some[:, 1] > cols)
    weight = np.where(with_itself, count[largest], 1)
    against = conflicts(some, rows, cols)
    order = np.argsort(-weight, kind="stable").astype(np.int64)
    clique = greedy_clique(against, order)
    return tuple((int(some[i, 0]), int(some[i, 1])) for i in clique for _ in range(int(weight[i])))

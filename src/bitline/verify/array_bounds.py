"""Lower bounds of the arrays that some blocks need, to recompute what a certificate claims. Exact, in integers.

A dual-feasible function f of a size C has f(x_1) + f(x_2) + ... <= f(C) for all sizes with x_1 + x_2 + ... <= C. With
one for the rows and one for the columns, the sum of f(rows) g(cols) over the blocks of an array is at most f(C) g(D).
The functions here add up to no more than the whole for any sizes (superadditive), so f(region) takes the place of f(C)
in the regions between edges, and what is blocked counts as a block that every array has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import isqrt
from typing import Final

import numpy as np
import numpy.typing as npt

from bitline.ir.placement import ArrayShape, Rect

I64 = npt.NDArray[np.int64]

STAIRS: Final = 100
"""Steps of u^(k); Fekete and Schepers (2001) try as many."""
ROUNDINGS: Final = 2048
"""Largest p of the other functions: all of them in arrays of up to 4096 rows and columns."""
EXACT: Final = 2**53
"""Integers below are exact in the doubles that BLAS multiplies."""
ROUNDED: Final = 1e-12
"""Quotients of doubles that lie closer together are compared as integers."""
LOWS: Final = 8
"""Heights of regions that are told apart."""
AT_ONCE: Final = 512
"""Functions of the rows, and blocks, that are compared with all others together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """`sizes` [n, 3]: rows, columns and bias rows of blocks, each of which fits an array; arrays in use in any case.

    `placed_in` arrays they do lie: no bound is above, and the search for a better one ends there.
    """

    sizes: I64
    held: int = 0
    placed_in: int = EXACT


def area(demand: Demand, shape: ArrayShape) -> int:
    """Cells of all blocks by cells that may be used."""
    usable = shape.rows * shape.cols - sum((r1 - r0) * (c1 - c0) for r0, c0, r1, c1 in blocked_parts(shape))
    taken = sum(rows * cols for rows, cols, _ in demand.sizes.tolist())
    return -(-taken // usable) if usable else 0


def bias(demand: Demand, shape: ArrayShape) -> int:
    """Bias rows over columns are rectangles of their own, disjoint in `bias_rows` x `cols`."""
    return _best(_bias_bounds(demand.sizes, shape), demand.placed_in)


def clique(demand: Demand, shape: ArrayShape) -> int:
    """Blocks of which no two share an array."""
    return _best(_clique_bounds(demand.sizes, shape), demand.placed_in)


def dff(demand: Demand, shape: ArrayShape) -> int:
    """The best of all bounds here."""
    return _best(_all_bounds(demand, shape), demand.placed_in)


def held(demand: Demand, shape: ArrayShape) -> int:
    """Arrays with cells that something else takes, wherever the blocks go."""
    return demand.held


BOUNDS: Final[Mapping[str, Callable[[Demand, ArrayShape], int]]] = {
    "area": area,
    "bias": bias,
    "clique": clique,
    "dff": dff,
    "occupied": held,
}
"""What `Certificate.bound` may name; none is above `dff`."""


def _best(bounds: Iterator[int], enough: int) -> int:
    """The largest, or the first that is enough."""
    best = 0
    for bound in bounds:
        best = max(best, bound)
        if best >= enough:
            break
    return best


def _all_bounds(demand: Demand, shape: ArrayShape) -> Iterator[int]:
    """Of all blocks, then of those that can share an array, the others having their own."""
    yield from (demand.held, area(demand, shape))
    sizes = demand.sizes
    yield from _cell_bounds(sizes[:, :2], shape)
    yield from _bias_bounds(sizes, shape)
    yield from _clique_bounds(sizes, shape)
    alone = _alone(sizes, shape.rows, shape.cols, shape.bias_rows)
    if alone.any():
        own, sharing = int(alone.sum()), sizes[~alone]
        yield from (own + bound for bound in _cell_bounds(sharing[:, :2], shape))
        yield from (own + bound for bound in _bias_bounds(sharing, shape))


def _cell_bounds(cells: I64, shape: ArrayShape) -> Iterator[int]:
    """Rectangles [n, (rows, cols)] in the whole array, in its regions one by one, and in what is left open of it."""
    heights = _regions(shape)
    blocked = [(r1 - r0, c1 - c0) for r0, c0, r1, c1 in blocked_parts(shape)]
    yield _rectangles(cells, [(height, shape.cols) for height in heights], blocked)
    for low in sorted({0, *heights})[:-1][:LOWS]:  # what is higher than low regions lies in the others
        regions, high = [height for height in heights if height > low], cells[cells[:, 0] > low]
        if len(regions) < len(heights):
            yield _rectangles(high, [(height, shape.cols) for height in regions])
        for bound in _alone_or_not(high, max(regions), shape.cols):
            yield -(-bound // len(regions))
    if blocked:
        yield _rectangles(cells, open_regions(shape))


def _regions(shape: ArrayShape) -> list[int]:
    """Rows between edges."""
    return [end - start for start, end in pairwise(sorted({0, *shape.edges, shape.rows}))]


def open_regions(shape: ArrayShape) -> list[tuple[int, int]]:
    """(rows, cols) of the parts of an array that no block leaves: between edges, between rows and columns that are
    blocked all along."""
    is_open = np.ones((shape.rows, shape.cols), np.bool_)
    for r0, c0, r1, c1 in shape.blocked:
        is_open[r0:r1, c0:c1] = False
    parts = [(start, 0, end, shape.cols) for start, end in pairwise(sorted({0, *shape.edges, shape.rows}))]
    found: list[tuple[int, int]] = []
    while parts:
        r0, c0, r1, c1 = parts.pop()
        inside = is_open[r0:r1, c0:c1]
        rows, cols = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
        if (len(rows), len(cols)) == inside.shape:
            found.append((r1 - r0, c1 - c0))
        else:
            across = _unbroken(cols)
            parts += [(r0 + a, c0 + c, r0 + b, c0 + d) for a, b in _unbroken(rows) for c, d in across]
    return found


def _unbroken(lines: I64) -> list[tuple[int, int]]:
    """(first, last + 1) of the stretches of rising numbers."""
    parts = np.split(lines, np.flatnonzero(np.diff(lines) > 1) + 1)
    return [(int(part[0]), int(part[-1]) + 1) for part in parts if len(part)]


def _bias_bounds(sizes: I64, shape: ArrayShape) -> Iterator[int]:
    """Bias rows in all columns, and in those that are not blocked all along."""
    biased = sizes[sizes[:, 2] > 0][:, [2, 1]]
    yield from _alone_or_not(biased, shape.bias_rows, shape.cols)
    if shape.blocked:
        columns = open_regions(ArrayShape(rows=1, cols=shape.cols, blocked=_along(shape)))
        yield _rectangles(biased, [(shape.bias_rows, width) for _, width in columns])


def _along(shape: ArrayShape) -> tuple[Rect, ...]:
    """Columns that are blocked all along, as cells of one row."""
    is_open = np.ones((shape.rows, shape.cols), np.bool_)
    for r0, c0, r1, c1 in shape.blocked:
        is_open[r0:r1, c0:c1] = False
    return tuple((0, int(c), 1, int(c) + 1) for c in np.flatnonzero(~is_open.any(axis=0)))


def _clique_bounds(sizes: I64, shape: ArrayShape) -> Iterator[int]:
    """Of blocks, of blocks in one region, of their bias rows."""
    heights = _regions(shape)
    yield largest_clique(sizes[:, :2], shape.rows, shape.cols)
    yield -(-largest_clique(sizes[:, :2], max(heights), shape.cols) // len(heights))
    yield largest_clique(sizes[sizes[:, 2] > 0][:, [2, 1]], shape.bias_rows, shape.cols)


def largest_clique(sizes: I64, height: int, width: int) -> int:
    """Most rectangles [n, (rows, cols)] in pairs too high for one column of a bin and too wide for one row.

    At most one of them, `low`, has no more than half the rows and one, `thin`, half the columns; the others have more
    than these leave. So all cliques that may be the largest are counted, by the sizes of these two.
    """
    rows, cols = sizes.T
    high, wide = 2 * rows > height, 2 * cols > width
    small = sizes[~high & ~wide]
    large = sizes[high & wide]
    low, thin = _longest(cols[~high & wide], rows[~high & wide]), _longest(rows[high & ~wide], cols[high & ~wide])
    above = large[:, 0] > height - low[:, 0, None]
    beside = large[:, 1] > width - thin[:, 0, None]
    both = 2 + (above.astype(np.float32) @ beside.T.astype(np.float32)).astype(np.int64)
    both[~((low[:, 1, None] > width - thin[:, 0]) & (thin[:, 1] > height - low[:, 0, None]))] = 0
    found = [len(large), *(1 + above.sum(axis=1)), *(1 + beside.sum(axis=1)), int(both.max(initial=0))]
    for start in range(0, len(small), AT_ONCE):
        some = small[start : start + AT_ONCE]
        over = (large[:, 0] > height - some[:, 0, None]) & (large[:, 1] > width - some[:, 1, None])
        found.append(1 + int(over.sum(axis=1).max()))
    return int(max(found))


def _longest(along: I64, across: I64) -> I64:
    """[sizes, (across, largest along of these)]."""
    order = np.lexsort((along, across))
    last = np.flatnonzero(np.append(np.diff(across[order]) > 0, [True] * (len(order) > 0)))
    return np.column_stack((across[order][last], along[order][last]))


def _alone_or_not(sizes: I64, height: int, width: int) -> Iterator[int]:
    """Bins of height x width for rectangles [n, (rows, cols)], and with bins for those that share with no other."""
    yield _rectangles(sizes, [(height, width)])
    alone = _alone(np.column_stack((sizes, np.zeros(len(sizes), np.int64))), height, width, 0)
    if alone.any():
        yield int(alone.sum()) + _rectangles(sizes[~alone], [(height, width)])


def _alone(sizes: I64, rows: int, cols: int, bias_rows: int) -> npt.NDArray[np.bool_]:
    """Which blocks share an array with no other: side by side too wide, one above the other too high or biased."""
    found = np.zeros(len(sizes), np.bool_)
    if len(sizes) < 2:
        return ~found
    first, second = np.argpartition(sizes[:, 1], 1)[:2]
    narrowest = np.full(len(sizes), sizes[first, 1])  # of all others
    narrowest[first] = sizes[second, 1]
    wide = np.flatnonzero(sizes[:, 1] + narrowest > cols)
    for start in range(0, len(wide), AT_ONCE):
        some = wide[start : start + AT_ONCE]
        height, width, biased = (sizes[some, k, None] + sizes[:, k] for k in range(3))
        together = (width <= cols) | ((height <= rows) & (biased <= bias_rows))
        together[np.arange(len(some)), some] = False
        found[some] = ~together.any(axis=1)
    return found


def _rectangles(sizes: I64, regions: Sequence[tuple[int, int]], blocked: Sequence[tuple[int, int]] = ()) -> int:
    """Bins for rectangles [n, (rows, cols)] where a bin has `regions` (rows, cols), in them `blocked` rectangles."""
    if not len(sizes) or not len(regions):
        return 0
    fixed, open_at = np.asarray(blocked, np.int64).reshape(-1, 2), np.asarray(regions, np.int64)
    (height, width), count = open_at.max(axis=0), len(sizes) + len(fixed) + len(regions)
    row_sizes = np.unique(np.concatenate((sizes[:, 0], fixed[:, 0], open_at[:, 0])))
    col_sizes = np.unique(np.concatenate((sizes[:, 1], fixed[:, 1], open_at[:, 1])))
    if (row_sizes[-1], col_sizes[-1]) != (height, width):
        return 0  # a block that fits no region is told elsewhere
    f, g = (_exact(s, int(s[-1]), isqrt(EXACT // count)) for s in (row_sizes, col_sizes))
    demand, taken, room = (_counts(s, row_sizes, col_sizes) @ g.T for s in (sizes, fixed, open_at))
    best = 0
    for start in range(0, len(f), AT_ONCE):
        some = f[start : start + AT_ONCE]
        needed, usable = some @ demand, some @ room
        if len(fixed):
            usable = usable - some @ taken
        share = np.divide(needed, usable, out=np.zeros_like(needed), where=usable > 0)
        largest = (share >= share.max() * (1 - ROUNDED)) & (share > 0)
        exact = -(-needed[largest].astype(np.int64) // usable[largest].astype(np.int64))
        best = max(best, int(exact.max(initial=0)))
    return best


def _counts(sizes: I64, row_sizes: I64, col_sizes: I64) -> npt.NDArray[np.float64]:
    """How many rectangles there are of each [rows, cols]."""
    counts = np.zeros((len(row_sizes), len(col_sizes)))
    np.add.at(counts, (np.searchsorted(row_sizes, sizes[:, 0]), np.searchsorted(col_sizes, sizes[:, 1])), 1.0)
    return counts


def _exact(sizes: I64, capacity: int, limit: int) -> npt.NDArray[np.float64]:
    """Functions of `sizes`, whose last is the capacity; those that are at most `limit` there."""
    values = dual_feasible(sizes, capacity)
    return values[values[:, -1] <= limit].astype(np.float64)


def dual_feasible(sizes: I64, capacity: int) -> I64:
    """Values [functions, sizes] of three families, in integers.

    Sizes below p count nothing and those above C - p all of it; multiples of p (f_0 and f_2 of Carlier, Clautiaux and
    Moukrim 2007); k steps (u^(k) of Fekete and Schepers 2001, here times k C).
    """
    x = sizes[np.newaxis, :]
    p = np.arange(1, max(1, min(capacity // 2, ROUNDINGS)) + 1, dtype=np.int64)[:, np.newaxis]
    k = np.arange(1, min(capacity, STAIRS) + 1, dtype=np.int64)[:, np.newaxis]
    threshold = np.where(x < p, 0, np.where(x > capacity - p, capacity, x))
    small, large = 2 * (x // p), 2 * (capacity // p - (capacity - x) // p)
    multiples = np.where(2 * x < capacity, small, np.where(2 * x > capacity, large, capacity // p))
    steps, beyond = np.divmod((k + 1) * x, capacity)
    stairs = np.where(beyond == 0, k * x, steps * capacity)
    return np.vstack((threshold, multiples, stairs))


def blocked_parts(shape: ArrayShape) -> list[Rect]:
    """The blocked cells as rectangles that are disjoint and cross no edge: slabs of rows, alike ones joined."""
    edges = {*shape.edges}
    cuts = sorted({row for r0, _, r1, _ in shape.blocked for row in (r0, r1)} | edges)
    coming = sorted(shape.blocked, reverse=True)
    there: list[Rect] = []
    done: list[Rect] = []
    growing: dict[tuple[int, int], int] = {}
    for top in cuts[:-1]:
        there = [rect for rect in there if rect[2] > top]
        while coming and coming[-1][0] == top:
            there.append(coming.pop())
        spans = _joined([(c0, c1) for _, c0, _, c1 in there])
        if top in edges:
            done += [(start, c0, top, c1) for (c0, c1), start in growing.items()]
            growing = {}
        done += [(start, c0, top, c1) for (c0, c1), start in growing.items() if (c0, c1) not in spans]
        growing = {span: growing.get(span, top) for span in spans}
    return done + [(start, c0, cuts[-1], c1) for (c0, c1), start in growing.items()]


def _joined(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Disjoint intervals with the same union."""
    joined: list[tuple[int, int]] = []
    for first, end in sorted(spans):
        if joined and first <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((first, end))
    return joined

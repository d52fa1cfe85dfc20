"""Lower bounds of the arrays that some blocks need, to recompute what a certificate claims. Exact, in integers.

A dual-feasible function f of a size C has f(x_1) + f(x_2) + ... <= f(C) for all sizes with x_1 + x_2 + ... <= C. With
one for the rows and one for the columns, the sum of f(rows) g(cols) over the blocks of an array is at most f(C) g(D).
The functions here add up to no more than the whole for any sizes (superadditive), so f(region) takes the place of f(C)
in the regions between edges, and what is blocked counts as a block that every array has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
AT_ONCE: Final = 512
"""Functions of the rows, and blocks, that are compared with all others together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """`sizes` [n, 3]: rows, columns and bias rows of blocks, each of which fits an array; arrays in use in any case."""

    sizes: I64
    held: int = 0


def area(demand: Demand, shape: ArrayShape) -> int:
    """Cells of all blocks by cells that may be used."""
    usable = shape.rows * shape.cols - sum((r1 - r0) * (c1 - c0) for r0, c0, r1, c1 in blocked_parts(shape))
    taken = sum(rows * cols for rows, cols, _ in demand.sizes.tolist())
    return -(-taken // usable) if usable else 0


def bias(demand: Demand, shape: ArrayShape) -> int:
    """Bias rows over columns are rectangles of their own, disjoint in `bias_rows` x `cols`."""
    sizes = demand.sizes[demand.sizes[:, 2] > 0][:, [2, 1]]
    return _rectangles_or_alone(sizes, shape.bias_rows, shape.cols)


def dff(demand: Demand, shape: ArrayShape) -> int:
    """The best of all bounds here: of all blocks, and of those that can share an array, the others having their own."""
    sizes = demand.sizes
    alone = _alone(sizes, shape.rows, shape.cols, shape.bias_rows)
    own = int(alone.sum())
    bounds = [demand.held, area(demand, shape), _best(sizes, shape), own + _best(sizes[~alone], shape)]
    return max(bounds)


def held(demand: Demand, shape: ArrayShape) -> int:
    """Arrays with cells that something else takes, wherever the blocks go."""
    return demand.held


BOUNDS: Final[Mapping[str, Callable[[Demand, ArrayShape], int]]] = {
    "area": area,
    "bias": bias,
    "dff": dff,
    "occupied": held,
}
"""What `Certificate.bound` may name; none is above `dff`."""


def _best(sizes: I64, shape: ArrayShape) -> int:
    """Cells over the whole array, over its regions one by one, and bias rows."""
    edges = sorted({0, *shape.edges, shape.rows})
    heights = [end - start for start, end in pairwise(edges)]
    blocked = [(r1 - r0, c1 - c0) for r0, c0, r1, c1 in blocked_parts(shape)]
    cells = sizes[:, :2]
    bounds = [bias(Demand(sizes=sizes), shape), _rectangles(cells, heights, shape.cols, blocked)]
    for low in sorted({0, *heights})[:-1]:  # what is higher than low regions lies in the others
        regions, high = [height for height in heights if height > low], cells[cells[:, 0] > low]
        bounds.append(_rectangles(high, regions, shape.cols, ()))
        bounds.append(-(-_rectangles_or_alone(high, max(regions), shape.cols) // len(regions)))
    return max(bounds)


def _rectangles_or_alone(sizes: I64, height: int, width: int) -> int:
    """Bins of height x width for rectangles [n, (rows, cols)], those that share with no other first."""
    padded = np.column_stack((sizes, np.zeros(len(sizes), np.int64)))
    alone = _alone(padded, height, width, 0)
    every, rest = (_rectangles(s, [height], width, ()) for s in (sizes, sizes[~alone]))
    return max(every, int(alone.sum()) + rest)


def _alone(sizes: I64, rows: int, cols: int, bias_rows: int) -> npt.NDArray[np.bool_]:
    """Which blocks share an array with no other: side by side too wide, one above the other too high or biased."""
    found = np.zeros(len(sizes), np.bool_)
    for start in range(0, len(sizes), AT_ONCE):
        some = slice(start, start + AT_ONCE)
        height, width, biased = (sizes[some, k, None] + sizes[:, k] for k in range(3))
        together = (width <= cols) | ((height <= rows) & (biased <= bias_rows))
        itself = np.arange(len(together))
        together[itself, itself + start] = False
        found[some] = ~together.any(axis=1)
    return found


def _rectangles(sizes: I64, heights: Sequence[int], width: int, blocked: Sequence[tuple[int, int]]) -> int:
    """Bins for rectangles [n, (rows, cols)] where a bin has regions of `heights` rows, in them `blocked` rectangles."""
    if not len(sizes):
        return 0
    fixed = np.asarray(blocked, np.int64).reshape(-1, 2)
    row_sizes = np.unique(np.concatenate((sizes[:, 0], fixed[:, 0], np.asarray(heights, np.int64))))
    col_sizes = np.unique(np.concatenate((sizes[:, 1], fixed[:, 1], np.asarray([width], np.int64))))
    limit = isqrt(EXACT // (len(sizes) + len(fixed) + len(heights)))
    f, g = _distinct(row_sizes, max(heights), limit), _distinct(col_sizes, width, limit)
    demand, taken = (_counts(s, row_sizes, col_sizes) @ g.T for s in (sizes, fixed))
    room = np.outer(f[:, np.searchsorted(row_sizes, heights)].sum(axis=1), g[:, -1])
    best = 0
    for start in range(0, len(f), AT_ONCE):
        some = f[start : start + AT_ONCE]
        needed = (some @ demand).astype(np.int64)
        usable = (room[start : start + AT_ONCE] - some @ taken).astype(np.int64)
        known = usable > 0
        bins = -(-needed[known] // usable[known])
        best = max(best, int(bins.max(initial=0)))
    return best


def _counts(sizes: I64, row_sizes: I64, col_sizes: I64) -> npt.NDArray[np.float64]:
    """How many rectangles there are of each [rows, cols]."""
    counts = np.zeros((len(row_sizes), len(col_sizes)))
    np.add.at(counts, (np.searchsorted(row_sizes, sizes[:, 0]), np.searchsorted(col_sizes, sizes[:, 1])), 1.0)
    return counts


def _distinct(sizes: I64, capacity: int, limit: int) -> npt.NDArray[np.float64]:
    """Functions that differ on `sizes`, whose last is the capacity, and are at most `limit` there."""
    values = dual_feasible(sizes, capacity)
    return np.unique(values[values[:, -1] <= limit], axis=0).astype(np.float64)


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
    cuts = sorted({row for r0, _, r1, _ in shape.blocked for row in (r0, r1)} | set(shape.edges))
    done: list[Rect] = []
    growing: dict[tuple[int, int], int] = {}
    for top in cuts[:-1]:
        spans = _joined([(c0, c1) for r0, c0, r1, c1 in shape.blocked if r0 <= top < r1])
        if top in shape.edges:
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

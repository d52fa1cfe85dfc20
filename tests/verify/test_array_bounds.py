"""Proves that no bound is above the optimum, the optimum by trying everything, and that bounds see what they should."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bitline.ir.placement import ArrayShape
from bitline.pack.bounds import area_bound, dff_bound
from bitline.verify.array_bounds import BOUNDS, Demand, blocked_parts, dual_feasible, largest_clique, open_regions
from tests.verify.placements import usable

Sizes = list[tuple[int, int, int]]
"""(rows, columns, bias rows)."""


def demand(sizes: Sizes, held: int = 0) -> Demand:
    return Demand(sizes=np.array(sizes, np.int64).reshape(-1, 3), held=held)


def every_bound(sizes: Sizes, shape: ArrayShape) -> dict[str, int]:
    return {name: bound(demand(sizes), shape) for name, bound in BOUNDS.items()}


def optimum(sizes: Sizes, shape: ArrayShape) -> int:
    """Fewest arrays, by trying every place of every block in a rising number of them."""
    order = sorted(sizes, key=lambda size: -size[0] * size[1])
    return next(bins for bins in range(len(sizes) + 1) if fits(order, shape, bins))


def fits(sizes: Sizes, shape: ArrayShape, bins: int) -> bool:
    free = np.broadcast_to(usable(shape), (bins, shape.rows, shape.cols)).copy()
    bias = np.ones((bins, shape.bias_rows, shape.cols), np.bool_)

    def place(index: int) -> bool:
        if index == len(sizes):
            return True
        rows, cols, biased = sizes[index]
        for b, r, c, s in rooms(sizes[index], shape, bins):
            if b and np.array_equal(free[b - 1], usable(shape)):
                return False  # arrays are alike: an empty one before this one has been tried
            cells, bands = free[b, r : r + rows, c : c + cols], bias[b, s : s + biased, c : c + cols]
            if cells.all() and bands.all():
                cells[:], bands[:] = False, False
                if place(index + 1):
                    return True
                cells[:], bands[:] = True, True
        return False

    return place(0)


def rooms(size: tuple[int, int, int], shape: ArrayShape, bins: int) -> Iterator[tuple[int, int, int, int]]:
    """(array, row, column, first bias row) across no edge."""
    rows, cols, biased = size
    last = (bins, shape.rows - rows + 1, shape.cols - cols + 1, shape.bias_rows - biased + 1)
    for b, r, c, s in product(*map(range, last)):
        if not any(r < edge < r + rows for edge in shape.edges):
            yield b, r, c, s


@st.composite
def tiny(draw: st.DrawFn) -> tuple[Sizes, ArrayShape]:
    """Blocks that fit an empty array each."""
    rows, cols = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    bias_rows = draw(st.sampled_from((0, 0, 2, 3)))
    edges = tuple(draw(st.sets(st.integers(1, rows - 1), max_size=2))) if rows > 1 else ()
    corner = st.tuples(st.integers(0, rows - 1), st.integers(0, cols - 1))
    blocked = tuple(
        (r, c, min(rows, r + h), min(cols, c + w))
        for (r, c), h, w in draw(st.lists(st.tuples(corner, st.integers(1, 2), st.integers(1, 2)), max_size=2))
    )
    shape = ArrayShape(rows=rows, cols=cols, edges=edges, blocked=blocked, bias_rows=bias_rows)
    block = st.tuples(st.integers(1, rows), st.integers(1, cols), st.integers(0, bias_rows))
    sizes = draw(st.lists(block, max_size=4))
    return [size for size in sizes if fits([size], shape, 1)], shape


@given(tiny())
@settings(max_examples=500)
def test_no_bound_is_above_the_optimum(case: tuple[Sizes, ArrayShape]) -> None:
    sizes, shape = case
    bounds = every_bound(sizes, shape)
    assert bounds["dff"] == max(bounds.values())
    assert bounds["dff"] <= optimum(sizes, shape)


@given(
    st.integers(1, 12),
    st.integers(1, 12),
    st.lists(st.tuples(st.integers(1, 12), st.integers(1, 12)), min_size=1, max_size=12),
)
@settings(max_examples=300)
def test_a_bound_that_the_packer_claims_follows(rows: int, cols: int, pieces: list[tuple[int, int]]) -> None:
    """Recomputed by other code, the bounds that exist on both sides are as good."""
    pieces = [(r, c) for r, c in pieces if r <= rows and c <= cols]
    assume(pieces)
    bounds = every_bound([(r, c, 0) for r, c in pieces], ArrayShape(rows=rows, cols=cols))
    assert bounds["area"] == area_bound(pieces, rows, cols)
    assert bounds["dff"] >= dff_bound(pieces, rows, cols)


@given(st.integers(1, 9), st.integers(1, 9), st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), max_size=9))
@settings(max_examples=500)
def test_no_set_of_blocks_apart_is_larger(rows: int, cols: int, pieces: list[tuple[int, int]]) -> None:
    """The largest of all sets of which no two stand beside or above one another."""
    pieces = [(min(r, rows), min(c, cols)) for r, c in pieces]
    apart = [[a[0] + b[0] > rows and a[1] + b[1] > cols for a in pieces] for b in pieces]
    sets = (chosen for size in range(len(pieces), 0, -1) for chosen in combinations(range(len(pieces)), size))
    largest = next((len(s) for s in sets if all(apart[i][j] for i, j in combinations(s, 2))), 0)
    assert largest_clique(np.array(pieces, np.int64).reshape(-1, 2), rows, cols) == largest


@pytest.mark.parametrize("capacity", range(1, 41))
def test_the_functions_are_dual_feasible(capacity: int) -> None:
    """Superadditive on all sizes, which is more: parts are never worth more than the whole."""
    values = dual_feasible(np.arange(capacity + 1, dtype=np.int64), capacity)
    assert values.min() >= 0
    for x in range(capacity + 1):
        for y in range(capacity + 1 - x):
            assert (values[:, x] + values[:, y] <= values[:, x + y]).all(), (x, y)


@given(tiny())
def test_blocked_parts_are_the_blocked_cells(case: tuple[Sizes, ArrayShape]) -> None:
    _, shape = case
    times = np.zeros((shape.rows, shape.cols), np.int64)
    for r0, c0, r1, c1 in blocked_parts(shape):
        times[r0:r1, c0:c1] += 1
        assert not any(r0 < edge < r1 for edge in shape.edges)
    assert np.array_equal(times, ~usable(shape))


CASES: dict[str, tuple[Sizes, ArrayShape, dict[str, int]]] = {
    "apart in pairs, but for the lowest": (
        [(4, 6, 0), (8, 6, 0), (8, 6, 0), (8, 6, 0), (2, 6, 0)], ArrayShape(rows=10, cols=10), {"clique": 4, "dff": 4},
    ),
    "a low one and a thin one, apart from all": (
        [(4, 8, 0), (8, 4, 0), (7, 7, 0)], ArrayShape(rows=10, cols=10), {"area": 2, "clique": 3, "dff": 3},
    ),
    "nothing": ([], ArrayShape(rows=4, cols=4), {"area": 0, "bias": 0, "dff": 0}),
    "full arrays": ([(4, 4, 0)] * 3, ArrayShape(rows=4, cols=4), {"area": 3, "bias": 0, "dff": 3}),
    "large blocks do not share": ([(3, 3, 0)] * 3, ArrayShape(rows=4, cols=4), {"area": 2, "dff": 3}),
    "large blocks apart, small ones by area": (
        [(6, 6, 0)] * 2 + [(5, 5, 0)] * 8, ArrayShape(rows=10, cols=10), {"area": 3, "dff": 4},
    ),
    "blocked cells count": (
        [(2, 4, 0)] * 3, ArrayShape(rows=4, cols=4, blocked=((0, 0, 1, 4), (0, 0, 2, 2))), {"area": 3, "dff": 3},
    ),
    "blocked columns hinder wide blocks": (
        [(1, 3, 0)] * 5, ArrayShape(rows=4, cols=5, blocked=((0, 3, 4, 4),)), {"area": 1, "dff": 2},
    ),
    "blocked cells hinder large blocks": (
        [(3, 4, 0)] * 2, ArrayShape(rows=8, cols=5, blocked=((2, 2, 5, 4),)), {"area": 1, "clique": 1, "dff": 2},
    ),
    "one apart from all, though two of it are not": (
        [(2, 8, 0)] + [(3, 3, 0)] * 3, ArrayShape(rows=4, cols=8), {"area": 2, "clique": 2, "dff": 3},
    ),
    "one apart from all, the narrowest": (
        [(2, 5, 0)] * 3 + [(4, 2, 0)], ArrayShape(rows=4, cols=5), {"area": 2, "clique": 2, "dff": 3},
    ),
    "whole arrays, and bias rows in others": (
        [(4, 3, 0)] * 2 + [(1, 2, 2)] * 3, ArrayShape(rows=4, cols=3, bias_rows=4), {"area": 3, "bias": 2, "dff": 4},
    ),
    "all bias rows, and blocks of which two fill an array": (
        [(1, 4, 4)] + [(3, 4, 1)] * 5, ArrayShape(rows=8, cols=4, bias_rows=4), {"area": 2, "bias": 3, "dff": 4},
    ),
    "an edge": ([(3, 4, 0)] * 3, ArrayShape(rows=8, cols=4, edges=(4,)), {"area": 2, "dff": 2}),
    "an edge, four blocks in two halves each": (
        [(3, 3, 0)] * 5, ArrayShape(rows=8, cols=4, edges=(4,)), {"area": 2, "dff": 3},
    ),
    "an edge, two blocks by one would fit without": (
        [(2, 4, 0)] * 3, ArrayShape(rows=6, cols=4, edges=(3,)), {"area": 1, "dff": 2},
    ),
    "unequal regions": ([(2, 4, 0)] * 5, ArrayShape(rows=8, cols=4, edges=(3,)), {"area": 2, "dff": 2}),
    "unequal regions, one of them useless": (
        [(3, 4, 0)] * 3, ArrayShape(rows=6, cols=4, edges=(2,)), {"area": 2, "dff": 3},
    ),
    "bias rows bind": ([(1, 4, 2)] * 4, ArrayShape(rows=8, cols=4, bias_rows=4), {"area": 1, "bias": 2, "dff": 2}),
    "bias rows do not share": (
        [(1, 3, 3)] * 3, ArrayShape(rows=8, cols=4, bias_rows=4), {"area": 1, "bias": 3, "dff": 3},
    ),
    "apart by rows or by bias rows": (
        [(5, 3, 0), (1, 3, 4), (5, 3, 4)], ArrayShape(rows=6, cols=4, bias_rows=4), {"area": 2, "bias": 2, "dff": 2},
    ),
}  # fmt: skip


@pytest.mark.parametrize(("sizes", "shape", "expected"), CASES.values(), ids=CASES)
def test_what_bounds_see(sizes: Sizes, shape: ArrayShape, expected: dict[str, int]) -> None:
    found = every_bound(sizes, shape)
    assert {name: found[name] for name in expected} == expected


@pytest.mark.parametrize("bad", [0, 2, 4])
def test_a_bad_column_divides_the_array(bad: int) -> None:
    shape = ArrayShape(rows=4, cols=5, blocked=((0, bad, 4, bad + 1),), bias_rows=2)
    parts = [width for width in (bad, 4 - bad) if width]
    assert sorted(open_regions(shape)) == sorted((4, width) for width in parts)
    bound = every_bound([(3, 2, 2)] * 6, shape)
    assert bound["dff"] == 3  # two a column wise, whatever is left of it
    assert bound["bias"] == 3


def test_arrays_in_use_stay_in_use() -> None:
    shape = ArrayShape(rows=4, cols=4)
    assert BOUNDS["occupied"](demand([(1, 1, 0)] * 3, held=3), shape) == 3
    assert BOUNDS["dff"](demand([(1, 1, 0)] * 3, held=3), shape) == 3


def test_sizes_too_large_for_exact_functions_are_bounded_by_area() -> None:
    side = (1 << 40) - 1
    shape = ArrayShape(rows=side, cols=side)
    assert every_bound([(side, side, 0)] * 3, shape) == {"area": 3, "bias": 0, "clique": 3, "dff": 3, "occupied": 0}

"""Proves that every function behind the bound is dual-feasible, and pins golden values."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitline.pack.bounds import area_bound, dff_bound, lower_bound
from bitline.pack.dff import dual_feasible

Pieces = list[tuple[int, int]]


@st.composite
def tiny(draw: st.DrawFn) -> tuple[Pieces, int, int]:
    rows, cols = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    piece = st.tuples(st.integers(1, rows), st.integers(1, cols))
    return draw(st.lists(piece, max_size=5)), rows, cols


@pytest.mark.parametrize("capacity", range(1, 31))
def test_every_function_is_dual_feasible(capacity: int) -> None:
    """No multiset of sizes within the capacity is worth more than the capacity itself: unbounded knapsacks."""
    values, caps = dual_feasible(np.arange(1, capacity + 1), capacity)
    worth = np.zeros((capacity + 1, len(caps)), dtype=np.int64)
    for total in range(1, capacity + 1):
        for size in range(1, total + 1):
            worth[total] = np.maximum(worth[total], values[:, size - 1] + worth[total - size])
    assert (worth[capacity] <= caps).all()
    assert (values[:, capacity - 1] == caps).all(), "a whole size is worth a whole bin"


@pytest.mark.parametrize(
    ("pieces", "rows", "cols", "area", "dff"),
    [
        ([], 4, 4, 0, 0),
        ([(4, 4)] * 3, 4, 4, 3, 3),
        ([(3, 3)] * 3, 4, 4, 2, 3),  # each above half of both sides: no two share a bin
        ([(5, 2), (5, 2), (5, 2)], 8, 4, 1, 2),  # side by side two fit; above one another none
        ([(4, 4)] * 5, 10, 10, 1, 2),  # two by two: four to a bin
        ([(1, 1)], 1, 1, 1, 1),
    ],
)
def test_golden(pieces: Pieces, rows: int, cols: int, area: int, dff: int) -> None:
    assert area_bound(pieces, rows, cols) == area
    assert dff_bound(pieces, rows, cols) == dff
    assert lower_bound(pieces, rows, cols) == (max(area, dff), "dff" if dff > area else "area")


@given(tiny(), st.integers(1, 40))
@settings(deadline=None)
def test_scaling_all_lengths_keeps_the_area_bound_and_dff_above_it(case: tuple[Pieces, int, int], scale: int) -> None:
    pieces, rows, cols = case
    larger = [(r * scale, c * scale) for r, c in pieces]
    assert area_bound(larger, rows * scale, cols * scale) == area_bound(pieces, rows, cols)
    assert dff_bound(larger, rows * scale, cols * scale) >= area_bound(pieces, rows, cols)


def test_bins_too_large_for_exact_sums_are_our_bug() -> None:
    with pytest.raises(AssertionError, match="exact"):
        dff_bound([(1, 1)] * 4, 2**19, 2**19)

"""Proves `bounds <= optimum <= pack` on tiny cases, the optimum by trying everything, with no code of the packer."""

from __future__ import annotations

from itertools import product

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from bitline.pack.bounds import area_bound, dff_bound, lower_bound
from bitline.pack.rectangles import pack

Pieces = list[tuple[int, int]]


def optimum(pieces: Pieces, rows: int, cols: int) -> int:
    """Fewest bins, by exhaustive search over a rising number of them."""
    order = sorted(pieces, key=lambda piece: -piece[0] * piece[1])
    return next(bins for bins in range(len(pieces) + 1) if fits(order, rows, cols, bins))


def fits(pieces: Pieces, rows: int, cols: int, bins: int) -> bool:
    """Whether some placement of all pieces exists, by trying every free position of every piece in turn."""
    taken = np.zeros((bins, rows, cols), dtype=bool)

    def place(index: int) -> bool:
        if index == len(pieces):
            return True
        height, width = pieces[index]
        for b, r, c in product(range(bins), range(rows - height + 1), range(cols - width + 1)):
            if b and not taken[b - 1].any():
                return False  # bins are alike: an empty one before this one has been tried
            spot = taken[b, r : r + height, c : c + width]
            if spot.any():
                continue
            spot[:] = True
            if place(index + 1):
                return True
            spot[:] = False
        return False

    return place(0)


@st.composite
def tiny(draw: st.DrawFn) -> tuple[Pieces, int, int]:
    rows, cols = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    piece = st.tuples(st.integers(1, rows), st.integers(1, cols))
    return draw(st.lists(piece, max_size=5)), rows, cols


@given(tiny())
@settings(max_examples=300, deadline=None)
def test_bounds_and_packing_enclose_the_optimum(case: tuple[Pieces, int, int]) -> None:
    """The packing may take one bin more: greedy placing misses pinwheels."""
    pieces, rows, cols = case
    best = optimum(pieces, rows, cols)
    assert area_bound(pieces, rows, cols) <= dff_bound(pieces, rows, cols) <= best
    assert lower_bound(pieces, rows, cols)[0] <= best
    packing = pack(pieces, rows=rows, cols=cols)
    assert packing is not None
    assert best <= packing.bins <= best + 1


def test_known_miss_four_strips_around_a_hole() -> None:
    """One bin holds them as a pinwheel. Whoever makes the packer find it may turn the 2 into a 1."""
    pinwheel = [(3, 1), (1, 3), (1, 3), (3, 1)]
    packing = pack(pinwheel, rows=4, cols=4)
    assert packing is not None
    assert (optimum(pinwheel, 4, 4), packing.bins) == (1, 2)

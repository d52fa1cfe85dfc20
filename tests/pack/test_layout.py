"""Proves `layout_bound <= optimum <= pack_layout` on tiny bins with halves, holes, bias rows and fixed pieces.

The optimum tries everything; the checker paints cells and bias cells. Neither uses code of the packer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitline.pack.layout import pack_layout
from bitline.pack.layout_bounds import layout_bound
from bitline.pack.shapes import Bin, Piece, Rect, Spot

Fixed = list[tuple[Piece, Spot]]
Case = tuple[list[Piece], Bin, Fixed]

WTM2101 = Bin(rows=1792, cols=1024, edges=(896,), bands=16, blocked=((0, 0, 1792, 128),))


class Paint:
    """Cells and bias cells of some bins."""

    def __init__(self, bin: Bin, bins: int) -> None:
        self.bin = bin
        self.cells = np.zeros((bins, bin.rows, bin.cols), dtype=np.int64)
        self.bias = np.zeros((bins, bin.bands, bin.cols), dtype=np.int64)
        for r0, c0, r1, c1 in bin.blocked:
            self.cells[:, max(r0, 0) : max(r1, 0), max(c0, 0) : max(c1, 0)] = 1

    def add(self, piece: Piece, spot: Spot, by: int) -> None:
        self.cells[spot.bin, spot.row : spot.row + piece.rows, spot.col : spot.col + piece.cols] += by
        self.bias[spot.bin, spot.band : spot.band + piece.bands, spot.col : spot.col + piece.cols] += by

    def fits(self, piece: Piece, spot: Spot) -> bool:
        """Inside the bin, over no edge, over nothing painted."""
        last_row, last_col = spot.row + piece.rows, spot.col + piece.cols
        if min(spot.row, spot.col, spot.band) < 0 or last_row > self.bin.rows or last_col > self.bin.cols:
            return False
        if piece.bands and spot.band + piece.bands > self.bin.bands:
            return False
        if any(spot.row < edge < last_row for edge in self.bin.edges):
            return False
        cells = self.cells[spot.bin, spot.row : last_row, spot.col : last_col]
        bias = self.bias[spot.bin, spot.band : spot.band + piece.bands, spot.col : last_col]
        return not cells.any() and not bias.any()


def check(spots: Sequence[Spot], pieces: Sequence[Piece], bin: Bin, fixed: Fixed) -> None:
    """Every piece lies where nothing else lies."""
    paint = Paint(bin, 1 + max(spot.bin for spot in (*spots, *(s for _, s in fixed), Spot(bin=0, row=0, col=0))))
    for piece, spot in fixed:
        paint.add(piece, spot, 1)
    assert len(spots) == len(pieces)
    for piece, spot in zip(pieces, spots, strict=True):
        assert paint.fits(piece, spot), (piece, spot)
        paint.add(piece, spot, 1)


def possible(pieces: Sequence[Piece], bin: Bin, fixed: Fixed, bins: int) -> bool:
    """Whether some placement in bins 0..bins-1 exists."""
    if any(spot.bin >= bins for _, spot in fixed):
        return False
    paint = Paint(bin, bins)
    for piece, spot in fixed:
        paint.add(piece, spot, 1)

    def place(index: int) -> bool:
        if index == len(pieces):
            return True
        piece = pieces[index]
        bands = range(bin.bands - piece.bands + 1) if piece.bands else (0,)
        for b, r, c, n in product(range(bins), range(bin.rows), range(bin.cols), bands):
            spot = Spot(bin=b, row=r, col=c, band=n)
            if paint.fits(piece, spot):
                paint.add(piece, spot, 1)
                if place(index + 1):
                    return True
                paint.add(piece, spot, -1)
        return False

    return place(0)


@st.composite
def cases(draw: st.DrawFn, side: int, count: int, small: int) -> Case:
    rows, cols, bands = draw(st.integers(1, side)), draw(st.integers(1, side)), draw(st.integers(0, 3))
    rects: st.SearchStrategy[Rect] = st.tuples(
        st.integers(-1, rows), st.integers(-1, cols), st.integers(0, rows + 1), st.integers(0, cols + 1)
    )
    narrow = rects.filter(lambda r: (r[2] - r[0]) * (r[3] - r[1]) <= rows)
    bin = Bin(
        rows=rows,
        cols=cols,
        bands=bands,
        blocked=tuple(draw(st.lists(narrow, max_size=2))),
        edges=tuple(draw(st.lists(st.integers(0, rows), max_size=2))),
    )
    pieces = st.builds(
        Piece,
        rows=st.integers(1, max(1, rows // small)),
        cols=st.integers(1, max(1, cols // small)),
        bands=st.integers(0, bands),
    )
    spots = st.builds(
        Spot,
        bin=st.integers(0, 1),
        row=st.integers(0, rows - 1),
        col=st.integers(0, cols - 1),
        band=st.integers(0, max(0, bands - 1)),
    )
    fixed: Fixed = []
    paint = Paint(bin, 2)
    for piece, spot in draw(st.lists(st.tuples(pieces, spots), max_size=2)):
        if paint.fits(piece, spot):
            paint.add(piece, spot, 1)
            fixed.append((piece, spot))
    return draw(st.lists(pieces, max_size=count)), bin, fixed


@given(cases(4, 4, 1))
@settings(max_examples=400)
def test_bounds_and_layouts_enclose_the_optimum(case: Case) -> None:
    """The layout may take one bin more: greedy placing misses pinwheels."""
    pieces, bin, fixed = case
    fitting = [piece for piece in pieces if possible([piece], bin, [], 1)]
    if len(fitting) < len(pieces):
        assert pack_layout(pieces, bin, fixed=fixed) is None
    bins_fixed = 1 + max((spot.bin for _, spot in fixed), default=-1)
    best = next(n for n in range(bins_fixed, len(fitting) + bins_fixed + 1) if possible(fitting, bin, fixed, n))
    assert layout_bound([*fitting, *(piece for piece, _ in fixed)], bin)[0] <= best
    spots = pack_layout(fitting, bin, fixed=fixed)
    assert spots is not None
    check(spots, fitting, bin, fixed)
    assert best <= max(bins_fixed, *(spot.bin + 1 for spot in spots), 0) <= best + 1
    if best > bins_fixed:
        assert pack_layout(fitting, bin, fixed=fixed, max_bins=best - 1) is None


@given(cases(40, 40, 3), st.integers(0, 60), st.integers(0, 3))
@settings(max_examples=400)
def test_layouts_are_sound_and_repeat_themselves(case: Case, steps: int, seed: int) -> None:
    pieces, bin, fixed = case
    spots = pack_layout(pieces, bin, fixed=fixed, steps=steps, seed=seed)
    if spots is None:
        assert any(pack_layout([piece], bin) is None for piece in pieces), "a bin holds each of them"
        return
    check(spots, pieces, bin, fixed)
    used = {spot.bin for spot in spots} | {spot.bin for _, spot in fixed}
    assert layout_bound([*pieces, *(piece for piece, _ in fixed)], bin)[0] <= len(used) or not pieces
    assert pack_layout(pieces, bin, fixed=fixed, steps=steps, seed=seed) == spots


@given(cases(30, 30, 3))
@settings(max_examples=100)
def test_no_steps_give_no_fewer_bins_than_many(case: Case) -> None:
    pieces, bin, _ = case
    few, many = pack_layout(pieces, bin), pack_layout(pieces, bin, steps=100)
    assert (few is None) == (many is None)
    if few and many:
        assert len({spot.bin for spot in many}) <= len({spot.bin for spot in few})


def test_the_48_blocks_that_the_vendor_tool_rejects() -> None:
    """Whole, 7 lie side by side and 3 above one another in a half: 42, proved."""
    block = Piece(rows=235, cols=123, bands=1)
    assert layout_bound([block] * 48, WTM2101) == (2, "dff")
    assert layout_bound([block] * 43, WTM2101) == (2, "dff")
    spots = pack_layout([block] * 42, WTM2101, max_bins=1)
    assert spots is not None
    check(spots, [block] * 42, WTM2101, [])
    assert pack_layout([block] * 43, WTM2101, max_bins=1) is None


def test_bias_rows_bind_before_cells() -> None:
    """Two layers of 8 bias rows stack; a third over the same columns needs an array of its own."""
    layer = Piece(rows=100, cols=896, bands=8)
    assert layout_bound([layer] * 3, WTM2101) == (2, "bias")
    assert layout_bound([replace(layer, bands=9)] * 2, WTM2101) == (2, "bias")
    assert layout_bound([replace(layer, bands=9, cols=500)] * 2, WTM2101) == (2, "bias-dff")
    assert layout_bound([replace(layer, bands=1)] * 3, WTM2101) == (1, "area")


@pytest.mark.parametrize("bands", [63, 64])
def test_all_bits_of_a_word_are_bias_rows(bands: int) -> None:
    bin = Bin(rows=bands, cols=2, bands=bands)
    pieces = [Piece(rows=1, cols=2, bands=1)] * bands
    spots = pack_layout(pieces, bin, max_bins=1)
    assert spots is not None
    check(spots, pieces, bin, [])
    lying = [(pieces[0], Spot(bin=0, row=0, col=0, band=bands - 1))]
    assert pack_layout(pieces, bin, max_bins=1, fixed=lying) is None
    spots = pack_layout(pieces[1:], bin, max_bins=1, fixed=lying)
    assert spots is not None
    check(spots, pieces[1:], bin, lying)


def test_a_piece_that_fits_no_bin_is_refused() -> None:
    assert pack_layout([Piece(rows=900, cols=10)], WTM2101) is None
    assert pack_layout([Piece(rows=9, cols=900)], WTM2101) is None
    assert pack_layout([Piece(rows=9, cols=9, bands=17)], WTM2101) is None


def test_a_bin_without_an_open_cell_holds_nothing() -> None:
    bin = Bin(rows=2, cols=2, blocked=((0, 0, 2, 2),))
    assert pack_layout([Piece(rows=1, cols=1)], bin) is None
    assert pack_layout([], bin) == ()


def test_fixed_bins_keep_their_number_and_are_filled_first() -> None:
    bin = Bin(rows=4, cols=4)
    lying = [(Piece(rows=4, cols=2), Spot(bin=2, row=0, col=0))]
    spots = pack_layout([Piece(rows=4, cols=2), Piece(rows=4, cols=4)], bin, fixed=lying)
    assert spots == (Spot(bin=2, row=0, col=2), Spot(bin=0, row=0, col=0))

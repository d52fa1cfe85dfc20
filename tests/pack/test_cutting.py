"""Proves that cuttings hold every cell of every matrix once, where it may lie, and reach what is known to be possible.

The checker paints matrices, cells and bias cells; it uses no code of the packer.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitline.pack.cutting import Cutting, Whole, cut_and_pack, cut_bound, cut_into
from bitline.pack.layout import pack_layout
from bitline.pack.shapes import Bin, Piece, Spot

WTM2101 = Bin(rows=1792, cols=1024, edges=(896,), bands=16, blocked=((0, 0, 1792, 128),))

RESNET18 = [
    *[Whole(rows=147, cols=64), *[Whole(rows=576, cols=64)] * 4],
    *[Whole(rows=576, cols=128), *[Whole(rows=1152, cols=128)] * 3, Whole(rows=64, cols=128)],
    *[Whole(rows=1152, cols=256), *[Whole(rows=2304, cols=256)] * 3, Whole(rows=128, cols=256)],
    *[Whole(rows=2304, cols=512), *[Whole(rows=4608, cols=512)] * 3, Whole(rows=256, cols=512)],
    Whole(rows=512, cols=1000),
]
DTLN = [
    *[Whole(rows=257, cols=512), *[Whole(rows=128, cols=512)] * 3, Whole(rows=128, cols=257)],
    *[Whole(rows=512, cols=256), Whole(rows=256, cols=512), *[Whole(rows=128, cols=512)] * 3],
    *[Whole(rows=128, cols=256), Whole(rows=256, cols=512)],
]


def check(
    cutting: Cutting, wholes: Sequence[Whole], bin: Bin, smallest: int, fixed: Sequence[tuple[Piece, Spot]] = ()
) -> None:
    assert len(cutting.parts) == len(wholes)
    cells = np.zeros((cutting.bins, bin.rows, bin.cols), dtype=np.int64)
    bias = np.zeros((cutting.bins, bin.bands, bin.cols), dtype=np.int64)
    for r0, c0, r1, c1 in bin.blocked:
        cells[:, r0:r1, c0:c1] = 1
    for piece, spot in fixed:
        cells[spot.bin, spot.row : spot.row + piece.rows, spot.col : spot.col + piece.cols] += 1
        bias[spot.bin, spot.band : spot.band + piece.bands, spot.col : spot.col + piece.cols] += 1
    high = max(np.diff(sorted({0, bin.rows, *bin.edges})).tolist())
    for whole, parts in zip(wholes, cutting.parts, strict=True):
        matrix = np.zeros((whole.rows, whole.cols), dtype=np.int64)
        for part in parts:
            spot, last_row, last_col = part.spot, part.spot.row + part.rows, part.spot.col + part.cols
            assert 0 <= spot.row < last_row <= bin.rows
            assert 0 <= spot.col < last_col <= bin.cols
            assert not any(spot.row < edge < last_row for edge in bin.edges)
            assert part.row_offset % whole.row_step == 0
            assert whole.row_step > 1 or part.rows >= min(smallest, whole.rows, (high + 1) // 2)
            assert part.cols >= min(smallest, whole.cols, (bin.cols + 1) // 2) or bin.blocked
            matrix[part.row_offset : part.row_offset + part.rows, part.col_offset : part.col_offset + part.cols] += 1
            cells[spot.bin, spot.row : last_row, spot.col : last_col] += 1
            if part.row_offset == 0 and whole.bands:
                assert 0 <= spot.band <= bin.bands - whole.bands
                bias[spot.bin, spot.band : spot.band + whole.bands, spot.col : last_col] += 1
        assert (matrix == 1).all()
    assert cells.max(initial=0) <= 1
    assert bias.max(initial=0) <= 1
    used = {part.spot.bin for parts in cutting.parts for part in parts} | {spot.bin for _, spot in fixed}
    assert used == set(range(cutting.bins))
    assert cutting.bound <= cutting.bins
    count = sum(len(parts) for parts in cutting.parts)
    assert count == len(wholes) + cutting.row_cuts + cutting.col_cuts


def fewest_parts(wholes: Sequence[Whole], rows: int, cols: int) -> int:
    return sum(-(-whole.rows // rows) * -(-whole.cols // cols) for whole in wholes)


@st.composite
def plain(draw: st.DrawFn) -> tuple[list[Whole], int, int, int]:
    rows, cols = draw(st.integers(1, 24)), draw(st.integers(1, 24))
    whole = st.builds(
        Whole,
        rows=st.integers(1, 3 * rows),
        cols=st.integers(1, 3 * cols),
        row_step=st.integers(1, max(1, rows // 2)),
    )
    return draw(st.lists(whole, max_size=8)), rows, cols, draw(st.integers(1, 9))


@given(plain(), st.integers(0, 5), st.integers(0, 3))
@settings(max_examples=300)
def test_every_cell_lies_once_and_cuttings_repeat_themselves(
    case: tuple[list[Whole], int, int, int], seed: int, price: int
) -> None:
    wholes, rows, cols, smallest = case
    bin = Bin(rows=rows, cols=cols)
    cutting = cut_and_pack(
        wholes, rows=rows, cols=cols, smallest=smallest, steps=60, seed=seed, row_price=price, col_price=1
    )
    check(cutting, wholes, bin, smallest)
    assert cutting.bound == -(-sum(whole.rows * whole.cols for whole in wholes) // (rows * cols))
    again = cut_and_pack(
        wholes, rows=rows, cols=cols, smallest=smallest, steps=60, seed=seed, row_price=price, col_price=1
    )
    assert cutting == again


@st.composite
def banded(draw: st.DrawFn) -> tuple[list[Whole], Bin]:
    rows, cols, bands = draw(st.integers(4, 24)), draw(st.integers(4, 24)), draw(st.integers(0, 5))
    bad = draw(st.integers(0, cols // 2))
    bin = Bin(
        rows=rows,
        cols=cols,
        edges=(rows // 2,) if draw(st.booleans()) else (),
        blocked=((0, 0, rows, bad),) if bad else (),
        bands=bands,
    )
    whole = st.builds(Whole, rows=st.integers(1, 2 * rows), cols=st.integers(1, 2 * cols), bands=st.integers(0, bands))
    return draw(st.lists(whole, max_size=6)), bin


@given(banded(), st.integers(1, 4))
@settings(max_examples=300)
def test_halves_bad_columns_and_bias_rows_are_kept(case: tuple[list[Whole], Bin], smallest: int) -> None:
    wholes, bin = case
    cutting = cut_into(wholes, bin, smallest=smallest, steps=40)
    assert cutting is not None
    check(cutting, wholes, bin, smallest)
    assert cut_bound(wholes, bin) == cutting.bound
    if cutting.bins > 1:
        fewer = cut_into(wholes, bin, smallest=smallest, steps=40, max_bins=cutting.bins - 1)
        assert fewer is None


@given(banded(), st.integers(1, 4), st.randoms(use_true_random=False))
@settings(max_examples=300)
def test_nothing_lies_on_what_was_there(case: tuple[list[Whole], Bin], smallest: int, random: Random) -> None:
    wholes, bin = case
    tops = sorted({0, bin.rows, *bin.edges})
    high = max(bottom - top for top, bottom in pairwise(tops))
    wide = bin.cols - max((rect[3] for rect in bin.blocked), default=0)
    pieces = [
        Piece(rows=random.randint(1, high), cols=random.randint(1, wide), bands=random.randint(0, bin.bands))
        for _ in range(random.randint(0, 12))
    ]
    spots = pack_layout(pieces, bin)
    assert spots is not None
    fixed = list(zip(pieces, spots, strict=True))
    cutting = cut_into(wholes, bin, fixed=fixed, smallest=smallest, steps=20)
    assert cutting is not None
    check(cutting, wholes, bin, smallest, fixed)
    assert cutting == cut_into(wholes, bin, fixed=fixed, smallest=smallest, steps=20)
    assert cutting.bound == cut_bound(wholes, bin, pieces)


def test_what_is_left_of_a_bin_is_filled_first() -> None:
    """Bins 1 and 3 are in use; 0 and 2 are taken in this order, and then those behind."""
    fixed = [(Piece(rows=4, cols=2), Spot(bin=1, row=0, col=0)), (Piece(rows=1, cols=4), Spot(bin=3, row=3, col=0))]
    bin = Bin(rows=4, cols=4)
    cutting = cut_into([Whole(rows=4, cols=5)], bin, fixed=fixed, smallest=1)
    assert cutting is not None
    assert cutting.bins == cutting.bound == 2
    assert {part.spot.bin for part in cutting.parts[0]} == {1, 3}
    more = cut_into([Whole(rows=4, cols=17)], bin, fixed=fixed, smallest=1)
    assert more is not None
    check(more, [Whole(rows=4, cols=17)], bin, 1, fixed)
    assert (more.bins, more.bound) == (5, 5)
    nothing = cut_into([], bin, fixed=fixed)
    assert nothing is not None
    assert (nothing.bins, nothing.parts) == (2, ())


def test_a_bin_in_pieces_is_read_in_full() -> None:
    """Of 64 x 64 cells every second in both directions is taken: more free rectangles than are kept of an empty bin."""
    fixed = [
        (Piece(rows=1, cols=1, bands=1), Spot(bin=0, row=2 * n // 64 * 2, col=2 * n % 64, band=2 * n // 64 % 16))
        for n in range(32 * 16)
    ]
    wholes = [Whole(rows=100, cols=50, bands=1), Whole(rows=30, cols=70)]
    bin = Bin(rows=64, cols=64, bands=16)
    cutting = cut_into(wholes, bin, fixed=fixed, smallest=1, steps=50)
    assert cutting is not None
    check(cutting, wholes, bin, 1, fixed)


@pytest.mark.parametrize("seed", range(5))
def test_many_bias_rows_in_a_bin_are_kept_apart(seed: int) -> None:
    """Of over a hundred parts a bin."""
    random = Random(seed)
    wholes = [Whole(rows=random.randint(20, 90), cols=random.randint(20, 100), bands=1) for _ in range(220)]
    cutting = cut_into(wholes, WTM2101, steps=30)
    assert cutting is not None
    check(cutting, wholes, WTM2101, 8)


def test_one_bin_is_filled_to_the_last_cell() -> None:
    wholes = [Whole(rows=6, cols=4), Whole(rows=2, cols=4)]
    cutting = cut_and_pack(wholes, rows=4, cols=4, smallest=1)
    check(cutting, wholes, Bin(rows=4, cols=4), 1)
    assert (cutting.bins, cutting.row_cuts, cutting.col_cuts) == (2, 1, 0)


def test_cuts_that_are_not_needed_are_not_made() -> None:
    wholes = [Whole(rows=2304, cols=512), Whole(rows=100, cols=100)]
    cutting = cut_and_pack(wholes, rows=1024, cols=512)
    assert sum(map(len, cutting.parts)) == fewest_parts(wholes, 1024, 512)
    assert cutting.steps < 4000, "the search knows that no fewer parts exist"


def test_resnet18_fills_13_arrays_that_fixed_cuts_do_not() -> None:
    """The cut at array borders needs 46 parts and 17 arrays, proved."""
    cutting = cut_and_pack(RESNET18, rows=1024, cols=896, steps=1000)
    check(cutting, RESNET18, Bin(rows=1024, cols=896), 8)
    assert (cutting.bins, cutting.bound) == (13, 13)
    assert fewest_parts(RESNET18, 1024, 896) == 46
    assert sum(map(len, cutting.parts)) <= 52


@pytest.mark.parametrize(("rows", "cols", "bins"), [(512, 512, 45), (256, 256, 179), (128, 128, 713), (64, 64, 2852)])
def test_resnet18_meets_the_area_bound_of_smaller_arrays(rows: int, cols: int, bins: int) -> None:
    cutting = cut_and_pack(RESNET18, rows=rows, cols=cols, steps=500)
    check(cutting, RESNET18, Bin(rows=rows, cols=cols), 8)
    assert cutting.bins == cutting.bound == bins
    assert sum(map(len, cutting.parts)) <= fewest_parts(RESNET18, rows, cols) + 6


def test_the_48_blocks_that_do_not_fit_whole_fit_cut() -> None:
    """42 whole blocks fill a chip (see test_layout)."""
    wholes = [Whole(rows=235, cols=123, bands=1)] * 48
    cutting = cut_into(wholes, WTM2101, max_bins=1, steps=2000)
    assert cutting is not None
    check(cutting, wholes, WTM2101, 8)


def test_more_bins_than_needed_cost_fewer_cuts() -> None:
    few = cut_and_pack(RESNET18, rows=1024, cols=896, steps=500)
    many = cut_and_pack(RESNET18, rows=1024, cols=896, steps=500, least_bins=17)
    assert many.bins <= 17
    assert many.row_cuts + many.col_cuts < few.row_cuts + few.col_cuts


def test_a_dear_row_cut_is_replaced_by_column_cuts() -> None:
    dear = cut_and_pack(RESNET18, rows=1024, cols=896, steps=1500, row_price=9)
    cheap = cut_and_pack(RESNET18, rows=1024, cols=896, steps=1500, row_price=1, col_price=9)
    assert (dear.bins, cheap.bins) == (13, 13)
    assert dear.row_cuts <= cheap.row_cuts
    assert cheap.col_cuts <= dear.col_cuts
    assert dear != cheap


def test_rows_are_cut_at_row_steps() -> None:
    wholes = [replace(whole, row_step=128) for whole in RESNET18]
    check(cut_and_pack(wholes, rows=1024, cols=896, steps=200), wholes, Bin(rows=1024, cols=896), 8)


def test_an_expired_limit_still_gives_a_cutting() -> None:
    begun = time.monotonic()
    cutting = cut_and_pack(RESNET18, rows=128, cols=128, steps=10**9, seconds=0.0)
    check(cutting, RESNET18, Bin(rows=128, cols=128), 8)
    assert time.monotonic() - begun < 60, "a billion steps take hours"


@pytest.mark.parametrize("wholes", [RESNET18, [Whole(rows=235, cols=123)] * 48], ids=["fits at once", "does not fit"])
def test_a_search_that_is_stopped_gives_a_cutting(wholes: list[Whole]) -> None:
    """After the n-th question whether to stop, of which the search asks one for every call of compiled code."""
    bin = Bin(rows=64, cols=64)
    for last in (0, 1, 5):
        asked = 0

        def stop(last: int = last) -> bool:
            nonlocal asked
            asked += 1
            return asked > last

        cutting = cut_into(wholes, bin, steps=10**9, stop=stop)
        assert cutting is not None
        check(cutting, wholes, bin, 8)
        assert asked < last + 12
        assert cutting.bins <= cutting.bound + 5


def test_nothing_takes_no_bins() -> None:
    assert cut_and_pack([], rows=4, cols=4) == Cutting(bins=0, bound=0, parts=(), steps=0)
    tile = cut_and_pack([Whole(rows=8, cols=4)], rows=4, cols=4)
    check(tile, [Whole(rows=8, cols=4)], Bin(rows=4, cols=4), 8)
    assert (tile.bins, tile.row_cuts, tile.col_cuts) == (2, 1, 0)


def test_dtln_fills_4_arrays_that_fixed_cuts_do_not() -> None:
    """12 parts take 5 arrays, proved; 14 take 4."""
    cutting = cut_and_pack(DTLN, rows=512, cols=512, steps=2000)
    check(cutting, DTLN, Bin(rows=512, cols=512), 8)
    assert (cutting.bins, cutting.bound, sum(map(len, cutting.parts))) == (4, 4, 14)

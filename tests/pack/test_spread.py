"""Proves `load_bound <= optimum <= spread` on tiny cases, the optimum by trying everything, and that placements are
sound; pins how near to the bound the loads of ResNet18 come."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import product

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bitline.pack.rectangles import pack
from bitline.pack.shapes import Piece, Spot
from bitline.pack.spread import spread
from bitline.pack.spread_bounds import load_bound

Case = tuple[list[Piece], int, int, int]


def busiest(spots: Sequence[Spot], pieces: Sequence[Piece], rows: int, cols: int, bins: int) -> int:
    """The largest load of a bin, after every piece has been painted."""
    painted = np.zeros((bins, rows, cols), dtype=np.int64)
    loads = [0] * bins
    assert len(spots) == len(pieces)
    for piece, spot in zip(pieces, spots, strict=True):
        assert 0 <= spot.row <= rows - piece.rows
        assert 0 <= spot.col <= cols - piece.cols
        painted[spot.bin, spot.row : spot.row + piece.rows, spot.col : spot.col + piece.cols] += 1
        loads[spot.bin] += piece.load
    assert painted.max(initial=0) <= 1
    return max(loads)


def optimum(pieces: Sequence[Piece], rows: int, cols: int, bins: int) -> int | None:
    """The least largest load, by exhaustive search; None where the pieces do not fit."""
    taken = np.zeros((bins, rows, cols), dtype=bool)
    loads = [0] * bins
    best: int | None = None

    def place(index: int) -> None:
        nonlocal best
        if best is not None and max(loads) >= best:
            return
        if index == len(pieces):
            best = max(loads)
            return
        piece = pieces[index]
        for b, r, c in product(range(bins), range(rows - piece.rows + 1), range(cols - piece.cols + 1)):
            if b and not taken[b - 1].any():
                return
            cells = taken[b, r : r + piece.rows, c : c + piece.cols]
            if not cells.any():
                cells[:] = True
                loads[b] += piece.load
                place(index + 1)
                loads[b] -= piece.load
                cells[:] = False

    place(0)
    return best


def tiny_case(source: random.Random) -> Case:
    rows, cols = source.randint(1, 4), source.randint(1, 4)
    pieces = [
        Piece(rows=source.randint(1, rows), cols=source.randint(1, cols), load=source.randint(0, 9))
        for _ in range(source.randint(1, 5))
    ]
    return pieces, rows, cols, source.randint(1, 4)


def test_the_optimum_lies_between_bound_and_placement_and_is_met() -> None:
    source, met, possible = random.Random(1), 0, 0
    for _ in range(250):
        pieces, rows, cols, bins = tiny_case(source)
        best = optimum(pieces, rows, cols, bins)
        spots = spread(pieces, rows=rows, cols=cols, bins=bins, steps=600)
        if best is None:
            assert spots is None
            continue
        possible += 1
        assert load_bound(pieces, rows=rows, cols=cols, bins=bins)[0] <= best
        if spots is not None:
            found = busiest(spots, pieces, rows, cols, bins)
            assert found >= best
            met += found == best
    assert possible > 150, "most cases can be placed"
    assert met == possible, "greedy placing misses pinwheels, but none of these cases is one"


@st.composite
def cases(draw: st.DrawFn) -> Case:
    rows, cols = draw(st.integers(2, 40)), draw(st.integers(2, 40))
    piece = st.builds(Piece, rows=st.integers(1, rows), cols=st.integers(1, cols), load=st.integers(0, 1000))
    pieces = draw(st.lists(piece, min_size=1, max_size=30))
    packing = pack([(p.rows, p.cols) for p in pieces], rows=rows, cols=cols)
    assert packing is not None
    return pieces, rows, cols, packing.bins + draw(st.integers(0, 2))


@given(cases(), st.integers(0, 3))
@settings(max_examples=150)
def test_placements_are_sound_repeat_themselves_and_keep_the_bound(case: Case, seed: int) -> None:
    """As many bins as the load-blind packer takes are enough: all its orders and rules are among the first steps."""
    pieces, rows, cols, bins = case
    spots = spread(pieces, rows=rows, cols=cols, bins=bins, steps=500, seed=seed)
    assert spots is not None
    found = busiest(spots, pieces, rows, cols, bins)
    assert load_bound(pieces, rows=rows, cols=cols, bins=bins)[0] <= found
    assert spread(pieces, rows=rows, cols=cols, bins=bins, steps=500, seed=seed) == spots


@given(cases(), st.sampled_from((1, 100)))
@settings(max_examples=60)
def test_a_given_placement_is_never_made_worse(case: Case, steps: int) -> None:
    pieces, rows, cols, bins = case
    packing = pack([(p.rows, p.cols) for p in pieces], rows=rows, cols=cols)
    assert packing is not None
    places = zip(packing.bin_of, packing.row_start, packing.col_start, strict=True)
    start = tuple(Spot(bin=b, row=r, col=c) for b, r, c in places)
    spots = spread(pieces, rows=rows, cols=cols, bins=bins, steps=steps, start=start)
    assert spots is not None
    assert busiest(spots, pieces, rows, cols, bins) <= busiest(start, pieces, rows, cols, bins)


@given(cases(), st.integers(0, 20))
@settings(max_examples=100)
def test_exchanges_keep_a_placement_sound(case: Case, rounds: int) -> None:
    from bitline.pack.spread_swap import relieve

    pieces, rows, cols, bins = case
    packing = pack([(p.rows, p.cols) for p in pieces], rows=rows, cols=cols)
    assert packing is not None
    positions = np.array([packing.bin_of, packing.row_start, packing.col_start], dtype=np.int64).T.copy()
    table = np.array([(p.rows, p.cols, p.load) for p in pieces], dtype=np.int64)

    def value() -> tuple[int, int]:
        spots = [Spot(bin=b, row=r, col=c) for b, r, c in positions.tolist()]
        largest = busiest(spots, pieces, rows, cols, bins)
        loads = np.bincount(positions[:, 0], weights=table[:, 2], minlength=bins)
        return largest, int((loads == largest).sum())

    before = value()
    moved = relieve(table, positions, bins, np.array([[0, 0, rows, cols]]), 0, rounds)
    assert 0 <= moved <= rounds
    after = value()
    assert after < before if moved else after == before, "every move leaves fewer bins as busy as the busiest"


def test_a_heavy_piece_takes_the_place_of_a_light_one() -> None:
    """Both bins are full, so that nothing can be moved, only exchanged."""
    from bitline.pack.spread_swap import relieve

    table = np.array([(2, 4, 1), (1, 4, 8), (1, 4, 9), (2, 4, 1), (1, 4, 1), (1, 4, 2)], dtype=np.int64)
    positions = np.array([(0, 0, 0), (0, 2, 0), (0, 3, 0), (1, 0, 0), (1, 2, 0), (1, 3, 0)], dtype=np.int64)
    assert relieve(table, positions, 2, np.array([[0, 0, 4, 4]]), 0, 10) > 0
    loads = np.bincount(positions[:, 0], weights=table[:, 2]).astype(int)
    assert sorted(loads.tolist()) in ([10, 12], [11, 11])


@given(cases())
@settings(max_examples=60)
def test_an_empty_bin_more_never_raises_the_bound(case: Case) -> None:
    pieces, rows, cols, bins = case
    assume(bins > 0)
    bound = load_bound(pieces, rows=rows, cols=cols, bins=bins)[0]
    assert load_bound(pieces, rows=rows, cols=cols, bins=bins + 1)[0] <= bound
    assert bound >= max(piece.load for piece in pieces)


@pytest.mark.parametrize(
    ("pieces", "bins", "bound"),
    [
        ([(1, 1, 5), (1, 1, 4)], 2, (5, "largest")),
        ([(1, 1, 3), (1, 1, 3), (1, 1, 3), (1, 1, 3)], 2, (6, "average")),
        ([(4, 4, 1), (1, 1, 3), (1, 1, 3)], 2, (6, "average")),  # a bin is full: the rest has one
        ([(1, 1, 3), (1, 1, 3), (1, 1, 3)], 2, (6, "pigeonhole")),
        ([(1, 1, 9), (3, 3, 2), (3, 3, 1)], 2, (10, "conflict")),  # one of the large ones lies with the heavy one
        ([(2, 2, 9), (2, 4, 2), (4, 3, 0)], 2, (11, "conflict")),  # the one of load 0 does not fit beside it
    ],
)
def test_golden_bounds(pieces: list[tuple[int, int, int]], bins: int, bound: tuple[int, str]) -> None:
    given_pieces = [Piece(rows=r, cols=c, load=load) for r, c, load in pieces]
    assert load_bound(given_pieces, rows=4, cols=4, bins=bins) == bound
    assert optimum(given_pieces, 4, 4, bins) == bound[0]


def test_too_few_bins_have_no_placement() -> None:
    full = Piece(rows=4, cols=4)
    assert spread([full] * 2, rows=4, cols=4, bins=1) is None
    assert spread([full, Piece(rows=1, cols=1)], rows=4, cols=4, bins=1) is None
    assert spread([full] * 2, rows=4, cols=4, bins=2) == (Spot(bin=0, row=0, col=0), Spot(bin=1, row=0, col=0))
    assert spread([Piece(rows=3, cols=3)] * 2, rows=4, cols=4, bins=1) is None
    assert spread([], rows=4, cols=4, bins=0) == ()


RESNET18 = [
    *[(147, 64, 12544), *[(576, 64, 3136)] * 4],
    *[(576, 128, 784), *[(1152, 128, 784)] * 3, (64, 128, 784)],
    *[(1152, 256, 196), *[(2304, 256, 196)] * 3, (128, 256, 196)],
    *[(2304, 512, 49), *[(4608, 512, 49)] * 3, (256, 512, 49)],
    (512, 1000, 1),
]
"""rows, columns, MVMs"""


def cut(rows: int, cols: int) -> list[Piece]:
    return [
        Piece(rows=min(rows, height - row), cols=min(cols, width - col), load=load)
        for height, width, load in RESNET18
        for row, col in product(range(0, height, rows), range(0, width, cols))
    ]


@pytest.mark.parametrize(
    ("rows", "cols", "bins", "bound", "interval"), [(1024, 896, 17, 12545, 12545), (512, 512, 45, 12593, 12789)]
)
def test_resnet18_is_as_fast_as_its_largest_layer(rows: int, cols: int, bins: int, bound: int, interval: int) -> None:
    """The first convolution fires 12,544 times; a packer that is blind for loads gives 35,280 on 512x512."""
    pieces = cut(rows, cols)
    assert load_bound(pieces, rows=rows, cols=cols, bins=bins) == (bound, "conflict")
    spots = spread(pieces, rows=rows, cols=cols, bins=bins, steps=5000)
    assert spots is not None
    assert busiest(spots, pieces, rows, cols, bins) <= interval


def test_an_expired_limit_still_gives_a_placement() -> None:
    pieces = cut(1024, 896)
    spots = spread(pieces, rows=1024, cols=896, bins=20, steps=10**12, seconds=0.0)
    assert spots is not None
    busiest(spots, pieces, 1024, 896, 20)

"""Proves that the search keeps packings whole, takes no more bins, repeats itself, and finds what sorting misses."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import islice

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from bitline.pack import search
from bitline.pack.bounds import lower_bound
from bitline.pack.rectangles import pack, packings
from bitline.pack.skyline import RULES, fill_skyline
from tests.pack.test_rectangles import Pieces, case, check

STEPS = 300


@given(case(largest=20, count=25))
@settings(max_examples=80, deadline=None)
def test_no_worse_and_whole(given_case: tuple[Pieces, int, int]) -> None:
    pieces, rows, cols = given_case
    plain = pack(pieces, rows=rows, cols=cols)
    found = pack(pieces, rows=rows, cols=cols, steps=STEPS)
    assert plain is not None
    assert found is not None
    check(found, pieces, rows, cols)
    assert lower_bound(pieces, rows, cols)[0] <= found.bins <= plain.bins
    assert found == pack(pieces, rows=rows, cols=cols, steps=STEPS)


@given(case(largest=12, count=20), st.integers(0, 20))
@settings(max_examples=60, deadline=None)
def test_a_limit_is_kept(given_case: tuple[Pieces, int, int], max_bins: int) -> None:
    pieces, rows, cols = given_case
    free = pack(pieces, rows=rows, cols=cols, steps=STEPS)
    limited = pack(pieces, rows=rows, cols=cols, max_bins=max_bins, steps=STEPS)
    assert free is not None
    assert limited == (free if free.bins <= max_bins else None)


@given(case(largest=20, count=25), st.sampled_from(RULES))
@settings(max_examples=200, deadline=None)
def test_a_skyline_holds_what_it_took_in_order(given_case: tuple[Pieces, int, int], rule: int) -> None:
    """Every cell painted once; the pieces it refused stay in order; an empty bin refuses no piece alone."""
    pieces, rows, cols = given_case
    sizes = np.asarray(pieces, dtype=np.int64).reshape(-1, 2)
    waiting = np.arange(len(sizes))
    positions = np.full((len(sizes), 3), -1, dtype=np.int64)
    sky = np.empty((len(sizes) + 1, 3), dtype=np.int64)
    left = fill_skyline(waiting, len(sizes), sizes, rows, cols, rule, 0, positions, sky)
    refused = waiting[:left].tolist()
    assert refused == sorted(refused)
    assert refused == np.flatnonzero(positions[:, 0] < 0).tolist()
    assert left < len(pieces) or not pieces
    painted = np.zeros((rows, cols), dtype=np.int64)
    for (height, width), (number, r, c) in zip(pieces, positions.tolist(), strict=True):
        if number == 0:
            assert 0 <= r <= rows - height
            assert 0 <= c <= cols - width
            painted[r : r + height, c : c + width] += 1
    assert painted.max(initial=0) <= 1


def open_cases() -> list[Pieces]:
    """Of 60 random cases those that sorted orders leave above the bound, bins of 40 x 40."""
    random = np.random.default_rng(1)
    found: list[Pieces] = []
    for _ in range(60):
        pieces = [(int(r), int(c)) for r, c in random.integers(1, 36, (40, 2))]
        plain = pack(pieces, rows=40, cols=40)
        assert plain is not None
        if plain.bins > lower_bound(pieces, 40, 40)[0]:
            found.append(pieces)
    return found


def test_it_finds_what_sorting_misses() -> None:
    opened = open_cases()
    assert len(opened) >= 15
    closed = 0
    for pieces in opened:
        found = pack(pieces, rows=40, cols=40, steps=3000)
        assert found is not None
        closed += found.bins == lower_bound(pieces, 40, 40)[0]
    assert closed >= len(opened) // 3


def test_slices_of_any_length_find_the_same() -> None:
    pieces = open_cases()[0]
    sizes = np.asarray(pieces, dtype=np.int64)
    start = np.column_stack((np.arange(len(pieces)), np.zeros((len(pieces), 2), dtype=np.int64)))
    ends = [list(search.fewer(sizes, 40, 40, start, floor=0, seed=3, steps=n))[-1] for n in (2000, 2000)]
    long = ends[0]
    state = list(search.fewer(sizes, 40, 40, start, floor=0, seed=3, steps=2000))
    assert len({s.steps for s in state}) > 1, "more than one slice"
    assert all((end.positions == long.positions).all() for end in ends)
    assert {s.bins for s in state} > {long.bins}


def test_a_caller_sees_every_slice_and_stops_when_it_likes() -> None:
    pieces = open_cases()[0]
    seen = [packing.bins for packing in islice(packings(pieces, rows=40, cols=40), 5)]
    assert seen == sorted(seen, reverse=True)
    for packing in islice(packings(pieces, rows=40, cols=40, seed=1), 5):
        check(packing, pieces, 40, 40)


def test_seconds_end_the_search() -> None:
    """Nothing else would: no step count is given, and some of the cases never come down to the bound."""
    for pieces in open_cases()[:6]:
        found = pack(pieces, rows=40, cols=40, seconds=0.1)
        assert found is not None
        check(found, pieces, 40, 40)


def test_the_compiled_search_does_what_its_text_says() -> None:
    pieces = open_cases()[1]
    program = f"from bitline.pack.rectangles import pack; print(pack({pieces}, rows=40, cols=40, steps=60, seed=5))"
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
    answer = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], check=True, env=environment, capture_output=True, text=True
    )
    assert answer.stdout.strip() == str(pack(pieces, rows=40, cols=40, steps=60, seed=5))

"""Proves that order search keeps packings whole, takes no more bins, repeats itself, and finds what sorting misses."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from bitline.pack.bounds import lower_bound
from bitline.pack.rectangles import pack
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
    found = pack(pieces, rows=rows, cols=cols, max_bins=max_bins, steps=STEPS)
    if found is None:
        assert pack(pieces, rows=rows, cols=cols, max_bins=max_bins) is None
    else:
        assert found.bins <= max_bins
        check(found, pieces, rows, cols)


def test_it_finds_what_sorting_misses() -> None:
    """Of 60 random cases that sorted orders leave above the bound, some are closed."""
    random = np.random.default_rng(1)
    opened = closed = 0
    for _ in range(60):
        pieces = [(int(r), int(c)) for r, c in random.integers(1, 36, (40, 2))]
        plain = pack(pieces, rows=40, cols=40)
        assert plain is not None
        if plain.bins > lower_bound(pieces, 40, 40)[0]:
            opened += 1
            found = pack(pieces, rows=40, cols=40, steps=3000)
            assert found is not None
            closed += found.bins < plain.bins
    assert opened >= 20
    assert closed >= opened // 4

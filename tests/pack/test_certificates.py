"""Proves that what a bound carries is enough to see it: a checker that shares no code with the bounds accepts it, and
no changed one."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings

from bitline.pack.bounds import Bound, best_bound, kinds_of
from bitline.pack.reduce import Group, closed
from bitline.pack.scales import scale_bound
from tests.pack.test_optimum import optimum, tiny
from tests.pack.test_rectangles import Pieces, case

Kind = tuple[int, int]


def apart(first: Kind, second: Kind, rows: int, cols: int) -> bool:
    return first[0] + second[0] > rows and first[1] + second[1] > cols


def refusal(bound: Bound, pieces: Pieces, rows: int, cols: int) -> str:
    """Why it does not follow, "" where it does."""
    left = Counter(pieces)
    bins = 0
    for group in bound.groups:
        for _ in range(group.times):
            left[group.leader] -= 1
            if left[group.leader] < 0:
                return "no such leader"
            beside = [kind for kind in left.elements() if not apart(group.leader, kind, rows, cols)]
            if sorted(beside) != sorted(group.partners):
                return "not all that fit beside the leader"
            line = [group.leader, *group.partners]
            if sum(r for r, _ in line) > rows and sum(c for _, c in line) > cols:
                return "not in one line"
            left -= Counter(group.partners)
            bins += 1
    others = list(left.elements())
    if bound.which == "area":
        needed = -(-sum(r * c for r, c in others) // (rows * cols))
    elif bound.which == "clique":
        if Counter(bound.clique) - left:
            return "pieces that are not there"
        if not all(apart(a, b, rows, cols) for i, a in enumerate(bound.clique) for b in bound.clique[:i]):
            return "two of the clique share a bin"
        needed = len(bound.clique)
    else:
        for side, values, cap, size in (
            (0, dict(bound.row_values), bound.row_cap, rows),
            (1, dict(bound.col_values), bound.col_cap, cols),
        ):
            worth = np.zeros(size + 1, dtype=np.int64)
            for kind in others:  # a knapsack over the lengths that are there
                length = kind[side]
                worth[length:] = np.maximum(worth[length:], worth[: size + 1 - length] + values[length])
            if worth[size] > cap:
                return "a bin is worth more than it may be"
        total = sum(dict(bound.row_values)[r] * dict(bound.col_values)[c] for r, c in others)
        needed = -(-total // (bound.row_cap * bound.col_cap)) if others else 0
    return "" if bins + needed == bound.value else "another value"


@given(case(largest=30, count=40))
@settings(max_examples=200, deadline=None)
def test_cheap_bounds_carry_their_certificate(given_case: tuple[Pieces, int, int]) -> None:
    pieces, rows, cols = given_case
    assert refusal(best_bound(pieces, rows, cols), pieces, rows, cols) == ""


@given(case(largest=30, count=40))
@settings(max_examples=60, deadline=None)
def test_scales_carry_theirs(given_case: tuple[Pieces, int, int]) -> None:
    pieces, rows, cols = given_case
    assert refusal(scale_bound(pieces, rows, cols), pieces, rows, cols) == ""


@given(tiny())
@settings(max_examples=100, deadline=None)
def test_no_bound_is_above_the_optimum(given_case: tuple[Pieces, int, int]) -> None:
    pieces, rows, cols = given_case
    best = optimum(pieces, rows, cols)
    assert best_bound(pieces, rows, cols).value <= best
    assert scale_bound(pieces, rows, cols).value <= best


@given(tiny())
@settings(max_examples=150, deadline=None)
def test_closing_groups_takes_no_bin_more(given_case: tuple[Pieces, int, int]) -> None:
    pieces, rows, cols = given_case
    if not pieces:
        return
    kinds, count = kinds_of(pieces)
    groups, left = closed(kinds, count, rows, cols)
    rest = [(int(r), int(c)) for (r, c), n in zip(kinds, left, strict=True) for _ in range(n)]
    placed = [kind for g in groups for kind in (g.leader, *g.partners) for _ in range(g.times)]
    assert Counter(placed) + Counter(rest) == Counter(pieces)
    assert sum(g.times for g in groups) + optimum(rest, rows, cols) == optimum(pieces, rows, cols)


def test_a_leader_closes_with_its_partners() -> None:
    """(4, 8) fits beside nothing but (4, 4), and two of (5, 5) beside nothing at all."""
    kinds, count = kinds_of([(4, 8), (4, 4), (5, 5), (5, 5), (8, 8)])
    groups, left = closed(kinds, count, 8, 8)
    together = {(tuple(sorted((g.leader, *g.partners))), g.times) for g in groups}
    assert together == {(((4, 4), (4, 8)), 1), (((8, 8),), 1), (((5, 5),), 2)}
    assert left.sum() == 0


@pytest.mark.parametrize(
    ("pieces", "size", "which", "value"),
    [
        ([(9, 5), (8, 6), (2, 4), (6, 1), (1, 1), (5, 10)], 10, "clique", 3),  # no two of three share a bin
        ([(7, 7)] * 3, 13, "dff", 3),
    ],
)
def test_golden(pieces: Pieces, size: int, which: str, value: int) -> None:
    found = best_bound(pieces, size, size)
    assert (found.which, found.value) == (which, value)


def test_scales_see_more_than_functions() -> None:
    """In some of 20 random cases."""
    random = np.random.default_rng(7)
    better = 0
    for _ in range(20):
        pieces = [(int(r), int(c)) for r, c in random.integers(8, 60, (30, 2))]
        better += scale_bound(pieces, 100, 100).value > best_bound(pieces, 100, 100).value
    assert better >= 1


def test_a_changed_certificate_is_refused() -> None:
    """The checker above can say no."""
    random = np.random.default_rng(5)
    pieces = [(int(r), int(c)) for r, c in random.integers(8, 60, (30, 2))]
    bound = scale_bound(pieces, 100, 100)
    assert refusal(bound, pieces, 100, 100) == ""
    assert refusal(replace(bound, value=bound.value + 1), pieces, 100, 100) == "another value"
    assert refusal(replace(bound, row_cap=bound.row_cap // 2), pieces, 100, 100) == "a bin is worth more than it may be"
    assert refusal(replace(bound, groups=(Group(leader=pieces[0]),)), pieces, 100, 100) != ""
    wrong = Bound(value=2, which="clique", clique=((50, 50), (50, 50)))
    assert refusal(wrong, [(50, 50)] * 2, 100, 100) == "two of the clique share a bin"

"""Proves that packing and bound close in on the optimum, that a claim of optimality is one, and that time is kept."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings

from bitline.pack import gap
from bitline.pack.bounds import Bound, best_bound
from bitline.pack.gap import narrow
from bitline.pack.prove import Verdict, prove
from bitline.pack.rectangles import Packing, pack
from bitline.pack.scales import scale_bound
from tests.pack.test_optimum import optimum, tiny
from tests.pack.test_rectangles import Pieces, check

PINWHEEL = [(3, 1), (1, 3), (1, 3), (3, 1)]


@pytest.fixture(scope="module", autouse=True)
def loaded() -> None:
    """Compile the search and load the solvers, so that the seconds of a test are those of its search."""
    pieces = [(2, 4), (4, 3), (2, 2), (1, 3)]
    pack(pieces, rows=4, cols=4, steps=2)
    scale_bound(pieces, 4, 4)
    prove(pieces, rows=4, cols=4, bins=2)


@given(tiny())
@settings(max_examples=150, deadline=None)
def test_search_and_prover_together_find_the_optimum(case: tuple[Pieces, int, int]) -> None:
    pieces, rows, cols = case
    answers = list(narrow(pieces, rows=rows, cols=cols, seconds=20.0))
    best = optimum(pieces, rows, cols)
    for answer in answers:
        check(answer.packing, pieces, rows, cols)
        assert answer.least <= best <= answer.packing.bins
    for first, second in pairwise(answers):
        assert second.packing.bins <= first.packing.bins
        assert second.least >= first.least
    assert answers[-1].optimal
    assert not any(answer.optimal for answer in answers[:-1])


@pytest.mark.parametrize(
    ("pieces", "size", "bins", "proof"),
    [
        ([], 4, 0, "area"),
        ([(4, 4)] * 3, 4, 3, "area"),
        ([(3, 3)] * 3, 4, 3, "dff"),
        ([(6, 5), (5, 3), (2, 2), (2, 5)], 6, 3, "clique"),
        ([(2, 4), (4, 3), (2, 2), (1, 3)], 4, 3, "scale"),
        ([(3, 5), (2, 4), (4, 3), (5, 1), (1, 5), (5, 5), (4, 1)], 5, 4, "shares"),
        ([(7, 4), (6, 2), (1, 6), (6, 2), (1, 6)], 7, 3, "places"),
        (PINWHEEL, 4, 1, "area"),
    ],
)
def test_what_proves_it(pieces: Pieces, size: int, bins: int, proof: str) -> None:
    *_, last = narrow(pieces, rows=size, cols=size, seconds=5.0)
    assert (last.packing.bins, last.least, last.proof) == (bins, bins, proof)


def hard() -> Pieces:
    """Neither packed to the bound nor proved otherwise for a long time."""
    draw = random.Random(3)
    return [(draw.randint(1, 35), draw.randint(1, 35)) for _ in range(60)]


def test_no_proof_is_claimed_that_was_not_made() -> None:
    *_, last = narrow(hard(), rows=100, cols=100, seconds=0.2)
    assert not last.optimal
    assert last.least < last.packing.bins


@given(tiny())
@settings(max_examples=150, deadline=None)
def test_counted_steps_find_the_optimum_and_repeat_themselves(case: tuple[Pieces, int, int]) -> None:
    pieces, rows, cols = case
    *_, last = narrow(pieces, rows=rows, cols=cols, steps=2_000)
    check(last.packing, pieces, rows, cols)
    assert last.optimal
    assert last.packing.bins == optimum(pieces, rows, cols)
    *_, again = narrow(pieces, rows=rows, cols=cols, steps=2_000)
    assert (again.packing, again.bound, again.refuted) == (last.packing, last.bound, last.refuted)


@pytest.mark.parametrize("steps", [1, 500])
def test_counted_steps_end(steps: int) -> None:
    """Of a hard case too, whose bound is the best by a scale."""
    answers = list(narrow(hard(), rows=100, cols=100, steps=steps))
    assert not answers[-1].optimal
    assert answers[-1].least == max(scale_bound(hard(), 100, 100).value, best_bound(hard(), 100, 100).value)
    *_, again = narrow(hard(), rows=100, cols=100, steps=steps)
    assert again.packing == answers[-1].packing


def test_a_time_limit_counts_more_than_steps() -> None:
    started = time.perf_counter()
    *_, last = narrow(hard(), rows=100, cols=100, steps=10**9, seconds=0.2)
    assert time.perf_counter() - started < 1.0
    assert not last.optimal


@pytest.mark.parametrize("limits", [{"seconds": 0.5}, {"steps": 500}])
def test_what_the_prover_came_upon_is_kept(limits: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Though the search goes on from a packing of its own."""
    came: list[int] = []

    def lucky(pieces: Pieces, *, bins: int, **_: object) -> Verdict:
        came.append(bins)
        places = tuple(0 for _ in pieces)
        return Verdict(verdict="packing", packing=Packing(bins=bins, bin_of=places, row_start=places, col_start=places))

    def weak(*_: object, **__: object) -> Bound:
        return Bound(value=1, which="area")

    monkeypatch.setattr(gap, "prove", lucky)
    monkeypatch.setattr(gap, "best_bound", weak)
    monkeypatch.setattr(gap, "scale_bound", weak)
    answers = list(narrow(hard(), rows=100, cols=100, **limits))
    assert came
    assert answers[-1].packing.bins == came[-1]
    for first, second in pairwise(answers):
        assert second.packing.bins <= first.packing.bins


def test_loading_of_solvers_is_no_time_of_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    """A solver that takes longer to load than there is time is used all the same."""

    def slow(_: str) -> float:
        time.sleep(1.2)
        return 1.2

    monkeypatch.setattr(gap, "_seconds_to_load", slow)
    *_, last = narrow([(2, 4), (4, 3), (2, 2), (1, 3)], rows=4, cols=4, seconds=1.0)
    assert (last.optimal, last.proof, last.loading_seconds) == (True, "scale", 1.2)


def test_without_a_time_it_goes_on_until_the_caller_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gap, "ENDLESS_SECONDS", 0.1)
    seen = 0
    started = time.perf_counter()
    for answer in narrow(hard(), rows=100, cols=100):
        seen += 1
        assert not answer.optimal
        if time.perf_counter() - started > 1.0:
            break
    assert seen > 5


INTERRUPTED = """
import os, random, signal, sys, threading
from bitline.pack.bounds import best_bound
from bitline.pack.gap import narrow
from bitline.pack.prove import prove
draw = random.Random(3)
pieces = [(draw.randint(1, 35), draw.randint(1, 35)) for _ in range(60)]
bins = 0
for found in narrow(pieces, rows=100, cols=100, seconds=0.1):
    bins = found.packing.bins
threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    prove(pieces, rows=100, cols=100, bins=bins - 1, effort=1000.0)
except KeyboardInterrupt:
    print("interrupted", bins)
"""


def test_an_interrupt_comes_out_of_the_prover() -> None:
    """And what was found before is in the caller's hands."""
    answer = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, check=True, timeout=60)
    word, bins = answer.stdout.split()
    assert word == "interrupted"
    assert int(bins) >= best_bound(hard(), 100, 100).value

"""Proves that packing and bound close in on the optimum, that a claim of optimality is one, and that time is kept."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from itertools import pairwise

import pytest
from hypothesis import given, settings

from bitline.pack import gap
from bitline.pack.bounds import best_bound
from bitline.pack.gap import narrow
from bitline.pack.prove import prove
from bitline.pack.rectangles import pack
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
        assert answer.bound <= best <= answer.packing.bins
    for first, second in pairwise(answers):
        assert second.packing.bins <= first.packing.bins
        assert second.bound >= first.bound
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
    assert (last.packing.bins, last.bound, last.proof) == (bins, bins, proof)


def hard() -> Pieces:
    """Neither packed to the bound nor proved otherwise for a long time."""
    draw = random.Random(3)
    return [(draw.randint(1, 35), draw.randint(1, 35)) for _ in range(60)]


def test_no_proof_is_claimed_that_was_not_made() -> None:
    *_, last = narrow(hard(), rows=100, cols=100, seconds=0.2)
    assert not last.optimal
    assert last.bound < last.packing.bins


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

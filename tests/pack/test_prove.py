"""Proves that the prover agrees with trying everything, in both directions, and takes no doubtful "no" for a proof."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitline.pack import prove as module
from bitline.pack.bounds import lower_bound
from bitline.pack.conflicts import alone, cliques_of, conflicts, greedy_clique
from bitline.pack.dff import strongest_pairs
from bitline.pack.prove import Verdict, prove
from tests.pack.test_optimum import fits, tiny
from tests.pack.test_rectangles import Pieces, check


@given(tiny(), st.integers(0, 5))
@settings(max_examples=150, deadline=None)
def test_it_agrees_with_trying_everything(case: tuple[Pieces, int, int], bins: int) -> None:
    pieces, rows, cols = case
    answer = prove(pieces, rows=rows, cols=cols, bins=bins)
    held = fits(sorted(pieces, key=lambda piece: -piece[0] * piece[1]), rows, cols, bins)
    assert answer.verdict == ("packing" if held else "infeasible")
    assert (answer.packing is not None) == held
    assert (answer.question == "") == held
    if answer.packing is not None:
        check(answer.packing, pieces, rows, cols)
        assert answer.packing.bins <= bins


@given(tiny(), st.integers(0, 5))
@settings(max_examples=100, deadline=None)
def test_shares_alone_never_refuse_what_fits(case: tuple[Pieces, int, int], bins: int) -> None:
    pieces, rows, cols = case
    answer = prove(pieces, rows=rows, cols=cols, bins=bins, places=False)
    if answer.verdict == "infeasible":
        assert not fits(sorted(pieces, key=lambda piece: -piece[0] * piece[1]), rows, cols, bins)
    elif answer.verdict == "packing":
        assert answer.packing is not None
        check(answer.packing, pieces, rows, cols)


PINWHEEL = [(3, 1), (1, 3), (1, 3), (3, 1), (2, 2)]
SETTLED: list[tuple[str, Pieces, int, int, int, str]] = [
    ("clique", [(3, 3)] * 3, 4, 4, 2, "clique"),
    # columns of 20: three of 7 or 8 are too wide, and five pieces need one bin with three
    ("shares", [(13, 7), (13, 7), (13, 7), (13, 8), (13, 8)], 20, 20, 2, "shares"),
    ("places", [(3, 1), (1, 3), (1, 3), (3, 2)], 4, 4, 1, "places"),
]


@pytest.mark.parametrize(
    ("pieces", "rows", "cols", "bins", "question"), [s[1:] for s in SETTLED], ids=[s[0] for s in SETTLED]
)
def test_which_question_settles_it(pieces: Pieces, rows: int, cols: int, bins: int, question: str) -> None:
    assert prove(pieces, rows=rows, cols=cols, bins=bins) == Verdict(verdict="infeasible", question=question)  # type: ignore[arg-type]


def test_a_pinwheel_is_found() -> None:
    answer = prove(PINWHEEL, rows=4, cols=4, bins=1)
    assert answer.packing is not None
    check(answer.packing, PINWHEEL, 4, 4)


def test_pieces_that_stay_alone_cost_the_solver_nothing() -> None:
    """They drop out before the limit of size."""
    pieces = [(8, 8)] * 5000 + [(7, 7)] * 3000 + [(2 * r, 2 * c) for r, c in PINWHEEL]
    assert prove(pieces, rows=8, cols=8, bins=8000).question == "clique"
    found = prove(pieces, rows=8, cols=8, bins=8001)
    assert found.packing is not None
    assert found.packing.bins == 8001


def test_too_large_or_too_little_effort_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(3)
    many = [(int(r), int(c)) for r, c in random.integers(1, 30, (300, 2))]
    bound = lower_bound(many, 100, 30)[0]
    monkeypatch.setattr(module, "LARGEST", len(many) * bound - 1)
    assert prove(many, rows=100, cols=30, bins=bound).verdict == "unknown"
    few = many[:60]
    assert prove(few, rows=60, cols=60, bins=lower_bound(few, 60, 60)[0], effort=0.0).verdict == "unknown"


def test_a_no_that_the_second_model_does_not_confirm_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, bool]] = []
    answers = {("shares", False): "yes", ("places", False): "no", ("places", True): "unknown"}

    def ask(case: object, question: str, *, second: bool) -> tuple[str, None]:
        asked.append((question, second))
        return answers[question, second], None

    monkeypatch.setattr(module, "_ask", ask)
    assert prove([(2, 2)] * 3, rows=4, cols=5, bins=1) == Verdict(verdict="unknown")
    assert asked == list(answers)


def test_the_dangerous_option_is_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """google/or-tools issue 4546."""
    from ortools.sat.python import cp_model

    seen: list[tuple[bool, int]] = []
    solve = cp_model.CpSolver.solve

    def spy(self: cp_model.CpSolver, model: cp_model.CpModel) -> object:
        parameters = self.parameters
        seen.append((bool(parameters.use_area_energetic_reasoning_in_no_overlap_2d), int(parameters.num_workers)))
        return solve(self, model)

    monkeypatch.setattr(cp_model.CpSolver, "solve", spy)
    prove([(3, 1), (1, 3), (1, 3), (3, 2)], rows=4, cols=4, bins=1)
    assert seen == [(False, 1)] * 3


@given(tiny())
@settings(max_examples=200, deadline=None)
def test_conflicts_cliques_and_their_cover(case: tuple[Pieces, int, int]) -> None:
    pieces, rows, cols = case
    sizes = np.asarray(pieces, dtype=np.int64).reshape(-1, 2)
    against = conflicts(sizes, rows, cols)
    assert alone(sizes, rows, cols).tolist() == against.all(axis=1).tolist()
    for i, first in enumerate(pieces):
        for j, second in enumerate(pieces):
            assert against[i, j] == (i == j or not fits([first, second], rows, cols, 1))
    order = np.arange(len(pieces))
    cover = cliques_of(against, order)
    for clique in [greedy_clique(against, order), *cover]:
        assert against[np.ix_(clique, clique)].all()
        assert len(set(clique)) == len(clique)
    covered = {(i, j) for clique in cover for i in clique for j in clique if i != j}
    assert covered == {(i, j) for i in order.tolist() for j in order.tolist() if i != j and against[i, j]}


@given(tiny())
@settings(max_examples=100, deadline=None)
def test_no_bin_exceeds_a_pair(case: tuple[Pieces, int, int]) -> None:
    """All pieces that one bin holds together."""
    pieces, rows, cols = case
    while not fits(pieces, rows, cols, 1):
        pieces = pieces[:-1]
    if pieces:
        for values, cap in strongest_pairs(np.asarray(pieces, dtype=np.int64), rows, cols, 1000):
            assert int(values.sum()) <= cap

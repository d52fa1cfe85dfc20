"""Packing and bound together: fewer bins from above, proofs from below, until they meet or all have had their turns.

    last(narrow(pieces, rows=1024, cols=896, seconds=1.0))
    -->  Found(packing=Packing(bins=17, ...), bound=Bound(value=17, which="dff", ...), refuted="")

The cheap bounds and the multistart come first. Then search, scales and the prover take turns: of a number of steps,
which gives the same answer on every machine, or of shares of the time.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from bitline.core.interrupts import uninterrupted
from bitline.pack.bounds import Bound, Which, best_bound
from bitline.pack.prove import Question, prove
from bitline.pack.rectangles import Packing, packings
from bitline.pack.scales import scale_bound

Proof = Which | Question
Turn = Literal["search", "scale", "shares", "places"]

BY_CLOCK: Final[tuple[tuple[Turn, float], ...]] = (
    ("search", 0.02),
    ("scale", 0.14),
    ("search", 0.10),
    ("shares", 0.20),
    ("search", 0.10),
    ("places", 0.36),
    ("search", 1.0),
)
"""What has its turn, and for which share of the time, or for what is left. Easy packings are found at once, and easy
proofs end early; what a turn leaves is there for the last one."""
SOLVERS: Final[dict[Turn, str]] = {
    "scale": "ortools.linear_solver.pywraplp",
    "shares": "ortools.sat.python.cp_model",
    "places": "ortools.sat.python.cp_model",
}
FEW: Final = 40  # pieces for whose places the prover is asked; with more it hardly ever answers
EFFORT: Final = 1.0  # of the prover, in its deterministic time, where steps are counted
ENDLESS_SECONDS: Final = 20.0  # the time that is shared out where none is given


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The best packing so far, and why no fewer bins might do.

    `bound`: the best that can be recomputed. `refuted`: the question by which the prover told that one bin fewer does
    not hold the pieces, or "". `loading_seconds` went into loading solvers, which is no time of the search.
    """

    packing: Packing
    bound: Bound
    refuted: Question = ""
    loading_seconds: float = 0.0

    @property
    def least(self) -> int:
        """No packing takes fewer bins."""
        return self.packing.bins if self.refuted else self.bound.value

    @property
    def proof(self) -> Proof:
        """What says so."""
        return self.refuted or self.bound.which

    @property
    def optimal(self) -> bool:
        return self.packing.bins == self.least


def narrow(
    pieces: Sequence[tuple[int, int]],
    *,
    rows: int,
    cols: int,
    steps: int | None = None,
    seconds: float | None = None,
    seed: int = 0,
) -> Iterator[Found]:
    """Better and better answers, the first within milliseconds; ends where one is optimal.

    `seconds`: turns have shares of the time, and it ends when that is over. Without them, `steps`: the search has so
    many in one turn, after an attempt at a scale and before one at a proof. With neither it goes on until the caller
    stops. While the prover has its turn nothing comes; Ctrl-C is raised within a tenth of a second all the same.
    """
    started = time.perf_counter()
    search = packings(pieces, rows=rows, cols=cols, steps=steps, seed=seed)
    found = Found(packing=next(search), bound=best_bound(pieces, rows, cols))
    yield found
    few = sum(piece != (rows, cols) for piece in pieces) <= FEW
    time_is_shared = seconds is not None or steps is None
    turns = _by_clock(few=few) if time_is_shared else _by_steps(few=few)
    shared = ENDLESS_SECONDS if seconds is None else seconds
    for turn, share in turns:
        if found.optimal:
            return
        if turn in SOLVERS:
            found = replace(found, loading_seconds=found.loading_seconds + _seconds_to_load(SOLVERS[turn]))
            yield found
        left = shared + found.loading_seconds - (time.perf_counter() - started)
        if seconds is not None and left <= 0:
            return
        spend = min(left, share * shared) if time_is_shared else None
        if turn == "search":
            found = yield from _searched(found, search, spend)
        else:
            found = _proved(found, turn, pieces, rows, cols, spend)
            yield found
    if seconds is None and not found.optimal:  # of counted steps, none is left
        yield from _searched(found, search, None)


def _by_clock(*, few: bool) -> tuple[tuple[Turn, float], ...]:
    return tuple((turn, share) for turn, share in BY_CLOCK if few or turn != "places")


def _by_steps(*, few: bool) -> tuple[tuple[Turn, float], ...]:
    """The prover comes to places by way of shares."""
    return ("scale", 1.0), ("search", 1.0), ("places" if few else "shares", 1.0)


def _seconds_to_load(module: str) -> float:
    """An interrupt in the middle of a solver's start would come out as an error of its own."""
    started = time.perf_counter()
    with uninterrupted():
        importlib.import_module(module)
    return time.perf_counter() - started


def _searched(found: Found, search: Iterator[Packing], seconds: float | None) -> Generator[Found, None, Found]:
    """The search goes on until the answer is optimal, the time is over, or the search is."""
    end = None if seconds is None else time.perf_counter() + seconds
    for packing in search:
        if packing.bins < found.packing.bins:
            found = replace(found, packing=packing)
        yield found
        if found.optimal or (end is not None and time.perf_counter() >= end):
            break
    return found


def _proved(
    found: Found, turn: Turn, pieces: Sequence[tuple[int, int]], rows: int, cols: int, seconds: float | None
) -> Found:
    """With a better bound, or a packing that the prover came upon."""
    bins = found.packing.bins
    if turn == "scale":
        made = scale_bound(pieces, rows, cols, target=bins, seconds=seconds)
        return replace(found, bound=made) if made.value > found.bound.value else found
    effort = EFFORT if seconds is None else seconds
    answer = prove(pieces, rows=rows, cols=cols, bins=bins - 1, effort=effort, seconds=seconds, places=turn == "places")
    if answer.packing is not None:
        return replace(found, packing=answer.packing)
    return replace(found, refuted=answer.question) if answer.verdict == "infeasible" else found

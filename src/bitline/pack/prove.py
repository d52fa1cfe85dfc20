"""Do so many bins hold the pieces? A constraint solver says no, or hands back a packing, or runs out of effort.

Two questions are put, the cheap one first. *Shares*: can the pieces be shared out among the bins at all, so that no two
meet that fit neither beside nor above one another, and no bin takes more than it may by the strongest pairs of
dual-feasible functions (`dff.strongest_pairs`)? *Places*: the same with a position for every piece. A "no" to either
settles it, but counts only if the model, built again from another order of the pieces (which changes every constraint
that breaks a symmetry) and for places in another formulation, is answered "no" as well.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
import numpy.typing as npt

from bitline.core.interrupts import uninterrupted
from bitline.pack.conflicts import Bools, alone, conflicts, greedy_clique
from bitline.pack.dff import Pair, strongest_pairs
from bitline.pack.rectangles import Packing, numbered

if TYPE_CHECKING:
    from ortools.sat.python import cp_model

Ints = npt.NDArray[np.int64]
Answer = Literal["no", "yes", "unknown"]
Question = Literal["", "clique", "shares", "places"]

PAIRS: Final = 10  # of dual-feasible functions; 40 settle no more of the public instances and take twice the time
LARGEST: Final = 8000  # pieces times bins of a model; building one takes about 50 us each
POLL_SECONDS: Final = 0.05  # how long Ctrl-C may wait for the solver


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """`infeasible`: no packing exists; `packing`: here is one; `unknown`: the effort was not enough.

    `question` is the one whose "no" settled it: "clique" where more pieces than bins may not meet in pairs.
    """

    verdict: Literal["infeasible", "packing", "unknown"]
    question: Question = ""
    packing: Packing | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    sizes: Ints
    against: Bools
    pairs: Sequence[Pair]
    rows: int
    cols: int
    bins: int
    effort: float
    end: float | None  # by time.perf_counter


def prove(
    pieces: Sequence[tuple[int, int]],
    *,
    rows: int,
    cols: int,
    bins: int,
    effort: float = 1.0,
    seconds: float | None = None,
    places: bool = True,
) -> Verdict:
    """Whether `bins` bins of `rows` x `cols` hold the pieces; without `places` by the first question alone.

    `effort` limits each of the at most four runs of the solver, in its deterministic time, about seconds; `seconds`
    limits them together by the clock and, where it ends a run, makes the answer depend on the machine.
    """
    end = None if seconds is None else time.perf_counter() + seconds
    all_sizes = np.asarray(pieces, dtype=np.int64).reshape(-1, 2)
    single = alone(all_sizes, rows, cols)
    sizes = all_sizes[~single]
    left = bins - int(single.sum())
    if left < 0:
        return Verdict(verdict="infeasible", question="clique")
    if len(sizes) * left > LARGEST:
        return Verdict(verdict="unknown")
    against = conflicts(sizes, rows, cols)
    if len(greedy_clique(against, np.arange(len(sizes)))) > left:
        return Verdict(verdict="infeasible", question="clique")
    if len(sizes) == 0:
        return Verdict(verdict="packing", packing=_whole(single, np.zeros((0, 3), dtype=np.int64)))
    case = _Case(
        sizes=sizes,
        against=against,
        pairs=strongest_pairs(sizes, rows, cols, PAIRS),
        rows=rows,
        cols=cols,
        bins=left,
        effort=effort,
        end=end,
    )
    for asked in ("shares", "places") if places else ("shares",):
        answer, positions = _ask(case, asked, second=False)
        if positions is not None:
            return Verdict(verdict="packing", packing=_whole(single, positions))
        if answer == "no":
            answer, positions = _ask(case, asked, second=True)
            assert positions is None, "two models of one question disagree"
            return Verdict(verdict="infeasible", question=asked) if answer == "no" else Verdict(verdict="unknown")
    return Verdict(verdict="unknown")


def _ask(case: _Case, asked: Literal["shares", "places"], *, second: bool) -> tuple[Answer, Ints | None]:
    """The answer, with the positions of a "yes" to places. The second model takes another order and formulation."""
    with uninterrupted():
        from ortools.sat.python import cp_model

        from bitline.pack.models import FORMULATIONS, question, shared_out

    put = question(
        case.sizes, case.against, case.pairs, case.rows, case.cols, case.bins, by="side" if second else "area"
    )
    model = cp_model.CpModel()
    shares = shared_out(model, put)
    starts = FORMULATIONS[second](model, put, shares) if asked == "places" else None
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    solver.parameters.random_seed = 1
    solver.parameters.max_deterministic_time = case.effort
    solver.parameters.use_area_energetic_reasoning_in_no_overlap_2d = False  # google/or-tools issue 4546
    solver.parameters.catch_sigint_signal = False
    if case.end is not None:
        left = case.end - time.perf_counter()
        solver.parameters.max_time_in_seconds = max(
            0.001, left if second else left / 2
        )  # a first "no" alone is nothing
    status = _solved(solver, model)
    if status == cp_model.INFEASIBLE:
        return "no", None
    if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return "unknown", None
    if starts is None:
        return "yes", None
    positions = np.empty((len(case.sizes), 3), dtype=np.int64)
    for place, piece in enumerate(put.order):
        number = next(k for k, share in shares[place].items() if solver.boolean_value(share))
        positions[piece] = number, solver.value(starts[0][place]), solver.value(starts[1][place])
    return "yes", positions


def _solved(solver: cp_model.CpSolver, model: cp_model.CpModel) -> object:
    """Status of the solver, which runs in a thread: Ctrl-C stops it, and takes effect here."""
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(solver.solve, model)
        try:
            while not future.done():
                wait([future], POLL_SECONDS)
        except KeyboardInterrupt:
            solver.stop_search()
            raise
    return future.result()


def _whole(single: Bools, part: Ints) -> Packing:
    """The packing of all pieces from that of those which are not alone in their bins."""
    return numbered(single, len(set(part[:, 0].tolist())), part)

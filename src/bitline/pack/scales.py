"""Bounds by scales made for the pieces at hand: a linear program in place of a family of functions.

Given the worth of every piece along one side of the bin (a dual-feasible function), the best worth of the lengths along
the other side is the dual of a cutting-stock program: no lengths that fit side by side are worth more than the bin.
Patterns are found one at a time by a knapsack (Gilmore and Gomory 1961); rows and columns are made in turn (the
conservative scales of Belov, Kartak, Rohling and Scheithauer 2009). The program is solved in floating point, but its
answer is rounded to integers and the worth of the bin is a knapsack over these: the bound is exact.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from bitline.core.interrupts import uninterrupted
from bitline.pack.bounds import Bound, kinds_of, value_table
from bitline.pack.dff import EXACT_FLOAT, distinct_functions
from bitline.pack.reduce import closed

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

UNIT: Final = 1 << 16
"""Worth of a bin along a side before rounding."""
STARTS: Final = 6  # functions of each side from which scales are made
TURNS: Final = 4
MOST_PATTERNS: Final = 300
GAIN: Final = 1e-6


def scale_bound(
    pieces: Sequence[tuple[int, int]], rows: int, cols: int, *, target: int | None = None, seconds: float | None = None
) -> Bound:
    """The best bound by scales, or the first that reaches `target`; the clock only ends the search for better ones."""
    end = None if seconds is None else time.perf_counter() + seconds
    if not pieces:
        return Bound(value=0, which="scale")
    kinds, count = kinds_of(pieces)
    groups, left = closed(kinds, count, rows, cols)
    bins = sum(group.times for group in groups)
    kinds, count = kinds[left > 0], left[left > 0]
    best = Bound(value=bins, which="scale", groups=groups)
    if not len(kinds):
        return best
    shape = (rows, cols)
    sides = [Side(kinds[:, side], count, shape[side]) for side in (0, 1)]
    for side, values, cap in _starts(kinds, count, shape):
        worth: list[Ints] = [np.zeros(0, dtype=np.int64)] * 2
        caps = [0, 0]
        worth[1 - side], caps[1 - side] = values, cap
        reached = 0.0
        for turn in range(TURNS):
            if end is not None and time.perf_counter() >= end:
                return best
            here = (side + turn) % 2
            demand = count * worth[1 - here] / caps[1 - here]
            worth[here], caps[here] = sides[here].scale(demand, end)
            total, bin_worth = int((count * worth[0] * worth[1]).sum()), caps[0] * caps[1]
            assert total < EXACT_FLOAT, "worths stay far below 2**53"
            if bins - (-total // bin_worth) > best.value:
                best = Bound(
                    value=bins - (-total // bin_worth),
                    which="scale",
                    groups=groups,
                    row_values=value_table(kinds[:, 0], worth[0]),
                    col_values=value_table(kinds[:, 1], worth[1]),
                    row_cap=caps[0],
                    col_cap=caps[1],
                )
            if target is not None and best.value >= target:
                return best
            if total / bin_worth < reached + GAIN:
                break
            reached = total / bin_worth
    return best


def _starts(kinds: Ints, count: Ints, shape: tuple[int, int]) -> list[tuple[int, Ints, int]]:
    """(side to begin with, values along the other side, their cap): those with which a known function says most."""
    found: list[tuple[float, int, Ints, int]] = []
    for side in (0, 1):
        own, own_caps = distinct_functions(kinds[:, side], shape[side])
        other, other_caps = distinct_functions(kinds[:, 1 - side], shape[1 - side])
        totals = ((other * count) @ own.T.astype(np.float64)) / np.outer(other_caps, own_caps)
        said = totals.max(axis=1)
        for f in np.argsort(-said, kind="stable")[:STARTS].tolist():
            found.append((float(said[f]), side, other[f], int(other_caps[f])))
    found.sort(key=lambda start: -start[0])
    return [start[1:] for start in found]


class Side:
    """One side of the bin with the lengths of the pieces along it: the linear program keeps its patterns from one
    demand to the next."""

    def __init__(self, lengths: Ints, count: Ints, capacity: int) -> None:
        from ortools.linear_solver import pywraplp

        self.sizes, size_of = np.unique(lengths, return_inverse=True)
        self.size_of = size_of.reshape(-1)
        self.capacity = capacity
        self.most = np.minimum(np.bincount(self.size_of, weights=count).astype(np.int64), capacity // self.sizes)
        self.solver = pywraplp.Solver.CreateSolver("GLOP")
        self.worth = [self.solver.NumVar(0.0, 1.0 / times, "") for times in self.most.tolist()]

    def scale(self, demand: Floats, end: float | None = None) -> tuple[Ints, int]:
        """Worth of each piece by its length, and of the capacity, so that the sum of demand * worth / capacity's worth
        is as large as it can be, but for rounding; less large where the clock passes `end`."""
        goal = self.solver.Objective()
        goal.SetMaximization()
        wanted = np.bincount(self.size_of, weights=demand)
        for variable, amount in zip(self.worth, wanted.tolist(), strict=True):
            goal.SetCoefficient(variable, amount)
        values = np.zeros(len(self.sizes))
        for _ in range(MOST_PATTERNS):
            if self.solver.Solve() != self.solver.OPTIMAL:
                break
            values = np.maximum(0.0, np.array([variable.solution_value() for variable in self.worth]))
            best, pattern = self._fullest(values)
            if best <= 1 + GAIN or (end is not None and time.perf_counter() >= end):
                break
            row = self.solver.Constraint(-self.solver.infinity(), 1.0)
            for i in np.flatnonzero(pattern).tolist():
                row.SetCoefficient(self.worth[i], float(pattern[i]))
        rounded = np.rint(values * UNIT)
        cap, _ = self._fullest(rounded)
        return rounded.astype(np.int64)[self.size_of], max(1, int(cap))

    def _fullest(self, values: Floats) -> tuple[float, Ints]:
        """The largest worth of lengths that fit side by side, each at most so often, and how often each is taken.

        Exact where the values are integers, for sums below 2**53 are exact in floating point.
        """
        from bitline.pack.knapsack import knapsack

        times = np.zeros(len(self.sizes), dtype=np.int64)
        with uninterrupted():
            worth = knapsack(self.sizes, self.most, values, self.capacity, times)
        return worth, times

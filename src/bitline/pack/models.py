"""Constraint models of "so many bins hold the pieces", for `pack.prove`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
from ortools.sat.python import cp_model

from bitline.pack.conflicts import Bools, cliques_of, greedy_clique
from bitline.pack.dff import Pair

Ints = npt.NDArray[np.int64]
Shares = list[dict[int, cp_model.IntVar]]
"""Of each piece in order: whether it lies in a bin, for the bins that it may lie in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Pieces in the order that breaks symmetries: first `distinct` ones that lie in bins 0, 1, ..., for no two of them
    share a bin; a later piece opens no bin before those that earlier ones may have opened."""

    sizes: Ints
    order: tuple[int, ...]
    distinct: int
    against: Bools
    pairs: Sequence[Pair]
    rows: int
    cols: int
    bins: int


def question(
    sizes: Ints, against: Bools, pairs: Sequence[Pair], rows: int, cols: int, bins: int, *, by: Literal["area", "side"]
) -> Question:
    """The pieces by falling area or longer side, those of a large clique first."""
    large = sizes[:, 0] * sizes[:, 1] if by == "area" else np.maximum(sizes[:, 0] * cols, sizes[:, 1] * rows)
    order = np.lexsort((sizes[:, 1], sizes[:, 0], -large)).astype(np.int64)
    clique = greedy_clique(against, order)
    member = np.zeros(len(sizes), dtype=bool)
    member[clique] = True
    order = np.concatenate((order[member[order]], order[~member[order]]))
    return Question(
        sizes=sizes[order],
        order=tuple(order.tolist()),
        distinct=len(clique),
        against=against[np.ix_(order, order)],
        pairs=[(weights[order], cap) for weights, cap in pairs],
        rows=rows,
        cols=cols,
        bins=bins,
    )


def shared_out(model: cp_model.CpModel, asked: Question) -> Shares:
    """Every piece in one bin, none with one that it is in conflict with, no bin above the cap of a pair."""
    count = len(asked.sizes)
    shares: Shares = []
    for i in range(count):
        last = min(i, asked.bins - 1)
        free = [k for k in range(last + 1) if k >= asked.distinct or not asked.against[i, k]]
        shares.append({k: model.new_bool_var("") for k in ([i] if i < asked.distinct else free)})
        model.add_exactly_one(shares[i].values())
    for k in range(asked.bins):
        inside = [i for i in range(count) if k in shares[i]]
        for clique in cliques_of(asked.against[np.ix_(inside, inside)], np.arange(len(inside))):
            model.add_at_most_one(shares[inside[i]][k] for i in clique)
        for weights, cap in asked.pairs:
            heavy = [i for i in inside if weights[i]]
            if int(weights[heavy].sum()) > cap:
                terms = [shares[i][k] for i in heavy]
                model.add(cp_model.LinearExpr.weighted_sum(terms, weights[heavy].tolist()) <= cap)
    _alike(model, asked, shares)
    return shares


def _alike(model: cp_model.CpModel, asked: Question, shares: Shares) -> None:
    """Of equal pieces, the earlier lies in no later bin."""
    last: dict[tuple[int, int], int] = {}
    for i, (r, c) in enumerate(asked.sizes.tolist()):
        before = last.get((r, c))
        last[r, c] = i
        if before is not None:
            model.add(_bin_number(shares[before]) <= _bin_number(shares[i]))


def _bin_number(share: dict[int, cp_model.IntVar]) -> cp_model.LinearExprT:
    return cp_model.LinearExpr.weighted_sum(list(share.values()), list(share))


Places = tuple[list[cp_model.IntVar], list[cp_model.IntVar]]
"""First row and first column of each piece in its bin, in the order of the question."""


def in_a_strip(model: cp_model.CpModel, asked: Question, shares: Shares) -> Places:
    """All bins side by side as one strip, no overlap in it. The pieces of the clique lie in the first quarter of their
    bins: a bin may be mirrored."""
    starts: Places = ([], [])
    upright: list[cp_model.IntervalVar] = []
    across: list[cp_model.IntervalVar] = []
    for i, (height, width) in enumerate(asked.sizes.tolist()):
        mirrored = 2 if i < asked.distinct else 1
        row = model.new_int_var(0, (asked.rows - height) // mirrored, "")
        reach = (asked.cols - width) // mirrored
        col = model.new_int_var(0, reach, "")
        spans = [[k * asked.cols, k * asked.cols + reach] for k in shares[i]]
        along = model.new_int_var_from_domain(cp_model.Domain.from_intervals(spans), "")
        offsets = [asked.cols * k for k in shares[i]]
        model.add(cp_model.LinearExpr.weighted_sum([col, *shares[i].values()], [1, *offsets]) == along)
        upright.append(model.new_fixed_size_interval_var(row, height, ""))
        across.append(model.new_fixed_size_interval_var(along, width, ""))
        starts[0].append(row)
        starts[1].append(col)
    model.add_no_overlap_2d(upright, across)
    model.add_cumulative(upright, asked.sizes[:, 1].tolist(), asked.cols * asked.bins)
    model.add_cumulative(across, asked.sizes[:, 0].tolist(), asked.rows)
    return starts


def bin_by_bin(model: cp_model.CpModel, asked: Question, shares: Shares) -> Places:
    """No overlap in each bin, of the pieces that lie in it. No bin is mirrored; instead every piece touches another, or
    the border, above and to the left, so that its start is a sum of the sizes of others."""
    rows = _starts(model, asked.sizes[:, 0], asked.rows)
    cols = _starts(model, asked.sizes[:, 1], asked.cols)
    for k in range(asked.bins):
        inside = [i for i in range(len(asked.sizes)) if k in shares[i]]
        upright = [
            model.new_optional_fixed_size_interval_var(rows[i], int(asked.sizes[i, 0]), shares[i][k], "")
            for i in inside
        ]
        across = [
            model.new_optional_fixed_size_interval_var(cols[i], int(asked.sizes[i, 1]), shares[i][k], "")
            for i in inside
        ]
        model.add_no_overlap_2d(upright, across)
        model.add_cumulative(upright, asked.sizes[inside, 1].tolist(), asked.cols)
        model.add_cumulative(across, asked.sizes[inside, 0].tolist(), asked.rows)
    return rows, cols


def _starts(model: cp_model.CpModel, lengths: Ints, capacity: int) -> list[cp_model.IntVar]:
    """A variable for the start of each piece: 0 or a sum of lengths of other pieces, at most `capacity` - its own."""
    found: list[cp_model.IntVar] = []
    sums: dict[int, list[int]] = {}
    for i, length in enumerate(lengths.tolist()):
        if length not in sums:
            reached = 1
            for other in np.delete(lengths, i).tolist():
                reached |= reached << other
            sums[length] = [n for n in range(capacity - length + 1) if reached >> n & 1]
        found.append(model.new_int_var_from_domain(cp_model.Domain.from_values(sums[length]), ""))
    return found


FORMULATIONS: Final = (in_a_strip, bin_by_bin)

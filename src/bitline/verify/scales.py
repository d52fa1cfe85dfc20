"""The bound by conservative scales, from what a certificate carries: every claim of it is checked, none is trusted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

from bitline.ir.placement import ArrayShape, Kind, Scale

LARGEST: Final = 1 << 31
"""Products of two values, summed over a million blocks, stay in int64."""
MOST_GROUPS: Final = 100_000


def scale_bound(sizes: npt.NDArray[np.int64], shape: ArrayShape, scale: Scale) -> int | str:
    """Arrays of `shape`, a plain rectangle, that blocks of `sizes` [n, (rows, cols, ...)] need; or what is wrong."""
    if shape.blocked or shape.edges or shape.bias_rows:
        return "scales are of plain arrays"
    left = Counter((int(r), int(c)) for r, c in sizes[:, :2].tolist())
    wrong = next(_group_errors(left, shape, scale), "")
    if wrong:
        return wrong
    arrays = sum(group.times for group in scale.closed)
    others = {kind: count for kind, count in left.items() if count > 0}
    worth: list[dict[int, int]] = []
    for side, values, cap, size in (
        (0, scale.row_values, scale.row_cap, shape.rows),
        (1, scale.col_values, scale.col_cap, shape.cols),
    ):
        table = dict(values)
        if not 0 < cap < LARGEST or any(not 0 <= value < LARGEST for value in table.values()):
            return "values out of range"
        if any(kind[side] not in table for kind in others):
            return "a block without a value"
        if _most_worth(Counter(_lengths(others, side)), table, size) > cap:
            return f"lengths that fit into {size} are worth more than {cap}"
        worth.append(table)
    total = sum(count * worth[0][r] * worth[1][c] for (r, c), count in others.items())
    return arrays + -(-total // (scale.row_cap * scale.col_cap))


def _lengths(others: dict[Kind, int], side: int) -> Iterator[int]:
    for kind, count in others.items():
        for _ in range(count):
            yield kind[side]


def _most_worth(lengths: Counter[int], values: dict[int, int], size: int) -> int:
    """The most that lengths of at most `size` together are worth, each as often as it is there: a knapsack."""
    best = np.zeros(size + 1, np.int64)
    for length, count in lengths.items():
        for _ in range(min(count, size // length)):
            best[length:] = np.maximum(best[length:], best[: size + 1 - length] + values[length])
    return int(best[size])


def _group_errors(left: Counter[Kind], shape: ArrayShape, scale: Scale) -> Iterator[str]:
    """Take the closed groups out of what is left; what is wrong with one of them.

    In the best placement, the blocks beside a leader are some of those that fit beside it at all. Where all of these
    fit beside it at once, moving them there takes no array more.
    """
    if len(scale.closed) > MOST_GROUPS:
        yield "too many groups"
        return
    for group in scale.closed:
        if group.times < 1 or (group.partners and group.times > 1):
            yield "a group that is there no number of times"
            return
        rows, cols = group.leader
        partners = Counter(group.partners)
        left[group.leader] -= group.times
        if left[group.leader] < 0:
            yield f"no block of {rows} x {cols} is left"
            return
        others = Counter({kind: count for kind, count in left.items() if count > 0})
        if group.times > 1:
            others[group.leader] += 1  # those of the same group may not share an array either
        beside = {
            kind: count
            for kind, count in others.items()
            if kind[0] + rows <= shape.rows or kind[1] + cols <= shape.cols
        }
        if beside != dict(partners):
            yield f"other blocks fit beside that of {rows} x {cols}"
            return
        line = [group.leader, *group.partners]
        if sum(r for r, _ in line) > shape.rows and sum(c for _, c in line) > shape.cols:
            yield f"what fits beside the block of {rows} x {cols} does not fit all at once"
            return
        left -= partners

"""Dual-feasible functions: what sizes are worth where no bin may hold more than it is worth itself.

A dual-feasible function `f` on sizes 0..C has `sum f(x_i) <= f(C)` for all sizes with `sum x_i <= C`. With one such
function for the rows and one for the columns, `sum f(rows_i) * g(cols_i) <= f(rows) * g(cols)` holds for the pieces of
every bin (Fekete and Schepers 2004). In exact integers.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Pair = tuple[Ints, int]
"""What a pair of dual-feasible functions makes of each piece, and of a bin."""

MAX_STEPS: Final = 100  # of the staircase functions; Fekete and Schepers use as many, more steps seldom help
EXACT_FLOAT: Final = 2**53
MIX: Final = 0x1E3779B97F4A7C15  # any odd number without a pattern
MOST_VALUES: Final = 100_000  # of the functions on the sizes; above it fewer functions are tried
MOST_WORK: Final = 2e7  # products in a table of all pairs, some 5 ms; likewise


def dual_feasible(sizes: Ints, capacity: int, step: int = 1) -> tuple[Ints, Ints]:
    """`values[f, i]` of every function for every size, and `caps[f]`, the value of the capacity itself.

    Three families: sizes below p count nothing and those above C - p a whole bin (`f_0` of Carlier, Clautiaux and
    Moukrim 2007); rounding to multiples of p (`f_2` there); staircases of k steps (`u^k` of Fekete and Schepers 2001,
    times k * C). Of each, one function in `step`, the identity among them.
    """
    x = sizes[np.newaxis, :]
    p = np.arange(1, max(capacity // 2, 1) + 1, step, dtype=np.int64)[:, np.newaxis]
    k = np.arange(1, min(capacity, MAX_STEPS) + 1, step, dtype=np.int64)[:, np.newaxis]

    whole_or_nothing = np.where(x > capacity - p, capacity, np.where(x < p, 0, x))
    multiples = np.where(
        2 * x > capacity,
        2 * (capacity // p - (capacity - x) // p),
        np.where(2 * x == capacity, capacity // p, 2 * (x // p)),
    )
    on_a_step = (k + 1) * x % capacity == 0
    stairs = np.where(on_a_step, k * x, (k + 1) * x // capacity * capacity)

    values = np.vstack((whole_or_nothing, multiples, stairs))
    caps = np.concatenate((np.full(len(p), capacity), 2 * (capacity // p[:, 0]), k[:, 0] * capacity))
    return values, caps


def distinct_functions(sizes: Ints, capacity: int) -> tuple[Ints, Ints]:
    """Those of `dual_feasible` that differ on these sizes; the same sizes come again and again, so some are kept."""
    kinds, kind_of = np.unique(sizes, return_inverse=True)
    values, caps = _on_kinds(tuple(kinds.tolist()), capacity)
    return values[:, kind_of.reshape(-1)], caps


@lru_cache(maxsize=32)
def _on_kinds(kinds: tuple[int, ...], capacity: int) -> tuple[Ints, Ints]:
    step = 1 + capacity * len(kinds) // MOST_VALUES
    values, caps = dual_feasible(np.asarray(kinds, dtype=np.int64), capacity, step)
    table = np.column_stack((values, caps))
    mixed = table @ (np.arange(1, table.shape[1] + 1, dtype=np.int64) * MIX)  # wraps; a collision loses a function
    _, first = np.unique(mixed, return_index=True)
    return values[first], caps[first]


def _thinned(values: Ints, caps: Ints, kinds: int) -> tuple[Ints, Ints]:
    """As many of the functions as `MOST_WORK` allows for a table of pairs, evenly spread."""
    most = max(1, int((MOST_WORK / kinds) ** 0.5))
    if len(caps) <= most:
        return values, caps
    some = np.linspace(0, len(caps) - 1, most).astype(np.int64)
    return values[some], caps[some]


def strongest(kinds: Ints, count: Ints, rows: int, cols: int) -> tuple[int, tuple[Ints, int], tuple[Ints, int]]:
    """The best bound of all pairs for `count[i]` pieces of `kinds[i]`, and its two functions: the values of each kind
    and of a bin."""
    row_values, row_caps = _thinned(*distinct_functions(kinds[:, 0], rows), len(kinds))
    col_values, col_caps = _thinned(*distinct_functions(kinds[:, 1], cols), len(kinds))
    assert int(count.sum()) * int(row_caps.max()) * int(col_caps.max()) < EXACT_FLOAT, "bins too large for exact sums"
    totals = (row_values * count).astype(np.float64) @ col_values.T.astype(np.float64)  # BLAS, exact below 2**53
    bounds = -(-totals.astype(np.int64) // np.outer(row_caps, col_caps))
    f, g = divmod(int(bounds.argmax()), len(col_caps))
    return int(bounds[f, g]), (row_values[f], int(row_caps[f])), (col_values[g], int(col_caps[g]))


def strongest_pairs(sizes: Ints, rows: int, cols: int, most: int) -> list[Pair]:
    """Pairs of functions that say most about `sizes` [piece, (rows, cols)], each different from the others, in lowest
    terms: the values of the pieces in a bin add up to no more than that of the bin."""
    row_values, row_caps = distinct_functions(sizes[:, 0], rows)
    col_values, col_caps = distinct_functions(sizes[:, 1], cols)
    totals = (row_values.astype(np.float64) @ col_values.T.astype(np.float64)) / np.outer(row_caps, col_caps)
    found: dict[bytes, Pair] = {}
    for index in np.argsort(-totals, axis=None, kind="stable").tolist():
        f, g = divmod(index, totals.shape[1])
        values = np.append(row_values[f] * col_values[g], row_caps[f] * col_caps[g])
        values //= np.gcd.reduce(values)
        found.setdefault(values.tobytes(), (values[:-1], int(values[-1])))
        if len(found) == most:
            break
    return list(found.values())

"""Bins that can be closed before any search: a piece together with every other that could ever share its bin.

In the best packing, the pieces beside such a leader are some of those that fit beside it at all. Where all of these fit
beside it at once, moving them there takes no bin more; so the group has a bin of its own, and the others are packed
without it (after Boschetti and Mingozzi 2003). Without it, further leaders may be found. Most leaders have no partner.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from bitline.pack.conflicts import conflicts

Ints = npt.NDArray[np.int64]
Kind = tuple[int, int]

MOST_KINDS: Final = 500  # above it nothing is closed: the table of pairs grows with the square


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """`times` bins, each of a leader, or of a leader and its partners, which lie in one row or one column."""

    leader: Kind
    partners: tuple[Kind, ...] = ()
    times: int = 1


def closed(kinds: Ints, count: Ints, rows: int, cols: int) -> tuple[tuple[Group, ...], Ints]:
    """Groups, in the order in which they are closed, and how many pieces of each kind are left."""
    if len(kinds) > MOST_KINDS:
        return (), count
    apart = conflicts(kinds, rows, cols)
    np.fill_diagonal(apart, (2 * kinds[:, 0] > rows) & (2 * kinds[:, 1] > cols))
    areas = kinds[:, 0] * kinds[:, 1]
    left = count.copy()
    groups: list[Group] = []
    changed = True
    while changed:
        changed = False
        beside = ~apart * left[np.newaxis, :]  # pieces of kind j that fit beside one of kind i
        own = np.arange(len(kinds))
        beside[own, own] = np.where(apart[own, own], 0, np.maximum(left - 1, 0))
        fits = (beside @ areas + areas <= rows * cols) & (left > 0)
        for leader in np.flatnonzero(fits).tolist():
            partners = ~apart[leader] * left
            partners[leader] = 0 if apart[leader, leader] else max(0, left[leader] - 1)
            if not left[leader] or not _in_line(kinds, partners, leader, rows, cols):
                continue
            times = int(left[leader]) if not partners.any() else 1
            kept = np.flatnonzero(partners).tolist()
            groups.append(
                Group(
                    leader=(int(kinds[leader, 0]), int(kinds[leader, 1])),
                    partners=tuple((int(kinds[i, 0]), int(kinds[i, 1])) for i in kept for _ in range(partners[i])),
                    times=times,
                )
            )
            left = left - partners
            left[leader] -= times
            changed = changed or bool(partners.any())
    return tuple(groups), left


def _in_line(kinds: Ints, partners: Ints, leader: int, rows: int, cols: int) -> bool:
    """Whether all lie beside, or all above one another."""
    high = int(partners @ kinds[:, 0] + kinds[leader, 0])
    wide = int(partners @ kinds[:, 1] + kinds[leader, 1])
    return high <= rows or wide <= cols

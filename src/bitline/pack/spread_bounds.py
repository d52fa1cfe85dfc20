"""How even loads can be at all: the certificate beside a spread.

An array fires one block after another, so the largest sum of loads of a bin is the interval of a pipeline.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from bitline.pack.bounds import lower_bound
from bitline.pack.shapes import Piece

Which = Literal["largest", "average", "pigeonhole", "conflict"]


def load_bound(pieces: Sequence[Piece], *, rows: int, cols: int, bins: int) -> tuple[int, Which]:
    """(least largest load of `bins` bins, which bound says so), the simplest of those that say as much.

    `largest`: a piece; `average`: of what does not fill a bin, over the other bins; `pigeonhole`: of the k * bins + 1
    largest loads, k + 1 share a bin; `conflict`: pieces that are too heavy or too large to lie in a bin with one of
    some heavy others need more bins than these leave, by cells or by load.
    """
    full = [p for p in pieces if (p.rows, p.cols) == (rows, cols)]
    rest = [p for p in pieces if (p.rows, p.cols) != (rows, cols)]
    left = bins - len(full)
    found: list[tuple[int, Which]] = [(max((p.load for p in pieces), default=0), "largest")]
    if left > 0 and rest:
        found.append((-(-sum(p.load for p in rest) // left), "average"))
        loads = sorted((p.load for p in rest), reverse=True)
        shared = [sum(loads[k * left - k : k * left + 1]) for k in range(1, len(loads)) if k * left < len(loads)]
        found.append((max(shared, default=0), "pigeonhole"))
        low, high = max(load for load, _ in found), max(max(load for load, _ in found), sum(loads))
        fewest: dict[tuple[int, ...], int] = {}
        while low < high:  # whatever refutes a limit refutes all below it
            middle = (low + high) // 2
            if _refuted(rest, (rows, cols), left, middle, fewest):
                low = middle + 1
            else:
                high = middle
        found.append((low, "conflict"))
    best = max(load for load, _ in found)
    return next(each for each in found if each[0] == best)


def _refuted(
    pieces: Sequence[Piece], shape: tuple[int, int], bins: int, limit: int, fewest: dict[tuple[int, ...], int]
) -> bool:
    """Whether no placement keeps the limit: heavy pieces, no two of which share a bin, and those that cannot lie with
    any of them. `fewest` remembers the bins that the latter need."""
    for heaviest in sorted({p.load for p in pieces if 2 * p.load > limit}, reverse=True):
        heavy = [p for p in pieces if p.load >= heaviest]
        apart = [i for i, p in enumerate(pieces) if p.load < heaviest and not _joins(p, heavy, shape, limit)]
        if len(heavy) + -(-sum(pieces[i].load for i in apart) // limit) > bins:
            return True
        key = tuple(apart)
        if key not in fewest:
            fewest[key] = lower_bound([(pieces[i].rows, pieces[i].cols) for i in apart], *shape)[0]
        if len(heavy) + fewest[key] > bins:
            return True
    return False


def _joins(piece: Piece, heavy: Sequence[Piece], shape: tuple[int, int], limit: int) -> bool:
    """Whether it can lie in a bin with one of these."""
    return any(
        piece.load + h.load <= limit and (piece.rows + h.rows <= shape[0] or piece.cols + h.cols <= shape[1])
        for h in heavy
    )

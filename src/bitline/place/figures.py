"""What a placement costs, recomputed from it: arrays, firings, interval, latency."""

from __future__ import annotations

from collections import Counter, defaultdict

from bitline.ir.placement import Placement
from bitline.pack.shapes import Piece
from bitline.pack.spread_bounds import load_bound

WHY = {
    "largest": "the largest layer",
    "average": "the mean of all arrays",
    "pigeonhole": "more blocks than arrays, so some share one",
    "conflict": "its heaviest blocks cannot all lie with lighter ones",
}


def mvm_fires(placement: Placement) -> int:
    """Firings of all blocks in one inference."""
    return sum(placement.matrices[b.matrix].fires for b in placement.blocks)


def loads(placement: Placement) -> dict[int, int]:
    """Firings of every array in one inference: its blocks fire one after another."""
    found: Counter[int] = Counter()
    for block in placement.blocks:
        found[block.array] += placement.matrices[block.matrix].fires
    return dict(found)


def interval(placement: Placement) -> int:
    """Firings of the busiest array: a pipeline takes an input no faster."""
    return max(loads(placement).values(), default=0)


def latency(placement: Placement) -> int:
    """Firings one after another in one inference, where every layer waits for the one before and its blocks fire
    together unless they share an array."""
    together: defaultdict[int, Counter[int]] = defaultdict(Counter)
    for block in placement.blocks:
        together[block.matrix][block.array] += 1
    return sum(placement.matrices[m].fires * max(count.values()) for m, count in together.items())


def cells(placement: Placement) -> int:
    """Cells of all blocks."""
    return sum(b.rows * b.cols for b in placement.blocks)


def least_interval(placement: Placement) -> tuple[int, str]:
    """(firings that the busiest of so many arrays has at least, why), whatever array every block lies in."""
    shape, matrices = placement.shape, placement.matrices
    pieces = [Piece(rows=b.rows, cols=b.cols, load=matrices[b.matrix].fires) for b in placement.blocks]
    arrays = max(1, placement.certificate.arrays_used)
    bound, which = load_bound(pieces, rows=shape.rows, cols=shape.cols, bins=arrays)
    return bound, WHY[which]

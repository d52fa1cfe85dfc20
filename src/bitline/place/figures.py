"""What a placement costs, recomputed from it: arrays, firings, interval, latency."""

from __future__ import annotations

from collections import Counter, defaultdict

from bitline.ir.placement import Placement


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

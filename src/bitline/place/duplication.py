"""Copies of layers under a budget of arrays, exactly: for the shortest interval of a pipeline, or the lowest latency.

A layer of q output pixels that lies d times in the arrays fires ceil(q / d) times one after another. A pipeline is as
slow as its slowest layer; without one, layers add up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True, kw_only=True)
class Copies:
    """How often every layer lies in the arrays, arrays of all copies, firings of the slowest layer and of all."""

    of: tuple[int, ...]
    arrays: int
    interval: int
    latency: int


def copies(arrays: Sequence[int], fires: Sequence[int], of: Sequence[int]) -> Copies:
    """The figures of `of[i]` copies of layers that take `arrays[i]` arrays and fire `fires[i]` times."""
    times = [-(-q // d) for q, d in zip(fires, of, strict=True)]
    return Copies(
        of=tuple(of),
        arrays=sum(a * d for a, d in zip(arrays, of, strict=True)),
        interval=max(times, default=0),
        latency=sum(times),
    )


def shortest_interval(arrays: Sequence[int], fires: Sequence[int], budget: int) -> Copies | None:
    """The least interval L with sum arrays[i] ceil(fires[i] / L) <= budget, by bisection; None where not even one
    copy of every layer fits. Layers have no more copies than L needs."""
    if sum(arrays) > budget:
        return None

    def needed(interval: int) -> list[int]:
        return [-(-q // interval) for q in fires]

    low, high = 1, max(fires, default=1)
    while low < high:
        middle = (low + high) // 2
        enough = copies(arrays, fires, needed(middle)).arrays <= budget
        low, high = (low, middle) if enough else (middle + 1, high)
    return copies(arrays, fires, needed(low))


def lowest_latency(arrays: Sequence[int], fires: Sequence[int], budget: int) -> Copies | None:
    """The least sum of ceil(fires[i] / copies[i]) with sum arrays[i] copies[i] <= budget, by dynamic programming over
    the arrays spent; None where not even one copy of every layer fits. Of equals the one that takes fewer arrays."""
    spare = budget - sum(arrays)
    if spare < 0:
        return None
    best = np.zeros(spare + 1, np.int64)
    chosen: list[np.ndarray[tuple[int], np.dtype[np.int64]]] = []
    for a, q in zip(arrays, fires, strict=True):
        found = best + q
        choice = np.ones(spare + 1, np.int64)
        for d in _useful(q, spare // a + 1)[1:]:
            extra = a * (d - 1)
            with_copies = best[: spare + 1 - extra] + -(-q // d)
            better = with_copies < found[extra:]
            found[extra:][better] = with_copies[better]
            choice[extra:][better] = d
        best = found
        chosen.append(choice)
    left = int(np.flatnonzero(best == best[-1])[0])
    of: list[int] = []
    for a, choice in zip(reversed(arrays), reversed(chosen), strict=True):
        d = int(choice[left])
        of.append(d)
        left -= a * (d - 1)
    return copies(arrays, fires, of[::-1])


def _useful(fires: int, most: int) -> list[int]:
    """The least numbers of copies, 1 first, that give ever fewer firings."""
    found = [1]
    while (times := -(-fires // found[-1])) > 1:
        following = -(-fires // (times - 1))
        if following > most:
            break
        found.append(following)
    return found

"""Copies of layers under a budget of arrays, exactly: for the shortest interval of a pipeline, or the lowest latency.

A layer of q output pixels that lies d times in the arrays fires ceil(q / d) times one after another. A pipeline is as
slow as its slowest layer; without one, layers add up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bitline.place import mapping
from bitline.place.mapping import Option

Choose = Callable[[Sequence[Sequence[Option]], int], "tuple[Option, ...] | None"]


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
    """The least interval L with sum arrays[i] ceil(fires[i] / L) <= budget; None where not even one copy of every layer
    fits. Layers have no more copies than L needs."""
    return _chosen(mapping.shortest_interval, arrays, fires, budget)


def lowest_latency(arrays: Sequence[int], fires: Sequence[int], budget: int) -> Copies | None:
    """The least sum of ceil(fires[i] / copies[i]) with sum arrays[i] copies[i] <= budget; None where not even one copy
    of every layer fits. Of equals the one that takes fewer arrays."""
    return _chosen(mapping.lowest_latency, arrays, fires, budget)


def _chosen(choose: Choose, arrays: Sequence[int], fires: Sequence[int], budget: int) -> Copies | None:
    found = choose([[Option(arrays=a, fires=q)] for a, q in zip(arrays, fires, strict=True)], budget)
    return None if found is None else copies(arrays, fires, [option.copies for option in found])

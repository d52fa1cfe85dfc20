"""Which kernels share the arrays: as long a run of kernels as fits, in order; a kernel that never fits is streamed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bitline.ir.schedule import Segment

Fits = Callable[[Sequence[int]], bool]
"""Whether the matrices of these kernels fit into the arrays together."""


def segments(kernels: int, with_weights: Sequence[int], fits: Fits) -> tuple[tuple[Segment, ...], frozenset[int]]:
    """(segments covering all kernels in order, kernels whose weights are streamed). Greedy: `fits` is asked as few
    times as possible."""
    found: list[Segment] = []
    streamed: set[int] = set()
    inside: list[int] = []
    start = 0
    weights = set(with_weights)
    for kernel in range(kernels):
        if kernel not in weights:
            continue
        if fits([*inside, kernel]):
            inside.append(kernel)
            continue
        if kernel > start:
            found.append(Segment(first=start, last=kernel - 1))
            start = kernel
        inside = []
        if fits([kernel]):
            inside = [kernel]
        else:
            streamed.add(kernel)
            found.append(Segment(first=kernel, last=kernel))
            start = kernel + 1
    if start < kernels:
        found.append(Segment(first=start, last=kernels - 1))
    return tuple(found), frozenset(streamed)

"""Spans that lie over one another, laid side by side."""

from __future__ import annotations

from collections.abc import Sequence


def lanes(intervals: Sequence[tuple[int, int]]) -> tuple[int, ...]:
    """A lane for every (start, end), so that none overlaps another of its lane; as few lanes as possible.

    A queue works in order, so lane 0 holds nearly all; only layers that take turns on a unit need a second one.
    """
    free_from: list[int] = []
    lane_of = [0] * len(intervals)
    for place in sorted(range(len(intervals)), key=lambda i: (intervals[i], i)):
        start, end = intervals[place]
        lane = next((i for i, free in enumerate(free_from) if free <= start), len(free_from))
        if lane == len(free_from):
            free_from.append(end)
        free_from[lane] = end
        lane_of[place] = lane
    return tuple(lane_of)

"""The bounded knapsack, compiled: what a bin is worth at most along one side."""

# pyright: reportUnknownParameterType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bitline.pack.maxrects import Ints, compiled

Floats = npt.NDArray[np.float64]


@compiled
def knapsack(sizes: Ints, most: Ints, values: Floats, capacity: int, times: Ints) -> float:
    """The largest sum of values of sizes that fit into `capacity`, size i at most `most[i]` times; `times` says how
    often each is taken. Items of worth 0 are left out."""
    worth = np.zeros(capacity + 1)
    taken = np.zeros((len(sizes), capacity + 1), np.int64)
    for i in range(len(sizes)):
        if values[i] <= 0:
            continue
        size = sizes[i]
        for room in range(capacity, size - 1, -1):  # downwards: smaller rooms know nothing of size i yet
            best = worth[room]
            for n in range(1, min(most[i], room // size) + 1):
                found = worth[room - n * size] + n * values[i]
                if found > best:
                    best = found
                    taken[i, room] = n
            worth[room] = best
    room = capacity
    for i in range(len(sizes) - 1, -1, -1):
        times[i] = taken[i, room]
        room -= times[i] * sizes[i]
    return worth[capacity]

"""Random numbers of the compiled searches: a fixed sequence, so that equal input gives equal answers."""

from __future__ import annotations

from bitline.pack.maxrects import Ints, compiled

SEED = 88172645463325252
"""Marsaglia's."""


@compiled
def draw(state: Ints, below: int) -> int:
    """The next number of 0..below-1 (Marsaglia 2003, xorshift64); `state` is [1], not 0, and changes."""
    x = state[0]
    x ^= x << 13
    x ^= (x >> 7) & 0x01FFFFFFFFFFFFFF
    x ^= x << 17
    state[0] = x
    return (x & 0x7FFFFFFFFFFFFFFF) % below


def random_state(seed: int) -> Ints:
    """A state for `draw`; every seed gives one."""
    import numpy as np

    mixed = (SEED ^ (seed * 0x9E3779B97F4A7C15)) & 0x7FFFFFFFFFFFFFFF
    return np.array([mixed or SEED], dtype=np.int64)

"""Moves and exchanges that keep everything else where it lies: pieces of the busiest bin against those of others.

Where bins are nearly full, filling them anew fails; a small piece of much load still finds a place elsewhere, or that
of another piece which then goes to a third bin.
"""

# pyright: reportUnknownParameterType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import numpy as np

from bitline.pack.maxrects import Ints, compiled, cut_free

ROOM = 128
"""Free rectangles that are kept of a bin."""


@compiled
def relieve(pieces: Ints, positions: Ints, bins: int, opening: Ints, floor: int, rounds: int) -> int:
    """Make the busiest bin less busy, again and again; how often it was possible. `positions` change.

    A piece goes to another bin, perhaps into the place of one that moves on; no bin becomes as busy as the busiest
    was. It ends at a largest load of `floor`. `opening` [n, 4]: the maximal free rectangles of an empty bin, at most
    `ROOM`.
    """
    loads = np.zeros(bins, np.int64)
    free = np.empty((bins, ROOM, 4), np.int64)
    free_count = np.zeros(bins, np.int64)
    stale = np.ones(bins, np.int64)
    for p in range(len(pieces)):
        loads[positions[p, 0]] += pieces[p, 2]
    for turn in range(rounds):
        busiest = 0
        for b in range(bins):
            if loads[b] > loads[busiest]:
                busiest = b
            if stale[b]:
                free_count[b] = _free_without(pieces, positions, b, -1, opening, free[b])
                stale[b] = 0
        if loads[busiest] <= floor:
            return turn
        first = positions[:, 0].copy()
        if not _one_relief(pieces, positions, loads, busiest, opening, free, free_count):
            return turn
        for p in range(len(pieces)):
            if positions[p, 0] != first[p]:
                loads[first[p]] -= pieces[p, 2]
                loads[positions[p, 0]] += pieces[p, 2]
                stale[first[p]] = stale[positions[p, 0]] = 1
    return rounds


@compiled
def _one_relief(
    pieces: Ints, positions: Ints, loads: Ints, busiest: int, opening: Ints, free: Ints, free_count: Ints
) -> bool:
    """The first move found; whether there is one."""
    bins, limit = len(loads), loads[busiest]
    without = np.empty((ROOM, 4), np.int64)
    own = np.empty((ROOM, 4), np.int64)
    for p in range(len(pieces)):
        if positions[p, 0] != busiest or pieces[p, 2] == 0:
            continue
        for b in range(bins):  # into a hole
            if b != busiest and loads[b] + pieces[p, 2] < limit:
                at = _snug(free[b], free_count[b], pieces[p, 0], pieces[p, 1])
                if at >= 0:
                    positions[p, 0], positions[p, 1], positions[p, 2] = b, free[b, at, 0], free[b, at, 1]
                    return True
        own_count = _free_without(pieces, positions, busiest, p, opening, own)
        for q in range(len(pieces)):  # into the place of another, and that one elsewhere
            b = positions[q, 0]
            if b == busiest or loads[b] - pieces[q, 2] + pieces[p, 2] >= limit:
                continue
            target, slot = _elsewhere(pieces, loads, busiest, p, q, b, own, own_count, free, free_count)
            if target < 0:
                continue
            at = _snug(without, _free_without(pieces, positions, b, q, opening, without), pieces[p, 0], pieces[p, 1])
            if at < 0:
                continue
            positions[p, 0], positions[p, 1], positions[p, 2] = b, without[at, 0], without[at, 1]
            positions[q, 0] = target
            if target == busiest:
                positions[q, 1], positions[q, 2] = own[slot, 0], own[slot, 1]
            else:
                positions[q, 1], positions[q, 2] = free[target, slot, 0], free[target, slot, 1]
            return True
    return False


@compiled
def _elsewhere(
    pieces: Ints,
    loads: Ints,
    busiest: int,
    p: int,
    q: int,
    b: int,
    own: Ints,
    own_count: int,
    free: Ints,
    free_count: Ints,
) -> tuple[int, int]:
    """(bin, free rectangle) for q, which leaves bin b to p: where p was, or else any other bin; bin -1: none."""
    limit = loads[busiest]
    if pieces[q, 2] < pieces[p, 2]:
        slot = _snug(own, own_count, pieces[q, 0], pieces[q, 1])
        if slot >= 0:
            return busiest, slot
    for c in range(len(loads)):
        if c != b and c != busiest and loads[c] + pieces[q, 2] < limit:
            slot = _snug(free[c], free_count[c], pieces[q, 0], pieces[q, 1])
            if slot >= 0:
                return c, slot
    return -1, 0


@compiled
def _snug(free: Ints, count: int, height: int, width: int) -> int:
    """The free rectangle with the smallest shorter side left; -1 where none is large enough."""
    best, least = -1, 0
    for f in range(count):
        slack_rows, slack_cols = free[f, 2] - free[f, 0] - height, free[f, 3] - free[f, 1] - width
        if slack_rows >= 0 and slack_cols >= 0 and (best < 0 or min(slack_rows, slack_cols) < least):
            best, least = f, min(slack_rows, slack_cols)
    return best


@compiled
def _free_without(pieces: Ints, positions: Ints, b: int, skip: int, opening: Ints, free: Ints) -> int:
    """Free rectangles of a bin without one of its pieces, into `free`; how many."""
    scratch = np.empty((6 * ROOM, 4), np.int64)
    count = len(opening)
    scratch[:count] = opening
    for p in range(len(pieces)):
        if positions[p, 0] == b and p != skip:
            row, col = positions[p, 1], positions[p, 2]
            count = min(ROOM, cut_free(scratch, count, row, col, row + pieces[p, 0], col + pieces[p, 1], 1, 1))
    free[:count] = scratch[:count]
    return count

"""Pieces onto the lowest place of a skyline: denser than maximal free rectangles where many small pieces share a bin.

The skyline is the upper edge of what lies in the bin. Its lowest, first segment takes one of the waiting pieces, beside
its higher neighbour; a segment that takes none is filled up to its lower neighbour and that area is lost (Burke,
Kendall and Whitwell 2004; the scores of `SNUG` follow Wei, Oon, Zhu and Lim 2011).
"""

# pyright: reportUnknownParameterType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from bitline.pack.maxrects import Ints, compiled

FIRST, SNUG = range(2)
"""Which piece a segment takes: the first that fits, or the one with the most edges flush, the first of equals."""
TURNED = 2
"""Added to the choice: the skyline rises along the columns instead of the rows."""
RULES = (FIRST, SNUG, TURNED + FIRST, TURNED + SNUG)


@compiled
def fill_skyline(
    waiting: Ints, count: int, sizes: Ints, rows: int, cols: int, rule: int, number: int, positions: Ints, sky: Ints
) -> int:
    """Put those of `waiting[:count]` that find a place into bin `number`; the others move to the front, in order.

    Returns their count. `sky` is a workspace of at least one segment (start, height, width) more than there are pieces.
    """
    turned = rule >= TURNED
    choice = rule % TURNED
    across, up = (0, 1) if turned else (1, 0)
    wide, high = (rows, cols) if turned else (cols, rows)
    lowest = high
    for i in range(count):
        lowest = min(lowest, sizes[waiting[i], up])
    sky[0, 0], sky[0, 1], sky[0, 2] = 0, 0, wide
    segments = 1
    while count > 0:
        s = 0
        for i in range(1, segments):
            if sky[i, 1] < sky[s, 1]:
                s = i
        start, height, room = sky[s, 0], sky[s, 1], sky[s, 2]
        if height + lowest > high:
            break
        left = (sky[s - 1, 1] if s > 0 else high) - height
        right = (sky[s + 1, 1] if s + 1 < segments else high) - height
        taken = _choose(waiting, count, sizes, across, up, choice, room, high - height, left, right)
        if taken < 0:
            sky[s, 1] = height + min(left, right)
        else:
            piece = waiting[taken]
            for i in range(taken, count - 1):
                waiting[i] = waiting[i + 1]
            count -= 1
            width = sizes[piece, across]
            rest = room - width
            at = start if left >= right else start + rest
            positions[piece, 0], positions[piece, 1 + across], positions[piece, 1 + up] = number, at, height
            if rest > 0:
                for i in range(segments, s, -1):
                    sky[i, 0], sky[i, 1], sky[i, 2] = sky[i - 1, 0], sky[i - 1, 1], sky[i - 1, 2]
                segments += 1
                beside = s + 1 if left >= right else s
                sky[beside, 0], sky[beside, 2] = (start + width if left >= right else start), rest
                s = s if left >= right else s + 1
            sky[s, 0], sky[s, 1], sky[s, 2] = at, height + sizes[piece, up], width
        segments = _joined(sky, segments)
    return count


@compiled
def _choose(
    waiting: Ints,
    count: int,
    sizes: Ints,
    across: int,
    up: int,
    choice: int,
    room: int,
    head: int,
    left: int,
    right: int,
) -> int:
    """Index into `waiting` of the piece for a place `room` wide below `head`, between walls; -1 where none fits."""
    best, best_score = -1, -1
    for i in range(count):
        width, height = sizes[waiting[i], across], sizes[waiting[i], up]
        if width > room or height > head:
            continue
        if choice == FIRST:
            return i
        score = 2 * (width == room) + (height == left) + (height == right)
        if score > best_score:
            best, best_score = i, score
    return best


@compiled
def _joined(sky: Ints, segments: int) -> int:
    """Neighbours of equal height become one segment, in place; the new count."""
    last = 0
    for s in range(1, segments):
        if sky[s, 1] == sky[last, 1]:
            sky[last, 2] += sky[s, 2]
        else:
            last += 1
            sky[last, 0], sky[last, 1], sky[last, 2] = sky[s, 0], sky[s, 1], sky[s, 2]
    return last + 1

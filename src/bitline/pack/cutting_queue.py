"""What still waits for a place in `cutting_decode`: a heap, the largest first, the latest of equals.

`waiting[entry]` is (matrix, top row, left column, rows, columns, key, age); `heap[:count]` are the entries that wait,
`heap[count:]` those that are free, in any order.
"""

# pyright: reportUnknownParameterType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from bitline.pack.maxrects import Ints, compiled, inlined

KEY, AGE, FIELDS = 5, 6, 7


@compiled
def push(
    waiting: Ints, heap: Ints, count: int, w: int, top: int, left: int, height: int, width: int, key: int, age: int
) -> int:
    """Add an entry, younger than all others by its `age`; the new count."""
    entry = heap[count]
    waiting[entry, 0], waiting[entry, 1], waiting[entry, 2] = w, top, left
    waiting[entry, 3], waiting[entry, 4], waiting[entry, KEY], waiting[entry, AGE] = height, width, key, age
    at = count
    above = (at - 1) >> 1
    while at > 0 and waiting[heap[above], KEY] <= key:
        heap[at] = heap[above]
        at, above = above, (above - 1) >> 1
    heap[at] = entry
    return count + 1


@compiled
def pop(waiting: Ints, heap: Ints, count: int) -> int:
    """Free the first entry of the heap, which becomes `heap[count - 1]`; the new count."""
    first, entry = heap[0], heap[count - 1]
    count -= 1
    at, below = 0, 1
    while below < count:
        if below + 1 < count and _before(waiting, heap[below + 1], heap[below]):
            below += 1
        if not _before(waiting, heap[below], entry):
            below = count
            continue
        heap[at] = heap[below]
        at, below = below, 2 * below + 1
    heap[at] = entry
    heap[count] = first
    return count


@inlined
def _before(waiting: Ints, one: int, other: int) -> bool:
    """Whether one entry leaves the queue before the other."""
    if waiting[one, KEY] == waiting[other, KEY]:
        return waiting[one, AGE] > waiting[other, AGE]
    return waiting[one, KEY] > waiting[other, KEY]

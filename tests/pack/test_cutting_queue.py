"""The queue of free cuts against a sorted list."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bitline.pack.cutting_queue import FIELDS, KEY, pop, push

ROOM = 40


@given(st.lists(st.none() | st.integers(0, 5), max_size=ROOM))
def test_the_largest_leaves_first_and_the_latest_of_equals(moves: list[int | None]) -> None:
    waiting, heap, count = np.zeros((ROOM, FIELDS), np.int64), np.arange(ROOM), 0
    model: list[tuple[int, int]] = []
    for age, move in enumerate(moves):
        if move is not None:
            count = push(waiting, heap, count, age, 0, 0, 1, 1, move, age)
            model.append((move, age))
        elif model:
            count = pop(waiting, heap, count)
            left = waiting[heap[count]]
            assert (int(left[KEY]), int(left[0])) == max(model)
            model.remove(max(model))
        assert count == len(model)
        assert sorted(heap.tolist()) == list(range(ROOM))

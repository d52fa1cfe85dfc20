"""Proves that the sweep finds the pairs that trying all pairs finds."""

from __future__ import annotations

from itertools import combinations
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitline.verify import touching as module
from bitline.verify.touching import touching

INTERVALS = st.tuples(st.integers(0, 9), st.integers(1, 4)).map(lambda pair: (pair[0], pair[0] + pair[1]))


@pytest.mark.parametrize("at_once", [1, 7, module.PAIRS])
@settings(max_examples=200)
@given(boxes=st.lists(st.tuples(st.integers(0, 3), INTERVALS, INTERVALS), max_size=25))
def test_all_pairs(at_once: int, boxes: list[tuple[int, tuple[int, int], tuple[int, int]]]) -> None:
    expected = [
        (i, j)
        for (i, (p, (r0, r1), (c0, c1))), (j, (q, (s0, s1), (d0, d1))) in combinations(enumerate(boxes), 2)
        if p == q and r0 < s1 and s0 < r1 and c0 < d1 and d0 < c1
    ]
    plane = np.array([p for p, _, _ in boxes], np.int64)
    table = np.array([(r0, c0, r1, c1) for _, (r0, r1), (c0, c1) in boxes], np.int64).reshape(-1, 4)
    with mock.patch.object(module, "PAIRS", at_once):
        assert sorted(touching(plane, table)) == expected

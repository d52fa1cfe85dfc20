"""Copies under a budget against all ways to spend it, and the figures of ResNet-18."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitline.place.duplication import Copies, copies, lowest_latency, shortest_interval

LAYERS = st.lists(st.tuples(st.integers(1, 4), st.integers(1, 30)), min_size=1, max_size=4)


def every_way(arrays: list[int], fires: list[int], budget: int) -> list[Copies]:
    ranges = [range(1, budget // a + 1) for a in arrays]
    ways = (copies(arrays, fires, of) for of in product(*ranges))
    return [way for way in ways if way.arrays <= budget]


@given(LAYERS, st.integers(1, 14))
def test_no_way_to_spend_the_budget_is_better(layers: list[tuple[int, int]], budget: int) -> None:
    arrays, fires = [a for a, _ in layers], [q for _, q in layers]
    ways = every_way(arrays, fires, budget)
    interval, latency = shortest_interval(arrays, fires, budget), lowest_latency(arrays, fires, budget)
    if not ways:
        assert interval is latency is None
        return
    assert interval is not None
    assert latency is not None
    assert max(interval.arrays, latency.arrays) <= budget
    assert interval.interval == min(way.interval for way in ways)
    assert latency.latency == min(way.latency for way in ways)
    assert interval.arrays == min(way.arrays for way in ways if way.interval == interval.interval)
    assert latency.arrays == min(way.arrays for way in ways if way.latency == latency.latency)


RESNET18 = [
    (1, 12544), *[(3, 3136)] * 4, (3, 784), *[(5, 784)] * 3, (1, 784), (5, 196), *[(9, 196)] * 3, (1, 196),
    (18, 49), *[(36, 49)] * 3, (2, 49), (8, 1),
]  # fmt: skip
"""(arrays of 256 x 256 under full cuts, output pixels) of every layer: 201 arrays."""


@pytest.mark.parametrize(("times", "interval"), [(1.0, 12544), (1.25, 837), (2.0, 286), (4.0, 112)])
def test_resnet18(times: float, interval: int) -> None:
    arrays, fires = [a for a, _ in RESNET18], [q for _, q in RESNET18]
    assert sum(arrays) == 201
    found = shortest_interval(arrays, fires, int(times * 201))
    assert found is not None
    assert found.interval == interval
    assert found.arrays <= times * 201


def test_latency_of_resnet18_falls_with_every_array() -> None:
    arrays, fires = [a for a, _ in RESNET18], [q for _, q in RESNET18]
    found = [lowest_latency(arrays, fires, budget) for budget in (200, 201, 251, 402, 804)]
    assert found[0] is None
    sums = [way.latency for way in found if way is not None]
    assert sums[0] == sum(fires)
    assert sums == sorted(sums, reverse=True)
    assert sums[-1] <= 1552

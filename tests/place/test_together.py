"""Copies where blocks share arrays: plans are placements that hold, and no slower than an array for every block."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitline.ir.placement import ArrayShape
from bitline.place import together
from bitline.place.figures import interval
from bitline.place.mapping import blocks_of, layouts, shortest_interval, sliding
from bitline.place.options import PlaceOptions
from bitline.place.solve import solve
from bitline.place.together import plans
from bitline.target.load import load_target
from bitline.verify.placement import verify_placement
from tests.place.test_mapping import convolution, named

CHIP = load_target("sram-dcim")
FAST = PlaceOptions(objective="interval")

layers = st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 60)), min_size=1, max_size=5)


def under_budget(arrays: int, *, windows: bool = False) -> PlaceOptions:
    return PlaceOptions(objective="interval", array_budget=arrays, windows=windows)


@settings(max_examples=40)
@given(layers, st.integers(1, 9), st.sampled_from(["full", "balanced"]))
def test_no_slower_than_an_array_for_every_block(sizes: list[tuple[int, int, int]], budget: int, cuts: str) -> None:
    shape = ArrayShape(rows=6, cols=6)
    matrices = named(sizes)
    options = PlaceOptions(objective="interval", array_budget=budget, cuts="full" if cuts == "full" else "balanced")
    solved = solve(matrices, [None] * len(matrices), shape, options, CHIP)
    assert not any(check.errors for check in verify_placement(solved.placement))
    found, used = interval(solved.placement), solved.placement.certificate.arrays_used
    firings = sum(blocks_of(m, shape) * m.pixels for m in matrices)
    assert found >= math.ceil(firings / used)
    exact = shortest_interval([layouts(m, None, shape, budget) for m in matrices], budget)
    if exact is not None:
        assert used <= budget
        assert found <= max(o.fires for o in exact)
    alone = solve(matrices, [None] * len(matrices), shape, FAST, CHIP).placement
    if alone.certificate.arrays_used <= budget:
        assert used <= budget
        assert found <= interval(alone)


def every_plan(strips: list[tuple[int, int]], cols: int, arrays: int) -> Iterator[int]:
    """Intervals of all ways to lay up to three copies of strips of one row into arrays of one row."""
    for copies in product(range(1, 4), repeat=len(strips)):
        pieces = [(width, math.ceil(q / d)) for (width, q), d in zip(strips, copies, strict=True) for _ in range(d)]
        for where in product(range(arrays), repeat=len(pieces)):
            lies = list(zip(where, pieces, strict=True))
            if all(sum(p[0] for n, p in lies if n == a) <= cols for a in range(arrays)):
                yield max(sum(p[1] for n, p in lies if n == a) for a in range(arrays))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 3), st.integers(1, 40)), min_size=1, max_size=2), st.integers(1, 2))
def test_the_interval_is_none_that_no_plan_has(strips: list[tuple[int, int]], arrays: int) -> None:
    matrices = named([(1, width, q) for width, q in strips])
    found = list(plans(matrices, [None] * len(matrices), ArrayShape(rows=1, cols=4), under_budget(arrays), arrays))
    few = [plan for plan in found if all(m.copies <= 3 for m in plan.matrices)]
    best = min(every_plan(strips, 4, arrays), default=None)
    assert (best is None) <= (not few)
    assert all(best is not None and plan.interval >= best for plan in few)


def test_two_layers_fill_two_arrays_evenly() -> None:
    matrices = named([(1, 1, 100), (1, 1, 20)])
    *_, best = plans(matrices, [None, None], ArrayShape(rows=1, cols=4), under_budget(2), 2)
    assert best.interval == 60  # half of all firings
    assert [m.copies for m in best.matrices] == [5, 1]


def test_windows_use_the_room_in_one_array() -> None:
    kernel = convolution(10, 2, 3, 3, 1, 1, pad=0)
    shape = ArrayShape(rows=64, cols=64)
    matrices = named([(18, 3, 64), (30, 30, 8)])
    of = [sliding(kernel), None]
    plain = solve(matrices, of, shape, under_budget(1), CHIP).placement
    wide = solve(matrices, of, shape, under_budget(1, windows=True), CHIP).placement
    assert interval(plain) == 64 + 8
    assert wide.certificate.arrays_used == 1
    assert interval(wide) < interval(plain) / 2
    assert not any(check.errors for check in verify_placement(wide))


def test_ctrl_c_keeps_the_best_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    matrices = named([(3, 3, 400), (3, 3, 30), (3, 3, 7)])
    calls = 0
    spread = together.spread

    def interrupted(*args: object, **options: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        return spread(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(together, "spread", interrupted)
    solved = solve(matrices, [None] * 3, ArrayShape(rows=6, cols=6), under_budget(2), CHIP)
    assert solved.interrupted
    assert not any(check.errors for check in verify_placement(solved.placement))
    assert interval(solved.placement) < 400

"""Whatever is asked for, what is placed passes `verify`, certificate included."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitline.ir.placement import ArrayShape
from bitline.place.options import PlaceOptions
from bitline.place.solve import solve
from bitline.target.load import load_target
from bitline.verify.placement import verify_placement
from tests.place.test_mapping import named

CHIP = load_target("sram-dcim")

sides = st.sampled_from([4, 6, 10, 16])
layers = st.lists(st.tuples(st.integers(1, 20), st.integers(1, 20), st.integers(1, 99)), min_size=1, max_size=8)
asked = st.builds(
    PlaceOptions,
    cuts=st.sampled_from(["full", "balanced", "free"]),
    objective=st.sampled_from(["arrays", "interval", "latency"]),
    array_budget=st.none() | st.integers(1, 14),
)


def errors(sizes: list[tuple[int, int, int]], shape: ArrayShape, options: PlaceOptions) -> list[str]:
    solved = solve(named(sizes), [None] * len(sizes), shape, options, CHIP)
    return [error.message for check in verify_placement(solved.placement) for error in check.errors]


@settings(max_examples=60)
@given(layers, sides, sides, asked)
def test_every_placement_passes(sizes: list[tuple[int, int, int]], rows: int, cols: int, options: PlaceOptions) -> None:
    assert not errors(sizes, ArrayShape(rows=rows, cols=cols), options)


@pytest.mark.parametrize(
    ("side", "sizes", "options"),
    [
        (6, [(3, 5, 3), (3, 5, 3), (3, 5, 3), (4, 2, 1)], PlaceOptions()),  # one block alone, then the cells of others
        (
            6,
            [(1, 6, 26), (6, 1, 20), (4, 1, 30), (4, 8, 59), (2, 6, 97)],
            PlaceOptions(objective="latency", array_budget=12),  # proved by a solver, then spread over more arrays
        ),
    ],
)
def test_certificates_that_were_wrong(side: int, sizes: list[tuple[int, int, int]], options: PlaceOptions) -> None:
    assert not errors(sizes, ArrayShape(rows=side, cols=side), options)

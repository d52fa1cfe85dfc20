"""Whatever is asked for, what is placed passes `verify`, certificate included."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitline.ir.placement import ArrayShape, PlacedMatrix
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
    depthwise_group=st.sampled_from(["max", "auto", 1, 3]),
    objective=st.sampled_from(["arrays", "interval", "latency"]),
    array_budget=st.none() | st.integers(1, 14),
)


@st.composite
def chips(draw: st.DrawFn) -> ArrayShape:
    """Arrays with two halves, bias rows or a bad column, or with none of these."""
    rows, cols = draw(sides), draw(sides)
    bad = draw(st.none() | st.integers(0, cols - 1))
    return ArrayShape(
        rows=rows,
        cols=cols,
        edges=draw(st.sampled_from([(), (rows // 2,)])),
        bias_rows=draw(st.sampled_from([0, 0, 1, 4])),
        blocked=() if bad is None else ((0, bad, rows, bad + 1),),
    )


@st.composite
def networks(draw: st.DrawFn, shape: ArrayShape) -> list[PlacedMatrix]:
    """Layers with and without groups, biases, and sums that may clip."""
    found = named(draw(layers))
    for number, m in enumerate(found):
        groups = draw(st.sampled_from([1, 1, 4, 9]))
        math = replace(m.math, group_rows=max(1, shape.rows // 4), bundle=draw(st.integers(1, groups)))
        size = replace(m.matrix, groups=groups, rows=-(-m.matrix.rows // groups), cols=-(-m.matrix.cols // groups))
        clips = draw(st.booleans())
        bias = draw(st.integers(0, 4)) if shape.bias_rows else 0
        found[number] = replace(m, matrix=size, math=replace(math, adc_bits=2 if clips else 0), bias_rows=bias)
    return found


def errors(matrices: list[PlacedMatrix], shape: ArrayShape, options: PlaceOptions) -> list[str]:
    solved = solve(matrices, [None] * len(matrices), shape, options, CHIP)
    return [error.message for check in verify_placement(solved.placement) for error in check.errors]


@settings(max_examples=60)
@given(layers, sides, sides, asked)
def test_every_placement_passes(sizes: list[tuple[int, int, int]], rows: int, cols: int, options: PlaceOptions) -> None:
    assert not errors(named(sizes), ArrayShape(rows=rows, cols=cols), options)


@settings(max_examples=100)
@given(st.data(), chips(), asked)
def test_every_placement_in_arrays_that_are_not_plain_passes(
    data: st.DataObject, shape: ArrayShape, options: PlaceOptions
) -> None:
    assert not errors(data.draw(networks(shape)), shape, options)


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
    assert not errors(named(sizes), ArrayShape(rows=side, cols=side), options)

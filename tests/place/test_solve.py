"""Whatever is asked for, what is placed passes `verify`, certificate included."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitline.ir.placement import ArrayShape, Occupied, PlacedMatrix
from bitline.place.figures import interval, mvm_fires
from bitline.place.matrices import array_shape
from bitline.place.options import PlaceOptions
from bitline.place.solve import Fixed, solve
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


def test_free_cuts_are_no_worse_than_those_at_array_borders() -> None:
    shape = ArrayShape(rows=7, cols=128)
    matrices = named([(16, 700, 1)])
    full = solve(matrices, [None], shape, PlaceOptions(), CHIP)
    free = solve(matrices, [None], shape, PlaceOptions(cuts="free"), CHIP)
    assert full.placement.certificate.arrays_used == free.placement.certificate.arrays_used == 13
    assert free.row_cuts + free.col_cuts <= full.row_cuts + full.col_cuts
    assert free.placement.cuts == "free"


@settings(max_examples=40)
@given(layers, sides, sides, asked)
def test_more_freedom_is_no_worse(
    sizes: list[tuple[int, int, int]], rows: int, cols: int, options: PlaceOptions
) -> None:
    shape = ArrayShape(rows=rows, cols=cols)
    matrices = named(sizes)

    def figure(asked: PlaceOptions) -> tuple[int, int]:
        made = solve(matrices, [None] * len(matrices), shape, asked, CHIP).placement
        over = max(0, made.certificate.arrays_used - asked.array_budget) if asked.array_budget else 0
        return (over, interval(made)) if asked.array_budget else (0, made.certificate.arrays_used)

    options = replace(options, objective="interval" if options.array_budget else "arrays")
    assert figure(replace(options, cuts="free")) <= figure(replace(options, cuts="full"))


@pytest.mark.parametrize(
    "shape",
    [
        ArrayShape(rows=8, cols=8, bias_rows=2),
        ArrayShape(rows=8, cols=8, edges=(4,)),
        ArrayShape(rows=8, cols=8, blocked=((0, 3, 8, 4),)),
    ],
)
def test_copies_have_arrays_of_their_own_in_any_array(shape: ArrayShape) -> None:
    matrices = [replace(named([(3, 3, 60)])[0], bias_rows=1 if shape.bias_rows else 0)]
    made = solve(matrices, [None], shape, PlaceOptions(objective="interval", array_budget=6), CHIP).placement
    assert interval(made) == 10
    assert not [e for c in verify_placement(made) for e in c.errors]


def test_layers_are_spread_beside_a_bad_column() -> None:
    shape = ArrayShape(rows=8, cols=8, blocked=((0, 3, 8, 4),))
    matrices = named([(8, 3, 50), (8, 3, 50), (4, 4, 10), (4, 4, 10)])
    made = solve(matrices, [None] * 4, shape, PlaceOptions(objective="interval"), CHIP).placement
    assert made.certificate.arrays_used == 2
    assert interval(made) == 60


def test_a_bad_column_is_bad_in_both_halves() -> None:
    shape = array_shape(load_target("wtm2101"), ((0, 3, 896, 4),))
    assert shape.blocked == ((0, 3, 896, 4), (896, 3, 1792, 4))


@pytest.mark.parametrize("cuts", ["full", "free"])
def test_groups_chosen_for_too_few_arrays_are_those_for_as_few_as_there_can_be(cuts: str) -> None:
    shape = ArrayShape(rows=18, cols=6)
    matrices = [replace(m, math=replace(m.math, bundle=2)) for m in named([(9, 3, 40), (9, 3, 10), (9, 3, 3)])]
    matrices = [replace(m, matrix=replace(m.matrix, groups=8)) for m in matrices]
    asked = PlaceOptions(depthwise_group="auto", cuts="free" if cuts == "free" else "full")
    alone = solve(matrices, [None] * 3, shape, asked, CHIP).placement
    least = alone.certificate.arrays_used
    few = solve(matrices, [None] * 3, shape, replace(asked, array_budget=least - 1), CHIP).placement
    assert few.certificate.arrays_used == least
    assert mvm_fires(few) <= mvm_fires(alone)


def test_arrays_in_use_are_a_bound() -> None:
    there = tuple(Occupied(name="x", array=n, w_row_start=0, w_col_start=0, rows=1, cols=1) for n in range(3))
    made = solve(
        named([(2, 2, 1)]),
        [None],
        ArrayShape(rows=4, cols=4),
        PlaceOptions(),
        CHIP,
        fix=lambda cut, of: Fixed(blocks={}, occupied=there),
    ).placement
    assert (made.certificate.arrays_used, made.certificate.lower_bound) == (3, 3)
    assert not [e for c in verify_placement(made) for e in c.errors]

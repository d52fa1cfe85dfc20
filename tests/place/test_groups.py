"""Sizes of diagonal groups: what blocks they give, and that mixtures are best at every price of a cell."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from bitline.ir.kernels import ArrayMath, Matrix
from bitline.ir.placement import ArrayShape, PlacedMatrix
from bitline.place.blocks import cut_all
from bitline.place.groups import choices, mixtures
from bitline.place.matrices import in_groups_of

MATH = ArrayMath(
    group_rows=64, bundle=1, weight_bits=8, cell_bits=8, weight_offset=0, input_bits=8, input_offset=0, adc_bits=0
)


@st.composite
def grouped(draw: st.DrawFn) -> PlacedMatrix:
    groups = draw(st.integers(1, 24))
    return PlacedMatrix(
        network="n",
        nodes=("depthwise",),
        matrix=Matrix(name="w", groups=groups, rows=draw(st.integers(1, 9)), cols=draw(st.integers(1, 2))),
        math=replace(MATH, bundle=draw(st.integers(1, groups))),
        pixels=draw(st.integers(1, 50)),
    )


@given(grouped())
def test_choices_are_what_cutting_makes_of_them(matrix: PlacedMatrix) -> None:
    wide = ArrayShape(rows=1000, cols=1000)
    for choice in choices(matrix):
        blocks = cut_all([in_groups_of(matrix, choice.size)], wide).blocks
        assert choice.fires == sum(b.load for b in blocks)
        assert choice.cells == sum(b.rows * b.cols for b in blocks)
    assert choices(matrix)[0].fires == sum(b.load for b in cut_all([matrix], wide).blocks)
    assert choices(matrix)[-1].size == 1


@given(st.lists(grouped(), min_size=1, max_size=3), st.floats(0.001, 20))
def test_no_other_sizes_are_cheaper_at_any_price(matrices: list[PlacedMatrix], price: float) -> None:
    def cost(sizes: tuple[int, ...]) -> float:
        total = 0.0
        for matrix, size in zip(matrices, sizes, strict=True):
            blocks = -(-matrix.matrix.groups // size)
            rest = matrix.matrix.groups - (blocks - 1) * size
            cells = ((blocks - 1) * size**2 + rest**2) * matrix.matrix.rows * matrix.matrix.cols
            total += blocks * matrix.pixels + price * cells
        return total

    best = min(cost(sizes) for sizes in product(*(range(1, m.math.bundle + 1) for m in matrices)))
    found = min(cost(sizes) for sizes in mixtures(matrices))
    assert abs(found - best) <= 1e-9 * best

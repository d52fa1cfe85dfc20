"""Proves that scales made by the packer are accepted, and that none with a mistake is; with the optimum as judge."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from bitline.ir.placement import ArrayShape, Closed, Scale
from bitline.pack import scales
from bitline.verify.scales import scale_bound
from tests.pack.test_optimum import optimum, tiny
from tests.pack.test_rectangles import Pieces, case


def carried(pieces: Pieces, rows: int, cols: int) -> tuple[int, Scale]:
    bound = scales.scale_bound(pieces, rows, cols)
    closed = tuple(Closed(leader=g.leader, partners=g.partners, times=g.times) for g in bound.groups)
    scale = Scale(
        closed=closed,
        row_values=bound.row_values,
        col_values=bound.col_values,
        row_cap=max(1, bound.row_cap),
        col_cap=max(1, bound.col_cap),
    )
    return bound.value, scale


def table(pieces: Pieces) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    return np.array(pieces, np.int64).reshape(-1, 2)


@given(case(largest=30, count=40))
@settings(max_examples=60, deadline=None)
def test_scales_of_the_packer_are_accepted(given_case: tuple[Pieces, int, int]) -> None:
    pieces, rows, cols = given_case
    value, scale = carried(pieces, rows, cols)
    assert scale_bound(table(pieces), ArrayShape(rows=rows, cols=cols), scale) == value


@st.composite
def any_scale(draw: st.DrawFn) -> tuple[Pieces, int, int, Scale]:
    """Pieces and a scale out of nowhere, true or not."""
    pieces, rows, cols = draw(tiny())
    some = st.integers(0, 4)
    row_values = tuple((r, draw(some)) for r in range(1, rows + 1))
    col_values = tuple((c, draw(some)) for c in range(1, cols + 1))
    groups = draw(st.lists(st.sampled_from(pieces), max_size=2)) if pieces else []
    closed = tuple(
        Closed(
            leader=leader,
            partners=tuple(draw(st.lists(st.sampled_from(pieces), max_size=1))),
            times=draw(st.integers(1, 2)),
        )
        for leader in groups
    )
    caps = st.integers(1, 6)
    scale = Scale(closed=closed, row_values=row_values, col_values=col_values, row_cap=draw(caps), col_cap=draw(caps))
    return pieces, rows, cols, scale


@given(any_scale())
@settings(max_examples=600, deadline=None)
def test_no_accepted_scale_is_above_the_optimum(given_case: tuple[Pieces, int, int, Scale]) -> None:
    pieces, rows, cols, scale = given_case
    found = scale_bound(table(pieces), ArrayShape(rows=rows, cols=cols), scale)
    if not isinstance(found, str):
        assert found <= optimum(pieces, rows, cols)


def test_every_part_of_a_scale_is_looked_at() -> None:
    random = np.random.default_rng(5)
    pieces = [(int(r), int(c)) for r, c in random.integers(8, 60, (30, 2))] + [(95, 95)] * 2
    shape, sizes = ArrayShape(rows=100, cols=100), table(pieces)
    value, scale = carried(pieces, 100, 100)
    assert scale.closed
    assert scale_bound(sizes, shape, scale) == value
    assert "worth more" in str(scale_bound(sizes, shape, replace(scale, row_cap=scale.row_cap // 2)))
    assert "worth more" in str(scale_bound(sizes, shape, replace(scale, col_cap=scale.col_cap // 2)))
    assert "value" in str(scale_bound(sizes, shape, replace(scale, row_values=scale.row_values[1:])))
    assert "range" in str(scale_bound(sizes, shape, replace(scale, row_cap=0)))
    assert "range" in str(scale_bound(sizes, shape, replace(scale, row_values=(*scale.row_values, (8, -1)))))
    more = (*scale.closed, Closed(leader=(95, 95)))
    assert "left" in str(scale_bound(sizes, shape, replace(scale, closed=more)))
    small = (Closed(leader=pieces[0]), *scale.closed)
    assert "beside" in str(scale_bound(sizes, shape, replace(scale, closed=small)))
    twice = (replace(scale.closed[0], times=0), *scale.closed[1:])
    assert "times" in str(scale_bound(sizes, shape, replace(scale, closed=twice)))
    assert "plain" in str(scale_bound(sizes, replace(shape, edges=(50,)), scale))

"""Proves the figures under a floor plan against counting cells and against the cuts of the placer."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitline.ir.kernels import Matrix
from bitline.ir.placement import ArrayShape, Certificate, Occupied, Placement
from bitline.place.cuts import cut_matrix
from bitline.report.placement_facts import (
    TIMES,
    array_facts,
    extremes,
    layer_facts,
    listed,
    proof_sentence,
    size_of,
)
from tests.report.placements import array_math, block, empty, guillotine, matrix, placement, wtm2101_like


def counted_fill(p: Placement, array: int) -> float:
    """Cells of an array that anything takes, of those that are not blocked, one by one."""
    cells = {(r, c) for r in range(p.shape.rows) for c in range(p.shape.cols)}
    blocked = {(r, c) for r, c in cells if any(t <= r < b and left <= c < e for t, left, b, e in p.shape.blocked)}
    taken = {
        (r, c)
        for things in (p.blocks, p.occupied)
        for b in things
        if b.array == array
        for r in range(b.w_row_start, b.w_row_start + b.rows)
        for c in range(b.w_col_start, b.w_col_start + b.cols)
    }
    return len(taken) / len(cells - blocked)


@given(st.integers(0, 10**6))
def test_fill_and_load_are_what_counting_gives(seed: int) -> None:
    p = guillotine(seed, rows=24, cols=20)
    facts = array_facts(p)
    assert [f.array for f in facts] == sorted({b.array for b in p.blocks})
    for f in facts:
        assert f.fill == pytest.approx(counted_fill(p, f.array))
        assert f.load == sum(p.matrices[b.matrix].fires for b in p.blocks if b.array == f.array)
        assert all(p.blocks[place].array == f.array for place in f.blocks)
    assert sorted(place for f in facts for place in f.blocks) == list(range(len(p.blocks)))


def test_blocked_cells_are_no_room_and_an_earlier_placement_takes_some() -> None:
    shape = ArrayShape(rows=20, cols=10, blocked=((0, 0, 5, 10), (3, 0, 8, 4)))
    earlier = Occupied(name="x", array=4, w_row_start=10, w_col_start=0, rows=3, cols=10)
    p = placement((matrix(),), (block(0, 0, (10, 0, 20, 5)),), shape=shape, occupied=(earlier,))
    first, second = array_facts(p)
    assert (first.array, second.array) == (0, 4)
    assert first.fill == pytest.approx(counted_fill(p, 0)) == pytest.approx(50 / 138)
    assert second.fill == pytest.approx(30 / 138)
    assert second.load == 0


def test_copies_share_the_fires() -> None:
    p = placement((matrix(pixels=101, copies=2),), (block(0, 0, (0, 0, 64, 64)), block(0, 1, (0, 0, 64, 64), copy=1)))
    assert [f.load for f in array_facts(p)] == [51, 51]
    assert layer_facts(p)[0].load == 102


def test_all_alike_mark_none() -> None:
    same = placement((matrix(),), (block(0, 0, (0, 0, 64, 64)), block(0, 1, (0, 0, 64, 64))))
    assert extremes(array_facts(same)) == (None, None)
    assert extremes(()) == (None, None)
    other = replace(same, blocks=(*same.blocks, block(0, 2, (0, 0, 5, 5))))
    assert extremes(array_facts(other)) == (25, None)


@given(
    groups=st.integers(1, 12),
    rows=st.integers(1, 40),
    cols=st.integers(1, 40),
    bundle=st.integers(1, 4),
    high=st.integers(1, 30),
    wide=st.integers(1, 30),
)
def test_cuts_are_those_of_the_placer(groups: int, rows: int, cols: int, bundle: int, high: int, wide: int) -> None:
    math = array_math(bundle)
    m = Matrix(name="w", groups=groups, rows=rows, cols=cols)
    strips = cut_matrix(m, math, high, wide)
    parts = [b for strip in strips for b in strip.blocks]
    blocks = tuple(block(0, n, (0, 0, b.rows, b.cols), row=b.row_offset, col=b.col_offset) for n, b in enumerate(parts))
    found = layer_facts(placement((matrix("n", rows, cols, groups=groups, bundle=bundle),), blocks))[0]
    assert found.pieces == len(parts)
    assert found.row_cuts == sum(len(strip.blocks) - 1 for strip in strips)
    assert found.col_cuts == len(strips) - -(-groups // bundle)


def test_names_of_several_networks_tell_them_apart() -> None:
    two = placement((matrix("a", network="x"), matrix("a", network="y")), ())
    assert [f.name for f in layer_facts(two)] == ["x: a", "y: a"]
    assert [f.name for f in layer_facts(placement((matrix("a"),), ()))] == ["a"]


def test_sizes_and_sentences() -> None:
    assert size_of(matrix(rows=576, cols=64)) == f"576 {TIMES} 64"
    assert size_of(matrix(rows=9, cols=1, groups=384)) == f"384 groups of 9 {TIMES} 1"
    bound = Certificate(arrays_used=17, lower_bound=17, bound="area", proof="bound")
    assert proof_sentence(bound) == "17 arrays, no fewer can hold these blocks (area bound)"
    gap = Certificate(arrays_used=12, lower_bound=11, bound="dff", proof="none")
    assert proof_sentence(gap) == "12 arrays, at least 11 needed (dff bound): gap 1"
    solved = replace(gap, proof="solver")
    assert proof_sentence(solved) == "12 arrays, no fewer can hold these blocks (an exhaustive search found none)"
    assert proof_sentence(empty().certificate) == "No arrays: there is nothing to place"
    assert proof_sentence(wtm2101_like().certificate).startswith("1 array, ")


@given(st.sets(st.integers(0, 40)))
def test_listed_numbers_can_be_read_back(numbers: set[int]) -> None:
    read: list[int] = []
    for run in listed(tuple(sorted(numbers))).split(", "):
        ends = [int(part) for part in run.split("-")] if run else []
        read += range(ends[0], ends[-1] + 1) if ends else []
    assert read == sorted(numbers)

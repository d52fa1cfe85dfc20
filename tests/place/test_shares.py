"""Copies dealt to cores: every copy of every strip once, in arrays of its own, and as even as any way."""

from __future__ import annotations

from collections import Counter
from itertools import combinations_with_replacement, product

from hypothesis import given
from hypothesis import strategies as st

from bitline.ir.residency import Block
from bitline.place.cuts import ColumnStrip
from bitline.place.shares import Held, deal_evenly, deal_pipeline

LAYERS = st.lists(
    st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 4), st.integers(1, 30)), min_size=1, max_size=4
)
"""(strips, blocks of a strip, copies, pixels)."""


def strips(layer: int, count: int, height: int) -> list[ColumnStrip]:
    return [
        ColumnStrip(
            col=i * 8,
            cols=8,
            blocks=tuple(
                Block(matrix=str(layer), copy=0, row_offset=row * 8, col_offset=i * 8, rows=8, cols=8)
                for row in range(height)
            ),
        )
        for i in range(count)
    ]


def check(
    dealt: tuple[tuple[Held, ...], ...], layers: list[tuple[int, int, int, int]], cores: int, arrays: int
) -> None:
    """Every copy of every strip is somewhere once, and no array holds two."""
    taken: Counter[tuple[int, int]] = Counter()
    for held, (count, height, copies, _) in zip(dealt, layers, strict=True):
        found: Counter[tuple[int, int]] = Counter()
        for one in held:
            assert 0 <= one.core < cores
            assert one.arrays == (one.last_strip - one.first_strip) * height
            last = one.first_array + one.copies * one.arrays
            assert last <= arrays
            taken.update((one.core, array) for array in range(one.first_array, last))
            spans = range(one.first_strip, one.last_strip), range(one.first_copy, one.first_copy + one.copies)
            found.update(product(*spans))
        assert found == Counter(product(range(count), range(copies)))
    assert not taken or max(taken.values()) == 1


def busiest(dealt: tuple[tuple[Held, ...], ...], layers: list[tuple[int, int, int, int]]) -> int:
    load: Counter[int] = Counter()
    for held, (_, _, copies, pixels) in zip(dealt, layers, strict=True):
        for one in held:
            load[one.core] += -(-pixels // copies)
    return max(load.values())


@given(LAYERS, st.integers(1, 5), st.integers(1, 12), st.sampled_from([8, 16, 64]))
def test_every_copy_is_dealt_once(layers: list[tuple[int, int, int, int]], cores: int, arrays: int, cols: int) -> None:
    cut = [strips(k, count, height) for k, (count, height, _, _) in enumerate(layers)]
    copies, fires = [c for _, _, c, _ in layers], [q for _, _, _, q in layers]
    pipeline = deal_pipeline(cut, copies=copies, fires=fires, cores=cores, arrays=arrays, most_cols=cols)
    evenly = deal_evenly(cut, copies=copies, cores=cores, arrays=arrays, most_cols=cols)
    for dealt in (pipeline, evenly):
        if dealt is not None:
            check(dealt, layers, cores, arrays)
            sums = [(one.last_strip - one.first_strip) * 8 for held in dealt for one in held]
            assert max(sums) <= max(8, cols)
    needed = sum(count * height * copies for count, height, copies, _ in layers)
    if needed > cores * arrays or max(height for _, height, _, _ in layers) > arrays:
        assert pipeline is None
        assert evenly is None
    if max(height for _, height, _, _ in layers) == 1 and cols == 8 and needed <= cores * arrays:
        assert evenly is not None, "single arrays fit wherever there is one"
        assert pipeline is not None


@given(
    st.lists(st.tuples(st.integers(1, 3), st.integers(1, 20)), min_size=1, max_size=4),
    st.integers(1, 4),
    st.integers(1, 4),
)
def test_stretches_of_copies_are_as_even_as_any(layers: list[tuple[int, int]], cores: int, arrays: int) -> None:
    """Against all ways to cut the copies, in the order of the network, into a stretch for every core. A block each."""
    shaped = [(1, 1, copies, pixels) for copies, pixels in layers]
    cut = [strips(k, 1, 1) for k in range(len(layers))]
    copies, fires = [c for c, _ in layers], [q for _, q in layers]
    found = deal_pipeline(cut, copies=copies, fires=fires, cores=cores, arrays=arrays, most_cols=8)
    flat = [k for k, (count, _) in enumerate(layers) for _ in range(count)]
    best: int | None = None
    for cuts in combinations_with_replacement(range(cores), len(flat)):
        if max(Counter(cuts).values()) > arrays:
            continue
        loads = [sum({k: -(-fires[k] // copies[k]) for k, c in zip(flat, cuts, strict=True) if c == core}.values())
                 for core in range(cores)]  # fmt: skip
        best = min(max(loads), best) if best is not None else max(loads)
    assert (found is None) == (best is None)
    if found is not None:
        assert busiest(found, shaped) == best


def test_copies_spread_over_cores_that_are_left() -> None:
    """Four copies of one array on four cores: one each, though one core has room for all."""
    found = deal_pipeline([strips(0, 1, 1)], copies=[4], fires=[100], cores=4, arrays=8, most_cols=8)
    assert found is not None
    assert [(one.core, one.copies) for one in found[0]] == [(0, 1), (1, 1), (2, 1), (3, 1)]

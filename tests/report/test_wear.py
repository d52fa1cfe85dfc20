"""Writes per cell: the mean, the worst cell of overlapping blocks, and how long that cell lasts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitline.ir.residency import BlockResidency
from bitline.report.figures import Wear, wear
from bitline.target.load import load_target
from tests.report import synthetic


def block(row: int, col: int, rows: int, cols: int, loads: int, array: int = 0) -> BlockResidency:
    return synthetic.residency(
        "w", place=(0, array, row, col), offset=(0, 0), size=(rows, cols), index=0, steps=(0, 0), loads=loads
    )


def test_resident_weights_wear_nothing() -> None:
    assert wear([block(0, 0, 64, 64, 0)], synthetic.chip()) == Wear(mean=0.0, most=0, lifetime=None)


def test_no_blocks_wear_nothing() -> None:
    assert wear([], synthetic.chip()) == Wear(mean=0.0, most=0, lifetime=None)


def test_blocks_of_the_synthetic_network() -> None:
    """Two blocks of 64 x 64 pass once each through one array; the other array is never written."""
    assert wear(synthetic.blocks(), synthetic.chip()) == Wear(mean=1.0, most=2, lifetime=50_000_000)


def test_the_worst_cell_lies_where_blocks_overlap() -> None:
    found = wear([block(0, 0, 10, 10, 3), block(5, 5, 10, 10, 4), block(0, 0, 64, 64, 1, array=1)], synthetic.chip())
    assert found.most == 7
    assert found.mean == pytest.approx((300 + 400 + 4096) / (2 * 4096))
    assert found.lifetime == 100_000_000 // 7


def test_a_chip_that_states_no_endurance_has_no_lifetime() -> None:
    found = wear([block(0, 0, 256, 256, 5)], load_target("sram-dcim"))
    assert (found.most, found.lifetime) == (5, None)


@given(
    st.lists(
        st.tuples(
            st.integers(0, 56),
            st.integers(0, 56),
            st.integers(1, 8),
            st.integers(1, 8),
            st.integers(0, 5),
            st.integers(0, 1),
        ),
        max_size=12,
    )
)
def test_the_worst_cell_is_found_by_counting_every_cell(places: list[tuple[int, int, int, int, int, int]]) -> None:
    counts = np.zeros((2, 64, 64), int)
    for row, col, rows, cols, loads, array in places:
        for r in range(row, row + rows):
            for c in range(col, col + cols):
                counts[array, r, c] += loads
    found = wear([block(r, c, h, w, loads, a) for r, c, h, w, loads, a in places], synthetic.chip())
    arrays = len({array for *_, array in places})
    assert found.most == counts.max()
    assert found.mean == pytest.approx(counts.sum() / (4096 * arrays) if arrays else 0.0)

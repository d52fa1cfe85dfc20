"""Proves that every number of the layer table is the one worked out by hand, and that the bottleneck is named."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bitline.report.layers import LayerRow, bound_by, layer_table, working_time
from tests.report import synthetic

PS = synthetic.PS


@pytest.fixture
def rows() -> tuple[LayerRow, ...]:
    return layer_table(synthetic.network(), synthetic.blocks(), synthetic.trace(), synthetic.chip())


def test_one_row_per_kernel_in_order(rows: tuple[LayerRow, ...]) -> None:
    assert [(row.kernel, row.name, row.kind) for row in rows] == [
        (0, "conv1", "MatMul"),
        (1, "conv2", "MatMul"),
        (2, "add", "Elementwise"),
        (3, "mean", "Pool"),
    ]
    assert rows[0].nodes == ("/conv1/Conv", "/conv1/Conv/Relu")


def test_work_of_a_resident_layer(rows: tuple[LayerRow, ...]) -> None:
    row = rows[0]
    assert (row.macs, row.mvms, row.weight_writes, row.dma_bytes, row.arrays) == (10 * 32 * 16, 10, 0, 320, 1)
    assert row.utilisation == 10 * 32 * 16 / (10 * 64 * 64) == 0.125


def test_work_of_a_streamed_layer(rows: tuple[LayerRow, ...]) -> None:
    row = rows[1]
    assert (row.macs, row.mvms, row.weight_writes, row.dma_bytes) == (5 * 128 * 64, 10, 2, 8192)
    assert row.arrays == 1, "both rounds pass through the same array"
    assert row.utilisation == 1.0


def test_times_and_shares(rows: tuple[LayerRow, ...]) -> None:
    times = [(row.loads_from_us, row.start_us, row.end_us, row.duration_us) for row in rows]
    assert times == [(0, 0.25, 2, 1.75), (2, 3, 6, 3), (6, 6, 9, 3), (0, 0, 0, 0)], "loading ahead is no working time"
    assert [row.time_share for row in rows] == [0.175, 0.3, 0.3, 0.0]


def test_energy_and_shares(rows: tuple[LayerRow, ...]) -> None:
    assert [row.energy_nj for row in rows] == [12.0, 70.0, 10.0, 0.0]
    assert [row.energy_share for row in rows] == [0.12, 0.70, 0.10, 0.0]
    assert rows[0].energy_by_unit_nj == (("dma_in", 2.0), ("mvm", 10.0)), "units in the order of the queues"


def test_what_a_layer_is_bound_by(rows: tuple[LayerRow, ...]) -> None:
    assert rows[0].bound_by == "mvm 80 %", "1.4 us of 1.75 us"
    assert rows[1].bound_by == "mvm 100 %", "4.5 us of busy arrays in 3 us are all of the time, not 150 %"
    assert rows[2].bound_by == "waiting (vector 20 %)"
    assert rows[3].bound_by == "no work"


def test_full_units_are_told_apart_by_their_work() -> None:
    spans = [synthetic.span(0, "dma_in", 0, 10, 10), synthetic.span(0, "mvm", 0, 10, 25)]
    assert bound_by(spans) == "mvm 100 %"
    assert bound_by([spans[0], replace(spans[1], busy_ps=9)]) == "dma in 100 %"


def test_weights_written_ahead_do_not_make_a_layer_long() -> None:
    spans = [synthetic.span(0, "write", 0, 80, 40), synthetic.span(0, "mvm", 90, 100, 6)]
    assert working_time(spans) == (90, 100)
    assert bound_by(spans) == "mvm 60 %"


def test_of_writing_that_goes_on_during_work_the_part_within_counts() -> None:
    spans = [synthetic.span(0, "write", 0, 100, 90), synthetic.span(0, "mvm", 50, 100, 20)]
    assert bound_by(spans) == "write 90 %"


def test_a_layer_that_only_copies_works_while_it_copies() -> None:
    spans = [synthetic.span(0, "dma_in", 5, 20, 12), synthetic.span(0, "dma_out", 10, 25, 3)]
    assert working_time(spans) == (5, 25)
    assert bound_by(spans) == "dma in 60 %"


def test_busy_time_is_of_one_core_not_the_sum_of_cores() -> None:
    spans = [synthetic.span(0, "vector", 0, 10, 4, core=core) for core in range(4)]
    assert bound_by(spans) == "waiting (vector 40 %)"


def test_an_empty_trace_gives_rows_of_zeros() -> None:
    empty = replace(synthetic.trace(), latency_ps=0, energy_fj=0, spans=(), costs=())
    rows = layer_table(synthetic.network(), (), empty, synthetic.chip())
    assert [(row.time_share, row.energy_share, row.utilisation, row.arrays) for row in rows] == [(0, 0, None, 0)] * 4
    assert rows[0].macs == 5120, "what the model asks for does not depend on the trace"

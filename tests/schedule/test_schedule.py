"""Segments, jobs and addresses against what they promise, recomputed by painting."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitline.core.diagnostics import Diagnostic, NoMatch, Refusal
from bitline.ir.boxes import read_taps, read_walks, unit_channels
from bitline.ir.kernels import MatMul
from bitline.ir.schedule import Job, unit_block
from bitline.place.cuts import cut_matrix
from bitline.schedule.memory import ALIGNMENT, lifetimes, place_tensors
from bitline.schedule.segments import segments
from bitline.schedule.tiling import Buffers, StripPlan, column_jobs, matmul_schedule, resident_jobs, streamed_jobs
from tests.schedule.networks import conv_kernel, math_of, random_chain

# -- segments ---------------------------------------------------------------------------------------------------------


@given(sizes=st.lists(st.integers(0, 9), max_size=12), room=st.integers(1, 12))
def test_segments_cover_all_kernels_in_order_and_are_as_long_as_fits(sizes: list[int], room: int) -> None:
    weights = [k for k, size in enumerate(sizes) if size]
    found, streamed = segments(len(sizes), weights, lambda kernels: sum(sizes[k] for k in kernels) <= room)
    assert [k for s in found for k in range(s.first, s.last + 1)] == list(range(len(sizes)))
    assert streamed == {k for k in weights if sizes[k] > room}
    for segment in found:
        inside = [k for k in range(segment.first, segment.last + 1) if k not in streamed]
        assert sum(sizes[k] for k in inside) <= room
        if streamed & set(range(segment.first, segment.last + 1)):
            assert segment.first == segment.last
        elif segment.last + 1 < len(sizes):  # greedy: the next kernel did not fit any more
            assert sum(sizes[k] for k in inside) + sizes[segment.last + 1] > room


# -- addresses --------------------------------------------------------------------------------------------------------


@given(seed=st.integers(0, 10**6), kernels=st.integers(1, 8), small=st.integers(0, 1000))
def test_no_two_living_tensors_share_a_byte(seed: int, kernels: int, small: int) -> None:
    network = random_chain(seed, kernels)
    capacities = {"shared": small, "dram": 1 << 20}
    placed, used = place_tensors(network, capacities)
    lives = lifetimes(network)
    assert {p.tensor for p in placed} == {t.name for t in network.tensors}
    for one in placed:
        assert one.address % ALIGNMENT == 0
        assert one.bytes == network.tensor(one.tensor).size_bytes
        assert one.address + one.bytes <= used[one.memory] <= capacities[one.memory]
        assert (one.from_step, one.to_step) == lives[one.tensor]
    for one, other in combinations(placed, 2):
        if one.memory != other.memory or one.to_step < other.from_step or other.to_step < one.from_step:
            continue
        apart = one.address + one.bytes <= other.address or other.address + other.bytes <= one.address
        assert apart, (one, other)


def test_a_tensor_that_fits_nowhere_is_named() -> None:
    with pytest.raises(Refusal) as refused:
        place_tensors(random_chain(0, 3), {"shared": 10, "dram": 20})
    assert refused.value.diagnostics[0].code == "BL0401"
    assert "chain:t" in refused.value.diagnostics[0].place


# -- jobs -------------------------------------------------------------------------------------------------------------


@given(columns=st.integers(1, 200), width=st.integers(1, 40), cores=st.integers(1, 6))
def test_column_jobs_are_a_partition(columns: int, width: int, cores: int) -> None:
    covered = [
        unit * job.unit_cols + job.strips[0].col + i
        for job in column_jobs(columns, width, cores)
        for unit in range(job.units)
        for i in range(job.cols)
    ]
    assert sorted(covered) == list(range(columns))
    assert all(0 <= job.first_core < job.last_core <= cores for job in column_jobs(columns, width, cores))


kernels = st.builds(
    conv_kernel,
    size=st.integers(1, 4),
    taps=st.sampled_from([1, 3]),
    groups=st.integers(1, 5),
    channels=st.integers(1, 6),
    filters=st.integers(1, 40),
    math=st.builds(math_of, group_rows=st.just(16), bundle=st.just(1)),
    shuffled=st.booleans(),
)


def strips_of(kernel: MatMul, rows: int, cols: int) -> list[StripPlan]:
    cut = cut_matrix(kernel.matrix, kernel.math, rows, cols)
    return [StripPlan(col=s.col, cols=s.cols, blocks=s.blocks) for s in cut]


def buffers(arrays: int, cores: int, psum_bytes: int = 4096) -> Buffers:
    return Buffers(input_bytes=65536, psum_bytes=psum_bytes, output_bytes=4096, arrays=arrays, cores=cores)


@given(
    kernel=kernels,
    cols=st.sampled_from([4, 8, 16]),
    arrays=st.integers(1, 9),
    cores=st.integers(1, 4),
    psum_bytes=st.sampled_from([512, 4096]),
)
def test_streamed_jobs_compute_every_block_once_from_its_own_channels(
    kernel: MatMul, cols: int, arrays: int, cores: int, psum_bytes: int
) -> None:
    strips = strips_of(kernel, 16, cols)
    jobs = streamed_jobs(kernel, strips, buffers(arrays, cores, psum_bytes))
    rows = kernel.matrix.rows if kernel.matrix.groups > 1 else 0
    channels = read_taps(kernel.read).channels
    found: list[object] = []
    for job in jobs:
        assert 0 <= job.first_core < job.last_core <= cores
        low, count, step = unit_channels(kernel, job)
        for unit in range(job.units):
            for piece in job.pieces:
                block = unit_block(piece, job, unit, rows, kernel.matrix.cols)
                found.append(block)
                first = piece.block.row_offset
                seen = channels[block.row_offset : block.row_offset + block.rows] - unit * step
                assert np.array_equal(seen, channels[first : first + block.rows])
                assert low <= seen.min()
                assert seen.max() < low + count
        check_arrays(job, arrays)
    key = repr
    assert sorted(map(key, found)) == sorted(key(block) for strip in strips for block in strip.blocks)


def check_arrays(job: Job, arrays: int) -> None:
    """No array is named that a core has not; pieces that lie in the arrays together lie in different ones."""
    if job.weights == "held":
        assert len(job.pieces) * job.turns <= arrays
        assert len({piece.array for piece in job.pieces}) == len(job.pieces)
    else:
        assert job.weights == "cycled"
        assert job.chunk * job.turns <= arrays
        for start in range(0, len(job.pieces), job.chunk):
            part = job.pieces[start : start + job.chunk]
            assert sorted(piece.array for piece in part) == list(range(len(part)))


@given(kernel=kernels, cores=st.integers(1, 4), seed=st.integers(0, 99), psum_bytes=st.sampled_from([256, 4096]))
def test_resident_jobs_keep_every_strip_on_its_core(kernel: MatMul, cores: int, seed: int, psum_bytes: int) -> None:
    rng = np.random.default_rng(seed)
    strips = [
        replace(strip, core=int(rng.integers(cores)), places=((0, 0, 0),) * len(strip.blocks))
        for strip in strips_of(kernel, 16, 8)
    ]
    jobs = resident_jobs(strips, buffers(9, cores, psum_bytes))
    found = {(strip.col, strip.cols, job.first_core) for job in jobs for strip in job.strips}
    assert found == {(s.col, s.cols, s.core) for s in strips}
    assert sum(len(job.strips) for job in jobs) == len(strips)
    for job in jobs:
        assert (job.units, job.last_core - job.first_core) == (1, 1)
        ends = [s.col + s.cols for s in job.strips]
        assert [s.col for s in job.strips[1:]] == ends[:-1]


@given(kernel=kernels, input_bytes=st.integers(16, 2000), psum_bytes=st.integers(64, 2000), out=st.integers(16, 500))
def test_tiles_fit_the_buffers_with_all_their_slots(
    kernel: MatMul, input_bytes: int, psum_bytes: int, out: int
) -> None:
    limits = Buffers(input_bytes=input_bytes, psum_bytes=psum_bytes, output_bytes=out, arrays=4, cores=2)
    jobs = streamed_jobs(kernel, strips_of(kernel, 16, 8), limits)
    try:
        plan = matmul_schedule(kernel, 0, 0, jobs, limits)
    except Refusal as refusal:
        plan = refusal.diagnostics[0]
    if isinstance(plan, Diagnostic):
        assert plan.code == "BL0401"
        return
    walks = read_walks(kernel.read)
    assert not isinstance(walks, NoMatch)
    box = walks[0].length(plan.tile_rows) * walks[1].length(plan.tile_cols)
    pixels = plan.tile_rows * plan.tile_cols
    for job in plan.jobs:
        assert box * unit_channels(kernel, job)[1] * plan.input_slots <= input_bytes
        assert pixels * job.cols * 4 * plan.psum_slots <= psum_bytes
        assert pixels * job.cols * plan.output_slots <= out

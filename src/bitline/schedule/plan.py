"""Network + chip -> `Schedule`. The packer is handed in, so that scheduling knows nothing of how rectangles are
packed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

from bitline.ir.kernels import BYTES, MatMul, Network, Pool, inputs_of, outputs_of
from bitline.ir.residency import ArrayRegion, Block, BlockResidency
from bitline.ir.schedule import Job, KernelSchedule, Schedule, Segment, unit_block
from bitline.schedule.memory import place_tensors
from bitline.schedule.segments import segments
from bitline.schedule.shares import SharePlan, share_jobs, share_schedule
from bitline.schedule.stream import (
    MOST_ON_THEIR_WAY,
    MOST_WITH_COPIES,
    check_streams,
    longest_run,
    on_cores,
    place_frames,
)
from bitline.schedule.tiling import (
    Buffers,
    StripPlan,
    matmul_schedule,
    pool_schedule,
    resident_jobs,
    streamed_jobs,
)
from bitline.schedule.units import unit_schedule

PackKernels = Callable[[Sequence[int]], "dict[int, tuple[StripPlan, ...]] | None"]
"""Places of all strips of these kernels together (kernel -> strips with core and places), or None if they do not
fit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """The schedule and where every block lies when."""

    schedule: Schedule
    blocks: tuple[BlockResidency, ...]


def plan(
    network: Network,
    strips: dict[int, tuple[StripPlan, ...]],
    pack: PackKernels,
    buffers: Buffers,
    capacities: dict[str, int],
    stream: int = 1,
    shares: Mapping[int, Sequence[SharePlan]] | None = None,
    far: int = 0,
) -> Planned:
    """Segments, jobs, tiles, addresses. `strips`: the cut matrices by kernel; `stream`: inputs that one run takes as a
    pipeline; `shares`: where copies of all weights lie, if they are dealt already; `far`: so many inputs are to be on
    their way, even if tensors move to a memory further away. Raises `Refusal` (BL04xx; BL0101 where a network cannot
    be a pipeline)."""
    placed: dict[int, tuple[StripPlan, ...]] = {}
    if shares is None:
        found, streamed = segments(len(network.kernels), sorted(strips), lambda kernels: pack(kernels) is not None)
        for segment in found:
            inside = [k for k in sorted(strips) if segment.first <= k <= segment.last and k not in streamed]
            if inside:
                together = pack(inside)
                assert together is not None, "a segment was found to fit"
                placed |= together
        resident = len(found) == 1 and not streamed
    else:
        found, resident = (Segment(first=0, last=len(network.kernels) - 1),) if network.kernels else (), True
    if stream > 1:
        check_streams(network, resident)
    stages = _Stages(network, _fires(network, placed, shares), buffers.cores) if stream > 1 else None
    kernels: list[KernelSchedule] = []
    copies = _Copies()
    for number, kernel in enumerate(network.kernels):
        segment = next(i for i, s in enumerate(found) if s.first <= number <= s.last)
        match kernel:
            case MatMul() if shares is not None:
                jobs = share_jobs(kernel, shares[number])
                width = BYTES[network.tensor(kernel.y).dtype]
                kernels.append(share_schedule(kernel, number, segment, jobs, buffers, width))
            case MatMul():
                repeat = network.repeat_of(number)
                place = (segment, repeat.first if repeat else -1) if number in placed else None
                copy = copies.of(kernel.matrix.name, place)
                jobs = (
                    resident_jobs(_copied(placed[number], copy), buffers)
                    if number in placed
                    else streamed_jobs(kernel, _copied(strips[number], copy), buffers)
                )
                width = BYTES[network.tensor(kernel.y).dtype]
                kernels.append(matmul_schedule(kernel, number, segment, jobs, buffers, width))
            case _:
                stage = stages.of(number, kernels) if stages else range(buffers.cores)
                few = replace(buffers, cores=len(stage))
                if isinstance(kernel, Pool):
                    widths = (BYTES[network.tensor(kernel.x).dtype], BYTES[network.tensor(kernel.y).dtype])
                    made = pool_schedule(kernel, number, segment, few, widths)
                else:
                    made = unit_schedule(kernel, network, number, segment, few)
                kernels.append(replace(made, jobs=on_cores(made.jobs, stage.start)))
    if stream > 1:
        most = far or (MOST_ON_THEIR_WAY if shares is None else MOST_WITH_COPIES)
        frames = place_frames(network, capacities, stream, most, far=far > 0)
        tensors, used, pipeline = frames.tensors, frames.memory_bytes, frames.stream
    else:
        (tensors, used), pipeline = place_tensors(network, capacities), None
    schedule = Schedule(
        segments=found,
        resident=resident,
        kernels=tuple(kernels),
        tensors=tensors,
        memory_bytes=used,
        stream=pipeline,
    )
    return Planned(schedule=schedule, blocks=block_residencies(network, schedule))


def _fires(
    network: Network,
    placed: Mapping[int, Sequence[StripPlan]],
    shares: Mapping[int, Sequence[SharePlan]] | None,
) -> dict[int, dict[int, int]]:
    """How often every core fires for every kernel whose weights it holds."""
    found: dict[int, dict[int, int]] = {}
    for k, kernel in enumerate(network.kernels):
        if isinstance(kernel, MatMul) and shares is not None:
            found[k] = {share.core: -(-kernel.pixels // share.of) for share in shares[k]}
        elif isinstance(kernel, MatMul) and k in placed:
            found[k] = {strip.core: kernel.pixels for strip in placed[k]}
    return found


class _Stages:
    """Cores of kernels without weights in a pipeline: some of their own where enough hold no weights, else those of a
    neighbour, so that a core works on one stretch of the network."""

    def __init__(self, network: Network, fires: Mapping[int, Mapping[int, int]], cores: int) -> None:
        """`fires[k][core]`: how often a core fires for kernel k, of all that have weights."""
        self.network = network
        self.holders = {k: sorted(times) for k, times in fires.items()}
        self.fires: Counter[int] = Counter()
        for times in fires.values():
            self.fires.update(times)
        idle = [core for core in range(cores) if core not in self.fires]
        others = [k for k in range(len(network.kernels)) if k not in fires]
        each = len(idle) // max(1, len(others))
        self.own = {k: longest_run(idle[i * each : (i + 1) * each]) for i, k in enumerate(others)} if each else {}

    def of(self, number: int, done: Sequence[KernelSchedule]) -> range:
        """Where it has none of its own: cores of the kernel that makes its input or of the next one with weights,
        whichever fire less."""
        if number in self.own:
            return self.own[number]
        needed = set(inputs_of(self.network.kernels[number]))
        makers = [k for k in range(number) if needed & set(outputs_of(self.network.kernels[k]))]
        following = [k for k in self.holders if k > number]
        near = [done[makers[-1]].cores] if makers else []
        near += [self.holders[following[0]]] if following else []
        runs = [longest_run(cores) for cores in near] or [range(1)]
        return min(runs, key=lambda run: (max(self.fires[core] for core in run), -len(run)))


class _Copies:
    """Numbers the copies of a matrix: kernels of a segment share one that stays, each streamed kernel has its own."""

    def __init__(self) -> None:
        self._count: dict[str, int] = {}
        self._known: dict[tuple[str, tuple[int, int]], int] = {}

    def of(self, matrix: str, place: tuple[int, int] | None) -> int:
        """`place`: segment and repetition in which it stays; None where it is streamed."""
        if place is not None and (matrix, place) in self._known:
            return self._known[matrix, place]
        copy = self._count.get(matrix, 0)
        self._count[matrix] = copy + 1
        if place is not None:
            self._known[matrix, place] = copy
        return copy


def _copied(strips: tuple[StripPlan, ...], copy: int) -> tuple[StripPlan, ...]:
    if not copy:
        return strips
    return tuple(replace(s, blocks=tuple(replace(block, copy=copy) for block in s.blocks)) for s in strips)


def _round(job: Job, unit: int, piece: int) -> tuple[int, int]:
    """(round in which a piece of a unit is in its array, array): streamed pieces take turns."""
    part = job.pieces[piece]
    if job.weights == "resident":
        return 0, part.array
    turn = unit // job.cores
    if job.weights == "held":
        return turn, part.array + turn % job.turns * len(job.pieces)
    order = turn * job.chunks + piece // job.chunk
    return order, part.array + piece // job.chunk % job.turns * job.chunk


def block_residencies(network: Network, schedule: Schedule) -> tuple[BlockResidency, ...]:
    """Every block of every matrix with its place and the steps during which it lies there, in dependency order.

    A matrix that several kernels of a segment share is listed with the first. A cycled block is listed with the array
    of its first pass; later passes go round the same ring. Copies of a block have the same cells.
    """
    found: list[BlockResidency] = []
    listed: set[tuple[str, int]] = set()
    cells = 0
    for number, (kernel, plan_) in enumerate(zip(network.kernels, schedule.kernels, strict=True)):
        if not isinstance(kernel, MatMul) or plan_.matrix_copy in listed:
            continue
        listed.add(plan_.matrix_copy)
        passes = network.passes(number)
        height, width, _ = kernel.read.shape
        tiles = -(-height // plan_.tile_rows) * -(-width // plan_.tile_cols)
        segment = schedule.segments[plan_.segment]
        rounds = 0
        stored: dict[tuple[Block, ...], int] = {}
        for job in plan_.jobs:
            rows = kernel.matrix.rows if kernel.matrix.groups > 1 else 0
            resident = job.weights == "resident"
            start = cells_at = stored.setdefault(job.originals, cells) if resident else cells
            top = 0
            for copy, unit in product(range(job.copies), range(job.units)):
                cells_at = start if unit == 0 else cells_at
                for i, piece in enumerate(job.pieces):
                    block = unit_block(piece, job, unit, rows, kernel.matrix.cols)
                    turn, array = _round(job, unit, i)
                    top = max(top, turn + 1)
                    found.append(
                        BlockResidency(
                            block=replace(block, copy=block.copy + copy),
                            region=ArrayRegion(
                                core=job.first_core + unit % job.cores,
                                array=array + copy * job.chunk,
                                w_row_start=piece.w_row_start,
                                w_col_start=piece.w_col_start,
                            ),
                            index=len(found),
                            from_step=segment.first if resident else plan_.kernel,
                            to_step=segment.last if resident else plan_.kernel,
                            round=0 if resident else rounds + turn,
                            loads=0 if schedule.resident else passes * (tiles if job.weights == "cycled" else 1),
                            cells_at=cells_at,
                        )
                    )
                    cells_at += block.rows * block.cols
                    cells = max(cells, cells_at)
            rounds += 0 if resident else top
    return tuple(found)

"""Units of kernels that follow index maps: how many elements, rows or products at a time fit the buffers of a core."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from bitline.core.diagnostics import Refusal
from bitline.ir.kernels import (
    BYTES,
    BatchMatMul,
    Elementwise,
    Host,
    Kernel,
    Lookup,
    MatMul,
    Move,
    Network,
    Norm,
    Pool,
    Softmax,
    inputs_of,
)
from bitline.ir.schedule import Job, KernelSchedule, ResultSpace
from bitline.schedule.tiling import Buffers, StripPlan, column_jobs, even, make_job, too_large

MOST_MOVED = 1 << 14
"""Elements of one unit of copies, which pass through no buffer."""
SLOTS = (2, 1)
WORD = 8
"""Operands begin at multiples of this in the input buffer."""


def divisor_up_to(number: int, most: int) -> int:
    """The largest divisor of `number` that is at most `most`."""
    return next(d for d in range(max(1, min(number, most)), 0, -1) if number % d == 0)


def element_unit(shape: tuple[int, int, int], most: int, cores: int) -> int:
    """Neighbouring stored elements of one unit, at most `most`: whole rows, whole pixels, or a part of a pixel, so that
    maps of alike units look alike; enough units for all cores where there are."""
    height, width, channels = shape
    wanted = max(1, min(most, -(-prod(shape) // cores)))
    if wanted >= width * channels:
        return width * channels * even(height, min(height, wanted // (width * channels)))
    if wanted >= channels:
        return channels * divisor_up_to(width, wanted // channels)
    return divisor_up_to(channels, wanted)


def unit_schedule(kernel: Kernel, network: Network, number: int, segment: int, buffers: Buffers) -> KernelSchedule:
    """Jobs over columns: elements of the result, rows of a softmax, norm or look-up, rows of all products one after
    another. Raises `Refusal` (BL0401) where the smallest unit does not fit."""
    tile_cols, slots = 1, 1
    space: ResultSpace = "output"
    match kernel:
        case Elementwise():
            jobs, slots = _elements(kernel, network, buffers)
        case Softmax() | Norm():
            jobs, slots, space = _rows(kernel, network, buffers)
        case BatchMatMul():
            jobs, slots, tile_cols = _products(kernel, network, buffers)
        case Move():
            shape = network.tensor(kernel.y).shape
            jobs = column_jobs(prod(shape), element_unit(shape, MOST_MOVED, buffers.cores), buffers.cores)
        case Lookup():
            rows = kernel.read.shape[0]
            jobs = column_jobs(rows, even(rows, -(-rows // buffers.cores)), buffers.cores)
        case Host():
            jobs = (make_job("none", 0, 1, 1, [StripPlan(col=0, cols=1, blocks=())], 0, 1),)
        case MatMul() | Pool():
            raise AssertionError("tiled by pixels")
    return KernelSchedule(
        kernel=number,
        segment=segment,
        tile_rows=1,
        tile_cols=tile_cols,
        input_slots=slots,
        psum_slots=1,
        output_slots=slots,
        jobs=jobs,
        result_space=space,
    )


def _widths(kernel: Elementwise | Softmax | Norm | BatchMatMul, network: Network) -> tuple[list[int], int]:
    """Bytes per element of every operand, and of the result."""
    return [BYTES[network.tensor(x).dtype] for x in inputs_of(kernel)], BYTES[network.tensor(kernel.y).dtype]


def _elements(kernel: Elementwise, network: Network, buffers: Buffers) -> tuple[tuple[Job, ...], int]:
    shape = network.tensor(kernel.y).shape
    taken, given = _widths(kernel, network)
    for slots in SLOTS:
        room = buffers.input_bytes // slots - WORD * len(taken)
        most = min(room // sum(taken), buffers.output_bytes // slots // given // WORD * WORD)
        if most >= 1:
            return column_jobs(prod(shape), element_unit(shape, most, buffers.cores), buffers.cores), slots
    raise _refused(kernel, buffers, "not even one element")


def _rows(kernel: Softmax | Norm, network: Network, buffers: Buffers) -> tuple[tuple[Job, ...], int, ResultSpace]:
    rows, n = kernel.read.shape
    (taken,), given = _widths(kernel, network)
    rooms: dict[ResultSpace, int] = {"output": buffers.output_bytes, "psum": buffers.psum_bytes, "input": 0}
    for space, room in rooms.items():
        for slots in SLOTS:
            most = min((buffers.input_bytes // slots - WORD) // (n * taken), (room // slots - WORD) // (n * given))
            if space == "input":  # behind the operands
                most = (buffers.input_bytes // slots - 2 * WORD) // (n * (taken + given))
            if most >= 1:
                jobs = column_jobs(rows, even(rows, min(most, -(-rows // buffers.cores))), buffers.cores)
                return jobs, slots, space
    raise _refused(kernel, buffers, f"a row of {n:,}")


def _products(kernel: BatchMatMul, network: Network, buffers: Buffers) -> tuple[tuple[Job, ...], int, int]:
    """(jobs, slots, columns of b at a time). A unit is one product, or a part of its rows where there are fewer
    products than cores; its strips are as many rows as fit."""
    groups, m, k = kernel.a.map.shape
    n = kernel.b.map.shape[1]
    (left, right), given = _widths(kernel, network)
    for slots in SLOTS:
        room, out = buffers.input_bytes // slots - 2 * WORD, buffers.output_bytes // slots - WORD
        wide = n
        while wide > 1 and (wide * k * right > room * 3 // 4 or wide * given > out):
            wide = -(-wide // 2)
        tall = min(m, (room - wide * k * right) // (k * left), out // (wide * given))
        if tall < 1:
            continue
        parts = max(1, min(buffers.cores // groups, m))
        share = -(-m // parts)
        jobs: list[Job] = []
        for part in range(-(-m // share)):
            rows = range(part * share, min(m, (part + 1) * share))
            height = even(len(rows), min(tall, len(rows)))
            tiles = [
                StripPlan(col=row, cols=min(height, rows.stop - row), blocks=())
                for row in range(rows.start, rows.stop, height)
            ]
            jobs += _batches(tiles, groups, m, part, parts, buffers.cores)
        return tuple(jobs), slots, wide
    raise _refused(kernel, buffers, f"one product of {k:,} elements")


def _batches(tiles: Sequence[StripPlan], groups: int, m: int, part: int, parts: int, cores: int) -> list[Job]:
    """Jobs of one part of the rows of all products: unit g is product g, m columns on."""
    width = max(1, cores // parts)
    first = part * width % cores
    rounds, left = divmod(groups, width)
    jobs: list[Job] = []
    if rounds:
        jobs.append(_unit_job(first, first + width, rounds, tiles, 0, m))
    if left:
        jobs.append(_unit_job(first, first + left, 1, tiles, rounds * width * m, m))
    return jobs


def _unit_job(first: int, last: int, rounds: int, tiles: Sequence[StripPlan], shift: int, step: int) -> Job:
    moved = [StripPlan(col=tile.col + shift, cols=tile.cols, blocks=()) for tile in tiles]
    made = make_job("none", first, last, rounds, moved, 0, 1)
    return Job(
        first_core=made.first_core,
        last_core=made.last_core,
        rounds=made.rounds,
        unit_cols=step,
        strips=made.strips,
        weights="none",
        chunk=0,
        turns=1,
    )


def _refused(kernel: Kernel, buffers: Buffers, what: str) -> Refusal:
    return too_large(buffers.model, kernel, what)

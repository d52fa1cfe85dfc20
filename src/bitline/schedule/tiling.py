"""Jobs and tiles of one kernel: which core computes which columns, and how many pixels at a time fit the buffers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from bitline.core.diagnostics import NoMatch, Refusal, refuse
from bitline.ir.boxes import Ints, Walk, read_taps, read_walks, unit_channels
from bitline.ir.kernels import Kernel, MatMul, Pool
from bitline.ir.residency import Block
from bitline.ir.schedule import Job, KernelSchedule, Piece, Strip

PIXELS_WANTED = 8
"""A resident job is split where its partial sums would leave room for fewer pixels than this at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Buffers:
    """Bytes of the buffers of one core, and its arrays; `model` names the file in diagnostics."""

    input_bytes: int
    psum_bytes: int
    output_bytes: int
    arrays: int
    cores: int
    model: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StripPlan:
    """A strip before it belongs to a job; `places` (array, row, column) per block where it is resident on `core`."""

    col: int
    cols: int
    blocks: tuple[Block, ...]
    core: int = -1
    places: tuple[tuple[int, int, int], ...] = ()


def resident_jobs(strips: Sequence[StripPlan], buffers: Buffers) -> tuple[Job, ...]:
    """One job per core and run of neighbouring strips."""
    most = max(1, buffers.psum_bytes // (2 * 4 * PIXELS_WANTED))
    jobs: list[Job] = []
    for core in range(buffers.cores):
        run: list[StripPlan] = []
        for strip in [*(s for s in strips if s.core == core), None]:
            joins = run and strip is not None and run[-1].col + run[-1].cols == strip.col
            if strip is not None and (not run or (joins and sum(s.cols for s in run) + strip.cols <= most)):
                run.append(strip)
                continue
            if run:
                jobs.append(make_job("resident", core, core + 1, 1, run, 0, 1))
            run = [strip] if strip is not None else []
    return tuple(jobs)


def make_job(
    weights: Literal["none", "resident", "held", "cycled"],
    first: int,
    last: int,
    rounds: int,
    strips: Sequence[StripPlan],
    chunk: int,
    turns: int,
) -> Job:
    count = 0
    made: list[Strip] = []
    for strip in strips:
        pieces: list[Piece] = []
        for i, block in enumerate(strip.blocks):
            array, row, col = strip.places[i] if strip.places else (count % chunk if chunk else count, 0, 0)
            pieces.append(Piece(block=block, array=array, w_row_start=row, w_col_start=col))
            count += 1
        made.append(Strip(col=strip.col, cols=strip.cols, pieces=tuple(pieces)))
    return Job(
        first_core=first,
        last_core=last,
        rounds=rounds,
        unit_cols=sum(strip.cols for strip in strips),
        strips=tuple(made),
        weights=weights,
        chunk=chunk,
        turns=turns,
    )


def streamed_jobs(kernel: MatMul, strips: Sequence[StripPlan], buffers: Buffers) -> tuple[Job, ...]:
    """Weights outside the pixel loop: units of neighbouring strips that fill half the arrays go round the cores."""
    height = len(strips[0].blocks)
    together = max(1, buffers.arrays // (2 * height))
    together = min(together, max(1, buffers.psum_bytes // (2 * 4 * PIXELS_WANTED * strips[0].cols)))
    alike = [s for s in strips if (s.cols, len(s.blocks)) == (strips[0].cols, height)]
    together = max(1, min(together, len(alike) // buffers.cores))
    channels = read_taps(kernel.read).channels
    jobs: list[Job] = []
    core = done = 0
    while done < len(strips):
        units = _like_first(kernel, channels, strips[done:], together)
        rounds = units // buffers.cores if core == 0 else 0
        last = buffers.cores if rounds else min(core + units, buffers.cores)
        jobs.append(_streamed(core, last, max(1, rounds), strips[done : done + together], buffers))
        done += max(1, rounds) * (last - core) * together
        core = last % buffers.cores
    return tuple(jobs)


def _like_first(kernel: MatMul, channels: Ints, strips: Sequence[StripPlan], together: int) -> int:
    """How many units of `together` strips are the first one moved on: right by its columns, equally far in channels."""
    first = strips[:together]
    columns = sum(strip.cols for strip in first)
    grouped, start = kernel.matrix.groups > 1, first[0].blocks[0].row_offset
    units = 1
    while (units + 1) * together <= len(strips):
        moved = strips[units * together : (units + 1) * together]
        down = units * columns // kernel.matrix.cols * kernel.matrix.rows if grouped else 0
        expected = [
            replace(b, row_offset=b.row_offset + down, col_offset=b.col_offset + units * columns)
            for strip in first
            for b in strip.blocks
        ]
        if expected != [b for strip in moved for b in strip.blocks]:
            break
        if grouped:
            per_unit = columns // kernel.matrix.cols * kernel.matrix.rows
            step = int(channels[start + per_unit] - channels[start])
            rows = np.concatenate([np.arange(b.row_offset, b.row_offset + b.rows) for s in first for b in s.blocks])
            if (channels[rows + down] != channels[rows] + units * step).any():
                break
        units += 1
    return units


def _streamed(first: int, last: int, rounds: int, strips: Sequence[StripPlan], buffers: Buffers) -> Job:
    blocks = sum(len(strip.blocks) for strip in strips)
    if blocks <= buffers.arrays:
        turns = 2 if 2 * blocks <= buffers.arrays and rounds > 1 else 1
        return make_job("held", first, last, rounds, strips, 0, turns)
    turns = 2 if buffers.arrays > 1 else 1
    return make_job("cycled", first, last, rounds, strips, buffers.arrays // turns, turns)


def column_jobs(columns: int, width: int, cores: int) -> tuple[Job, ...]:
    """Vector work: `columns` in units of `width` that go round the cores, then what is left."""
    units, tail = divmod(columns, width)
    rounds, left = divmod(units, cores)

    def job(first: int, last: int, times: int, col: int, cols: int) -> Job:
        strip = StripPlan(col=col, cols=cols, blocks=())
        return make_job("none", first, last, times, [strip], 0, 1)

    jobs = [job(0, cores, rounds, 0, width)] if rounds else []
    done = rounds * cores * width
    if left:
        jobs.append(job(0, left, 1, done, width))
        done += left * width
    if tail:
        jobs.append(job(left % cores, left % cores + 1, 1, done, tail))
    return tuple(jobs)


def even(total: int, most: int) -> int:
    """The smallest tile that needs no more tiles than `most` would."""
    return -(-total // -(-total // most))


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """Pixels of a tile and slots of the input, partial-sum and output buffers."""

    rows: int
    cols: int
    slots: tuple[int, int, int]


def fit_tile(
    outs: tuple[int, int],
    walks: tuple[Walk, Walk],
    channels: int,
    cols: int,
    sums: bool,
    buffers: Buffers,
    choices: Sequence[tuple[int, int, int]],
    single: bool,
    width_y: int,
    most: int = 0,
) -> Tile | None:
    """The largest tile for the first choice of (input, psum, output) slots under which one pixel fits; `channels` in
    bytes, `cols` results of `width_y` bytes. `most`: pixels of a tile, 0 for as many as fit."""
    for slots in choices:
        pixels = buffers.output_bytes // (slots[2] * cols * width_y)
        if sums:
            pixels = min(pixels, buffers.psum_bytes // (slots[1] * cols * 4))
        room = buffers.input_bytes // slots[0]
        if single or most:
            pixels = min(pixels, most or 1)
        if pixels < 1 or walks[0].length(1) * walks[1].length(1) * channels > room:
            continue
        width = min(outs[1], pixels)
        while walks[0].length(1) * walks[1].length(width) * channels > room:
            width -= 1
        width = even(outs[1], width)
        height = min(outs[0], pixels // width)
        while walks[0].length(height) * walks[1].length(width) * channels > room:
            height -= 1
        return Tile(rows=even(outs[0], height), cols=width, slots=slots)
    return None


DOUBLE = ((2, 2, 2), (1, 2, 2), (2, 1, 2), (1, 1, 1))
SINGLE_PSUM = ((2, 1, 2), (1, 1, 2), (1, 1, 1))


def too_large(model: str, kernel: Kernel, what: str) -> Refusal:
    return refuse(
        "BL0401",
        f"{kernel.name}: not even one output pixel fits: {what}",
        place=f"{model}:{kernel.nodes[0]}",
        help="enlarge a buffer: `--set memory.input_bytes=...`, `memory.psum_bytes` or `memory.output_bytes`",
    )


def matmul_schedule(
    kernel: MatMul, number: int, segment: int, jobs: tuple[Job, ...], buffers: Buffers, width_y: int = 1
) -> KernelSchedule:
    """Tiles for the widest job of a kernel. Raises `Refusal` (BL0401) where one pixel does not fit the buffers."""
    walks = read_walks(kernel.read)
    assert not isinstance(walks, NoMatch), walks
    height, width, _ = kernel.read.shape
    channels = max(unit_channels(kernel, job)[1] for job in jobs)
    cols = max(job.cols for job in jobs)
    cycled = any(job.weights == "cycled" for job in jobs)
    choices = SINGLE_PSUM if cycled else DOUBLE
    tile = fit_tile((height, width), walks, channels, cols, True, buffers, choices, False, width_y)
    if tile is None:
        box = walks[0].length(1) * walks[1].length(1) * channels
        raise too_large(
            buffers.model, kernel, f"{box:,} input bytes, {cols * 4:,} bytes of partial sums, {cols:,} output bytes"
        )
    return tile_schedule(number, segment, tile, jobs)


def tile_schedule(number: int, segment: int, tile: Tile, jobs: tuple[Job, ...]) -> KernelSchedule:
    """A kernel whose jobs take such tiles."""
    return KernelSchedule(
        kernel=number,
        segment=segment,
        tile_rows=tile.rows,
        tile_cols=tile.cols,
        input_slots=tile.slots[0],
        psum_slots=tile.slots[1],
        output_slots=tile.slots[2],
        jobs=jobs,
    )


def pool_schedule(
    kernel: Pool, number: int, segment: int, buffers: Buffers, widths: tuple[int, int] = (1, 1)
) -> KernelSchedule:
    """Channel slices go round the cores; the widest slice under which one window fits."""
    walks = read_walks(kernel.read)
    assert not isinstance(walks, NoMatch), walks
    height, width, _, channels = kernel.read.shape
    slice_ = -(-channels // buffers.cores)
    while True:
        choices = DOUBLE if slice_ > 1 else (*DOUBLE, (1, 1, 1))
        tile = fit_tile(
            (height, width),
            walks,
            slice_ * widths[0],
            slice_,
            False,
            buffers,
            choices[:1] if slice_ > 1 else choices,
            kernel.divide_by_valid,
            widths[1],
        )
        if tile is not None:
            break
        if slice_ == 1:
            raise too_large(
                buffers.model, kernel, f"{walks[0].length(1) * walks[1].length(1):,} input bytes for one channel"
            )
        slice_ = -(-slice_ // 2)
    return tile_schedule(number, segment, tile, column_jobs(channels, slice_, buffers.cores))

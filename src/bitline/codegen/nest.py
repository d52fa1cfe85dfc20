"""The loop nest of one kernel from its schedule. One shape for all kernels:

    for every job:                       its cores, `round` after round
      for every tile (`row`, `col`):     dma_in fills a box -> mvm or vector reads it -> vector -> dma_out stores it

Buffers are rings; a reader tells the writer with a token that a slot is free, the writer tells it that one is full.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bitline.codegen.context import BARRIER, Context, Placed, Ring, Terms, unit_terms
from bitline.core.diagnostics import NoMatch
from bitline.ir.boxes import AxisTiles, Taps, Walk, axis_tiles, read_taps, read_walks
from bitline.ir.kernels import LIMITS, Add, ArrayMath, Kernel, MatMul, Move, Pool, Softmax, Table
from bitline.ir.loops import (
    Access,
    Affine,
    Await,
    Copy,
    Do,
    Fire,
    For,
    Hear,
    Nest,
    On,
    Set,
    Signal,
    Statement,
    Step,
    Tell,
    Write,
    join_runs,
)
from bitline.ir.program import MathOp, PostOp, Runs, Unit
from bitline.ir.schedule import Job

Ints = npt.NDArray[np.int64]

PARAMETER_BYTES = 12
SUM_BYTES = 4


def math_op(math: ArrayMath) -> MathOp:
    """The constants of an mvm."""
    return MathOp(
        group_rows=math.group_rows,
        slices=math.slices,
        cell_bits=math.cell_bits,
        weight_offset=math.weight_offset,
        input_bits=math.input_bits,
        input_offset=math.input_offset,
        adc_bits=math.adc_bits,
    )


def signals(unit: Unit, token: str, count: int) -> list[Statement]:
    """`count` signals."""
    return [Do(unit=unit, action=Signal(token=token))] * count


def awaits(unit: Unit, token: str, count: int) -> list[Statement]:
    """`count` waits."""
    return [Do(unit=unit, action=Await(token=token))] * count


@dataclass(frozen=True, slots=True, kw_only=True)
class TileClass:
    """Tiles that look alike, as a place in the loops `row` and `col`."""

    rows: AxisTiles
    cols: AxisTiles
    across: int

    @property
    def first(self) -> int:
        """Sequence number of the first of them in its job and round."""
        return self.rows.first * self.across + self.cols.first

    @property
    def sequence(self) -> Terms:
        return (("row", self.across), ("col", 1))

    @property
    def pixels(self) -> int:
        return self.rows.out_len * self.cols.out_len


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """The input box of a tile: rows x cols stored pixels of `channels` channels, starting at stored channel `low`."""

    walk_rows: Walk
    walk_cols: Walk
    rows: int
    cols: int
    channels: int
    low: int
    unit_step: int

    @property
    def bytes(self) -> int:
        return self.rows * self.cols * self.channels

    def offset(self, row: int, col: int, channel: int) -> int:
        return (row * self.cols + col) * self.channels + channel


def padding_runs(box: Box, tile: TileClass) -> Runs:
    """Bytes of the box that lie outside the tensor and are read."""
    rows, cols, width = tile.rows, tile.cols, box.channels
    runs: list[tuple[int, int]] = []
    for row in range(rows.box_len):
        inside = rows.pad_before <= row < rows.pad_before + rows.in_len and cols.in_len
        if not inside:
            runs.append((box.offset(row, 0, 0), cols.box_len * width))
            continue
        if cols.pad_before:
            runs.append((box.offset(row, 0, 0), cols.pad_before * width))
        after = cols.pad_before + cols.in_len
        if after < cols.box_len:
            runs.append((box.offset(row, after, 0), (cols.box_len - after) * width))
    return tuple(runs)


def load_box(
    x: Placed, box: Box, tile: TileClass, ring: Ring, sequence: Terms, first: int, cores: int, fill: int
) -> list[Statement]:
    """Fill the padding of one slot and copy the rest of the box from the tensor."""
    _, width, channels = x.tensor.shape
    rows, cols = tile.rows, tile.cols
    found: list[Statement] = []
    pads = padding_runs(box, tile)
    if pads:
        found.append(Do(unit="dma_in", action=Set(dst=ring.access(first, sequence, 0, (), pads), value=fill & 0xFF)))
    if not rows.in_len or not cols.in_len:
        return found
    src: list[tuple[int, int]] = []
    dst: list[tuple[int, int]] = []
    for row in range(rows.in_len):
        for col in range(cols.in_len):
            src.append(((row * width + col) * channels, box.channels))
            dst.append((box.offset(rows.pad_before + row, cols.pad_before + col, 0), box.channels))
    terms = (
        ("row", rows.in_step * width * channels),
        ("col", cols.in_step * channels),
        *unit_terms(cores, box.unit_step),
    )
    start = (rows.in_start * width + cols.in_start) * channels + box.low
    copy = Copy(src=x.access(start, terms, tuple(src)), dst=ring.access(first, sequence, 0, (), tuple(dst)))
    return [*found, Do(unit="dma_in", action=copy)]


def store_tile(
    y: Placed,
    tile: TileClass,
    job: Job,
    tile_rows: int,
    tile_cols: int,
    pitches: tuple[int, int, int],
    ring: Ring,
    sequence: Terms,
    first: int,
) -> Statement:
    """Copy one slot of the output buffer, pixel after pixel of the unit's columns, to the tensor."""
    base, pitch_row, pitch_col = pitches
    dst = tuple(
        (r * pitch_row + c * pitch_col, job.cols) for r in range(tile.rows.out_len) for c in range(tile.cols.out_len)
    )
    terms = (
        ("row", tile_rows * pitch_row),
        ("col", tile_cols * pitch_col),
        *unit_terms(job.cores, job.unit_cols),
    )
    start = base + tile.rows.out_start * pitch_row + tile.cols.out_start * pitch_col + job.strips[0].col
    start -= job.first_core * job.unit_cols
    src = ring.access(first, sequence, 0, (), ((0, tile.pixels * job.cols),))
    return Do(unit="dma_out", action=Copy(src=src, dst=y.access(start, terms, dst)))


def write_pitches(kernel: MatMul | Pool) -> tuple[int, int, int]:
    """(offset, elements per output row, per output column) of the write map; columns lie side by side."""
    strides = kernel.write.digit_strides()
    assert len(strides) == 3, kernel.write
    assert strides[2] in (0, 1), kernel.write
    base = sum(c.offset * s for c, s in zip(kernel.write.coordinates, kernel.write.flat_strides(), strict=True))
    return base, strides[0], strides[1]


def tile_classes(kernel: MatMul | Pool, walks: tuple[Walk, Walk], context: Context) -> list[TileClass]:
    """All tiles of the kernel, alike ones together."""
    height, width = kernel.read.shape[:2]
    schedule = context.schedule
    rows = axis_tiles(height, schedule.tile_rows, walks[0], kernel.read.source[0])
    cols = axis_tiles(width, schedule.tile_cols, walks[1], kernel.read.source[1])
    across = sum(c.count for c in cols)
    return [TileClass(rows=r, cols=c, across=across) for r in rows for c in cols]


def tile_loops(classes: Sequence[TileClass], tile: Callable[[TileClass], Sequence[Statement]]) -> list[Statement]:
    """Row after row of tiles, so that tiles run in the order of their sequence numbers."""
    found: list[Statement] = []
    for rows in dict.fromkeys(c.rows for c in classes):
        line = [For(var="col", count=c.cols.count, body=tuple(tile(c))) for c in classes if c.rows == rows]
        found.append(For(var="row", count=rows.count, body=tuple(line)))
    return found


def _job_box(kernel: MatMul | Pool, walks: tuple[Walk, Walk], job: Job, context: Context, taps: Taps) -> Box:
    schedule = context.schedule
    if isinstance(kernel, Pool):
        low, count, step = job.strips[0].col, job.cols, job.unit_cols
    elif kernel.matrix.groups == 1:
        low = int(taps.channels.min())
        count, step = int(taps.channels.max()) - low + 1, 0
    else:
        first = min(p.block.row_offset for p in job.pieces)
        last = max(p.block.row_offset + p.block.rows for p in job.pieces)
        low = int(taps.channels[first:last].min())
        count = int(taps.channels[first:last].max()) - low + 1
        per_unit = kernel.matrix.rows * (job.unit_cols // kernel.matrix.cols)
        step = int(taps.channels[first + per_unit] - taps.channels[first]) if job.units > 1 else 0
    return Box(
        walk_rows=walks[0],
        walk_cols=walks[1],
        rows=walks[0].length(schedule.tile_rows),
        cols=walks[1].length(schedule.tile_cols),
        channels=count,
        low=low - job.first_core * step,
        unit_step=step,
    )


def _tap_runs(box: Box, taps: Taps, low: int, first: int, count: int) -> Runs:
    """Where rows first..first+count-1 of the im2col column lie in the box of output (0, 0)."""
    part = slice(first, first + count)
    rows, cols = taps.rows[part] - box.walk_rows.low, taps.cols[part] - box.walk_cols.low
    offsets = (rows * box.cols + cols) * box.channels + taps.channels[part] - low
    breaks = np.flatnonzero(np.diff(offsets) != 1) + 1
    starts = [0, *breaks.tolist()]
    ends = [*breaks.tolist(), count]
    return tuple((int(offsets[s]), int(e - s)) for s, e in zip(starts, ends, strict=True))


class _MatMulJob:
    """Statements of one job of a MatMul."""

    def __init__(
        self, kernel: MatMul, context: Context, number: int, job: Job, taps: Taps, walks: tuple[Walk, Walk]
    ) -> None:
        self.kernel, self.context, self.job, self.taps = kernel, context, job, taps
        schedule = context.schedule
        self.schedule = schedule
        self.images = context.images[number]
        self.box = _job_box(kernel, walks, job, context, taps)
        self.low = self.box.low + job.first_core * self.box.unit_step
        self.classes = tile_classes(kernel, walks, context)
        self.tiles = sum(c.rows.count * c.cols.count for c in self.classes)
        self.pixels = schedule.tile_rows * schedule.tile_cols
        self.inputs = Ring(space="input", slots=schedule.input_slots, bytes=self.box.bytes)
        self.sums = Ring(space="psum", slots=schedule.psum_slots, bytes=self.pixels * job.cols * SUM_BYTES)
        self.outputs = Ring(space="output", slots=schedule.output_slots, bytes=self.pixels * job.cols)

    def statements(self) -> list[Statement]:
        job, schedule = self.job, self.schedule
        reloads = job.weights in ("held", "cycled")
        body: list[Statement] = [
            *signals("mvm", "input_free", schedule.input_slots),
            *signals("mvm", "weights_free", job.turns if reloads else 0),
            *signals("vector", "psum_free", schedule.psum_slots),
            *signals("dma_out", "output_free", schedule.output_slots),
            For(var="round", count=job.rounds, body=tuple(self._round())),
            *awaits("dma_in", "input_free", schedule.input_slots),
            *awaits("write", "weights_free", job.turns if reloads else 0),
            *awaits("mvm", "psum_free", schedule.psum_slots),
            *awaits("vector", "output_free", schedule.output_slots),
        ]
        return [On(first=job.first_core, last=job.last_core, body=tuple(body))]

    def _round(self) -> list[Statement]:
        found: list[Statement] = []
        held = self.job.weights == "held"
        if held:
            found += awaits("write", "weights_free", 1)
            found += [self._write(piece) for piece in range(len(self.images))]
            found += [*signals("write", "weights_full", 1), *awaits("mvm", "weights_full", 1)]
        found += tile_loops(self.classes, self._tile)
        if held:
            found += signals("mvm", "weights_free", 1)
        return found

    def _sequence(self, tile: TileClass) -> Terms:
        return (("round", self.tiles), *tile.sequence)

    def _array(self, piece: int, tile: TileClass | None) -> Affine:
        """The array of a piece: fixed, or in a ring over rounds (held) or over chunks (cycled)."""
        job = self.job
        place = job.pieces[piece].array
        if job.weights == "resident" or job.turns == 1:
            return Affine(base=place)
        if job.weights == "held":
            count = len(job.pieces)
            return Affine(base=place, terms=(("round", count),), modulus=job.turns * count)
        assert tile is not None
        chunks, size = job.chunks, job.chunk
        terms = tuple((var, step * chunks * size) for var, step in self._sequence(tile))
        phase = (tile.first * chunks + piece // size) * size
        return Affine(base=place, terms=terms, phase=phase, modulus=job.turns * size)

    def _write(self, piece: int, tile: TileClass | None = None) -> Statement:
        address, step = self.images[piece]
        part = self.job.pieces[piece]
        src = Access(
            space="weights",
            at=Affine(base=address - self.job.first_core * step, terms=unit_terms(self.job.cores, step)),
            runs=((0, part.block.rows * part.block.cols),),
        )
        write = Write(
            src=src,
            array=self._array(piece, tile),
            row=part.w_row_start,
            col=part.w_col_start,
            rows=part.block.rows,
            cols=part.block.cols,
        )
        return Do(unit="write", action=write)

    def _tile(self, tile: TileClass) -> list[Statement]:
        job, x = self.job, self.context.reads[0]
        sequence, first = self._sequence(tile), tile.first
        found: list[Statement] = [*awaits("dma_in", "input_free", 1)]
        found += load_box(x, self.box, tile, self.inputs, sequence, first, job.cores, x.tensor.zero_point)
        found += signals("dma_in", "input_full", 1)
        found += [*awaits("mvm", "input_full", 1), *awaits("mvm", "psum_free", 1)]
        size = job.chunk if job.weights == "cycled" else max(1, len(job.pieces))
        for start in range(0, len(job.pieces), size):
            chunk = range(start, min(start + size, len(job.pieces)))
            if job.weights == "cycled":
                found += awaits("write", "weights_free", 1)
                found += [self._write(piece, tile) for piece in chunk]
                found += [*signals("write", "weights_full", 1), *awaits("mvm", "weights_full", 1)]
            fires = tuple(self._fire(piece, tile) for piece in chunk)
            inner = For(var="x", count=tile.cols.out_len, body=fires)
            found.append(For(var="y", count=tile.rows.out_len, body=(inner,)))
            if job.weights == "cycled":
                found += signals("mvm", "weights_free", 1)
        found += [*signals("mvm", "psum_full", 1), *signals("mvm", "input_free", 1)]
        found += [*awaits("vector", "psum_full", 1), *awaits("vector", "output_free", 1)]
        found += self._requantise(tile)
        found += [*signals("vector", "psum_free", 1), *signals("vector", "output_full", 1)]
        found += awaits("dma_out", "output_full", 1)
        schedule = self.schedule
        found.append(
            store_tile(
                self.context.writes,
                tile,
                job,
                schedule.tile_rows,
                schedule.tile_cols,
                write_pitches(self.kernel),
                self.outputs,
                sequence,
                first,
            )
        )
        return [*found, *signals("dma_out", "output_free", 1)]

    def _strip_of(self, piece: int) -> tuple[int, int, bool]:
        """(strip number, columns before it in the unit, whether the piece is the first of its strip)."""
        count = before = 0
        for number, strip in enumerate(self.job.strips):
            if piece < count + len(strip.pieces):
                return number, before, piece == count
            count += len(strip.pieces)
            before += strip.cols
        raise AssertionError("no such piece")

    def _fire(self, piece: int, tile: TileClass) -> Statement:
        part = self.job.pieces[piece]
        _, before, first = self._strip_of(piece)
        box, cols = self.box, part.block.cols
        sequence = self._sequence(tile)
        walk = (
            ("y", box.walk_rows.step * box.cols * box.channels),
            ("x", box.walk_cols.step * box.channels),
        )
        out = (("y", tile.cols.out_len * cols * SUM_BYTES), ("x", cols * SUM_BYTES))
        runs = _tap_runs(box, self.taps, self.low, part.block.row_offset, part.block.rows)
        fire = Fire(
            src=self.inputs.access(tile.first, sequence, 0, walk, runs),
            array=self._array(piece, tile),
            row=part.w_row_start,
            col=part.w_col_start,
            cols=cols,
            dst=self.sums.access(tile.first, sequence, self.pixels * before * SUM_BYTES, out, ((0, cols * SUM_BYTES),)),
            first=first,
            math=math_op(self.kernel.math),
        )
        return Do(unit="mvm", action=fire)

    def _requantise(self, tile: TileClass) -> list[Statement]:
        post = self.kernel.post
        y = self.context.writes.tensor
        op = PostOp(
            op="requantise",
            signed_in=False,
            signed_out=y.dtype == "s8",
            zero_y=post.zero_point,
            low=post.low,
            high=post.high,
        )
        sequence, job = self._sequence(tile), self.job
        found: list[Statement] = []
        before = 0
        for strip in job.strips:
            cols = strip.cols
            dst = tuple((p * job.cols + before, cols) for p in range(tile.pixels))
            step = job.unit_cols * PARAMETER_BYTES
            parameters = Access(
                space="const",
                at=Affine(
                    base=self.context.parameters + strip.col * PARAMETER_BYTES - job.first_core * step,
                    terms=unit_terms(job.cores, step),
                ),
                runs=((0, cols * PARAMETER_BYTES),),
            )
            sums = ((0, tile.pixels * cols * SUM_BYTES),)
            action = Step(
                post=op,
                dst=self.outputs.access(tile.first, sequence, 0, (), dst),
                a=self.sums.access(tile.first, sequence, self.pixels * before * SUM_BYTES, (), sums),
                parameters=parameters,
            )
            found.append(Do(unit="vector", action=action))
            before += cols
        return found


def _matmul_nest(kernel: MatMul, context: Context) -> list[Statement]:
    walks, taps = read_walks(kernel.read), read_taps(kernel.read)
    assert not isinstance(walks, NoMatch), walks
    jobs = context.schedule.jobs
    works = [_MatMulJob(kernel, context, i, job, taps, walks) for i, job in enumerate(jobs)]
    found: list[Statement] = []
    if context.opens_segment:
        found += [*signals("mvm", "weights_free", 1), *awaits("write", "weights_free", 1)]
    if context.loads_in_main and any(job.weights == "resident" for job in jobs):
        found += load_resident(works)
        found += [*signals("write", "weights_full", 1), *awaits("mvm", "weights_full", 1)]
    for work in works:
        found += work.statements()
    return found


def load_resident(works: Sequence[_MatMulJob]) -> list[Statement]:
    """Write the resident blocks of a kernel."""
    return [
        On(
            first=work.job.first_core,
            last=work.job.last_core,
            body=tuple(work._write(piece) for piece in range(len(work.images))),  # pyright: ignore[reportPrivateUsage]
        )
        for work in works
        if work.job.weights == "resident"
    ]


def setup_nest(kernel: Kernel, context: Context) -> Nest:
    """Writing the weights of a kernel that keeps them for all inferences."""
    if not isinstance(kernel, MatMul):
        return ()
    walks, taps = read_walks(kernel.read), read_taps(kernel.read)
    assert not isinstance(walks, NoMatch), walks
    jobs = context.schedule.jobs
    return tuple(load_resident([_MatMulJob(kernel, context, i, j, taps, walks) for i, j in enumerate(jobs)]))


def _pool_nest(kernel: Pool, context: Context) -> list[Statement]:
    walks, taps = read_walks(kernel.read), read_taps(kernel.read)
    assert not isinstance(walks, NoMatch), walks
    schedule, x = context.schedule, context.reads[0]
    classes = tile_classes(kernel, walks, context)
    tiles = sum(c.rows.count * c.cols.count for c in classes)
    channels = kernel.read.shape[3]
    rows, cols = taps.rows.reshape(-1, channels)[:, 0], taps.cols.reshape(-1, channels)[:, 0]
    pad = LIMITS[x.tensor.dtype][0] if kernel.op == "max" else x.tensor.zero_point
    found: list[Statement] = []
    for job in schedule.jobs:
        box = _job_box(kernel, walks, job, context, taps)
        inputs = Ring(space="input", slots=schedule.input_slots, bytes=box.bytes)
        pixels = schedule.tile_rows * schedule.tile_cols
        outputs = Ring(space="output", slots=schedule.output_slots, bytes=pixels * job.cols)
        work = _PoolTiles(
            kernel=kernel,
            context=context,
            job=job,
            box=box,
            inputs=inputs,
            outputs=outputs,
            taps=(rows, cols),
            tiles=tiles,
            pad=pad,
        )
        body = tile_loops(classes, work.tile)
        found += _vector_job(job, schedule.input_slots, schedule.output_slots, body)
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class _PoolTiles:
    """Statements of the tiles of one job of a pool."""

    kernel: Pool
    context: Context
    job: Job
    box: Box
    inputs: Ring
    outputs: Ring
    taps: tuple[Ints, Ints]
    tiles: int
    pad: int

    def windows(self, tile: TileClass) -> Runs:
        """Where the taps lie in the box; where padding does not count, those inside the tensor."""
        box, found = self.box, []
        for tap_row, tap_col in zip(*self.taps, strict=True):
            row, col = int(tap_row) - box.walk_rows.low, int(tap_col) - box.walk_cols.low
            if not self.kernel.divide_by_valid or (_inside(row, tile.rows) and _inside(col, tile.cols)):
                found.append((box.offset(row, col, 0), self.job.cols))
        return tuple(found)

    def tile(self, tile: TileClass) -> list[Statement]:
        box, job, context, kernel = self.box, self.job, self.context, self.kernel
        schedule, x = context.schedule, context.reads[0]
        sequence = (("round", self.tiles), *tile.sequence)
        windows = self.windows(tile)
        walk = (("y", box.walk_rows.step * box.cols * box.channels), ("x", box.walk_cols.step * box.channels))
        out = (("y", tile.cols.out_len * job.cols), ("x", job.cols))
        step = Step(
            post=_pool_op(kernel, context, len(windows)),
            dst=self.outputs.access(tile.first, sequence, 0, out, ((0, job.cols),)),
            a=self.inputs.access(tile.first, sequence, 0, walk, windows),
        )
        inner = For(var="x", count=tile.cols.out_len, body=(Do(unit="vector", action=step),))
        return [
            *awaits("dma_in", "operand_free", 1),
            *load_box(x, box, tile, self.inputs, sequence, tile.first, job.cores, self.pad),
            *signals("dma_in", "operand_full", 1),
            *awaits("vector", "operand_full", 1),
            *awaits("vector", "output_free", 1),
            For(var="y", count=tile.rows.out_len, body=(inner,)),
            *signals("vector", "operand_free", 1),
            *signals("vector", "output_full", 1),
            *awaits("dma_out", "output_full", 1),
            store_tile(
                context.writes,
                tile,
                job,
                schedule.tile_rows,
                schedule.tile_cols,
                write_pitches(kernel),
                self.outputs,
                sequence,
                tile.first,
            ),
            *signals("dma_out", "output_free", 1),
        ]


def _inside(place: int, tiles: AxisTiles) -> bool:
    return tiles.pad_before <= place < tiles.pad_before + tiles.in_len


def _vector_job(job: Job, input_slots: int, output_slots: int, body: Sequence[Statement]) -> list[Statement]:
    """Tokens around the rounds of a job that only the vector unit computes."""
    inner: list[Statement] = [
        *signals("vector", "operand_free", input_slots),
        *signals("dma_out", "output_free", output_slots),
        For(var="round", count=job.rounds, body=tuple(body)),
        *awaits("dma_in", "operand_free", input_slots),
        *awaits("vector", "output_free", output_slots),
    ]
    return [On(first=job.first_core, last=job.last_core, body=tuple(inner))]


def _pool_op(kernel: Pool, context: Context, count: int) -> PostOp:
    x, y = context.reads[0].tensor, context.writes.tensor
    signed, out = x.dtype == "s8", y.dtype == "s8"
    if kernel.op == "max":
        return PostOp(op="max", signed_in=signed, signed_out=out, low=kernel.low, high=kernel.high)
    scale = kernel.scales[count - 1 if kernel.divide_by_valid else 0]
    return PostOp(
        op="mean",
        signed_in=signed,
        signed_out=out,
        zero_a=x.zero_point,
        zero_y=y.zero_point,
        mantissa_a=scale.mantissa,
        shift=scale.shift,
        low=kernel.low,
        high=kernel.high,
    )


def _flat_op(kernel: Add | Table | Softmax, context: Context) -> PostOp:
    x, y = context.reads[0].tensor, context.writes.tensor
    signed, out = x.dtype == "s8", y.dtype == "s8"
    match kernel:
        case Add():
            return PostOp(
                op="add",
                signed_in=signed,
                signed_out=out,
                zero_a=x.zero_point,
                zero_b=context.reads[1].tensor.zero_point,
                zero_y=y.zero_point,
                mantissa_a=kernel.mantissa_a,
                mantissa_b=kernel.mantissa_b,
                shift=kernel.shift,
                low=kernel.low,
                high=kernel.high,
            )
        case Table():
            return PostOp(op="table", signed_in=signed, signed_out=out)
        case Softmax():
            low, high = LIMITS[y.dtype]
            return PostOp(
                op="softmax",
                signed_in=signed,
                signed_out=out,
                zero_y=y.zero_point,
                mantissa_a=kernel.factor,
                shift=kernel.fraction_bits,
                low=low,
                high=high,
            )


def _flat_nest(kernel: Add | Table | Softmax, context: Context) -> list[Statement]:
    """Element by element: every job takes runs of stored bytes, all operands side by side in one slot."""
    schedule = context.schedule
    op = _flat_op(kernel, context)
    size = {"table": 256, "softmax": 256 * SUM_BYTES}.get(op.op, 0)
    parameters = Access(space="const", at=Affine(base=context.parameters), runs=((0, size),)) if size else None
    found: list[Statement] = []
    for job in schedule.jobs:
        count = job.cols
        inputs = Ring(space="input", slots=schedule.input_slots, bytes=count * len(context.reads))
        outputs = Ring(space="output", slots=schedule.output_slots, bytes=count)
        sequence: Terms = (("round", 1),)
        run: Runs = ((0, count),)
        start = job.strips[0].col - job.first_core * job.unit_cols
        terms = unit_terms(job.cores, job.unit_cols)
        slots = [inputs.access(0, sequence, i * count, (), run) for i in range(len(context.reads))]
        body: list[Statement] = [
            *awaits("dma_in", "operand_free", 1),
            *(
                Do(unit="dma_in", action=Copy(src=x.access(start, terms, run), dst=slot))
                for x, slot in zip(context.reads, slots, strict=True)
            ),
            *signals("dma_in", "operand_full", 1),
            *awaits("vector", "operand_full", 1),
            *awaits("vector", "output_free", 1),
            Do(
                unit="vector",
                action=Step(
                    post=op,
                    dst=outputs.access(0, sequence, 0, (), run),
                    a=slots[0],
                    b=slots[1] if len(slots) > 1 else None,
                    parameters=parameters,
                ),
            ),
            *signals("vector", "operand_free", 1),
            *signals("vector", "output_full", 1),
            *awaits("dma_out", "output_full", 1),
            Do(
                unit="dma_out",
                action=Copy(src=outputs.access(0, sequence, 0, (), run), dst=context.writes.access(start, terms, run)),
            ),
            *signals("dma_out", "output_free", 1),
        ]
        found += _vector_job(job, schedule.input_slots, schedule.output_slots, body)
    return found


def _move_nest(kernel: Move, context: Context) -> list[Statement]:
    """Copies from memory to memory: one stored row of the result at a time, dealt out to the cores."""
    x, y = context.reads[0], context.writes
    indices = kernel.read.evaluate().reshape(-1)
    found: list[Statement] = []
    for job in context.schedule.jobs:
        for unit in range(job.units):
            start = job.strips[0].col + unit * job.unit_cols
            part = indices[start : start + job.cols]
            inside = np.flatnonzero(part >= 0)
            actions: list[Statement] = []
            if inside.size < part.size:
                outside = tuple((int(i), 1) for i in np.flatnonzero(part < 0))
                fill = Set(dst=y.access(start, (), outside), value=x.tensor.zero_point & 0xFF)
                actions.append(Do(unit="dma_out", action=fill))
            if inside.size:
                src = tuple((int(i), 1) for i in part[inside])
                dst = tuple((int(i), 1) for i in inside)
                copy = Copy(src=x.access(0, (), join_runs(src)), dst=y.access(start, (), join_runs(dst)))
                actions.append(Do(unit="dma_out", action=copy))
            core = job.first_core + unit % job.cores
            found.append(On(first=core, last=core + 1, body=tuple(actions)))
    return found


def kernel_nest(kernel: Kernel, context: Context, *, cores: int, first: bool, last: bool) -> Nest:
    """The whole nest of a kernel: wait until every core has finished the kernel before, work, tell the others."""
    peers = Affine(base=1, terms=(("peer", 1),))
    before: list[Statement] = []
    if not first:
        hear = Do(unit="dma_in", action=Hear(channel=BARRIER, peer=peers))
        before = [
            *awaits("dma_in", "kernel_done", 1),
            For(var="peer", count=cores - 1, body=(hear,)),
            *signals("dma_in", "kernel_open", 1),
            *awaits("dma_out", "kernel_open", 1),
        ]
    match kernel:
        case MatMul():
            work = _matmul_nest(kernel, context)
        case Pool():
            work = _pool_nest(kernel, context)
        case Add() | Table() | Softmax():
            work = _flat_nest(kernel, context)
        case Move():
            work = _move_nest(kernel, context)
    after: list[Statement] = []
    if not last:
        tell = Do(unit="dma_out", action=Tell(channel=BARRIER, peer=peers))
        after = [*signals("dma_out", "kernel_done", 1), For(var="peer", count=cores - 1, body=(tell,))]
    return (*before, *work, *after)

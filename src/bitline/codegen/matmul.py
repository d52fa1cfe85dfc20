"""The nest of a MatMul: boxes of inputs, blocks of weights, sums, requantised tiles."""

from __future__ import annotations

from collections.abc import Sequence

from bitline.codegen.context import Context, Ring, Terms, unit_terms
from bitline.codegen.tiles import (
    TileClass,
    awaits,
    job_box,
    load_box,
    signals,
    store_tile,
    tap_runs,
    tile_classes,
    tile_loops,
    write_pitches,
)
from bitline.core.diagnostics import NoMatch
from bitline.ir.boxes import Taps, Walk, read_taps, read_walks
from bitline.ir.kernels import BYTES, ArrayMath, Kernel, MatMul
from bitline.ir.loops import (
    Access,
    Affine,
    Do,
    Fire,
    For,
    Nest,
    On,
    Statement,
    Step,
    Write,
)
from bitline.ir.program import MathOp, PostOp
from bitline.ir.schedule import Job

SUM_BYTES = 4
PARAMETER_BYTES = 12
"""Bias, mantissa and shift of one column, int32 each."""


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


class MatMulJob:
    """Statements of one job of a MatMul."""

    def __init__(
        self, kernel: MatMul, context: Context, number: int, job: Job, taps: Taps, walks: tuple[Walk, Walk]
    ) -> None:
        self.kernel, self.context, self.job, self.taps = kernel, context, job, taps
        schedule = context.schedule
        self.schedule = schedule
        self.images = context.images[number]
        self.box = job_box(kernel, walks, job, context)
        self.low = self.box.low + job.first_core * self.box.unit_step
        self.classes = tile_classes(kernel, walks, context, job)
        self.tiles = sum(c.rows.count * c.cols.count for c in self.classes)
        self.pixels = schedule.tile_rows * schedule.tile_cols
        self.inputs = Ring(space="input", slots=schedule.input_slots, bytes=self.box.bytes)
        self.sums = Ring(space="psum", slots=schedule.psum_slots, bytes=self.pixels * job.cols * SUM_BYTES)
        width = BYTES[context.writes.tensor.dtype]
        self.outputs = Ring(space="output", slots=schedule.output_slots, bytes=self.pixels * job.cols * width)

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
            found += [self.write(piece) for piece in range(len(self.images))]
            found += [*signals("write", "weights_full", 1), *awaits("mvm", "weights_full", 1)]
        found += tile_loops(self.classes, self._tile)
        if held:
            found += signals("mvm", "weights_free", 1)
        return found

    def _sequence(self, tile: TileClass) -> Terms:
        return (("round", self.tiles), *tile.sequence)

    def _array(self, piece: int, tile: TileClass | None) -> Affine:
        """The array of a piece: fixed, or in a ring over pixels (copies), rounds (held) or chunks (cycled)."""
        job = self.job
        place = job.pieces[piece].array
        if job.turns == 1:
            return Affine(base=place)
        if job.weights == "resident":
            if tile is None:
                return Affine(base=place, terms=(("copy", job.chunk),))
            first, terms = tile.pixel(self.schedule.tile_rows, self.schedule.tile_cols)
            ring = job.turns * job.chunk
            steps = tuple((var, step * job.chunk % ring) for var, step in terms)
            return Affine(base=place, terms=steps, phase=first * job.chunk % ring, modulus=ring)
        if job.weights == "held":
            count = len(job.pieces)
            return Affine(base=place, terms=(("round", count),), modulus=job.turns * count)
        assert tile is not None
        chunks, size = job.chunks, job.chunk
        terms = tuple((var, step * chunks * size) for var, step in self._sequence(tile))
        phase = (tile.first * chunks + piece // size) * size
        return Affine(base=place, terms=terms, phase=phase, modulus=job.turns * size)

    def write(self, piece: int, tile: TileClass | None = None) -> Statement:
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
        do = Do(unit="write", action=write)
        return For(var="copy", count=self.job.copies, body=(do,)) if self.job.copies > 1 else do

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
                found += [self.write(piece, tile) for piece in chunk]
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
        runs = tap_runs(box, self.taps, self.low, part.block.row_offset, part.block.rows)
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
            types=("s32",),
            y=y.dtype,
            zero_y=post.zero_point,
            low=post.low,
            high=post.high,
        )
        sequence, job = self._sequence(tile), self.job
        found: list[Statement] = []
        before = 0
        for strip in job.strips:
            cols = strip.cols
            width = BYTES[y.dtype]
            dst = tuple(((p * job.cols + before) * width, cols * width) for p in range(tile.pixels))
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


def matmul_nest(kernel: MatMul, context: Context) -> list[Statement]:
    walks, taps = read_walks(kernel.read), read_taps(kernel.read)
    assert not isinstance(walks, NoMatch), walks
    jobs = context.schedule.jobs
    works = [MatMulJob(kernel, context, i, job, taps, walks) for i, job in enumerate(jobs)]
    found: list[Statement] = []
    if context.opens_segment:
        found += [*signals("mvm", "weights_free", 1), *awaits("write", "weights_free", 1)]
    if context.loads_in_main and any(job.weights == "resident" for job in jobs):
        found += load_resident(works)
        found += [*signals("write", "weights_full", 1), *awaits("mvm", "weights_full", 1)]
    for work in works:
        found += work.statements()
    return found


def load_resident(works: Sequence[MatMulJob]) -> list[Statement]:
    """Write the resident blocks of a kernel."""
    return [
        On(
            first=work.job.first_core,
            last=work.job.last_core,
            body=tuple(work.write(piece) for piece in range(len(work.images))),
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
    return tuple(load_resident([MatMulJob(kernel, context, i, j, taps, walks) for i, j in enumerate(jobs)]))

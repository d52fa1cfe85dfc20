"""Nests of kernels that only the vector unit computes: pools window by window, others element by element."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bitline.codegen.context import Context, Ring, Terms, unit_terms
from bitline.codegen.tiles import (
    Box,
    TileClass,
    awaits,
    job_box,
    load_box,
    signals,
    store_tile,
    tile_classes,
    tile_loops,
    write_pitches,
)
from bitline.core.diagnostics import NoMatch
from bitline.ir.boxes import AxisTiles, read_taps, read_walks
from bitline.ir.kernels import LIMITS, Add, Move, Pool, Softmax, Table
from bitline.ir.loops import (
    Access,
    Affine,
    Copy,
    Do,
    For,
    On,
    Set,
    Statement,
    Step,
    join_runs,
)
from bitline.ir.program import PostOp, Runs
from bitline.ir.schedule import Job

Ints = npt.NDArray[np.int64]

WORD_BYTES = 4


def pool_nest(kernel: Pool, context: Context) -> list[Statement]:
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
        box = job_box(kernel, walks, job, context)
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


def flat_nest(kernel: Add | Table | Softmax, context: Context) -> list[Statement]:
    """Element by element: every job takes runs of stored bytes, all operands side by side in one slot."""
    schedule = context.schedule
    op = _flat_op(kernel, context)
    size = {"table": 256, "softmax": 256 * WORD_BYTES}.get(op.op, 0)
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


def move_nest(kernel: Move, context: Context) -> list[Statement]:
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

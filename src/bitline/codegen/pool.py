"""The nest of a pool: boxes of inputs, window by window."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bitline.codegen.context import Context, Ring
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
from bitline.ir.kernels import BYTES, LIMITS, Pool
from bitline.ir.loops import Do, For, On, Statement, Step
from bitline.ir.program import PostOp, Runs
from bitline.ir.schedule import Job

Ints = npt.NDArray[np.int64]


def pool_nest(kernel: Pool, context: Context) -> list[Statement]:
    walks, taps = read_walks(kernel.read), read_taps(kernel.read)
    assert not isinstance(walks, NoMatch), walks
    schedule, x = context.schedule, context.reads[0]
    channels = kernel.read.shape[3]
    rows, cols = taps.rows.reshape(-1, channels)[:, 0], taps.cols.reshape(-1, channels)[:, 0]
    pad = LIMITS[x.tensor.dtype][0] if kernel.op == "max" else x.tensor.zero_point
    width_y = BYTES[context.writes.tensor.dtype]
    found: list[Statement] = []
    for job in schedule.jobs:
        classes = tile_classes(kernel, walks, context, job)
        tiles = sum(c.rows.count * c.cols.count for c in classes)
        box = job_box(kernel, walks, job, context)
        inputs = Ring(space="input", slots=schedule.input_slots, bytes=box.bytes)
        pixels = schedule.tile_rows * schedule.tile_cols
        outputs = Ring(space="output", slots=schedule.output_slots, bytes=pixels * job.cols * width_y)
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
                found.append((box.offset(row, col, 0), self.job.cols * box.width))
        return tuple(found)

    def tile(self, tile: TileClass) -> list[Statement]:
        box, job, context, kernel = self.box, self.job, self.context, self.kernel
        schedule, x = context.schedule, context.reads[0]
        sequence = (("round", self.tiles), *tile.sequence)
        windows = self.windows(tile)
        walk = (("y", box.walk_rows.step * box.cols * box.channels), ("x", box.walk_cols.step * box.channels))
        size = job.cols * BYTES[context.writes.tensor.dtype]
        out = (("y", tile.cols.out_len * size), ("x", size))
        step = Step(
            post=_pool_op(kernel, context, len(windows)),
            dst=self.outputs.access(tile.first, sequence, 0, out, ((0, size),)),
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
    if kernel.op == "max":
        return PostOp(op="max", types=(x.dtype,), y=y.dtype, low=kernel.low, high=kernel.high)
    scale = kernel.scales[count - 1 if kernel.divide_by_valid else 0]
    return PostOp(
        op="mean",
        types=(x.dtype,),
        y=y.dtype,
        zeros=(x.zero_point,),
        mantissas=(scale.mantissa,),
        zero_y=y.zero_point,
        shift=scale.shift,
        low=kernel.low,
        high=kernel.high,
    )

"""Boxes of stored pixels that a tile of output pixels reads: how a read map walks the rows and columns of a tensor."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from bitline.core.diagnostics import NoMatch
from bitline.ir.index_map import IndexMap
from bitline.ir.kernels import MatMul, Pool
from bitline.ir.schedule import Job

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Walk:
    """Along one stored axis: output o reads coordinates step*o + low .. step*o + high."""

    step: int
    low: int
    high: int

    def length(self, outputs: int) -> int:
        """Stored positions that `outputs` neighbouring outputs read, padding included."""
        return self.step * (outputs - 1) + self.high - self.low + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Taps:
    """Stored (row, column, channel) of every tap of output (0, 0), in the order of the read map."""

    rows: Ints
    cols: Ints
    channels: Ints


def read_taps(read: IndexMap) -> Taps:
    """Coordinates of all taps: the dimensions of `read` after the first two."""
    digits = range(2, len(read.digits))
    rows, cols, channels = (read.coordinate_values(axis, digits).reshape(-1) for axis in range(3))
    return Taps(rows=rows, cols=cols, channels=channels)


def read_walks(read: IndexMap) -> tuple[Walk, Walk] | NoMatch:
    """(rows, columns): output row o moves along stored rows only, output column along stored columns only."""
    if len(read.dims[0]) != 1 or len(read.dims[1]) != 1:
        return NoMatch(why="an output axis is made of several parts")
    steps = [[c.coefficients[digit] for c in read.coordinates] for digit in (0, 1)]
    crossed = steps[0][1] or steps[0][2] or steps[1][0] or steps[1][2]
    if crossed or min(steps[0][0], steps[1][1]) < 0:
        return NoMatch(why="an output axis moves across several stored axes")
    taps = read_taps(read)
    rows = Walk(step=steps[0][0], low=int(taps.rows.min()), high=int(taps.rows.max()))
    cols = Walk(step=steps[1][1], low=int(taps.cols.min()), high=int(taps.cols.max()))
    return rows, cols


@dataclass(frozen=True, slots=True, kw_only=True)
class AxisTiles:
    """`count` neighbouring tiles that look alike: outputs, stored positions inside the tensor, padding before them.

    Tile i of them starts at output out_start + i * tile and reads stored positions in_start + i * in_step onwards.
    """

    first: int
    count: int
    out_start: int
    out_len: int
    in_start: int
    in_step: int
    in_len: int
    pad_before: int
    box_len: int


def axis_tiles(outputs: range, tile: int, walk: Walk, extent: int) -> tuple[AxisTiles, ...]:
    """All tiles of neighbouring outputs of one axis, alike ones together; `extent` is the stored size."""
    classes: list[AxisTiles] = []
    for index, start in enumerate(range(outputs.start, outputs.stop, tile)):
        length = min(tile, outputs.stop - start)
        low = walk.step * start + walk.low
        box = walk.length(length)
        inside_low, inside_high = max(low, 0), min(low + box, extent)
        one = AxisTiles(
            first=index,
            count=1,
            out_start=start,
            out_len=length,
            in_start=min(inside_low, extent),
            in_step=walk.step * tile,
            in_len=max(0, inside_high - inside_low),
            pad_before=min(inside_low - low, box),
            box_len=box,
        )
        last = classes[-1] if classes else None
        alike = last is not None and (last.out_len, last.in_len, last.pad_before) == (
            length,
            one.in_len,
            one.pad_before,
        )
        if last is not None and alike and one.in_start == last.in_start + last.count * last.in_step:
            classes[-1] = replace(last, count=last.count + 1)
        else:
            classes.append(one)
    return tuple(classes)


def unit_channels(kernel: MatMul | Pool, job: Job) -> tuple[int, int, int]:
    """(first stored channel, channels, channels on per unit) that a unit of the job reads."""
    channels = read_taps(kernel.read).channels
    if isinstance(kernel, Pool):
        return job.strips[0].col, job.cols, job.unit_cols
    if kernel.matrix.groups == 1:
        return int(channels.min()), int(channels.max() - channels.min()) + 1, 0
    rows = [(p.block.row_offset, p.block.row_offset + p.block.rows) for p in job.pieces]
    part = channels[min(r[0] for r in rows) : max(r[1] for r in rows)]
    low = int(part.min())
    per_group = kernel.matrix.rows * (job.unit_cols // kernel.matrix.cols)
    start = min(r[0] for r in rows)
    step = int(channels[start + per_group] - channels[start]) if job.units > 1 else 0
    return low, int(part.max()) - low + 1, step

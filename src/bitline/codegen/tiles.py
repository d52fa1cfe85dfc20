"""Tiles of output pixels and the boxes of stored pixels that they read: what the nests of all kernels share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from bitline.codegen.context import Context, Placed, Ring, Terms, unit_terms
from bitline.ir.boxes import AxisTiles, Taps, Walk, axis_tiles, unit_channels
from bitline.ir.kernels import BYTES, MatMul, Pool
from bitline.ir.loops import (
    Await,
    Copy,
    Do,
    For,
    Set,
    Signal,
    Statement,
)
from bitline.ir.program import Runs, Unit
from bitline.ir.schedule import Job, Pixels


def signals(unit: Unit, token: str, count: int) -> list[Statement]:
    """`count` signals."""
    return [Do(unit=unit, action=Signal(token=token))] * count


def awaits(unit: Unit, token: str, count: int) -> list[Statement]:
    """`count` waits."""
    return [Do(unit=unit, action=Await(token=token))] * count


@dataclass(frozen=True, slots=True, kw_only=True)
class TileClass:
    """Tiles of `part` of a picture that look alike, as a place in the loops `row` and `col`. `tiles_before` and
    `pixels_before`: those of the parts before."""

    rows: AxisTiles
    cols: AxisTiles
    across: int
    part: Pixels
    tiles_before: int
    pixels_before: int

    @property
    def first(self) -> int:
        """Sequence number of the first of them in its job and round."""
        return self.tiles_before + self.rows.first * self.across + self.cols.first

    def pixel(self, tile_rows: int, tile_cols: int) -> tuple[int, Terms]:
        """(first, terms): number of the pixel (`y`, `x`) of a tile among all that the job computes, in that order."""
        above, left = self.rows.out_start - self.part.first_row, self.cols.out_start - self.part.first_col
        first = self.pixels_before + above * self.part.cols + left * self.rows.out_len
        lines = (("row", tile_rows * self.part.cols), ("col", tile_cols * self.rows.out_len))
        return first, (*lines, ("y", self.cols.out_len), ("x", 1))

    @property
    def sequence(self) -> Terms:
        return (("row", self.across), ("col", 1))

    @property
    def pixels(self) -> int:
        return self.rows.out_len * self.cols.out_len


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """The input box of a tile: rows x cols stored pixels of `channels` bytes, starting at byte `low` of a pixel.

    A channel has `width` bytes; a unit starts `unit_step` bytes after the one before.
    """

    walk_rows: Walk
    walk_cols: Walk
    rows: int
    cols: int
    channels: int
    low: int
    unit_step: int
    width: int

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
    channels *= box.width
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
    size = BYTES[y.tensor.dtype]
    base, pitch_row, pitch_col = (pitch * size for pitch in pitches)
    dst = tuple(
        (r * pitch_row + c * pitch_col, job.cols * size)
        for r in range(tile.rows.out_len)
        for c in range(tile.cols.out_len)
    )
    terms = (
        ("row", tile_rows * pitch_row),
        ("col", tile_cols * pitch_col),
        *unit_terms(job.cores, job.unit_cols * size),
    )
    start = base + tile.rows.out_start * pitch_row + tile.cols.out_start * pitch_col
    start += (job.strips[0].col - job.first_core * job.unit_cols) * size
    src = ring.access(first, sequence, 0, (), ((0, tile.pixels * job.cols * size),))
    return Do(unit="dma_out", action=Copy(src=src, dst=y.access(start, terms, dst)))


def write_pitches(kernel: MatMul | Pool) -> tuple[int, int, int]:
    """(offset, elements per output row, per output column) of the write map; columns lie side by side."""
    strides = kernel.write.digit_strides()
    assert len(strides) == 3, kernel.write
    assert strides[2] in (0, 1), kernel.write
    base = sum(c.offset * s for c, s in zip(kernel.write.coordinates, kernel.write.flat_strides(), strict=True))
    return base, strides[0], strides[1]


def tile_classes(kernel: MatMul | Pool, walks: tuple[Walk, Walk], context: Context, job: Job) -> list[TileClass]:
    """All tiles of a job, alike ones together."""
    schedule = context.schedule
    found: list[TileClass] = []
    tiles = pixels = 0
    for part in job.parts(*kernel.read.shape[:2]):
        down, along = range(part.first_row, part.last_row), range(part.first_col, part.last_col)
        rows = axis_tiles(down, schedule.tile_rows, walks[0], kernel.read.source[0])
        cols = axis_tiles(along, schedule.tile_cols, walks[1], kernel.read.source[1])
        across = sum(c.count for c in cols)
        found += [
            TileClass(rows=r, cols=c, across=across, part=part, tiles_before=tiles, pixels_before=pixels)
            for r in rows
            for c in cols
        ]
        tiles += across * sum(r.count for r in rows)
        pixels += part.count
    return found


def tile_loops(classes: Sequence[TileClass], tile: Callable[[TileClass], Sequence[Statement]]) -> list[Statement]:
    """Row after row of tiles, so that tiles run in the order of their sequence numbers."""
    found: list[Statement] = []
    for part, rows in dict.fromkeys((c.part, c.rows) for c in classes):
        alike = [c for c in classes if (c.part, c.rows) == (part, rows)]
        line = [For(var="col", count=c.cols.count, body=tuple(tile(c))) for c in alike]
        found.append(For(var="row", count=rows.count, body=tuple(line)))
    return found


def job_box(kernel: MatMul | Pool, walks: tuple[Walk, Walk], job: Job, context: Context) -> Box:
    """The box of the tiles of a job; `low` is such that unit terms count from core 0."""
    low, count, step = unit_channels(kernel, job)
    size = BYTES[context.reads[0].tensor.dtype]
    return Box(
        walk_rows=walks[0],
        walk_cols=walks[1],
        rows=walks[0].length(context.schedule.tile_rows),
        cols=walks[1].length(context.schedule.tile_cols),
        channels=count * size,
        low=(low - job.first_core * step) * size,
        unit_step=step * size,
        width=size,
    )


def tap_runs(box: Box, taps: Taps, low: int, first: int, count: int) -> Runs:
    """Where rows first..first+count-1 of the im2col column lie in the box of output (0, 0)."""
    part = slice(first, first + count)
    rows, cols = taps.rows[part] - box.walk_rows.low, taps.cols[part] - box.walk_cols.low
    offsets = (rows * box.cols + cols) * box.channels + taps.channels[part] - low
    breaks = np.flatnonzero(np.diff(offsets) != 1) + 1
    starts = [0, *breaks.tolist()]
    ends = [*breaks.tolist(), count]
    return tuple((int(offsets[s]), int(e - s)) for s, e in zip(starts, ends, strict=True))

"""Packing the strips of one segment into the arrays of all cores; `None` means that they do not fit together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bitline.pack.rectangles import pack
from bitline.place.cuts import ColumnStrip


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedBlock:
    """Array and corner of one block on its core."""

    array: int
    w_row_start: int
    w_col_start: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CorePlacement:
    """`core_of[k][s]` and `places[k][s][b]` for strip s of kernel k and its block b."""

    core_of: tuple[tuple[int, ...], ...]
    places: tuple[tuple[tuple[PlacedBlock, ...], ...], ...]


def _deal(kernels: Sequence[Sequence[ColumnStrip]], cores: int) -> tuple[tuple[int, ...], ...]:
    """Neighbouring strips of a kernel to neighbouring cores in equal runs, starting with the least loaded core."""
    load = [0] * cores
    dealt: list[tuple[int, ...]] = []
    for strips in kernels:
        used = min(cores, len(strips))
        share = -(-len(strips) // used)
        order = sorted(sorted(range(cores), key=lambda core: (load[core], core))[: -(-len(strips) // share)])
        chosen = tuple(order[i // share] for i in range(len(strips)))
        for strip, core in zip(strips, chosen, strict=True):
            load[core] += sum(block.rows * block.cols for block in strip.blocks)
        dealt.append(chosen)
    return tuple(dealt)


def pack_segment(
    kernels: Sequence[Sequence[ColumnStrip]], *, cores: int, arrays: int, rows: int, cols: int
) -> CorePlacement | None:
    """Place all strips of all kernels of a segment at once, a strip on one core."""
    area = sum(block.rows * block.cols for strips in kernels for strip in strips for block in strip.blocks)
    if area > cores * arrays * rows * cols:
        return None
    core_of = _deal(kernels, cores)
    found: dict[tuple[int, int, int], PlacedBlock] = {}
    for core in range(cores):
        keys = [
            (k, s, b)
            for k, strips in enumerate(kernels)
            for s, strip in enumerate(strips)
            if core_of[k][s] == core
            for b in range(len(strip.blocks))
        ]
        pieces = [(kernels[k][s].blocks[b].rows, kernels[k][s].blocks[b].cols) for k, s, b in keys]
        if not pieces:
            continue
        packing = pack(pieces, rows=rows, cols=cols, max_bins=arrays)
        if packing is None:
            return None
        for key, array, row, col in zip(keys, packing.bin_of, packing.row_start, packing.col_start, strict=True):
            found[key] = PlacedBlock(array=array, w_row_start=row, w_col_start=col)
    return CorePlacement(
        core_of=core_of,
        places=tuple(
            tuple(tuple(found[k, s, b] for b in range(len(strip.blocks))) for s, strip in enumerate(strips))
            for k, strips in enumerate(kernels)
        ),
    )

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


def _area(strip: ColumnStrip) -> int:
    return sum(block.rows * block.cols for block in strip.blocks)


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
            load[core] += _area(strip)
        dealt.append(chosen)
    return tuple(dealt)


def _deal_stretches(
    kernels: Sequence[Sequence[ColumnStrip]], fires: Sequence[int], cores: int, room: int
) -> tuple[tuple[int, ...], ...] | None:
    """Strips in the order of the network, a stretch of it to every core, so that the most that a core fires is small:
    a strip of kernel k fires `fires[k]` times. None where no such stretches stay within `room` cells of a core."""
    items = [(k, fires[k], _area(strip)) for k, strips in enumerate(kernels) for strip in strips]

    def stretches(most: int) -> list[int] | None:
        """The core of every item, where a core takes one more as long as it fires at most `most` times."""
        found: list[int] = []
        core = load = area = 0
        for _, times, cells in items:
            if found and found[-1] == core and (load + times > most or area + cells > room):
                core, load, area = core + 1, 0, 0
            found.append(core)
            load, area = load + times, area + cells
        return found if core < cores else None

    low, high = 0, sum(times for _, times, _ in items)
    if stretches(high) is None:
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if stretches(middle) is not None else (middle + 1, high)
    dealt = stretches(low)
    assert dealt is not None, "found by bisection"
    return tuple(
        tuple(core for core, item in zip(dealt, items, strict=True) if item[0] == k) for k in range(len(kernels))
    )


def pack_segment(
    kernels: Sequence[Sequence[ColumnStrip]],
    *,
    cores: int,
    arrays: int,
    rows: int,
    cols: int,
    fires: Sequence[int] | None = None,
) -> CorePlacement | None:
    """Place all strips of all kernels of a segment at once, a strip on one core. `fires`: how often a strip of every
    kernel fires in one inference, where the kernels are to be a pipeline."""
    area = sum(_area(strip) for strips in kernels for strip in strips)
    if area > cores * arrays * rows * cols:
        return None
    if fires is not None:
        in_order = _deal_stretches(kernels, fires, cores, arrays * rows * cols)
        found = _pack_dealt(kernels, in_order, arrays, rows, cols) if in_order is not None else None
        if found is not None:
            return found
    return _pack_dealt(kernels, _deal(kernels, cores), arrays, rows, cols)


def _pack_dealt(
    kernels: Sequence[Sequence[ColumnStrip]], core_of: tuple[tuple[int, ...], ...], arrays: int, rows: int, cols: int
) -> CorePlacement | None:
    """Place the strips of every core in its arrays."""
    found: dict[tuple[int, int, int], PlacedBlock] = {}
    for core in sorted({core for dealt in core_of for core in dealt}):
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

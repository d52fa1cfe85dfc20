"""Matrices cut wherever an array has room: the fewest arrays, and of those as few and as cheap cuts as are found.

Parts of a block-diagonal matrix that hold no weight are left out, and others are trimmed to the groups in them.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass, replace
from itertools import count

from bitline.core.interrupts import noticed
from bitline.ir.placement import ArrayShape, Occupied, PlacedMatrix
from bitline.pack.cutting import Cutting, Whole, cut_into
from bitline.pack.rectangles import pack
from bitline.pack.shapes import Spot
from bitline.place.arrays import Layout, bin_of, certificate, lies, spots_of
from bitline.place.blocks import CutBlock, CutMatrices
from bitline.place.mapping import blocks_of
from bitline.place.options import PlaceOptions
from bitline.place.prices import col_cut_pj, row_cut_pj
from bitline.target.schema import Chip

FREE_STEPS, LEAST_STEPS = 4_000, 500
MANY = 400
"""Blocks of the full cut above which there are fewer steps, for each takes longer."""
PRICE_STEPS = 100
"""Prices are whole numbers: so many steps for a picojoule."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bundle:
    """Groups that share a block, as one matrix: copy `copy` of matrix number `matrix`, from group `first` on."""

    matrix: int
    copy: int
    first: int
    whole: Whole


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """Whole matrices whose blocks stay where they lay, and what else lies there."""

    blocks: tuple[tuple[CutBlock, Occupied], ...] = ()
    occupied: tuple[Occupied, ...] = ()


NOTHING_KEPT = Kept()


def cut_freely(
    matrices: Sequence[PlacedMatrix],
    shape: ArrayShape,
    options: PlaceOptions,
    chip: Chip,
    kept: Kept = NOTHING_KEPT,
) -> tuple[CutMatrices, Layout]:
    """All copies of all matrices but those that are kept, cut and placed at once. Rows are cut at edges of row groups
    where a sum may clip.

    Ctrl-C ends the search as the time limit does: the answer is the cheapest cutting into the number of arrays that the
    search had come to, or, while that did not suffice, the first into more. A second Ctrl-C leaves no answer.
    """
    bundles = _bundles(matrices, shape, {(block.matrix, block.copy) for block, _ in kept.blocks})
    there = [lies(place) for place in (*(place for _, place in kept.blocks), *kept.occupied)]
    with noticed() as ctrl_c:
        cutting = cut_into(
            [bundle.whole for bundle in bundles],
            bin_of(shape),
            fixed=there,
            row_price=max(1, round(row_cut_pj(chip) * PRICE_STEPS)),
            col_price=max(1, round(col_cut_pj(chip) * PRICE_STEPS)),
            steps=max(LEAST_STEPS, FREE_STEPS * MANY // max(MANY, sum(blocks_of(m, shape) for m in matrices))),
            seconds=options.time_limit,
            stop=lambda: ctrl_c.came,
            seed=options.seed,
        )
        assert cutting is not None, "the number of arrays is unlimited"
        blocks, spots = _placed(bundles, cutting, matrices)
        arrays = len({spot.bin for spot in (*spots, *(spot for _, spot in there))})
        if any(m.math.bundle > 1 for m in matrices) and bin_of(shape).plain and not there:  # trimmed parts: fewer?
            again = pack([(b.rows, b.cols) for b in blocks], rows=shape.rows, cols=shape.cols, max_bins=arrays - 1)
            if again is not None:
                spots, arrays = list(spots_of(again)), again.bins
    spots = _numbered(spots, {spot.bin for _, spot in there})
    claim = certificate(arrays, *bound_of_cells([*blocks, *(block for block, _ in kept.blocks)], shape, kept.occupied))
    all_blocks = [*zip(blocks, spots, strict=True), *((block, lies(place)[1]) for block, place in kept.blocks)]
    all_blocks.sort(key=lambda each: (each[0].matrix, each[0].copy))
    row_cuts, col_cuts = _cuts_of(kept, matrices)
    cut = CutMatrices(
        blocks=tuple(block for block, _ in all_blocks),
        row_cuts=cutting.row_cuts + row_cuts,
        col_cuts=cutting.col_cuts + col_cuts,
    )
    return cut, Layout(spots=tuple(spot for _, spot in all_blocks), certificate=claim, interrupted=ctrl_c.came)


def _numbered(spots: Sequence[Spot], filled: Set[int]) -> list[Spot]:
    """The same without a gap, where parts without weights left an array empty; those `filled` keep their numbers."""
    number = {n: n for n in filled}
    empty = (n for n in count() if n not in filled)
    for spot in spots:
        if spot.bin not in number:
            number[spot.bin] = next(empty)
    return [replace(spot, bin=number[spot.bin]) for spot in spots]


def _cuts_of(kept: Kept, matrices: Sequence[PlacedMatrix]) -> tuple[int, int]:
    """(Cuts through rows, cuts through columns) of what is kept."""
    row_cuts = sum(
        block.row_offset % (matrices[block.matrix].math.bundle * matrices[block.matrix].matrix.rows) > 0
        for block, _ in kept.blocks
    )
    bundles = sum(
        -(-matrices[number].matrix.groups // matrices[number].math.bundle)
        for number, _ in {(block.matrix, block.copy) for block, _ in kept.blocks}
    )
    return row_cuts, len(kept.blocks) - row_cuts - bundles


def _placed(
    bundles: Sequence[_Bundle], cutting: Cutting, matrices: Sequence[PlacedMatrix]
) -> tuple[list[CutBlock], list[Spot]]:
    """Parts with weights in them, and where they lie."""
    blocks: list[CutBlock] = []
    spots: list[Spot] = []
    for bundle, parts in zip(bundles, cutting.parts, strict=True):
        matrix = matrices[bundle.matrix]
        for part in parts:
            window = _trimmed(matrix, part.row_offset, part.col_offset, part.rows, part.cols)
            if window is None:
                continue
            top, left, bottom, right = window
            rows, cols = bundle.first * matrix.matrix.rows, bundle.first * matrix.matrix.cols
            blocks.append(
                CutBlock(
                    matrix=bundle.matrix,
                    copy=bundle.copy,
                    row_offset=rows + top,
                    col_offset=cols + left,
                    rows=bottom - top,
                    cols=right - left,
                    bias_rows=bundle.whole.bands if part.row_offset == 0 else 0,
                    load=matrix.fires,
                )
            )
            down, across = top - part.row_offset, left - part.col_offset
            spot = part.spot
            spots.append(Spot(bin=spot.bin, row=spot.row + down, col=spot.col + across, band=spot.band))
    return blocks, spots


def bound_of_cells(blocks: Sequence[CutBlock], shape: ArrayShape, occupied: Sequence[Occupied] = ()) -> tuple[int, str]:
    """What holds however the same weights are cut: cells, bias rows and arrays that are in use anyway."""
    bin = bin_of(shape)
    area = -(-sum(b.rows * b.cols for b in (*blocks, *occupied)) // bin.area)
    bias = sum(b.cols * b.bias_rows for b in (*blocks, *occupied))
    bands = -(-bias // (shape.bias_rows * shape.cols)) if bias and shape.bias_rows else 0
    held = len({o.array for o in occupied})
    return max([(area, "area"), (bands, "bias"), (held, "occupied")], key=lambda bound: bound[0])


def _trimmed(matrix: PlacedMatrix, top: int, left: int, rows: int, cols: int) -> tuple[int, int, int, int] | None:
    """(row, col, row end, col end) of the part with weights in it, or None; in rows and columns of its bundle."""
    height, width = matrix.matrix.rows, matrix.matrix.cols
    bottom, right = top + rows, left + cols
    first = max(top // height, left // width)
    last = min((bottom - 1) // height, (right - 1) // width)
    if first > last:
        return None
    step = 1 if matrix.math.lossless else matrix.math.group_rows  # of sums that may clip, absent rows are a part
    return (
        max(top, first * height // step * step),
        max(left, first * width),
        min(bottom, -(-(last + 1) * height // step) * step),
        min(right, (last + 1) * width),
    )


def _bundles(matrices: Sequence[PlacedMatrix], shape: ArrayShape, kept: Set[tuple[int, int]]) -> list[_Bundle]:
    """Of all copies but those that are kept, by matrix and copy."""
    found: list[_Bundle] = []
    for number, m in enumerate(matrices):
        for copy in range(m.copies):
            if (number, copy) in kept:
                continue
            for first in range(0, m.matrix.groups, m.math.bundle):
                count = min(m.math.bundle, m.matrix.groups - first)
                rows, bands = count * m.matrix.rows, m.bias_rows
                step = 1 if m.math.lossless else m.math.group_rows
                whole = Whole(
                    rows=rows,
                    cols=count * m.matrix.cols,
                    row_step=rows if bands and count > 1 else step,  # every column has its bias once
                    bands=bands,
                    load=m.fires,
                )
                found.append(_Bundle(matrix=number, copy=copy, first=first, whole=whole))
    return found


def all_weights(matrix: PlacedMatrix, blocks: Sequence[CutBlock]) -> bool:
    """Whether blocks hold as many weights as a copy of the matrix has, each block within a bundle of groups."""
    rows, cols, groups, bundle = matrix.matrix.rows, matrix.matrix.cols, matrix.matrix.groups, matrix.math.bundle
    held = 0
    for block in blocks:
        top, bottom, left, right = _extent(block)
        first = top // (bundle * rows) * bundle
        last = min(groups, first + bundle)
        if not (first * rows <= top < bottom <= last * rows and first * cols <= left < right <= last * cols):
            return False
        for group in range(top // rows, -(-bottom // rows)):
            high = min(bottom, (group + 1) * rows) - max(top, group * rows)
            held += high * max(0, min(right, (group + 1) * cols) - max(left, group * cols))
    return held == groups * rows * cols


def _extent(block: CutBlock) -> tuple[int, int, int, int]:
    return block.row_offset, block.row_offset + block.rows, block.col_offset, block.col_offset + block.cols

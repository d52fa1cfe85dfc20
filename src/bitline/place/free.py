"""Matrices cut wherever an array has room: the fewest arrays, and of those as few and as cheap cuts as are found.

Parts of a block-diagonal matrix that hold no weight are left out, and others are trimmed to the groups in them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bitline.core.interrupts import noticed
from bitline.ir.placement import ArrayShape, PlacedMatrix
from bitline.pack.cutting import Cutting, Whole, cut_into
from bitline.pack.rectangles import pack
from bitline.pack.shapes import Spot
from bitline.place.arrays import Layout, bin_of, certificate, spots_of
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


def cut_freely(
    matrices: Sequence[PlacedMatrix], shape: ArrayShape, options: PlaceOptions, chip: Chip
) -> tuple[CutMatrices, Layout]:
    """All copies of all matrices, cut and placed at once. Rows are cut at edges of row groups where a sum may clip.

    Ctrl-C ends the search as the time limit does: the answer is the cheapest cutting into the number of arrays that the
    search had come to, or, while that did not suffice, the first into more. A second Ctrl-C leaves no answer.
    """
    bundles = _bundles(matrices, shape)
    with noticed() as ctrl_c:
        cutting = cut_into(
            [bundle.whole for bundle in bundles],
            bin_of(shape),
            row_price=max(1, round(row_cut_pj(chip) * PRICE_STEPS)),
            col_price=max(1, round(col_cut_pj(chip) * PRICE_STEPS)),
            steps=max(LEAST_STEPS, FREE_STEPS * MANY // max(MANY, sum(blocks_of(m, shape) for m in matrices))),
            seconds=options.time_limit,
            stop=lambda: ctrl_c.came,
            seed=options.seed,
        )
        assert cutting is not None, "the number of arrays is unlimited"
        blocks, spots = _placed(bundles, cutting, matrices)
        arrays = len({spot.bin for spot in spots})
        if any(m.math.bundle > 1 for m in matrices) and bin_of(shape).plain:  # trimmed parts may take fewer
            again = pack([(b.rows, b.cols) for b in blocks], rows=shape.rows, cols=shape.cols, max_bins=arrays - 1)
            if again is not None:
                spots, arrays = list(spots_of(again)), again.bins
    cut = CutMatrices(blocks=tuple(blocks), row_cuts=cutting.row_cuts, col_cuts=cutting.col_cuts)
    claim = certificate(arrays, *_bound(blocks, shape))
    return cut, Layout(spots=tuple(spots), certificate=claim, interrupted=ctrl_c.came)


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


def _bound(blocks: Sequence[CutBlock], shape: ArrayShape) -> tuple[int, str]:
    """What holds however the same weights are cut: cells and bias rows."""
    bin = bin_of(shape)
    area = -(-sum(b.rows * b.cols for b in blocks) // bin.area)
    bias = sum(b.cols * b.bias_rows for b in blocks)
    bands = -(-bias // (shape.bias_rows * shape.cols)) if bias else 0
    return (bands, "bias") if bands > area else (area, "area")


def _trimmed(matrix: PlacedMatrix, top: int, left: int, rows: int, cols: int) -> tuple[int, int, int, int] | None:
    """(row, col, row end, col end) of the part with weights in it, or None; in rows and columns of its bundle."""
    height, width = matrix.matrix.rows, matrix.matrix.cols
    bottom, right = top + rows, left + cols
    first = max(top // height, left // width)
    last = min((bottom - 1) // height, (right - 1) // width)
    if first > last:
        return None
    return (
        max(top, first * height),
        max(left, first * width),
        min(bottom, (last + 1) * height),
        min(right, (last + 1) * width),
    )


def _bundles(matrices: Sequence[PlacedMatrix], shape: ArrayShape) -> list[_Bundle]:
    found: list[_Bundle] = []
    for number, m in enumerate(matrices):
        for copy in range(m.copies):
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

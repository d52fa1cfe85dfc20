"""Blocks into arrays: as few as the search finds, or spread over a number of them; with the certificate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bitline.core.progress import SILENT, Progress
from bitline.ir.placement import ArrayShape, Certificate, Occupied, PlacedMatrix, Proof
from bitline.pack.bounds import lower_bound
from bitline.pack.layout import pack_layout
from bitline.pack.layout_bounds import layout_bound
from bitline.pack.rectangles import pack
from bitline.pack.shapes import Bin, Piece, Spot
from bitline.place.blocks import CutBlock, cut_all
from bitline.place.options import PlaceOptions

LAYOUT_STEPS = 2_000
"""Of the search where arrays are no plain rectangles."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Where blocks lie, and that no fewer arrays will do, as far as it is known."""

    spots: tuple[Spot, ...]
    certificate: Certificate


def bin_of(shape: ArrayShape) -> Bin:
    """An array as the packer sees it."""
    return Bin(rows=shape.rows, cols=shape.cols, blocked=shape.blocked, edges=shape.edges, bands=shape.bias_rows)


def open_cells(shape: ArrayShape) -> int:
    """Cells of an array that may be used."""
    return bin_of(shape).area


def pieces_of(blocks: Sequence[CutBlock]) -> list[Piece]:
    """Blocks as the packer sees them."""
    return [Piece(rows=b.rows, cols=b.cols, bands=b.bias_rows, load=b.load) for b in blocks]


def fits(matrices: Sequence[PlacedMatrix], shape: ArrayShape, arrays: int) -> bool:
    """Whether the full cut of all matrices is seen to fit into so many arrays, without a search."""
    pieces, bin = pieces_of(cut_all(matrices, shape).blocks), bin_of(shape)
    if bin.plain:
        sizes = [(p.rows, p.cols) for p in pieces]
        return pack(sizes, rows=shape.rows, cols=shape.cols, max_bins=arrays) is not None
    return pack_layout(pieces, bin, max_bins=arrays) is not None


def fewest_arrays(
    blocks: Sequence[CutBlock],
    shape: ArrayShape,
    options: PlaceOptions,
    fixed: Mapping[int, Occupied],
    occupied: Sequence[Occupied],
    progress: Progress = SILENT,
) -> Layout:
    """As few arrays as the search finds. `fixed` blocks, by number, and all that is `occupied` lie where they lie."""
    bin, pieces = bin_of(shape), pieces_of(blocks)
    if bin.plain and not fixed and not occupied:
        return _plain(pieces, shape, options, progress)
    there = [_lies(place) for place in (*fixed.values(), *occupied)]
    free = [number for number in range(len(blocks)) if number not in fixed]
    found = pack_layout([pieces[n] for n in free], bin, fixed=there, steps=LAYOUT_STEPS, seed=options.seed)
    assert found is not None, "blocks were cut to fit"
    spots = dict(zip(free, found, strict=True)) | {n: _lies(place)[1] for n, place in fixed.items()}
    arrays = {spot.bin for spot in spots.values()} | {o.array for o in occupied}
    bound = layout_bound([*(pieces[n] for n in free), *(piece for piece, _ in there)], bin)
    return Layout(spots=tuple(spots[n] for n in range(len(blocks))), certificate=certificate(len(arrays), *bound))


def _lies(place: Occupied) -> tuple[Piece, Spot]:
    piece = Piece(rows=place.rows, cols=place.cols, bands=place.bias_rows)
    return piece, Spot(bin=place.array, row=place.w_row_start, col=place.w_col_start, band=place.bias_start)


def _plain(pieces: Sequence[Piece], shape: ArrayShape, options: PlaceOptions, progress: Progress) -> Layout:
    sizes = [(p.rows, p.cols) for p in pieces]
    packing = pack(sizes, rows=shape.rows, cols=shape.cols)
    assert packing is not None, "the number of arrays is unlimited"
    spots = tuple(
        Spot(bin=b, row=r, col=c) for b, r, c in zip(packing.bin_of, packing.row_start, packing.col_start, strict=True)
    )
    return Layout(spots=spots, certificate=certificate(packing.bins, *lower_bound(sizes, shape.rows, shape.cols)))


def certificate(arrays: int, bound: int, which: str, *, solver: bool = False) -> Certificate:
    """What is known of how few arrays would do."""
    proof: Proof = "none" if bound < arrays else "solver" if solver else "bound"
    return Certificate(arrays_used=arrays, lower_bound=bound, bound=which, proof=proof)

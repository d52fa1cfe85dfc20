"""Matrices + arrays + options -> `Placement`, with the certificate of how many arrays any placement needs.

Blocks are cut (`place.blocks`, or freely in `pack.cutting`), packed into as few arrays as the search finds, and, where
the interval counts, spread so that no array fires much more than others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from bitline.ir.placement import ArrayShape, Certificate, Occupied, PlacedBlock, PlacedMatrix, Placement, Proof
from bitline.pack.bounds import lower_bound
from bitline.pack.layout import pack_layout
from bitline.pack.layout_bounds import layout_bound
from bitline.pack.rectangles import pack
from bitline.pack.shapes import Bin, Piece, Spot
from bitline.place.blocks import CutBlock
from bitline.place.options import PlaceOptions

LAYOUT_STEPS = 2_000
"""Of the search where arrays are no plain rectangles."""

Watch = Callable[[int, int], None]
"""Told the best number of arrays so far, and the bound."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Where blocks lie, and that no fewer arrays will do, as far as it is known."""

    spots: tuple[Spot, ...]
    certificate: Certificate


def bin_of(shape: ArrayShape) -> Bin:
    """An array as the packer sees it."""
    return Bin(rows=shape.rows, cols=shape.cols, blocked=shape.blocked, edges=shape.edges, bands=shape.bias_rows)


def pieces_of(blocks: Sequence[CutBlock]) -> list[Piece]:
    """Blocks as the packer sees them."""
    return [Piece(rows=b.rows, cols=b.cols, bands=b.bias_rows, load=b.load) for b in blocks]


def fewest_arrays(
    blocks: Sequence[CutBlock], shape: ArrayShape, options: PlaceOptions, occupied: Sequence[Occupied] = ()
) -> Layout:
    """As few arrays as the search finds, beside what lies there already."""
    bin, pieces = bin_of(shape), pieces_of(blocks)
    if bin.plain and not occupied:
        sizes = [(p.rows, p.cols) for p in pieces]
        packing = pack(sizes, rows=shape.rows, cols=shape.cols)
        assert packing is not None, "the number of arrays is unlimited"
        spots = tuple(
            Spot(bin=b, row=r, col=c)
            for b, r, c in zip(packing.bin_of, packing.row_start, packing.col_start, strict=True)
        )
        return Layout(spots=spots, certificate=_certificate(packing.bins, *lower_bound(sizes, shape.rows, shape.cols)))
    fixed = [
        (
            Piece(rows=o.rows, cols=o.cols, bands=o.bias_rows),
            Spot(bin=o.array, row=o.w_row_start, col=o.w_col_start, band=o.bias_start),
        )
        for o in occupied
    ]
    found = pack_layout(pieces, bin, fixed=fixed, steps=LAYOUT_STEPS, seed=options.seed)
    assert found is not None, "blocks were cut to fit"
    numbers = {bin: i for i, bin in enumerate(sorted({s.bin for s in found} | {o.array for o in occupied}))}
    bound = layout_bound([*pieces, *(piece for piece, _ in fixed)], bin)
    return Layout(
        spots=tuple(replace(s, bin=numbers[s.bin]) for s in found), certificate=_certificate(len(numbers), *bound)
    )


def _certificate(arrays: int, bound: int, which: str, solver: bool = False) -> Certificate:
    proof: Proof = "none" if bound < arrays else "solver" if solver else "bound"
    return Certificate(arrays_used=arrays, lower_bound=bound, bound=which, proof=proof)


def placed(
    matrices: Sequence[PlacedMatrix],
    blocks: Sequence[CutBlock],
    layout: Layout,
    shape: ArrayShape,
    options: PlaceOptions,
    target: str,
    occupied: Sequence[Occupied] = (),
) -> Placement:
    """The artefact."""
    return Placement(
        target=target,
        cuts=options.cuts,
        shape=shape,
        matrices=tuple(matrices),
        blocks=tuple(
            PlacedBlock(
                matrix=b.matrix,
                copy=b.copy,
                row_offset=b.row_offset,
                col_offset=b.col_offset,
                rows=b.rows,
                cols=b.cols,
                array=spot.bin,
                w_row_start=spot.row,
                w_col_start=spot.col,
                bias_start=spot.band,
                bias_rows=b.bias_rows,
            )
            for b, spot in zip(blocks, layout.spots, strict=True)
        ),
        occupied=tuple(occupied),
        certificate=layout.certificate,
    )

"""Matrices -> blocks, cut at fixed places: what the packer is given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from bitline.ir.placement import ArrayShape, PlacedMatrix, Rect
from bitline.place.cuts import cut_matrix
from bitline.place.matrices import in_groups_of


@dataclass(frozen=True, slots=True, kw_only=True)
class CutBlock:
    """A block without a place: part of a copy of matrix number `matrix`, its bias rows, and how often it fires."""

    matrix: int
    copy: int
    row_offset: int
    col_offset: int
    rows: int
    cols: int
    bias_rows: int
    load: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CutMatrices:
    """All blocks in dependency order, and the cuts that made them: through rows, whose parts are added, and through
    columns, whose parts read the same inputs."""

    blocks: tuple[CutBlock, ...]
    row_cuts: int
    col_cuts: int


def largest_open(shape: ArrayShape) -> tuple[int, int]:
    """(rows, cols) of the largest rectangle of an array that no edge crosses and no blocked cell lies in."""
    top, left, bottom, right = largest_open_at(shape)
    return bottom - top, right - left


def largest_open_at(shape: ArrayShape) -> Rect:
    """The largest rectangle of an array that no edge crosses and no blocked cell lies in, the first of equals."""
    best = (0, 0, 0, 0)
    lines = sorted({0, shape.rows, *shape.edges, *(r for b in shape.blocked for r in (b[0], b[2]))})
    for first, top in enumerate(lines):
        for bottom in lines[first + 1 :]:
            if any(top < edge < bottom for edge in shape.edges):
                break
            spans = sorted((b[1], b[3]) for b in shape.blocked if b[0] < bottom and top < b[2])
            starts = 0
            for left, right in [*spans, (shape.cols, shape.cols)]:
                if (bottom - top) * (left - starts) > (best[2] - best[0]) * (best[3] - best[1]):
                    best = (top, starts, bottom, left)
                starts = max(starts, right)
    return best


def fitted(matrix: PlacedMatrix, shape: ArrayShape) -> PlacedMatrix:
    """The same with no more diagonal groups in a block than `largest_open` holds whole, or one where it holds none, nor
    more bias rows than an array has: what further ones would hold is added digitally."""
    height, width = largest_open(shape)
    most = max(1, min(height // matrix.matrix.rows, width // matrix.matrix.cols))
    held = replace(matrix, bias_rows=min(matrix.bias_rows, shape.bias_rows))
    return in_groups_of(held, most) if most < held.math.bundle else held


def cut_all(matrices: Sequence[PlacedMatrix], shape: ArrayShape, *, balanced: bool = False) -> CutMatrices:
    """All copies of all matrices in as few blocks as arrays allow; the bias lies beside the first block of a column."""
    height, width = largest_open(shape)
    blocks: list[CutBlock] = []
    row_cuts = col_cuts = 0
    for number, matrix in enumerate(matrices):
        strips = cut_matrix(matrix.matrix, matrix.math, height, width, balanced=balanced)
        bundles = -(-matrix.matrix.groups // matrix.math.bundle)
        col_cuts += matrix.copies * (len(strips) - bundles)
        row_cuts += matrix.copies * sum(len(strip.blocks) - 1 for strip in strips)
        blocks += [
            CutBlock(
                matrix=number,
                copy=copy,
                row_offset=block.row_offset,
                col_offset=block.col_offset,
                rows=block.rows,
                cols=block.cols,
                bias_rows=0 if place else matrix.bias_rows,
                load=matrix.fires,
            )
            for copy in range(matrix.copies)
            for strip in strips
            for place, block in enumerate(strip.blocks)
        ]
    return CutMatrices(blocks=tuple(blocks), row_cuts=row_cuts, col_cuts=col_cuts)

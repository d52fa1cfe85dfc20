"""Matrices cut at array borders ("full" cut): strips of output columns, each a stack of row blocks.

Rows are cut only at the edges of row groups, which a converter that can clip makes part of the value (see `ArrayMath`).
A block-diagonal matrix is cut into bundles of groups; the blocks between them do not exist.
"""

from __future__ import annotations

from dataclasses import dataclass

from bitline.ir.kernels import ArrayMath, Matrix
from bitline.ir.residency import Block


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnStrip:
    """Blocks that make output columns col..col+cols-1; their partial sums are added, so they stay on one core."""

    col: int
    cols: int
    blocks: tuple[Block, ...]


def block_rows(math: ArrayMath, array_rows: int) -> int:
    """Rows of the largest block: whole row groups, or a part of one where the array has no more rows."""
    return max(1, array_rows // math.group_rows) * math.group_rows if math.group_rows <= array_rows else array_rows


def cut_matrix(matrix: Matrix, math: ArrayMath, array_rows: int, array_cols: int) -> tuple[ColumnStrip, ...]:
    """All strips of a matrix, in column order."""
    height = block_rows(math, array_rows)
    strips: list[ColumnStrip] = []
    for first in range(0, matrix.groups, math.bundle):
        count = min(math.bundle, matrix.groups - first)
        row_base, rows = first * matrix.rows, count * matrix.rows
        col_base, cols = first * matrix.cols, count * matrix.cols
        for col in range(0, cols, array_cols):
            width = min(array_cols, cols - col)
            blocks = tuple(
                Block(
                    matrix=matrix.name,
                    copy=0,
                    row_offset=row_base + row,
                    col_offset=col_base + col,
                    rows=min(height, rows - row),
                    cols=width,
                )
                for row in range(0, rows, height)
            )
            strips.append(ColumnStrip(col=col_base + col, cols=width, blocks=blocks))
    return tuple(strips)

"""Matrices cut into as few blocks as arrays allow: strips of output columns, each a stack of row blocks.

The "full" cut fills arrays and leaves a rest; the "balanced" one makes blocks of nearly equal sizes. Rows are cut only
at the edges of row groups, which a converter that can clip makes part of the value (see `ArrayMath`).
A block-diagonal matrix is cut into bundles of groups; the blocks between them do not exist.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

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


def cut_matrix(
    matrix: Matrix, math: ArrayMath, array_rows: int, array_cols: int, *, balanced: bool = False
) -> tuple[ColumnStrip, ...]:
    """All strips of a matrix, in column order; as few blocks as there can be, `balanced` ones of nearly equal sizes."""
    height = block_rows(math, array_rows)
    step = 1 if math.lossless else min(math.group_rows, height)
    strips: list[ColumnStrip] = []
    for first in range(0, matrix.groups, math.bundle):
        count = min(math.bundle, matrix.groups - first)
        row_base, rows = first * matrix.rows, count * matrix.rows
        col_base, cols = first * matrix.cols, count * matrix.cols
        row_edges = _edges(rows, height, step if balanced else height)
        for left, right in pairwise(_edges(cols, array_cols, 1 if balanced else array_cols)):
            blocks = tuple(
                Block(
                    matrix=matrix.name,
                    copy=0,
                    row_offset=row_base + top,
                    col_offset=col_base + left,
                    rows=bottom - top,
                    cols=right - left,
                )
                for top, bottom in pairwise(row_edges)
            )
            strips.append(ColumnStrip(col=col_base + left, cols=right - left, blocks=blocks))
    return tuple(strips)


def _edges(size: int, most: int, step: int) -> list[int]:
    """0, the cuts and `size`: the fewest parts of at most `most`, as equal as multiples of `step` allow."""
    parts, steps = -(-size // most), -(-size // step)
    return [min(size, -(-steps * i // parts) * step) for i in range(parts)] + [size]

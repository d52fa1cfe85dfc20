"""Whether blocks hold every weight of their matrices once per copy, cut where they may be, in order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise

import numpy as np

from bitline.core.diagnostics import Diagnostic
from bitline.ir.kernels import Matrix
from bitline.ir.placement import PlacedBlock, PlacedMatrix
from bitline.verify.placed_cells import finding
from bitline.verify.touching import I64, touching

Numbered = tuple[int, PlacedBlock]
"""A block and its place in the list of all."""


def owner_of(matrix: PlacedMatrix) -> str:
    """Names a matrix among those of all networks."""
    return f"{matrix.network}:{matrix.matrix.name}"


def name_of(number: int, block: PlacedBlock) -> str:
    """A block in words."""
    rows = f"rows {block.row_offset}..{block.row_offset + block.rows - 1}"
    columns = f"columns {block.col_offset}..{block.col_offset + block.cols - 1}"
    return f"block {number} (copy {block.copy}, {rows}, {columns})"


def size_of(matrix: Matrix) -> tuple[int, int]:
    """(rows, cols) of the whole block-diagonal matrix."""
    return matrix.groups * matrix.rows, matrix.groups * matrix.cols


def fits(block: PlacedBlock, of: PlacedMatrix) -> bool:
    """All cells are of the matrix. No number is negative."""
    height, width = size_of(of.matrix)
    bottom, right = block.row_offset + block.rows, block.col_offset + block.cols
    return bottom <= height and right <= width


def extent_errors(blocks: Sequence[Numbered], matrices: Sequence[PlacedMatrix]) -> Iterator[Diagnostic]:
    """Blocks that reach beyond their matrix."""
    for number, block in blocks:
        of = matrices[block.matrix]
        if not fits(block, of):
            height, width = size_of(of.matrix)
            yield finding(owner_of(of), f"{name_of(number, block)} of a matrix of {height} x {width}")


def window_errors(matrices: Iterable[PlacedMatrix]) -> Iterator[Diagnostic]:
    """A matrix for several output pixels has the columns of each side by side, and no groups."""
    for of in matrices:
        down, right = of.window
        if down * right > 1 and (of.matrix.groups > 1 or of.matrix.cols % (down * right)):
            what = f"{of.matrix.groups} groups of {of.matrix.cols} columns"
            yield finding(owner_of(of), f"a window of {down} x {right} output pixels, but {what}")


def copy_errors(present: Mapping[int, set[int]], matrices: Mapping[int, PlacedMatrix]) -> Iterator[Diagnostic]:
    """Copies are 0..copies - 1, all of them; `present`: those of each matrix that have blocks."""
    for number, of in matrices.items():
        copies = sorted(present.get(number, ()))
        missing = next((k for k, copy in enumerate(copies) if k != copy), len(copies))
        if missing < of.copies:
            yield finding(owner_of(of), f"no block has copy {missing}, there are {of.copies}")
        if copies and copies[-1] >= of.copies:
            yield finding(owner_of(of), f"a block has copy {copies[-1]}, the copies are 0..{of.copies - 1}")


def coverage_errors(blocks: Sequence[Numbered], matrices: Mapping[int, PlacedMatrix]) -> Iterator[Diagnostic]:
    """Every weight of every copy in exactly one block, no block without a weight.

    Blocks that share no weight hold each of them once if their counts add up.
    """
    counted: dict[tuple[int, int], int] = {}
    for number, block in blocks:
        of = matrices[block.matrix]
        weights = _weights(block, of.matrix)
        if not weights:
            yield finding(owner_of(of), f"{name_of(number, block)} lies outside all groups of the matrix")
        counted[block.matrix, block.copy] = counted.get((block.matrix, block.copy), 0) + weights
    for (one, first), (other, second) in _sharing_weights(blocks, matrices):
        of = owner_of(matrices[first.matrix])
        yield finding(of, f"{name_of(one, first)} and {name_of(other, second)} hold the same weights")
    for (number, copy), weights in counted.items():
        of = matrices[number]
        needed = of.matrix.groups * of.matrix.rows * of.matrix.cols
        if weights < needed:
            message = f"blocks of copy {copy} hold {weights:,} weights, the matrix has {needed:,}"
            yield finding(owner_of(of), message)


def cut_errors(blocks: Sequence[Numbered], matrices: Mapping[int, PlacedMatrix]) -> Iterator[Diagnostic]:
    """A block stays inside its bundle of groups; where a conversion may clip, rows are cut at edges of row groups."""
    for number, block in blocks:
        of = matrices[block.matrix]
        matrix, math = of.matrix, of.math
        first = block.row_offset // (math.bundle * matrix.rows) * math.bundle
        last = min(matrix.groups, first + math.bundle)
        top, bottom, left, right = first * matrix.rows, last * matrix.rows, first * matrix.cols, last * matrix.cols
        end = block.row_offset + block.rows
        if end > bottom or block.col_offset < left or block.col_offset + block.cols > right:
            bundle = f"rows {top}..{bottom - 1}, columns {left}..{right - 1}"
            message = f"{name_of(number, block)} leaves its bundle of {math.bundle} groups: {bundle}"
            yield finding(owner_of(of), message)
        elif not math.lossless and any((r - top) % math.group_rows and r != bottom for r in (block.row_offset, end)):
            message = f"{name_of(number, block)} cuts a row group of {math.group_rows} rows, whose sum may clip"
            yield finding(owner_of(of), message)


def order_errors(blocks: Sequence[Numbered], matrices: Mapping[int, PlacedMatrix]) -> Iterator[Diagnostic]:
    """Blocks in the order of their matrices, then of copies."""
    for (_, before), (number, block) in pairwise(blocks):
        if (block.matrix, block.copy) < (before.matrix, before.copy):
            other = f"copy {before.copy} of {owner_of(matrices[before.matrix])!r}"
            yield finding(owner_of(matrices[block.matrix]), f"{name_of(number, block)} follows {other}")


def bias_row_errors(blocks: Sequence[Numbered], matrices: Mapping[int, PlacedMatrix]) -> Iterator[Diagnostic]:
    """Every column of every copy has its bias rows in exactly one block."""
    carried: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for number, block in blocks:
        of = matrices[block.matrix]
        spans = carried.setdefault((block.matrix, block.copy), [])
        if block.bias_rows not in (0, of.bias_rows):
            message = f"{name_of(number, block)} has {block.bias_rows} bias rows, its columns need {of.bias_rows} or 0"
            yield finding(owner_of(of), message)
        if block.bias_rows:
            spans.append((block.col_offset, block.col_offset + block.cols))
    for (number, copy), spans in carried.items():
        of = matrices[number]
        if not of.bias_rows:
            continue
        end = 0
        for first, last in [*sorted(spans), (size_of(of.matrix)[1],) * 2]:
            if first != end:
                what = "no block has" if first > end else "two blocks have"
                at = min(first, end)
                yield finding(owner_of(of), f"{what} the bias rows of column {at} of copy {copy}")
                break
            end = last


def _weights(block: PlacedBlock, matrix: Matrix) -> int:
    """How many weights a block holds: all of its cells but those between the groups."""
    bottom, right = block.row_offset + block.rows, block.col_offset + block.cols
    first = max(block.row_offset // matrix.rows, block.col_offset // matrix.cols)
    last = min((bottom - 1) // matrix.rows, (right - 1) // matrix.cols)
    if first > last:
        return 0
    held = 0
    for group in {first, last}:
        rows = min(bottom, (group + 1) * matrix.rows) - max(block.row_offset, group * matrix.rows)
        cols = min(right, (group + 1) * matrix.cols) - max(block.col_offset, group * matrix.cols)
        held += rows * cols
    return held + max(0, last - first - 1) * matrix.rows * matrix.cols


def _sharing_weights(
    blocks: Sequence[Numbered], matrices: Mapping[int, PlacedMatrix]
) -> Iterator[tuple[Numbered, Numbered]]:
    """Pairs of one copy whose common cells hold a weight."""
    numbers = {key: k for k, key in enumerate(sorted({(b.matrix, b.copy) for _, b in blocks}))}
    copies = np.array([numbers[b.matrix, b.copy] for _, b in blocks], np.int64)
    boxes: I64 = np.array(
        [(b.row_offset, b.col_offset, b.row_offset + b.rows, b.col_offset + b.cols) for _, b in blocks], np.int64
    ).reshape(-1, 4)
    for i, j in touching(copies, boxes):
        matrix = matrices[blocks[i][1].matrix].matrix
        r0, c0 = np.maximum(boxes[i, :2], boxes[j, :2]).tolist()
        r1, c1 = np.minimum(boxes[i, 2:], boxes[j, 2:]).tolist()
        if max(r0 // matrix.rows, c0 // matrix.cols) <= min((r1 - 1) // matrix.rows, (c1 - 1) // matrix.cols):
            yield blocks[i], blocks[j]

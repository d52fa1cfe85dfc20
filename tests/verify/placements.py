"""Valid placements at random: matrices cut where they may be, laid where there is room, cell by cell."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from random import Random
from typing import Final, TypeVar

import numpy as np
import numpy.typing as npt

from bitline.ir.kernels import ArrayMath, Matrix
from bitline.ir.placement import ArrayShape, Certificate, Occupied, PlacedBlock, PlacedMatrix, Placement, Rect

Grid = npt.NDArray[np.bool_]
Item = TypeVar("Item", PlacedBlock, Occupied)
MATH: Final = ArrayMath(
    group_rows=1, bundle=1, weight_bits=8, cell_bits=2, weight_offset=0, input_bits=8, input_offset=128, adc_bits=0
)
LARGEST_BLOCK: Final = 7
"""Rows and columns: there is room for such a block in every empty array made here."""


def random_placement(seed: int) -> Placement:
    """Matrices of one or more groups, bundles, copies, bias rows, edges, blocked and occupied cells."""
    rng = Random(seed)
    shape = _shape(rng)
    matrices = tuple(_matrix(rng, number, shape) for number in range(rng.randint(1, 5)))
    cut = [b for number, of in enumerate(matrices) for copy in range(of.copies) for b in _cut(rng, number, copy, of)]
    if not shape.bias_rows:
        cut = [replace(b, bias_rows=0) for b in cut]
    occupied = [
        Occupied(
            name=f"earlier{k}", array=0, w_row_start=0, w_col_start=0, rows=rng.randint(1, 5), cols=rng.randint(1, 5),
            bias_rows=rng.randint(0, shape.bias_rows),
        )
        for k in range(rng.choice((0, 0, 1, 3)))
    ]  # fmt: skip
    arrays: list[tuple[Grid, Grid]] = []
    there = [lay(rng, item, shape, arrays) for item in occupied]
    order = list(range(len(cut)))
    rng.shuffle(order)
    blocks = list(cut)
    for k in order:
        blocks[k] = lay(rng, cut[k], shape, arrays)
    return certified(
        Placement(
            target="a target", cuts="free", shape=shape, matrices=matrices, blocks=tuple(blocks), occupied=tuple(there),
            certificate=Certificate(arrays_used=len(arrays), lower_bound=0, bound="area", proof="none"),
        ),
        solver=rng.random() < 0.2,
    )  # fmt: skip


def certified(placement: Placement, *, solver: bool = False) -> Placement:
    """With the arrays counted anew and the bound by area, cell by cell; `solver`: one that is taken on trust."""
    items = (*placement.blocks, *placement.occupied)
    used = len({item.array for item in items})
    bound = -(-sum(item.rows * item.cols for item in items) // int(usable(placement.shape).sum()))
    proof = "solver" if solver else "bound" if bound == used else "none"
    certificate = Certificate(arrays_used=used, lower_bound=used if solver else bound, bound="area", proof=proof)
    return replace(placement, certificate=certificate)


def usable(shape: ArrayShape) -> Grid:
    """Cells that are not blocked."""
    cells = np.ones((shape.rows, shape.cols), np.bool_)
    for r0, c0, r1, c1 in shape.blocked:
        cells[r0:r1, c0:c1] = False
    return cells


def lay(rng: Random, item: Item, shape: ArrayShape, arrays: list[tuple[Grid, Grid]]) -> Item:
    """The item in the first array with room for it, at the first or a random place; what it takes is marked."""
    for number in range(len(arrays) + 1):
        if number == len(arrays):
            arrays.append((usable(shape), np.ones((shape.bias_rows, shape.cols), np.bool_)))
        free, bias = arrays[number]
        places = list(_rooms(item, shape, free, bias))
        if places:
            row, col, start = rng.choice((places[0], rng.choice(places)))
            free[row : row + item.rows, col : col + item.cols] = False
            bias[start : start + item.bias_rows, col : col + item.cols] = False
            return replace(item, array=number, w_row_start=row, w_col_start=col, bias_start=start)
    raise AssertionError("a block fits no empty array")


def _rooms(item: PlacedBlock | Occupied, shape: ArrayShape, free: Grid, bias: Grid) -> Iterator[tuple[int, int, int]]:
    for row in range(shape.rows - item.rows + 1):
        if any(row < edge < row + item.rows for edge in shape.edges):
            continue
        for col in range(shape.cols - item.cols + 1):
            if free[row : row + item.rows, col : col + item.cols].all():
                starts = range(shape.bias_rows - item.bias_rows + 1)
                columns = slice(col, col + item.cols)
                start = next((s for s in starts if bias[s : s + item.bias_rows, columns].all()), None)
                if start is not None:
                    yield row, col, start


def _shape(rng: Random) -> ArrayShape:
    """Below the first edge, or in all rows, LARGEST_BLOCK columns and rows are never blocked."""
    rows, cols = rng.randint(LARGEST_BLOCK + 1, 24), rng.randint(LARGEST_BLOCK + 1, 24)
    edges = tuple(sorted(rng.sample(range(LARGEST_BLOCK, rows), rng.choice((0, 0, 1)))))
    blocked: tuple[Rect, ...] = ()
    for _ in range(rng.choice((0, 0, 1, 2, 3))):
        r0, c0 = rng.randrange(rows), rng.randrange(LARGEST_BLOCK, cols)
        blocked = (*blocked, (r0, c0, rng.randint(r0 + 1, rows), rng.randint(c0 + 1, cols)))
    bias_rows, reserved = rng.choice((0, 1, 4)), rng.randint(0, 3)
    return ArrayShape(rows=rows, cols=cols, blocked=blocked, edges=edges, bias_rows=bias_rows, reserved_cols=reserved)


def _matrix(rng: Random, number: int, shape: ArrayShape) -> PlacedMatrix:
    groups = rng.choice((1, 1, 2, 5))
    rows, cols = (rng.randint(1, 30), rng.randint(1, 30)) if groups == 1 else (rng.randint(1, 4), rng.randint(1, 4))
    lossy = rng.random() < 0.5
    return PlacedMatrix(
        network=rng.choice(("one", "two")),
        nodes=(f"/node{number}",),
        matrix=Matrix(name=f"/node{number}.weights", groups=groups, rows=rows, cols=cols),
        math=replace(
            MATH, group_rows=rng.randint(1, LARGEST_BLOCK), bundle=rng.randint(1, groups), adc_bits=1 if lossy else 0
        ),
        pixels=rng.randint(1, 100),
        bias_rows=rng.randint(0, shape.bias_rows or 2),
        copies=rng.choice((1, 1, 2, 3)),
    )


def _cut(rng: Random, number: int, copy: int, of: PlacedMatrix) -> Iterator[PlacedBlock]:
    """Blocks of a copy, not laid yet: every bundle in strips of rows, cut into columns."""
    matrix, math = of.matrix, of.math
    for first in range(0, matrix.groups, math.bundle):
        groups = min(math.bundle, matrix.groups - first)
        top, left, height, width = first * matrix.rows, first * matrix.cols, groups * matrix.rows, groups * matrix.cols
        step = 1 if math.lossless else math.group_rows
        cuts = _cuts(rng, width, 1)
        made: list[PlacedBlock] = []
        for r0, r1 in pairwise(_cuts(rng, height, step)):
            for c0, c1 in pairwise(cuts):
                block = PlacedBlock(
                    matrix=number, copy=copy, row_offset=top + r0, col_offset=left + c0, rows=r1 - r0, cols=c1 - c0,
                    array=0, w_row_start=0, w_col_start=0,
                )  # fmt: skip
                if weights_of(block, matrix):
                    made.append(block)
        for column in cuts[:-1]:
            able = [k for k, block in enumerate(made) if block.col_offset == left + column]
            chosen = rng.choice(able)
            made[chosen] = replace(made[chosen], bias_rows=of.bias_rows)
        yield from made


def _cuts(rng: Random, size: int, step: int) -> list[int]:
    """0, ..., size: at multiples of `step`, no further apart than the largest block."""
    cuts = [0]
    while cuts[-1] < size:
        most = LARGEST_BLOCK // step
        cuts.append(min(size, cuts[-1] + step * rng.choice((most, rng.randint(1, most)))))
    return cuts


def weights_of(block: PlacedBlock, matrix: Matrix) -> frozenset[tuple[int, int]]:
    """(row, column) of all weights of a block, one by one."""
    return frozenset(
        (row, col)
        for row in range(block.row_offset, block.row_offset + block.rows)
        for col in range(block.col_offset, block.col_offset + block.cols)
        if row // matrix.rows == col // matrix.cols < matrix.groups and min(row, col) >= 0
    )


def is_right(placement: Placement) -> bool:
    """Painted weight by weight and cell by cell, in plain Python; the certificate is not looked at."""
    shape, free = placement.shape, usable(placement.shape)
    cells: dict[tuple[int, int, int], int] = {}
    bias: dict[tuple[int, int, int], int] = {}
    for item in (*placement.blocks, *placement.occupied):
        if min(item.rows, item.cols) < 1 or min(item.w_row_start, item.w_col_start, item.bias_start) < 0:
            return False
        if item.bias_rows < 0 or item.bias_start + item.bias_rows > shape.bias_rows:
            return False
        for row in range(item.w_row_start, item.w_row_start + item.rows):
            for col in range(item.w_col_start, item.w_col_start + item.cols):
                if row >= shape.rows or col >= shape.cols or not free[row, col]:
                    return False
                if row in shape.edges and row > item.w_row_start:
                    return False
                cells[item.array, row, col] = cells.get((item.array, row, col), 0) + 1
        for band in range(item.bias_start, item.bias_start + item.bias_rows):
            for col in range(item.w_col_start, item.w_col_start + item.cols):
                bias[item.array, band, col] = bias.get((item.array, band, col), 0) + 1
    alone = max([*cells.values(), *bias.values()], default=1) == 1
    arrays = sorted({array for array, _, _ in cells})
    return alone and arrays == list(range(len(arrays))) and _weights_are_right(placement)


def _weights_are_right(placement: Placement) -> bool:
    keys = [(b.matrix, b.copy) for b in placement.blocks]
    if keys != sorted(keys) or not all(0 <= m < len(placement.matrices) for m, _ in keys):
        return False
    held: dict[tuple[int, int], list[tuple[int, int]]] = {
        (number, copy): [] for number, of in enumerate(placement.matrices) for copy in range(of.copies)
    }
    columns: dict[tuple[int, int], list[int]] = {key: [] for key in held}
    for block in placement.blocks:
        of = placement.matrices[block.matrix]
        weights = weights_of(block, of.matrix)
        if (block.matrix, block.copy) not in held or not weights or not _cut_is_right(block, of):
            return False
        held[block.matrix, block.copy] += weights
        if block.bias_rows not in (0, of.bias_rows):
            return False
        if block.bias_rows:
            columns[block.matrix, block.copy] += range(block.col_offset, block.col_offset + block.cols)
    for (number, copy), weights in held.items():
        of = placement.matrices[number]
        if len(weights) != len({*weights}) or len(weights) != of.matrix.groups * of.matrix.rows * of.matrix.cols:
            return False
        biased = placement.shape.bias_rows and of.bias_rows
        if biased and sorted(columns[number, copy]) != list(range(of.matrix.groups * of.matrix.cols)):
            return False
    return True


def _cut_is_right(block: PlacedBlock, of: PlacedMatrix) -> bool:
    """One bundle, and no row group of it cut."""
    matrix, math = of.matrix, of.math
    rows = range(block.row_offset, block.row_offset + block.rows)
    groups = {row // matrix.rows for row in rows}
    groups |= {col // matrix.cols for col in range(block.col_offset, block.col_offset + block.cols)}
    if not all(0 <= group < matrix.groups for group in groups):
        return False
    bundles = {group // math.bundle for group in groups}
    if len(bundles) > 1:
        return False
    (bundle,) = bundles
    top = bundle * math.bundle * matrix.rows
    bottom = min(matrix.groups, (bundle + 1) * math.bundle) * matrix.rows
    row_groups = [range(r, min(bottom, r + math.group_rows)) for r in range(top, bottom, math.group_rows)]
    return math.lossless or all({*g} <= {*rows} or not {*g} & {*rows} for g in row_groups)


def owners(placement: Placement) -> Sequence[str]:
    """What findings call the matrices."""
    return [f"{of.network}:{of.matrix.name}" for of in placement.matrices]

"""Whether every weight lies in an array when its kernel runs, alone there and with the right cells.

Derived anew from the network, the constants and the bytes of `arrays.bin`: nothing of the packer is used.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Final

import numpy as np
import numpy.typing as npt

from bitline.core.diagnostics import Diagnostic
from bitline.ir.kernels import Constants, MatMul, Matrix, Network
from bitline.ir.residency import Block, BlockResidency
from bitline.numerics.arrays import encode_cells

I64 = npt.NDArray[np.int64]
Cells = npt.NDArray[np.uint8]

FINDINGS: Final = 20
OF_ONE_KIND: Final = 5
LARGEST: Final = 1 << 40
"""No honest number of a placement is larger; below it every product here fits int64."""
PAIRS: Final = 1 << 20
"""Pairs of blocks compared at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Geometry:
    """The arrays of a chip: `arrays_per_core` of `array_rows` x `array_cols` weights in each of `cores` cores."""

    cores: int
    arrays_per_core: int
    array_rows: int
    array_cols: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Weights:
    """A matrix, the (step, kernel) pairs that use it, and the cells [groups, rows, cols] that it should have."""

    matrix: Matrix
    users: tuple[tuple[int, MatMul], ...]
    cells: Cells

    def user(self, item: BlockResidency) -> tuple[int, MatMul]:
        """The first kernel that runs while the block lies there, else the first of all."""
        inside = (user for user in self.users if item.from_step <= user[0] <= item.to_step)
        return next(inside, self.users[0])


def verify_residency(
    network: Network,
    constants: Constants,
    blocks: Sequence[BlockResidency],
    cells: bytes,
    geometry: Geometry,
) -> tuple[Diagnostic, ...]:
    """What is wrong with a placement (BL0501, at most 20 findings); empty where every claim of `ir.residency` holds.

    Checked: places inside arrays, no two blocks in one place at a time, every weight exactly once per copy, rows cut at
    the edges of row groups where a converter may clip, dependency order, steps, loads, and the bytes of every block.
    """
    weights, found = _matrices(network, constants)
    kinds: list[Iterable[Diagnostic]] = [_wild(blocks)]
    sane = [item for item in blocks if _numbers_are_small(item)]
    kinds.append(_strangers(sane, weights))
    known = [item for item in sane if item.block.matrix in weights]
    shaped = [item for item in known if not _shape_errors(item.block, weights[item.block.matrix].matrix)]
    kinds.append(e for item in known for e in _shape_errors(item.block, weights[item.block.matrix].matrix))
    placed = [item for item in sane if not _place_errors(item, geometry)]
    kinds.append(e for item in sane for e in _place_errors(item, geometry))
    kinds.append(_overlaps(placed))
    kinds.append(_coverage(shaped, weights))
    kinds.append(e for item in shaped for e in _cut_errors(item, weights[item.block.matrix]))
    kinds.append(e for item in known for e in _step_errors(item, weights[item.block.matrix], len(network.kernels)))
    kinds.append(_order(known, blocks, weights))
    kinds.append(_cell_overlaps(sane, len(cells)))
    kinds.append(_cell_errors(shaped, weights, np.frombuffer(cells, np.uint8)))
    for kind in kinds:
        found += islice(kind, OF_ONE_KIND)
    return tuple(found[:FINDINGS])


def _error(message: str, matrix: str) -> Diagnostic:
    return Diagnostic(
        code="BL0501", message=message, place=f"placement.json:{matrix}", help="compile the package again"
    )


def _of(item: BlockResidency) -> str:
    """A block in words."""
    block = item.block
    return (
        f"block {item.index} (copy {block.copy}, rows {block.row_offset}..{block.row_offset + block.rows - 1}, "
        f"columns {block.col_offset}..{block.col_offset + block.cols - 1})"
    )


def _matrices(network: Network, constants: Constants) -> tuple[dict[str, _Weights], list[Diagnostic]]:
    """All matrices of the network with their users; those whose constant does not fit are reported and left out."""
    users: dict[str, list[tuple[int, MatMul]]] = {}
    for step, kernel in enumerate(network.kernels):
        if isinstance(kernel, MatMul):
            users.setdefault(kernel.matrix.name, []).append((step, kernel))
    found: list[Diagnostic] = []
    weights: dict[str, _Weights] = {}
    for name, uses in users.items():
        kernel = uses[0][1]
        matrix = kernel.matrix
        shape = (matrix.groups, matrix.rows, matrix.cols)
        stored = constants.get(name)
        if stored is None:
            found.append(_error("no constant holds the weights of this matrix", name))
        elif stored.shape != shape or stored.dtype != np.int8:
            got = f"{stored.dtype}{list(stored.shape)}"
            found.append(_error(f"the constant is {got}, the matrix int8{list(shape)}", name))
        elif any((k.matrix, k.math.weight_offset) != (matrix, kernel.math.weight_offset) for _, k in uses):
            found.append(_error("two kernels describe this matrix in different ways", name))
        else:
            encoded = encode_cells(stored, kernel.math.weight_offset)
            weights[name] = _Weights(matrix=matrix, users=tuple(uses), cells=encoded)
    return weights, found


def _numbers(item: BlockResidency) -> tuple[int, ...]:
    b, r = item.block, item.region
    return (
        b.copy, b.row_offset, b.col_offset, b.rows, b.cols, r.core, r.array, r.w_row_start, r.w_col_start,
        item.index, item.from_step, item.to_step, item.round, item.loads, item.cells_at,
    )  # fmt: skip


def _numbers_are_small(item: BlockResidency) -> bool:
    numbers = _numbers(item)
    return max(map(abs, numbers)) < LARGEST


def _wild(blocks: Sequence[BlockResidency]) -> Iterator[Diagnostic]:
    for item in blocks:
        if not _numbers_are_small(item):
            yield _error(f"{max(_numbers(item), key=abs)} is no number of a placement", item.block.matrix)


def _strangers(blocks: Sequence[BlockResidency], weights: Mapping[str, _Weights]) -> Iterator[Diagnostic]:
    for item in blocks:
        if item.block.matrix not in weights:
            yield _error(f"{_of(item)} belongs to no matrix of the network", item.block.matrix)


def _shape_errors(block: Block, matrix: Matrix) -> list[Diagnostic]:
    height, width = matrix.groups * matrix.rows, matrix.groups * matrix.cols
    if block.rows < 1 or block.cols < 1:
        return [_error(f"a block of {block.rows} x {block.cols} weights", matrix.name)]
    bottom, right = block.row_offset + block.rows, block.col_offset + block.cols
    if block.row_offset < 0 or block.col_offset < 0 or bottom > height or right > width:
        reach = f"rows {block.row_offset}..{bottom - 1}, columns {block.col_offset}..{right - 1}"
        return [_error(f"a block has {reach} of a matrix of {height} x {width}", matrix.name)]
    return []


def _place_errors(item: BlockResidency, geometry: Geometry) -> list[Diagnostic]:
    region, block = item.region, item.block
    if not 0 <= region.core < geometry.cores:
        return [_error(f"{_of(item)} lies on core {region.core}, the chip has {geometry.cores}", block.matrix)]
    if not 0 <= region.array < geometry.arrays_per_core:
        count = geometry.arrays_per_core
        return [_error(f"{_of(item)} lies in array {region.array}, a core has {count}", block.matrix)]
    bottom, right = region.w_row_start + block.rows, region.w_col_start + block.cols
    if min(region.w_row_start, region.w_col_start) < 0 or bottom > geometry.array_rows or right > geometry.array_cols:
        where = f"array rows {region.w_row_start}..{bottom - 1}, columns {region.w_col_start}..{right - 1}"
        size = f"{geometry.array_rows} x {geometry.array_cols}"
        return [_error(f"{_of(item)} leaves its array: {where} of {size}", block.matrix)]
    return []


def _overlaps(blocks: Sequence[BlockResidency]) -> Iterator[Diagnostic]:
    """Pairs that share cells of an array at a step. Only blocks of one matrix at one step take turns by `round`."""
    numbers = {name: i for i, name in enumerate(sorted({item.block.matrix for item in blocks}))}
    table = np.array(
        [
            (
                item.region.w_row_start, item.region.w_row_start + item.block.rows,
                item.region.w_col_start, item.region.w_col_start + item.block.cols,
                item.from_step, item.to_step, item.round, numbers[item.block.matrix],
            )
            for item in blocks
        ],
        np.int64,
    ).reshape(-1, 8)  # fmt: skip
    arrays: dict[tuple[int, int], list[int]] = {}
    for i, item in enumerate(blocks):
        arrays.setdefault((item.region.core, item.region.array), []).append(i)
    for (core, array), members in sorted(arrays.items()):
        for i, j in _pairs(table[members]):
            one, other = blocks[members[i]], blocks[members[j]]
            first, last = max(one.from_step, other.from_step), min(one.to_step, other.to_step)
            when = f"steps {first}..{last}, round {one.round}"
            yield _error(
                f"{_of(one)} overlaps {_of(other)} of {other.block.matrix!r} in core {core}, array {array}, {when}",
                one.block.matrix,
            )


def _pairs(table: I64) -> Iterator[tuple[int, int]]:
    """Places i < j of rows of `table` that touch one another, some rows at a time."""
    top, bottom, left, right, first, last, turn, matrix = table.T
    still = first == last
    chunk = max(1, PAIRS // len(table))
    for start in range(0, len(table), chunk):
        part = slice(start, start + chunk)
        touch = (top[part, None] < bottom) & (top < bottom[part, None])
        touch &= (left[part, None] < right) & (left < right[part, None])
        touch &= (first[part, None] <= last) & (first <= last[part, None])
        in_turn = still[part, None] & still & (matrix[part, None] == matrix) & (turn[part, None] != turn)
        touch &= ~in_turn
        for i, j in np.argwhere(touch).tolist():
            if start + i < j:
                yield start + i, j


def _group_parts(block: Block, matrix: Matrix) -> Iterator[tuple[int, slice, slice, slice, slice]]:
    """Where a block meets the diagonal: (group, rows and columns of the group, rows and columns of the block)."""
    rows, cols = matrix.rows, matrix.cols
    first = max(block.row_offset // rows, block.col_offset // cols)
    last = min((block.row_offset + block.rows - 1) // rows, (block.col_offset + block.cols - 1) // cols)
    for group in range(first, last + 1):
        top, left = group * rows, group * cols
        r0, r1 = max(top, block.row_offset), min(top + rows, block.row_offset + block.rows)
        c0, c1 = max(left, block.col_offset), min(left + cols, block.col_offset + block.cols)
        yield (
            group,
            slice(r0 - top, r1 - top),
            slice(c0 - left, c1 - left),
            slice(r0 - block.row_offset, r1 - block.row_offset),
            slice(c0 - block.col_offset, c1 - block.col_offset),
        )


def _coverage(blocks: Sequence[BlockResidency], weights: Mapping[str, _Weights]) -> Iterator[Diagnostic]:
    """Every weight of every copy exactly once, no block that holds no weight at all."""
    copies: dict[tuple[str, int], list[BlockResidency]] = {}
    for item in blocks:
        copies.setdefault((item.block.matrix, item.block.copy), []).append(item)
    for name, of in weights.items():
        present = sorted(copy for matrix, copy in copies if matrix == name)
        if present != list(range(len(present))) or not present:
            yield _error(f"copies {present} lie in arrays, expected them numbered from 0", name)
        for copy in present:
            times = np.zeros(of.cells.shape, np.uint16)
            for item in copies[name, copy]:
                empty = True
                for group, rows, cols, _, _ in _group_parts(item.block, of.matrix):
                    times[group, rows, cols] += 1
                    empty = False
                if empty:
                    yield _error(f"{_of(item)} lies outside all groups of the matrix", name)
            for what, wrong in (("no block has", times == 0), ("more than one block has", times > 1)):
                if wrong.any():
                    group, row, col = (int(v[0]) for v in np.nonzero(wrong))
                    at = f"row {row}, column {col} of group {group}"
                    yield _error(f"{what} {int(wrong.sum())} weights of copy {copy}, first {at}", name)


def _cut_errors(item: BlockResidency, of: _Weights) -> Iterator[Diagnostic]:
    """A block stays inside its bundle of groups; where a conversion may clip, rows are cut at edges of row groups."""
    block, matrix = item.block, of.matrix
    math = of.user(item)[1].math
    first = block.row_offset // (math.bundle * matrix.rows)
    top = first * math.bundle * matrix.rows
    bottom = min(matrix.groups, (first + 1) * math.bundle) * matrix.rows
    left, right = top // matrix.rows * matrix.cols, bottom // matrix.rows * matrix.cols
    end = block.row_offset + block.rows
    if end > bottom or block.col_offset < left or block.col_offset + block.cols > right:
        bundle = f"rows {top}..{bottom - 1}, columns {left}..{right - 1}"
        yield _error(f"{_of(item)} leaves its bundle of {math.bundle} groups: {bundle}", matrix.name)
    elif not math.lossless and any((r - top) % math.group_rows and r != bottom for r in (block.row_offset, end)):
        yield _error(f"{_of(item)} cuts a row group of {math.group_rows} rows, whose sum may clip", matrix.name)


def _step_errors(item: BlockResidency, of: _Weights, steps: int) -> Iterator[Diagnostic]:
    first, last, name = item.from_step, item.to_step, of.matrix.name
    if not 0 <= first <= last < steps:
        yield _error(f"{_of(item)} lies there from step {first} to {last}, the steps are 0..{steps - 1}", name)
    elif not any(first <= step <= last for step, _ in of.users):
        needed = ", ".join(str(step) for step, _ in of.users)
        yield _error(f"{_of(item)} lies there from step {first} to {last}, its kernel runs at {needed}", name)
    if item.round < 0 or (item.round and first != last):
        yield _error(f"{_of(item)} has round {item.round} but lies there from step {first} to {last}", name)
    if item.loads < 0:
        yield _error(f"{_of(item)} is loaded {item.loads} times", name)
    elif item.loads == 0 and (first, last) != (0, steps - 1):
        yield _error(f"{_of(item)} is never loaded again but leaves: steps {first}..{last} of {steps}", name)


def _order(
    known: Sequence[BlockResidency], blocks: Sequence[BlockResidency], weights: Mapping[str, _Weights]
) -> Iterator[Diagnostic]:
    """`index` counts all blocks in the order in which their kernels run."""
    if sorted(item.index for item in blocks) != list(range(len(blocks))):
        seen: set[int] = set()
        for item in blocks:
            if not 0 <= item.index < len(blocks) or item.index in seen:
                why = "is taken already" if item.index in seen else f"is none of 0..{len(blocks) - 1}"
                yield _error(f"index {item.index} {why}", item.block.matrix)
            seen.add(item.index)
        return
    ordered = sorted(known, key=lambda item: item.index)
    steps = [weights[item.block.matrix].user(item)[0] for item in ordered]
    for i in range(1, len(ordered)):
        if steps[i] < steps[i - 1]:
            before = f"index {ordered[i - 1].index} of step {steps[i - 1]}"
            yield _error(f"index {ordered[i].index} of step {steps[i]} follows {before}", ordered[i].block.matrix)


def _cell_overlaps(blocks: Sequence[BlockResidency], size: int) -> Iterator[Diagnostic]:
    """The bytes of every block lie in the file and belong to no other block but copies of it."""
    end, before = 0, ""
    at: dict[int, Block] = {}
    for item in sorted(blocks, key=lambda item: item.cells_at):
        first = at.setdefault(item.cells_at, item.block)
        if first.copy != item.block.copy and replace(first, copy=item.block.copy) == item.block:
            continue
        last = item.cells_at + item.block.rows * item.block.cols
        span = f"bytes {item.cells_at}..{last - 1} of arrays.bin"
        if item.cells_at < 0 or last > size:
            yield _error(f"{_of(item)} has {span}, which holds {size}", item.block.matrix)
        elif item.cells_at < end:
            yield _error(f"{_of(item)} has {span}, which {before} has too", item.block.matrix)
        if last > end:
            end, before = last, f"{_of(item)} of {item.block.matrix!r}"


def _cell_errors(
    blocks: Sequence[BlockResidency], weights: Mapping[str, _Weights], cells: Cells
) -> Iterator[Diagnostic]:
    """The bytes of every block are its encoded weights, filler between the groups being weight 0."""
    for item in blocks:
        block, of = item.block, weights[item.block.matrix]
        size = block.rows * block.cols
        if item.cells_at < 0 or item.cells_at + size > cells.size:
            continue
        stored = cells[item.cells_at : item.cells_at + size].reshape(block.rows, block.cols)
        wanted = _wanted(block, of)
        if not np.array_equal(stored, wanted):
            wrong = stored != wanted
            row, col = (int(v[0]) for v in np.nonzero(wrong))
            first = f"first row {block.row_offset + row}, column {block.col_offset + col}"
            values = f"{stored[row, col]} instead of {wanted[row, col]}"
            yield _error(f"{_of(item)} has {int(wrong.sum())} wrong cells, {first}: {values}", of.matrix.name)


def _wanted(block: Block, of: _Weights) -> Cells:
    """The cells that a block should have."""
    if of.matrix.groups == 1:
        rows = slice(block.row_offset, block.row_offset + block.rows)
        return of.cells[0, rows, block.col_offset : block.col_offset + block.cols]
    zero = encode_cells(np.zeros(1, np.int64), of.users[0][1].math.weight_offset)[0]
    wanted = np.full((block.rows, block.cols), zero, np.uint8)
    for group, rows, cols, r, c in _group_parts(block, of.matrix):
        wanted[r, c] = of.cells[group, rows, cols]
    return wanted

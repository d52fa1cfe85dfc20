"""One mistake in a valid placement, drawn at random but wrong by construction; each says why it has to be.

Every spoiler returns the spoilt placement and what a finding may be about (matrix, occupied cells or a part of the
file), or None where the placement offers no such mistake. In a valid placement every weight of a copy lies in exactly
one block and every block has one at least, so a block whose set of weights changes is wrong, whatever else is said.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Final

from bitline.ir.placement import Occupied, PlacedBlock, PlacedMatrix, Placement
from tests.verify.placements import certified, owners, usable, weights_of

Spoilt = tuple[Placement, set[str]] | None
Spoil = Callable[[Random, Placement], Spoilt]


def with_block(placement: Placement, number: int, block: PlacedBlock) -> Placement:
    blocks = placement.blocks
    return replace(placement, blocks=(*blocks[:number], block, *blocks[number + 1 :]))


def with_matrix(placement: Placement, number: int, matrix: PlacedMatrix) -> Placement:
    matrices = placement.matrices
    return replace(placement, matrices=(*matrices[:number], matrix, *matrices[number + 1 :]))


def owner(placement: Placement, block: PlacedBlock) -> str:
    return owners(placement)[block.matrix]


def drawn(rng: Random, placement: Placement) -> tuple[int, PlacedBlock]:
    number = rng.randrange(len(placement.blocks))
    return number, placement.blocks[number]


def other_weights(placement: Placement, number: int, block: PlacedBlock) -> Spoilt:
    """The block instead of one of the same matrix, if it holds other weights."""
    before = placement.blocks[number]
    matrix = placement.matrices[before.matrix].matrix
    if block.rows < 1 or block.cols < 1 or weights_of(block, matrix) == weights_of(before, matrix):
        return None
    return with_block(placement, number, block), {owner(placement, before)}


# -- places ------------------------------------------------------------------------------------------------------------


def onto_another(rng: Random, placement: Placement) -> Spoilt:
    """Their top left cells are one."""
    number, block = drawn(rng, placement)
    items = [*placement.blocks, *placement.occupied]
    target = rng.randrange(len(items))
    if target == number:
        return None
    on = items[target]
    moved = replace(block, array=on.array, w_row_start=on.w_row_start, w_col_start=on.w_col_start)
    names = {owner(placement, block), on.name if isinstance(on, Occupied) else owner(placement, on)}
    return with_block(placement, number, moved), names


def outside(rng: Random, placement: Placement) -> Spoilt:
    """The last row or column is beyond the last of the array."""
    number, block = drawn(rng, placement)
    shape, by = placement.shape, rng.randint(1, 3)
    row, col = shape.rows - block.rows + by, shape.cols - block.cols + by
    moved = replace(block, w_row_start=row) if rng.random() < 0.5 else replace(block, w_col_start=col)
    return with_block(placement, number, moved), {owner(placement, block)}


def across_an_edge(rng: Random, placement: Placement) -> Spoilt:
    """Rows on both sides of it."""
    number, block = drawn(rng, placement)
    if not placement.shape.edges or block.rows < 2:
        return None
    start = rng.choice(placement.shape.edges) - rng.randint(1, block.rows - 1)
    if start < 0:
        return None
    return with_block(placement, number, replace(block, w_row_start=start)), {owner(placement, block)}


def on_blocked_cells(rng: Random, placement: Placement) -> Spoilt:
    """The top left cell is blocked."""
    number, block = drawn(rng, placement)
    if not placement.shape.blocked:
        return None
    row, col, _, _ = rng.choice(placement.shape.blocked)
    return with_block(placement, number, replace(block, w_row_start=row, w_col_start=col)), {owner(placement, block)}


def gap(rng: Random, placement: Placement) -> Spoilt:
    """Nothing lies in an array, but something in the one after it."""
    items = (*placement.blocks, *placement.occupied)
    array = rng.randint(0, max(item.array for item in items))
    blocks = tuple(replace(b, array=b.array + (b.array >= array)) for b in placement.blocks)
    occupied = tuple(replace(o, array=o.array + (o.array >= array)) for o in placement.occupied)
    names = {owner(placement, b) for b in blocks if b.array == array + 1}
    names |= {o.name for o in occupied if o.array == array + 1}
    return replace(placement, blocks=blocks, occupied=occupied), names


def occupied_under_a_block(rng: Random, placement: Placement) -> Spoilt:
    """Their top left cells are one."""
    if not placement.occupied:
        return None
    _, block = drawn(rng, placement)
    at = {"array": block.array, "w_row_start": block.w_row_start, "w_col_start": block.w_col_start}
    spoilt = replace(placement, occupied=(replace(placement.occupied[0], **at), *placement.occupied[1:]))
    return spoilt, {owner(placement, block), placement.occupied[0].name}


# -- weights -----------------------------------------------------------------------------------------------------------


def resized(rng: Random, placement: Placement) -> Spoilt:
    """A row or column more or less, where it has weights."""
    number, block = drawn(rng, placement)
    by = rng.choice((-1, 1))
    changed = replace(block, rows=block.rows + by) if rng.random() < 0.5 else replace(block, cols=block.cols + by)
    return other_weights(placement, number, changed)


def turned(rng: Random, placement: Placement) -> Spoilt:
    number, block = drawn(rng, placement)
    return other_weights(placement, number, replace(block, rows=block.cols, cols=block.rows))


def other_offset(rng: Random, placement: Placement) -> Spoilt:
    number, block = drawn(rng, placement)
    row, col = block.row_offset + rng.randint(-2, 2), block.col_offset + rng.randint(-2, 2)
    if min(row, col) < 0:
        return None
    return other_weights(placement, number, replace(block, row_offset=row, col_offset=col))


def sizes_exchanged(rng: Random, placement: Placement) -> Spoilt:
    """Two blocks with one another's size: the first holds other weights, and so it does in its copy."""
    number, block = drawn(rng, placement)
    other, second = drawn(rng, placement)
    if (second.matrix, second.copy) == (block.matrix, block.copy):
        return None
    spoilt = other_weights(placement, number, replace(block, rows=second.rows, cols=second.cols))
    if spoilt is None:
        return None
    return with_block(spoilt[0], other, replace(second, rows=block.rows, cols=block.cols)), spoilt[1]


def dropped(rng: Random, placement: Placement) -> Spoilt:
    number, block = drawn(rng, placement)
    blocks = (*placement.blocks[:number], *placement.blocks[number + 1 :])
    return certified(replace(placement, blocks=blocks)), {owner(placement, block)}


def doubled(rng: Random, placement: Placement) -> Spoilt:
    """Once more in an array of its own: in order, nothing overlaps, the certificate counts it."""
    number, block = drawn(rng, placement)
    array = placement.certificate.arrays_used
    again = replace(block, array=array, bias_rows=0)
    blocks = (*placement.blocks[: number + 1], again, *placement.blocks[number + 1 :])
    return certified(replace(placement, blocks=blocks)), {owner(placement, block)}


def without_weights(rng: Random, placement: Placement) -> Spoilt:
    """A block between the groups of a bundle, in an array of its own."""
    number, block = drawn(rng, placement)
    of = placement.matrices[block.matrix]
    group = block.row_offset // of.matrix.rows
    if (group + 1) % of.math.bundle == 0 or group + 1 == of.matrix.groups:
        return None
    empty = replace(
        block, row_offset=group * of.matrix.rows, rows=of.matrix.rows, col_offset=(group + 1) * of.matrix.cols,
        cols=of.matrix.cols, array=placement.certificate.arrays_used, w_row_start=0, w_col_start=0, bias_rows=0,
    )  # fmt: skip
    blocks = (*placement.blocks[:number], empty, *placement.blocks[number:])
    return certified(replace(placement, blocks=blocks)), {owner(placement, block)}


def out_of_its_bundle(rng: Random, placement: Placement) -> Spoilt:
    """A row or column more than the bundle has, on either side, in an array of its own: there may be no weights."""
    number, block = drawn(rng, placement)
    of = placement.matrices[block.matrix]
    first = block.row_offset // of.matrix.rows // of.math.bundle * of.math.bundle
    last = min(of.matrix.groups, first + of.math.bundle)
    top, bottom, left, right = (edge * size for size in (of.matrix.rows, of.matrix.cols) for edge in (first, last))
    grown = rng.choice(
        (
            replace(block, rows=bottom + 1 - block.row_offset),
            replace(block, cols=right + 1 - block.col_offset),
            replace(block, row_offset=top - 1, rows=block.row_offset + block.rows - top + 1),
            replace(block, col_offset=left - 1, cols=block.col_offset + block.cols - left + 1),
        )
    )
    lonely = replace(grown, array=placement.certificate.arrays_used, w_row_start=0, w_col_start=0)
    return certified(with_block(placement, number, lonely)), {owner(placement, block)}


def other_copy(rng: Random, placement: Placement) -> Spoilt:
    number, block = drawn(rng, placement)
    copy = rng.randint(0, placement.matrices[block.matrix].copies)
    if copy == block.copy:
        return None
    return with_block(placement, number, replace(block, copy=copy)), {owner(placement, block)}


def other_matrix(rng: Random, placement: Placement) -> Spoilt:
    number, block = drawn(rng, placement)
    matrix = rng.randrange(len(placement.matrices))
    if matrix == block.matrix:
        return None
    return with_block(placement, number, replace(block, matrix=matrix)), {owner(placement, block)}


def out_of_order(rng: Random, placement: Placement) -> Spoilt:
    """Sorted in one way only, up to blocks of one copy; two of other copies change places."""
    one, first = drawn(rng, placement)
    other, second = drawn(rng, placement)
    if (first.matrix, first.copy) == (second.matrix, second.copy):
        return None
    spoilt = with_block(with_block(placement, one, second), other, first)
    return spoilt, {*owners(placement)}


# -- bias rows ---------------------------------------------------------------------------------------------------------


def bias_outside(rng: Random, placement: Placement) -> Spoilt:
    number, block = drawn(rng, placement)
    if not block.bias_rows:
        return None
    start = placement.shape.bias_rows - block.bias_rows + rng.randint(1, 3)
    return with_block(placement, number, replace(block, bias_start=start)), {owner(placement, block)}


def bias_shared(rng: Random, placement: Placement) -> Spoilt:
    """Both have the row where the other's begin, in a common column of an array."""
    biased = [(k, b) for k, b in enumerate(placement.blocks) if b.bias_rows]
    pairs = [(k, b, other) for k, b in biased for _, other in biased if b is not other and above(b, other)]
    if not pairs:
        return None
    number, block, other = rng.choice(pairs)
    names = {owner(placement, block), owner(placement, other)}
    return with_block(placement, number, replace(block, bias_start=other.bias_start)), names


def above(one: PlacedBlock, other: PlacedBlock) -> bool:
    """They share a column of an array."""
    start = max(one.w_col_start, other.w_col_start)
    return one.array == other.array and start < min(one.w_col_start + one.cols, other.w_col_start + other.cols)


def other_bias_rows(rng: Random, placement: Placement) -> Spoilt:
    """Its columns have none, twice as many blocks, or another number than the matrix says."""
    number, block = drawn(rng, placement)
    of = placement.matrices[block.matrix]
    rows = rng.choice((0, of.bias_rows, of.bias_rows + 1))
    if rows == block.bias_rows:
        return None
    return with_block(placement, number, replace(block, bias_rows=rows)), {owner(placement, block)}


# -- matrices and arrays -----------------------------------------------------------------------------------------------


def other_shape_of_matrix(rng: Random, placement: Placement) -> Spoilt:
    """Blocks reach to the last row, column and copy, and not beyond."""
    _, block = drawn(rng, placement)
    of, by = placement.matrices[block.matrix], rng.choice((-1, 1))
    matrix = of.matrix
    changed = rng.choice(
        (
            replace(of, copies=of.copies + by),
            replace(of, matrix=replace(matrix, groups=matrix.groups + by)),
            replace(of, matrix=replace(matrix, rows=matrix.rows + by)),
            replace(of, matrix=replace(matrix, cols=matrix.cols + by)),
        )
    )
    return with_matrix(placement, block.matrix, changed), {owner(placement, block)}


def smaller_bundle(rng: Random, placement: Placement) -> Spoilt:
    """A block has rows of two groups."""
    _, block = drawn(rng, placement)
    of = placement.matrices[block.matrix]
    if block.row_offset // of.matrix.rows == (block.row_offset + block.rows - 1) // of.matrix.rows:
        return None
    return with_matrix(placement, block.matrix, replace(of, math=replace(of.math, bundle=1))), {owner(placement, block)}


def wider_row_groups(rng: Random, placement: Placement) -> Spoilt:
    """A converter that may clip, and a block that begins inside the only row group."""
    _, block = drawn(rng, placement)
    of = placement.matrices[block.matrix]
    height = of.math.bundle * of.matrix.rows
    if block.row_offset % height == 0:
        return None
    math = replace(of.math, group_rows=height + rng.randint(0, 3), adc_bits=1)
    return with_matrix(placement, block.matrix, replace(of, math=math)), {owner(placement, block)}


def edge_through_a_block(rng: Random, placement: Placement) -> Spoilt:
    _, block = drawn(rng, placement)
    if block.rows < 2:
        return None
    edge = block.w_row_start + rng.randint(1, block.rows - 1)
    names = {*owners(placement), *(o.name for o in placement.occupied)}
    return replace(placement, shape=replace(placement.shape, edges=(*placement.shape.edges, edge))), names


def blocked_under_a_block(rng: Random, placement: Placement) -> Spoilt:
    _, block = drawn(rng, placement)
    row, col = block.w_row_start + rng.randrange(block.rows), block.w_col_start + rng.randrange(block.cols)
    blocked = (*placement.shape.blocked, (row, col, row + 1, col + 1))
    names = {*owners(placement), *(o.name for o in placement.occupied)}
    return replace(placement, shape=replace(placement.shape, blocked=blocked)), names


def fewer_bias_rows(rng: Random, placement: Placement) -> Spoilt:
    _, block = drawn(rng, placement)
    if not block.bias_rows:
        return None
    rows = rng.randrange(block.bias_start + block.bias_rows)
    names = {*owners(placement), *(o.name for o in placement.occupied)}
    return replace(placement, shape=replace(placement.shape, bias_rows=rows)), names


def senseless_number(rng: Random, placement: Placement) -> Spoilt:
    number, block = drawn(rng, placement)
    value = rng.choice((-1, -(1 << 70), 1 << 40, 1 << 70))
    if rng.random() < 0.3:
        of = placement.matrices[block.matrix]
        changed = rng.choice((replace(of, pixels=value), replace(of, copies=value), replace(of, bias_rows=value)))
        return with_matrix(placement, block.matrix, changed), {owner(placement, block)}
    fields = ("copy", "row_offset", "col_offset", "rows", "cols", "array", "w_row_start", "w_col_start", "bias_start")
    return with_block(placement, number, replace(block, **{rng.choice(fields): value})), {owner(placement, block)}


# -- certificates ------------------------------------------------------------------------------------------------------


def wrong_count(rng: Random, placement: Placement) -> Spoilt:
    claim = placement.certificate
    return with_claim(placement, arrays_used=claim.arrays_used + rng.choice((-1, 1)))


def wrong_bound(rng: Random, placement: Placement) -> Spoilt:
    """More than area says, or more than the arrays; nothing but the arrays themselves where there is a proof."""
    claim = placement.certificate
    return with_claim(placement, lower_bound=claim.lower_bound + 1)


def wrong_proof(rng: Random, placement: Placement) -> Spoilt:
    """`none` where the bound is met, `bound` or `solver` where it is not."""
    met = placement.certificate.proof != "none"
    return with_claim(placement, proof="none" if met else rng.choice(("bound", "solver")))


def solver_called_bound(rng: Random, placement: Placement) -> Spoilt:
    """A solver may know more than area does."""
    claim = placement.certificate
    area = -(
        -sum(b.rows * b.cols for b in (*placement.blocks, *placement.occupied)) // int(usable(placement.shape).sum())
    )
    if claim.proof != "solver" or area == claim.arrays_used:
        return None
    return with_claim(placement, proof="bound")


def unknown_bound(rng: Random, placement: Placement) -> Spoilt:
    return None if placement.certificate.proof == "solver" else with_claim(placement, bound="my word")


def with_claim(placement: Placement, **fields: int | str) -> Spoilt:
    return replace(placement, certificate=replace(placement.certificate, **fields)), {"certificate"}


SPOILERS: Final[tuple[Spoil, ...]] = (
    onto_another, outside, across_an_edge, on_blocked_cells, gap, occupied_under_a_block,
    resized, turned, other_offset, sizes_exchanged, dropped, doubled, without_weights, out_of_its_bundle, other_copy,
    other_matrix, out_of_order, bias_outside, bias_shared, other_bias_rows, other_shape_of_matrix, smaller_bundle,
    wider_row_groups,
    edge_through_a_block, blocked_under_a_block, fewer_bias_rows, senseless_number,
    wrong_count, wrong_bound, wrong_proof, solver_called_bound, unknown_bound,
)  # fmt: skip

"""Which blocks of an earlier placement are blocks of these networks: they stay, all others are cells that are taken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from bitline.core.diagnostics import refuse
from bitline.ir.placement import ArrayShape, Occupied, PlacedMatrix
from bitline.pipeline.placement_files import AGAIN, Earlier, Lying, refuse_misplaced, shown
from bitline.place.blocks import CutBlock, CutMatrices
from bitline.place.free import Kept, all_weights
from bitline.place.mapping import Sliding, windowed
from bitline.place.matrices import in_groups_of
from bitline.place.solve import Fixed

Part = tuple[str, str, str, int, int | None, int | None, int, int]
"""Network, node, matrix, copy, row and column offset, rows, columns."""


def stated(matrix: PlacedMatrix, layer: Sliding | None, lying: Lying) -> PlacedMatrix | None:
    """The matrix with the groups, the window, the copies and the bias rows that a .json file states of it; None where
    it states nothing, or of another matrix of that name. `layer`: the convolution that it is.

    Raises `Refusal` (BL0205) for more copies than blocks."""
    placement = lying.placement
    for number, there in enumerate(placement.matrices if placement else ()):
        if (there.network, there.nodes, there.matrix.name) != (matrix.network, matrix.nodes, matrix.matrix.name):
            continue
        blocks = [e.place for e in lying.earlier if e.matrix == number and e.row_offset is not None]
        wide = _as_wide(matrix, layer, there.window)
        if not blocks or wide is None or wide.matrix != there.matrix:
            continue
        if not 1 <= there.copies <= len(blocks):
            message = f"{shown(there.copies)} copies of {matrix.matrix.name!r}, but {len(blocks)} blocks"
            raise refuse("BL0205", message, place=lying.file, help=AGAIN)
        bias_rows = max(place.bias_rows for place in blocks)
        return replace(in_groups_of(wide, there.math.bundle), copies=there.copies, bias_rows=bias_rows)
    return None


def _as_wide(matrix: PlacedMatrix, layer: Sliding | None, window: tuple[int, int]) -> PlacedMatrix | None:
    """The matrix for a window of output pixels; None where it slides over no image that has such a window."""
    if window == (1, 1):
        return matrix
    if layer is None or not all(1 <= n <= most for n, most in zip(window, layer.outputs, strict=True)):
        return None
    return windowed(matrix, layer, window)


def known_again(cut: CutMatrices, matrices: Sequence[PlacedMatrix], lying: Lying, shape: ArrayShape) -> Fixed:
    """Which of the earlier blocks are blocks of these networks: same node, part and size; or the same number, where the
    file says no sizes; or, where it names no nodes, all of them in the same order with the same sizes.

    Raises `Refusal` (BL0205) for a number that the cut does not have, a block outside its array, or other bias rows
    than this run gives it."""
    earlier = lying.earlier
    if any(e.index is not None for e in earlier):
        return _by_number(cut, earlier, shape)
    sizes = [(b.rows, b.cols) for b in cut.blocks]
    nameless = all(e.row_offset is None for e in earlier)
    if earlier and nameless and sizes == [(e.place.rows, e.place.cols) for e in earlier]:
        for e, block in zip(earlier, cut.blocks, strict=True):
            _refuse_other_bias(e, block.bias_rows)
        return Fixed(blocks=dict(enumerate(e.place for e in earlier)), occupied=())
    keys: dict[Part, list[Earlier]] = {}
    rest: list[Occupied] = []
    for e in earlier:
        key = (e.network, e.node, e.weights, e.copy, e.row_offset, e.col_offset, e.place.rows, e.place.cols)
        if e.row_offset is None:
            rest.append(e.place)
        else:
            keys.setdefault(key, []).append(e)
    found: dict[int, Occupied] = {}
    for number, block in enumerate(cut.blocks):
        matrix = matrices[block.matrix]
        part = (block.copy, block.row_offset, block.col_offset, block.rows, block.cols)
        for network, weights in ((matrix.network, matrix.matrix.name), (matrix.network, ""), ("", "")):
            key = (network, matrix.nodes[0] if matrix.nodes else "", weights, *part)
            if keys.get(key):
                known = keys[key].pop(0)
                _refuse_other_bias(known, block.bias_rows)
                found[number] = known.place
                break
    return Fixed(blocks=found, occupied=(*rest, *(e.place for left in keys.values() for e in left)))


def _refuse_other_bias(earlier: Earlier, bias_rows: int) -> None:
    """Raise `Refusal` (BL0205) where a block lies there with bias rows, but others than this run gives it."""
    if earlier.place.bias_rows not in (0, bias_rows):
        raise refuse(
            "BL0205",
            f"the block has {earlier.place.bias_rows} bias rows, this run gives it {bias_rows}",
            place=earlier.where,
            help="give --bias-rows as for that file, or the .json of that placement, which states them",
        )


def _by_number(cut: CutMatrices, earlier: Sequence[Earlier], shape: ArrayShape) -> Fixed:
    found: dict[int, Earlier] = {}
    for e in earlier:
        if e.index is None or not 0 <= e.index < len(cut.blocks) or e.index in found:
            raise refuse(
                "BL0205",
                f"block {e.index} is none of the {len(cut.blocks)} of this cut, or stands there twice",
                place=e.where,
                help="cut as that file was cut (--cuts, --depthwise-group), or give rows and cols in it",
            )
        block = cut.blocks[e.index]
        place = replace(e.place, rows=block.rows, cols=block.cols, bias_rows=block.bias_rows)
        found[e.index] = replace(e, place=place)
    refuse_misplaced([*found.values()], shape)
    return Fixed(blocks={number: e.place for number, e in found.items()}, occupied=())


def kept_whole(matrices: Sequence[PlacedMatrix], lying: Lying) -> Kept:
    """Which copies of these matrices lie there with all their weights: their blocks stay as they were cut. What belongs
    to others, or is but a part of a matrix, is cells that are taken.

    Raises `Refusal` (BL0205) for a file that numbers the blocks of a fixed cut."""
    earlier = lying.earlier
    if any(e.index is not None for e in earlier):
        raise refuse(
            "BL0205",
            "the table has numbers of blocks but no sizes, and free cuts number none",
            place=lying.file,
            help="give rows and cols in it",
        )
    owners: dict[tuple[str, str, int], dict[int, list[Earlier]]] = {}
    rest: list[Occupied] = []
    for e in earlier:
        if e.row_offset is None or e.col_offset is None:
            rest.append(e.place)
        else:
            owners.setdefault((e.network, e.node, e.copy), {}).setdefault(e.matrix, []).append(e)
    kept: list[tuple[CutBlock, Occupied]] = []
    for number, matrix in enumerate(matrices):
        node = matrix.nodes[0] if matrix.nodes else ""
        for copy in range(matrix.copies):
            found = owners.get((matrix.network, node, copy)) or owners.get(("", node, copy), {})
            for own, parts in found.items():
                blocks = [_block(number, matrix, e) for e in parts]
                if all_weights(matrix, blocks):
                    for e in parts:
                        _refuse_other_bias(e, matrix.bias_rows)
                    kept += zip(blocks, (e.place for e in parts), strict=True)
                    del found[own]
                    break
    rest += [e.place for found in owners.values() for parts in found.values() for e in parts]
    return Kept(blocks=tuple(kept), occupied=tuple(rest))


def _block(number: int, matrix: PlacedMatrix, earlier: Earlier) -> CutBlock:
    assert earlier.row_offset is not None
    assert earlier.col_offset is not None
    return CutBlock(
        matrix=number,
        copy=earlier.copy,
        row_offset=earlier.row_offset,
        col_offset=earlier.col_offset,
        rows=earlier.place.rows,
        cols=earlier.place.cols,
        bias_rows=earlier.place.bias_rows,
        load=matrix.fires,
    )

"""Proves that a placement passes as compiled, and that no spoilt copy of it does."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitline.ir.kernels import Constants, Network
from bitline.ir.residency import BlockResidency
from bitline.verify.residency import FINDINGS, verify_residency
from tests.verify.compiled import TARGETS, TINY_CHIPS, Artefacts, mnist, tiny, with_adc

Blocks = list[BlockResidency]
Spoil = Callable[[Blocks], None]


def findings(
    made: Artefacts,
    blocks: Sequence[BlockResidency],
    *,
    cells: bytes | None = None,
    network: Network | None = None,
    constants: Constants | None = None,
) -> list[str]:
    """`place: message` of all findings; a mutated copy of a part stands in for the compiled one."""
    found = verify_residency(
        made.network if network is None else network,
        made.constants if constants is None else constants,
        blocks,
        made.cells if cells is None else cells,
        made.geometry,
    )
    assert {error.code for error in found} <= {"BL0501"}
    assert len(found) <= FINDINGS
    return [f"{error.place}: {error.message}" for error in found]


@pytest.mark.parametrize("target", TARGETS)
def test_mnist_passes(target: str) -> None:
    made = mnist(target)
    assert findings(made, made.blocks) == []


@pytest.mark.parametrize("chip", TINY_CHIPS)
def test_the_tiny_network_passes(chip: str) -> None:
    made = tiny(chip)
    assert findings(made, made.blocks) == []


@pytest.mark.parametrize("target", TARGETS)
def test_it_is_fast(target: str) -> None:
    made = mnist(target)
    before = time.perf_counter()
    findings(made, made.blocks)
    assert time.perf_counter() - before < 0.5


# -- spoilt copies ---------------------------------------------------------------------------------------------------


def of(blocks: Sequence[BlockResidency], matrix: str, number: int = 0) -> int:
    """Place of a block of a matrix."""
    return [i for i, item in enumerate(blocks) if matrix in item.block.matrix][number]


def change(blocks: Blocks, place: int, **fields: int) -> None:
    """Set fields of a residency, its block or its region, whichever has them."""
    item = blocks[place]
    inner = {"copy", "row_offset", "col_offset", "rows", "cols"}
    where = {"core", "array", "w_row_start", "w_col_start"}
    outer = {k: v for k, v in fields.items() if k not in inner | where}
    block = replace(item.block, **{k: v for k, v in fields.items() if k in inner})
    region = replace(item.region, **{k: v for k, v in fields.items() if k in where})
    blocks[place] = replace(item, block=block, region=region, **outer)


def changed(matrix: str, number: int = 0, **fields: int) -> Spoil:
    return lambda blocks: change(blocks, of(blocks, matrix, number), **fields)


def renamed(blocks: Blocks) -> None:
    blocks[0] = replace(blocks[0], block=replace(blocks[0].block, matrix="/conv9/Conv.weights"))


def dropped(blocks: Blocks) -> None:
    gone = of(blocks, "conv3", 2)
    del blocks[gone]
    for place in range(gone, len(blocks)):
        change(blocks, place, index=place)


def doubled(blocks: Blocks) -> None:
    """A second copy of the last block, in an array that is free."""
    blocks.append(replace(blocks[-1], index=len(blocks), region=replace(blocks[-1].region, core=2)))


def swapped_indices(blocks: Blocks) -> None:
    change(blocks, 0, index=1)
    change(blocks, 1, index=0)


def swapped_cells(blocks: Blocks) -> None:
    one, other = of(blocks, "conv4", 0), of(blocks, "conv4", 1)
    first, second = blocks[one].cells_at, blocks[other].cells_at
    change(blocks, one, cells_at=second)
    change(blocks, other, cells_at=first)


def same_region(one: tuple[str, int], other: tuple[str, int]) -> Spoil:
    def spoil(blocks: Blocks) -> None:
        place = of(blocks, *one)
        blocks[place] = replace(blocks[place], region=blocks[of(blocks, *other)].region)

    return spoil


SPOILT: dict[str, tuple[Spoil, str]] = {
    "no such core": (changed("conv1", core=4), "lies on core 4, the chip has 4"),
    "negative core": (changed("conv1", core=-1), "lies on core -1, the chip has 4"),
    "no such array": (changed("conv1", array=9), "lies in array 9, a core has 9"),
    "below the array": (changed("conv1", w_row_start=60), "array rows 60..68, columns 0..31 of 64 x 64"),
    "right of the array": (changed("conv2", w_col_start=33), "columns 33..64 of 64 x 64"),
    "two resident blocks in one place": (same_region(("conv2", 0), ("conv2", 1)), "in core 1, array 0, steps 0..5"),
    "two matrices in one place": (same_region(("conv2", 0), ("conv3", 0)), "of '/conv3/Conv.weights' in core 2"),
    "two streamed blocks of a round": (same_region(("fc1", 0), ("fc1", 1)), "overlaps block"),
    "streamed rounds run into one": (changed("fc1", 8, round=0), "in core 0, array 0, steps 8..8, round 0"),
    "resident blocks stay too long": (changed("conv5", 0, to_step=8), "of '/fc1/Gemm.weights' in core 0, array 0"),
    "block of no matrix": (renamed, "/conv9/Conv.weights: block 0 (copy 0, rows 0..8"),
    "block missing": (dropped, "/conv3/Conv.weights: no block has 4096 weights of copy 0, first row 128, column 0"),
    "block twice": (doubled, "/fc2/Gemm.weights: more than one block has 480 weights of copy 0"),
    "a row short": (changed("conv1", rows=8), "no block has 32 weights of copy 0, first row 8, column 0 of group 0"),
    "a column short": (changed("conv1", cols=31), "no block has 9 weights of copy 0, first row 0, column 31"),
    "a row twice": (changed("conv2", 4, row_offset=255, rows=33), "more than one block has 32 weights"),
    "outside the matrix": (changed("conv2", 4, row_offset=260), "rows 260..291, columns 0..31 of a matrix of 288 x 32"),
    "empty": (changed("conv1", rows=0), "a block of 0 x 32 weights"),
    "copies not from 0": (changed("conv1", copy=1), "copies [1] lie in arrays"),
    "half of it another copy": (changed("conv2", 0, copy=1), "no block has 2048 weights of copy 0"),
    "order of indices": (swapped_indices, "index 1 of step 0 follows index 0 of step 1"),
    "index twice": (changed("conv2", 0, index=0), "index 0 is taken already"),
    "index too large": (changed("conv2", 0, index=79), "index 79 is none of 0..78"),
    "after the last step": (changed("fc2", to_step=10), "from step 9 to 10, the steps are 0..9"),
    "from after to": (changed("conv1", from_step=3, to_step=0), "from step 3 to 0"),
    "not there when needed": (changed("conv3", 0, to_step=2), "from step 0 to 2, its kernel runs at 3"),
    "rounds of a block that stays": (changed("conv1", round=1), "has round 1 but lies there from step 0 to 5"),
    "negative round": (changed("fc1", round=-1), "has round -1"),
    "loaded less than never": (changed("conv1", loads=-1), "is loaded -1 times"),
    "never loaded again, but leaves": (changed("conv1", loads=0), "never loaded again but leaves: steps 0..5 of 10"),
    "cells of another block": (swapped_cells, "wrong cells, first row 0, column"),
    "cells a byte on": (changed("fc2", cells_at=252_191), "which block 77"),
    "cells after the end": (changed("fc2", cells_at=252_193), "which holds 252672"),
    "cells before the start": (changed("conv1", cells_at=-1), "bytes -1..286 of arrays.bin"),
    "number beyond all measure": (changed("conv1", cells_at=1 << 200), f"{1 << 200} is no number of a placement"),
}


@pytest.mark.parametrize(("spoil", "words"), SPOILT.values(), ids=SPOILT)
def test_a_spoilt_placement_is_refused(spoil: Spoil, words: str) -> None:
    made = mnist("reram-tile")
    blocks = list(made.blocks)
    spoil(blocks)
    found = findings(made, blocks)
    assert any(words in line for line in found), found


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("seed", range(8))
def test_one_wrong_cell_is_found_anywhere(target: str, seed: int) -> None:
    made = mnist(target)
    cells = bytearray(made.cells)
    place = int(np.random.default_rng(seed).integers(len(cells)))
    cells[place] ^= 1
    (line,) = findings(made, made.blocks, cells=bytes(cells))
    item = next(i for i in made.blocks if i.cells_at <= place < i.cells_at + i.block.rows * i.block.cols)
    row, col = divmod(place - item.cells_at, item.block.cols)
    assert f"{item.block.matrix}: block {item.index} " in line
    assert f"1 wrong cells, first row {item.block.row_offset + row}, column {item.block.col_offset + col}:" in line
    assert f"{cells[place]} instead of {made.cells[place]}" in line


def test_missing_bytes_are_found() -> None:
    made = mnist("sram-dcim")
    (line,) = findings(made, made.blocks, cells=made.cells[:-1])
    assert "which holds 252671" in line


def test_weights_that_the_network_does_not_have() -> None:
    made = mnist("sram-dcim")
    name = "/conv2/Conv.weights"
    others = {key: value for key, value in made.constants.items() if key != name}
    lines = findings(made, made.blocks, constants=others)
    assert any(f"{name}: no constant holds the weights" in line for line in lines)
    lines = findings(made, made.blocks, constants={**others, name: np.zeros((1, 288, 31), np.int8)})
    assert any("the constant is int8[1, 288, 31], the matrix int8[1, 288, 32]" in line for line in lines)


# -- row groups and bundles --------------------------------------------------------------------------------------------


def halved(made: Artefacts, place: int, rows: int) -> Blocks:
    """The block at `place` cut after `rows` rows; both parts stay where they were."""
    item = made.blocks[place]
    lower = replace(
        item,
        block=replace(item.block, row_offset=item.block.row_offset + rows, rows=item.block.rows - rows),
        region=replace(item.region, w_row_start=item.region.w_row_start + rows),
        cells_at=item.cells_at + rows * item.block.cols,
    )
    upper = replace(item, block=replace(item.block, rows=rows))
    blocks = [*made.blocks[:place], upper, lower, *made.blocks[place + 1 :]]
    return [replace(item, index=index) for index, item in enumerate(blocks)]


def test_rows_may_be_cut_anywhere_where_no_conversion_can_clip() -> None:
    made = mnist("reram-tile")
    assert findings(made, halved(made, of(made.blocks, "conv2"), 40)) == []


def test_rows_are_cut_between_row_groups_where_a_conversion_may_clip() -> None:
    made = mnist("reram-tile")
    clipping = with_adc(made.network, 6)
    assert findings(made, made.blocks, network=clipping) == []
    found = findings(made, halved(made, of(made.blocks, "conv2"), 40), network=clipping)
    assert len(found) == 2
    assert "(copy 0, rows 0..39, columns 0..31) cuts a row group of 64 rows" in found[0]
    assert "(copy 0, rows 40..63, columns 0..31) cuts a row group of 64 rows" in found[1]


BUNDLES: dict[str, tuple[Spoil, str]] = {
    "beside the diagonal": (changed("depthwise", 0, col_offset=3), "lies outside all groups of the matrix"),
    "across two bundles": (changed("depthwise", 0, rows=28), "leaves its bundle of 3 groups: rows 0..26, columns 0..2"),
    "columns of two bundles": (changed("depthwise", 0, cols=4), "leaves its bundle of 3 groups"),
    "a group short": (
        changed("depthwise", 0, rows=18),
        "no block has 9 weights of copy 0, first row 0, column 0 of group 2",
    ),
}


@pytest.mark.parametrize(("spoil", "words"), BUNDLES.values(), ids=BUNDLES)
def test_spoilt_blocks_of_a_block_diagonal_matrix(spoil: Spoil, words: str) -> None:
    made = tiny("resident")
    blocks = list(made.blocks)
    spoil(blocks)
    found = findings(made, blocks)
    assert any(words in line for line in found), found


def test_cells_between_the_groups_hold_weight_zero() -> None:
    made = tiny("resident")
    item = made.blocks[of(made.blocks, "depthwise")]
    cells = bytearray(made.cells)
    cells[item.cells_at + 1] = 7  # row 0 belongs to the first group, column 1 to the second
    (line,) = findings(made, made.blocks, cells=bytes(cells))
    assert "first row 0, column 1: 7 instead of 0" in line


# -- against brute force -----------------------------------------------------------------------------------------------

FIELDS = (
    "copy", "row_offset", "col_offset", "rows", "cols", "core", "array", "w_row_start", "w_col_start",
    "from_step", "to_step", "round", "cells_at",
)  # fmt: skip


def is_right(made: Artefacts, blocks: Blocks) -> bool:
    """Painted weight by weight and cell by cell, in plain Python: coverage, places, overlaps, steps, bytes."""
    matrices = {k.matrix.name: (step, k) for step, k in enumerate(made.network.kernels) if k.kind == "MatMul"}
    geometry, steps = made.geometry, len(made.network.kernels)
    painted: dict[tuple[int, int, int, int, int], list[BlockResidency]] = {}
    covered: dict[tuple[str, int, int, int], int] = {}
    bytes_: set[int] = set()
    for item in blocks:
        block, region = item.block, item.region
        step, user = matrices[block.matrix]
        matrix, math = user.matrix, user.math
        stored = made.constants[matrix.name]
        if min(block.rows, block.cols) < 1 or not 0 <= item.from_step <= step <= item.to_step < steps or item.round < 0:
            return False
        if item.round and item.from_step != item.to_step:
            return False
        if item.loads == 0 and (item.from_step, item.to_step) != (0, steps - 1):
            return False
        bundles: set[int] = set()
        for i in range(block.rows * block.cols):
            r, c = divmod(i, block.cols)
            row, col = block.row_offset + r, block.col_offset + c
            groups = row // matrix.rows, col // matrix.cols
            bundles |= {group // math.bundle for group in groups}
            if len(bundles) > 1 or not all(0 <= group < matrix.groups for group in groups):
                return False
            weight = 0
            if groups[0] == groups[1]:
                key = (matrix.name, block.copy, row, col)
                covered[key] = covered.get(key, 0) + 1
                weight = int(stored[groups[0], row % matrix.rows, col % matrix.cols])
            at = item.cells_at + i
            if at in bytes_ or not 0 <= at < len(made.cells) or made.cells[at] != (weight + math.weight_offset) & 255:
                return False
            bytes_.add(at)
            place = (region.core, region.array, region.w_row_start + r, region.w_col_start + c)
            limits = (geometry.cores, geometry.arrays_per_core, geometry.array_rows, geometry.array_cols)
            if not all(0 <= p < limit for p, limit in zip(place, limits, strict=True)):
                return False
            for when in range(item.from_step, item.to_step + 1):
                painted.setdefault((when, *place), []).append(item)
        if not any((block.matrix, block.copy, *at) in covered for at in _corners(item)):
            return False
    for holders in painted.values():
        resident = any(item.from_step != item.to_step for item in holders) or len({i.block.matrix for i in holders}) > 1
        if len(holders) > 1 and (resident or len({item.round for item in holders}) < len(holders)):
            return False
    copies = {(item.block.matrix, item.block.copy) for item in blocks}
    weights = 0
    for name, (_, user) in matrices.items():
        numbers = sorted(copy for matrix, copy in copies if matrix == name)
        if not numbers or numbers != list(range(len(numbers))):
            return False
        weights += len(numbers) * user.matrix.groups * user.matrix.rows * user.matrix.cols
    return len(covered) == weights and set(covered.values()) == {1}


def _corners(item: BlockResidency) -> list[tuple[int, int]]:
    """(row, column) of all weights of a block."""
    b = item.block
    return [(b.row_offset + r, b.col_offset + c) for r in range(b.rows) for c in range(b.cols)]


@pytest.mark.parametrize("chip", TINY_CHIPS)
def test_brute_force_agrees_with_the_compiled_placement(chip: str) -> None:
    made = tiny(chip)
    assert is_right(made, list(made.blocks))


@pytest.mark.parametrize("chip", TINY_CHIPS)
@settings(max_examples=400)
@given(data=st.data())
def test_the_verdict_on_every_mutant_is_that_of_brute_force(chip: str, data: st.DataObject) -> None:
    """One number or two of a placement are off by a little: refused if and only if painting it shows why."""
    made = tiny(chip)
    blocks = list(made.blocks)
    for _ in range(data.draw(st.integers(1, 2))):
        place = data.draw(st.integers(0, len(blocks) - 1))
        field = data.draw(st.sampled_from(FIELDS))
        item = blocks[place]
        owner = next(part for part in (item, item.block, item.region) if hasattr(part, field))
        change(blocks, place, **{field: getattr(owner, field) + data.draw(st.integers(-2, 9))})
    assert (findings(made, blocks) == []) == is_right(made, blocks)

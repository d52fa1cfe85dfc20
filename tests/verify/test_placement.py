"""Proves that placements made by code of the test pass, and that none with a mistake does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, is_dataclass, replace
from functools import cache
from random import Random
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitline.core.canonical import from_json, to_json
from bitline.core.diagnostics import Diagnostic
from bitline.ir.kernels import Matrix
from bitline.ir.placement import ArrayShape, Certificate, Occupied, PlacedBlock, PlacedMatrix, Placement, Proof
from bitline.pack.bounds import best_bound
from bitline.pack.rectangles import pack
from bitline.place.arrays import certificate, scale_of
from bitline.verify.placement import FINDINGS, verify_placement
from tests.verify.placements import MATH, certified, is_right, random_placement
from tests.verify.spoilt_placements import SPOILERS, Spoil, drawn, with_block, with_matrix

SEEDS = 60
MUTANTS_OF_A_KIND = 40

made = cache(random_placement)


def findings(placement: Placement, *, certificate: bool = True) -> list[Diagnostic]:
    """All findings, in order."""
    checks = verify_placement(placement)
    found = [error for check in checks if certificate or check.name != "certificate" for error in check.errors]
    assert {error.code for error in found} <= {"BL0501"}
    assert all(len(check.errors) <= FINDINGS for check in checks)
    return found


@pytest.mark.parametrize("seed", range(SEEDS))
def test_valid_placements_pass(seed: int) -> None:
    placement = made(seed)
    assert is_right(placement)
    assert findings(placement) == []
    assert findings(from_json(Placement, to_json(placement), place="a file")) == []


@pytest.mark.parametrize("spoil", SPOILERS, ids=lambda spoil: spoil.__name__)
def test_every_mistake_is_found_and_named(spoil: Spoil) -> None:
    rng, spoilt = Random(spoil.__name__), 0
    while spoilt < MUTANTS_OF_A_KIND:
        result = spoil(rng, made(rng.randrange(SEEDS)))
        if result is None:
            continue
        placement, names = result
        found = findings(placement)
        assert {error.place for error in found} & names, (names, [str(error) for error in found])
        spoilt += 1


def test_there_are_a_thousand_mistakes() -> None:
    assert MUTANTS_OF_A_KIND * len(SPOILERS) >= 1000


def packed(pieces: list[tuple[int, int]], rows: int, cols: int) -> Placement:
    """A matrix for each piece, where the packer lays it, with the bound that it has."""
    packing = pack(pieces, rows=rows, cols=cols)
    assert packing is not None
    bound = best_bound(pieces, rows, cols)
    places = zip(packing.bin_of, packing.row_start, packing.col_start, strict=True)
    return Placement(
        target="t",
        cuts="full",
        shape=ArrayShape(rows=rows, cols=cols),
        matrices=tuple(whole(f"m{k}", *piece) for k, piece in enumerate(pieces)),
        blocks=tuple(block_of(k, *pieces[k], *place) for k, place in enumerate(places)),
        occupied=(),
        certificate=replace(certificate(packing.bins, bound.value, bound.which), scale=scale_of(bound)),
    )


def whole(name: str, rows: int, cols: int) -> PlacedMatrix:
    matrix = Matrix(name=name, groups=1, rows=rows, cols=cols)
    return PlacedMatrix(network="net", nodes=(f"/{name}",), matrix=matrix, math=MATH, pixels=1)


def block_of(matrix: int, rows: int, cols: int, array: int, row: int, col: int) -> PlacedBlock:
    return PlacedBlock(
        matrix=matrix, copy=0, row_offset=0, col_offset=0, rows=rows, cols=cols, array=array, w_row_start=row,
        w_col_start=col,
    )  # fmt: skip


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(1, 20), st.integers(1, 16)), min_size=1, max_size=40))
def test_what_the_packer_does_passes_with_its_own_bound(pieces: list[tuple[int, int]]) -> None:
    assert findings(packed(pieces, 20, 16)) == []


# -- against brute force -----------------------------------------------------------------------------------------------

PLACE = ("array", "w_row_start", "w_col_start", "bias_start")
WEIGHTS = ("matrix", "copy", "row_offset", "col_offset", "rows", "cols", "bias_rows")


def nudged(rng: Random, placement: Placement) -> Placement:
    """One number of a block, its place or its matrix is off by a little, or two blocks exchange places."""
    number, block = drawn(rng, placement)
    kind = rng.choice(("place", "weights", "matrix", "exchange"))
    if kind == "exchange":
        alike = [k for k, b in enumerate(placement.blocks) if (b.rows, b.cols) == (block.rows, block.cols)]
        other = rng.choice((rng.randrange(len(placement.blocks)), rng.choice(alike)))
        there = placement.blocks[other]
        one, two = ({field: getattr(b, field) for field in PLACE} for b in (block, there))
        return with_block(with_block(placement, number, replace(block, **two)), other, replace(there, **one))
    if kind == "matrix" and 0 <= block.matrix < len(placement.matrices):
        of, by = placement.matrices[block.matrix], rng.randint(-1, 1)
        math = replace(of.math, bundle=max(1, of.math.bundle + by), group_rows=rng.randint(1, 8), adc_bits=1)
        biased = replace(of, bias_rows=max(0, of.bias_rows + by))
        return with_matrix(placement, block.matrix, rng.choice((replace(of, math=math), biased)))
    field = rng.choice(WEIGHTS if kind == "weights" else PLACE)
    return with_block(placement, number, replace(block, **{field: getattr(block, field) + rng.randint(-2, 2)}))


def test_the_verdict_is_that_of_painting_every_cell() -> None:
    """A placement with one or two numbers changed is refused if and only if painting it shows why."""
    small = [seed for seed in range(SEEDS) if len(made(seed).blocks) < 25]
    rng, verdicts = Random(7), [0, 0]
    for _ in range(400):
        placement = made(rng.choice(small))
        for _ in range(rng.randint(1, 2)):
            placement = nudged(rng, placement)
        right = is_right(placement)
        found = findings(placement, certificate=False)
        assert (found == []) == right, [str(error) for error in found]
        verdicts[right] += 1
    assert min(verdicts) > 40, verdicts


# -- numbers beyond all measure ----------------------------------------------------------------------------------------

BEYOND: Sequence[int] = (-(1 << 200), -1, 0, 1, 1 << 31, 1 << 39, (1 << 40) - 1, 1 << 40, 1 << 63, pow(2, 20_000))


def spoil_numbers(value: object, at: list[int], hostile: dict[int, int]) -> object:
    """A copy in which the numbers at some places, counted through all fields, are others."""
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{f.name: spoil_numbers(getattr(value, f.name), at, hostile) for f in fields(value)})
    if isinstance(value, tuple):
        return tuple(spoil_numbers(item, at, hostile) for item in cast("tuple[object, ...]", value))
    if isinstance(value, int):
        at[0] += 1
        return hostile.get(at[0] - 1, value)
    return value


@settings(max_examples=400)
@given(seed=st.integers(0, SEEDS - 1), data=st.data())
def test_no_number_makes_it_stumble(seed: int, data: st.DataObject) -> None:
    """Any numbers anywhere: findings that can be printed, and none only where nothing changed or nothing matters."""
    placement = made(seed)
    count = [0]
    spoil_numbers(placement, count, {})
    hostile = data.draw(st.dictionaries(st.integers(0, count[0] - 1), st.sampled_from(BEYOND), min_size=1, max_size=3))
    spoilt = spoil_numbers(placement, [0], hostile)
    assert isinstance(spoilt, Placement)
    for check in verify_placement(spoilt):
        assert len(check.saw) < 300
        assert all(len(str(error)) < 1000 for error in check.errors)


def test_all_numbers_beyond_measure_at_once() -> None:
    placement = made(3)
    count = [0]
    spoil_numbers(placement, count, {})
    for value in BEYOND:
        spoilt = spoil_numbers(placement, [0], dict.fromkeys(range(count[0]), value))
        assert isinstance(spoilt, Placement)
        assert findings(spoilt)
        sane_shape = replace(spoilt, shape=placement.shape)
        assert findings(sane_shape)
        assert findings(replace(sane_shape, matrices=placement.matrices))


# -- words -------------------------------------------------------------------------------------------------------------


WORDS: dict[str, tuple[dict[str, int], str]] = {
    "beyond the matrix": ({"rows": 3}, "net:a: block 0 (copy 0, rows 0..2, columns 0..2) of a matrix of 2 x 3"),
    "not all": ({"rows": 1}, "net:a: blocks of copy 0 hold 3 weights, the matrix has 6"),
    "no copy": ({"copy": 1}, "net:a: a block has copy 1, the copies are 0..0"),
    "no matrix": ({"matrix": 2}, "block 0: block 0 is of matrix 2, there are 2"),
    "no array": ({"array": -1}, "net:a: block 0 has array -1, expected 0..1099511627775"),
    "beyond the array": ({"w_col_start": 2}, "leaves array 0: rows 0..1, columns 2..4 of 4 x 4"),
    "a gap": ({"array": 2}, "net:b: block 1 (copy 0, rows 0..1, columns 0..2) lies in array 1, but nothing in 0"),
    "in one place": ({"array": 1, "w_row_start": 1}, "overlaps block 1 (copy 0, rows 0..1, columns 0..2) of 'net:b'"),
    "no bias rows": ({"bias_rows": 1}, "has bias rows 0..0, an array has 0"),
}


@pytest.mark.parametrize(("change", "words"), WORDS.values(), ids=WORDS)
def test_findings_say_what_is_wrong_where(change: dict[str, int], words: str) -> None:
    placement = two_blocks(2, 3)
    found = findings(with_block(placement, 0, replace(placement.blocks[0], **change)), certificate=False)
    assert any(words in f"{error.place}: {error.message}" for error in found), [str(error) for error in found]


BAD_SHAPES: dict[str, tuple[ArrayShape, str]] = {
    "no rows": (ArrayShape(rows=0, cols=4), "rows 0, expected 1.."),
    "edge at the top": (ArrayShape(rows=4, cols=4, edges=(0,)), "an edge at row 0 of 4"),
    "edge at the bottom": (ArrayShape(rows=4, cols=4, edges=(4,)), "an edge at row 4 of 4"),
    "blocked outside": (ArrayShape(rows=4, cols=4, blocked=((3, 0, 5, 1),)), "none: rows 3..4, columns 0..0"),
    "blocked nothing": (ArrayShape(rows=4, cols=4, blocked=((3, 1, 4, 1),)), "none: rows 3..3, columns 1..0"),
}


@pytest.mark.parametrize(("shape", "words"), BAD_SHAPES.values(), ids=BAD_SHAPES)
def test_arrays_that_cannot_be(shape: ArrayShape, words: str) -> None:
    (check,) = verify_placement(replace(two_blocks(2, 3), shape=shape))
    (error,) = check.errors
    assert (check.name, error.place) == ("arrays", "shape")
    assert words in error.message


def test_numbers_of_matrices_that_cannot_be() -> None:
    placement = two_blocks(2, 3)
    of = placement.matrices[0]
    for changed, words in (
        (replace(of, pixels=0), "pixels 0, expected 1.."),
        (replace(of, gain=0), "gain 0, expected 1.."),
        (replace(of, window=(0, 0)), "pixels down of the window 0, expected 1.."),
        (replace(of, window=(1, -1)), "pixels right of the window -1, expected 1.."),
        (replace(of, window=(1, 2)), "a window of 1 x 2 output pixels, but 1 groups of 3 columns"),
        (replace(of, math=replace(MATH, cell_bits=65)), "cell_bits 65, expected 1..64"),
        (replace(of, math=replace(MATH, adc_bits=-1)), "adc_bits -1, expected 0..64"),
        (replace(of, matrix=replace(of.matrix, groups=1 << 39, rows=2)), "groups x rows 1099511627776, expected"),
        (replace(of, matrix=replace(of.matrix, groups=1 << 39)), "groups x cols 1649267441664, expected"),
    ):
        found = findings(with_matrix(placement, 0, changed))
        assert any(error.place == "net:a" and words in error.message for error in found), words


def test_what_a_verification_tells() -> None:
    placement = made(3)
    names = [check.name for check in verify_placement(placement)]
    assert names == ["arrays", "places", "weights", "certificate"]
    trusted = certified(placement, solver=True)
    *_, certificate = verify_placement(trusted)
    assert certificate.errors == ()
    assert "proved by a solver, not recomputed" in certificate.saw
    *_, certificate = verify_placement(replace(certified(placement), blocks=placement.blocks[1:]))
    assert "not recomputed, something else is wrong" in certificate.saw


def test_nothing_at_all_takes_no_array() -> None:
    placement = replace(made(3), matrices=(), blocks=(), occupied=())
    claim = replace(placement.certificate, arrays_used=0, lower_bound=0, bound="area", proof="bound")
    assert findings(replace(placement, certificate=claim)) == []
    (error,) = findings(replace(placement, certificate=replace(claim, arrays_used=1, lower_bound=1)))
    assert error.message == "1 arrays used, blocks lie in 0"


def test_a_bound_that_is_too_good_does_not_follow() -> None:
    """Two blocks of 3 x 3 in arrays of 4 x 4: 18 of 32 cells, two arrays by area, and three are never needed."""
    placement = two_blocks(3, 3)
    assert findings(placement) == []
    (error,) = findings(replace(placement, certificate=replace(placement.certificate, lower_bound=3, arrays_used=3)))
    assert error.place == "certificate"
    small = two_blocks(2, 3)
    for bound, proof, words in (
        ("area", "bound", "the bound does not follow: 'area' gives 1, not 2"),
        ("bias", "bound", "the bound does not follow: 'bias' gives 0, not 2"),
        ("dff", "bound", "the bound does not follow: 'dff' gives 1, not 2"),
        ("area", "none", "does not say whether fewer would do"),
        ("mine", "bound", "no bound is called 'mine', known: area, bias, clique, dff, occupied"),
    ):
        claim = Certificate(arrays_used=2, lower_bound=2, bound=bound, proof=cast("Proof", proof))
        (error,) = findings(replace(small, certificate=claim))
        assert words in error.message
    assert (
        findings(replace(small, certificate=Certificate(arrays_used=2, lower_bound=1, bound="dff", proof="none"))) == []
    )


def test_arrays_with_occupied_cells_are_in_use() -> None:
    """A cell of each of two arrays is taken; two small blocks could go beside either."""
    placement = two_blocks(1, 1)
    taken = tuple(Occupied(name="earlier", array=k, w_row_start=3, w_col_start=3, rows=1, cols=1) for k in range(2))
    for occupied, bound in ((taken, 2), (taken[:1], 1)):
        claim = Certificate(arrays_used=2, lower_bound=2, bound="occupied", proof="bound")
        found = findings(replace(placement, occupied=occupied, certificate=claim))
        wanted = [] if bound == 2 else ["the bound does not follow: 'occupied' gives 1, not 2"]
        assert [error.message for error in found] == wanted


def two_blocks(rows: int, cols: int) -> Placement:
    """Two matrices in arrays of 4 x 4, an array each."""
    return Placement(
        target="t",
        cuts="full",
        shape=ArrayShape(rows=4, cols=4),
        matrices=(whole("a", rows, cols), whole("b", rows, cols)),
        blocks=(block_of(0, rows, cols, 0, 0, 0), block_of(1, rows, cols, 1, 0, 0)),
        occupied=(),
        certificate=Certificate(arrays_used=2, lower_bound=2, bound="area", proof="bound"),
    )

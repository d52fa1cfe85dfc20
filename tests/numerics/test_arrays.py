"""What an array computes, against loops over rows, bits and slices written out."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st

from bitline.ir.program import MathOp
from bitline.numerics.arrays import array_product, converts, decode_cells, encode_cells, exact_product
from bitline.numerics.reference import block_diagonal, column_sums

Ints = npt.NDArray[np.int64]


def slow_product(math: MathOp, x: Ints, weights: Ints) -> tuple[list[list[int]], int]:
    """(sums, clipped conversions) of driven integers x and real weights, one conversion at a time."""
    limit = 2**math.adc_bits - 1
    clipped = 0
    sums: list[list[int]] = []
    for pixel in x.tolist():
        line: list[int] = []
        for column in weights.T.tolist():
            total = 0
            for start in range(0, len(pixel), math.group_rows):
                group = list(zip(pixel, column, strict=True))[start : start + math.group_rows]
                for bit in range(math.input_bits):
                    for s in range(math.slices):
                        mask = 2**math.cell_bits - 1
                        found = sum((v >> bit & 1) * ((w + 128) >> s * math.cell_bits & mask) for v, w in group)
                        clipped += found > limit
                        total += min(found, limit) * 2 ** (bit + s * math.cell_bits)
            line.append(total - 128 * sum(pixel))
        sums.append(line)
    return sums, clipped


def drawn(seed: int, pixels: int, rows: int, cols: int) -> tuple[Ints, Ints]:
    rng = np.random.default_rng(seed)
    x, w = rng.integers(0, 256, (pixels, rows)), rng.integers(-128, 128, (rows, cols))
    if seed % 3 == 0:
        x, w = rng.choice([0, 255], x.shape), rng.choice([-128, 127], w.shape)
    return x.astype(np.int64), w.astype(np.int64)


sizes = st.tuples(st.integers(1, 2), st.integers(1, 14), st.integers(1, 3))


@given(
    seed=st.integers(0, 10**6),
    size=sizes,
    adc_bits=st.integers(1, 9),
    group_rows=st.integers(1, 16),
    cell_bits=st.sampled_from([1, 2, 3, 4, 8]),
)
def test_converters_clip_group_by_group(
    seed: int, size: tuple[int, int, int], adc_bits: int, group_rows: int, cell_bits: int
) -> None:
    math = MathOp(
        group_rows=group_rows,
        slices=-(-8 // cell_bits),
        cell_bits=cell_bits,
        weight_offset=128,
        input_bits=8,
        input_offset=0,
        adc_bits=adc_bits,
    )
    x, weights = drawn(seed, *size)
    found = array_product(math, x, encode_cells(weights, 128))
    sums, clipped = slow_product(math, x, weights)
    assert found.sums.tolist() == sums
    assert found.clipped == clipped
    groups = -(-size[1] // group_rows)
    assert found.conversions == size[0] * size[2] * groups * math.slices * 8
    if not converts(math):
        assert clipped == 0
        assert np.array_equal(found.sums, x @ weights)


@given(seed=st.integers(0, 10**6), size=sizes, signed=st.booleans())
def test_digital_arrays_are_exact(seed: int, size: tuple[int, int, int], signed: bool) -> None:
    math = MathOp(
        group_rows=256, slices=1, cell_bits=8, weight_offset=0, input_bits=8, input_offset=128 * signed, adc_bits=0
    )
    x, weights = drawn(seed, *size)
    found = array_product(math, x, encode_cells(weights, 0))
    assert np.array_equal(found.sums, x @ weights)
    assert (found.conversions, found.clipped) == (0, 0)


@given(weights=st.lists(st.integers(-128, 127), min_size=1, max_size=20), offset=st.sampled_from([0, 128]))
def test_cells_hold_every_weight(weights: list[int], offset: int) -> None:
    cells = encode_cells(np.array(weights), offset)
    assert (decode_cells(cells, offset) - offset).tolist() == weights


def test_the_largest_products_are_exact() -> None:
    x, w = np.full((1, 1 << 18), 255), np.full((1 << 18, 1), -128)
    assert exact_product(x, w).item() == -128 * 255 * (1 << 18)


@given(seed=st.integers(0, 10**6), groups=st.integers(1, 3), rows=st.integers(1, 4), cols=st.integers(1, 4))
def test_block_diagonal_matrices_multiply_group_by_group(seed: int, groups: int, rows: int, cols: int) -> None:
    rng = np.random.default_rng(seed)
    matrix = rng.integers(-128, 128, (groups, rows, cols))
    x = rng.integers(0, 256, (2, groups, rows))
    whole = exact_product(x.reshape(2, -1), block_diagonal(matrix))
    assert np.array_equal(whole, np.einsum("pgr,grc->pgc", x, matrix).reshape(2, -1))
    assert np.array_equal(column_sums(matrix), block_diagonal(matrix).sum(axis=0))

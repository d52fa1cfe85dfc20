"""Array arithmetic follows from the chip: bundles fit, and a converter never sees a negative number."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitline.numerics.arrays import array_product, encode_cells
from bitline.target.arrays import array_math
from bitline.target.load import load_target

RERAM, SRAM = load_target("reram-tile"), load_target("sram-dcim")


def test_reram_is_offset_binary_and_lossless() -> None:
    math = array_math(RERAM, rows=576, cols=64, groups=1, signed_input=True)
    assert (math.weight_offset, math.input_offset, math.slices, math.group_rows) == (128, 128, 4, 64)
    assert math.lossless
    assert math.bundle == 1


def test_unsigned_inputs_need_no_offset() -> None:
    assert array_math(RERAM, rows=1, cols=1, groups=1, signed_input=False).input_offset == 0


def test_digital_arrays_are_driven_with_unsigned_bits_as_well() -> None:
    math = array_math(SRAM, rows=576, cols=64, groups=1, signed_input=True)
    assert (math.weight_offset, math.input_offset, math.slices, math.adc_bits) == (0, 128, 1, 0)
    assert math.lossless


def test_a_smaller_converter_clips() -> None:
    chip = load_target("reram-tile", ["adc.bits=6"])
    assert not array_math(chip, rows=64, cols=64, groups=1, signed_input=False).lossless


@pytest.mark.parametrize(
    ("rows", "cols", "groups", "bundle"),
    [(9, 1, 32, 7), (9, 1, 3, 3), (9, 16, 32, 4), (64, 64, 8, 1), (65, 1, 8, 1), (1, 65, 8, 1), (9, 1, 1, 1)],
)
def test_bundles(rows: int, cols: int, groups: int, bundle: int) -> None:
    assert array_math(RERAM, rows=rows, cols=cols, groups=groups, signed_input=False).bundle == bundle


@given(rows=st.integers(1, 300), cols=st.integers(1, 300), groups=st.integers(1, 300))
def test_bundles_are_as_few_as_fit_and_even(rows: int, cols: int, groups: int) -> None:
    array = SRAM.array

    def fits(g: int) -> bool:
        return g <= groups and g * rows <= array.group_rows.value and g * cols <= array.cols.value

    bundle = array_math(SRAM, rows=rows, cols=cols, groups=groups, signed_input=False).bundle
    blocks = -(-groups // max((g for g in range(1, groups + 1) if fits(g)), default=1))
    assert bundle == next(g for g in range(1, groups + 1) if g * blocks >= groups)


def test_isaac_flips_and_its_8_bits_do_the_work_of_9() -> None:
    chip = load_target("isaac")
    math = array_math(chip, rows=128, cols=128, groups=1, signed_input=False)
    assert (chip.adc.bits.value, math.adc_bits, math.weight_offset, math.slices) == (8, 9, 128, 4)
    assert math.lossless
    plain = load_target("isaac", ["array.weight_encoding=offset"])
    assert not array_math(plain, rows=128, cols=128, groups=1, signed_input=False).lossless


@given(
    rows=st.integers(1, 40),
    cell_bits=st.sampled_from((1, 2, 4, 8)),
    dense=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_flipped_columns_never_clip_and_give_the_exact_sums(rows: int, cell_bits: int, dense: bool, seed: int) -> None:
    """The drivers and the correction of ISAAC, cell by cell, against what programs compute for such a chip."""
    rng = np.random.default_rng(seed)
    largest = (1 << cell_bits) - 1
    bits = (rows * largest // 2).bit_length()
    options = [f"array.rows={rows}", f"array.group_rows={rows}", f"array.cell_bits={cell_bits}"]
    chip = load_target("isaac", [*options, f"adc.bits={max(1, bits)}"])
    weights = rng.integers(100 if dense else -128, 128, (rows, 3))
    x = rng.integers(0, 256, (2, rows))
    cells = weights + 128
    total = np.zeros((2, 3), np.int64)
    for s in range(8 // cell_bits):
        part = (cells >> (s * cell_bits)) & largest
        flipped = part.sum(axis=0) > rows * largest // 2
        stored = np.where(flipped, largest - part, part)
        for bit in range(8):
            driven = (x >> bit) & 1
            sums = driven @ stored
            assert sums.max() < 1 << chip.adc.bits.value
            true = np.where(flipped, largest * driven.sum(axis=1, keepdims=True) - sums, sums)
            total += true << (bit + s * cell_bits)
    total -= 128 * x.sum(axis=1, keepdims=True)
    math = array_math(chip, rows=rows, cols=3, groups=1, signed_input=False)
    converted = array_product(math, x, encode_cells(weights, math.weight_offset))
    assert (converted.sums == total).all()
    assert (converted.sums == x @ weights).all()
    assert (converted.clipped, math.lossless) == (0, True)

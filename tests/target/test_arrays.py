"""Array arithmetic follows from the chip: bundles fit, and a converter never sees a negative number."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
def test_a_bundle_is_the_largest_that_fits(rows: int, cols: int, groups: int) -> None:
    array = SRAM.array

    def fits(g: int) -> bool:
        return g <= groups and g * rows <= array.group_rows.value and g * cols <= array.cols.value

    bundle = array_math(SRAM, rows=rows, cols=cols, groups=groups, signed_input=False).bundle
    assert bundle == max((g for g in range(1, groups + 1) if fits(g)), default=1)

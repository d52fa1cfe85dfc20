"""Integer arithmetic against fractions: one rounding, half to even, nothing lost on the way."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitline.ir.index_map import identity
from bitline.ir.kernels import LIMITS, Tensor
from bitline.numerics import stored, vector
from bitline.numerics.rounding import MANTISSA_BITS, divide_by_power_of_two, fixed_point, requantise, wrap32


def around_half(steps: int, shift: int, off: int) -> int:
    """An integer at a half, or next to one, once divided by 2^shift."""
    return steps * 2**shift + 2**shift // 2 + off


near_halves = st.builds(around_half, st.integers(-500, 500), st.integers(0, 40), st.integers(-1, 1))
accumulators = st.integers(-(2**31), 2**31 - 1)


def array(*values: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.array(values, np.int64)


@given(value=st.integers(-(2**62) + 1, 2**62 - 1) | near_halves, shift=st.integers(0, 62))
def test_division_rounds_half_to_even(value: int, shift: int) -> None:
    assert divide_by_power_of_two(array(value), shift)[0] == round(Fraction(value, 2**shift))


@given(
    acc=accumulators | near_halves.filter(lambda v: abs(v) < 2**37),
    mantissa=st.integers(0, 2**MANTISSA_BITS),
    shift=st.integers(0, 62),
    zero=st.integers(-128, 255),
    signed=st.booleans(),
)
def test_requantisation(acc: int, mantissa: int, shift: int, zero: int, signed: bool) -> None:
    low, high = LIMITS["s8" if signed else "u8"]
    wanted = min(max(round(Fraction(acc * mantissa, 2**shift)) + zero, low), high)
    assert requantise(array(acc), mantissa, shift, zero, low, high)[0] == wanted


@given(factor=st.floats(2.0**-38, 2.0**23.9), bits=st.integers(8, 30))
def test_fixed_point_is_within_half_a_unit_of_its_last_bit(factor: float, bits: int) -> None:
    if factor >= 2**bits:
        return
    mantissa, shift = fixed_point(factor, bits)
    assert 2 ** (bits - 1) <= mantissa <= 2**bits
    assert 0 <= shift <= 62 or factor < 2.0**-30
    assert abs(Fraction(mantissa, 2**shift) - Fraction(factor)) <= Fraction(factor) / 2**bits


@given(factor=st.floats(1e-300, 2.0**-39))
def test_tiny_factors_lose_bits_but_not_the_shift(factor: float) -> None:
    mantissa, shift = fixed_point(factor)
    assert 0 <= mantissa < 2**MANTISSA_BITS
    assert shift <= 62
    assert abs(Fraction(mantissa, 2**shift) - Fraction(factor)) <= Fraction(2, 2**62)


@pytest.mark.parametrize("factor", [0.0, -1.0, math.inf, math.nan, 2.0**MANTISSA_BITS])
def test_factors_without_a_fixed_point(factor: float) -> None:
    with pytest.raises(ValueError, match="is not between"):
        fixed_point(factor)


@given(value=st.integers(-(2**40), 2**40))
def test_accumulators_wrap_as_int32(value: int) -> None:
    assert wrap32(array(value))[0] == int(np.array(value, np.int64).astype(np.int32))


@given(
    x=st.lists(st.integers(-128, 127), min_size=1, max_size=40),
    scale_x=st.floats(1e-3, 1.0),
    scale_y=st.sampled_from([1 / 256, 1 / 255, 0.01]),
)
def test_softmax_is_within_one_step_and_sums_to_one(x: list[int], scale_x: float, scale_y: float) -> None:
    table = vector.softmax_table(scale_x, wide=False)
    assert table[0] == 1 << 24
    assert (np.diff(table) <= 0).all()
    factor = round(2.0**vector.SOFTMAX_FRACTION_BITS / scale_y)
    got = vector.softmax(array(*x), table, factor, vector.SOFTMAX_FRACTION_BITS, 0, 0, 255)
    reals = np.exp((np.array(x) - max(x)) * scale_x)
    wanted = np.clip(reals / reals.sum() / scale_y, 0, 255)
    assert np.abs(got - wanted).max() <= 0.501
    if (wanted < 255).all():
        assert abs(got.sum() * scale_y - 1) <= 0.501 * scale_y * len(x)


@given(x=st.lists(st.integers(-128, 127), min_size=1, max_size=9))
def test_tables_are_looked_up_from_the_smallest_integer(x: list[int]) -> None:
    table = np.arange(256)[::-1].astype(np.int64)
    assert vector.look_up(array(*x), table, -128).tolist() == [127 - v for v in x]


@given(
    reals=st.lists(st.floats(-1e4, 1e4, width=32), min_size=1, max_size=20),
    scale=st.floats(1e-3, 10),
    signed=st.booleans(),
    zero=st.integers(0, 127),
)
def test_quantising_what_was_dequantised_changes_nothing(
    reals: list[float], scale: float, signed: bool, zero: int
) -> None:
    tensor = Tensor(
        name="t",
        shape=(1, 1, len(reals)),
        dtype="s8" if signed else "u8",
        scale=float(np.float32(scale)),
        zero_point=zero,
        onnx="t",
        view=identity((1, 1, len(reals))),
    )
    integers = stored.quantise_real(np.array(reals, np.float32), tensor)
    low, high = LIMITS[tensor.dtype]
    assert low <= integers.min() <= integers.max() <= high
    again = stored.quantise_real(stored.dequantise(integers, tensor), tensor)
    assert np.array_equal(again, integers)
    data = stored.to_bytes(integers.reshape(1, -1), tensor)
    assert np.array_equal(stored.from_bytes(data, tensor).reshape(-1), integers)


@given(
    x=st.lists(st.integers(-(2**15), 2**15 - 1), min_size=1, max_size=40),
    scale_x=st.floats(1e-5, 0.01),
    wide=st.booleans(),
    near=st.booleans(),
)
def test_softmax_of_16_bits_is_close_to_the_real_one(x: list[int], scale_x: float, wide: bool, near: bool) -> None:
    """The exponential is a product of two tables of 24 bits: 2 * 2^-24 off, which 16 output bits hardly see."""
    x = [value // 64 for value in x] if near else x
    scale_y, fraction, limits = (1 / 32767, 14, LIMITS["s16"]) if wide else (1 / 255, 16, LIMITS["u8"])
    table = vector.softmax_table(scale_x, wide=True)
    got = vector.softmax(array(*x), table, round(2.0**fraction / scale_y), fraction, 0, *limits)
    reals = np.exp((np.array(x) - max(x)) * scale_x)
    wanted = np.clip(reals / reals.sum() / scale_y, *limits)
    assert np.abs(got - wanted).max() <= (0.51 if wide else 0.501)


@given(distance=st.lists(st.integers(0, 2**16 - 1), min_size=1, max_size=20), scale=st.floats(1e-6, 0.1))
def test_two_tables_make_one_exponential(distance: list[int], scale: float) -> None:
    got = vector.exponentials(array(*distance), vector.softmax_table(scale, wide=True))
    wanted = np.exp(-scale * np.array(distance, np.float64)) * 2.0**vector.SOFTMAX_TABLE_BITS
    assert np.abs(got - wanted).max() <= 2.0


@given(
    data=st.data(),
    m=st.integers(1, 4),
    n=st.integers(1, 4),
    k=st.integers(1, 30),
    mantissa=st.integers(0, 2**6),
    shift=st.integers(0, 40),
)
def test_products_of_two_activations_are_exact(
    data: st.DataObject, m: int, n: int, k: int, mantissa: int, shift: int
) -> None:
    values = st.integers(-(2**16), 2**16)
    a, b = (
        data.draw(st.lists(st.lists(values, min_size=k, max_size=k), min_size=rows, max_size=rows)) for rows in (m, n)
    )
    got = vector.matmul(np.array(a), np.array(b), mantissa, shift, 3, -(2**50), 2**50)
    exact = [
        [round(Fraction(sum(p * q for p, q in zip(row, other, strict=True)) * mantissa, 2**shift)) + 3 for other in b]
        for row in a
    ]
    assert got.tolist() == np.clip(exact, -(2**50), 2**50).tolist()

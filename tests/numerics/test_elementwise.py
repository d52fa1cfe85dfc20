"""Operators element by element against fractions: every one rounds once, and saturates where it says so."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitline.numerics import elementwise

Ints = elementwise.Ints
numbers = st.integers(-(2**16), 2**16)
narrow = st.integers(-510, 510)
mantissas = st.integers(0, 2**30)
signed_mantissas = st.integers(-(2**30), 2**30)
shifts = st.integers(0, 62)


def array(*values: int) -> Ints:
    return np.array(values, np.int64)


def scaled(value: int, shift: int) -> int:
    """Half to even."""
    return round(Fraction(value, 2**shift))


@given(
    terms=st.lists(st.tuples(numbers, signed_mantissas), min_size=1, max_size=3),
    bias=st.integers(-(2**51), 2**51),
    shift=shifts,
)
def test_a_sum_rounds_once(terms: list[tuple[int, int]], bias: int, shift: int) -> None:
    got = elementwise.weighted_sum([array(n) for n, _ in terms], [m for _, m in terms], bias, shift)
    assert got.tolist() == [scaled(sum(n * m for n, m in terms) + bias, shift)]


@pytest.mark.parametrize(("value", "wanted"), [(1, 0), (3, 2), (5, 2), (7, 4), (-1, 0), (-3, -2), (-5, -2)])
def test_halves_go_to_the_even_side(value: int, wanted: int) -> None:
    assert elementwise.weighted_sum([array(value)], [1], 0, 1)[0] == wanted
    assert elementwise.product(array(value), array(1), 1, 1)[0] == wanted
    assert elementwise.select(array(5), array(value), array(9), [0, 1, 1], 1)[0] == wanted
    assert elementwise.prelu(array(value), array(1), [1, 1], 1)[0] == wanted
    assert elementwise.extreme([array(value)], [1], 1, largest=True)[0] == wanted


@given(a=numbers, b=narrow, mantissa=st.integers(0, 2**27), shift=shifts)
def test_a_product(a: int, b: int, mantissa: int, shift: int) -> None:
    assert elementwise.product(array(a), array(b), mantissa, shift)[0] == scaled(a * b * mantissa, shift)


@given(a=numbers, b=numbers.filter(bool), mantissa=mantissas, shift=st.integers(0, 42))
def test_a_quotient_rounds_halves_away_from_zero(a: int, b: int, mantissa: int, shift: int) -> None:
    exact = Fraction(a * mantissa, b * 2**shift)
    wanted = math.floor(abs(exact) + Fraction(1, 2)) * (1 if exact >= 0 else -1)
    assert elementwise.quotient(array(a), array(b), mantissa, shift)[0] == wanted


@given(a=numbers, mantissa=mantissas, shift=st.integers(0, 42))
def test_by_zero_every_grid_saturates_and_zero_by_zero_is_zero(a: int, mantissa: int, shift: int) -> None:
    got = int(elementwise.quotient(array(a), array(0), mantissa, shift)[0])
    assert got == (0 if a == 0 else 2**40 if a > 0 else -(2**40))


@given(pairs=st.lists(st.tuples(numbers, mantissas), min_size=1, max_size=3), shift=shifts, largest=st.booleans())
def test_extremes_compare_what_was_rounded(pairs: list[tuple[int, int]], shift: int, largest: bool) -> None:
    got = elementwise.extreme([array(n) for n, _ in pairs], [m for _, m in pairs], shift, largest=largest)
    assert got[0] == (max if largest else min)(scaled(n * m, shift) for n, m in pairs)


@given(x=narrow, slope=narrow, positive=mantissas, negative=mantissas, shift=shifts)
def test_prelu(x: int, slope: int, positive: int, negative: int, shift: int) -> None:
    got = elementwise.prelu(array(x), array(slope), [positive, negative], shift)
    assert got[0] == scaled(x * positive if x >= 0 else x * slope * negative, shift)


@given(condition=st.integers(-2, 2), a=numbers, b=numbers, first=mantissas, second=mantissas, shift=shifts)
def test_select(condition: int, a: int, b: int, first: int, second: int, shift: int) -> None:
    got = elementwise.select(array(condition), array(a), array(b), [7, first, second], shift)
    assert got[0] == scaled(a * first if condition else b * second, shift)


@given(a=st.integers(-(2**31), 2**31 - 1), b=st.integers(-(2**31), 2**31 - 1) | st.integers(-3, 3))
def test_modulo_has_the_sign_of_the_divisor(a: int, b: int) -> None:
    assert elementwise.modulo(array(a), array(b))[0] == (a % b if b else 0)


@given(
    a=st.integers(-255, 255),
    b=st.integers(-255, 255),
    first=st.integers(0, 2**30),
    second=st.integers(0, 2**30),
    shift=st.integers(1, 25),
)
def test_a_length_is_the_root_rounded_half_up(a: int, b: int, first: int, second: int, shift: int) -> None:
    """floor(sqrt(s) / 2^shift + 1/2), in integers: the largest y with (2 y - 1) 2^shift <= 2 sqrt(s)."""
    squares = a * a * first + b * b * second
    got = int(elementwise.length(array(a), array(b), [first, second], shift)[0])
    assert ((2 * got - 1) << shift) ** 2 <= 4 * squares or got == 0
    assert ((2 * got + 1) << shift) ** 2 > 4 * squares


# -- functions of 16 bits ----------------------------------------------------------------------------------------------


def interpolated(x: int, knots: list[int]) -> int:
    """The straight line between the two knots around x, in eighths of bits, half to even."""
    step = Fraction(2**16, len(knots) - 1)
    place = (x + 2**15) / step
    left = min(math.floor(place), len(knots) - 2)
    value = knots[left] + (knots[left + 1] - knots[left]) * (place - left)
    return round(value / 2**elementwise.CURVE_FRACTION_BITS)


@given(
    data=st.data(),
    bits=st.integers(0, 5),
    x=st.lists(st.integers(-(2**15), 2**15 - 1), min_size=1, max_size=20),
)
def test_a_curve_is_a_line_between_its_knots(data: st.DataObject, bits: int, x: list[int]) -> None:
    count = 2**bits + 1
    knots = data.draw(st.lists(st.integers(-(2**24), 2**24), min_size=count, max_size=count))
    got = elementwise.curve(array(*x), array(*knots))
    assert got.tolist() == [interpolated(value, knots) for value in x]


@pytest.mark.parametrize("bits", [10, 13, 16])
@pytest.mark.parametrize("name", ["tanh", "logistic", "square"])
def test_a_curve_through_a_smooth_function_is_close(name: str, bits: int) -> None:
    """All 65,536 values. A line between knots h apart is off by h^2 / 8 times the second derivative, plus the rounding
    of knots and result; with a knot for every value only the last is left."""
    codes = np.arange(-(2**15), 2**15, dtype=np.int64)
    x = codes * (4.0 / 2**15)
    real = {"tanh": np.tanh(x), "logistic": 1 / (1 + np.exp(-x)), "square": x * x / 16}[name]
    steps = 2**15
    knots_at = np.minimum(np.arange(2**bits + 1) << (16 - bits), 2**16 - 1)
    knots = np.rint(real[knots_at] * steps * 2**elementwise.CURVE_FRACTION_BITS).astype(np.int64)
    off = np.abs(elementwise.curve(codes, knots) - real * steps)[: -(2 ** (16 - bits)) or None]
    distance = 8.0 / 2**bits
    curvature = {"tanh": 0.77, "logistic": 0.097, "square": 0.125}[name]
    assert off.max() <= 0.51 + (steps * curvature * distance**2 / 8 if bits < 16 else 0.0)

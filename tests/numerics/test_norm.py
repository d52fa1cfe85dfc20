"""LayerNormalization in integers: within one step of the real value for every width and length of rows, and no number
beyond 62 bits."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitline.ir.kernels import LIMITS, Dtype, NormFormat
from bitline.numerics import norm
from bitline.numerics.rounding import divide_by_power_of_two
from tests.numerics.norm_cases import KINDS, WIDTHS, Case, Ints, case, every_kind, rows_of

MEASURED = 0.6
"""Steps that no case of these passes, where one is promised."""
CALIBRATED = 0.504
"""The same where the range of the output is that of a normal distribution."""
LENGTHS = (1, 2, 3, 4, 5, 7, 8, 15, 16, 31, 63, 64, 100, 128, 768, 1025, 2049, 3000, 4095, 4096)
widths = pytest.mark.parametrize(("dtype", "result"), [(x, y) for x in WIDTHS for y in WIDTHS])


def error(found: Case, constants: norm.NormConstants) -> float:
    return float(np.abs(found.integers(constants) - found.steps()).max())


@pytest.mark.parametrize("n", LENGTHS)
@widths
def test_within_one_step(n: int, dtype: Dtype, result: Dtype) -> None:
    taken = 0
    for seed in range(12 if n <= 128 else 2):
        for found in every_kind(n, dtype, result, seed):
            constants = found.constants
            if constants is not None:
                taken += 1
                assert error(found, constants) <= MEASURED, found
    assert taken > 0


@given(
    kind=st.sampled_from(KINDS),
    n=st.integers(1, 128) | st.integers(1, norm.LARGEST_ROW),
    dtype=st.sampled_from(WIDTHS),
    result=st.sampled_from(WIDTHS),
    seed=st.integers(0, 2**32),
    finer=st.floats(-3, 20),
)
def test_within_one_step_up_to_the_largest_gain(
    kind: str, n: int, dtype: Dtype, result: Dtype, seed: int, finer: float
) -> None:
    """The output's steps much finer than its range needs, until the constants are refused."""
    found = case(kind, n, dtype, result, np.random.default_rng(seed))
    found = replace(found, scale_y=found.scale_y * 2.0**-finer)
    constants = found.constants
    if constants is not None:
        assert error(found, constants) <= 1


@pytest.mark.parametrize("n", [1, 2, 3, 8, 64, 100, 768, 4096])
@pytest.mark.parametrize("kind", KINDS)
@widths
def test_calibrated_outputs_are_rounded_as_good_as_once(n: int, kind: str, dtype: Dtype, result: Dtype) -> None:
    rng = np.random.default_rng(n + len(kind))
    (low, high), (smallest, largest) = LIMITS[dtype], LIMITS[result]
    x = rows_of(kind, n, dtype, rng)
    gain, offset = rng.uniform(-2, 2, n), rng.uniform(-1, 1, n)
    found = Case(x=x, dtype=dtype, scale_x=6 / (high - low), epsilon=1e-5, gain=gain, offset=offset, result=result,
                 scale_y=10 / (largest - smallest), zero_point=0)  # fmt: skip
    constants = found.constants
    assert constants is not None
    assert error(found, constants) <= CALIBRATED


@pytest.mark.parametrize("scale_x", [1e-3, 1e-6, 1e-9, 1e-12])
@widths
def test_an_epsilon_far_above_the_variance(scale_x: float, dtype: Dtype, result: Dtype) -> None:
    """sqrt(eps) from 100 steps of the input to 10^11."""
    rng = np.random.default_rng(1)
    for n in (2, 5, 128, 4096):
        x = rows_of("uniform", n, dtype, rng)
        largest = LIMITS[result][1]
        rough = Case(x=x, dtype=dtype, scale_x=scale_x, epsilon=1e-2, gain=np.ones(n), offset=np.zeros(n),
                     result=result, scale_y=1.0, zero_point=0)  # fmt: skip
        found = replace(rough, scale_y=float(np.abs(rough.normalised()).max()) / largest)
        constants = found.constants
        assert constants is not None
        assert error(found, constants) <= MEASURED


@pytest.mark.parametrize("n", [*range(1, 130), *(2**k + i for k in range(8, 12) for i in (-1, 0, 1)), 4095, 4096])
def test_the_widest_numbers_fit(n: int) -> None:
    """In Python's integers: variance, products and sums of the worst rows that a type holds."""
    for span in (255, 65535):
        for epsilon in (0.0, *10.0 ** np.arange(-3, 30, 3)):
            steepest = norm.LARGEST_PRODUCT / min(math.sqrt(max(n - 1, 1)), span / math.sqrt(epsilon or 1e-99)) * 0.999
            gain, offset = np.full(n, steepest), np.full(n, norm.LARGEST_OFFSET)
            found = norm.norm_constants(gain, offset, float(epsilon), scale_x=1.0, span=span, scale_y=1.0)
            assert found is not None
            form = found.format
            h, bits = form.deviation_bits, form.normal_bits
            widest = Fraction(n * n * span * span, 4) * Fraction(4) ** h + form.epsilon
            assert widest < 2**62
            least = (n - 1) * 4**h + form.epsilon if h >= 0 else form.epsilon
            assert n == 1 or least >= 2**19
            assert 0 <= norm.INVERSE_BITS - h - bits <= 62
            k = 0
            while max(least, 1) << (2 * k) < 2**60:
                k += 1
            assert n == 1 or norm.INVERSE_BITS - h - bits - k >= 0
            top = min(math.sqrt(n - 1), span / math.sqrt(epsilon or 1e-99)) * 2.0**bits
            assert top <= 2**30
            assert np.abs(found.table[:, 0]).max() <= 2**30
            assert np.abs(found.table[:, 1]).max() <= 2**60
            assert 1 <= form.shift <= 62


@given(value=st.integers(0, 30), constant=st.integers(-(2**15), 2**15 - 1), n=st.sampled_from([1, 64, 4096]))
def test_a_constant_row_is_its_offset(value: int, constant: int, n: int) -> None:
    for epsilon in (0.0, 1e-5):
        gain, offset = np.full(n, 3.0), np.full(n, float(value))
        made = norm.norm_constants(gain, offset, epsilon, scale_x=0.01, span=65535, scale_y=1.0)
        assert made is not None
        got = norm.layer_norm(np.full((1, n), constant), made.table, made.format, 4, -100, 100)
        assert (got == value + 4).all()


def by_number(x: list[int], table: list[tuple[int, int]], form: NormFormat, zero: int) -> list[int]:
    """The formula in Python's integers, number by number."""
    n, total, h = len(x), sum(x), form.deviation_bits
    spread = n * sum(v * v for v in x) - total * total
    a = min(max(math.floor(spread * Fraction(4) ** h) + form.epsilon, 1), 2**62 - 1)
    k = 0
    while a << (2 * k) < 2**60:
        k += 1
    inverse = 2**61 // math.isqrt(a << (2 * k))
    down = max(61 - h - form.normal_bits - k, 0)
    found: list[int] = []
    for v, (gain, offset) in zip(x, table, strict=True):
        t = round(Fraction((n * v - total) * inverse, 2**down))
        found.append(round(Fraction(t * gain + offset, 2**form.shift)) + zero)
    return found


@given(data=st.data(), kind=st.sampled_from(KINDS), n=st.integers(1, 40), seed=st.integers(0, 2**32))
def test_the_formula_holds_in_numbers_of_any_width(data: st.DataObject, kind: str, n: int, seed: int) -> None:
    dtype, result = data.draw(st.sampled_from(WIDTHS)), data.draw(st.sampled_from(WIDTHS))
    found = case(kind, n, dtype, result, np.random.default_rng(seed))
    constants = found.constants
    if constants is None:
        return
    table = [(int(g), int(b)) for g, b in constants.table]
    low, high = -(2**62), 2**62
    got = norm.layer_norm(found.x, constants.table, constants.format, found.zero_point, low, high)
    assert got.tolist() == [by_number(x, table, constants.format, found.zero_point) for x in found.x.tolist()]


@given(value=st.integers(0, 2**62 - 1) | st.integers(0, 2**31 - 1).map(lambda r: r * r) | st.integers(0, 9))
def test_the_root_is_floored(value: int) -> None:
    for near in {max(0, value - 1), value, min(value + 1, 2**62 - 1)}:
        assert norm.floor_root(np.array([near]))[0] == math.isqrt(near)


@given(gain=st.floats(-1e4, 1e4), offset=st.floats(-1e6, 1e6), scale=st.floats(1e-4, 10), n=st.integers(1, 4096))
def test_tables_hold_gain_and_offset_as_fine_as_fits(gain: float, offset: float, scale: float, n: int) -> None:
    made = norm.norm_constants(np.full(n, gain), np.full(n, offset), 1e-5, scale_x=1.0, span=255, scale_y=scale)
    top = math.sqrt(max(n - 1, 1))
    if made is None:
        assert abs(gain / scale) * top > 2**27 or abs(offset / scale) > 2**18
        return
    g, b = (int(v) for v in made.table[0])
    fraction = made.format.shift - made.format.normal_bits
    assert abs(g / 2.0**fraction - gain / scale) * top <= 1 / 8
    assert abs(b / 2.0**made.format.shift - offset / scale) <= 1e-9 * (1 + abs(offset / scale))


@pytest.mark.parametrize("epsilon", [-1e-5, math.inf, math.nan, 1e40])
def test_epsilons_that_no_variance_holds(epsilon: float) -> None:
    assert norm.norm_constants(np.ones(4), np.zeros(4), epsilon, scale_x=1.0, span=255, scale_y=1.0) is None


@pytest.mark.parametrize("wrong", [math.inf, math.nan])
def test_gains_and_offsets_that_are_no_numbers(wrong: float) -> None:
    for gain, offset in ((wrong, 0.0), (1.0, wrong)):
        values = np.array([gain]), np.array([offset])
        assert norm.norm_constants(*values, 1e-5, scale_x=1.0, span=255, scale_y=1.0) is None


def test_a_finer_output_takes_fewer_fraction_bits() -> None:
    shifts: list[int] = []
    for scale in 2.0 ** -np.arange(0, 18):
        made = norm.norm_constants(np.ones(4), np.ones(4), 1e-5, scale_x=1.0, span=255, scale_y=float(scale))
        assert made is not None
        shifts.append(made.format.shift)
    assert all(a >= b for a, b in pairwise(shifts))


def test_rounding_is_half_to_even() -> None:
    form = NormFormat(epsilon=0, deviation_bits=0, normal_bits=24, shift=1)
    table: Ints = np.array([[0, 1], [0, 3], [0, -1], [0, 5]])
    got = norm.layer_norm(np.zeros((1, 4), np.int64), table, form, 0, -9, 9)
    assert got.tolist() == [divide_by_power_of_two(table[:, 1], 1).tolist()] == [[0, 2, 0, 2]]

"""LayerNormalization in integers against double: within 0.504 steps for rows of 64 to 4,096 values."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitline.numerics import norm
from bitline.numerics.rounding import divide_by_power_of_two

Reals = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
Ints = norm.Ints
LIMITS = {"u8": (0, 255), "s8": (-128, 127), "s16": (-(2**15), 2**15 - 1)}


def exact(x: Ints, scale_x: float, gain: Reals, offset: Reals, epsilon: float, scale_y: float) -> Reals:
    """In steps of the output, in double precision."""
    real = x.astype(np.float64) * scale_x
    centred = real - real.mean(axis=-1, keepdims=True)
    deviation = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + epsilon)
    return (centred / deviation * gain + offset) / scale_y


def rows_of(kind: str, n: int, low: int, high: int, rng: np.random.Generator) -> Ints:
    """Four rows of one kind."""
    match kind:
        case "uniform":
            return rng.integers(low, high + 1, (4, n))
        case "constant":
            return np.repeat(rng.integers(low, high + 1, (4, 1)), n, axis=1)
        case "one step":
            return np.repeat(rng.integers(low, high, (4, 1)), n, axis=1) + rng.integers(0, 2, (4, n))
        case "one outlier":
            x = np.full((4, n), low)
            x[np.arange(4), rng.integers(0, n, 4)] = high
            return x
        case "extremes":
            return rng.choice(np.array([low, high]), (4, n))
        case _:
            return np.clip(np.rint(rng.normal(0, (high - low) / 8, (4, n))), low, high).astype(np.int64)


@pytest.mark.parametrize("n", [64, 100, 768, 1024, 4096])
@pytest.mark.parametrize("kind", ["uniform", "normal", "constant", "one step", "one outlier", "extremes"])
@pytest.mark.parametrize("dtype", ["u8", "s16"])
@pytest.mark.parametrize("result", ["s8", "s16"])
def test_within_half_a_step_and_four_thousandths(n: int, kind: str, dtype: str, result: str) -> None:
    rng = np.random.default_rng(n + len(kind))
    low, high = LIMITS[dtype]
    smallest, largest = LIMITS[result]
    x = rows_of(kind, n, low, high, rng)
    scale_x = 6.0 / (high - low)
    gain, offset = rng.uniform(-2, 2, n), rng.uniform(-1, 1, n)
    scale_y = 10.0 / (largest - smallest)
    made = norm.norm_table(gain, offset, scale_y)
    assert made is not None
    table, shift = made
    got = norm.layer_norm(x, table, norm.norm_epsilon(1e-5, n, scale_x), shift, 0, smallest, largest)
    wanted = np.clip(exact(x, scale_x, gain, offset, 1e-5, scale_y), smallest, largest)
    assert np.abs(got - wanted).max() <= 0.504


@pytest.mark.parametrize("n", [2, 3, 8, 63])
def test_short_rows_of_8_bits_stay_within_a_step(n: int) -> None:
    """Below 64 values the 8 fraction bits of eps count: what is promised is a step of 8 bits."""
    rng = np.random.default_rng(n)
    for kind in ("uniform", "constant", "one step", "extremes"):
        x = rows_of(kind, n, 0, 255, rng)
        gain, offset = rng.uniform(0.5, 2, n), rng.uniform(-1, 1, n)
        made = norm.norm_table(gain, offset, 8 / 255)
        assert made is not None
        got = norm.layer_norm(x, made[0], norm.norm_epsilon(1e-5, n, 0.02), made[1], 0, -128, 127)
        wanted = np.clip(exact(x, 0.02, gain, offset, 1e-5, 8 / 255), -128, 127)
        assert np.abs(got - wanted).max() <= 1


@given(value=st.integers(0, 30), constant=st.integers(-(2**15), 2**15 - 1), n=st.sampled_from([1, 64, 4096]))
def test_a_constant_row_is_its_offset(value: int, constant: int, n: int) -> None:
    made = norm.norm_table(np.full(n, 3.0), np.full(n, float(value)), 1.0)
    assert made is not None
    got = norm.layer_norm(np.full((1, n), constant), made[0], 5, made[1], 4, -100, 100)
    assert (got == value + 4).all()


def by_number(x: list[int], table: list[tuple[int, int]], epsilon: int, shift: int, zero: int) -> list[int]:
    """The formula in Python's integers, number by number."""
    n, total = len(x), sum(x)
    a = min(max(((n * sum(v * v for v in x) - total * total) << 8) + epsilon, 1), 2**62 - 1)
    k = 0
    while a << (2 * k) < 2**60:
        k += 1
    inverse = 2**61 // math.isqrt(a << (2 * k))
    found: list[int] = []
    for v, (gain, offset) in zip(x, table, strict=True):
        t = int(divide_by_power_of_two(np.array([(n * v - total) * inverse]), 35 - k)[0])
        found.append(int(divide_by_power_of_two(np.array([t * gain + offset]), shift)[0]) + zero)
    return found


@given(
    data=st.data(),
    x=st.lists(st.integers(-(2**15), 2**15 - 1) | st.integers(-2, 2), min_size=1, max_size=40),
    epsilon=st.integers(0, 2**61) | st.integers(0, 500),
    shift=st.integers(22, 48),
    zero=st.integers(-128, 255),
)
def test_the_formula_holds_in_numbers_of_any_width(
    data: st.DataObject, x: list[int], epsilon: int, shift: int, zero: int
) -> None:
    pair = st.tuples(st.integers(-(2**26), 2**26), st.integers(-(2**60), 2**60))
    table = data.draw(st.lists(pair, min_size=len(x), max_size=len(x)))
    got = norm.layer_norm(np.array([x]), np.array(table), epsilon, shift, zero, -(2**62), 2**62)
    assert got.tolist() == [by_number(x, table, epsilon, shift, zero)]


@given(value=st.integers(0, 2**62 - 1) | st.integers(0, 2**31 - 1).map(lambda r: r * r) | st.integers(0, 9))
def test_the_root_is_floored(value: int) -> None:
    for near in {max(0, value - 1), value, min(value + 1, 2**62 - 1)}:
        assert norm.floor_root(np.array([near]))[0] == math.isqrt(near)


@given(
    gain=st.floats(-1e4, 1e4),
    offset=st.floats(-1e6, 1e6),
    scale=st.floats(1e-4, 10),
)
def test_tables_hold_gain_and_offset_as_fine_as_fits(gain: float, offset: float, scale: float) -> None:
    made = norm.norm_table(np.array([gain]), np.array([offset]), scale)
    if made is None:
        assert abs(gain / scale) >= 2**26 or abs(offset / scale) >= 2**38
        return
    table, shift = made
    fraction = shift - norm.NORMAL_BITS
    assert 0 <= fraction <= 26
    assert abs(table[0, 0]) <= 2**26
    assert abs(table[0, 1]) <= 2**60
    assert abs(table[0, 0] / 2.0**fraction - gain / scale) <= 0.5 / 2**fraction + 1e-9
    assert abs(table[0, 1] / 2.0**shift - offset / scale) <= 1e-9 * (1 + abs(offset / scale))

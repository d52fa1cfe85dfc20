"""Grids hold 0, cover their range, and never produce a scale that float32 cannot carry."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitline.engines.ort import run_model
from bitline.quant.grid import (
    LARGEST_BIAS,
    SMALLEST_SCALE,
    Grid,
    activation_grid,
    bias_floor,
    quantised_bias,
    quantised_weight,
    weight_scale,
)
from tests.graph.build import parsed

finite = st.floats(-1e6, 1e6, allow_subnormal=True, width=32)


def test_examples() -> None:
    assert activation_grid(0.0, 2.55, 8) == Grid(scale=float(np.float32(0.01)), zero_point=0)
    assert activation_grid(-1.0, 1.0, 8).zero_point == 127  # the scale, in float32, is a little above 2 / 255
    assert activation_grid(-4.0, -1.0, 8).zero_point == 255  # the range is widened to hold 0
    assert activation_grid(0.0, 0.0, 8) == Grid(scale=1.0, zero_point=0)
    assert activation_grid(0.0, 1.5, 4) == Grid(scale=float(np.float32(0.1)), zero_point=0, bits=4)


def test_sixteen_bits_are_signed_and_symmetric() -> None:
    grid = activation_grid(-1.0, 2.0, 16)
    assert grid == Grid(scale=float(np.float32(2 / 32767)), zero_point=0, bits=16)
    assert (grid.wide, grid.dtype, grid.smallest, grid.largest) == (True, np.int16, -32768, 32767)
    assert grid.quantised(np.array([-9, -1, 0, 2, 9])).tolist() == [-32768, -16384, 0, 32767, 32767]
    assert activation_grid(0.0, 0.0, 16) == Grid(scale=1.0, zero_point=0, bits=16)
    assert activation_grid(-3.0, 1.0, 16).limits() == pytest.approx((-3, 3), rel=1e-4)


def test_what_lies_far_outside_saturates() -> None:
    values = np.array([-3.4e38, -np.inf, 3.4e38, np.inf, 0])
    assert activation_grid(-1.0, 1.0, 8).quantised(values).tolist() == [0, 0, 255, 255, 127]
    assert activation_grid(-1e-9, 1e-9, 16).quantised(values).tolist() == [-32768, -32768, 32767, 32767, 0]


@given(values=st.lists(finite, min_size=1, max_size=20), bits=st.sampled_from([3, 8, 16]), low=finite, high=finite)
def test_quantised_is_what_onnxruntime_makes(values: list[float], bits: int, low: float, high: float) -> None:
    grid = activation_grid(min(low, high), max(low, high), bits)
    kind = {np.dtype(np.int16): "int16", np.dtype(np.uint8): "uint8"}[grid.dtype]
    constants = {"s": np.array(grid.scale, np.float32), "z": np.array(grid.zero_point, grid.dtype)}
    signature = f"float[{len(values)}] x) => ({kind}[{len(values)}] y"
    proto = parsed(signature, "y = QuantizeLinear(x, s, z)", constants, opset=21)
    x = np.array(values, np.float32)
    wanted = np.minimum(run_model(proto, {"x": x}, optimise=False)["y"], grid.largest)
    np.testing.assert_array_equal(grid.quantised(x), wanted)


@given(low=finite, high=finite, bits=st.integers(2, 8))
def test_a_range_is_covered_within_one_step_and_holds_zero(low: float, high: float, bits: int) -> None:
    low, high = sorted((low, high))
    grid = activation_grid(low, high, bits)
    assert SMALLEST_SCALE <= grid.scale == float(np.float32(grid.scale))
    assert 0 <= grid.zero_point <= grid.largest
    smallest, largest = grid.limits()
    assert smallest <= min(low, 0) + grid.scale
    assert largest >= max(high, 0) - grid.scale
    assert grid.quantised(np.zeros(1, np.float32))[0] == grid.zero_point


@given(values=st.lists(finite, min_size=1, max_size=20), bits=st.integers(2, 8))
def test_a_value_inside_is_off_by_half_a_step_at_most(values: list[float], bits: int) -> None:
    x = np.array(values, np.float32)
    grid = activation_grid(float(x.min()), float(x.max()), bits)
    back = (grid.quantised(x).astype(np.float64) - grid.zero_point) * grid.scale
    assert np.abs(back - x).max() <= grid.scale * 1.001  # half a step, and half a step of the zero point at the ends


@given(seed=st.integers(0, 1000), bits=st.integers(2, 8), axis=st.sampled_from([None, 0, 1]))
def test_weights_use_their_whole_range(seed: int, bits: int, axis: int | None) -> None:
    weight = np.random.default_rng(seed).standard_normal((3, 4)).astype(np.float32)
    scale = weight_scale(weight, axis, bits, 0.0)
    q = quantised_weight(weight, scale, axis, bits)
    bound = 2 ** (bits - 1) - 1
    others = None if axis is None else 1 - axis
    assert np.all(np.abs(q.astype(np.int64)).max(axis=others) == bound)
    shape = (1, 1) if axis is None else (-1, 1) if axis == 0 else (1, -1)
    assert np.abs(q * scale.reshape(shape).astype(np.float64) - weight).max() <= scale.max() * 0.5001


def test_a_dead_channel_keeps_its_bias() -> None:
    """All weights 0, bias not: with the least scale the bias would overflow int32."""
    weight, bias = np.zeros((2, 3), np.float32), np.array([0.3, 0.0], np.float32)
    scale = weight_scale(weight, 0, 8, bias_floor(bias, 0.02))
    q = quantised_bias(bias, (np.float32(0.02) * scale).astype(np.float32))
    assert q[0] == pytest.approx(LARGEST_BIAS, rel=1e-6)
    assert q[0] * 0.02 * float(scale[0]) == pytest.approx(0.3, rel=1e-6)
    assert q[1] == 0


@given(bias=finite, scale=st.floats(1e-12, 1e3), weight=st.floats(0, 1e3, width=32))
def test_a_bias_always_fits(bias: float, scale: float, weight: float) -> None:
    values = np.array([bias], np.float32)
    weights = weight_scale(np.array([[weight]], np.float32), 0, 8, bias_floor(values, scale))
    product = (np.float32(scale) * weights).astype(np.float32)
    assert product[0] >= np.finfo(np.float32).tiny
    assert abs(int(quantised_bias(values, product)[0])) <= LARGEST_BIAS * 1.001

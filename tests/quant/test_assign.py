"""Grids follow from ranges; steps that calibration shows to be beyond any grid stay in float."""

from __future__ import annotations

import numpy as np
import pytest

from bitline.graph.model import Model, Wiring
from bitline.graph.passes.name_nodes import name_nodes
from bitline.quant.assign import assign_grids, unfit
from bitline.quant.grid import activation_grid
from bitline.quant.masks import Masks
from bitline.quant.options import QuantOptions
from bitline.quant.ptq import quantize
from bitline.quant.ranges import Observation
from bitline.quant.steps import plan_steps
from bitline.quant.wide import Widths
from tests.graph.build import as_model, parsed

NONE = Masks(ranges={})


def named(signature: str, body: str, values: dict[str, np.ndarray] | None = None) -> Model:
    return as_model(name_nodes(parsed(signature, body, values)))


def seen(**ranges: tuple[float, float]) -> dict[str, Observation]:
    return {name: Observation(low=low, high=high, counts=np.zeros(1, np.int64)) for name, (low, high) in ranges.items()}


SUM = named("float[4] x) => (float[4] y", "a = Add(x, k) y = Softmax(a)", {"k": np.array([1, 2, 3, 4], np.float32)})


def test_every_owner_and_constant_has_a_grid() -> None:
    ranges = {"x": (-1.0, 1.0), "a": (0.0, 5.0), "y": (0.0, 0.7)}
    wiring, plan = Wiring(SUM.proto.graph), plan_steps(SUM)
    grids = assign_grids(wiring, plan, ranges, extremes={}, masks=NONE, widths=Widths(), options=QuantOptions())
    assert grids.of == {
        "x": activation_grid(-1, 1, 8),
        "a": activation_grid(0, 5, 8),
        "y": activation_grid(0, 1, 8),
    }
    assert grids.constants == {("Add_a", "k"): activation_grid(1, 4, 8)}
    assert (grids.narrow, set(grids.narrowed)) == ({}, set())


def test_wide_tensors_take_their_extremes_and_masks_their_own_range() -> None:
    ranges, extremes = {"x": (-1.0, 1.0), "a": (0.0, 5.0), "y": (0.0, 0.7)}, {"x": (-3.0, 1.0)}
    wiring, plan = Wiring(SUM.proto.graph), plan_steps(SUM)
    masks = Masks(ranges={"a": (-9.0, 5.0)})
    grids = assign_grids(
        wiring,
        plan,
        ranges,
        extremes=extremes,
        masks=masks,
        widths=Widths(tensors=frozenset({"x", "a"})),
        options=QuantOptions(activation_bits=6),
    )
    assert grids.of["x"] == activation_grid(-3, 1, 16)
    assert grids.of["x"].scale == pytest.approx(3 / 32767)
    assert grids.of["a"] == activation_grid(-9, 5, 16)
    assert grids.constants["Add_a", "k"] == activation_grid(1, 4, 16)
    assert grids.of["y"].bits == 6


@pytest.mark.parametrize(
    ("divisor", "fits"), [((0.5, 2.0), True), ((0.01, 2.0), False), ((-1.0, 2.0), False), ((-4.0, -0.5), True)]
)
def test_divisors_near_zero(divisor: tuple[float, float], fits: bool) -> None:
    model = named("float[4] x, float[4] z) => (float[4] y", "y = Div(x, z)")
    observed = seen(x=(-1, 1), z=divisor, y=(-9, 9))
    found = unfit(Wiring(model.proto.graph), plan_steps(model), observed, NONE)
    assert found == ({} if fits else {"Div_y": "divisor comes too close to 0 for 8 bits"})


def test_a_constant_dividend() -> None:
    model = named("float[4] z) => (float[4] y", "y = Div(k, z)", {"k": np.ones(4, np.float32)})
    assert unfit(Wiring(model.proto.graph), plan_steps(model), seen(z=(0, 1), y=(1, 9)), NONE)
    assert not unfit(Wiring(model.proto.graph), plan_steps(model), seen(z=(1, 2), y=(1, 9)), NONE)


def test_values_near_infinity() -> None:
    model = named("float[4] x) => (float[4] y", "a = Exp(x) b = Reshape(a, s) y = Relu(b)", {"s": np.array([4])})
    observed = seen(x=(0, 87), a=(0, 3e38), y=(0, 3e38))
    assert list(unfit(Wiring(model.proto.graph), plan_steps(model), observed, NONE)) == ["Exp_a", "Reshape_b", "Relu_y"]


def test_a_normalisation_written_out_runs_without_nan() -> None:
    """x / |x| by rows, some of which are almost 0: with an 8-bit norm this would be 0 / 0."""
    body = "a = Mul(x, x) b = ReduceSum(a, one) c = Sqrt(b) y = Div(x, c)"
    model = named("float[3,4] x) => (float y", body, {"one": np.array([1], np.int64)})
    x = np.random.default_rng(0).standard_normal((8, 3, 4)).astype(np.float32)
    x[:, 0] *= 1e-3
    result = quantize(model, {"x": x})
    assert np.isfinite(result.sqnr_db)
    said = "in float, divisor comes too close to 0 for 8 bits: 1 Div, 1 Mul, 1 ReduceSum, 1 Sqrt"
    assert said in result.steps, "the norm is computed from floats as well"


def test_a_float_divisor_ends_at_the_layer_that_feeds_it() -> None:
    body = "a = MatMul(x, w) b = Mul(a, a) c = ReduceSum(b, one) d = Sqrt(c) n = Div(a, d) y = Relu(n)"
    values = {"one": np.array([1], np.int64), "w": np.eye(4, dtype=np.float32)}
    model = named("float[3,4] x) => (float[3,4] y", body, values)
    observed = seen(x=(-1, 1), a=(-1, 1), b=(0, 1), c=(0, 2), d=(0, 1.4), n=(-1, 1), y=(0, 1))
    found = unfit(Wiring(model.proto.graph), plan_steps(model), observed, NONE)
    assert sorted(found) == ["Div_n", "Mul_b", "ReduceSum_c", "Sqrt_d"]
    plan = plan_steps(model, found)
    assert plan.owner == {"x": "x", "a": "a", "n": "n", "y": "y"}

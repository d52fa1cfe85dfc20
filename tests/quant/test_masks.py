"""Attention masks, in every form that exporters write, take nothing from the grid of the scores and still mask."""

from __future__ import annotations

import numpy as np
import pytest

from bitline.core.diagnostics import Refusal
from bitline.engines.ort import Session
from bitline.graph.model import Model, Wiring
from bitline.graph.passes.name_nodes import name_nodes
from bitline.quant.masks import find_masks
from bitline.quant.options import QuantOptions
from bitline.quant.ptq import QuantResult, quantize
from bitline.quant.ranges import LOWEST, Observation
from bitline.quant.steps import plan_steps
from tests.graph.build import as_model, constants, parsed

RNG = np.random.default_rng(0)
KEYS = 8
CAUSAL = np.where(np.tril(np.ones((KEYS, KEYS), np.bool_)), 0, -1e9).astype(np.float32)
CONSTANTS = {
    "one": np.array(1, np.float32),
    "none": np.array(0, np.float32),
    "far": np.array(LOWEST, np.float32),
    "near": np.array(-10000, np.float32),
    "minus": np.array(-np.inf, np.float32),
    "plus": np.array(10000, np.float32),
    "causal": CAUSAL,
    "size": np.array([KEYS, KEYS], np.int64),
    "axis": np.array([0], np.int64),
    "scale": np.array(0.5, np.float32),
}
FORMS = {
    "Where of two numbers": "m = Where(keep, none, far) t = Add(s, m)",
    "expanded": "r = Unsqueeze(keep, axis) e = Expand(r, size) m = Where(e, none, far) t = Add(m, s)",
    "product with the complement": "f = Cast<to = 1>(keep) c = Sub(one, f) m = Mul(c, far) t = Add(s, m)",
    "product of a small number": "f = Cast<to = 1>(keep) c = Sub(one, f) m = Mul(c, near) t = Add(s, m)",
    "product with the difference": "f = Cast<to = 1>(keep) c = Sub(f, one) m = Mul(c, plus) t = Add(s, m)",
    "minus a product": "f = Cast<to = 1>(keep) c = Sub(one, f) m = Mul(c, plus) t = Sub(s, m)",
    "fill": "t = Where(keep, s, minus)",
    "fill of scaled scores": "u = Mul(s, scale) t = Where(keep, u, near)",
    "causal and padding": "m = Where(keep, none, near) n = Add(causal, m) t = Add(s, n)",
    "one after the other": "m = Where(keep, none, near) n = Add(s, m) t = Add(n, causal)",
}


def attention(form: str) -> Model:
    body = f"s = MatMul(q, k) {FORMS[form]} p = Softmax(t) y = MatMul(p, v)"
    signature = f"float[{KEYS},4] q, float[4,{KEYS}] k, float[{KEYS},4] v, bool[{KEYS}] keep) => (float[{KEYS},4] y"
    used = {name: value for name, value in CONSTANTS.items() if name in body.replace("(", " ").replace(")", " ")}
    return as_model(name_nodes(parsed(signature, body, used)))


def feeds(count: int, *, masked: bool = True) -> dict[str, np.ndarray]:
    lengths = RNG.integers(2, KEYS + 1, count) if masked else np.full(count, KEYS)
    shapes = {"q": (KEYS, 4), "k": (4, KEYS), "v": (KEYS, 4)}
    drawn = {name: RNG.uniform(-2, 2, (count, *shape)).astype(np.float32) for name, shape in shapes.items()}
    return drawn | {"keep": np.arange(KEYS)[None] < lengths[:, None]}


def probabilities(model: Model, given: dict[str, np.ndarray], name: str) -> np.ndarray:
    proto = as_model(model.proto).proto
    proto.graph.output.append(next(value for value in proto.graph.value_info if value.name == name))
    session = Session(proto, optimise=False)
    runs = [session.run({key: value[i] for key, value in given.items()}) for i in range(len(given["q"]))]
    return np.array([run[name] for run in runs])


@pytest.mark.parametrize("masked", [True, False], ids=["calibrated with masks", "calibrated without"])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_masks_and_stays_close(form: str, masked: bool) -> None:
    model = attention(form)
    result = quantize(model, feeds(64, masked=masked), QuantOptions(method="minmax"))
    test = feeds(8)
    wanted, got = probabilities(model, test, "p"), probabilities(result.model, test, "p_dq")
    hidden = np.broadcast_to(~test["keep"][:, None, :], got.shape)
    if "causal" in FORMS[form]:
        hidden = hidden | (CAUSAL < -1)[None]
    assert not got[hidden].any(), "what is masked is exactly 0"
    assert np.abs(got - wanted).max() < 0.06
    assert 10 * np.log10((wanted**2).sum() / ((wanted - got) ** 2).sum()) > 28
    if masked:
        assert any("attention masks in front of 1 Softmax saturate" in step for step in result.steps)


def test_the_grids() -> None:
    """The scores end where all masked elements together stay below half a step of the softmax output."""
    model = attention("Where of two numbers")
    result = quantize(model, feeds(16), QuantOptions(method="minmax"))
    values = constants(result.model.proto)
    assert values["t_scale"] < 0.15, "a step of the masked scores is not 1e36"
    floor = -float(values["t_zero_point"]) * float(values["t_scale"])
    depth = -float(values["m_zero_point"]) * float(values["m_scale"])
    assert -20 < floor < -5
    assert depth < floor
    assert values["m_zero_point"] == values["far_zero_point"] == 255
    assert values["far_q"] == 0


def seen(low: float, high: float, crest: float | None = None) -> Observation:
    return Observation(low=low, high=high, counts=np.zeros(1, np.int64), crest=crest)


def test_the_bound() -> None:
    model = attention("Where of two numbers")
    wiring, plan = Wiring(model.proto.graph), plan_steps(model)
    observed = {"s": seen(-5, 6), "m": seen(LOWEST, 0), "t": seen(LOWEST, 6, crest=-1.0)}
    ranges = find_masks(wiring, plan, observed).ranges
    floor = -1 - np.log(2 * 255 * KEYS)
    assert ranges["t"] == (pytest.approx(floor), 6)
    assert ranges["m"] == (pytest.approx(floor - 6), 0)
    assert ranges["far"] == (pytest.approx(floor - 6), 0)
    assert set(ranges) >= {"t", "m", "far"}
    assert "s" not in ranges


def test_scores_without_a_mask_keep_their_range() -> None:
    body = "s = MatMul(q, k) t = Add(s, b) p = Softmax(t) y = Relu(p)"
    proto = parsed("float[4,4] q, float[4,4] k) => (float[4,4] y", body, {"b": np.full(4, -9000, np.float32)})
    model = as_model(name_nodes(proto))
    observed = {"s": seen(-5, 6), "t": seen(-9005, -8994, crest=-8999)}
    assert find_masks(Wiring(model.proto.graph), plan_steps(model), observed).ranges == {}


def test_a_mask_that_is_an_input() -> None:
    body = "s = MatMul(q, k) t = Add(s, m) y = Softmax(t)"
    model = as_model(parsed("float[4,4] q, float[4,4] k, float[4] m) => (float[4,4] y", body))
    given = {name: RNG.standard_normal((8, 4, 4)).astype(np.float32) for name in "qk"}
    given["m"] = np.where(np.arange(4)[None] < RNG.integers(1, 5, 8)[:, None], 0, -1e9).astype(np.float32)
    result: QuantResult = quantize(model, given)
    assert result.sqnr_db > 28


def test_infinity_that_is_no_mask_leaves_its_neighbours_in_float() -> None:
    """The largest of the valid values, which exporters write with a fill of minus infinity."""
    body = "a = Relu(x) t = Where(keep, a, minus) y = ReduceMax<axes = [0], keepdims = 0>(t)"
    model = as_model(parsed("float[4] x, bool[4] keep) => (float y", body, {"minus": CONSTANTS["minus"]}))
    given = {"x": RNG.standard_normal((8, 4)).astype(np.float32), "keep": np.array([[True, False, True, True]] * 8)}
    result = quantize(model, given)
    assert result.sqnr_db > 30
    assert "in float, values near infinity: 1 ReduceMax, 1 Where" in result.steps


def test_a_tensor_that_was_inside_a_step_left_in_float_is_observed_too() -> None:
    """Relu belongs to the layer before it, until the layer turns out to reach further than any grid."""
    weights = RNG.standard_normal((4, 4)).astype(np.float32)
    far = np.array([[1e31], *[[0.5]] * 3], np.float32) * np.ones(4, np.float32)
    body = "a = MatMul(x, far) r = Relu(a) s = MatMul(x, w) t = Relu(s) b = Min(r, t) y = MatMul(b, w)"
    model = as_model(parsed("float[2,4] x) => (float[2,4] y", body, {"far": far, "w": weights}))
    result = quantize(model, {"x": RNG.standard_normal((8, 2, 4)).astype(np.float32)})
    assert any("values near infinity" in step for step in result.steps)
    assert result.sqnr_db > 25


def test_plus_infinity_and_nan_are_refused() -> None:
    for body in ("y = Exp(x)", "a = Relu(x) y = Sub(a, a)"):
        model = as_model(parsed("float[2] x) => (float[2] y", body))
        value = np.full((1, 2), 1e3 if "Exp" in body else np.inf, np.float32)
        with pytest.raises(Refusal) as refusal:
            quantize(model, {"x": value})
        assert refusal.value.diagnostics[0].code == "BL0105"

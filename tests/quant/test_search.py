"""Widths where measuring says so: which layers read 16 bits, and what keeps all at 8."""

from __future__ import annotations

import numpy as np
import pytest

from bitline.graph.model import Model
from bitline.graph.passes.name_nodes import name_nodes
from bitline.quant.options import QuantOptions
from bitline.quant.ptq import QuantResult, quantize
from bitline.quant.search import needed_layers
from tests.graph.build import as_model, constants, parsed

RNG = np.random.default_rng(0)


def decades() -> tuple[Model, dict[str, np.ndarray]]:
    """A layer over values of four decades whose small ones count (the large ones meet small weights), one that takes
    8 bits well, and one more behind it."""
    weights = {
        "w": np.concatenate([np.full((4, 8), 1e-4), np.ones((4, 8))]).astype(np.float32)
        * RNG.choice([-1, 1], (8, 8)).astype(np.float32),
        "v": RNG.standard_normal((8, 8)).astype(np.float32),
        "u": RNG.standard_normal((8, 4)).astype(np.float32),
    }
    body = "a = MatMul(x, w) r = Relu(a) b = MatMul(r, v) s = Relu(b) y = MatMul(s, u)"
    x = RNG.uniform(-1, 1, (48, 2, 8)) * np.array([1] * 4 + [1e-3] * 4)
    model = as_model(name_nodes(parsed("float[2,8] x) => (float[2,4] y", body, weights)))
    return model, {"x": x.astype(np.float32)}


def types(result: QuantResult) -> dict[str, str]:
    found = constants(result.model.proto)
    return {name.removesuffix("_zero_point"): str(v.dtype) for name, v in found.items() if name.endswith("_zero_point")}


def test_only_the_layer_that_needs_them_reads_sixteen_bits() -> None:
    model, feeds = decades()
    narrow = quantize(model, feeds, QuantOptions(layer_bits=8))
    result = quantize(model, feeds)
    assert narrow.sqnr_db < 20
    assert result.sqnr_db > narrow.sqnr_db + 10
    said = next(step for step in result.steps if "layers read 16 bits" in step)
    assert said.startswith("1 of 3 layers read 16 bits")
    assert types(result)["x"] == "int16"
    assert types(result)["r"] == types(result)["s"] == "uint8"


@pytest.mark.parametrize(
    "options",
    [QuantOptions(layer_bits=8), QuantOptions(residual_threshold_db=-100), QuantOptions(activation_bits=6)],
)
def test_where_nobody_asks_for_sixteen_bits_there_are_none(options: QuantOptions) -> None:
    model, feeds = decades()
    result = quantize(model, feeds, options)
    assert not any("read 16 bits" in step for step in result.steps)
    assert types(result)["x"] == "uint8"
    assert result.model.proto.opset_import[0].version == 17, "no opset is raised for nothing"


def test_sixteen_bits_that_gain_little_are_not_taken() -> None:
    """Two weight bits leave so much noise that the width of activations hardly matters."""
    model, feeds = decades()
    feeds = {"x": (feeds["x"] * np.array([1] * 4 + [1e3] * 4)).astype(np.float32)}
    result = quantize(model, feeds, QuantOptions(weight_bits=2))
    assert result.sqnr_db < 20
    assert any(step.startswith("layers read 8 bits: ") for step in result.steps)
    assert types(result)["x"] == "uint8"


def test_all_layers_where_it_is_demanded() -> None:
    model, feeds = decades()
    result = quantize(model, feeds, QuantOptions(layer_bits=16))
    assert any(step.startswith("3 of 3 layers read 16 bits") for step in result.steps)
    assert {types(result)[name] for name in "xrs"} == {"int16"}


def test_a_model_that_cannot_be_raised_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def gives_up(model: Model) -> None:
        return None

    monkeypatch.setattr("bitline.quant.prepare.with_int16", gives_up)
    model, feeds = decades()
    result = quantize(model, feeds)
    assert "layers read 8 bits: the model cannot be raised to opset 21" in result.steps


def test_layers_that_cost_least_go_back_to_eight_bits() -> None:
    cost = {"a": 0.5, "b": 0.01, "c": -0.1, "d": 0.02, "e": 0.08}
    assert needed_layers(cost, 0.1) == ["a", "e"]
    assert needed_layers(cost, 0.0) == ["a", "b", "d", "e"]
    assert needed_layers(cost, 10.0) == []


def test_functions_of_one_value_read_sixteen_bits_where_it_gains() -> None:
    """Energies over three decades below a root, with no layer that could be to blame."""
    model = as_model(
        name_nodes(parsed("float[4,8] x) => (float[4,1] y", "a = Mul(x, x) b = ReduceMean<axes = [1]>(a) y = Sqrt(b)"))
    )
    x = (np.exp(RNG.uniform(-7, 0, (64, 4, 1))) * np.ones((1, 1, 8))).astype(np.float32)
    x[:, 0] = 0.004  # most of the time it is quiet
    feeds = {"x": np.minimum(x, 0.01)}
    feeds["x"][0, 0, 0] = 1.0
    auto, narrow = (
        quantize(model, feeds, QuantOptions(method="minmax")),
        quantize(model, feeds, QuantOptions(method="minmax", unary_bits=8)),
    )
    assert auto.sqnr_db >= narrow.sqnr_db
    assert any("functions of one value read" in step for step in auto.steps)

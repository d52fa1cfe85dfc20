"""Models with several inputs, integers among them, whose first axis is no batch: state, tokens, a number."""

from __future__ import annotations

import numpy as np
import pytest

from bitline.core.diagnostics import Refusal
from bitline.data.load import load_data
from bitline.quant.calibration import Samples, batches, checked, sample_count
from bitline.quant.ptq import quantize
from bitline.quant.score import score
from tests.graph.build import as_model, parsed

STREAM = as_model(
    parsed(
        "float[1,5] frame, float[2,1,3] state, int64[4,2] ids, float gain) => (float y, float s, float z",
        "a = Mul(frame, gain) y = Relu(a) s = Tanh(state) z = Cast<to = 1>(ids)",
    )
)


def test_first_axes_that_are_no_batch() -> None:
    """Samples lie end to end on the first axis, or on a new one in front of it."""
    new_axis = {
        "frame": np.arange(15, dtype=np.float32).reshape(3, 1, 5),
        "state": np.arange(18, dtype=np.float32).reshape(3, 2, 1, 3),
        "ids": np.arange(24).reshape(3, 4, 2),
        "gain": np.array([1, 2, 3], np.float32),
    }
    end_to_end = {name: value.reshape(-1, *value.shape[2:]) for name, value in new_axis.items() if name != "gain"}
    for feeds in (new_axis, end_to_end | {"gain": new_axis["gain"]}):
        fitting = checked(feeds, STREAM)
        assert sample_count(fitting, STREAM) == 3
        for index, batch in enumerate(batches(fitting, STREAM)):
            assert {name: value.shape for name, value in batch.items()} == {
                "frame": (1, 5),
                "state": (2, 1, 3),
                "ids": (4, 2),
                "gain": (),
            }
            for name, value in batch.items():
                np.testing.assert_array_equal(value, new_axis[name][index], err_msg=name)


def test_different_numbers_of_samples_are_refused() -> None:
    feeds = dict(load_data("random:4", STREAM).feeds)
    feeds["state"] = feeds["state"][:3]
    with pytest.raises(Refusal) as refusal:
        checked(feeds, STREAM)
    assert "frame 4, state 3, ids 4, gain 4" in refusal.value.diagnostics[0].message


def test_an_input_without_elements_takes_its_samples_on_a_new_axis() -> None:
    model = as_model(parsed("float[0,3] x, float[2] z) => (float y, float[2] u", "y = Relu(x) u = Exp(z)"))
    feeds = {"x": np.zeros((4, 0, 3), np.float32), "z": np.ones((4, 2), np.float32)}
    assert quantize(model, feeds).sqnr_db > 40
    with pytest.raises(Refusal) as refusal:
        checked(feeds | {"x": np.zeros((0, 3), np.float32)}, model)
    assert refusal.value.diagnostics[0].code == "BL0105"


def test_text_is_not_asked_whether_it_is_finite() -> None:
    model = as_model(parsed("string[2] t) => (bool[2] e", "e = Equal(t, t)", opset=19))
    feeds = {"t": np.array([["a", "b"]] * 3, object)}
    assert sample_count(checked(feeds, model), model) == 3


def test_a_model_with_state_is_quantised() -> None:
    result = quantize(STREAM, load_data("random:6", STREAM).feeds)
    assert result.sqnr_db > 30
    assert result.steps[0].startswith("ranges of 6 activations from 6 samples")
    assert score(STREAM, result.model, Samples(feeds=load_data("random:6", STREAM).feeds)).sqnr_db > 30


def test_the_noise_of_each_output_counts_by_its_own_signal() -> None:
    """One output is a million times the other: the quiet one decides as much as the loud one."""
    values = {"big": np.array(1e6, np.float32), "k": np.eye(4, dtype=np.float32)}
    body = "l = MatMul(x, k) y = Mul(l, big) a = Relu(x) z = LogSoftmax(a)"
    model = as_model(parsed("float[3,4] x) => (float[3,4] y, float[3,4] z", body, values))
    x = np.random.default_rng(0).uniform(-1, 1, (8, 3, 4)).astype(np.float32)
    x[0, 0, 0] = 30  # an outlier: the grid of all else is coarse
    result = quantize(model, {"x": x})
    assert 20 < result.sqnr_db < 45
    whole = score(model, result.model, Samples(feeds={"x": x}))
    assert whole.samples == 8


def test_outputs_that_are_integers_do_not_count() -> None:
    body = "a = Relu(x) y = ArgMax<axis = 1>(a) z = Neg(a)"
    model = as_model(parsed("float[3,4] x) => (int64[3,1] y, float[3,4] z", body))
    x = np.random.default_rng(0).uniform(-1, 1, (8, 3, 4)).astype(np.float32)
    assert quantize(model, {"x": x}).sqnr_db > 40

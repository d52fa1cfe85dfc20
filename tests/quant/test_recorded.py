"""Streams: state that data leave out is what the float model makes of the frames before."""

from __future__ import annotations

import numpy as np
import pytest

from bitline.core.diagnostics import Refusal
from bitline.engines.ort import Session
from bitline.quant.options import QuantOptions
from bitline.quant.ptq import quantize
from bitline.quant.streams import recorded, spread_steps, streamed, windows
from tests.graph.build import as_model, parsed

PAIRS = (("s_out", "s"),)
SUM = as_model(
    parsed(
        "float[1,3] x, float[2,1,3] s) => (float[2,1,3] s_out, float[1,3] y",
        "h = Mul(s, half) s_out = Add(h, x) y = ReduceSum<keepdims = 0>(s_out, first)",
        {"half": np.array(0.5, np.float32), "first": np.array([0], np.int64)},
    )
)
FRAMES = np.arange(12, dtype=np.float32).reshape(4, 3)


def by_hand(start: np.ndarray) -> np.ndarray:
    states = [start]
    for frame in FRAMES[:-1]:
        states.append(states[-1] / 2 + frame)
    return np.stack(states)


def test_lacking_state_is_recorded_from_zeros() -> None:
    feeds = recorded(SUM, {"x": FRAMES}, PAIRS)
    np.testing.assert_array_equal(feeds["s"], by_hand(np.zeros((2, 1, 3), np.float32)))
    np.testing.assert_array_equal(feeds["x"], FRAMES)


def test_a_state_given_once_is_the_first() -> None:
    start = np.ones((2, 1, 3), np.float32)
    for given in (start, start[None]):
        np.testing.assert_array_equal(recorded(SUM, {"x": FRAMES, "s": given}, PAIRS)["s"], by_hand(start))


def test_states_given_for_every_sample_stay() -> None:
    states = np.random.default_rng(0).standard_normal((4, 2, 1, 3)).astype(np.float32)
    np.testing.assert_array_equal(recorded(SUM, {"x": FRAMES, "s": states}, PAIRS)["s"], states)


def test_what_else_is_wrong_is_refused() -> None:
    with pytest.raises(Refusal) as refusal:
        recorded(SUM, {"x": FRAMES[:, :2]}, PAIRS)
    assert refusal.value.diagnostics[0].code == "BL0105"
    with pytest.raises(Refusal) as refusal:
        recorded(SUM, {"x": FRAMES}, ())
    assert "no data for input 's'" in refusal.value.diagnostics[0].message


def test_windows_are_stretches_of_the_stream() -> None:
    samples = [{"x": np.full((1,), i)} for i in range(1000)]
    found = windows(samples)
    assert [len(window) for window in found] == [64] * 4
    assert [int(window[0]["x"][0]) for window in found] == [0, 312, 624, 936]
    assert all(np.diff([int(batch["x"][0]) for batch in window]).tolist() == [1] * 63 for window in found)
    assert [[int(b["x"][0]) for b in w] for w in windows(samples[:3])] == [[0, 1, 2]]
    assert [int(batch["x"][0]) for batch in spread_steps(samples, 4)] == [0, 250, 500, 750]


def test_inside_a_window_a_model_goes_on_from_its_own_state() -> None:
    session = Session(SUM.proto, optimise=False)
    feeds = recorded(SUM, {"x": FRAMES}, PAIRS)
    window = [{"x": FRAMES[i : i + 1], "s": feeds["s"][i]} for i in range(1, 4)]
    wrong = [window[0], *({**batch, "s": batch["s"] + 100} for batch in window[1:])]
    for right, got in zip(streamed(session.run, window, PAIRS), streamed(session.run, wrong, PAIRS), strict=True):
        np.testing.assert_array_equal(right["s_out"], got["s_out"])
    apart = streamed(session.run, wrong, ())
    assert apart[1]["s_out"].min() > 40, "without pairs every sample stands alone"


def test_ranges_follow_from_the_stream_and_one_grid_carries_the_state() -> None:
    rng = np.random.default_rng(1)
    frames = rng.uniform(0, 1, (300, 3)).astype(np.float32)
    result = quantize(SUM, {"x": frames}, QuantOptions(states=PAIRS))
    assert "300 samples of a stream, 1 state fed back" in result.steps[0]
    assert result.sqnr_db > 30
    session = Session(result.model.proto, optimise=False)
    state, wanted = np.zeros((2, 1, 3), np.float32), np.zeros((2, 1, 3), np.float32)
    for frame in rng.uniform(0, 1, (100, 1, 3)).astype(np.float32):
        state = session.run({"x": frame, "s": state})["s_out"]
        wanted = wanted / 2 + frame
    np.testing.assert_allclose(state, wanted, atol=0.05)


def test_a_long_stream_gives_ranges_by_some_of_its_steps() -> None:
    frames = np.random.default_rng(2).uniform(0, 1, (700, 3)).astype(np.float32)
    result = quantize(SUM, {"x": frames}, QuantOptions(states=PAIRS, method="minmax"))
    assert "from 512 samples of a stream" in result.steps[0]

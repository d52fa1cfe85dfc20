""".npy files: a stack of samples, one sample, or a stream that is cut into frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitline.core.diagnostics import Refusal
from bitline.data.arrays import framed
from bitline.data.load import Rules, load_data, load_source
from bitline.data.sources import find_sources
from tests.data.pictures import said, takes
from tests.graph.build import as_model, parsed

SOUND = takes("1,4")


def stored(folder: Path, x: np.ndarray) -> str:
    np.save(folder / "x.npy", x)
    return str(folder / "x.npy")


@given(size=st.integers(1, 60), hop=st.integers(1, 4))
def test_frames_cover_every_number_once_a_hop(size: int, hop: int) -> None:
    x = np.arange(1, size + 1, dtype=np.float32)
    cut = framed(x, SOUND, "x", hop, None, "x.npy")
    assert cut is not None
    frames, said = cut
    for i, frame in enumerate(frames):
        real = x[i * hop : i * hop + 4]
        np.testing.assert_array_equal(frame, np.pad(real, (0, 4 - len(real))))
    assert set(x) <= set(frames.reshape(-1))
    assert (len(frames) - 2) * hop + 4 < size or len(frames) == 1  # one frame less would leave numbers out
    assert f"{size:,} numbers in frames of 4, {hop} apart" in said


def test_without_hop_frames_lie_side_by_side(tmp_path: Path) -> None:
    samples = load_data(stored(tmp_path, np.arange(10, dtype=np.float32)), SOUND)
    assert samples.feeds["x"].tolist() == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 0, 0]]
    assert samples.remark == "3 samples of x.npy, 10 numbers in frames of 4, 4 apart, 2 zeros at the end"


def test_a_limit_takes_the_first_frames(tmp_path: Path) -> None:
    samples = load_data(stored(tmp_path, np.arange(10, dtype=np.float32)), SOUND, limit=2, hop=1)
    assert samples.feeds["x"].tolist() == [[0, 1, 2, 3], [1, 2, 3, 4]]
    assert "zeros" not in samples.remark


def test_sixteen_bit_sound_becomes_minus_one_to_one(tmp_path: Path) -> None:
    samples = load_data(stored(tmp_path, np.array([-32768, 16384, 0, 32767], np.int16)), takes("1,1,2"))
    assert samples.feeds["x"].shape == (2, 1, 2)
    assert samples.feeds["x"].reshape(-1).tolist() == [-1.0, 0.5, 0.0, 32767 / 32768]
    assert "int16 divided by 32768" in samples.remark


def test_one_sample_needs_no_axis_for_the_stack(tmp_path: Path) -> None:
    one = np.arange(12, dtype=np.float32).reshape(3, 2, 2)
    samples = load_data(stored(tmp_path, one), takes("1,3,2,2"))
    np.testing.assert_array_equal(samples.feeds["x"], one[None])
    np.testing.assert_array_equal(
        load_data(stored(tmp_path, np.ones(4, np.float32)), SOUND).feeds["x"], np.ones((1, 4))
    )


@pytest.mark.parametrize(
    ("x", "shape", "hop", "word"),
    [
        (np.ones(10, np.float32), "1,4", 5, "--hop 5 would leave numbers out: frames have 4"),
        (np.ones((2, 4), np.float32), "1,4", 2, "--hop cuts a stream into frames; the data are [2, 4]"),
        (np.ones(10, np.float32), "1,2,4", 2, "--hop cuts a stream into frames"),
        (np.ones(0, np.float32), "1,4", None, "given [0]"),
        (np.array([1, np.nan], np.float32), "1,4", None, "NaN or infinite"),
    ],
)
def test_streams_that_do_not_fit(tmp_path: Path, x: np.ndarray, shape: str, hop: int | None, word: str) -> None:
    with pytest.raises(Refusal) as refusal:
        load_data(stored(tmp_path, x), takes(shape), hop=hop)
    assert word in said(refusal.value)


def test_hop_needs_a_stream(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", other=np.ones((2, 4), np.float32), allow_pickle=False)
    with pytest.raises(Refusal, match="--hop needs a stream"):
        load_data(str(tmp_path / "x.npz"), SOUND, hop=2)
    with pytest.raises(Refusal, match="--hop cuts streams"):
        load_data("random:2", SOUND, hop=2)


def test_state_is_nobodys_to_give_but_may_be_given(tmp_path: Path) -> None:
    model = as_model(
        parsed("float[1,4] x, float[1,2] h) => (float[1,4] y, float[1,2] g", "y = Identity(x) g = Identity(h)")
    )
    rules = Rules(without=frozenset("h"))
    (source,) = find_sources([stored(tmp_path, np.arange(8, dtype=np.float32))])
    assert sorted(load_source(source, model, rules).feeds) == ["x"]
    np.savez(tmp_path / "x.npz", x=np.ones((3, 4), np.float32), h=np.full((1, 2), 7.0, np.float32), allow_pickle=False)
    (source,) = find_sources([str(tmp_path / "x.npz")])
    loaded = load_source(source, model, rules)
    assert (sorted(loaded.feeds), loaded.count) == (["x"], 3)
    assert loaded.initial is not None
    assert loaded.initial["h"].tolist() == [[7.0, 7.0]]
    (source,) = find_sources(["random:2"])
    assert sorted(load_source(source, model, rules).feeds) == ["x"]

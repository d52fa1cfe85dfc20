"""Every form of data becomes what the model takes, or is refused with what was expected and what was given."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bitline.core.diagnostics import Refusal
from bitline.data.grammar import Preprocess, parse_preprocess
from bitline.data.load import load_data
from bitline.graph.model import Model
from bitline.quant.calibration import Samples, batches, checked, sample_count
from tests.graph.build import as_model, parsed

IMAGE = as_model(parsed("float[1,3,2,2] input) => (float[1,3,2,2] y", "y = Relu(input)"))
PAIR = as_model(
    parsed(
        "float[1,3] a, int64[1,2] ids) => (float[1,3] y, float[1,2,4] z",
        "y = Relu(a) z = Gather(table, ids)",
        {"table": np.zeros((7, 4), np.float32)},
    )
)
RULE = Preprocess(mean=(0.5, 0.25, 0.0), std=(0.5, 1.0, 2.0))


def images(count: int = 4) -> np.ndarray:
    return np.arange(count * 12, dtype=np.uint8).reshape(count, 2, 2, 3)


def refused(
    spec: str | Path, model: Model, preprocess: Preprocess | None = None, limit: int | None = None
) -> tuple[str, str]:
    with pytest.raises(Refusal) as refusal:
        load_data(str(spec), model, preprocess, limit)
    first = refusal.value.diagnostics[0]
    assert first.help
    return first.code, " ".join(d.message for d in refusal.value.diagnostics)


def saved(folder: Path, **arrays: np.ndarray) -> str:
    np.savez(folder / "data.npz", allow_pickle=False, **arrays)
    return str(folder / "data.npz")


def test_images_are_scaled_shifted_and_transposed(tmp_path: Path) -> None:
    x = images()
    samples = load_data(saved(tmp_path, x=x, y=np.arange(4)), IMAGE, RULE, limit=3)
    wanted = (x.transpose(0, 3, 1, 2) / 255 - np.reshape(RULE.mean, (1, 3, 1, 1))) / np.reshape(RULE.std, (1, 3, 1, 1))
    np.testing.assert_allclose(samples.feeds["input"], wanted[:3], atol=1e-6)
    assert samples.feeds["input"].dtype == np.float32
    assert samples.labels is not None
    assert samples.labels.tolist() == [0, 1, 2]
    assert samples.remark == "3 samples of data.npz, uint8 images"


def test_images_without_a_rule_are_only_scaled_and_this_is_said(tmp_path: Path) -> None:
    samples = load_data(saved(tmp_path, x=images()), IMAGE)
    assert samples.feeds["input"].max() == np.float32(47) / np.float32(255)
    assert samples.labels is None
    assert "without --preprocess" in samples.remark


def test_floats_pass_as_they_are(tmp_path: Path) -> None:
    x = np.random.default_rng(0).standard_normal((5, 3, 2, 2))
    np.save(tmp_path / "x.npy", x)
    for spec in (saved(tmp_path, x=x.astype(np.float32)), saved(tmp_path, input=x), str(tmp_path / "x.npy")):
        np.testing.assert_array_equal(load_data(spec, IMAGE).feeds["input"], x.astype(np.float32))


def test_inputs_by_name_with_an_int32_for_an_int64(tmp_path: Path) -> None:
    spec = saved(tmp_path, a=np.ones((2, 3), np.float32), ids=np.ones((2, 2), np.int32), y=np.array([4, 5]))
    samples = load_data(spec, PAIR)
    assert sorted(samples.feeds) == ["a", "ids"]
    assert samples.feeds["ids"].dtype == np.int64
    assert samples.labels is not None
    assert samples.labels.tolist() == [4, 5]


def test_random_data_are_seeded_and_below_the_table() -> None:
    one, two = load_data("random:50", PAIR), load_data("random:50", PAIR)
    for name in ("a", "ids"):
        np.testing.assert_array_equal(one.feeds[name], two.feeds[name])
    assert one.feeds["a"].shape == (50, 3)
    assert set(np.unique(one.feeds["ids"])) == set(range(7))
    assert "only shapes mean something" in one.remark
    assert sample_count(load_data("random:50", PAIR, limit=2).feeds, PAIR) == 2


@pytest.mark.parametrize("spec", ["random:", "random:0", "random:-1", "random:x", "random:1e3", "random:999999999"])
def test_random_without_a_number(spec: str) -> None:
    assert refused(spec, IMAGE)[0] == "BL0101"


def test_unreadable_files(tmp_path: Path) -> None:
    (tmp_path / "text.npz").write_text("not an archive")
    (tmp_path / "cut.npz").write_bytes(Path(saved(tmp_path, x=images())).read_bytes()[:100])
    (tmp_path / "empty.npy").touch()
    for name in ("text.npz", "cut.npz", "empty.npy", "missing.npz", "."):
        assert refused(tmp_path / name, IMAGE)[0] == "BL0206", name


def test_pickles_are_never_loaded(tmp_path: Path) -> None:
    np.savez(tmp_path / "objects.npz", x=np.array([{"a": 1}], dtype=object))
    code, said = refused(tmp_path / "objects.npz", IMAGE)
    assert code == "BL0206"
    assert "never loaded" in said


def test_each_wrong_array_is_named(tmp_path: Path) -> None:
    code, said = refused(saved(tmp_path, a=np.ones((2, 4), np.float32)), PAIR)
    assert code == "BL0105"
    assert "input 'a' is [n, 3], given [2, 4]" in said
    assert "no data for input 'ids'" in said


@pytest.mark.parametrize(
    ("x", "said"),
    [
        (images().transpose(0, 3, 1, 2), "(NHWC)"),
        (np.full((2, 3, 2, 2), np.nan, np.float32), "NaN"),
        (np.ones((2, 3, 2, 3), np.float32), "is [n, 3, 2, 2], given [2, 3, 2, 3]"),
        (np.ones((0, 3, 2, 2), np.float32), "no samples"),
        (np.ones((2, 3, 2, 2), np.complex64), "given complex64"),
        (np.ones((2, 3, 2, 2), np.int64), "given int64"),
    ],
)
def test_arrays_that_do_not_fit(tmp_path: Path, x: np.ndarray, said: str) -> None:
    code, message = refused(saved(tmp_path, x=x), IMAGE)
    assert code == "BL0105"
    assert said in message


def test_labels_that_do_not_fit(tmp_path: Path) -> None:
    assert "3 labels" in refused(saved(tmp_path, x=images(), y=np.arange(3)), IMAGE)[1]
    assert "float64" in refused(saved(tmp_path, x=images(), y=np.ones(4)), IMAGE)[1]


@pytest.mark.parametrize(
    "text", ["", "mean=1", "std=0", "mean=a std=1", "men=1 std=1", "mean=1,2 std=inf", "std=1,,2", "mean"]
)
def test_preprocess_text(text: str) -> None:
    if text == "mean=1":
        assert parse_preprocess(text) == Preprocess(mean=(1.0,))
        return
    with pytest.raises(Refusal) as refusal:
        parse_preprocess(text)
    assert refusal.value.diagnostics[0].code == "BL0101"


def test_a_rule_must_fit_the_channels_and_the_type(tmp_path: Path) -> None:
    assert parse_preprocess("mean=0.5,0.25,0 std=0.5,1,2") == RULE
    assert (
        "2 values of mean for 3 channels" in refused(saved(tmp_path, x=images()), IMAGE, Preprocess(mean=(0.0, 1.0)))[1]
    )
    assert "float32" in refused(saved(tmp_path, x=np.ones((1, 3, 2, 2), np.float32)), IMAGE, RULE)[1]
    assert refused(saved(tmp_path, input=np.ones((1, 3, 2, 2), np.float32)), IMAGE, RULE)[0] == "BL0101"
    assert refused(saved(tmp_path, x=images()), IMAGE, RULE, limit=0)[0] == "BL0101"


def test_batches_follow_the_model() -> None:
    wide = as_model(parsed("float[4,3] x) => (float[4,3] y", "y = Relu(x)"))
    x = np.arange(24, dtype=np.float32).reshape(8, 3)
    assert [batch["x"].tolist() for batch in batches(checked({"x": x}, wide), wide)] == [x[:4].tolist(), x[4:].tolist()]
    stacked = x.reshape(2, 4, 3)
    assert [batch["x"].shape for batch in batches(checked({"x": stacked}, wide), wide)] == [(4, 3), (4, 3)]


def test_samples_are_values() -> None:
    assert Samples(feeds={}).labels is None

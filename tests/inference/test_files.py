"""Files through a network from Python: the same numbers as arrays, in order, with bad ones among them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from bitline import api
from bitline.core.diagnostics import Refusal
from bitline.core.progress import SILENT
from bitline.data.grammar import Preprocess
from bitline.data.load import Loaded, Rules
from bitline.data.sources import find_sources
from bitline.inference import Classes
from bitline.inference.files import BATCH, Asked, FileResult, run_sources
from bitline.inference.simulate import Streams
from tests.data.pictures import picture, save
from tests.graph.build import as_model, parsed
from tests.inference import hooks
from tests.inference.models import CLASSES, compiled

Results = list[FileResult[api.RunResult]]


class Watch:
    """A `Progress` that remembers."""

    def __init__(self) -> None:
        self.totals: list[int | None] = []
        self.done: list[int] = []

    def stage(self, name: str, total: int | None = None) -> None:
        assert name == "run"
        self.totals.append(total)

    def advance(self, count: int = 1) -> None:
        self.done.append(count)


def photos(folder: Path, count: int, bad: Sequence[int] = ()) -> list[np.ndarray]:
    """8 x 8 noise in files; those of `bad` are text. What the good ones hold."""
    found: list[np.ndarray] = []
    for i in range(count):
        if i in bad:
            (folder / f"{i:03}.png").write_text("no image")
        else:
            found.append(picture(8, 8, seed=i))
            save(folder / f"{i:03}.png", found[-1])
    return found


def test_files_give_what_arrays_give(tmp_path: Path) -> None:
    pixels = photos(tmp_path, 5, bad=(2,))
    for kind, axes in (("images", (0, 3, 1, 2)), ("images NHWC", (0, 1, 2, 3))):
        package = compiled(kind)
        results = list(package.run_files(tmp_path, preprocess="mean=0.5 std=0.25", top=3, labels=list("abcdefghij")))
        x = ((np.stack(pixels).astype(np.float32) / 255 - 0.5) / 0.25).transpose(axes)
        want = package.run({"image": x}).outputs["scores"]
        good = [r for r in results if r.samples]
        np.testing.assert_array_equal(np.concatenate([r.outputs["scores"] for r in good]), want)
        assert [Path(r.file).name for r in results] == [f"{i:03}.png" for i in range(5)]
        assert [d.code for d in results[2].errors] == ["BL0206"]
        for result, scores in zip(good, want, strict=True):
            (answer,) = result.answers
            assert isinstance(answer, Classes)
            order = np.argsort(-scores, kind="stable")[:3]
            assert [p.number for p in answer.best] == order.tolist()
            assert [p.label for p in answer.best] == ["abcdefghij"[i] for i in order]
            assert result.frames[0].width == 8
            assert min(result.preprocess_seconds, result.inference_seconds, result.postprocess_seconds) > 0


def test_samples_go_together_and_all_are_counted(tmp_path: Path) -> None:
    photos(tmp_path, BATCH + 10, bad=(0, 3, BATCH + 9))
    watch = Watch()
    results = list(compiled("images").run_files(tmp_path, check_samples=2, progress=watch))
    runs = [run for result in results for run in result.runs]
    assert [run.samples for run in runs] == [BATCH, 7]
    assert [run.checked is not None for run in runs] == [True, False]
    assert runs[0].checked is not None
    assert runs[0].checked.exact.samples == 2
    assert results[0].runs == ()
    assert sum(watch.done) == watch.totals[-1] == BATCH + 10


def test_arrays_images_and_random_samples_side_by_side(tmp_path: Path) -> None:
    photos(tmp_path, 2)
    x = np.random.default_rng(0).random((3, 3, 8, 8)).astype(np.float32)
    np.savez(tmp_path / "x.npz", image=x, y=np.array([1, 2, 3]), allow_pickle=False)
    data = [tmp_path / "000.png", tmp_path / "x.npz", "random:4", tmp_path / "001.png"]
    watch = Watch()
    results = list(compiled("images").run_files(data, limit=3, progress=watch))
    assert [result.samples for result in results] == [1, 3, 3, 1]
    assert [result.labels is not None for result in results] == [False, True, False, False]
    np.testing.assert_array_equal(results[1].outputs["scores"], compiled("images").run({"image": x}).outputs["scores"])
    assert watch.totals[-1] == sum(watch.done) == 8
    assert results[0].remark.startswith("images become 'image', 8 x 8 RGB, NCHW")
    assert "only shapes mean something" in results[2].remark


def test_more_checks_than_a_batch(tmp_path: Path) -> None:
    photos(tmp_path, 3)
    results = list(compiled("images").run_files([tmp_path, "random:2"], check_samples=4))
    (run,) = (run for result in results for run in result.runs)
    assert run.checked is not None
    assert run.checked.exact.samples == 4
    assert run.checked.exact.against_reference.equal == run.checked.exact.against_reference.values


def test_a_hook_sees_each_sample_with_its_frame(tmp_path: Path) -> None:
    for i, (high, wide) in enumerate(((8, 8), (30, 20), (4, 5))):
        save(tmp_path / f"{i}.png", picture(high, wide))
    results = list(compiled("images").run_files(tmp_path, postprocess="tests.inference.hooks:raises_for_red"))
    answers = [result.answers for result in results]
    assert [len(answer) for answer in answers] == [1, 1, 0]
    (found,) = answers[1]
    assert isinstance(found, tuple)
    (box,) = found
    assert (box.x1, box.y1, box.label) == (20, 30, str(results[1].outputs["scores"].argmax()))
    assert [(d.code, d.message) for d in results[2].errors] == [
        ("BL0110", "the post-processing hook failed: it raised KeyError: 'five'")
    ]
    labels = [f"c{i}" for i in range(CLASSES)]
    named = list(compiled("images").run_files(tmp_path, postprocess=hooks.whole, labels=labels))
    for result in named:
        (found,) = result.answers
        assert isinstance(found, tuple)
        assert found[0].label == f"c{result.outputs['scores'].argmax()}"


def test_nothing_is_asked(tmp_path: Path) -> None:
    photos(tmp_path, 1)
    (result,) = compiled("images").run_files(tmp_path, top=0)
    assert result.answers == (None,)


def test_a_stream_is_framed_and_run(tmp_path: Path) -> None:
    sound = np.random.default_rng(0).normal(0, 0.3, 100).astype(np.float32)
    np.save(tmp_path / "sound.npy", sound)
    (result,) = compiled("stream").run_files(tmp_path / "sound.npy", hop=8)
    frames = np.stack([np.pad(sound[i : i + 16], (0, max(0, i + 16 - 100))) for i in range(0, 89, 8)])
    assert result.samples == len(frames) == 12
    np.testing.assert_array_equal(result.outputs["y"], compiled("stream").run({"sound": frames}).outputs["y"])
    assert result.note == "100 numbers in frames of 16, 8 apart, 4 zeros at the end"


def by_hand(x: np.ndarray, h: np.ndarray) -> list[np.ndarray]:
    """One sample after the other through a plain `run`, its output fed back."""
    found: list[np.ndarray] = []
    for one in x:
        h = np.asarray(compiled("leaky").run({"x": one[None], "h": h}).outputs["y"])
        found.append(h[0])
    return found


def test_state_goes_from_sample_to_sample(tmp_path: Path) -> None:
    x = np.random.default_rng(0).random((6, 4)).astype(np.float32)
    zeros = np.zeros((1, 4), np.float32)
    np.save(tmp_path / "a.npy", x)
    np.savez(tmp_path / "b.npz", x=x[:3], h=np.full((1, 4), 0.5, np.float32), allow_pickle=False)
    data = [tmp_path / "a.npy", tmp_path / "b.npz"]
    first, second = compiled("leaky").run_files(data, keep_state=True, check_samples=4)
    np.testing.assert_array_equal(first.outputs["y"], by_hand(x, zeros))
    np.testing.assert_array_equal(second.outputs["y"], by_hand(x[:3], zeros + np.float32(0.5)))
    assert (
        np.abs(first.outputs["y"] - compiled("leaky").run({"x": x, "h": zeros.repeat(6, 0)}).outputs["y"]).max() > 0.01
    )
    checked = [run.checked for run in (*first.runs, *second.runs) if run.checked is not None]
    together = api.merge_checked(checked)
    assert together is not None
    assert (len(checked), together.exact.samples) == (4, 4)
    assert together.exact.against_golden.equal == together.exact.against_golden.values == 16
    assert api.merge_checked([]) is None


def test_state_of_another_shape_is_that_files_fault(tmp_path: Path) -> None:
    x = np.ones((2, 4), np.float32)
    np.savez(tmp_path / "a.npz", x=x, h=np.ones((1, 3), np.float32), allow_pickle=False)
    np.savez(tmp_path / "b.npz", x=x, allow_pickle=False)
    bad, good = compiled("leaky").run_files(f"{tmp_path}/*.npz", keep_state=True)
    assert "state 'h' is float32 [1, 4], given float32 [1, 3]" in bad.errors[0].message
    assert (bad.samples, good.samples) == (0, 2)


def test_integers_of_a_state_that_its_type_does_not_hold() -> None:
    model = as_model(parsed("int32[1] x, int32[1] h) => (int32[1] y", "y = Add(x, h)"))
    streams = Streams(lambda feeds, check: pytest.fail(f"runs {feeds} {check}"), model, 0, (("y", "h"),))
    file = Loaded(feeds={"x": np.zeros((1, 1), np.int32)}, count=1, initial={"h": np.array([[2**32 + 1]])})
    with pytest.raises(Refusal, match="state 'h' is int32, given 4294967297"):
        list(streams([file]))


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"keep_state": True}, "BL0101"),
        ({"preprocess": "men=1"}, "BL0101"),
        ({"preprocess": "crop=4"}, "BL0101"),
        ({"labels": ["a"]}, "BL0105"),
        ({"labels": "gone.txt"}, "BL0206"),
        ({"postprocess": "gone"}, "BL0101"),
    ],
)
def test_options_are_refused_before_any_work(tmp_path: Path, options: dict[str, object], code: str) -> None:
    photos(tmp_path, 1)
    with pytest.raises(Refusal) as refusal:
        compiled("images").run_files(tmp_path, **options)  # pyright: ignore[reportArgumentType]
    assert refusal.value.diagnostics[0].code == code


def test_missing_files_are_refused_before_any_work(tmp_path: Path) -> None:
    photos(tmp_path, 1)
    with pytest.raises(Refusal, match="no such file"):
        compiled("images").run_files([tmp_path, tmp_path / "gone.png"])


@dataclass(frozen=True, kw_only=True)
class Fake:
    """What a simulator of nothing gives."""

    outputs: dict[str, np.ndarray]
    samples: int
    preprocess_seconds: float = 0.25
    inference_seconds: float = 1.0
    postprocess_seconds: float = 0.5


def interrupted_at(
    call: int, sizes: list[int], state: bool = False
) -> tuple[list[FileResult[Fake]], list[tuple[int, int]]]:
    """Results until Ctrl-C in the run number `call`, and the (samples, checks) of every run."""
    calls: list[tuple[int, int]] = []

    def run(feeds: Mapping[str, np.ndarray], check: int) -> Fake:
        calls.append((len(feeds["x"]), check))
        if len(calls) == call:
            raise KeyboardInterrupt
        return Fake(outputs={"y": feeds["x"] + feeds.get("h", 0)}, samples=len(feeds["x"]))

    model = compiled("leaky").model
    pairs = (("y", "h"),)
    rules = Rules(without=frozenset("h"))
    asked = Asked(rules=rules, top=0, check=3, state=pairs if state else ())
    sources = [replace(source, limit=size) for size in sizes for source in find_sources(["random:100000"])]
    found: list[FileResult[Fake]] = []
    coming = run_sources(run, model, sources, asked, SILENT)
    with pytest.raises(KeyboardInterrupt):
        found.extend(coming)
    return found, calls


def test_ctrl_c_keeps_the_runs_before_it() -> None:
    found, calls = interrupted_at(3, [20, 600, 40])
    assert calls == [(256, 3), (256, 0), (108, 0)]
    assert [result.samples for result in found] == [20, 492]
    assert len(found[1].outputs["y"]) == 492
    assert [len(result.runs) for result in found] == [2, 0]
    assert found[0].inference_seconds == pytest.approx(2.0 * 20 / 512)
    assert interrupted_at(1, [20, 600])[0] == []


def test_ctrl_c_keeps_the_samples_of_a_stream() -> None:
    found, calls = interrupted_at(5, [10], state=True)
    assert calls == [(1, 1), (1, 1), (1, 1), (1, 0), (1, 0)]
    (result,) = found
    assert (result.samples, len(result.runs)) == (4, 4)


def test_images_are_one_stream_and_arrays_begin_anew(tmp_path: Path) -> None:
    """x + h is fed back: images add up, one after the other, also past a broken one; an .npz starts from zero."""
    model = as_model(parsed("float[1,1,2,2] x, float[1,1,2,2] h) => (float[1,1,2,2] y", "y = Add(x, h)"))
    for i in range(3):
        save(tmp_path / f"{i}.png", np.full((2, 2, 3), 10 * (i + 1), np.uint8))
    (tmp_path / "1.png").write_text("broken")
    np.savez(tmp_path / "a.npz", x=np.full((2, 1, 2, 2), 5.0, np.float32), allow_pickle=False)

    def run(feeds: Mapping[str, np.ndarray], check: int) -> Fake:
        assert check == 0
        return Fake(outputs={"y": feeds["x"] + feeds["h"]}, samples=1)

    rules = Rules(preprocess=Preprocess(scale=(1.0, 1.0)), without=frozenset("h"))
    images = find_sources([str(tmp_path)])
    asked = Asked(rules=rules, top=0, state=(("y", "h"),))
    found = list(run_sources(run, model, images, asked, SILENT))
    assert [result.outputs["y"].max() if result.samples else None for result in found] == [10, None, 40]
    asked = replace(asked, rules=replace(rules, preprocess=None))
    arrays = find_sources([f"{tmp_path}/a.npz"] * 2)
    found = list(run_sources(run, model, arrays, asked, SILENT))
    assert [result.outputs["y"][:, 0, 0, 0].tolist() for result in found] == [[5, 10], [5, 10]]

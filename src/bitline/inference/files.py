"""Files through a network, one result a file, in the order they were given. A bad file is a result too.

Samples of several files go through the simulator together: it is several times faster on batches. Times of a batch are
shared out by samples.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from bitline.core.diagnostics import Diagnostic, Refusal, refuse
from bitline.core.progress import Progress
from bitline.data.frame import NO_IMAGE, Frame
from bitline.data.load import Loaded, Rules, load_source
from bitline.data.sources import Source
from bitline.graph.model import Model, dtype_of, shape_of
from bitline.inference.answers import Answer, PostProcess
from bitline.inference.classes import Scoring, best_classes, named
from bitline.inference.hooks import call_hook

Array = npt.NDArray[Any]
Feeds = Mapping[str, Array]

BATCH: Final = 64
"""Samples that are collected before the simulator starts; larger batches gain little and let people wait."""


class Ran(Protocol):
    """What a run of the simulator gives, as far as this room looks at it."""

    @property
    def outputs(self) -> Mapping[str, npt.NDArray[np.generic]]: ...
    @property
    def preprocess_seconds(self) -> float: ...
    @property
    def inference_seconds(self) -> float: ...
    @property
    def postprocess_seconds(self) -> float: ...


R = TypeVar("R", bound=Ran)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is wanted of every sample: the `top` best classes (0: none), named by `labels`, or what `hook` says.

    `check`: this many samples, the first ones, also go through the other engines. `state`: outputs that feed inputs
    of the next sample, (output, input).
    """

    rules: Rules
    top: int = 5
    labels: Sequence[str] = ()
    scoring: Scoring | None = None
    hook: PostProcess | None = None
    check: int = 0
    state: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FileResult(Generic[R]):
    """One file: outputs by name, samples stacked on axis 0, an answer for each; or `errors`, and then no samples.

    `runs` are the runs of the simulator that began with this file: more files of the same batch share them.
    """

    source: Source
    samples: int = 0
    outputs: Mapping[str, Array]
    answers: tuple[Answer, ...] = ()
    labels: npt.NDArray[np.int64] | None = None
    frames: tuple[Frame, ...] = ()
    preprocess_seconds: float = 0.0
    inference_seconds: float = 0.0
    postprocess_seconds: float = 0.0
    remark: str = ""
    note: str = ""
    errors: tuple[Diagnostic, ...] = ()
    runs: tuple[R, ...] = ()

    @property
    def file(self) -> str:
        return self.source.name


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pending:
    """A file that was read, or could not be, and how long that took."""

    source: Source
    loaded: Loaded | None
    errors: tuple[Diagnostic, ...]
    seconds: float

    @property
    def count(self) -> int:
        return self.loaded.count if self.loaded else 0


def run_sources(
    run: Callable[[Feeds, int], R], model: Model, sources: Sequence[Source], asked: Asked, progress: Progress
) -> Iterator[FileResult[R]]:
    """Results of all sources, in their order. `run(feeds, check)` simulates samples and advances `progress` by them."""
    counts = [source.limit or 1 if source.kind == "random" else 1 for source in sources]
    progress.stage("run", sum(counts))
    simulate = _Streams(run, model, asked) if asked.state else _Batches(run, asked)
    pending: list[_Pending] = []
    for number, source in enumerate(sources):
        read = _read(source, model, asked.rules)
        if read.count != counts[number]:
            counts[number] = max(read.count, 1)
            progress.stage("run", sum(counts))
        if not read.count:
            progress.advance()
        pending.append(read)
        collected = sum(p.count for p in pending)
        if collected >= max(BATCH, asked.check) or (collected and asked.state):
            yield from _finished(pending, simulate, asked)
            pending = []
    yield from _finished(pending, simulate, asked)


def _read(source: Source, model: Model, rules: Rules) -> _Pending:
    started = time.perf_counter()
    try:
        loaded, errors = load_source(source, model, rules), ()
    except Refusal as refusal:
        loaded, errors = None, refusal.diagnostics
    return _Pending(source=source, loaded=loaded, errors=errors, seconds=time.perf_counter() - started)


class _Batches(Generic[R]):
    """All samples of some files at once."""

    def __init__(self, run: Callable[[Feeds, int], R], asked: Asked) -> None:
        self.run, self.check = run, asked.check

    def __call__(self, files: Sequence[Loaded]) -> tuple[dict[str, Array], tuple[R, ...]]:
        feeds = {name: np.concatenate([file.feeds[name] for file in files]) for name in files[0].feeds}
        ran = self.run(feeds, self.check)
        self.check = 0
        return dict(ran.outputs), (ran,)


class _Streams(Generic[R]):
    """One sample after the other: some outputs feed inputs of the next. State begins with zeros, or with what a file
    gives; it begins anew with every file of arrays or text, while images are one stream."""

    def __init__(self, run: Callable[[Feeds, int], R], model: Model, asked: Asked) -> None:
        self.run, self.check, self.pairs = run, asked.check, asked.state
        self.state: dict[str, Array] = {}
        self.zeros: dict[str, Array] = {}
        for value in model.inputs:
            shape, dtype = shape_of(value) or (), dtype_of(value.type.tensor_type.elem_type)
            if value.name in {name for _, name in self.pairs}:
                self.zeros[value.name] = np.zeros((1, *shape[1:]) if shape[:1] == (1,) else (1, *shape), dtype)

    def __call__(self, files: Sequence[Loaded]) -> tuple[dict[str, Array], tuple[R, ...]]:
        runs: list[R] = []
        for file in files:
            if not (file.frames and file.count == 1 and self.state):
                self.state = self.zeros | self._given(file)
            for i in range(file.count):
                feeds = {name: x[i : i + 1] for name, x in file.feeds.items()}
                ran = self.run(feeds | self.state, min(self.check, 1))
                self.check = max(0, self.check - 1)
                self.state = {
                    name: np.asarray(ran.outputs[out]).reshape(self.zeros[name].shape).astype(self.zeros[name].dtype)
                    for out, name in self.pairs
                }
                runs.append(ran)
        outputs = {name: np.concatenate([ran.outputs[name] for ran in runs]) for name in runs[0].outputs}
        return outputs, tuple(runs)

    def _given(self, file: Loaded) -> dict[str, Array]:
        """State that a file brings along: one for its beginning."""
        given: dict[str, Array] = {}
        for name, x in (file.initial or {}).items():
            zeros = self.zeros[name]
            if x.size != zeros.size or x.dtype.kind != zeros.dtype.kind:
                message = f"state {name!r} is {zeros.dtype} {list(zeros.shape)}, given {x.dtype} {list(x.shape)}"
                raise refuse("BL0105", message, help="give the state before the first sample, or leave it out")
            given[name] = x.reshape(zeros.shape).astype(zeros.dtype)
        return given


def _finished(
    pending: Sequence[_Pending], simulate: _Batches[R] | _Streams[R], asked: Asked
) -> Iterator[FileResult[R]]:
    """The results of some files after one run over their samples."""
    good = [p.loaded for p in pending if p.loaded is not None]
    outputs: dict[str, Array] = {}
    runs: tuple[R, ...] = ()
    refused: tuple[Diagnostic, ...] = ()
    try:
        outputs, runs = simulate(good) if good else ({}, ())
    except Refusal as refusal:
        if not asked.state:  # a file on its own can only be at fault for the state it gives
            raise
        refused = refusal.diagnostics
    total = sum(loaded.count for loaded in good)
    before, during, after = (
        sum(seconds) / max(total, 1)
        for seconds in (
            [ran.preprocess_seconds for ran in runs],
            [ran.inference_seconds for ran in runs],
            [ran.postprocess_seconds for ran in runs],
        )
    )
    start = 0
    for p in pending:
        if p.loaded is None or refused:
            yield FileResult(source=p.source, outputs={}, errors=p.errors or refused, preprocess_seconds=p.seconds)
            continue
        yield _answered(
            FileResult(
                source=p.source,
                samples=p.count,
                outputs={name: x[start : start + p.count] for name, x in outputs.items()},
                labels=p.loaded.labels,
                frames=p.loaded.frames,
                preprocess_seconds=p.seconds + before * p.count,
                inference_seconds=during * p.count,
                postprocess_seconds=after * p.count,
                remark=p.loaded.remark,
                note=p.loaded.note,
                runs=runs,
            ),
            asked,
        )
        start, runs = start + p.count, ()


def _answered(result: FileResult[R], asked: Asked) -> FileResult[R]:
    """A result with its answers; where the hook fails, with what is wrong."""
    started = time.perf_counter()
    try:
        answers = tuple(_answer(result, i, asked) for i in range(result.samples))
    except Refusal as refusal:
        return replace(result, samples=0, outputs={}, labels=None, errors=refusal.diagnostics)
    seconds = result.postprocess_seconds + time.perf_counter() - started
    return replace(result, answers=answers, postprocess_seconds=seconds)


def _answer(result: FileResult[R], sample: int, asked: Asked) -> Answer:
    if asked.hook is not None:
        frame = result.frames[sample] if result.frames else NO_IMAGE
        # one sample as the model itself gives it, batch axis included
        outputs = {name: x[sample : sample + 1] for name, x in result.outputs.items()}
        return named(call_hook(asked.hook, outputs, frame), asked.labels)
    if asked.scoring is None or asked.top == 0:
        return None
    return best_classes(result.outputs[asked.scoring.output][sample], asked.scoring, asked.top, asked.labels)

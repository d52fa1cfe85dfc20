"""Files through a network, one result a file, in the order they were given. A bad file is a result too.

Samples of several files go through the simulator together: it is twice as fast on batches. Times of a batch are
shared out by samples.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Generic

import numpy as np
import numpy.typing as npt

from bitline.core.diagnostics import Diagnostic, Refusal
from bitline.core.progress import Progress
from bitline.data.frame import NO_IMAGE, Frame
from bitline.data.load import Loaded, Rules, load_source
from bitline.data.sources import Source
from bitline.graph.model import Model
from bitline.inference.answers import Answer, PostProcess
from bitline.inference.classes import Scoring, best_classes, named
from bitline.inference.hooks import call_hook
from bitline.inference.simulate import Batches, Feeds, R, Streams

Array = npt.NDArray[Any]

BATCH: Final = 32
"""Samples that are collected before the simulator starts. ResNet-20 took 15.2 ms a sample one by one, 6.6 in batches of
16, 6.9 of 32, 7.2 of 64 and 8.2 of 256, which no longer fit the cache (one core of a server)."""


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
    simulate = Streams(run, model, asked.check, asked.state) if asked.state else Batches(run, asked.check)
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


def _finished(pending: Sequence[_Pending], simulate: Batches[R] | Streams[R], asked: Asked) -> Iterator[FileResult[R]]:
    """The results of some files after one run over their samples. Ctrl-C ends it after all that was done."""
    good = [p.loaded for p in pending if p.loaded is not None]
    done: list[R] = []
    refused: tuple[Diagnostic, ...] = ()
    interrupted = False
    try:
        for ran in simulate(good) if good else ():
            done.append(ran)  # noqa: PERF402  # one by one: what is there when Ctrl-C comes stays
    except KeyboardInterrupt:
        interrupted = True
    except Refusal as refusal:
        if not asked.state:  # a file on its own can only be at fault for the state it gives
            raise
        refused = refusal.diagnostics
    outputs = {name: np.concatenate([ran.outputs[name] for ran in done]) for name in done[0].outputs} if done else {}
    total = sum(ran.samples for ran in done)
    before = sum(ran.preprocess_seconds for ran in done) / max(total, 1)
    during = sum(ran.inference_seconds for ran in done) / max(total, 1)
    after = sum(ran.postprocess_seconds for ran in done) / max(total, 1)
    start, runs = 0, tuple(done)
    for p in pending:
        if p.loaded is None or refused:
            yield FileResult(source=p.source, outputs={}, errors=p.errors or refused, preprocess_seconds=p.seconds)
            continue
        count = min(p.count, total - start)
        if count:
            labels = None if p.loaded.labels is None else p.loaded.labels[:count]
            yield _answered(
                FileResult(
                    source=p.source,
                    samples=count,
                    outputs={name: x[start : start + count] for name, x in outputs.items()},
                    labels=labels,
                    frames=p.loaded.frames[:count],
                    preprocess_seconds=p.seconds + before * count,
                    inference_seconds=during * count,
                    postprocess_seconds=after * count,
                    remark=p.loaded.remark,
                    note=p.loaded.note,
                    runs=runs,
                ),
                asked,
            )
        start, runs = start + count, ()
        if count < p.count:
            break
    if interrupted:
        raise KeyboardInterrupt


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

"""Streams: models whose outputs feed inputs at the next step, calibrated and judged on what they hand to themselves.

    samples of frame alone; state_out feeds state_in   -->   state_in = zeros, then what the float model made of the
                                                             frames before: the samples of state_in

Noise in place of state leads to ranges that no stream ever needs, and to errors that never add up.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from bitline.engines.ort import Session
from bitline.graph.model import Model, dtype_of, shape_of
from bitline.quant.calibration import batches, checked

Array = npt.NDArray[Any]
Batch = Mapping[str, Array]
Pairs = Sequence[tuple[str, str]]
Step = Callable[[Batch], dict[str, Array]]
"""One run of a model: its inputs, its outputs."""

WINDOWS: Final = 4
WINDOW_STEPS: Final = 64
"""How many stretches of a stream judge a quantised model, and how long each feeds its own state back."""
KEPT_STEPS: Final = 512
"""The most steps of a stream that ranges are taken from, evenly spread."""


def recorded(
    model: Model, feeds: Mapping[str, Array], pairs: Pairs, *, finite: Collection[str] | None = None
) -> dict[str, Array]:
    """The samples with every state that they lack: zeros, then what the stream makes. Samples are in their order.

    A state given once, for many samples, is its value before the first. Raises `Refusal` (BL0105) as `checked` does.
    """
    lacking = _lacking(model, feeds, pairs)
    if not lacking:
        return checked(feeds, model, place=model.place(), finite=finite)
    values = {value.name: value for value in model.inputs}
    kinds = {name: dtype_of(values[name].type.tensor_type.elem_type) for _, name in lacking}
    zeros = {name: np.zeros(shape_of(values[name]) or (), kinds[name]) for _, name in lacking}
    begin = {
        name: np.asarray(feeds[name]).reshape(zero.shape) if name in feeds else zero for name, zero in zeros.items()
    }
    count = _count(model, feeds, zeros)
    filled = {name: np.broadcast_to(zero, (count, *zero.shape)) for name, zero in zeros.items()}
    whole = checked({**feeds, **filled}, model, place=model.place(), finite=finite)
    session = Session(model.proto, optimise=False, place=model.place())
    held: dict[str, list[Array]] = {name: [] for name in zeros}
    state: dict[str, Array] = begin
    for batch in batches(whole, model):
        for name, value in state.items():
            held[name].append(value)
        made = session.run(batch | state)
        state = {name: made[source].reshape(zeros[name].shape).astype(kinds[name]) for source, name in lacking}
    return whole | {name: np.stack(entries) for name, entries in held.items()}


def _lacking(model: Model, feeds: Mapping[str, Array], pairs: Pairs) -> list[tuple[str, str]]:
    """The pairs whose input the samples do not give at every step."""
    values = {value.name: value for value in model.inputs}
    many = max((len(x) for name, x in feeds.items() if np.ndim(x) and name not in {n for _, n in pairs}), default=1)

    def given(name: str) -> bool:
        size = int(np.prod(shape_of(values[name]) or ()))
        return name in feeds and (np.size(feeds[name]) > size or many == 1)

    return [(source, name) for source, name in pairs if name in values and not given(name)]


def _count(model: Model, feeds: Mapping[str, Array], states: Mapping[str, Array]) -> int:
    """Samples of the first input that is no state; `checked` finds what else is wrong."""
    for value in model.inputs:
        given = feeds.get(value.name)
        if value.name in states or given is None or not np.ndim(given):
            continue
        shape = shape_of(value) or ()
        per_sample = shape[0] if given.ndim == len(shape) and shape and shape[0] else 1
        return max(1, len(given) // per_sample)
    return 1


def spread_steps(samples: Sequence[Batch], most: int) -> list[Batch]:
    """At most `most` of the samples, evenly spread."""
    if len(samples) <= most:
        return list(samples)
    return [samples[index * len(samples) // most] for index in range(most)]


def windows(samples: Sequence[Batch]) -> list[list[Batch]]:
    """Stretches of a stream, evenly spread over it."""
    length = min(WINDOW_STEPS, len(samples))
    count = min(WINDOWS, max(1, len(samples) // length))
    starts = [index * (len(samples) - length) // max(1, count - 1) for index in range(count)]
    return [list(samples[start : start + length]) for start in starts]


def streamed(step: Step, window: Sequence[Batch], pairs: Pairs) -> list[dict[str, Array]]:
    """The outputs at every step of a window: its state to begin with, then what the model itself hands on."""
    made: list[dict[str, Array]] = []
    for batch in window:
        carried = {name: made[-1][source] for source, name in pairs} if made else {}
        shaped = {name: value.reshape(batch[name].shape).astype(batch[name].dtype) for name, value in carried.items()}
        made.append(step({**batch, **shaped}))
    return made

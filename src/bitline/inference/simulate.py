"""Samples of several files through the simulator: in batches, or one after the other where state goes along.

A run at a time, so that whoever is interrupted keeps what was done before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from bitline.core.diagnostics import refuse
from bitline.data.load import Loaded
from bitline.graph.model import Model, dtype_of, shape_of

Array = npt.NDArray[Any]
Feeds = Mapping[str, Array]

PIECE: Final = 256
"""Most samples of one run."""


class Ran(Protocol):
    """What a run of the simulator gives, as far as this room looks at it."""

    @property
    def samples(self) -> int: ...
    @property
    def outputs(self) -> Mapping[str, npt.NDArray[np.generic]]: ...
    @property
    def preprocess_seconds(self) -> float: ...
    @property
    def inference_seconds(self) -> float: ...
    @property
    def postprocess_seconds(self) -> float: ...


R = TypeVar("R", bound=Ran)


class Batches(Generic[R]):
    """All samples of some files at once, `PIECE` at most; the first `check` samples of all go through other engines."""

    def __init__(self, run: Callable[[Feeds, int], R], check: int) -> None:
        self.run, self.check = run, check

    def __call__(self, files: Sequence[Loaded]) -> Iterator[R]:
        feeds = {name: np.concatenate([file.feeds[name] for file in files]) for name in files[0].feeds}
        count, start = sum(file.count for file in files), 0
        while start < count:
            end = min(count, start + max(PIECE, self.check))
            check, self.check = self.check, 0
            yield self.run({name: x[start:end] for name, x in feeds.items()}, check)
            start = end


class Streams(Generic[R]):
    """One sample after the other: some outputs feed inputs of the next. State begins with zeros, or with what a file
    gives; it begins anew with every file of arrays or text, while images are one stream."""

    def __init__(
        self, run: Callable[[Feeds, int], R], model: Model, check: int, pairs: tuple[tuple[str, str], ...]
    ) -> None:
        self.run, self.check, self.pairs = run, check, pairs
        self.state: dict[str, Array] = {}
        self.zeros: dict[str, Array] = {}
        for value in model.inputs:
            shape, dtype = shape_of(value) or (), dtype_of(value.type.tensor_type.elem_type)
            if value.name in {name for _, name in self.pairs}:
                self.zeros[value.name] = np.zeros((1, *shape[1:]) if shape[:1] == (1,) else (1, *shape), dtype)

    def __call__(self, files: Sequence[Loaded]) -> Iterator[R]:
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
                yield ran

    def _given(self, file: Loaded) -> dict[str, Array]:
        """State that a file brings along: one for its beginning."""
        given: dict[str, Array] = {}
        for name, x in (file.initial or {}).items():
            zeros = self.zeros[name]
            if x.size != zeros.size or x.dtype.kind != zeros.dtype.kind:
                message = f"state {name!r} is {zeros.dtype} {list(zeros.shape)}, given {x.dtype} {list(x.shape)}"
                raise refuse("BL0105", message, help="give the state before the first sample, or leave it out")
            given[name] = x.reshape(zeros.shape).astype(zeros.dtype)
            if zeros.dtype.kind in "iu" and not np.array_equal(given[name], x.reshape(zeros.shape)):
                message = f"state {name!r} is {zeros.dtype}, given {int(x.min())}..{int(x.max())}"
                raise refuse("BL0105", message, help="give numbers of that type")
        return given

"""What a network says of one sample: classes with scores, or boxes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from bitline.data.frame import Frame

if TYPE_CHECKING:
    import numpy.typing as npt


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A rectangle in pixels of the user's image; (x0, y0) is its upper left corner. `score` from 0 to 1."""

    x0: float
    y0: float
    x1: float
    y1: float
    label: str
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """One class: its number, its name ("" where nobody gave one) and its score."""

    number: int
    label: str
    score: float

    @property
    def title(self) -> str:
        return self.label or f"class {self.number}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Classes:
    """The best classes, best first."""

    best: tuple[Prediction, ...]


Answer = Classes | tuple[Box, ...] | None
"""None: nothing was asked, or the output is no list of classes."""


class PostProcess(Protocol):
    """A post-processing hook. `outputs` are those of one sample, in the shapes of the ONNX model; `frame` says where
    the pixels of the input lie in the user's image (all 0 where the sample is no image)."""

    def __call__(self, outputs: Mapping[str, npt.NDArray[Any]], frame: Frame) -> Sequence[Box] | Classes: ...

"""Hooks that behave and hooks that do not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from bitline.inference import Box, Classes, Frame, Prediction

Outputs = Mapping[str, npt.NDArray[Any]]

NOT_A_FUNCTION = 3


def whole(outputs: Outputs, frame: Frame) -> list[Box]:
    """One box around the image, named by the best class."""
    (scores,) = outputs.values()
    assert scores.shape == (1, 10), "one sample, with the batch axis of the model"
    return [Box(x0=0, y0=0, x1=frame.width, y1=frame.height, label=str(scores.argmax()), score=0.5)]


def of_numpy(outputs: Outputs, frame: Frame) -> list[Box]:
    """Numbers and a label as they fall out of arrays."""
    x = np.array([1.5, 2, 3, 4], np.float32)
    return [Box(x0=x[0], y0=x[1], x1=x[2], y1=x[3], label=np.int64(7), score=x[0])]  # pyright: ignore


def of_text(outputs: Outputs, frame: Frame) -> list[Box]:
    return [Box(x0="left", y0=0, x1=1, y1=1, label="a", score=1)]  # pyright: ignore


def nothing(outputs: Outputs, frame: Frame) -> tuple[Box, ...]:
    del outputs, frame
    return ()


def classes(outputs: Outputs, frame: Frame) -> Classes:
    del outputs, frame
    return Classes(best=(Prediction(number=3, label="", score=1.0),))


def raises(outputs: Outputs, frame: Frame) -> list[Box]:
    raise ZeroDivisionError("of a hook")


def raises_for_red(outputs: Outputs, frame: Frame) -> list[Box]:
    """Fails for images of 5 pixels across."""
    if frame.width == 5:
        raise KeyError("five")
    return list(whole(outputs, frame))


def wrong_type(outputs: Outputs, frame: Frame) -> object:
    return ["a box"]


def no_sequence(outputs: Outputs, frame: Frame) -> object:
    return None


def not_finite(outputs: Outputs, frame: Frame) -> list[Box]:
    return [Box(x0=0, y0=float("nan"), x1=1, y1=1, label="a", score=1)]


def endless_score(outputs: Outputs, frame: Frame) -> Classes:
    return Classes(best=(Prediction(number=0, label="", score=float("inf")),))

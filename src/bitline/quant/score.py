"""How close one model comes to another on the same samples: what a user reads after quantisation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from bitline.engines.ort import Session
from bitline.graph.model import Model
from bitline.quant.calibration import Samples, batches

SQNR_CAP_DB: Final = 200.0  # stands for "equal": JSON knows no infinity


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """`sqnr_db` over all outputs; the others in percent, by the largest value of the first output.

    `agree`: both models choose the same class; the two top-1 values are None without labels.
    """

    samples: int
    sqnr_db: float
    agree: float
    top1_reference: float | None = None
    top1_other: float | None = None


def score(reference: Model, other: Model, samples: Samples, *, optimise: bool = False) -> Score:
    """Run both models on all samples, in ONNX Runtime. Their inputs and outputs have the same names and shapes."""
    sessions = [Session(model.proto, optimise=optimise, place=model.place()) for model in (reference, other)]
    classes: list[tuple[int, int]] = []
    signal = noise = 0.0
    for batch in batches(samples.feeds, reference):
        wanted, got = (list(session.run(batch).values()) for session in sessions)
        classes.append((int(wanted[0].argmax()), int(got[0].argmax())))
        for a, b in zip(wanted, got, strict=True):
            signal += float(np.sum(a.astype(np.float64) ** 2))
            noise += float(np.sum((a.astype(np.float64) - b) ** 2))
    chosen: npt.NDArray[Any] = np.array(classes).T
    labels = samples.labels
    return Score(
        samples=len(classes),
        sqnr_db=sqnr_db(signal, noise),
        agree=_percent(chosen[0] == chosen[1]),
        top1_reference=None if labels is None else _percent(chosen[0] == labels),
        top1_other=None if labels is None else _percent(chosen[1] == labels),
    )


def sqnr_db(signal: float, noise: float) -> float:
    """10 log10(signal / noise), both as sums (or both as means) of squares, between -200 and 200."""
    if noise <= 0:
        return SQNR_CAP_DB
    return float(np.clip(10 * np.log10(max(signal / noise, 1e-20)), -SQNR_CAP_DB, SQNR_CAP_DB))


def _percent(hits: npt.NDArray[Any]) -> float:
    return 100 * float(np.mean(hits))

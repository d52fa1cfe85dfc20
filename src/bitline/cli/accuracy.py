"""Predictions of models on samples, for commands that compare."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from bitline.engines.ort import Session
from bitline.quant.calibration import batches

if TYPE_CHECKING:
    from bitline.graph.model import Model
    from bitline.quant.calibration import Samples

PERCENT = 100.0


def predictions(model: Model, samples: Samples) -> npt.NDArray[np.int64]:
    """argmax of the first output for every sample, by ONNX Runtime with optimisation."""
    session = Session(model.proto, optimise=True, place=model.place())
    name = session.outputs[0]
    found = [int(np.argmax(session.run(batch, [name])[name])) for batch in batches(samples.feeds, model)]
    return np.array(found, np.int64)


def top1(predicted: npt.NDArray[np.int64], labels: npt.NDArray[np.int64]) -> float:
    """Percent right."""
    return PERCENT * float(np.mean(predicted == labels))


def agreement(first: Model, second: Model, samples: Samples) -> dict[str, float]:
    """`agree`, and `top1_float`, `top1_quant` where there are labels; percent."""
    one, two = predictions(first, samples), predictions(second, samples)
    values = {"agree": PERCENT * float(np.mean(one == two))}
    if samples.labels is not None:
        values |= {"top1_float": top1(one, samples.labels), "top1_quant": top1(two, samples.labels)}
    return values

"""ONNX Runtime's own static quantisation, as its documentation has it: QDQ, per channel, uint8 and int8.

Ranges by minmax, its default, and by percentile; a row shows the better of the two.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from bitline.engines.ort import Session
from bitline.graph.model import Model
from bitline.quant.calibration import batches

Array = npt.NDArray[Any]


class _Reader(CalibrationDataReader):
    def __init__(self, samples: Iterator[dict[str, Array]]) -> None:
        self.samples = samples

    def get_next(self) -> dict[str, Array] | None:  # type: ignore[override]  # ONNX Runtime says so in its docs
        return next(self.samples, None)


METHODS: Final = (CalibrationMethod.MinMax, CalibrationMethod.Percentile)


def static(model: Model, feeds: Mapping[str, Array], folder: Path) -> list[onnx.ModelProto]:
    """The QDQ models that ONNX Runtime makes of the same float model with the same samples, one for each method."""
    with redirect_stdout(sys.stderr):  # its progress would stand before the JSON
        return [_quantised(model, feeds, folder, method) for method in METHODS]


def _quantised(model: Model, feeds: Mapping[str, Array], folder: Path, method: CalibrationMethod) -> onnx.ModelProto:
    logging.disable(logging.WARNING)
    source, ready, result = (folder / f"peer_{name}.onnx" for name in ("float", "ready", "qdq"))
    onnx.save(model.proto, source)
    quant_pre_process(source, ready, skip_symbolic_shape=True)
    quantize_static(
        ready,
        result,
        _Reader(batches(feeds, model)),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        calibrate_method=method,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
    logging.disable(logging.NOTSET)
    return onnx.load(result)


def outputs(protos: Sequence[onnx.ModelProto], model: Model, feeds: Mapping[str, Array], name: str) -> list[Array]:
    """One output of each model over all samples, in ONNX Runtime as users run it: [samples, ...]."""
    sessions = [Session(proto, optimise=True, place="peer") for proto in protos]
    return [
        np.stack([session.run(batch, [name])[name].reshape(-1) for batch in batches(feeds, model)])
        for session in sessions
    ]

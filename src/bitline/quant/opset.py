"""Raise a model to the opset in which QuantizeLinear makes int16."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import onnx
import onnx.version_converter

from bitline.graph import shapes
from bitline.graph.model import Model
from bitline.graph.passes.fold_constants import fold_constants
from bitline.graph.passes.name_nodes import name_nodes

INT16_OPSET: Final = 21
INT16_IR: Final = 10  # the first IR version that knows opset 21


def opset_of(model: Model) -> int:
    return next((entry.version for entry in model.proto.opset_import if entry.domain in ("", "ai.onnx")), 0)


def with_int16(model: Model) -> Model | None:
    """The same function in opset 21 or later; None where ONNX's converter does not know an operator of the model.

    The converter writes Constant nodes where attributes became inputs; they are folded again.
    """
    if opset_of(model) >= INT16_OPSET:
        return model
    try:
        proto = onnx.version_converter.convert_version(model.proto, INT16_OPSET)
        proto.ir_version = max(proto.ir_version, INT16_IR)
        onnx.checker.check_model(proto)
        proto = shapes.with_shapes(name_nodes(fold_constants(proto)))
    except (onnx.version_converter.ConvertError, *shapes.ERRORS):
        return None
    return replace(model, proto=proto)

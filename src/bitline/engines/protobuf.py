"""A model as bytes, where protobuf can hold it, and without its weights where it cannot: messages end at 2 GiB."""

from __future__ import annotations

import math
from typing import Final

import onnx

from bitline.core.diagnostics import refuse

MESSAGE_BYTES: Final = 2**31 - 1


def fits(model: onnx.ModelProto) -> bool:
    """Whether the model can be one message."""
    return model.ByteSize() <= MESSAGE_BYTES


def constant_bytes(model: onnx.ModelProto) -> int:
    """Bytes of all numbers in the graph's constants, from their shapes: nothing is copied."""
    return sum(
        math.prod(tensor.dims) * onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
        for tensor in model.graph.initializer
        if tensor.data_type != onnx.TensorProto.STRING
    )


def serialised(model: onnx.ModelProto, *, place: str) -> bytes:
    """The bytes of a model, the same for the same model. Raises `Refusal` (BL0203) where there are too many."""
    if not fits(model):
        raise refuse(
            "BL0203",
            f"this step needs the model in one piece of {model.ByteSize()} bytes; protobuf ends at {MESSAGE_BYTES}",
            place=place,
            help="compile a part of the network, or store narrower weights (float16, or a QDQ model)",
        )
    return model.SerializeToString(deterministic=True)


def is_large(tensor: onnx.TensorProto, elements: int) -> bool:
    """Whether a constant has so many elements or more; text is none of the weights."""
    return tensor.data_type != onnx.TensorProto.STRING and math.prod(tensor.dims) >= elements


def without_large_constants(model: onnx.ModelProto, elements: int) -> onnx.ModelProto:
    """A copy in which constants of so many elements are external data of no file: type and sizes without values."""
    light = onnx.ModelProto()
    for field, value in model.ListFields():
        if field.name == "graph":
            continue
        if field.is_repeated:
            getattr(light, field.name).extend(value)
        else:
            setattr(light, field.name, value)
    for field, value in model.graph.ListFields():
        if field.name == "initializer":
            light.graph.initializer.extend(_light(t) if is_large(t, elements) else t for t in value)
        elif field.is_repeated:
            getattr(light.graph, field.name).extend(value)
        else:
            setattr(light.graph, field.name, value)
    return light


def _light(tensor: onnx.TensorProto) -> onnx.TensorProto:
    nowhere = onnx.StringStringEntryProto(key="location", value="-")
    return onnx.TensorProto(
        name=tensor.name,
        dims=tensor.dims,
        data_type=tensor.data_type,
        data_location=onnx.TensorProto.EXTERNAL,
        external_data=[nowhere],
    )

"""Shape inference without the weights: ONNX's inference takes a serialised model, which protobuf ends at 2 GiB.

Large constants stand in the model that is looked at with their type and sizes only. The answer has them again, so
that weights are copied once and serialised never.
"""

from __future__ import annotations

from typing import Final

import onnx

LARGE_ELEMENTS: Final = 2**16
"""No operator's shape depends on the values of so large a constant: sizes, axes, pads and repeats are short."""


def infer_shapes(model: onnx.ModelProto, *, strict: bool, bare: bool = False) -> onnx.ModelProto:
    """A copy with `value_info` and output shapes as ONNX finds them; `bare` forgets first what the file says of them.

    Raises what ONNX raises (`shapes.ERRORS`).
    """
    light = _without_large_constants(model)
    if bare:
        del light.graph.value_info[:]
        for value in light.graph.output:
            if value.type.HasField("tensor_type"):
                value.type.tensor_type.ClearField("shape")
    answer = onnx.shape_inference.infer_shapes(light, check_type=strict, strict_mode=strict)
    del answer.graph.initializer[:]
    answer.graph.initializer.extend(model.graph.initializer)
    return answer


def _without_large_constants(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of all but the values of large constants."""
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
            light.graph.initializer.extend(map(_light, value))
        elif field.is_repeated:
            getattr(light.graph, field.name).extend(value)
        else:
            setattr(light.graph, field.name, value)
    return light


def _light(tensor: onnx.TensorProto) -> onnx.TensorProto:
    count = 1
    for size in tensor.dims:
        count *= size
    if count < LARGE_ELEMENTS:
        return tensor
    return onnx.TensorProto(
        name=tensor.name,
        dims=tensor.dims,
        data_type=tensor.data_type,
        data_location=onnx.TensorProto.EXTERNAL,
        external_data=[onnx.StringStringEntryProto(key="location", value="-")],
    )

"""Shape inference without the weights: ONNX's inference takes a serialised model, which protobuf ends at 2 GiB.

Large constants stand in the model that is looked at with their type and sizes only. The answer has them again, so
that weights are copied once and serialised never.
"""

from __future__ import annotations

from typing import Final

import onnx

from bitline.engines.protobuf import without_large_constants

LARGE_ELEMENTS: Final = 2**16
"""No operator's shape depends on the values of so large a constant: sizes, axes, pads and repeats are short."""


def infer_shapes(model: onnx.ModelProto, *, strict: bool, bare: bool = False) -> onnx.ModelProto:
    """A copy with `value_info` and output shapes as ONNX finds them; `bare` forgets first what the file says of them.

    Raises what ONNX raises (`shapes.ERRORS`).
    """
    answer = _inferred(model, strict=strict, bare=bare)
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    _take_graph(copy.graph, answer.graph)
    return copy


def infer_shapes_in_place(model: onnx.ModelProto, *, strict: bool) -> None:
    """The same in the model itself, whose weights stay where they are."""
    _take_graph(model.graph, _inferred(model, strict=strict, bare=False).graph)


def _inferred(model: onnx.ModelProto, *, strict: bool, bare: bool) -> onnx.ModelProto:
    light = without_large_constants(model, LARGE_ELEMENTS)
    if bare:
        del light.graph.value_info[:]
        for value in light.graph.output:
            if value.type.HasField("tensor_type"):
                value.type.tensor_type.ClearField("shape")
    return onnx.shape_inference.infer_shapes(light, check_type=strict, strict_mode=strict)


def _take_graph(graph: onnx.GraphProto, found: onnx.GraphProto) -> None:
    """Nodes, whose subgraphs have shapes as well, and values as they were found; constants as they are."""
    for field in ("node", "value_info", "input", "output"):
        del getattr(graph, field)[:]
        getattr(graph, field).extend(getattr(found, field))

"""Static shapes for every tensor, by ONNX's own inference, with constants folded where a shape depends on them."""

from __future__ import annotations

import math

import onnx

from bitline.core.diagnostics import Diagnostic, Refusal
from bitline.graph.model import Wiring, shape_of
from bitline.graph.weightless import infer_shapes

ERRORS = (onnx.shape_inference.InferenceError, onnx.checker.ValidationError, RuntimeError, ValueError, TypeError)


def inferred(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy with `value_info` and output shapes as strict inference finds them. Raises what ONNX raises (`ERRORS`).

    Without ONNX's own data propagation: it would hold a constant of 2^38 elements as so many dimensions. Folding
    constants does that work instead, within a budget.
    """
    return infer_shapes(model, strict=True, bare=True)


def check_static(model: onnx.ModelProto, *, place: str, tensor_bytes: int) -> None:
    """Raise `Refusal` for tensors without a static shape (BL0303) or above `tensor_bytes` (BL0203), all at once."""
    wiring = Wiring(model.graph)
    found: list[Diagnostic] = []
    for node in model.graph.node:
        for name in node.output:
            value = wiring.values.get(name)
            if not name or (value is not None and value.type.WhichOneof("value") not in (None, "tensor_type")):
                continue
            shape = None if value is None else shape_of(value)
            where = f"{place}:{node.name or node.op_type}"
            if shape is None:
                found.append(
                    Diagnostic(
                        code="BL0303",
                        message=f"the shape of {name!r}, made by {node.op_type}, depends on data or is unknown",
                        place=where,
                        help="export with static shapes, or fix the input sizes with `--shape NAME=...`",
                    )
                )
            elif value is not None and (size := bytes_of(value)) > tensor_bytes:
                found.append(
                    Diagnostic(
                        code="BL0203",
                        message=f"{name!r} {list(shape)} would take {size} bytes; the limit is {tensor_bytes}",
                        place=where,
                        help="choose a smaller input with `--shape NAME=...`",
                    )
                )
    if found:
        raise Refusal(found)


def bytes_of(value: onnx.ValueInfoProto) -> int:
    """Bytes of a tensor of static shape."""
    shape = shape_of(value)
    assert shape is not None
    elem_type = value.type.tensor_type.elem_type
    width = 8 if elem_type == onnx.TensorProto.STRING else onnx.helper.tensor_dtype_to_np_dtype(elem_type).itemsize
    return math.prod(shape) * width


def with_shapes(
    model: onnx.ModelProto, *, each_bytes: int | None = None, total_bytes: int | None = None
) -> onnx.ModelProto:
    """A copy whose every tensor has its shape in `value_info`, as far as inference and constant folding can tell.

    The nodes stay as they are: folding, within `each_bytes` and `total_bytes`, only serves to find the shapes.
    """
    from bitline.graph.passes.fold_constants import FOLD_BYTES, FOLD_BYTES_TOTAL, fold_constants

    plain = inferred(model)
    wiring = Wiring(plain.graph)
    if all(wiring.shape(name) is not None for name in wiring.producer if name):
        return plain
    each, total = each_bytes or FOLD_BYTES, total_bytes or FOLD_BYTES_TOTAL
    folded = Wiring(fold_constants(plain, each_bytes=each, total_bytes=total).graph)
    known = {value.name for value in plain.graph.output}
    values = {value.name: value for value in plain.graph.value_info}
    for name in wiring.producer:
        shape = folded.shape(name)
        if not name or shape is None or wiring.shape(name) is not None:
            continue
        value = onnx.helper.make_tensor_value_info(name, folded.elem_type(name), shape)
        if name in known:
            next(output for output in plain.graph.output if output.name == name).CopyFrom(value)
        elif name in values:
            values[name].CopyFrom(value)
        else:
            plain.graph.value_info.append(value)
    return plain

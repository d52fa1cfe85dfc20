"""Static shapes for every tensor, by ONNX's own inference, with constants folded where a shape depends on them."""

from __future__ import annotations

import math

import onnx

from bitline.core.diagnostics import Diagnostic, Refusal
from bitline.graph.model import Wiring, attribute, copied, reads, shape_of
from bitline.graph.weightless import infer_shapes, infer_shapes_in_place

FOLD_BYTES = 64 * 2**20
FOLD_BYTES_TOTAL = 256 * 2**20
"""What folding constants may make, each and together."""

ERRORS = (onnx.shape_inference.InferenceError, onnx.checker.ValidationError, RuntimeError, ValueError, TypeError)
BRANCH_ROUNDS = 16  # so many Ifs, each of which needs the shape that the one before it gives


def inferred(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy with `value_info` and output shapes as strict inference finds them. Raises what ONNX raises (`ERRORS`).

    Without ONNX's own data propagation: it would hold a constant of 2^38 elements as so many dimensions. Folding
    constants does that work instead, within a budget.
    """
    return infer_shapes(model, strict=True, bare=True)


def grown(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with the shapes that inference adds to those it has. Not strict: what is unknown stays so."""
    return infer_shapes(model, strict=False)


def grow(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model itself, which nobody else may hold, with the shapes that inference adds."""
    infer_shapes_in_place(model, strict=False)
    return model


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


def check_not_empty(model: onnx.ModelProto, place: str) -> None:
    """Raise `Refusal` (BL0302) for tensors without elements that nodes make. Asked of simplified models, in which
    shape arithmetic, where they are common, is gone."""
    wiring = Wiring(model.graph)
    found = [
        Diagnostic(
            code="BL0302",
            message=f"tensor {name!r} {list(shape)}, made by {node.op_type}, is empty",
            place=f"{place}:{node.name or node.op_type}",
            help="leave it out of the network, or give other sizes with `--shape`",
        )
        for node in model.graph.node
        for name in node.output
        if name and (shape := wiring.shape(name)) is not None and not math.prod(shape)
    ]
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
    plain = inferred(model)
    wiring = Wiring(plain.graph)
    unknown = [name for name in wiring.producer if name and wiring.shape(name) is None]
    if not unknown:
        return plain
    found = Wiring(_spread(plain, each_bytes or FOLD_BYTES, total_bytes or FOLD_BYTES_TOTAL).graph)
    for name in unknown:
        shape = found.shape(name)
        if shape is not None:
            _set_shape(plain.graph, name, found.elem_type(name), shape)
    return plain


def _spread(
    model: onnx.ModelProto, each_bytes: int = FOLD_BYTES, total_bytes: int = FOLD_BYTES_TOTAL
) -> onnx.ModelProto:
    """A copy with constants folded, names kept, and every shape that follows from them."""
    from bitline.graph.passes.fold_constants import fold_constants

    folded = fold_constants(model, keep_names=True, each_bytes=each_bytes, total_bytes=total_bytes)
    tried: set[str] = set()
    for _ in range(BRANCH_ROUNDS):
        if not _add_branch_shapes(folded, tried):
            break
        folded = fold_constants(folded, keep_names=True, each_bytes=each_bytes, total_bytes=total_bytes)
    return folded


def _add_branch_shapes(model: onnx.ModelProto, tried: set[str]) -> bool:
    """Give outputs of If the shape of the branches that can run, if they agree; whether any was added.

    Each If is looked into once.
    """
    wiring = Wiring(model.graph)
    added = False
    for node in model.graph.node:
        if node.op_type != "If" or all(wiring.shape(name) is not None for name in node.output if name):
            continue
        if node.output[0] in tried or any(wiring.shape(name) is None for name in reads(node)):
            continue
        tried.add(node.output[0])
        both = [_branch_values(attribute(node, name, None), model) for name in ("then_branch", "else_branch")]
        branches = [values for values in both if values is not None]
        for name, *values in zip(node.output, *branches, strict=True) if branches else ():
            shapes = {shape_of(value) for value in values}
            elem_type = values[0].type.tensor_type.elem_type
            if name and wiring.shape(name) is None and len(shapes) == 1 and (shape := shapes.pop()) is not None:
                _set_shape(model.graph, name, elem_type, shape)
                added = True
    return added


def _branch_values(branch: onnx.GraphProto, model: onnx.ModelProto) -> list[onnx.ValueInfoProto] | None:
    """The outputs of a branch, with what the graph around it knows; None where shapes in it contradict one another.

    Such a branch fails whenever it is taken: silero-vad holds a network for 8 and one for 16 kHz, and no length of
    the input suits both.
    """
    wiring = Wiring(model.graph)
    bound = {tensor.name for tensor in branch.initializer} | {name for node in branch.node for name in node.output}
    outside = {name for node in branch.node for name in reads(node)} | {value.name for value in branch.output}
    part = copied(model)
    part.graph.CopyFrom(branch)
    for name in sorted(outside - bound):
        if name in wiring.constants:
            part.graph.initializer.append(wiring.constants[name])
        elif wiring.elem_type(name):
            part.graph.input.append(
                onnx.helper.make_tensor_value_info(name, wiring.elem_type(name), wiring.shape(name))
            )
    spread = _spread(part)
    try:
        infer_shapes(spread, strict=True)
    except onnx.shape_inference.InferenceError as error:
        if "): [ShapeInferenceError]" in str(
            error
        ):  # of a node inside; a TypeInferenceError may mean no more than unknown
            return None
    known = Wiring(spread.graph)
    return [known.values.get(value.name, value) for value in branch.output]


def _set_shape(graph: onnx.GraphProto, name: str, elem_type: int, shape: tuple[int, ...]) -> None:
    value = onnx.helper.make_tensor_value_info(name, elem_type, shape)
    for present in (*graph.output, *graph.value_info):
        if present.name == name:
            present.CopyFrom(value)
            return
    graph.value_info.append(value)

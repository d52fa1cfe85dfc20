"""Layers with constant weights times a factor, plus an offset, one per output or input channel. Folded in float64.

Shared by the passes that fold affine operators into layers; no pass itself.
"""

from __future__ import annotations

import numpy as np
import onnx

from bitline.graph.model import Array, Wiring, attribute, set_attribute

LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


def scale_outputs(layer: onnx.NodeProto, factor: Array, offset: Array, wiring: Wiring) -> bool:
    """Multiply a layer by `factor` and add `offset`, per output channel; False if that cannot be done."""
    parts = _constants(layer, len(factor), wiring)
    if parts is None:
        return False
    weight, bias = parts
    if layer.op_type == "MatMul":
        return not offset.any() and _set(layer, weight * factor, None, wiring)
    return _set(layer, weight * _over_outputs(layer, factor, weight), bias * factor + offset, wiring)


def scale_inputs(layer: onnx.NodeProto, factor: float, wiring: Wiring) -> bool:
    """Let a layer take x where it took `factor * x`; False if that cannot be done."""
    parts = _constants(layer, None, wiring)
    if parts is None:
        return False
    weight, bias = parts
    return _set(layer, weight * factor, bias if len(layer.input) > 2 and layer.input[2] else None, wiring)


def shift_inputs(layer: onnx.NodeProto, offset: Array, wiring: Wiring) -> bool:
    """Let a Conv without padding or a Gemm take x where it took `x + offset`, `offset` per input channel."""
    if layer.op_type not in ("Conv", "Gemm"):
        return False
    padded = any(attribute(layer, "pads", [0])) or attribute(layer, "auto_pad", "NOTSET") not in ("NOTSET", "VALID")
    parts = _constants(layer, None, wiring)
    if parts is None or padded or attribute(layer, "transA", 0):
        return False
    weight, bias = parts
    if layer.op_type == "Gemm":
        return _set(layer, weight, bias + offset @ (weight.T if attribute(layer, "transB", 0) else weight), wiring)
    taps = weight.reshape(*weight.shape[:2], -1).sum(axis=2)  # (outputs, inputs of one group)
    by_group = offset.reshape(attribute(layer, "group", 1), 1, -1)
    shift = (taps.reshape(by_group.shape[0], -1, taps.shape[1]) * by_group).sum(axis=2).reshape(-1)
    return _set(layer, weight, bias + shift, wiring)


def output_channels(layer: onnx.NodeProto, wiring: Wiring) -> int | None:
    """How many outputs a layer of constant weights has; None for anything else."""
    shape = wiring.shape(layer.input[1]) if layer.op_type in LAYERS and layer.input[1] in wiring.constants else None
    if shape is None or len(shape) < 2:
        return None
    match layer.op_type:
        case "Conv":
            return shape[0]
        case "ConvTranspose":
            return shape[1] * attribute(layer, "group", 1)
        case "Gemm":
            return shape[0] if attribute(layer, "transB", 0) else shape[1]
        case _:
            return shape[-1] if len(shape) == 2 else None


def _over_outputs(layer: onnx.NodeProto, factor: Array, weight: Array) -> Array:
    """The factors in a shape that multiplies the weights."""
    match layer.op_type:
        case "Conv":
            return factor.reshape(-1, *[1] * (weight.ndim - 1))
        case "ConvTranspose":  # (inputs, outputs of one group, ...): the rows of a group have the factors of the group
            by_group = factor.reshape(attribute(layer, "group", 1), 1, -1)
            rows = np.broadcast_to(by_group, (by_group.shape[0], weight.shape[0] // by_group.shape[0], weight.shape[1]))
            return rows.reshape(*weight.shape[:2], *[1] * (weight.ndim - 2))
        case _:
            return factor[:, None] if attribute(layer, "transB", 0) else factor


def _constants(layer: onnx.NodeProto, channels: int | None, wiring: Wiring) -> tuple[Array, Array] | None:
    """(weight, bias one a channel) in float64, alpha and beta multiplied in; None where they are not constant."""
    outputs = output_channels(layer, wiring)
    if outputs is None or (channels is not None and channels != outputs):
        return None
    weight = wiring.array(layer.input[1])
    bias_name = layer.input[2] if len(layer.input) > 2 else ""
    bias = wiring.array(bias_name) if bias_name else np.zeros(outputs)
    if weight is None or bias is None or (bias.ndim > 1 and bias.shape[0] != 1) or weight.dtype.kind != "f":
        return None
    alpha, beta = attribute(layer, "alpha", 1.0), attribute(layer, "beta", 1.0)  # of Gemm, 1 elsewhere
    exact = bias.astype(np.float64).reshape(-1) * beta
    return weight.astype(np.float64) * alpha, np.broadcast_to(exact, (outputs,))


def _set(layer: onnx.NodeProto, weight: Array, bias: Array | None, wiring: Wiring) -> bool:
    """Give a layer these values, rounded to the type of its weights, and alpha and beta of 1."""
    dtype = onnx.helper.tensor_dtype_to_np_dtype(wiring.elem_type(layer.input[1]))
    if layer.op_type == "Gemm":
        set_attribute(layer, "alpha", None)
        set_attribute(layer, "beta", None)
    inputs = [layer.input[0], _owned(layer.input[1], f"{layer.name}.weight", wiring)]
    wiring.put(inputs[1], weight.astype(dtype))
    if bias is not None:
        bias_name = layer.input[2] if len(layer.input) > 2 else ""
        inputs.append(_owned(bias_name, f"{layer.name}.bias", wiring))
        wiring.put(inputs[2], bias.astype(dtype))
    wiring.set_inputs(layer, inputs)
    return True


def _owned(name: str, otherwise: str, wiring: Wiring) -> str:
    """`name` if one node alone reads it, so that it may change; else a new name."""
    return name if name and wiring.only_reader(name) is not None else wiring.fresh(otherwise)

"""`auto_pad` of convolutions and pools becomes numbers, so that no later stage needs to know its rules.

    y = Conv(x[1,3,8,8], w[4,3,3,3], auto_pad=SAME_UPPER, strides=[2,2])   -->   pads=[0,0,1,1], strides=[2,2]
    y = MaxPool(x, auto_pad=VALID)                                         -->   pads=[0,0,0,0]
    y = ConvTranspose(x[1,4,8,8], w[4,3,3,3], strides=[2,2], auto_pad=SAME_UPPER)   -->   pads=..., output_padding=...
    y = ConvTranspose(x, w, output_shape=[17,17])                                   -->   pads=..., output_padding=...

Inputs without a static shape are left alone, and so is a ConvTranspose whose strides exceed its window under SAME:
ONNX asks for more outputs there than ONNX Runtime gives.
"""

from __future__ import annotations

import onnx

from bitline.graph.model import Wiring, attribute, copied, set_attribute

_WINDOWED = ("Conv", "MaxPool", "AveragePool", "LpPool")


def explicit_pads(model: onnx.ModelProto) -> onnx.ModelProto:
    padded = copied(model)
    wiring = Wiring(padded.graph)
    for node in padded.graph.node:
        mode = attribute(node, "auto_pad", "NOTSET")
        if node.op_type == "ConvTranspose":
            _pad_transposed(node, mode, wiring)
            continue
        if node.op_type not in _WINDOWED or mode == "NOTSET":
            continue
        shape = wiring.shape(node.input[0])
        window = kernel_shape(node, wiring)
        if shape is None or window is None:
            continue
        pads = _pads(node, mode, shape[2:], window)
        set_attribute(node, "auto_pad", None)
        set_attribute(node, "pads", pads)
    return padded


def kernel_shape(node: onnx.NodeProto, wiring: Wiring) -> tuple[int, ...] | None:
    """The window of a convolution or pool; a Conv may leave it to its weights."""
    stated: list[int] = list(attribute(node, "kernel_shape", []))
    if stated:
        return tuple(stated)
    weights = wiring.shape(node.input[1]) if len(node.input) > 1 else None
    return None if weights is None else weights[2:]


def _pads(node: onnx.NodeProto, mode: str, sizes: tuple[int, ...], window: tuple[int, ...]) -> list[int]:
    """Begins, then ends (ONNX, Conv): SAME gives ceil(size / stride) outputs, an odd element at end or start."""
    if mode == "VALID":
        return [0] * (2 * len(window))
    strides: list[int] = list(attribute(node, "strides", [1] * len(window)))
    dilations: list[int] = list(attribute(node, "dilations", [1] * len(window)))
    begins: list[int] = []
    ends: list[int] = []
    for size, kernel, stride, dilation in zip(sizes, window, strides, dilations, strict=True):
        outputs = -(-size // stride)
        total = max((outputs - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
        small, large = total // 2, total - total // 2
        begins.append(small if mode == "SAME_UPPER" else large)
        ends.append(large if mode == "SAME_UPPER" else small)
    return begins + ends


def _pad_transposed(node: onnx.NodeProto, mode: str, wiring: Wiring) -> None:
    """Cut from the full output what exceeds the wanted one, or add what it lacks (ONNX, ConvTranspose)."""
    shape, window = wiring.shape(node.input[0]), kernel_shape(node, wiring)
    wanted: list[int] = list(attribute(node, "output_shape", []))
    if shape is None or window is None or (mode == "NOTSET" and not wanted):
        return
    rank = len(window)
    strides: list[int] = list(attribute(node, "strides", [1] * rank))
    dilations: list[int] = list(attribute(node, "dilations", [1] * rank))
    extra: list[int] = list(attribute(node, "output_padding", [0] * rank))
    if wanted:
        wanted = wanted[-rank:]
    elif mode != "VALID":
        wanted = [size * stride for size, stride in zip(shape[2:], strides, strict=True)]
    begins, ends = [0] * rank, [0] * rank
    for axis, target in enumerate(wanted):
        reach = (window[axis] - 1) * dilations[axis] + 1
        total = strides[axis] * (shape[2 + axis] - 1) + reach + extra[axis] - target
        if total < 0 and mode != "NOTSET":
            return
        extra[axis] += max(-total, 0)
        small, large = max(total, 0) // 2, max(total, 0) - max(total, 0) // 2
        begins[axis], ends[axis] = (small, large) if mode == "SAME_UPPER" else (large, small)
    for name in ("auto_pad", "output_shape", "output_padding"):
        set_attribute(node, name, None)
    set_attribute(node, "pads", begins + ends)
    if any(extra):
        set_attribute(node, "output_padding", extra)

"""`auto_pad` of convolutions and pools becomes numbers, so that no later stage needs to know its rules.

    y = Conv(x[1,3,8,8], w[4,3,3,3], auto_pad=SAME_UPPER, strides=[2,2])   -->   pads=[0,0,1,1], strides=[2,2]
    y = MaxPool(x, auto_pad=VALID)                                         -->   pads=[0,0,0,0]

Transposed convolutions and inputs without a static shape are left alone.
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

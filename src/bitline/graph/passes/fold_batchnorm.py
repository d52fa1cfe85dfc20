"""BatchNormalization moves into the layer before it; one that stands alone becomes a depthwise 1x1 Conv.

    y = BatchNormalization(Conv(x, w, b), g, beta, mean, var)   -->   y = Conv(x, w * f, (b - mean) * f + beta)
    y = BatchNormalization(x, g, beta, mean, var)               -->   y = Conv(x, f, beta - mean * f, group=channels)
                                                                      with f = g / sqrt(var + epsilon)

The layer (Conv, ConvTranspose or Gemm) keeps its name, the tensor after the BatchNormalization its own. Folded in
float64, rounded once.
"""

from __future__ import annotations

import numpy as np
import onnx

from bitline.graph.model import Array, Wiring, attribute, copied, fresh_name, keep_nodes, set_constant
from bitline.graph.passes.drop_dead import drop_dead
from bitline.graph.passes.match import made_by
from bitline.graph.passes.scale_layer import scale_outputs


def fold_batchnorm(model: onnx.ModelProto) -> onnx.ModelProto:
    folded = copied(model)
    graph = folded.graph
    for norm in graph.node:
        if norm.op_type != "BatchNormalization":
            continue
        wiring = Wiring(graph)
        line = _line(norm, wiring)
        if line is None:
            continue
        factor, offset = line
        layer = made_by(wiring, norm.input[0], "Conv", "ConvTranspose", "Gemm")
        alone = wiring.only_reader(norm.input[0]) is norm
        if layer is not None and alone and scale_outputs(layer, factor, offset, wiring):
            layer.output[0] = norm.output[0]
            norm.output[0] = ""
        else:
            _as_depthwise(norm, factor, offset, wiring)
    if not any(node.op_type == "BatchNormalization" for node in model.graph.node):
        return folded
    keep_nodes(graph, (node for node in graph.node if node.op_type != "BatchNormalization" or node.output[0]))
    return drop_dead(folded)


def _line(norm: onnx.NodeProto, wiring: Wiring) -> tuple[Array, Array] | None:
    """(factor, offset) in float64 with y = factor * x + offset per channel; None if not constant."""
    if attribute(norm, "training_mode", 0) or any(norm.output[1:]):
        return None
    constants = [wiring.array(name) for name in norm.input[1:5]]
    if any(value is None for value in constants):
        return None
    gain, beta, mean, variance = (np.asarray(value, np.float64) for value in constants)
    factor = gain / np.sqrt(variance + attribute(norm, "epsilon", 1e-5))
    return factor, beta - mean * factor


def _as_depthwise(norm: onnx.NodeProto, factor: Array, offset: Array, wiring: Wiring) -> None:
    shape = wiring.shape(norm.input[0])
    if shape is None or len(shape) < 3:
        return
    channels, spatial = shape[1], len(shape) - 2
    dtype = onnx.helper.tensor_dtype_to_np_dtype(wiring.elem_type(norm.input[0]))
    weight_name = fresh_name(wiring.graph, f"{norm.name}.weight")
    bias_name = fresh_name(wiring.graph, f"{norm.name}.bias")
    set_constant(wiring.graph, weight_name, factor.astype(dtype).reshape(channels, 1, *[1] * spatial))
    set_constant(wiring.graph, bias_name, offset.astype(dtype))
    norm.CopyFrom(
        onnx.helper.make_node(
            "Conv",
            [norm.input[0], weight_name, bias_name],
            [norm.output[0]],
            name=norm.name,
            group=channels,
            kernel_shape=[1] * spatial,
        )
    )

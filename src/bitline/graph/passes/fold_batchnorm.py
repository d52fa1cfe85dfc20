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

from bitline.graph.model import Array, Wiring, attribute, copied, keep_nodes, set_attribute
from bitline.graph.passes.drop_dead import drop_dead
from bitline.graph.passes.match import made_by
from bitline.graph.passes.scale_layer import scale_outputs


def fold_batchnorm(model: onnx.ModelProto) -> onnx.ModelProto:
    folded = copied(model)
    graph = folded.graph
    norms = [node for node in graph.node if node.op_type == "BatchNormalization"]
    if not norms:
        return folded
    wiring = Wiring(graph)
    for norm in norms:
        line = _line(norm, wiring)
        if line is None:
            continue
        factor, offset = line
        layer = made_by(wiring, norm.input[0], "Conv", "ConvTranspose", "Gemm")
        alone = wiring.only_reader(norm.input[0]) is norm
        if layer is not None and alone and scale_outputs(layer, factor, offset, wiring):
            wiring.set_inputs(norm, [])
            wiring.set_output(layer, norm.output[0])
        else:
            _as_depthwise(norm, factor, offset, wiring)
    keep_nodes(graph, (node for node in graph.node if node.op_type != "BatchNormalization" or node.input))
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
    weight_name, bias_name = wiring.fresh(f"{norm.name}.weight"), wiring.fresh(f"{norm.name}.bias")
    wiring.put(weight_name, factor.astype(dtype).reshape(channels, 1, *[1] * spatial))
    wiring.put(bias_name, offset.astype(dtype))
    wiring.set_inputs(norm, [norm.input[0], weight_name, bias_name])
    norm.op_type = "Conv"
    del norm.attribute[:]
    set_attribute(norm, "group", channels)
    set_attribute(norm, "kernel_shape", [1] * spatial)

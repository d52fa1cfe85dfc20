"""How many multiplications of weights by inputs a model asks for, counted on the ONNX graph."""

from __future__ import annotations

from math import prod

import onnx

from bitline.graph.model import Model, shape_of


def model_macs(model: Model) -> int:
    """MACs of one run: Conv and ConvTranspose by kernel and channels, Gemm and MatMul by the inner dimension."""
    graph = model.proto.graph
    shapes: dict[str, tuple[int, ...]] = {t.name: tuple(t.dims) for t in graph.initializer}
    for value in (*graph.input, *graph.output, *graph.value_info):
        shapes[value.name] = shape_of(value) or ()
    return sum(node_macs(node, shapes) for node in graph.node)


def node_macs(node: onnx.NodeProto, shapes: dict[str, tuple[int, ...]]) -> int:
    if node.op_type not in ("Conv", "ConvTranspose", "Gemm", "MatMul"):
        return 0
    out = prod(shapes[node.output[0]])
    match node.op_type:
        case "Conv":
            return out * prod(shapes[node.input[1]][1:])
        case "ConvTranspose":
            return prod(shapes[node.input[0]]) * prod(shapes[node.input[1]][1:])
        case "Gemm":
            turned = any(a.name == "transA" and a.i for a in node.attribute)
            return out * shapes[node.input[0]][0 if turned else -1]
        case _:
            return out * shapes[node.input[0]][-1]

"""How many multiplications of weights by inputs a model asks for, counted on the ONNX graph."""

from __future__ import annotations

from math import prod

import onnx

from bitline.graph.model import Model, attribute, shape_of, subgraphs


def model_macs(model: Model) -> int:
    """MACs of one run: Conv and ConvTranspose by kernel and channels, Gemm and MatMul by the inner dimension."""
    graph = model.proto.graph
    shapes: dict[str, tuple[int, ...]] = {t.name: tuple(t.dims) for t in graph.initializer}
    for value in (*graph.input, *graph.output, *graph.value_info):
        shapes[value.name] = shape_of(value) or ()
    return sum(node_macs(node, shapes) for node in graph.node)


def node_macs(node: onnx.NodeProto, shapes: dict[str, tuple[int, ...]]) -> int:
    if node.op_type == "Scan":
        return _turns(node, shapes) * sum(_body_macs(graph) for graph in subgraphs(node))
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


def _turns(scan: onnx.NodeProto, shapes: dict[str, tuple[int, ...]]) -> int:
    """How often the body of a Scan runs: the extent of what it scans."""
    scanned: int = attribute(scan, "num_scan_inputs", 1)
    axes: list[int] = attribute(scan, "scan_input_axes", [0] * scanned)
    return shapes[scan.input[-scanned]][axes[0]]


def _body_macs(body: onnx.GraphProto) -> int:
    """MACs of one turn; the shapes inside follow from those of the body's inputs."""
    part = onnx.helper.make_model(body, opset_imports=[onnx.helper.make_opsetid("", onnx.defs.onnx_opset_version())])
    found = onnx.shape_inference.infer_shapes(part).graph
    shapes: dict[str, tuple[int, ...]] = {t.name: tuple(t.dims) for t in found.initializer}
    for value in (*found.input, *found.output, *found.value_info):
        shapes[value.name] = shape_of(value) or ()
    known = (node for node in found.node if all(shapes.get(name) for name in (*node.input[:2], *node.output[:1])))
    return sum(node_macs(node, shapes) for node in known)

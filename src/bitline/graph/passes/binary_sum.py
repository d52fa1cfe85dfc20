"""Sum, Max and Min of any number of tensors become operators of two.

    y = Sum(a, b, c)   -->   y_0 = Add(a, b); y = Add(y_0, c)
    y = Max(a)         -->   y = Identity(a)

From left to right, as ONNX Runtime adds. The last node keeps the name, those before it get `/0`, `/1`, ...

In a quantised model floats of three and more stay as they are: what a chain has in between would have no scale.
"""

from __future__ import annotations

import onnx

from bitline.graph.model import Wiring, copied, keep_nodes

_BINARY = {"Sum": "Add", "Max": "Max", "Min": "Min"}


def binary_sum(model: onnx.ModelProto) -> onnx.ModelProto:
    binary = copied(model)
    graph = binary.graph
    wiring = Wiring(graph)
    quantised = any(node.op_type in ("QuantizeLinear", "DequantizeLinear") for node in graph.node)
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        whole = quantised and len(node.input) > 2 and wiring.elem_type(node.output[0]) == onnx.TensorProto.FLOAT
        if node.op_type in _BINARY and not whole and (node.op_type == "Sum" or len(node.input) != 2):
            nodes += _chain(node, wiring)
        else:
            nodes.append(node)
    if len(nodes) > len(graph.node) or any(node.op_type == "Sum" for node in graph.node):
        keep_nodes(graph, nodes)
    return binary


def _chain(node: onnx.NodeProto, wiring: Wiring) -> list[onnx.NodeProto]:
    operands, (output,) = list(node.input), node.output
    if len(operands) == 1:
        return [onnx.helper.make_node("Identity", operands, [output], name=node.name)]
    made: list[onnx.NodeProto] = []
    left = operands[0]
    for index, right in enumerate(operands[1:]):
        last = index == len(operands) - 2
        target = output if last else wiring.fresh(f"{output}_{index}")
        name = node.name if last else wiring.node_below(node, str(index))
        made.append(onnx.helper.make_node(_BINARY[node.op_type], [left, right], [target], name=name))
        left = target
    return made

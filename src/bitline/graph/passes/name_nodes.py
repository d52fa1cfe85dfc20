"""Every node gets a name of its own, built from its operator and first output; names that are unique already stay.

y = Conv(x, w)            -->   y = Conv(x, w)  named "Conv_y"
a, b both named "relu"    -->   "relu", "relu_1"
"""

from __future__ import annotations

import onnx

from bitline.graph.model import copied


def name_nodes(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model itself where all names are there and differ, so that weights are not copied for nothing."""
    names = [node.name for node in model.graph.node]
    if all(names) and len(set(names)) == len(names):
        return model
    named = copied(model)
    taken: set[str] = set()
    unnamed: list[onnx.NodeProto] = []
    repeated: list[onnx.NodeProto] = []
    for node in named.graph.node:
        if not node.name:
            unnamed.append(node)
        elif node.name in taken:
            repeated.append(node)
        taken.add(node.name)
    for node in (*repeated, *unnamed):
        output = next((name for name in node.output if name), "")
        wanted = node.name or f"{node.op_type}_{output}"
        node.name, count = wanted, 0
        while node.name in taken:
            count += 1
            node.name = f"{wanted}_{count}"
        taken.add(node.name)
    return named

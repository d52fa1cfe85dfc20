"""Nodes that no output depends on, weights that no node reads, and shapes of tensors that are gone, go.

    y = Relu(x); z = Exp(x)      outputs: y   -->   y = Relu(x)

Inputs and outputs of the graph stay: they are its interface.
"""

from __future__ import annotations

import onnx

from bitline.graph.model import copied, keep_nodes, reads


def drop_dead(model: onnx.ModelProto) -> onnx.ModelProto:
    live_model = copied(model)
    graph = live_model.graph
    live = {value.name for value in graph.output}
    kept: list[onnx.NodeProto] = []
    for node in reversed(graph.node):
        if live.intersection(name for name in node.output if name):
            live.update(reads(node))
            kept.append(node)
    if len(kept) < len(graph.node):
        keep_nodes(graph, reversed(kept))
    for index in reversed(range(len(graph.initializer))):
        if graph.initializer[index].name not in live:
            del graph.initializer[index]
    made = {name for node in graph.node for name in node.output}
    for index in reversed(range(len(graph.value_info))):
        if graph.value_info[index].name not in made:
            del graph.value_info[index]
    return live_model

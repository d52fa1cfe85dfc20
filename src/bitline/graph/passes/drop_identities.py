"""Identity, and Dropout outside training, go: readers of the output read the input.

    y = Relu(Identity(Dropout(x)))   -->   y = Relu(x)

The graph's outputs keep their names. An Identity from an input or a constant to an output stays, and one of two
outputs of the same tensor.
"""

from __future__ import annotations

import onnx

from bitline.graph.model import Wiring, copied, keep_nodes, renamed


def drop_identities(model: onnx.ModelProto) -> onnx.ModelProto:
    changed = copied(model)
    graph = changed.graph
    wiring = Wiring(graph)
    inputs = {value.name for value in graph.input}
    new_name: dict[str, str] = {}
    gone: set[int] = set()
    for index, node in enumerate(graph.node):
        if not _passes_through(node, wiring):
            continue
        source = new_name.get(node.input[0], node.input[0])
        target = node.output[0]
        if target not in wiring.outputs:
            new_name[target] = source
        elif source in wiring.outputs or source in inputs or source in wiring.constants or source in new_name:
            continue
        else:
            new_name[source] = target
        gone.add(index)
    if not gone:
        return changed
    for name in list(new_name):
        while new_name[name] in new_name:
            new_name[name] = new_name[new_name[name]]
    keep_nodes(graph, (node for index, node in enumerate(graph.node) if index not in gone))
    for node in graph.node:
        renamed(node, new_name)
    return changed


def _passes_through(node: onnx.NodeProto, wiring: Wiring) -> bool:
    if node.op_type == "Identity":
        return True
    if node.op_type != "Dropout" or any(wiring.readers[name] or name in wiring.outputs for name in node.output[1:]):
        return False
    if len(node.input) < 3 or not node.input[2]:
        return True
    training = wiring.array(node.input[2])
    return training is not None and not training.any()

"""An operator whose side results are used becomes one for its result and one for the others.

    y, mean, dev = LayerNormalization(x, g, b)   -->   y = LayerNormalization(x, g, b)
                                                       _, mean, dev = LayerNormalization(x, g, b)
    y, places = MaxPool(x)                       -->   y = MaxPool(x);  _, places = MaxPool(x)

A unit of the chip makes `y`, which is what the next layer reads; mean, deviation and places are for the host.
"""

from __future__ import annotations

import onnx

from bitline.graph.model import Wiring, copied, keep_nodes

_SPLIT = ("LayerNormalization", "MaxPool")


def second_outputs(model: onnx.ModelProto) -> onnx.ModelProto:
    apart = copied(model)
    wiring = Wiring(apart.graph)

    def used(name: str) -> bool:
        return bool(name) and (bool(wiring.readers[name]) or name in wiring.outputs)

    nodes: list[onnx.NodeProto] = []
    for node in apart.graph.node:
        nodes.append(node)
        if node.op_type not in _SPLIT or not used(node.output[0]) or not any(map(used, node.output[1:])):
            continue
        others = onnx.NodeProto()
        others.CopyFrom(node)
        others.name = f"{node.name or node.op_type}/{'places' if node.op_type == 'MaxPool' else 'moments'}"
        others.output[0] = wiring.fresh(f"{node.output[0]}.again")
        nodes.append(others)
        del node.output[1:]
    if len(nodes) > len(apart.graph.node):
        keep_nodes(apart.graph, nodes)
    return apart

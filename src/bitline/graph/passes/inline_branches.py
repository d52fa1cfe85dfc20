"""An If whose condition is a constant becomes the nodes of the branch that is taken.

    y = If(true, then: {t = Exp(x); z = Relu(t)}, else: {...})   -->   t = Exp(x); y = Relu(t)

Names inside the branch that the graph has too get the name of the If before them. An If whose condition depends on
the input stays.
"""

from __future__ import annotations

import onnx

from bitline.graph.model import Wiring, attribute, copied, keep_nodes, renamed


def inline_branches(model: onnx.ModelProto) -> onnx.ModelProto:
    inlined = copied(model)
    graph = inlined.graph
    wiring = Wiring(graph)
    chosen = {
        index: condition
        for index, node in enumerate(graph.node)
        if node.op_type == "If" and (condition := wiring.array(node.input[0])) is not None
    }
    if not chosen:
        return inlined
    tensors = {name for node in graph.node for name in (*node.input, *node.output)}
    tensors |= {value.name for value in (*graph.input, *graph.output)} | set(wiring.constants)
    names = {node.name for node in graph.node}
    nodes: list[onnx.NodeProto] = []
    for index, node in enumerate(graph.node):
        if index not in chosen:
            nodes.append(node)
            continue
        branch: onnx.GraphProto = attribute(node, "then_branch" if chosen[index].any() else "else_branch", None)
        inner, constants = _taken(node, branch, tensors, names)
        nodes += inner
        graph.initializer.extend(constants)
    keep_nodes(graph, nodes)
    return inlined


def _taken(
    node: onnx.NodeProto, branch: onnx.GraphProto, tensors: set[str], names: set[str]
) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """The branch's nodes and constants under names that are free in the graph; those are added to the two sets."""
    made = {name for inner in branch.node for name in inner.output if name}
    bound = made | {tensor.name for tensor in branch.initializer}
    new_name: dict[str, str] = {}
    copies: list[onnx.NodeProto] = []
    for inner, outer in zip(branch.output, node.output, strict=True):
        if inner.name in made and inner.name not in new_name:
            new_name[inner.name] = outer
        else:
            copies.append(onnx.helper.make_node("Identity", [inner.name], [outer], name=f"{node.name}/{outer}"))
    for name in sorted(bound - set(new_name)):
        new_name[name] = _free(name, node.name, tensors)
        tensors.add(new_name[name])
    nodes = [onnx.NodeProto.FromString(inner.SerializeToString()) for inner in branch.node] + copies
    for inner in nodes:
        renamed(inner, {old: new for old, new in new_name.items() if old != new})
        inner.name = _free(inner.name, node.name, names)
        names.add(inner.name)
    constants = [onnx.TensorProto.FromString(tensor.SerializeToString()) for tensor in branch.initializer]
    for tensor in constants:
        tensor.name = new_name[tensor.name]
    return nodes, constants


def _free(wanted: str, prefix: str, taken: set[str]) -> str:
    """`wanted`, or with `prefix` before it, or that with a number, whichever is free first."""
    if wanted and wanted not in taken:
        return wanted
    name, count = f"{prefix}/{wanted}", 0
    while name in taken:
        count += 1
        name = f"{prefix}/{wanted}_{count}"
    return name

"""A model of an older opset becomes one of a newer opset, node by node, where that changes no node's meaning.

    y = ReduceMean(x, axes=[-1])        opset 13   -->   y = ReduceMean(x, [-1])              opset 20
    a, b = Split(x, axis=1)             opset 13   -->   a, b = Split(x, axis=1, num_outputs=2)

No pass of its own: a fusion into an operator that came later asks for it. ONNX's own converter is not used here: it
passes through another representation that drops what it does not know. The list below was read from the change notes
of each operator (onnx, docs/Changelog.md, opsets 13 to 20); an operator that changed and is not on it is a `NoMatch`.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import numpy_helper

from bitline.core.diagnostics import NoMatch
from bitline.graph.model import attribute, copied, set_attribute, subgraphs

NEWEST = 20  # the newest opset that the list covers

_DOMAINS = ("", "ai.onnx")

# changed between opset 13 and 20 by more element types, or by inputs and attributes whose default is the old meaning
_WIDENED = frozenset(
    {"Add", "Sub", "Mul", "Div", "Relu", "CumSum", "Identity", "LSTM", "GRU", "RNN", "Reshape"}
    | {"Shape", "Size", "Pow", "Where", "LessOrEqual", "GreaterOrEqual", "LeakyRelu", "PRelu"}
    | {"ScatterElements", "ScatterND", "If", "Loop", "Scan", "Pad", "Resize", "Cast", "CastLike"}
    | {"Constant", "ConstantOfShape", "Equal", "DequantizeLinear", "QuantizeLinear", "IsInf"}
    | {"IsNaN", "Not", "And", "Or", "ReduceSum", "BatchNormalization", "AveragePool", "Split"}
)
_REDUCTIONS = frozenset(
    {"ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceLogSum"}
    | {"ReduceLogSumExp", "ReduceSumSquare"}
)


def opset_of(model: onnx.ModelProto) -> int:
    """The version of ONNX's own operators, 0 where the model imports none."""
    return next((entry.version for entry in model.opset_import if entry.domain in _DOMAINS), 0)


def raise_opset(model: onnx.ModelProto, version: int) -> onnx.ModelProto | NoMatch:
    """A copy at `version` or newer; `NoMatch` names the first node whose meaning would change."""
    assert version <= NEWEST
    old = opset_of(model)
    raised = copied(model)
    if old >= version:
        return raised
    if not old:
        return NoMatch(why="the model imports no operators of ONNX")
    for graph, node in _all_nodes(raised.graph):
        if node.domain not in _DOMAINS or _since(node, old) == _since(node, version):
            continue
        why = _adapt(graph, node, old)
        if why:
            return NoMatch(why=f"{node.name or node.op_type}: opset {old} cannot become {version}: {why}")
    for entry in raised.opset_import:
        if entry.domain in _DOMAINS:
            entry.version = version
    oldest_ir = onnx.helper.find_min_ir_version_for(list(raised.opset_import), True)
    raised.ir_version = max(raised.ir_version, oldest_ir)
    return raised


def _all_nodes(graph: onnx.GraphProto) -> Iterator[tuple[onnx.GraphProto, onnx.NodeProto]]:
    for node in graph.node:
        yield graph, node
        for inner in subgraphs(node):
            yield from _all_nodes(inner)


def _since(node: onnx.NodeProto, version: int) -> int:
    return onnx.defs.get_schema(node.op_type, version, "").since_version


def _adapt(graph: onnx.GraphProto, node: onnx.NodeProto, old: int) -> str:
    """Write a node the newer way; why not, where its meaning would change."""
    if node.op_type in _REDUCTIONS:
        _axes_to_input(graph, node)
        return ""
    if node.op_type not in _WIDENED:
        return f"{node.op_type} has changed"
    if node.op_type == "BatchNormalization" and (any(node.output[1:]) or attribute(node, "training_mode", 0)):
        return "BatchNormalization in training has changed"
    if node.op_type == "AveragePool" and attribute(node, "ceil_mode", 0):
        return "AveragePool with ceil_mode divides by another count"
    if node.op_type == "Split" and old < 18 and (len(node.input) < 2 or not node.input[1]):
        set_attribute(node, "num_outputs", len(node.output))
    return ""


def _axes_to_input(graph: onnx.GraphProto, node: onnx.NodeProto) -> None:
    """Before opset 18 the axes were an attribute."""
    axes: list[int] | None = attribute(node, "axes", None)
    if axes is None:
        return
    name = f"{node.output[0]}.axes"
    graph.initializer.append(numpy_helper.from_array(np.asarray(axes, np.int64), name))
    set_attribute(node, "axes", None)
    node.input.append(name)

"""GELU written in plain operators becomes Gelu (opset 20; an older model is raised).

    y = Mul(Mul(x, Add(Erf(Div(x, 1.4142)), 1)), 0.5)                              -->   y = Gelu(x)
    y = Mul(Mul(0.5, x), Add(Tanh(0.79788 * (x + 0.044715 * x^3)), 1))             -->   y = Gelu(x, approximate="tanh")

The factors may come in any order and grouping. Anything else stays, and `near_gelus` says why.
"""

from __future__ import annotations

from math import pi, sqrt

import onnx

from bitline.core.diagnostics import NoMatch
from bitline.graph.model import Wiring, copied
from bitline.graph.passes.drop_dead import drop_dead
from bitline.graph.passes.gated import Gate, gate
from bitline.graph.passes.match import fused_name
from bitline.graph.passes.raise_opset import raise_opset

_ERF_ARGUMENT = (0.0, 1 / sqrt(2))
_TANH_ARGUMENT = (0.0, sqrt(2 / pi), 0.0, 0.044715 * sqrt(2 / pi))  # Hendrycks and Gimpel, arXiv:1606.08415


def fuse_gelu(model: onnx.ModelProto) -> onnx.ModelProto:
    if not any(isinstance(found, Gate) for found in _candidates(Wiring(model.graph))):
        return copied(model)
    fused = raise_opset(model, 20)
    if isinstance(fused, NoMatch):
        return copied(model)
    wiring = Wiring(fused.graph)
    for found in _candidates(wiring):
        if isinstance(found, Gate):
            _write(wiring, found)
    return drop_dead(fused)


def near_gelus(model: onnx.ModelProto) -> tuple[NoMatch, ...]:
    """Every Erf that no Gelu takes in, and a fusion that the model's opset forbids, each with the reason.

    A Tanh alone is an activation of its own, no near miss.
    """
    found = _candidates(Wiring(model.graph))
    misses = [miss for miss in found if isinstance(miss, NoMatch)]
    if any(isinstance(candidate, Gate) for candidate in found):
        raised = raise_opset(model, 20)
        misses += [raised] if isinstance(raised, NoMatch) else []
    return tuple(misses)


def _candidates(wiring: Wiring) -> list[Gate | NoMatch]:
    found: list[Gate | NoMatch] = []
    for node in wiring.graph.node:
        if node.op_type == "Erf":
            found.append(gate(node, wiring, inner=_ERF_ARGUMENT, a=0.5, b=0.5))
        elif node.op_type == "Tanh":
            candidate = gate(node, wiring, inner=_TANH_ARGUMENT, a=0.5, b=0.5)
            if isinstance(candidate, Gate):
                found.append(candidate)
    return found


def _write(wiring: Wiring, found: Gate) -> None:
    name = wiring.fresh_node(fused_name([found.function, found.last], "Gelu"))
    gelu = onnx.helper.make_node("Gelu", [found.x], [found.last.output[0]], name=name)
    if found.function.op_type == "Tanh":
        gelu.attribute.append(onnx.helper.make_attribute("approximate", "tanh"))
    found.last.CopyFrom(gelu)

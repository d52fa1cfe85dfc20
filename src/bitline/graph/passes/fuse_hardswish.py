"""Hard-swish written in plain operators becomes HardSwish (opset 14; an older model is raised).

    y = Div(Mul(x, Clip(Add(x, 3), 0, 6)), 6)             -->   y = HardSwish(x)
    y = Mul(x, HardSigmoid(x, alpha=1/6, beta=1/2))       -->   y = HardSwish(x)

The factors may come in any order and grouping, the clip may be scaled (Clip(x / 6 + 1/2, 0, 1)). Anything else stays,
and `near_hardswishes` says why.
"""

from __future__ import annotations

import onnx

from bitline.core.diagnostics import NoMatch
from bitline.graph.model import Wiring, attribute, copied
from bitline.graph.passes.drop_dead import drop_dead
from bitline.graph.passes.gated import Gate, gate
from bitline.graph.passes.match import fused_name, made_by, scalar
from bitline.graph.passes.raise_opset import raise_opset


def fuse_hardswish(model: onnx.ModelProto) -> onnx.ModelProto:
    if not any(isinstance(found, Gate) for found in _candidates(Wiring(model.graph))):
        return copied(model)
    fused = raise_opset(model, 14)
    if isinstance(fused, NoMatch):
        return copied(model)
    wiring = Wiring(fused.graph)
    for found in _candidates(wiring):
        if isinstance(found, Gate):
            name = wiring.fresh_node(fused_name([found.function, found.last], "HardSwish"))
            found.last.CopyFrom(onnx.helper.make_node("HardSwish", [found.x], [found.last.output[0]], name=name))
    return drop_dead(fused)


def near_hardswishes(model: onnx.ModelProto) -> tuple[NoMatch, ...]:
    """Clips of a sum that end in a product, and a fusion that the model's opset forbids, each with the reason."""
    found = _candidates(Wiring(model.graph))
    misses = [miss for miss in found if isinstance(miss, NoMatch)]
    if any(isinstance(candidate, Gate) for candidate in found):
        raised = raise_opset(model, 14)
        misses += [raised] if isinstance(raised, NoMatch) else []
    return tuple(misses)


def _candidates(wiring: Wiring) -> list[Gate | NoMatch]:
    found: list[Gate | NoMatch] = []
    for node in wiring.graph.node:
        if node.op_type == "HardSigmoid":
            alpha, beta = attribute(node, "alpha", 0.2), attribute(node, "beta", 0.5)
            if alpha > 0:
                inner = ((0.5 - beta) / alpha, 1 / (6 * alpha))
                candidate = gate(node, wiring, inner=inner, a=1.0, b=0.0)
                found += [candidate] if isinstance(candidate, Gate) else []  # alone it is an activation of its own
        elif node.op_type == "Clip" and (high := _range_from_zero(node, wiring)) is not None:
            candidate = gate(node, wiring, inner=(high / 2, high / 6), a=1 / high, b=0.0)
            if isinstance(candidate, Gate) or made_by(wiring, node.input[0], "Add") is not None:
                found.append(candidate)  # a Clip of anything else is a ReLU6
    return found


def _range_from_zero(clip: onnx.NodeProto, wiring: Wiring) -> float | None:
    """The upper bound of a Clip whose lower one is 0."""
    if len(clip.input) < 3 or scalar(wiring, clip.input[1]) != 0.0:
        return None
    high = scalar(wiring, clip.input[2])
    return high if high is not None and high > 0 else None

"""Which activations take 16 bits, because 8 cost too much.

softmax         over more than 128 elements: 8 bits lose 20 % of the mass at 512 keys (measured on flat attention)
residual path   of transformers: every Add in front of a LayerNormalization, and what those add up

    x16 = Add(Gemm(a), LayerNormalization(b));  y = LayerNormalization(x16)

A 6-layer post-LN transformer falls to 3 dB with 8 bits on this path and keeps 16 dB with 16 (measured, MiniLM).
"""

from __future__ import annotations

from typing import Final

from bitline.graph.model import Wiring, attribute
from bitline.quant.kinds import Kind
from bitline.quant.steps import Plan, Step

LONGEST_NARROW_SOFTMAX: Final = 128


def wide_softmax(wiring: Wiring, plan: Plan) -> frozenset[str]:
    """Outputs of Softmax over more than 128 elements."""
    return frozenset(
        step.output
        for step in plan.steps
        if step.kind is Kind.SOFTMAX and softmax_width(wiring, step) > LONGEST_NARROW_SOFTMAX
    )


def softmax_axis(wiring: Wiring, step: Step) -> int:
    return attribute(wiring.producer[step.output], "axis", -1)


def softmax_width(wiring: Wiring, step: Step) -> int:
    """How many elements one softmax runs over."""
    shape = wiring.shape(step.inputs[0])
    assert shape is not None, "the gate gives every tensor a static shape"
    return shape[softmax_axis(wiring, step)]


def residual_path(plan: Plan) -> frozenset[str]:
    """The tensors (owners of grids) that Adds in front of a LayerNormalization make and read.

    Followed back through whatever passes values on with small change: Add, Sub, Mul by a constant, Concat. It ends at a
    layer, at another LayerNormalization, at a product, at an input.
    """
    makers = {name: step for step in plan.steps if step.kind is not Kind.MOVE for name in step.outputs}
    path: set[str] = set()
    waiting = [
        plan.owner[step.inputs[0]]
        for step in plan.steps
        if step.kind is Kind.NORM and _adds(makers.get(plan.owner[step.inputs[0]]))
    ]
    while waiting:
        name = waiting.pop()
        if name in path:
            continue
        path.add(name)
        maker = makers.get(name)
        if maker is not None and _passes_on(maker):
            waiting += [plan.owner[read] for read in maker.inputs if plan.owner[read] in plan.owner]
    return frozenset(path)


def _adds(step: Step | None) -> bool:
    return step is not None and step.op_type in ("Add", "Sum")


def _passes_on(step: Step) -> bool:
    if step.activation:
        return False
    return step.op_type in ("Add", "Sum", "Sub", "Concat") or (step.op_type == "Mul" and len(step.inputs) == 1)

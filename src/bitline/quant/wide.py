"""Which activations take 16 bits, because 8 cost too much, and which of their readers still read 8.

softmax         over more than 128 elements: 8 bits lose 20 % of the mass at 512 keys (measured on flat attention)
length          of a vector of two: the magnitude of a spectrum, and the values that it is the length of
                    y16 = Sqrt(Add(Pow(a16, 2), Pow(b16, 2)))
residual path   of transformers: every Add in front of a LayerNormalization, and what those add up
                    x16 = Add(Gemm(a), LayerNormalization(b));  y = LayerNormalization(x16)
                8 bits take a 6-layer post-LN transformer to 3 dB, 16 bits on this path to 16 dB (measured, MiniLM)
cell            of a recurrent network: what is carried from step to step, and the sums that its gates read
                    c16' = Add(Mul(Sigmoid(f), c16), Mul(Sigmoid(i), Tanh(g)))      h16' = Add(g, Mul(z, Sub(h16, g)))
                8 bits for c take an LSTM to 7 dB (measured, voice detection)
root            sums of squares below a Sqrt, where its table reads 16 bits: the root spreads what is small
                    y = Sqrt(Add(Pow(a, 2), Pow(b, 2)))          8 bits lose 16 dB of a spectrum (measured, the same)
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from bitline.graph.model import Wiring, attribute
from bitline.quant.kinds import Kind
from bitline.quant.steps import Plan, Step

LONGEST_NARROW_SOFTMAX: Final = 128
GATES: Final = ("Sigmoid", "HardSigmoid")


@dataclass(frozen=True, slots=True, kw_only=True)
class Widths:
    """What takes 16 bits: `tensors` (owners of grids), what the `layers` (steps) read, and functions of one value."""

    tensors: frozenset[str] = frozenset()
    layers: frozenset[str] = frozenset()
    unary_bits: int = 8


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


def lengths(plan: Plan) -> frozenset[str]:
    """The lengths of vectors of two, and what they are the lengths of."""
    return frozenset(plan.owner[name] for step in plan.steps if step.inner for name in (*step.inputs, step.output))


def layer_inputs(plan: Plan, layers: Collection[str]) -> frozenset[str]:
    """What these layers read: 16 bits for them."""
    return frozenset(plan.owner[step.inputs[0]] for step in plan.steps if step.node in layers)


def narrow_reads(plan: Plan, widths: Widths) -> frozenset[tuple[str, str]]:
    """The (step, operand) pairs that read a wide tensor in 8 bits.

    Layers read 8 bits unless they are among those of `widths`, and so do products; but P V reads the probabilities of a
    long softmax as they are.
    """
    softmax = {step.output for step in plan.steps if step.kind is Kind.SOFTMAX}
    narrow = {Kind.MATMUL, Kind.UNARY} if widths.unary_bits == 8 else {Kind.MATMUL}
    return frozenset(
        (step.node, name)
        for step in plan.steps
        for name in step.inputs
        if plan.owner[name] in widths.tensors
        and step.node not in widths.layers
        and (step.kind in narrow or (step.kind is Kind.PRODUCT and plan.owner[name] not in softmax))
    )


def residual_path(plan: Plan) -> frozenset[str]:
    """The tensors (owners of grids) that Adds in front of a LayerNormalization make and read.

    Followed back through whatever passes values on with small change: Add, Sub, Mul by a constant, Concat. It ends at a
    layer, at another LayerNormalization, at a product, at an input.
    """
    makers = _makers(plan)
    normalised = [plan.owner[step.inputs[0]] for step in plan.steps if step.kind is Kind.NORM]
    return _followed_back(plan, makers, (name for name in normalised if _op(makers, name) in ("Add", "Sum")))


def root_sums(plan: Plan) -> frozenset[str]:
    """What a Sqrt reads, back through sums and means to the squares: Pow(x, 2), Mul(x, x)."""
    makers = _makers(plan)
    path: set[str] = set()
    waiting = [plan.owner[step.inputs[0]] for step in plan.steps if step.op_type == "Sqrt" and not step.inner]
    while waiting:
        name = waiting.pop()
        maker = makers.get(name)
        if name in path or maker is None:
            continue
        if maker.op_type in ("Add", "Sum", "ReduceSum", "ReduceMean"):
            path.add(name)
            waiting += [plan.owner[read] for read in maker.inputs if plan.owner[read] in plan.owner]
        elif maker.op_type == "Pow" or (maker.op_type == "Mul" and len(set(maker.inputs)) < len(maker.inputs)):
            path.add(name)
    return frozenset(path)


def cell_state(plan: Plan) -> frozenset[str]:
    """The tensors of recurrent cells that take 16 bits: carried, added up, read by a gate, or joined to a state."""
    makers = _makers(plan)
    state: set[str] = set()
    sums: set[str] = set()
    for step in plan.steps:
        found = _cell(plan, makers, step, state) if step.op_type == "Add" and len(step.inputs) == 2 else None
        if found is None:
            continue
        inside, gates = found
        state |= inside
        sums |= {plan.owner[makers[gate].inputs[0]] for gate in gates if makers[gate].kind is Kind.UNARY}
    if not state:
        return frozenset()
    joined = {
        step.output
        for step in plan.steps
        if step.op_type == "Concat" and any(plan.owner[name] in state for name in step.inputs)
    }
    return frozenset(state | joined) | _followed_back(plan, makers, sums)


def _cell(
    plan: Plan, makers: Mapping[str, Step], step: Step, carried: Collection[str]
) -> tuple[set[str], set[str]] | None:
    """Tensors inside a cell that ends in the Add `step`, and its activated gates; None where it is no cell."""
    terms = [plan.owner[name] for name in step.inputs]
    products = {term: _gated(plan, makers, makers[term]) for term in terms if _op(makers, term) == "Mul"}
    pairs = {term: pair for term, pair in products.items() if pair is not None}

    def is_state(name: str) -> bool:
        return name in carried or name not in makers

    if len(pairs) == 2:  # Mul(f, c) + Mul(i, g)
        kept = {value for _, value in pairs.values() if is_state(value)}
        inside = {step.output, *pairs, *kept}
        return (inside, {gate for gate, _ in pairs.values()} | _fresh(makers, pairs, kept)) if kept else None
    for term, (gate, difference) in pairs.items():  # g + Mul(z, Sub(h, g))
        maker = makers.get(difference)
        if maker is None or maker.op_type != "Sub" or len(maker.inputs) != 2:
            continue
        before, fresh = (plan.owner[name] for name in maker.inputs)
        if fresh in terms and is_state(before):
            return {step.output, term, difference, before}, {gate, fresh} & set(makers)
    return None


def _gated(plan: Plan, makers: Mapping[str, Step], product: Step) -> tuple[str, str] | None:
    """The gate, which a Sigmoid made, and the other factor of a Mul."""
    if len(product.inputs) != 2:
        return None
    left, right = (plan.owner[name] for name in product.inputs)
    for gate, value in ((left, right), (right, left)):
        maker = makers.get(gate)
        complement = maker is not None and maker.op_type == "Sub" and len(maker.inputs) == 1
        source = plan.owner[maker.inputs[0]] if complement and maker is not None else gate
        if _op(makers, source) in GATES:
            return source, value
    return None


def _fresh(makers: Mapping[str, Step], pairs: Mapping[str, tuple[str, str]], kept: Collection[str]) -> set[str]:
    """The Tanh that makes the new content."""
    return {value for _, value in pairs.values() if value not in kept and _op(makers, value) == "Tanh"}


def _followed_back(plan: Plan, makers: Mapping[str, Step], start: Iterable[str]) -> frozenset[str]:
    path: set[str] = set()
    waiting = list(start)
    while waiting:
        name = waiting.pop()
        if name in path:
            continue
        path.add(name)
        maker = makers.get(name)
        if maker is not None and _passes_on(maker):
            waiting += [plan.owner[read] for read in maker.inputs if plan.owner[read] in plan.owner]
    return frozenset(path)


def _passes_on(step: Step) -> bool:
    if step.activation:
        return False
    return step.op_type in ("Add", "Sum", "Sub", "Concat") or (step.op_type == "Mul" and len(step.inputs) == 1)


def _makers(plan: Plan) -> dict[str, Step]:
    """By tensor, the step that computes it; not the steps that only move it."""
    return {name: step for step in plan.steps if step.kind is not Kind.MOVE for name in step.outputs}


def _op(makers: Mapping[str, Step], name: str) -> str:
    return makers[name].op_type if name in makers else ""

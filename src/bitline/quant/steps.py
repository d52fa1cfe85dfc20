"""What the quantiser sees in a graph: compute steps, each a node with the Relu or Clip that directly follows it.

    y = Sqrt(Add(Pow(a, 2), Pow(b, 2)))       -->   Step("Sqrt", inputs=(a, b), output=y)
    y = Relu(Conv(x, w, b)); z = MaxPool(y)   -->   Step("Conv", activation="Relu", output=y), Step("MaxPool", output=z)

Between a step's nodes nothing is rounded; every step's output is. A step that only moves or selects values keeps the
scale and zero point of its input, so that it costs no rounding either. Every other node stays in float.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import onnx

from bitline.graph.lengths import Length, length_at
from bitline.graph.model import Model, Wiring, attribute, subgraphs
from bitline.quant.kinds import FLOAT, Kind, classify, values_of

FUSED: Final = ("Relu", "Clip")
FUSES: Final = ("Conv", "ConvTranspose", "Gemm", "MatMul", "Add")


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step. `inputs` are the activations it reads, `constants` those of its operands that are constant.

    `activation` is the name of the fused Relu or Clip, `inner` names the nodes of a length before its Sqrt.
    `weight_axis` counts output channels; None: one scale for all.
    """

    node: str
    op_type: str
    kind: Kind
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    constants: tuple[str, ...] = ()
    activation: str = ""
    inner: tuple[str, ...] = ()
    weight: str = ""
    weight_axis: int | None = 0
    bias: str = ""

    @property
    def output(self) -> str:
        return self.outputs[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """A node that stays in float, and why."""

    node: str
    op_type: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Steps in graph order. `left` names the nodes with float32 operands or results that stay in float.

    `owner` gives, for every quantised activation, the tensor whose grid it uses: itself, or what a moving step moves.
    """

    steps: tuple[Step, ...]
    left: tuple[Left, ...]
    owner: Mapping[str, str]


def plan_steps(model: Model, leave: Mapping[str, str] = {}) -> Plan:
    """The plan for a model whose nodes have unique names (`name_nodes`). `leave`: nodes kept in float, and why."""
    wiring = Wiring(model.proto.graph)
    steps: list[Step] = []
    left: list[Left] = []
    lengths = _lengths(wiring, leave)
    fused = {inner.name for length in lengths.values() for inner in length.inner}
    for node in model.proto.graph.node:
        if node.name in fused:
            continue
        if node.name in lengths:
            steps.append(_length_step(node, lengths[node.name]))
            continue
        verdict = leave.get(node.name) or classify(node, wiring)
        if isinstance(verdict, str):
            left.append(Left(node=node.name, op_type=node.op_type, why=verdict))
            continue
        follower = wiring.only_reader(node.output[0]) if node.op_type in FUSES else None
        if follower is not None and (follower.op_type not in FUSED or classify(follower, wiring) is not Kind.UNARY):
            follower = None
        if follower is not None and follower.name in leave:
            follower = None
        if follower is not None:
            fused.add(follower.name)
        steps.append(_step(node, verdict, follower, wiring))
    idle = _idle_moves(steps, wiring)
    left += [
        Left(node=step.node, op_type=step.op_type, why="moves what is float before and after")
        for step in steps
        if step.node in idle
    ]
    working = tuple(step for step in steps if step.node not in idle)
    floating = {node.name for node in wiring.graph.node if _holds_float(node, wiring)}
    return Plan(
        steps=working,
        left=tuple(entry for entry in left if entry.node in floating),
        owner=_owners(working),
    )


def _step(node: onnx.NodeProto, kind: Kind, follower: onnx.NodeProto | None, wiring: Wiring) -> Step:
    matmul = kind is Kind.MATMUL
    values = values_of(node, kind)
    last = node if follower is None else follower
    return Step(
        node=node.name,
        op_type=node.op_type,
        kind=kind,
        inputs=tuple(name for name in values if name not in wiring.constants),
        constants=tuple(name for name in values if name in wiring.constants),
        outputs=tuple(name for name in last.output if name and (last.op_type == "Split" or name == last.output[0])),
        activation="" if follower is None else follower.name,
        weight=node.input[1] if matmul else "",
        weight_axis=_weight_axis(node, wiring) if matmul else 0,
        bias=node.input[2] if matmul and len(node.input) > 2 else "",
    )


def _lengths(wiring: Wiring, leave: Collection[str]) -> dict[str, Length]:
    """The lengths of vectors whose squares nothing else reads, by their Sqrt."""
    found: dict[str, Length] = {}
    for node in wiring.graph.node:
        length = length_at(node, wiring.producer, wiring.array)
        if length is None or any(part.name in leave for part in (node, *length.inner)):
            continue
        nodes = {node.name, *(inner.name for inner in length.inner)}
        alone = all(
            reader is not None and reader.name in nodes
            for reader in (wiring.only_reader(inner.output[0]) for inner in length.inner)
        )
        shapes = {wiring.shape(name) for name in (length.a, length.b, node.output[0])}
        constant = {length.a, length.b} & wiring.constants.keys()
        if alone and not constant and len(shapes) == 1 and wiring.elem_type(node.output[0]) == FLOAT:
            found[node.name] = length
    return found


def _length_step(node: onnx.NodeProto, length: Length) -> Step:
    return Step(
        node=node.name,
        op_type="Sqrt",
        kind=Kind.ELEMENTWISE,
        inputs=(length.a, length.b),
        outputs=(node.output[0],),
        inner=tuple(inner.name for inner in length.inner),
    )


def _weight_axis(node: onnx.NodeProto, wiring: Wiring) -> int | None:
    """The axis of the weights that counts output channels; None where none does (grouped ConvTranspose)."""
    match node.op_type:
        case "Conv":
            return 0
        case "ConvTranspose":
            return 1 if attribute(node, "group", 1) == 1 else None
        case "Gemm":
            return 0 if attribute(node, "transB", 0) else 1
        case _:
            return len(wiring.constants[node.input[1]].dims) - 1


def _computes_inside(node: onnx.NodeProto) -> bool:
    """Whether a subgraph is quantised: a Scan, whose states and steps are integers."""
    return any(inner.op_type == "QuantizeLinear" for graph in subgraphs(node) for inner in graph.node)


def _idle_moves(steps: Sequence[Step], wiring: Wiring) -> set[str]:
    """Moving steps that connect nothing but float nodes (and the graph's own inputs and outputs).

    Rounding what a float LSTM hands to itself, or to an output, would cost accuracy and gain nothing. Where results of
    several repetitions are joined, the chip needs one grid for them.
    """
    repeated = {node.name for node in wiring.graph.node if node.op_type == "Scan"}
    joining = {step.node for step in steps if step.kind is Kind.JOIN}
    moving = {step.node: step for step in steps if step.kind in (Kind.MOVE, Kind.JOIN)}
    computing = {name for step in steps for name in (step.node, step.activation, *step.inner)}
    computing -= set(moving)
    computing |= {node.name for node in wiring.graph.node if _computes_inside(node)}
    neighbours: dict[str, set[str]] = defaultdict(set)
    outside: dict[str, set[str]] = defaultdict(set)
    for name, step in moving.items():
        around = [wiring.producer[tensor].name for tensor in step.inputs if tensor in wiring.producer]
        around += [reader.name for tensor in step.outputs for reader in wiring.readers[tensor]]
        for other in around:
            if other in moving:
                neighbours[name].add(other)
                neighbours[other].add(name)
            else:
                outside[name].add(other)
    idle: set[str] = set()
    seen: set[str] = set()
    for start in moving:
        if start in seen:
            continue
        group, waiting = {start}, [start]
        while waiting:
            fresh = neighbours[waiting.pop()] - group
            group |= fresh
            waiting += fresh
        seen |= group
        touched = {other for name in group for other in outside[name]}
        joins = group & joining and touched & repeated
        if touched and not touched & computing and not joins:
            idle |= group
    return idle


def _owners(steps: Sequence[Step]) -> dict[str, str]:
    owner: dict[str, str] = {}
    for step in steps:
        for name in step.inputs:
            owner.setdefault(name, name)
        moved = (*step.inputs, *step.constants)[0] if step.kind is Kind.MOVE else ""
        for name in step.outputs:
            owner[name] = owner.get(moved, moved) or name
    return owner


def _holds_float(node: onnx.NodeProto, wiring: Wiring) -> bool:
    read = [name for name in node.input if name and name not in wiring.constants]
    return any(wiring.elem_type(name) == FLOAT for name in (*read, *node.output))

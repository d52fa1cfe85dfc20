"""What the quantiser sees in a graph: compute steps, each a node with the Relu or Clip that directly follows it.

    y = Relu(Conv(x, w, b)); z = MaxPool(y)   -->   Step("Conv", activation="Relu", output=y), Step("MaxPool", output=z)

Between a step's nodes nothing is rounded; every step's output is. A step that only moves or selects values keeps the
scale and zero point of its input, so that it costs no rounding either.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

import onnx

from bitline.core.diagnostics import Diagnostic, Refusal
from bitline.graph.model import Model, Wiring, attribute


class Kind(Enum):
    MATMUL = "matmul"  # stationary weights: Conv, Gemm, MatMul
    ADD = "add"
    AVERAGE = "average"
    MOVE = "move"  # output values are input values, or 0
    SOFTMAX = "softmax"
    UNARY = "unary"


KINDS: Final[dict[str, Kind]] = (
    dict.fromkeys(("Conv", "Gemm", "MatMul"), Kind.MATMUL)
    | {"Add": Kind.ADD, "Softmax": Kind.SOFTMAX}
    | dict.fromkeys(("AveragePool", "GlobalAveragePool", "ReduceMean"), Kind.AVERAGE)
    | dict.fromkeys(
        ("MaxPool", "Reshape", "Flatten", "Transpose", "Pad", "Squeeze", "Unsqueeze", "Identity", "Slice"), Kind.MOVE
    )
    | dict.fromkeys(("Relu", "Clip", "LeakyRelu", "ThresholdedRelu", "Abs", "Neg", "Sign"), Kind.UNARY)
    | dict.fromkeys(("Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Softplus", "Softsign"), Kind.UNARY)
    | dict.fromkeys(("Elu", "Selu", "Celu", "Gelu", "Mish", "Erf", "Exp", "Log", "Sqrt"), Kind.UNARY)
    | dict.fromkeys(("Reciprocal", "Sin", "Cos", "Floor", "Ceil", "Round"), Kind.UNARY)
)

FUSED: Final = ("Relu", "Clip")


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step. `activation` is the name of the fused Relu or Clip, `inputs` the activations read, or both addends."""

    node: str
    kind: Kind
    inputs: tuple[str, ...]
    output: str
    activation: str = ""
    weight: str = ""
    weight_axis: int = 0
    bias: str = ""


def plan_steps(model: Model) -> tuple[Step, ...]:
    """The steps in graph order. Raises `Refusal` (BL0301, BL0302) with every node that cannot be quantised.

    Nodes are told apart by their names, which must be unique (`name_nodes`).
    """
    wiring = Wiring(model.proto.graph)
    found: list[Diagnostic] = []
    steps: list[Step] = []
    fused: set[str] = set()
    for node in model.proto.graph.node:
        if node.name in fused:
            continue
        kind = KINDS.get(node.op_type) if node.domain in ("", "ai.onnx") else None
        if kind is None:
            found.append(
                Diagnostic(
                    code="BL0301",
                    message=f"cannot quantise operator {node.op_type!r}",
                    place=model.place(node.name),
                    help="quantise the model with another tool and give its QDQ form, or take the operator out",
                )
            )
            continue
        why = _form(node, kind, wiring)
        if why:
            help_text = "simplify the model first, or export this node in the plain form"
            message = f"cannot quantise this {node.op_type}: {why}"
            found.append(Diagnostic(code="BL0302", message=message, place=model.place(node.name), help=help_text))
            continue
        follower = wiring.only_reader(node.output[0]) if kind in (Kind.MATMUL, Kind.ADD) else None
        if follower is not None and (follower.op_type not in FUSED or _form(follower, Kind.UNARY, wiring)):
            follower = None
        if follower is not None:
            fused.add(follower.name)
        steps.append(_step(node, kind, follower, wiring))
    if found:
        raise Refusal(found)
    return tuple(steps)


def _step(node: onnx.NodeProto, kind: Kind, follower: onnx.NodeProto | None, wiring: Wiring) -> Step:
    matmul = kind is Kind.MATMUL
    return Step(
        node=node.name,
        kind=kind,
        inputs=tuple(node.input[:2]) if kind is Kind.ADD else (node.input[0],),
        output=node.output[0] if follower is None else follower.output[0],
        activation="" if follower is None else follower.name,
        weight=node.input[1] if matmul else "",
        weight_axis=_weight_axis(node, wiring) if matmul else 0,
        bias=node.input[2] if matmul and len(node.input) > 2 else "",
    )


def _weight_axis(node: onnx.NodeProto, wiring: Wiring) -> int:
    """The axis of the weights that counts output channels."""
    if node.op_type == "Conv":
        return 0
    if node.op_type == "Gemm":
        return 0 if attribute(node, "transB", 0) else 1
    return len(wiring.constants[node.input[1]].dims) - 1


def _form(node: onnx.NodeProto, kind: Kind, wiring: Wiring) -> str:
    """Why a node of a known operator cannot be quantised; empty where it can."""
    constant = wiring.constants
    values = node.input[:2] if kind is Kind.ADD else node.input[:1]
    if wiring.elem_type(node.output[0]) != onnx.TensorProto.FLOAT:
        return "its output is not float32"
    if any(wiring.elem_type(name) != onnx.TensorProto.FLOAT for name in values):
        return "its input is not float32"
    if all(name in constant for name in values):
        return "all of its inputs are constant"
    if kind is not Kind.ADD and any(name not in constant for name in node.input[1:] if name):
        return "an operand that should be constant is not"
    if any(name in wiring.outputs or wiring.readers[name] for name in node.output[1:] if name):
        return "its second output is used"
    match node.op_type:
        case "Conv":
            return "it has auto_pad" if attribute(node, "auto_pad", "NOTSET") != "NOTSET" else ""
        case "Gemm":
            return _gemm_form(node, wiring)
        case "MatMul":
            return "its weights are a vector" if len(constant[node.input[1]].dims) < 2 else ""
        case "Pad":
            value = wiring.array(node.input[2]) if len(node.input) > 2 and node.input[2] else None
            return "it pads with a value other than 0" if value is not None and value.any() else ""
        case "ReduceMean":
            return _mean_form(node, wiring)
        case _:
            return ""


def _gemm_form(node: onnx.NodeProto, wiring: Wiring) -> str:
    if attribute(node, "transA", 0) or attribute(node, "alpha", 1.0) != 1.0 or attribute(node, "beta", 1.0) != 1.0:
        return "transA, alpha or beta are set"
    if len(node.input) < 3 or not node.input[2]:
        return ""
    columns = wiring.constants[node.input[1]].dims[0 if attribute(node, "transB", 0) else 1]
    return "" if tuple(wiring.constants[node.input[2]].dims) == (columns,) else "its bias is not one value a column"


def _mean_form(node: onnx.NodeProto, wiring: Wiring) -> str:
    shape = wiring.shape(node.input[0]) or ()
    stated = wiring.array(node.input[1]) if len(node.input) > 1 and node.input[1] else attribute(node, "axes", [])
    axes = sorted(int(axis) % len(shape) for axis in stated) if stated is not None else []
    return "" if len(shape) == 4 and axes == [2, 3] else "it is not the mean over height and width"

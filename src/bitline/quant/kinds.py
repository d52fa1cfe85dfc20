"""Which operators have an integer form: `classify` says the kind of a node, or why it stays in float.

MATMUL       Conv, ConvTranspose, Gemm, MatMul with constant weights
PRODUCT      MatMul of two activations, or with a constant on the left or of more than two axes
ELEMENTWISE  Add, Sub, Mul, Div, Max, Min, Sum, PRelu, Where on operands that broadcast
UNARY        a function of one value
MOVE         output values are input values, or 0; data may be a constant table (an embedding)
JOIN         values of several grids, or between input values: Concat, ScatterND, linear Resize, Pad with a number
AVERAGE      sums and means
SOFTMAX, NORM
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Final

import numpy as np
import onnx

from bitline.graph.model import Wiring, attribute

FLOAT: Final = onnx.TensorProto.FLOAT

FARTHEST: Final = -1e30
"""A Pad with this or less pads with "minus infinity", as exporters do in front of a MaxPool."""


class Kind(Enum):
    MATMUL = "matmul"
    PRODUCT = "product"
    ELEMENTWISE = "elementwise"
    UNARY = "unary"
    MOVE = "move"
    JOIN = "join"
    AVERAGE = "average"
    SOFTMAX = "softmax"
    NORM = "norm"


Verdict = Kind | str
Rule = Callable[[onnx.NodeProto, Wiring], Verdict]


def classify(node: onnx.NodeProto, wiring: Wiring) -> Verdict:
    """The kind of a node that can be quantised; for any other, in words, why it stays in float."""
    if node.domain not in ("", "ai.onnx"):
        return f"operator of {node.domain}"
    rule = _RULES.get(node.op_type)
    if rule is None:
        return "no integer form"
    if wiring.elem_type(node.output[0]) != FLOAT:
        return "output not float32"
    if node.op_type != "Split" and any(wiring.readers[name] or name in wiring.outputs for name in node.output[1:]):
        return "second output in use"
    kind = rule(node, wiring)
    return kind if isinstance(kind, str) else _operands_fit(node, kind, wiring) or kind


def values_of(node: onnx.NodeProto, kind: Kind) -> tuple[str, ...]:
    """The operands that are quantised as activations are, constant or not; the others are weights and parameters."""
    match kind, node.op_type:
        case Kind.ELEMENTWISE, "Where":
            return tuple(node.input[1:3])
        case (Kind.ELEMENTWISE, _) | (Kind.JOIN, "Concat"):
            return tuple(node.input)
        case Kind.PRODUCT, _:
            return tuple(node.input[:2])
        case Kind.JOIN, "ScatterND" | "ScatterElements":
            return node.input[0], node.input[2]
        case _:
            return (node.input[0],)


def _operands_fit(node: onnx.NodeProto, kind: Kind, wiring: Wiring) -> str:
    values = values_of(node, kind)
    given = [name for name in node.input if name]
    if any(wiring.elem_type(name) != FLOAT for name in values):
        return "input not float32"
    if all(name in wiring.constants for name in (given if kind in _MAY_HOLD_CONSTANTS else values)):
        return "all inputs constant"
    rest = [name for name in given if name not in values and name not in wiring.constants]
    if any(kind is not Kind.MOVE or wiring.elem_type(name) == FLOAT for name in rest if node.op_type != "Where"):
        return "an operand that should be constant is not"
    return ""


_MAY_HOLD_CONSTANTS: Final = (Kind.MOVE, Kind.ELEMENTWISE)  # Gather of a table by ids, Where between two constants


def _always(kind: Kind) -> Rule:
    return lambda node, wiring: kind


def _conv(node: onnx.NodeProto, wiring: Wiring) -> Verdict:
    weights = wiring.constants.get(node.input[1])
    if weights is None:
        return "weights not constant"
    if len(weights.dims) not in (3, 4):
        return f"{len(weights.dims) - 2}-D"
    if attribute(node, "auto_pad", "NOTSET") not in ("NOTSET", ""):
        return "auto_pad"
    return "output_shape" if attribute(node, "output_shape", None) is not None else Kind.MATMUL


def _gemm(node: onnx.NodeProto, wiring: Wiring) -> Verdict:
    if node.input[1] not in wiring.constants:
        return "weights not constant"
    if attribute(node, "transA", 0) or attribute(node, "alpha", 1.0) != 1.0 or attribute(node, "beta", 1.0) != 1.0:
        return "transA, alpha or beta set"
    if len(node.input) < 3 or not node.input[2]:
        return Kind.MATMUL
    columns = wiring.constants[node.input[1]].dims[0 if attribute(node, "transB", 0) else 1]
    return Kind.MATMUL if wiring.shape(node.input[2]) == (columns,) else "bias not one value a column"


def _matmul(node: onnx.NodeProto, wiring: Wiring) -> Verdict:
    left, right = (wiring.shape(name) or () for name in node.input)
    if len(right) < 2:
        return "weights a vector" if node.input[1] in wiring.constants else "product with a vector"
    if node.input[1] in wiring.constants and node.input[0] not in wiring.constants and len(right) == 2:
        return Kind.MATMUL
    return Kind.PRODUCT if len(left) >= 2 else "product with a vector"


def _divide(node: onnx.NodeProto, wiring: Wiring) -> Verdict:
    divisor = wiring.array(node.input[1])
    return Kind.ELEMENTWISE if divisor is None or far_from_zero(divisor) else "divisor too close to 0 for 8 bits"


def far_from_zero(values: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> bool:
    """Whether every value, on an 8-bit grid that holds them all and 0, is an integer of 16 or more: within 3 %."""
    low, high = min(0.0, float(values.min())), max(0.0, float(values.max()))
    return float(np.abs(values).min()) * 255 >= 16 * (high - low) > 0


def _power(node: onnx.NodeProto, wiring: Wiring) -> Verdict:
    exponent = wiring.array(node.input[1])
    return Kind.UNARY if exponent is not None and exponent.size == 1 else "exponent no constant number"


def _prelu(node: onnx.NodeProto, wiring: Wiring) -> Verdict:
    return Kind.ELEMENTWISE if node.input[1] in wiring.constants else "slope not constant"


def _cast(node: onnx.NodeProto, wiring: Wiring) -> Verdict:
    return Kind.MOVE if wiring.elem_type(node.input[0]) == FLOAT else "makes floats of another type"


def _dropout(node: onnx.NodeProto, wiring: Wiring) -> Verdict:
    training = wiring.array(node.input[2]) if len(node.input) > 2 and node.input[2] else np.zeros(1, np.bool_)
    return Kind.MOVE if training is not None and not training.any() else "drops at random"


def _pad(node: onnx.NodeProto, wiring: Wiring) -> Verdict:
    if attribute(node, "mode", "constant") != "constant" or len(node.input) < 3 or not node.input[2]:
        return Kind.MOVE
    fill = wiring.array(node.input[2])
    if fill is None:
        return "fill value not constant"
    if not fill.any():
        return Kind.MOVE
    if float(fill.reshape(-1)[0]) > FARTHEST:
        return Kind.JOIN
    # the fill saturates to the smallest value of the grid, which never is a maximum against another
    pools = all(reader.op_type == "MaxPool" for reader in wiring.readers[node.output[0]])
    return Kind.MOVE if pools and node.output[0] not in wiring.outputs else "pads with minus infinity"


def _resize(node: onnx.NodeProto, wiring: Wiring) -> Verdict:
    if attribute(node, "coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize":
        return "crops"
    match attribute(node, "mode", "nearest"):
        case "nearest":
            return Kind.MOVE
        case "linear":
            return Kind.JOIN
        case mode:
            return f"mode {mode}"


def _reduce(kind: Kind) -> Rule:
    def rule(node: onnx.NodeProto, wiring: Wiring) -> Verdict:
        axes = attribute(node, "axes", [])
        if len(node.input) > 1 and node.input[1]:
            stated = wiring.array(node.input[1])
            if stated is None:
                return "axes not constant"
            axes = stated.tolist()
        return "reduces nothing" if not axes and attribute(node, "noop_with_empty_axes", 0) else kind

    return rule


def _rules(kind: Kind, *names: str) -> dict[str, Rule]:
    return dict.fromkeys(names, _always(kind))


UNARY_OPERATORS: Final = (
    "Relu",
    "Clip",
    "LeakyRelu",
    "ThresholdedRelu",
    "Abs",
    "Neg",
    "Sign",
    "Sigmoid",
    "HardSigmoid",
    "HardSwish",
    "Tanh",
    "Softplus",
    "Softsign",
    "Elu",
    "Selu",
    "Celu",
    "Gelu",
    "Mish",
    "Erf",
    "Exp",
    "Log",
    "Sqrt",
    "Reciprocal",
    "Sin",
    "Cos",
    "Floor",
    "Ceil",
    "Round",
)
"""Functions of one value that quantisation knows: ranges before and after are all that they need."""

_RULES: Final[dict[str, Rule]] = (
    {"Conv": _conv, "ConvTranspose": _conv, "Gemm": _gemm, "MatMul": _matmul}
    | _rules(Kind.ELEMENTWISE, "Add", "Sub", "Mul", "Max", "Min", "Sum", "Where")
    | {
        "Cast": _cast,
        "Div": _divide,
        "PRelu": _prelu,
        "Pow": _power,
        "Dropout": _dropout,
        "Pad": _pad,
        "Resize": _resize,
    }
    | _rules(Kind.UNARY, *UNARY_OPERATORS)
    | _rules(Kind.MOVE, "MaxPool", "GlobalMaxPool", "Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze")
    | _rules(Kind.MOVE, "Identity", "Slice", "Split", "Gather", "GatherND", "GatherElements")
    | _rules(Kind.MOVE, "Expand", "Tile", "DepthToSpace", "SpaceToDepth")
    | dict.fromkeys(("ReduceMax", "ReduceMin"), _reduce(Kind.MOVE))
    | _rules(Kind.JOIN, "Concat", "ScatterND", "ScatterElements")
    | _rules(Kind.AVERAGE, "AveragePool", "GlobalAveragePool")
    | dict.fromkeys(("ReduceMean", "ReduceSum"), _reduce(Kind.AVERAGE))
    | {"Softmax": _always(Kind.SOFTMAX), "LayerNormalization": _always(Kind.NORM)}
)

OPERATORS: Final = tuple(sorted(_RULES))
"""Every operator that quantisation knows an integer form of."""

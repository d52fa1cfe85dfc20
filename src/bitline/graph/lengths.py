"""The length of a vector of two as exporters write it: the magnitude of a spectrum, most often.

    y = Sqrt(Add(Pow(a, 2), Mul(b, b)))     -->     Length(a="a", b="b", inner=(the Pow, the Mul, the Add))

Kept together, nothing rounds the squares. Sixteen bits for them are 8 for the small values of a spectrum.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt
import onnx

Constant = Callable[[str], npt.NDArray[Any] | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Length:
    """The two values, and the nodes between them and the Sqrt, in the order of the graph."""

    a: str
    b: str
    inner: tuple[onnx.NodeProto, ...]


def length_at(node: onnx.NodeProto, producer: Mapping[str, onnx.NodeProto], constant: Constant) -> Length | None:
    """What a Sqrt is the length of; None for any other root, and for any other node."""
    total = producer.get(node.input[0]) if node.op_type == "Sqrt" else None
    if total is None or total.op_type != "Add":
        return None
    squares = [producer.get(name) for name in total.input]
    left, right = squares
    if left is None or right is None or not (_is_square(left, constant) and _is_square(right, constant)):
        return None
    return Length(a=left.input[0], b=right.input[0], inner=(left, right, total))


def _is_square(node: onnx.NodeProto, constant: Constant) -> bool:
    if node.op_type == "Mul":
        return node.input[0] == node.input[1]
    exponent = constant(node.input[1]) if node.op_type == "Pow" else None
    return exponent is not None and exponent.size == 1 and float(exponent.reshape(-1)[0]) == 2.0

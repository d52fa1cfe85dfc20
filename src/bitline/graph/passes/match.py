"""How the passes that recognise a pattern look at a graph: constants, who made what, polynomials, new names."""

from __future__ import annotations

from collections.abc import Sequence
from math import isclose

import numpy as np
import onnx

from bitline.graph.model import Array, Wiring, attribute

TOLERANCE = 1e-4  # exporters write sqrt(2) as 1.41421 and 1/6 as 0.1666667

Polynomial = tuple[float, ...]  # coefficients, constant first


def made_by(wiring: Wiring, name: str, *op_types: str) -> onnx.NodeProto | None:
    """The node that makes `name`, if it is one of these operators."""
    node = wiring.producer.get(name)
    return node if node is not None and node.op_type in op_types else None


def scalar(wiring: Wiring, name: str) -> float | None:
    """The value of a constant of one element."""
    value = wiring.array(name) if name in wiring.constants and _size(wiring, name) == 1 else None
    return None if value is None else float(value.reshape(-1)[0])


def _size(wiring: Wiring, name: str) -> int:
    return int(np.prod(wiring.shape(name) or (), dtype=np.int64))


def constant_operand(node: onnx.NodeProto, wiring: Wiring) -> tuple[str, Array] | None:
    """(the operand that is not constant, the constant) of an operator with one of each; None for any other."""
    if len(node.input) != 2:
        return None
    left, right = node.input
    if (left in wiring.constants) == (right in wiring.constants):
        return None
    data, constant = (right, left) if left in wiring.constants else (left, right)
    value = wiring.array(constant)
    assert value is not None
    return data, value


def reduced_axes(node: onnx.NodeProto, wiring: Wiring) -> tuple[int, ...] | None:
    """The axes of a reduction, from 0 up; None where they or the rank are unknown."""
    shape = wiring.shape(node.input[0])
    if shape is None:
        return None
    axes: Sequence[int] | None = attribute(node, "axes", None)
    if axes is None and len(node.input) > 1 and node.input[1]:
        stated = wiring.array(node.input[1])
        if stated is None:
            return None
        axes = [int(axis) for axis in stated]
    if not axes:
        return () if attribute(node, "noop_with_empty_axes", 0) else tuple(range(len(shape)))
    return tuple(sorted(axis % len(shape) for axis in axes))


def fused_name(nodes: Sequence[onnx.NodeProto], op_type: str) -> str:
    """The longest common folder of the names, and the operator: `/norm/Sub`, `/norm/Div` -> `/norm/LayerNormalization`.

    Names without folders: the first one with the operator behind it.
    """
    folders = [node.name.split("/")[:-1] for node in nodes]
    common: list[str] = []
    for parts in zip(*folders, strict=False):
        if len(set(parts)) > 1:
            break
        common.append(parts[0])
    return "/".join([*common, op_type]) if any(common) else f"{nodes[0].name}/{op_type}"


def polynomial(wiring: Wiring, name: str, variable: str, *, degree: int = 3, depth: int = 12) -> Polynomial | None:
    """The tensor `name` as a polynomial of the tensor `variable`; None where it is none of at most that degree."""
    if name == variable:
        return (0.0, 1.0)
    constant = scalar(wiring, name)
    if constant is not None:
        return (constant,)
    node = made_by(wiring, name, "Add", "Sub", "Mul", "Div", "Pow", "Neg")
    if node is None or depth == 0:
        return None
    parts = [polynomial(wiring, operand, variable, degree=degree, depth=depth - 1) for operand in node.input]
    known = [part for part in parts if part is not None]
    if len(known) < len(parts):
        return None
    result = _combined(node.op_type, known)
    return result if result is not None and len(result) <= degree + 1 else None


def _combined(op_type: str, parts: Sequence[Polynomial]) -> Polynomial | None:
    left, right = parts[0], parts[-1]
    match op_type:
        case "Add":
            return _sum(left, right, 1.0)
        case "Sub":
            return _sum(left, right, -1.0)
        case "Neg":
            return tuple(-part for part in left)
        case "Mul":
            return tuple(float(value) for value in np.convolve(left, right))
        case "Div" if len(right) == 1 and right[0] != 0:
            return tuple(value / right[0] for value in left)
        case "Pow" if len(right) == 1 and right[0] in (2.0, 3.0):
            square = np.convolve(left, left)
            return tuple(float(value) for value in (square if right[0] == 2.0 else np.convolve(square, left)))
        case _:
            return None


def _sum(left: Polynomial, right: Polynomial, sign: float) -> Polynomial:
    length = max(len(left), len(right))
    padded = [(*part, *[0.0] * (length - len(part))) for part in (left, right)]
    return tuple(a + sign * b for a, b in zip(*padded, strict=True))


def same_polynomial(left: Polynomial, right: Polynomial) -> bool:
    """Equal up to the digits that exporters drop."""
    return all(close(value, 0.0) for value in _sum(left, right, -1.0)) or (
        len(left) == len(right) and all(close(a, b) for a, b in zip(left, right, strict=True))
    )


def close(left: float, right: float) -> bool:
    return isclose(left, right, rel_tol=TOLERANCE, abs_tol=1e-7)

"""Products of a tensor with a function of itself, `x * k * (a * f(p(x)) + b) * c`, in any order of the factors."""

from __future__ import annotations

from dataclasses import dataclass

import onnx

from bitline.core.diagnostics import NoMatch
from bitline.graph.model import Wiring
from bitline.graph.passes.match import Polynomial, close, made_by, polynomial, same_polynomial, scalar


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """`last` makes x * (a * f(p(x)) + b) for the asked p, a, b; `x` is the tensor's name."""

    x: str
    function: onnx.NodeProto
    last: onnx.NodeProto


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    """The tensor `name` is a * f + b."""

    name: str
    a: float
    b: float


def gate(function: onnx.NodeProto, wiring: Wiring, *, inner: Polynomial, a: float, b: float) -> Gate | NoMatch:
    """The product x * (a * function + b) where the function's argument is the polynomial `inner` of x."""
    line = _followed(_Line(name=function.output[0], a=1.0, b=0.0), wiring)
    product = wiring.only_reader(line.name)
    if product is None or product.op_type != "Mul":
        return NoMatch(why=f"{function.name}: its output is not multiplied by one tensor, or has other readers")
    other = product.input[1] if product.input[0] == line.name else product.input[0]
    factors = _sources(other, wiring)
    x, factor = next(((x, k) for x, k in factors if _is_polynomial(function.input[0], x, inner, wiring)), ("", 0.0))
    if not x:
        return NoMatch(why=f"{function.name}: the argument is not the expected polynomial of the other factor")
    whole = _Line(name=product.output[0], a=line.a * factor, b=line.b * factor)
    last = product
    while not (close(whole.a, a) and close(whole.b, b)):
        reader = wiring.only_reader(whole.name)
        after = None if reader is None or reader.op_type not in ("Mul", "Div") else _after(whole, reader, wiring)
        if reader is None or after is None:
            return NoMatch(
                why=f"{function.name}: the factors are {whole.a:.6g} and {whole.b:.6g}, not {a:.6g} and {b:.6g}"
            )
        whole, last = after, reader
    return Gate(x=x, function=function, last=last)


def _followed(line: _Line, wiring: Wiring) -> _Line:
    """As far as additions and multiplications with scalar constants reach."""
    while (reader := wiring.only_reader(line.name)) is not None:
        after = _after(line, reader, wiring)
        if after is None:
            break
        line = after
    return line


def _after(line: _Line, reader: onnx.NodeProto, wiring: Wiring) -> _Line | None:
    if reader.op_type not in ("Add", "Sub", "Mul", "Div"):
        return None
    first = reader.input[0] == line.name
    constant = scalar(wiring, reader.input[1] if first else reader.input[0])
    if constant is None:
        return None
    match reader.op_type, first:
        case "Mul", _:
            a, b = line.a * constant, line.b * constant
        case "Add", _:
            a, b = line.a, line.b + constant
        case "Sub", True:
            a, b = line.a, line.b - constant
        case "Sub", False:
            a, b = -line.a, constant - line.b
        case "Div", True if constant != 0.0:
            a, b = line.a / constant, line.b / constant
        case _:
            return None
    return _Line(name=reader.output[0], a=a, b=b)


def _sources(name: str, wiring: Wiring) -> list[tuple[str, float]]:
    """(x, k) with name = k * x: the tensor itself, then what it was made from by scalar constants."""
    found = [(name, 1.0)]
    while (node := made_by(wiring, found[-1][0], "Mul", "Div")) is not None:
        (left, right), factor = node.input, found[-1][1]
        by_right, by_left = scalar(wiring, right), scalar(wiring, left)
        if by_right is not None and not (node.op_type == "Div" and by_right == 0.0):
            found.append((left, factor * by_right if node.op_type == "Mul" else factor / by_right))
        elif by_left is not None and node.op_type == "Mul":
            found.append((right, factor * by_left))
        else:
            break
    return found


def _is_polynomial(name: str, x: str, wanted: Polynomial, wiring: Wiring) -> bool:
    found = polynomial(wiring, name, x)
    return found is not None and same_polynomial(found, wanted)

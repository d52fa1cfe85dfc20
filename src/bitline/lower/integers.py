"""Which values the integers of a graph can have: kernels store in 32 bits what ONNX computes with 64.

    a = CumSum(x); y = Add(a, 3)   -->   a in -2^30..2^30 - 1, y in -2^30 + 3..2^30 + 2

What the user gives (`x`) and what the host computes (`a`) is checked where it is stored, so its limits can be chosen:
32 bits, or as many as keep sums and products of it within 32. Everything after it follows by interval arithmetic. An
operator whose results could leave 32 bits all the same is left to the host.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import Final

import onnx
from onnx import TensorProto

from bitline.graph.model import attribute
from bitline.ir.kernels import LIMITS
from bitline.lower.qdq import QdqGraph

Interval = tuple[int, int]

LIMITS_OF: Final[Mapping[int, Interval]] = {
    TensorProto.BOOL: (0, 1),
    TensorProto.UINT8: LIMITS["u8"],
    TensorProto.INT8: LIMITS["s8"],
    TensorProto.INT16: LIMITS["s16"],
    TensorProto.INT32: LIMITS["s32"],
    TensorProto.INT64: LIMITS["s64"],
}
"""The integers of an ONNX type; other types are none of this."""
WIDE: Final = (TensorProto.INT32, TensorProto.INT64)
STORED_BITS: Final = 32
FEWEST_BITS: Final = 25
"""Of what is checked, the sign included: enough for everything that is counted, and for what float32 holds exactly."""
KEEPING: Final = (
    *("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Transpose", "Slice", "Split", "Expand", "Tile"),
    *("Gather", "GatherElements", "GatherND", "DepthToSpace", "SpaceToDepth"),
)
"""Operators whose results are values of their first operand."""
OPERANDS: Final[Mapping[str, int]] = {
    **dict.fromkeys(KEEPING, 1), "Cast": 1, "Where": 3, **dict.fromkeys(("Add", "Sub", "Mul", "Max", "Min", "Mod"), 2),
}  # fmt: skip
"""How many operands the values of a result follow from."""
PLACES: Final = {"ArgMax": 0, "ArgMin": 0, "NonZero": 0, "Shape": 0, "Size": 0, "TopK": 1, "MaxPool": 1}
"""Operators with a result, of this number, that counts elements of their first operand."""
WRAPPING: Final = ("Add", "Sub", "Mul")
"""Operators whose results leave a type that holds their operands: kernels saturate, ONNX wraps around."""


def within(interval: Interval, limits: Interval) -> bool:
    """Whether an interval lies in another."""
    return limits[0] <= interval[0] and interval[1] <= limits[1]


def _sum(a: Interval, b: Interval) -> Interval:
    return a[0] + b[0], a[1] + b[1]


def _difference(a: Interval, b: Interval) -> Interval:
    return a[0] - b[1], a[1] - b[0]


def _product(a: Interval, b: Interval) -> Interval:
    ends = [x * y for x in a for y in b]
    return min(ends), max(ends)


def _largest(a: Interval, b: Interval) -> Interval:
    return max(a[0], b[0]), max(a[1], b[1])


def _smallest(a: Interval, b: Interval) -> Interval:
    return min(a[0], b[0]), min(a[1], b[1])


def _remainder(_: Interval, b: Interval) -> Interval:
    return min(0, b[0] + 1), max(0, b[1] - 1)


BINARY: Final[Mapping[str, Callable[[Interval, Interval], Interval]]] = {
    "Add": _sum,
    "Sub": _difference,
    "Mul": _product,
    "Max": _largest,
    "Min": _smallest,
    "Mod": _remainder,
}


class IntegerRanges:
    """Intervals of the integers and truth values of a graph."""

    def __init__(self, graph: QdqGraph) -> None:
        self.graph = graph
        nodes = graph.proto.graph.node
        self._nodes = [node for node in nodes if any(graph.types.get(name) in LIMITS_OF for name in node.output)]
        self._bits: dict[str, int] = {}  # of what is checked against fewer than 32
        self._exact: dict[str, Interval] = {}  # of results, before they wrap around in their type
        self._origins: dict[str, frozenset[str]] = {}  # what is checked, and lies behind a tensor
        self._follow()

    def narrow(self) -> None:
        """Choose the limits of what is checked so that sums and products stay within 32 bits where that is possible."""
        for node in self._nodes:
            if node.op_type not in WRAPPING or self.fits(node):
                continue
            origins, best = self._origins[node.output[0]], self._bits
            for bits in range(FEWEST_BITS, STORED_BITS):
                before = self._bits
                self._bits = best | {name: min(bits, best.get(name, bits)) for name in origins}
                self._follow()
                if not self.fits(node):
                    self._bits = before
                    break
            self._follow()

    def fits(self, node: onnx.NodeProto) -> bool:
        """Whether a kernel, which saturates at 32 bits, computes the first result of a node exactly."""
        return within(self._exact[node.output[0]], LIMITS["s32"])

    def of(self, name: str) -> Interval:
        """The values that a tensor can have in ONNX."""
        limits = LIMITS_OF.get(self.graph.types.get(name, 0), LIMITS["s32"])
        exact = self._exact.get(name)
        if exact is None:
            constant = self.graph.initializers.get(name)
            if constant is None or not constant.size:
                return self._checked(name)
            exact = self._exact[name] = int(constant.min()), int(constant.max())
        return exact if within(exact, limits) else limits

    def to_check(self, name: str) -> Interval | None:
        """What a result of the host has to lie in to be read by kernels; None where it cannot lie elsewhere."""
        kind, node, interval = self.graph.types.get(name, 0), self.graph.producer.get(name), self.of(name)
        sure = within(LIMITS_OF.get(kind, LIMITS["s64"]), interval) or (node is not None and _counts(node, name))
        return None if sure else interval

    def _checked(self, name: str) -> Interval:
        """The limits of what the user gives or the host computes."""
        kind = self.graph.types.get(name, 0)
        narrow = -(1 << (self._bits.get(name, STORED_BITS) - 1)), (1 << (self._bits.get(name, STORED_BITS) - 1)) - 1
        return narrow if kind in WIDE else LIMITS_OF.get(kind, narrow)

    def _follow(self) -> None:
        for node in self._nodes:
            behind = frozenset[str]().union(*(self._origins.get(name, {name}) for name in node.input if name))
            for name in node.output:
                if self.graph.types.get(name) not in LIMITS_OF:
                    continue
                exact = self._computed(node, name)
                self._exact[name] = self._checked(name) if exact is None else exact
                self._origins[name] = frozenset({name}) if exact is None else behind

    def _computed(self, node: onnx.NodeProto, name: str) -> Interval | None:
        """What follows from the operands; None where nothing does."""
        if _counts(node, name):
            return 0, prod(self.graph.shapes[node.input[0]])
        if any(self.graph.types.get(read) not in LIMITS_OF for read in node.input[: OPERANDS.get(node.op_type, 0)]):
            return None
        operands = [self.of(read) for read in node.input[: OPERANDS.get(node.op_type, 0)]]
        match node.op_type, operands:
            case "Where", [_, a, b]:
                return min(a[0], b[0]), max(a[1], b[1])
            case ("Add" | "Sub" | "Mul" | "Max" | "Min" | "Mod") as kind, [a, b] if not attribute(node, "fmod", 0):
                return BINARY[kind](a, b)
            case kind, [a] if kind == "Cast" or self.graph.types.get(node.input[0]) == self.graph.types.get(name):
                return a
            case _:
                return None


def _counts(node: onnx.NodeProto, name: str) -> bool:
    """Whether a result counts elements of the first operand."""
    place = PLACES.get(node.op_type)
    return place is not None and place < len(node.output) and node.output[place] == name

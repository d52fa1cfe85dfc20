"""What lowering knows so far: tensors, kernels, values as views, constants; and what every operator needs of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np
import numpy.typing as npt
import onnx

from bitline.core.canonical import sha256
from bitline.ir import index_map
from bitline.ir.index_map import IndexMap, identity
from bitline.ir.kernels import (
    LIMITS,
    NUMPY,
    ArrayMath,
    Constants,
    Dtype,
    Kernel,
    Move,
    Part,
    Port,
    Repeat,
    Tensor,
)
from bitline.lower.qdq import DTYPES, QdqGraph, Value
from bitline.lower.stored import Form, stored_view

Ints = npt.NDArray[np.int64]
Reals = npt.NDArray[np.float64]
MakeMath = Callable[[int, int, int, bool], ArrayMath]
"""(rows, cols, groups, signed input) -> what the target's arrays compute."""
UnaryTable = Callable[[onnx.NodeProto, npt.NDArray[np.float32]], npt.NDArray[np.float32]]
"""Evaluates one unary float operator on a vector."""


DOUBLE_BITS = 53
MOST_SOFTMAX_BITS = 20
"""So that 2 * 2^24 * 2^(16 + 20), the largest numerator of a softmax, stays inside 64 bits."""


class Unfit(Exception):
    """No unit of the chip does this node: the reason, for people. The host may."""

    def __init__(self, node: onnx.NodeProto, why: str, help: str = "") -> None:
        super().__init__(why)
        self.node, self.why, self.help = node, why, help


@dataclass(frozen=True, slots=True, kw_only=True)
class Scalar:
    """An operand that is one number."""

    real: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a kernel shall make: the ONNX tensor `y` with its grid, clamped to low..high, of ONNX shape `shape`."""

    y: Tensor
    nodes: tuple[str, ...]
    shape: tuple[int, ...]
    low: int
    high: int

    @property
    def name(self) -> str:
        """The name of the kernel."""
        return self.nodes[0]

    def reals(self) -> tuple[float, float]:
        """The smallest and the largest value that the result can stand for."""
        low, high = ((limit - self.y.zero_point) * self.y.scale for limit in (self.low, self.high))
        return low, high


class Lowering:
    """The state of one lowering."""

    def __init__(self, graph: QdqGraph, make_math: MakeMath, unary: UnaryTable) -> None:
        self.graph, self.make_math, self.unary = graph, make_math, unary
        self.tensors: dict[str, Tensor] = {}
        self.kernels: list[Kernel] = []
        self.ports: list[Port] = []
        self.constants: Constants = {}
        self.values: dict[str, Value] = {}
        self.quantised: dict[str, Value] = {}
        self.names: set[str] = set()
        self.matrices: dict[tuple[str, ArrayMath], str] = {}
        self.repeats: list[Repeat] = []

    # -- names, so that two kernels never share one --------------------------------------------------------------------

    def free(self, wanted: str) -> str:
        """`wanted`, or `wanted.1`, `wanted.2`, ... where a kernel, tensor or constant has that name."""
        name, count = wanted, 0
        while name in self.names:
            count += 1
            name = f"{wanted}.{count}"
        self.names.add(name)
        return name

    # -- trying ----------------------------------------------------------------------------------------------------

    def attempt(self, build: Callable[[], None]) -> Unfit | None:
        """Run `build`; where no unit fits, everything is as before and the reason comes back."""
        values, quantised, names = dict(self.values), dict(self.quantised), set(self.names)
        counts = len(self.kernels), len(self.tensors), len(self.constants), len(self.repeats)
        try:
            build()
        except Unfit as unfit:
            self.values, self.quantised, self.names = values, quantised, names
            del self.kernels[counts[0] :]
            del self.repeats[counts[3] :]
            for table, count in ((self.tensors, counts[1]), (self.constants, counts[2])):
                for name in list(table)[count:]:
                    del table[name]
            return unfit
        return None

    def from_host(self, name: str) -> Value | None:
        """Integers and truth values that the host computes for a kernel that reads them; None for anything else."""
        return None

    # -- values ----------------------------------------------------------------------------------------------------

    def shape(self, name: str) -> tuple[int, ...]:
        return self.graph.shapes[name]

    def tensor(self, value: Value) -> Tensor:
        return self.tensors[value.tensor]

    def dynamic(self, node: onnx.NodeProto, place: int) -> Value:
        """An operand that is an activation."""
        name = node.input[place] if place < len(node.input) else ""
        value = self.values.get(name) or self.from_host(name)
        if value is None:
            raise Unfit(node, f"operand {name!r} is not quantised")
        if self.tensor(value).dtype in ("f32", "s64"):
            raise Unfit(node, f"operand {name!r} comes from the host as {self.tensor(value).dtype}")
        return value

    def operand(self, node: onnx.NodeProto, place: int) -> Value | Scalar:
        """An activation, a number, or a constant tensor, which is stored."""
        name = node.input[place]
        if name in self.values or self.from_host(name) is not None:
            return self.dynamic(node, place)
        constant = self.graph.constant(name)
        if constant is None:
            raise Unfit(node, f"operand {name!r} is not quantised")
        if constant.values.size == 1:
            real = (float(constant.values.reshape(-1)[0]) - float(constant.zero_point[0])) * float(constant.scale[0])
            return Scalar(real=real)
        if constant.values.size == 0:
            raise Unfit(node, f"operand {name!r} is empty")
        dtype = DTYPES.get(constant.values.dtype)
        if dtype is not None and constant.scale.size == 1 and name not in self.graph.initializers:
            values, scale, zero = constant.values, float(constant.scale[0]), int(constant.zero_point[0])
            return self.constant_tensor(name, values, dtype, scale, zero)
        if constant.values.dtype.kind in "iub" and name in self.graph.initializers:
            return self.constant_tensor(name, constant.values.astype(np.int64), "s32", 1.0, 0)
        if constant.scale.size > 1:
            raise Unfit(node, f"constant {name!r} has a scale per channel")
        reals = (constant.values.astype(np.float64) - constant.zero_point[0]) * constant.scale[0]
        return self.real_constant(node, name, reals)

    def real_constant(self, node: onnx.NodeProto, name: str, reals: Reals) -> Value:
        """Reals as int16, the largest on the largest step."""
        most = float(np.abs(reals).max())
        if not np.isfinite(most):
            raise Unfit(node, f"constant {name!r} is infinite")
        scale = most / LIMITS["s16"][1] if most else 1.0
        return self.constant_tensor(name, np.rint(reals / scale).astype(np.int64), "s16", scale, 0)

    def constant_tensor(
        self, name: str, values: npt.NDArray[np.generic], dtype: Dtype, scale: float, zero: int
    ) -> Value:
        """Integers of an ONNX shape as a stored tensor that never changes, once for each name."""
        known = f"{name}.stored"
        stored, view = stored_view(values.shape, "rows")
        if known not in self.tensors:
            low, high = LIMITS[dtype]
            if values.size and not (low <= int(values.min()) and int(values.max()) <= high):
                raise Unfit(onnx.NodeProto(name=name), f"constant {name!r} has values beyond {dtype}")
            self.constants[known] = values.astype(NUMPY[dtype])
            self.tensors[known] = Tensor(
                name=known, shape=stored, dtype=dtype, scale=scale, zero_point=zero, onnx="", view=view, constant=known
            )
        return Value(tensor=known, view=view)

    def scalar_tensor(self, real: float) -> Value:
        """A number as a stored tensor of one element: its sign, its size as the scale."""
        sign = int(np.sign(real))
        return self.constant_tensor(f"number {real!r}", np.array(sign), "s8", abs(real) or 1.0, 0)

    # -- copies ----------------------------------------------------------------------------------------------------

    def plain(self, value: Value, form: Form, origin: str) -> Value:
        """The value stored in a form of its own, copied unless it lies so already."""
        shape = value.view.shape
        stored, view = stored_view(shape, form)
        held = self.tensor(value)
        if held.shape == stored and index_map.merge_digits(view) == index_map.merge_digits(value.view):
            return value
        return self.copied(value, stored, view, origin)

    def whole(self, value: Value, origin: str) -> Value:
        """The value as all of a tensor, copied where it is a part, or repeats."""
        if index_map.covers(value.view):
            return value
        return self.plain(value, "rows", origin)

    def copied(self, value: Value, stored: tuple[int, int, int], view: IndexMap, origin: str) -> Value:
        """A `Move` of a value into a tensor of its own, laid out as `view` says."""
        x = self.tensor(value)
        name = self.free(f"{x.name}.moved")
        part = Part(x=x.name, read=value.view, write=view)
        self.add_move(name, [part], replace(x, name=name, shape=stored, onnx="", view=view, constant=""), (origin,))
        return Value(tensor=name, view=view)

    def add_move(self, name: str, parts: Sequence[Part], y: Tensor, nodes: tuple[str, ...]) -> None:
        self.kernels.append(Move(name=self.free(f"{nodes[0]}.move"), nodes=nodes, parts=tuple(parts), y=name))
        self.tensors[name] = y

    def reshaped(self, value: Value, shape: tuple[int, ...], origin: str) -> Value:
        """The same elements in row-major order under another shape; copied where the view cannot say that."""
        view = index_map.reshape(value.view, shape)
        if not isinstance(view, IndexMap):
            size = prod(value.view.shape)
            flat = index_map.reshape(identity((1, 1, size)), value.view.shape)
            assert isinstance(flat, IndexMap), flat
            value = self.copied(value, (1, 1, size), flat, origin)
            view = index_map.reshape(value.view, shape)
            assert isinstance(view, IndexMap), view
        return Value(tensor=value.tensor, view=view)

    def sliced(self, value: Value, dim: int, start: int, count: int, step: int, origin: str) -> Value:
        """Part of one dimension; copied first where the view cannot say that."""
        view = index_map.take_slice(value.view, dim, start, count, step)
        if not isinstance(view, IndexMap):
            value = self.copied(value, *stored_view(value.view.shape, "rows"), origin)
            view = index_map.take_slice(value.view, dim, start, count, step)
            assert isinstance(view, IndexMap), view
        return Value(tensor=value.tensor, view=view)

    # -- results ---------------------------------------------------------------------------------------------------

    def finish(self, target: Target, stored: tuple[int, int, int], view: IndexMap) -> Tensor:
        """The result tensor, laid out as `view` says; what reads the ONNX tensor finds it."""
        y = replace(target.y, shape=stored, view=view)
        self.tensors[y.name] = y
        self.quantised[y.name] = Value(tensor=y.name, view=view)
        return y

    def matrix(self, weights: Ints, math: ArrayMath, wanted: str) -> str:
        """The constant that holds these weights: one for all kernels with the same weights and arithmetic, so that
        tied layers, and the samples of a batch, find them in the same arrays."""
        stored = np.ascontiguousarray(weights.astype(np.int8))
        key = (sha256(f"{stored.shape}".encode() + stored.tobytes()), math)
        known = self.matrices.get(key)
        if known is not None and known in self.constants:
            return known
        self.constants[wanted] = stored
        self.matrices[key] = wanted
        return wanted

    def bounds(self, node: onnx.NodeProto, y: Tensor) -> tuple[int, int]:
        """Relu and Clip as integer limits: quantisation is monotone, so clamping commutes with it."""
        low, high = LIMITS[y.dtype]
        if node.op_type == "Relu":
            return max(low, y.zero_point), high
        limits = [self.graph.initializers.get(i) if i else None for i in (*node.input[1:], "", "")][:2]
        given = [i for i in node.input[1:] if i]
        if any(i not in self.graph.initializers for i in given):
            raise Unfit(node, "its limits are no constants")
        ends = [
            int(np.clip(np.rint(float(v.reshape(-1)[0]) / y.scale) + y.zero_point, low, high)) if v is not None else d
            for v, d in zip(limits, (low, high), strict=True)
        ]
        return ends[0], ends[1]


Build = Callable[[Lowering, onnx.NodeProto, Target], None]
"""Makes the kernel of one operator. Raises `Unfit`."""


def name_of(node: onnx.NodeProto) -> str:
    """What people call a node."""
    return node.name or next((name for name in node.output if name), node.op_type)

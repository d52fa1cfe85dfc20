"""What lowering knows so far: tensors, kernels, values as views, constants; and what every operator needs of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import prod

import numpy as np
import numpy.typing as npt
import onnx

from bitline.ir import index_map
from bitline.ir.index_map import IndexMap, identity
from bitline.ir.kernels import (
    LIMITS,
    ArrayMath,
    Constants,
    Kernel,
    Move,
    Port,
    Tensor,
)
from bitline.lower.qdq import QdqGraph, Value
from bitline.lower.stored import stored_view

Ints = npt.NDArray[np.int64]
MakeMath = Callable[[int, int, int, bool], ArrayMath]
"""(rows, cols, groups, signed input) -> what the target's arrays compute."""
UnaryTable = Callable[[onnx.NodeProto, npt.NDArray[np.float32]], npt.NDArray[np.float32]]
"""Evaluates one unary float operator on a vector."""


DOUBLE_BITS = 53
MOST_SOFTMAX_BITS = 20
"""So that 2 * 2^24 * 2^(16 + 20), the largest numerator of a softmax, stays inside 64 bits."""


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
        self.refused: set[str] = set()

    def flattened(self, node: onnx.NodeProto, value: Value) -> Value:
        """A copy in the order of the ONNX tensor, for a reshape that splits what is stored across."""
        size = prod(value.view.shape)
        read = index_map.join_dims(value.view, [list(range(len(value.view.dims)))])
        view = index_map.reshape(identity((1, 1, size)), value.view.shape)
        assert isinstance(view, IndexMap), view
        return self.copied(node, value, index_map.lead(read, 2), view)

    def moved(self, node: onnx.NodeProto, place: int) -> bool:
        """Copy an operand into the plain stored form (`Move`), so that it can be read; False if it lies so already."""
        value = self.values[node.input[place]]
        shape = value.view.shape
        stored, plain = stored_view(shape)
        held = self.tensors[value.tensor].shape
        if held == stored and index_map.merge_digits(plain) == index_map.merge_digits(value.view):
            return False
        body = len(shape) - 1
        groups = {0: [[0]], 1: [[0], [1]], 2: [[0], [1], [2]]}.get(body, [[0, *range(2, body)], [body], [1]])
        read = index_map.join_dims(value.view, groups)
        self.values[node.input[place]] = self.copied(node, value, index_map.lead(read, 3 - len(groups)), plain)
        return True

    def copied(self, node: onnx.NodeProto, value: Value, read: IndexMap, view: IndexMap) -> Value:
        """A `Move` kernel that stores what `read` says; `view` takes the ONNX index to the copy."""
        x = self.tensors[value.tensor]
        name = f"{x.name}.moved{len(self.kernels)}"
        origin = node.name or node.output[0]
        self.kernels.append(
            Move(name=f"{origin}.move{len(self.kernels)}", nodes=(origin,), x=x.name, y=name, read=read)
        )
        self.tensors[name] = replace(x, name=name, shape=view.source, onnx="", view=identity(view.source))
        return Value(tensor=name, view=view)

    def unsupported(self, node: onnx.NodeProto) -> None:
        graph = self.graph
        missing = [i for i in node.input if i and i not in self.values and graph.constant(i) is None]
        if missing and all(graph.producer.get(i) is not None for i in missing):
            graph.problem(
                "BL0304",
                node,
                f"reads {missing[0]!r}, which is not quantised",
                "quantise every tensor between operators",
            )
        else:
            graph.problem(
                "BL0301",
                node,
                "is not supported between quantised tensors",
                "replace it, or leave it to the host before or after the network",
            )

    def bounds(self, node: onnx.NodeProto, y: Tensor) -> tuple[int, int] | None:
        """Relu and Clip as integer limits: quantisation is monotone, so clamping commutes with it."""
        low, high = LIMITS[y.dtype]
        if node.op_type == "Relu":
            return max(low, y.zero_point), high
        limits = [self.graph.initializers.get(i) if i else None for i in (*node.input[1:], "", "")][:2]
        given = [i for i in node.input[1:] if i]
        if any(i not in self.graph.initializers for i in given):
            self.graph.problem("BL0302", node, "has limits that are no constants", "export it with constant limits")
            return None
        ends = [
            int(np.clip(np.rint(float(v.reshape(-1)[0]) / y.scale) + y.zero_point, low, high)) if v is not None else d
            for v, d in zip(limits, (low, high), strict=True)
        ]
        return ends[0], ends[1]

    def finish(self, y: Tensor, view: IndexMap) -> None:
        self.tensors[y.name] = replace(y, view=view)
        self.quantised[y.name] = Value(tensor=y.name, view=view)

    def operand(self, node: onnx.NodeProto, place: int) -> Value | None:
        value = self.values.get(node.input[place])
        if value is None:
            self.unsupported(node)
        return value

    def too_fine(self, node: onnx.NodeProto) -> None:
        self.graph.problem(
            "BL0304", node, "has an output scale too far below that of its input", "quantise the model again"
        )


Build = Callable[[Lowering, onnx.NodeProto, tuple[str, ...], Tensor, int, int], None]
"""Makes the kernel of one operator: node, names, output tensor, clamp."""

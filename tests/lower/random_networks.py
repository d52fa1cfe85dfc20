"""Random small float networks of everything that bitline lowers: a seed gives the same network on every machine.

`Grown` starts from an image, a line, rows or a vector and appends steps that fit the newest tensor, whose kind follows
from its rank: [1, C, H, W], [1, C, L] and [1, T, K], [1, K].
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import prod

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

Floats = npt.NDArray[np.float32]
Attribute = int | float | str | list[int]

OPSET = 17
TABLES = ("Sigmoid", "Tanh", "HardSwish", "LeakyRelu", "Softplus")
LARGEST = 700
"""Elements of the largest tensor: the instruction-by-instruction oracle is slow."""


@dataclass
class Grown:
    """A network under construction. `shape` and `last` belong to the newest tensor, `given` to the input;
    `line`: the last axis of three is space."""

    rng: np.random.Generator
    shape: tuple[int, ...] = ()
    last: str = "x"
    line: bool = False
    given: tuple[int, ...] = ()
    nodes: list[onnx.NodeProto] = field(default_factory=list[onnx.NodeProto])
    constants: list[onnx.TensorProto] = field(default_factory=list[onnx.TensorProto])

    # -- building blocks ------------------------------------------------------------------------------------------

    def draw(self, low: int, high: int) -> int:
        """Uniform over low..high, both included."""
        return int(self.rng.integers(low, high + 1))

    def chance(self, share: float) -> bool:
        return bool(self.rng.random() < share)

    def constant(self, value: npt.NDArray[np.generic]) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(value, name))
        return name

    def weights(self, *shape: int) -> str:
        size = 1.5 / np.sqrt(prod(shape[1:]) or 1)
        return self.constant(self.rng.normal(0.05, size, shape).astype(np.float32))

    def integers(self, values: Sequence[int]) -> str:
        return self.constant(np.array(values, np.int64))

    def add(self, kind: str, shape: Sequence[int], *others: str, **attributes: Attribute) -> None:
        """Append a node that reads the newest tensor and `others`."""
        out = f"t{len(self.nodes)}"
        inputs = [self.last, *others]
        node = helper.make_node(kind, inputs, [out], name=f"{kind}_{len(self.nodes)}")
        node.attribute.extend(helper.make_attribute(key, value) for key, value in attributes.items())
        self.nodes.append(node)
        self.last, self.shape = out, tuple(shape)

    # -- steps ----------------------------------------------------------------------------------------------------

    def slide(self, size: int, *, taps: int, stride: int, dilation: int, pads: tuple[int, int]) -> int:
        """Outputs of a window along an axis; below 1 where it does not fit."""
        return (size + sum(pads) - dilation * (taps - 1) - 1) // stride + 1

    def conv(self) -> bool:
        """Any kernel, strides, dilations, one-sided pads and groups."""
        channels, *size = self.shape[1:]
        taps = [self.draw(1, 5) for _ in size]
        strides = [self.draw(1, 3) if self.chance(0.4) else 1 for _ in size]
        dilations = [self.draw(1, 2) for _ in size]
        before, after = ([self.draw(0, 2) for _ in size] for _ in range(2))
        outs = [
            self.slide(n, taps=k, stride=s, dilation=d, pads=(b, a))
            for n, k, s, d, b, a in zip(size, taps, strides, dilations, before, after, strict=True)
        ]
        possible = [g for g in (2, 3, 4, channels) if channels % g == 0]
        groups = possible[self.draw(0, len(possible) - 1)] if self.chance(0.45) else 1
        filters = groups * self.draw(1, 4 if groups > 4 else 24 // groups)
        if min(outs) < 1 or filters * prod(outs) > LARGEST:
            return False
        weights = [self.weights(filters, channels // groups, *taps)]
        if self.chance(0.7):
            weights.append(self.constant(self.rng.normal(0, 0.5, filters).astype(np.float32)))
        pads = [*before, *after]
        attributes: dict[str, Attribute] = {"strides": strides, "dilations": dilations, "group": groups, "pads": pads}
        self.add("Conv", (1, filters, *outs), *weights, **attributes)
        if self.chance(0.5):
            self.activation()
        return True

    def padded_conv(self) -> bool:
        channels, *size = self.shape[1:]
        before, after = ([self.draw(0, 2) for _ in size] for _ in range(2))
        grown = [n + b + a for n, b, a in zip(size, before, after, strict=True)]
        if channels * prod(grown) > LARGEST:
            return False
        self.add("Pad", (1, channels, *grown), self.integers([0, 0, *before, 0, 0, *after]))
        return self.conv()

    def pool(self) -> bool:
        channels, *size = self.shape[1:]
        kind = "MaxPool" if self.chance(0.5) else "AveragePool"
        taps = [self.draw(1, 3) for _ in size]
        strides = [self.draw(1, 3) for _ in size]
        before, after = ([self.draw(0, k - 1) for k in taps] for _ in range(2))
        outs = [
            self.slide(n, taps=k, stride=s, dilation=1, pads=(b, a))
            for n, k, s, b, a in zip(size, taps, strides, before, after, strict=True)
        ]
        if min(outs) < 1:
            return False
        more: dict[str, Attribute] = {"count_include_pad": self.draw(0, 1)} if kind == "AveragePool" else {}
        pads = [*before, *after]
        self.add(kind, (1, channels, *outs), kernel_shape=taps, strides=strides, pads=pads, **more)
        return True

    def whole_pool(self) -> bool:
        channels = self.shape[1]
        if self.chance(0.5):
            self.add("GlobalAveragePool", (1, channels, 1, 1))
        elif self.chance(0.5):
            self.add("ReduceMean", (1, channels, 1, 1), axes=[2, 3], keepdims=1)
        else:
            self.add("ReduceMean", (1, channels), axes=[2, 3], keepdims=0)
        return True

    def activation(self) -> bool:
        """Relu or Clip: fused where it follows a multiplication, a table elsewhere."""
        if self.chance(0.6):
            self.add("Relu", self.shape)
            return True
        low, high = (0.0, 6.0) if self.chance(0.5) else (-0.3, 0.8)
        bounds = [self.constant(np.array(v, np.float32)) for v in (low, high)]
        self.add("Clip", self.shape, *bounds)
        return True

    def table(self) -> bool:
        self.add(TABLES[self.draw(0, len(TABLES) - 1)], self.shape)
        return True

    def branch(self) -> bool:
        """Add of the newest tensor and a step of its own, or of itself."""
        before, shape, line = self.last, self.shape, self.line
        if len(shape) == 2 or (len(shape) == 3 and not line):
            self.add("MatMul", shape, self.weights(shape[-1], shape[-1]))
        elif self.chance(0.7):
            taps = [3] * (len(shape) - 2)
            pads: Attribute = [1] * (2 * len(taps))
            self.add("Conv", shape, self.weights(shape[1], shape[1], *taps), pads=pads)
        else:
            self.table()
        self.add("Add", shape, before)
        if self.chance(0.5):
            self.activation()
        return True

    def flatten(self) -> bool:
        if self.chance(0.5):
            self.add("Flatten", (1, prod(self.shape)), axis=1)
        else:
            self.add("Reshape", (1, prod(self.shape)), self.integers([1, -1]))
        return True

    def rows_of_image(self) -> bool:
        """[1, C, H, W] -> [1, HW, C], or rows of pixels in another order, for a MatMul."""
        _, channels, height, width = self.shape
        match self.draw(0, 2):
            case 0:
                self.add("Reshape", (1, channels, height * width), self.integers([1, channels, -1]))
                self.add("Transpose", (1, height * width, channels), perm=[0, 2, 1])
            case 1:
                self.add("Transpose", (1, width, height, channels), perm=[0, 3, 2, 1])
                self.add("Reshape", (1, width * height, channels), self.integers([1, -1, channels]))
            case _:
                self.add("Transpose", (1, height, width, channels), perm=[0, 2, 3, 1])
                self.add("Reshape", (1, height, width * channels), self.integers([1, height, -1]))
        return self.linear()

    def turned_vector(self) -> bool:
        """A Transpose, then a Flatten: the rows of the following Gemm are permuted."""
        order = [0, *(1 + self.rng.permutation(len(self.shape) - 1)).tolist()]
        self.add("Transpose", [self.shape[i] for i in order], perm=order)
        self.add("Flatten", (1, prod(self.shape)), axis=1)
        return self.linear()

    def linear(self) -> bool:
        """MatMul, or Gemm where the newest tensor is a vector."""
        rows, cols = self.shape[-1], self.draw(1, 40)
        if len(self.shape) == 2 and self.chance(0.6):
            turned = self.draw(0, 1)
            others = [self.weights(cols, rows) if turned else self.weights(rows, cols)]
            if self.chance(0.7):
                others.append(self.constant(self.rng.normal(0, 0.5, cols).astype(np.float32)))
            self.add("Gemm", (1, cols), *others, transB=turned)
        else:
            self.add("MatMul", (*self.shape[:-1], cols), self.weights(rows, cols))
        if self.chance(0.4):
            self.activation()
        return True

    def softmax(self) -> bool:
        self.add("Softmax", self.shape, axis=-1)
        return True

    def image_of_line(self) -> bool:
        _, channels, length = self.shape
        self.add("Reshape", (1, channels, 1, length), self.integers([1, channels, 1, length]))
        self.line = False
        return True

    # -- growing --------------------------------------------------------------------------------------------------

    def steps(self) -> list[tuple[float, Callable[[], bool]]]:
        """What may follow the newest tensor, with its weight."""
        common = [(0.6, self.activation), (0.7, self.table), (0.9, self.branch)]
        if len(self.shape) == 4:
            ways = [(4.0, self.conv), (0.8, self.padded_conv), (2.0, self.pool), (0.7, self.whole_pool)]
            return [*ways, (0.6, self.flatten), (0.6, self.turned_vector), (0.7, self.rows_of_image), *common]
        if len(self.shape) == 3 and self.line:
            return [(4.0, self.conv), (0.7, self.image_of_line), (0.6, self.turned_vector), *common]
        if len(self.shape) == 3:
            return [(4.0, self.linear), (0.5, self.softmax), (0.6, self.turned_vector), (0.5, self.flatten), *common]
        return [(4.0, self.linear), (0.5, self.softmax), *common]

    def start(self) -> None:
        match self.rng.choice(["image", "line", "rows", "vector"], p=[0.7, 0.12, 0.11, 0.07]):
            case "image":
                self.shape = (1, self.draw(1, 12), self.draw(1, 9), self.draw(1, 9))
            case "line":
                self.shape, self.line = (1, self.draw(1, 8), self.draw(1, 24)), True
            case "rows":
                self.shape = (1, self.draw(1, 6), self.draw(1, 40))
            case _:
                self.shape = (1, self.draw(1, 90))
        self.given = self.shape
        while (len(self.shape) == 4 or self.line) and not self.conv():
            pass

    def grow(self, count: int) -> None:
        """Append `count` steps."""
        for _ in range(count):
            ways = self.steps()
            shares = np.array([share for share, _ in ways])
            while not ways[int(self.rng.choice(len(ways), p=shares / shares.sum()))][1]():
                pass


def random_network(seed: int) -> onnx.ModelProto:
    """A float network of 2 to 6 steps; its input is `x`."""
    grown = Grown(rng=np.random.default_rng(seed))
    grown.start()
    grown.grow(grown.draw(1, 5))
    graph = helper.make_graph(
        grown.nodes,
        f"random_{seed}",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, grown.given)],
        [helper.make_tensor_value_info(grown.last, onnx.TensorProto.FLOAT, grown.shape)],
        grown.constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model

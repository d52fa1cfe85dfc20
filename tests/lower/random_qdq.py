"""Random QDQ networks of every operator that kernels compute, on every grid: a seed gives the same one everywhere.

A float graph of small tensors is drawn first, with inputs of every type. ONNX Runtime says how far each tensor reaches;
then most of them get a quantised grid of 8 or 16 bits, some the grid of a view's source, and some stay float, which
puts the host between kernels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Literal

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from bitline.engines.ort import Session, expose

Array = npt.NDArray[np.generic]
Attribute = int | float | str | list[int]
Kind = Literal["real", "whole", "truth"]

OPSET = 21
LARGEST = 400
"""Elements of the largest tensor: the instruction-by-instruction oracle is slow."""
GRIDS: dict[str, tuple[type[np.generic], int, int]] = {
    "u8": (np.uint8, 0, 255),
    "s8": (np.int8, -128, 127),
    "s16": (np.int16, -32768, 32767),
}
UNARY = ("Relu", "Sigmoid", "Tanh", "HardSwish", "LeakyRelu", "Abs", "Neg", "Erf", "Softplus", "Gelu")
ON_HOST = ("LogSoftmax", "Hardmax", "LpNormalization", "MeanVarianceNormalization")
ELEMENT = {"real": TensorProto.FLOAT, "whole": TensorProto.INT64, "truth": TensorProto.BOOL}


@dataclass(frozen=True, slots=True)
class Node:
    """A tensor of the float graph; `view`: its values are those of its source, as they are."""

    name: str
    shape: tuple[int, ...]
    kind: Kind = "real"
    view: bool = False


@dataclass
class Sketch:
    """A float graph under construction."""

    rng: np.random.Generator
    made: list[Node] = field(default_factory=list[Node])
    given: list[Node] = field(default_factory=list[Node])
    nodes: list[onnx.NodeProto] = field(default_factory=list[onnx.NodeProto])
    constants: list[onnx.TensorProto] = field(default_factory=list[onnx.TensorProto])
    loose: set[str] = field(default_factory=set[str])
    """Real tensors that stay float."""

    # -- building blocks ------------------------------------------------------------------------------------------

    def draw(self, low: int, high: int) -> int:
        """Uniform over low..high, both included."""
        return int(self.rng.integers(low, high + 1))

    def chance(self, share: float) -> bool:
        return bool(self.rng.random() < share)

    def one_of(self, *choices: str) -> str:
        return choices[self.draw(0, len(choices) - 1)]

    def constant(self, value: Array) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(value, name))
        return name

    def integers(self, *values: int) -> str:
        return self.constant(np.array(values, np.int64))

    def reals(self, shape: Sequence[int], *, low: float = -1.5, high: float = 1.5) -> str:
        """A constant operand: floats, or quantised to 8 bits."""
        values = self.rng.uniform(low, high, shape).astype(np.float32)
        if self.chance(0.6):
            return self.constant(values)
        scale = self.constant(np.array(max(abs(low), abs(high)) / 127, np.float32))
        steps = np.rint(values / np.float32(max(abs(low), abs(high)) / 127)).astype(np.int8)
        return self.dequantised(self.constant(steps), scale)

    def weights(self, shape: Sequence[int], axis: int) -> str:
        """Constant int8 weights with a scale per index of `axis`."""
        values = self.rng.integers(-127, 128, shape).astype(np.int8)
        scales = self.rng.uniform(0.5, 1.5, shape[axis]) / 127 / np.sqrt(max(1, prod(shape) // shape[axis]))
        return self.dequantised(self.constant(values), self.constant(scales.astype(np.float32)), axis=axis)

    def dequantised(self, values: str, scale: str, axis: int | None = None) -> str:
        out = f"d{len(self.nodes)}"
        self.nodes.append(helper.make_node("DequantizeLinear", [values, scale], [out], name=out, axis=axis))
        return out

    def add(
        self, op: str, inputs: Sequence[str], shape: Sequence[int], *, kind: Kind = "real", view: bool = False,
        outputs: int = 1, **attributes: Attribute,
    ) -> Node:  # fmt: skip
        """Append a node and the tensor that it makes, the first of its outputs."""
        out = f"t{len(self.nodes)}"
        names = [out, *(f"{out}.{i}" for i in range(1, outputs))]
        node = helper.make_node(op, list(inputs), names, name=f"{op}_{len(self.nodes)}")
        node.attribute.extend(helper.make_attribute(key, value) for key, value in attributes.items())
        self.nodes.append(node)
        made = Node(out, tuple(shape), kind, view)
        self.made.append(made)
        return made

    def newest(self, *, rank: int = 0) -> Node:
        """A real tensor, most often the newest."""
        fit = [t for t in self.made if t.kind == "real" and (not rank or len(t.shape) == rank)]
        if not fit:
            return self.newest()
        return fit[-1] if self.chance(0.75) else fit[self.draw(0, len(fit) - 1)]

    def part_of(self, shape: Sequence[int]) -> tuple[int, ...]:
        """A shape that broadcasts to `shape`: some axes 1, some of the first left out."""
        kept = [n if self.chance(0.6) else 1 for n in shape]
        return tuple(kept[self.draw(0, len(kept)) if self.chance(0.3) else 0 :]) or (1,)

    def partner(self, x: Node) -> str:
        """What a tensor is combined with: another one, its own mean, a constant."""
        alike = [t.name for t in self.made if t.kind == "real" and t.shape == x.shape]
        match self.draw(0, 4):
            case 0 | 1:
                return alike[self.draw(0, len(alike) - 1)]
            case 2:
                axes = self.axes(x.shape)
                shape = [1 if i in axes else n for i, n in enumerate(x.shape)]
                return self.add("ReduceMean", [x.name, self.integers(*axes)], shape, keepdims=1).name
            case _:
                return self.reals(self.part_of(x.shape))

    def axes(self, shape: Sequence[int]) -> list[int]:
        chosen = [i for i in range(len(shape)) if self.chance(0.5)]
        return chosen or [self.draw(0, len(shape) - 1)]

    # -- element by element ---------------------------------------------------------------------------------------

    def unary(self) -> bool:
        x = self.newest()
        self.add(UNARY[self.draw(0, len(UNARY) - 1)], [x.name], x.shape)
        return True

    def binary(self) -> bool:
        x = self.newest()
        other = self.partner(x)
        operands = [other, x.name] if self.chance(0.4) else [x.name, other]
        self.add(self.one_of("Add", "Sub", "Mul", "Mul", "Max", "Min"), operands, x.shape)
        return True

    def extreme(self) -> bool:
        x = self.newest()
        self.add(self.one_of("Max", "Min", "Sum"), [x.name, self.partner(x), self.partner(x)], x.shape)
        return True

    def divide(self) -> bool:
        """By what never comes near 0 on its grid."""
        x = self.newest()
        if self.chance(0.4):
            divisor = self.reals(self.part_of(x.shape), low=0.5, high=2.0)
        else:
            divisor = self.add(
                "Clip",
                [x.name, self.constant(np.array(0.4, np.float32)), self.constant(np.array(3, np.float32))],
                x.shape,
            )
            divisor = divisor.name
        self.add("Div", [x.name, divisor], x.shape)
        return True

    def prelu(self) -> bool:
        x = self.newest()
        self.add("PRelu", [x.name, self.reals(self.part_of(x.shape))], x.shape)
        return True

    def where(self) -> bool:
        x = self.newest()
        condition = self.truth(self.part_of(x.shape))
        branches = [x.name, self.reals(()) if self.chance(0.4) else self.partner(x)]
        self.add("Where", [condition, *(reversed(branches) if self.chance(0.5) else branches)], x.shape)
        return True

    # -- integers and truth values --------------------------------------------------------------------------------

    def input_of(self, shape: tuple[int, ...], kind: Kind) -> Node:
        """A graph input, an old one where there is one."""
        for known in self.given:
            if known.shape == shape and known.kind == kind:
                return known
        node = Node(f"{kind}{len(self.given)}", shape, kind)
        self.given.append(node)
        return node

    def whole(self, shape: tuple[int, ...]) -> str:
        """Integers that the user gives, perhaps computed with."""
        x = self.input_of(shape, "whole")
        if self.chance(0.5):
            return x.name
        match self.draw(0, 3):
            case 0:
                return self.add("Add", [x.name, self.integers(self.draw(-3, 3))], shape, kind="whole").name
            case 1:
                return self.add("Mod", [x.name, self.integers(self.draw(2, 5))], shape, kind="whole").name
            case 2:
                return self.add("Mul", [x.name, self.integers(self.draw(-2, 2))], shape, kind="whole").name
            case _:
                low = self.truth(shape)
                return self.add("Where", [low, x.name, self.integers(1)], shape, kind="whole").name

    def truth(self, shape: tuple[int, ...]) -> str:
        """A mask: given, compared, or turned."""
        match self.draw(0, 3):
            case 0:
                return self.input_of(shape, "truth").name
            case 1:
                x = self.input_of(shape, "whole")
                return self.add("Equal", [x.name, self.integers(self.draw(0, 4))], shape, kind="truth").name
            case 2:
                x = self.input_of(shape, "truth")
                return self.add("Not", [x.name], shape, kind="truth").name
            case _:
                x = self.input_of(shape, "whole")
                return self.add("Cast", [x.name], shape, kind="truth", to=TensorProto.BOOL).name

    def embedding(self) -> bool:
        """Rows of a table, chosen by integers of the user: given ones are -3..12, computed ones wrap around."""
        shape = (self.draw(1, 2), self.draw(1, 5))
        table = self.reals((self.draw(13, 16), self.draw(1, 8)))
        width = self.size_of(table)[1]
        chosen = self.whole(shape)
        if chosen not in {given.name for given in self.given}:
            chosen = self.add("Mod", [chosen, self.integers(self.draw(3, 13))], shape, kind="whole").name
        self.add("Gather", [table, chosen], (*shape, width))
        return True

    def size_of(self, constant: str) -> tuple[int, ...]:
        sizes = {t.name: tuple(t.dims) for t in self.constants}
        return sizes.get(constant) or sizes[next(n.input[0] for n in self.nodes if n.output[0] == constant)]

    # -- views and moves ------------------------------------------------------------------------------------------

    def reshape(self) -> bool:
        x = self.newest()
        size = prod(x.shape)
        first = [n for n in range(1, size + 1) if size % n == 0][self.draw(0, 1) if size > 1 else 0]
        rest = size // first
        second = next(n for n in range(max(1, int(rest**0.5)), 0, -1) if rest % n == 0)
        shape = [(first, rest), (1, first, rest), (1, second, first, rest // second)][self.draw(0, 2)]
        self.add("Reshape", [x.name, self.integers(*shape)], shape, view=True)
        return True

    def transpose(self) -> bool:
        x = self.newest()
        order = [int(i) for i in self.rng.permutation(len(x.shape))]
        self.add("Transpose", [x.name], [x.shape[i] for i in order], view=True, perm=order)
        return True

    def slice(self) -> bool:
        x = self.newest()
        axis = self.draw(0, len(x.shape) - 1)
        size, step = x.shape[axis], int(self.rng.choice([1, 1, 2, -1, -2]))
        start = self.draw(0, size - 1)
        end = (
            self.draw(start + 1, size) if step > 0 else (self.draw(0, start - 1) if start and self.chance(0.5) else -99)
        )
        count = len(range(size)[slice(start, end if end >= 0 else None, step)])
        if not count:
            return False
        places = [self.integers(n) for n in (start, end, axis, step)]
        shape = [count if i == axis else n for i, n in enumerate(x.shape)]
        self.add("Slice", [x.name, *places], shape, view=True)
        return True

    def split(self) -> bool:
        x = self.newest()
        axis = self.draw(0, len(x.shape) - 1)
        if x.shape[axis] < 2:
            return False
        cut = self.draw(1, x.shape[axis] - 1)
        parts = self.integers(cut, x.shape[axis] - cut)
        sizes = [[n if i == axis else s for i, s in enumerate(x.shape)] for n in (cut, x.shape[axis] - cut)]
        first = self.add("Split", [x.name, parts], sizes[0], view=True, outputs=2, axis=axis)
        self.made.append(Node(f"{first.name}.1", tuple(sizes[1]), "real", view=True))
        return True

    def gather(self) -> bool:
        x = self.newest()
        axis = self.draw(0, len(x.shape) - 1)
        places = self.rng.integers(-x.shape[axis], x.shape[axis], self.draw(1, 4)).astype(np.int64)
        shape = [places.size if i == axis else n for i, n in enumerate(x.shape)]
        self.add("Gather", [x.name, self.constant(places)], shape, view=True, axis=axis)
        return True

    def expand(self) -> bool:
        x = self.newest()
        shape = [self.draw(1, 3) if n == 1 else n for n in x.shape]
        if prod(shape) > LARGEST:
            return False
        self.add("Expand", [x.name, self.integers(*shape)], shape, view=True)
        return True

    def tile(self) -> bool:
        x = self.newest()
        times = [self.draw(1, 2) for _ in x.shape]
        if prod(x.shape) * prod(times) > LARGEST:
            return False
        shape = [n * t for n, t in zip(x.shape, times, strict=True)]
        self.add("Tile", [x.name, self.integers(*times)], shape, view=True)
        return True

    def resize(self) -> bool:
        x = self.newest(rank=4)
        if len(x.shape) != 4:
            return False
        shape = (*x.shape[:2], self.draw(1, 6), self.draw(1, 6))
        if prod(shape) > LARGEST:
            return False
        way = self.one_of("asymmetric", "half_pixel", "align_corners")
        nearest = self.one_of("floor", "ceil", "round_prefer_floor", "round_prefer_ceil")
        self.add(
            "Resize", [x.name, "", "", self.integers(*shape)], shape, view=True,
            mode="nearest", coordinate_transformation_mode=way, nearest_mode=nearest,
        )  # fmt: skip
        return True

    def depth(self) -> bool:
        """DepthToSpace, or back."""
        x = self.newest(rank=4)
        if len(x.shape) != 4:
            return False
        batch, channels, height, width = x.shape
        if channels % 4 == 0:
            shape = (batch, channels // 4, 2 * height, 2 * width)
            self.add("DepthToSpace", [x.name], shape, view=True, blocksize=2, mode=self.one_of("DCR", "CRD"))
        elif height % 2 == width % 2 == 0:
            self.add("SpaceToDepth", [x.name], (batch, 4 * channels, height // 2, width // 2), view=True, blocksize=2)
        else:
            return False
        return True

    def concat(self) -> bool:
        x = self.newest()
        axis = self.draw(0, len(x.shape) - 1)
        fit = [
            t for t in self.made
            if t.kind == "real" and len(t.shape) == len(x.shape)
            and all(a == b for i, (a, b) in enumerate(zip(t.shape, x.shape, strict=True)) if i != axis)
        ]  # fmt: skip
        operands = [x, *(fit[self.draw(0, len(fit) - 1)] for _ in range(self.draw(0, 2)))]
        names, sizes = [t.name for t in operands], [t.shape[axis] for t in operands]
        if self.chance(0.3) or len(names) == 1:
            shape = [2 if i == axis else n for i, n in enumerate(x.shape)]
            names, sizes = [*names, self.reals(shape)], [*sizes, 2]
        shape = [sum(sizes) if i == axis else n for i, n in enumerate(x.shape)]
        if prod(shape) > LARGEST:
            return False
        self.add("Concat", names, shape, axis=axis)
        return True

    def pad(self) -> bool:
        x = self.newest()
        mode = self.one_of("constant", "edge", "reflect", "wrap")
        most = [min(2, n - 1) if mode in ("reflect", "wrap") else 2 for n in x.shape]
        before, after = ([self.draw(0, m) if self.chance(0.6) else 0 for m in most] for _ in range(2))
        shape = [n + b + a for n, b, a in zip(x.shape, before, after, strict=True)]
        if prod(shape) > LARGEST or shape == list(x.shape):
            return False
        inputs = [x.name, self.integers(*before, *after)]
        if mode == "constant" and self.chance(0.6):
            inputs.append(self.constant(np.array(self.rng.uniform(-1, 1), np.float32)))
        self.add("Pad", inputs, shape, mode=mode)
        return True

    # -- where elements meet --------------------------------------------------------------------------------------

    def reduce(self) -> bool:
        x = self.newest()
        axes, keep = self.axes(x.shape), self.draw(0, 1)
        shape = [1 if i in axes else n for i, n in enumerate(x.shape) if keep or i not in axes]
        if not shape:
            return False
        kind = self.one_of("ReduceMean", "ReduceSum", "ReduceMax")
        self.add(kind, [x.name, self.integers(*axes)], shape, keepdims=keep)
        return True

    def softmax(self) -> bool:
        x = self.newest()
        self.add("Softmax", [x.name], x.shape, axis=self.draw(-len(x.shape), len(x.shape) - 1))
        return True

    def norm(self) -> bool:
        x = self.newest()
        axis = self.draw(-len(x.shape), -1)
        size = x.shape[axis:]
        if prod(size) < 2:
            return False
        inputs = [x.name, self.constant(self.rng.uniform(0.5, 1.5, size).astype(np.float32))]
        if self.chance(0.6):
            inputs.append(self.constant(self.rng.uniform(-1, 1, size).astype(np.float32)))
        self.add("LayerNormalization", inputs, x.shape, axis=axis)
        return True

    def product(self) -> bool:
        """x times x turned, or times another tensor or a constant of activations."""
        x = self.newest()
        if len(x.shape) < 2:
            return False
        *outer, m, k = x.shape
        if self.chance(0.5):
            order = [*range(len(outer)), len(outer) + 1, len(outer)]
            other = self.add("Transpose", [x.name], (*outer, k, m), view=True, perm=order).name
            n = m
        else:
            n = self.draw(1, 6)
            other = self.reals((*self.part_of(outer), k, n) if outer else (k, n))
        if prod(outer) * m * n > LARGEST:
            return False
        self.add("MatMul", [x.name, other], (*outer, m, n))
        return True

    def linear(self) -> bool:
        x = self.newest()
        if len(x.shape) < 2:
            return False
        cols = self.draw(1, 12)
        if prod(x.shape[:-1]) * cols > LARGEST:
            return False
        self.add("MatMul", [x.name, self.weights((x.shape[-1], cols), 1)], (*x.shape[:-1], cols))
        return True

    def conv(self) -> bool:
        x = self.newest(rank=4)
        if len(x.shape) != 4:
            return False
        batch, channels, *size = x.shape
        taps, pads = [self.draw(1, min(3, n)) for n in size], [self.draw(0, 1) for _ in range(4)]
        outs = [n + pads[i] + pads[i + 2] - k + 1 for i, (n, k) in enumerate(zip(size, taps, strict=True))]
        groups = channels if self.chance(0.3) else 1
        filters = groups * self.draw(1, 3 if groups > 1 else 10)
        if batch * filters * prod(outs) > LARGEST or min(outs) < 1:
            return False
        weights = self.weights((filters, channels // groups, *taps), 0)
        self.add("Conv", [x.name, weights], (batch, filters, *outs), pads=pads, group=groups)
        return True

    def conv_transpose(self) -> bool:
        x = self.newest(rank=4)
        if len(x.shape) != 4:
            return False
        batch, channels, *size = x.shape
        taps, strides = [self.draw(1, 3) for _ in size], [self.draw(1, 2) for _ in size]
        groups = channels if self.chance(0.25) else 1
        filters = self.draw(1, 6) if groups == 1 else 1
        outs = [s * (n - 1) + k for n, s, k in zip(size, strides, taps, strict=True)]
        if batch * groups * filters * prod(outs) > LARGEST:
            return False
        weights = self.weights((channels, filters, *taps), 1)
        self.add(
            "ConvTranspose", [x.name, weights], (batch, groups * filters, *outs), strides=strides, group=groups,
            kernel_shape=taps,
        )  # fmt: skip
        return True

    def pool(self) -> bool:
        x = self.newest(rank=4)
        if len(x.shape) != 4:
            return False
        taps = [self.draw(1, min(2, n)) for n in x.shape[2:]]
        outs = [n - k + 1 for n, k in zip(x.shape[2:], taps, strict=True)]
        self.add(self.one_of("MaxPool", "AveragePool"), [x.name], (*x.shape[:2], *outs), kernel_shape=taps)
        return True

    def on_host(self) -> bool:
        """What no unit does; now and then with a float result that a second such operator reads."""
        x = self.newest()
        kind = ON_HOST[self.draw(0, len(ON_HOST) - 1)]
        if kind == "MeanVarianceNormalization":
            self.add("CumSum", [x.name, self.integers(self.draw(0, len(x.shape) - 1))], x.shape)
        else:
            self.add(kind, [x.name], x.shape, axis=-1)
        if self.chance(0.3):
            self.loose.add(self.made[-1].name)
        return True

    # -- growing --------------------------------------------------------------------------------------------------

    def steps(self) -> list[tuple[float, Callable[[], bool]]]:
        """Every step with its weight."""
        by_element = [(1.0, self.unary), (2.0, self.binary), (0.7, self.extreme), (0.7, self.divide)]
        by_element += [(0.6, self.prelu), (1.2, self.where), (0.5, self.embedding)]
        moves = [(0.7, self.reshape), (0.7, self.transpose), (0.7, self.slice), (0.5, self.split), (0.5, self.gather)]
        moves += [(0.4, self.expand), (0.3, self.tile), (0.6, self.resize), (0.6, self.depth)]
        moves += [(1.0, self.concat), (0.8, self.pad)]
        meetings = [(1.0, self.reduce), (0.8, self.softmax), (0.8, self.norm), (1.0, self.product)]
        meetings += [(0.8, self.linear), (0.9, self.conv), (0.9, self.conv_transpose), (0.5, self.pool)]
        return [*by_element, *moves, *meetings, (0.7, self.on_host)]

    def grow(self, count: int) -> None:
        ways = self.steps()
        shares = np.array([share for share, _ in ways])
        for _ in range(count):
            while not ways[int(self.rng.choice(len(ways), p=shares / shares.sum()))][1]():
                pass

    def start(self) -> None:
        first = self.draw(2, 3) if self.chance(0.25) else 1
        shapes = [
            (first, self.draw(1, 8), self.draw(1, 5), self.draw(1, 5)),
            (first, self.draw(1, 6), self.draw(2, 12)),
        ]
        shape = shapes[0] if self.chance(0.6) else shapes[1] if self.chance(0.7) else (first, self.draw(2, 40))
        x = Node("x", shape)
        self.given.append(x)
        self.made.append(x)
        if self.chance(0.3):
            other = Node("z", shape)
            self.given.append(other)
            self.made.insert(0, other)

    # -- the graph ------------------------------------------------------------------------------------------------

    def model(self, outputs: Sequence[Node], nodes: Sequence[onnx.NodeProto]) -> onnx.ModelProto:
        def info(node: Node) -> onnx.ValueInfoProto:
            return helper.make_tensor_value_info(node.name, ELEMENT[node.kind], list(node.shape))

        graph = helper.make_graph(
            list(nodes), "random", [info(n) for n in self.given], [info(n) for n in outputs], self.constants
        )
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
        onnx.checker.check_model(made, full_check=True)
        return made

    def outputs(self) -> list[Node]:
        """The newest tensor, and now and then an earlier one of any type."""
        found = [next(t for t in reversed(self.made) if t.kind == "real" and t not in self.given)]
        others = [t for t in self.made if t not in self.given and t not in found]
        return [*found, others[self.draw(0, len(others) - 1)]] if others and self.chance(0.35) else found

    def feeds(self, seed: int) -> dict[str, Array]:
        rng = np.random.default_rng(seed)
        types = {"real": np.float32, "whole": np.int64, "truth": np.bool_}
        return {
            n.name: (rng.normal(0, 1, n.shape) if n.kind == "real" else rng.integers(0, 7, n.shape)).astype(
                types[n.kind]
            )
            for n in self.given
        }

    def quantised(self) -> onnx.ModelProto:
        """The graph with QuantizeLinear and DequantizeLinear behind its real tensors."""
        outputs = self.outputs()
        real = [t for t in self.made if t.kind == "real" and t.name not in self.loose]
        plain = self.model(outputs, self.nodes)
        names = [t.name for t in real if t not in self.given]
        runs = [Session(expose(plain, names), optimise=False).run(self.feeds(i), names) for i in range(2)]
        runs = [run | self.feeds(i) for i, run in enumerate(runs)]
        bare = {t.name for t in real if t.view and t not in outputs and self.chance(0.6)}
        grids = {t.name: self.grid([run[t.name] for run in runs]) for t in real if t.name not in bare}
        nodes: list[onnx.NodeProto] = []
        for given in self.given:
            if given.name in grids:
                nodes += [*self.quantise(given.name, f"{given.name}.q", grids[given.name])]
                nodes.append(self.dequantise(f"{given.name}.q", f"{given.name}.real", grids[given.name]))
        for node in self.nodes:
            copy = onnx.NodeProto()
            copy.CopyFrom(node)
            after: list[onnx.NodeProto] = []
            for place, name in enumerate(node.input):
                if name in grids and any(given.name == name for given in self.given):
                    copy.input[place] = f"{name}.real"
            for place, name in enumerate(node.output):
                if name in grids:
                    copy.output[place] = f"{name}.float"
                    after += self.quantise(f"{name}.float", f"{name}.q", grids[name])
                    after.append(self.dequantise(f"{name}.q", name, grids[name]))
            nodes += [copy, *after]
        return self.model(outputs, nodes)

    def grid(self, seen: Sequence[Array]) -> tuple[str, str]:
        """Names of the scale and zero point of a grid that reaches about as far as the values."""
        dtype = str(self.rng.choice(["u8", "s8", "s16"], p=[0.45, 0.25, 0.3]))
        kind, low, high = GRIDS[dtype]
        values = np.concatenate([np.nan_to_num(v.astype(np.float64).reshape(-1)) for v in seen])
        bottom, top = min(0.0, float(values.min())), max(0.0, float(values.max()), 1e-3)
        scale = (top - bottom) * float(self.rng.uniform(0.8, 1.3)) / (high - low)
        zero = 0 if dtype == "s16" else int(np.clip(round(low - bottom / scale), low, high))
        scale = max(top, -bottom) / high if dtype == "s16" else scale
        return self.constant(np.array(scale, np.float32)), self.constant(np.array(zero, kind))

    def quantise(self, source: str, out: str, grid: tuple[str, str]) -> list[onnx.NodeProto]:
        return [helper.make_node("QuantizeLinear", [source, *grid], [out], name=f"{out}.quantise")]

    def dequantise(self, source: str, out: str, grid: tuple[str, str]) -> onnx.NodeProto:
        return helper.make_node("DequantizeLinear", [source, *grid], [out], name=f"{out}.dequantise")


def random_qdq(seed: int) -> onnx.ModelProto:
    """A QDQ network of 2 to 6 steps."""
    sketch = Sketch(rng=np.random.default_rng(seed))
    sketch.start()
    sketch.grow(sketch.draw(2, 6))
    return sketch.quantised()

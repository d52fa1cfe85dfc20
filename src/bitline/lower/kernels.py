"""QDQ ONNX -> `Network`. One kernel for every quantised tensor that is computed; layout operators become index maps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np
import numpy.typing as npt
import onnx

from bitline.core.diagnostics import NoMatch, Refusal
from bitline.ir import index_map
from bitline.ir.boxes import read_taps, read_walks
from bitline.ir.index_map import Coordinate, IndexMap, Window, identity
from bitline.ir.kernels import (
    LIMITS,
    Add,
    ArrayMath,
    Constants,
    Kernel,
    MatMul,
    Matrix,
    Move,
    Network,
    Pool,
    Port,
    Requantise,
    Scale,
    Softmax,
    Table,
    Tensor,
)
from bitline.lower.qdq import DTYPES, Constant, QdqGraph, Value, int_attribute, ints_attribute, read_qdq
from bitline.numerics import vector
from bitline.numerics.rounding import MANTISSA_BITS, fixed_point

Ints = npt.NDArray[np.int64]
MakeMath = Callable[[int, int, int, bool], ArrayMath]
"""(rows, cols, groups, signed input) -> what the target's arrays compute."""
UnaryTable = Callable[[onnx.NodeProto, npt.NDArray[np.float32]], npt.NDArray[np.float32]]
"""Evaluates one unary float operator on a vector."""

Build = Callable[[onnx.NodeProto, tuple[str, ...], Tensor, int, int], None]
"""Makes the kernel of one operator: node, names, output tensor, clamp."""

VIEWS = {"Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Identity"}
DOUBLE_BITS = 53
MOST_SOFTMAX_BITS = 20
"""So that 2 * 2^24 * 2^(16 + 20), the largest numerator of a softmax, stays inside 64 bits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lowered:
    """Kernels and the arrays that they name."""

    network: Network
    constants: Constants


def stored_shape(shape: tuple[int, ...], line: bool = False) -> tuple[tuple[int, int, int], tuple[int, ...]]:
    """((H, W, C), order): how an ONNX tensor of batch 1 is stored, and which ONNX axes make H, W, C.

    Of three axes the last makes C, as in the rows of a matrix; the second in a `line`, which a 1-D Conv reads.
    """
    body = shape[1:]
    match len(body):
        case 2 if line:
            return (1, body[1], body[0]), (2, 1)
        case 0:
            return (1, 1, 1), ()
        case 1:
            return (1, 1, body[0]), (1,)
        case 2:
            return (1, body[0], body[1]), (1, 2)
        case _:
            channels, *rest = body
            return (prod(rest[:-1]), rest[-1], channels), (*range(2, len(shape)), 1)


def stored_view(shape: tuple[int, ...], line: bool = False) -> tuple[tuple[int, int, int], IndexMap]:
    """(stored shape, view of the ONNX shape on it) for a tensor that nothing has laid out yet."""
    stored, order = stored_shape(shape, line)
    flat = identity(stored)
    axes = [shape[axis] for axis in order]
    inner = index_map.reshape(flat, [1, *axes])
    assert isinstance(inner, IndexMap), inner
    places = [0, *(1 + order.index(axis) for axis in range(1, len(shape)))]
    return stored, index_map.transpose(inner, places)


class _Lowering:
    def __init__(self, graph: QdqGraph, make_math: MakeMath, unary: UnaryTable) -> None:
        self.graph, self.make_math, self.unary = graph, make_math, unary
        self.tensors: dict[str, Tensor] = {}
        self.kernels: list[Kernel] = []
        self.ports: list[Port] = []
        self.constants: Constants = {}
        self.values: dict[str, Value] = {}
        self.quantised: dict[str, Value] = {}
        self.refused: set[str] = set()

    # -- the walk -------------------------------------------------------------------------------------------------

    def run(self) -> Lowered:
        graph = self.graph
        for node in graph.proto.graph.node:
            match node.op_type:
                case _ if not self.refused.isdisjoint(node.input):
                    self.refused.update(node.output)  # one problem is told once, where it is
                case "QuantizeLinear":
                    self._quantise(node)
                    if node.output[0] not in self.quantised:
                        self.refused.add(node.output[0])
                case "DequantizeLinear":
                    if node.input[0] in self.quantised:
                        self._dequantise(node)
                case op if op in VIEWS and node.input[0] in self.values:
                    self._view(node)
                case _:
                    pass
        for output in graph.proto.graph.output:
            self._output(output.name)
        graph.raise_problems()
        network = Network(
            name=graph.name,
            tensors=tuple(self.tensors.values()),
            kernels=tuple(self.kernels),
            ports=tuple(self.ports),
        )
        network.check()
        return Lowered(network=network, constants=self.constants)

    def _quantise(self, node: onnx.NodeProto) -> None:
        graph = self.graph
        source = node.input[0]
        scale, zero = graph.parameters(node)
        dtype = DTYPES.get(graph.zero_dtype(node))
        if scale.size != 1 or dtype is None:
            kind = "per channel" if scale.size != 1 else str(graph.zero_dtype(node))
            graph.problem(
                "BL0304", node, f"quantises an activation {kind}", "use one scale and uint8 or int8 per tensor"
            )
            return
        shape = graph.shapes[source]
        if not shape or shape[0] != 1:
            graph.problem(
                "BL0302", node, f"has shape {list(shape)}: the first axis must be 1", "export the model with batch 1"
            )
            return
        name = node.output[0]
        stored, view = stored_view(shape, graph.convolved(name))
        tensor = Tensor(
            name=name, shape=stored, dtype=dtype, scale=float(scale[0]), zero_point=int(zero[0]), onnx=name, view=view
        )
        clip = graph.producer.get(source)
        inputs = {i.name for i in graph.proto.graph.input}
        if source in inputs:
            self._input(source, tensor, None)
        elif clip is not None and clip.op_type == "Clip" and clip.input[0] in inputs and graph.uses[clip.input[0]] == 1:
            self._input(clip.input[0], tensor, self._bounds(clip, tensor))
        else:
            self._compute(node, source, tensor, view)

    def _input(self, name: str, tensor: Tensor, clamp: tuple[int, int] | None) -> None:
        """A float input that the host quantises, or clips and quantises."""
        self.tensors[tensor.name] = tensor
        self.quantised[tensor.name] = Value(tensor=tensor.name, view=tensor.view)
        shape = self.graph.shapes[name]
        self.ports.append(
            Port(
                name=name,
                shape=shape,
                tensor=tensor.name,
                view=tensor.view,
                direction="input",
                real=True,
                clamp=clamp,
            )
        )

    def _dequantise(self, node: onnx.NodeProto) -> None:
        value = self.quantised[node.input[0]]
        tensor = self.tensors[value.tensor]
        scale, zero = self.graph.parameters(node)
        if scale.size != 1 or not np.isclose(scale[0], tensor.scale, rtol=1e-6) or zero[0] != tensor.zero_point:
            self.graph.problem(
                "BL0304", node, "uses another scale than the tensor was quantised with", "quantise the model again"
            )
        self.values[node.output[0]] = value

    def _view(self, node: onnx.NodeProto) -> None:
        value, shape = self.values[node.input[0]], self.graph.shapes[node.output[0]]
        if node.op_type == "Transpose":
            rank = len(shape)
            order = ints_attribute(node, "perm", list(range(rank))[::-1])
            view: IndexMap | NoMatch = index_map.transpose(value.view, order)
        else:
            view = index_map.reshape(value.view, shape)
        if isinstance(view, NoMatch):
            value = self._flattened(node, value)
            view = index_map.reshape(value.view, shape)
            assert isinstance(view, IndexMap), view
        self.values[node.output[0]] = Value(tensor=value.tensor, view=view)

    def _flattened(self, node: onnx.NodeProto, value: Value) -> Value:
        """A copy in the order of the ONNX tensor, for a reshape that splits what is stored across."""
        size = prod(value.view.shape)
        read = index_map.join_dims(value.view, [list(range(len(value.view.dims)))])
        view = index_map.reshape(identity((1, 1, size)), value.view.shape)
        assert isinstance(view, IndexMap), view
        return self._copied(node, value, index_map.lead(read, 2), view)

    def _moved(self, node: onnx.NodeProto, place: int) -> bool:
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
        self.values[node.input[place]] = self._copied(node, value, index_map.lead(read, 3 - len(groups)), plain)
        return True

    def _copied(self, node: onnx.NodeProto, value: Value, read: IndexMap, view: IndexMap) -> Value:
        """A `Move` kernel that stores what `read` says; `view` takes the ONNX index to the copy."""
        x = self.tensors[value.tensor]
        name = f"{x.name}.moved{len(self.kernels)}"
        origin = node.name or node.output[0]
        self.kernels.append(
            Move(name=f"{origin}.move{len(self.kernels)}", nodes=(origin,), x=x.name, y=name, read=read)
        )
        self.tensors[name] = replace(x, name=name, shape=view.source, onnx="", view=identity(view.source))
        return Value(tensor=name, view=view)

    def _output(self, name: str) -> None:
        value = self.values.get(name)
        if value is None:
            if self.graph.problems:
                return
            node = self.graph.producer.get(name)
            if node is not None:
                self.graph.problem(
                    "BL0304",
                    node,
                    "makes a graph output in float",
                    "quantise it: Quantize- and DequantizeLinear after it",
                )
            return
        shape = self.graph.shapes[name]
        self.ports.append(
            Port(name=name, shape=shape, tensor=value.tensor, view=value.view, direction="output", real=True)
        )

    # -- one quantised tensor -------------------------------------------------------------------------------------

    def _compute(self, node: onnx.NodeProto, source: str, y: Tensor, view: IndexMap) -> None:
        """The kernel that makes `y`: an operator, the Relu and Clip after it, the requantisation."""
        graph = self.graph
        low, high = LIMITS[y.dtype]
        chain: list[onnx.NodeProto] = []
        while source not in self.values and (made := graph.producer.get(source)) is not None:
            if (
                made.op_type not in ("Relu", "Clip")
                or graph.uses.get(made.input[0], 0) != 1
                or made.input[0] in self.values
            ):
                break
            chain.append(made)
            bounds = self._bounds(made, y)
            if bounds is None:
                return
            low, high = (min(max(bound, low), high) for bound in bounds)  # the later clamp has the last word
            source = made.input[0]
        if source in self.values:
            self._copy(node, chain, self.values[source], y, low, high)
            return
        made = graph.producer.get(source)
        if made is None:
            graph.problem("BL0304", node, f"quantises {source!r}, which nothing computes", "quantise the model again")
            return
        nodes = tuple(n.name or n.output[0] for n in [made, *reversed(chain)])
        builders = {
            "Conv": self._conv,
            "Gemm": self._gemm,
            "MatMul": self._gemm,
            "Add": self._add,
            "MaxPool": self._pool,
            "AveragePool": self._pool,
            "GlobalAveragePool": self._pool,
            "GlobalMaxPool": self._pool,
            "ReduceMean": self._pool,
            "Softmax": self._softmax,
        }
        if made.op_type in builders:
            builders[made.op_type](made, nodes, y, low, high)
        elif len([i for i in made.input if i in self.values]) == 1 and all(
            i in self.values or i in graph.initializers or not i for i in made.input
        ):
            self._table(made, nodes, y, low, high)
        else:
            self._unsupported(made)

    def _unsupported(self, node: onnx.NodeProto) -> None:
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

    def _bounds(self, node: onnx.NodeProto, y: Tensor) -> tuple[int, int] | None:
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

    def _finish(self, y: Tensor, view: IndexMap) -> None:
        self.tensors[y.name] = replace(y, view=view)
        self.quantised[y.name] = Value(tensor=y.name, view=view)

    def _copy(
        self, node: onnx.NodeProto, chain: list[onnx.NodeProto], value: Value, y: Tensor, low: int, high: int
    ) -> None:
        """Requantisation of something stored: nothing at all where the numbers stay, else a table."""
        x = self.tensors[value.tensor]
        smallest, largest = LIMITS[x.dtype]
        codes = np.arange(smallest, largest + 1)
        target = np.rint((codes - x.zero_point) * x.scale / y.scale) + y.zero_point
        table = np.clip(target, low, high).astype(np.int64)
        if (x.dtype, x.zero_point, x.scale) == (y.dtype, y.zero_point, y.scale) and (table == codes).all():
            self.quantised[y.name] = value
            return
        nodes = tuple(n.name or n.output[0] for n in reversed(chain)) or (node.name or node.output[0],)
        self._add_table(value, table, nodes, y)

    def _add_table(self, value: Value, table: Ints, nodes: tuple[str, ...], y: Tensor) -> None:
        x = self.tensors[value.tensor]
        name = f"{y.name}.table"
        self.constants[name] = table
        self.kernels.append(Table(name=nodes[0], nodes=nodes, x=x.name, y=y.name, table=name))
        self._finish(replace(y, shape=x.shape), value.view)

    def _table(self, node: onnx.NodeProto, nodes: tuple[str, ...], y: Tensor, low: int, high: int) -> None:
        """Any operator of one 8-bit tensor: 256 entries, from the operator itself."""
        value = self.values[next(i for i in node.input if i in self.values)]
        x = self.tensors[value.tensor]
        smallest, largest = LIMITS[x.dtype]
        reals = ((np.arange(smallest, largest + 1) - x.zero_point) * x.scale).astype(np.float32)
        result = self._element_wise(node, reals)
        if result is None:
            self._unsupported(node)
            return
        steps = np.nan_to_num(np.rint(result.astype(np.float64) / y.scale), nan=-np.inf, posinf=np.inf, neginf=-np.inf)
        table = np.clip(steps + y.zero_point, low, high).astype(np.int64)
        self._add_table(value, table, nodes, y)

    def _element_wise(self, node: onnx.NodeProto, reals: npt.NDArray[np.float32]) -> npt.NDArray[np.float32] | None:
        """The operator on every real; None where a result depends on its place or on other elements (LogSoftmax)."""
        even = np.where(np.arange(reals.size) % 2 == 0, reals, reals[0])
        try:
            result, backwards, half = (self.unary(node, values) for values in (reals, reals[::-1].copy(), even))
        except Refusal:
            return None
        if not result.shape == backwards.shape == half.shape == reals.shape:
            return None
        alone = np.array_equal(result[::-1], backwards, equal_nan=True)
        return result if alone and np.array_equal(result[::2], half[::2], equal_nan=True) else None

    # -- operators ------------------------------------------------------------------------------------------------

    def _operand(self, node: onnx.NodeProto, place: int) -> Value | None:
        value = self.values.get(node.input[place])
        if value is None:
            self._unsupported(node)
        return value

    def _weights(self, node: onnx.NodeProto, channel_axis: int) -> tuple[Ints, npt.NDArray[np.float64]] | None:
        """(int8 weights, scale per output channel) of the second operand."""
        graph = self.graph
        constant = graph.constant(node.input[1])
        if constant is None or constant.values.dtype not in (np.dtype(np.int8), np.dtype(np.uint8)):
            graph.problem("BL0302", node, "has weights that are no 8-bit constants", "quantise the weights to int8")
            return None
        values = constant.values.astype(np.int64)
        zero = constant.zero_point
        if zero.size > 1:
            zero = zero.reshape([-1 if a == constant.axis % values.ndim else 1 for a in range(values.ndim)])
        values = values - zero
        if constant.scale.size > 1 and constant.axis % values.ndim != channel_axis:
            graph.problem(
                "BL0302", node, f"has weight scales along axis {constant.axis}", "quantise weights per output channel"
            )
            return None
        if values.size and (values.min() < -128 or values.max() > 127):
            graph.problem(
                "BL0302",
                node,
                "has weights beyond 8 bits once the zero point is taken off",
                "quantise weights symmetrically",
            )
            return None
        return values, np.broadcast_to(constant.scale, (values.shape[channel_axis],))

    def _bias(self, node: onnx.NodeProto, channels: int, step: npt.NDArray[np.float64]) -> Ints | None:
        """The bias in units of `step` = scale_x * scale_w per channel."""
        if len(node.input) < 3 or not node.input[2]:
            return np.zeros(channels, np.int64)
        constant: Constant | None = self.graph.constant(node.input[2])
        if constant is None:
            self.graph.problem("BL0302", node, "has a bias that is no constant", "export it with a constant bias")
            return None
        real_step = np.broadcast_to(constant.scale, (channels,))
        values = np.broadcast_to(constant.values.reshape(-1).astype(np.float64), (channels,))
        if constant.values.dtype.kind == "i" and np.allclose(real_step, step, rtol=1e-5):
            return values.astype(np.int64)
        return np.rint(values * real_step / step).astype(np.int64)

    def _matmul(
        self,
        node: onnx.NodeProto,
        nodes: tuple[str, ...],
        x: Tensor,
        y: Tensor,
        read: IndexMap,
        view: IndexMap,
        weights: Ints,
        scales: npt.NDArray[np.float64],
        low: int,
        high: int,
    ) -> None:
        """`weights` [groups, rows, cols] in the order of the read map; `scales` per output channel."""
        groups, rows, cols = weights.shape
        channels = groups * cols
        step = x.scale * scales
        bias = self._bias(node, channels, step)
        if bias is None:
            return
        name = nodes[0]
        math = self.make_math(rows, cols, groups, x.dtype == "s8")
        smallest, largest = LIMITS[x.dtype]
        reach = max(largest - x.zero_point, x.zero_point - smallest, largest - smallest)
        bound = np.abs(weights).sum(axis=1).reshape(-1) * reach + np.abs(bias)
        if not math.lossless:  # all conversions may clip to nothing, while the offset of the weights is taken off in full
            bound = bound + rows * (largest - smallest) * math.weight_offset
        parameters = np.zeros((channels, 3), np.int64)
        parameters[:, 0] = bias
        for channel, (factor, most) in enumerate(zip(step / y.scale, bound, strict=True)):
            bits = min(MANTISSA_BITS, DOUBLE_BITS - int(most).bit_length())
            if most >= 2**31 or bits < 8:
                self.graph.problem(
                    "BL0302", node, f"can reach {most}, beyond a 32-bit accumulator", "quantise with fewer bits"
                )
                return
            if factor >= 1 << bits:
                self._too_fine(node)
                return
            parameters[channel, 1:] = fixed_point(float(factor), bits) if factor > 0 else (0, 0)
        self.constants[f"{name}.weights"] = weights.astype(np.int8)
        self.constants[f"{name}.parameters"] = parameters
        self.kernels.append(
            MatMul(
                name=name,
                nodes=nodes,
                x=x.name,
                y=y.name,
                matrix=Matrix(name=f"{name}.weights", groups=groups, rows=rows, cols=cols),
                read=read,
                write=identity(y.shape),
                post=Requantise(parameters=f"{name}.parameters", zero_point=y.zero_point, low=low, high=high),
                math=math,
            )
        )
        self._finish(y, view)

    def _too_fine(self, node: onnx.NodeProto) -> None:
        self.graph.problem(
            "BL0304", node, "has an output scale too far below that of its input", "quantise the model again"
        )

    def _conv(self, node: onnx.NodeProto, nodes: tuple[str, ...], y: Tensor, low: int, high: int) -> None:
        value, weighted = self._operand(node, 0), self._weights(node, 0)
        if value is None or weighted is None:
            return
        weights, scales = weighted
        spatial = weights.ndim - 2
        if spatial not in (1, 2):
            self.graph.problem("BL0302", node, f"has {spatial} spatial axes", "use 1 or 2")
            return
        groups = int_attribute(node, "group", 1)
        outs, channels, per_group = weights.shape[0], self.graph.shapes[node.input[0]][1], weights.shape[1]
        slides = self._slides(node, list(weights.shape[2:]), self.graph.shapes[node.output[0]][2:])
        batch, _, *size = value.view.shape
        split = index_map.reshape(value.view, [batch, groups, channels // groups, *size])
        if isinstance(split, NoMatch):
            self._again(node, self._conv, nodes, y, low, high, split.why)
            return
        if spatial == 1:  # a line is an image of one row
            split = index_map.reshape(split, [batch, groups, per_group, 1, *size])
            assert isinstance(split, IndexMap)
            slides = [Window(out=1, taps=1, stride=1, dilation=1, pad_before=0), *slides]
            weights = weights[:, :, None]
        window = index_map.windows(split, (3, 4), slides)
        if isinstance(window, NoMatch):
            self._again(node, self._conv, nodes, y, low, high, window.why)
            return
        # window dimensions: 0 oh, 1 ow, 2 kh, 3 kw, 4 batch, 5 group, 6 channel
        read = index_map.join_dims(window, [[0], [1], [4, 5, 2, 3, 6]])
        if isinstance(walks := read_walks(read), NoMatch):
            self._again(node, self._conv, nodes, y, low, high, walks.why)
            return
        matrix = weights.reshape(groups, outs // groups, per_group, *weights.shape[2:])
        matrix = matrix.transpose(0, 3, 4, 2, 1).reshape(groups, -1, outs // groups)
        stored = replace(y, shape=(slides[0].out, slides[1].out, outs))
        image = stored_view((1, outs, slides[0].out, slides[1].out))[1]
        view = index_map.reshape(image, self.graph.shapes[node.output[0]])
        assert isinstance(view, IndexMap), view
        self._matmul(node, nodes, self.tensors[value.tensor], stored, read, view, matrix, scales, low, high)

    def _again(
        self, node: onnx.NodeProto, build: Build, nodes: tuple[str, ...], y: Tensor, low: int, high: int, why: str
    ) -> None:
        """Try an operator once more on a plain copy of its input; if it lay plainly already, that is a problem."""
        if self._moved(node, 0):
            build(node, nodes, y, low, high)
            return
        self.graph.problem("BL0302", node, f"cannot read its input: {why}", "remove the transpose or reshape before it")

    def _slides(self, node: onnx.NodeProto, taps: list[int], outs: tuple[int, ...]) -> list[Window]:
        rank = len(taps)
        strides = ints_attribute(node, "strides", [1] * rank)
        dilations = ints_attribute(node, "dilations", [1] * rank)
        pads = ints_attribute(node, "pads", [0] * 2 * rank)
        return [
            Window(out=outs[a], taps=taps[a], stride=strides[a], dilation=dilations[a], pad_before=pads[a])
            for a in range(rank)
        ]

    def _gemm(self, node: onnx.NodeProto, nodes: tuple[str, ...], y: Tensor, low: int, high: int) -> None:
        """x [1, ..., K] times a constant [K, N]; the rows are put into the order in which x is stored."""
        transposed = bool(int_attribute(node, "transB", 0))
        value, weighted = self._operand(node, 0), self._weights(node, 0 if transposed else 1)
        if value is None or weighted is None:
            return
        weights, scales = weighted
        plain = all(getattr(a, "f", 1.0) == 1.0 for a in node.attribute if a.name in ("alpha", "beta"))
        if int_attribute(node, "transA", 0) or not plain or weights.ndim != 2:
            self.graph.problem(
                "BL0302", node, "has transA, alpha, beta or a stack of matrices", "fold them into the weights"
            )
            return
        matrix = weights.T if transposed else weights
        rank = len(value.view.dims)
        view = index_map.merge_digits(index_map.join_dims(value.view, [list(range(rank - 1)), [rank - 1]]))
        pixels = [d for d in index_map.digits_of(view, 0) if view.digits[d] > 1]
        axes = [next(a for a, c in enumerate(view.coordinates) if c.coefficients[d]) for d in pixels]
        if not set(axes) <= {0, 1} or len(set(axes)) != len(axes):
            self._again(node, self._gemm, nodes, y, low, high, "its rows are no stored rows")
            return
        inner = list(index_map.digits_of(view, 1))
        extents = [view.digits[d] for d in inner]
        strides = view.digit_strides()
        order = sorted(range(len(inner)), key=lambda i: (-strides[inner[i]], i))
        rows = np.arange(prod(extents)).reshape(extents).transpose(order).reshape(-1)
        lead = [dict(zip(axes, pixels, strict=True)).get(axis) for axis in (0, 1)]
        digits = [*lead, *(inner[i] for i in order)]
        shape = tuple(view.digits[d] if d is not None else 1 for d in lead)
        read = IndexMap(
            source=view.source,
            dims=((shape[0],), (shape[1],), tuple(extents[i] for i in order)),
            coordinates=tuple(
                Coordinate(
                    offset=c.offset, coefficients=tuple(c.coefficients[d] if d is not None else 0 for d in digits)
                )
                for c in view.coordinates
            ),
        )
        if isinstance(walks := read_walks(read), NoMatch):
            self._again(node, self._gemm, nodes, y, low, high, walks.why)
            return
        channels = matrix.shape[1]
        stored = replace(y, shape=(shape[0], shape[1], channels))
        turned = index_map.transpose(identity(stored.shape), [1, 0, 2] if axes == [1, 0] else [0, 1, 2])
        out = index_map.reshape(turned, self.graph.shapes[node.output[0]])
        assert isinstance(out, IndexMap), out
        self._matmul(node, nodes, self.tensors[value.tensor], stored, read, out, matrix[rows][None], scales, low, high)

    def _add(self, node: onnx.NodeProto, nodes: tuple[str, ...], y: Tensor, low: int, high: int) -> None:
        left, right = self._operand(node, 0), self._operand(node, 1)
        if left is None or right is None:
            return
        a, b = self.tensors[left.tensor], self.tensors[right.tensor]
        alike = index_map.merge_digits(left.view) == index_map.merge_digits(right.view)
        if not alike and left.view.shape == right.view.shape and a.dtype == b.dtype:
            moved = [self._moved(node, place) for place in (0, 1)]
            if any(moved):
                self._add(node, nodes, y, low, high)
                return
        if not alike or a.dtype != b.dtype:
            self.graph.problem(
                "BL0302",
                node,
                "adds tensors of different shapes, layouts or types",
                "make both operands alike before adding",
            )
            return
        if max(a.scale, b.scale) >= y.scale * (1 << vector.ADD_MANTISSA_BITS):
            self._too_fine(node)
            return
        mantissa_a, mantissa_b, shift = vector.add_scales(a.scale / y.scale, b.scale / y.scale)
        self.kernels.append(
            Add(
                name=nodes[0],
                nodes=nodes,
                a=a.name,
                b=b.name,
                y=y.name,
                mantissa_a=mantissa_a,
                mantissa_b=mantissa_b,
                shift=shift,
                low=low,
                high=high,
            )
        )
        self._finish(replace(y, shape=a.shape), left.view)

    def _pool(self, node: onnx.NodeProto, nodes: tuple[str, ...], y: Tensor, low: int, high: int) -> None:
        value = self._operand(node, 0)
        if value is None:
            return
        graph, x = self.graph, self.tensors[value.tensor]
        shape = value.view.shape
        whole = node.op_type.startswith("Global") or node.op_type == "ReduceMean"
        if len(shape) != 4 or (node.op_type == "ReduceMean" and not self._over_image(node)):
            graph.problem(
                "BL0302", node, "does not pool over the two axes of an image", "use tensors of shape [1, C, H, W]"
            )
            return
        if whole:
            slides = [Window(out=1, taps=n, stride=1, dilation=1, pad_before=0) for n in shape[2:]]
        else:
            kernel = ints_attribute(node, "kernel_shape", [1, 1])
            slides = self._slides(node, kernel, graph.shapes[node.output[0]][2:])
        window = index_map.windows(value.view, (2, 3), slides)
        if isinstance(window, NoMatch):
            self._again(node, self._pool, nodes, y, low, high, window.why)
            return
        read = index_map.join_dims(window, [[0], [1], [2, 3], [4, 5]])
        if isinstance(walks := read_walks(read), NoMatch) or not _keeps_channels(read):
            why = walks.why if isinstance(walks, NoMatch) else "its channels are mixed with other axes"
            self._again(node, self._pool, nodes, y, low, high, why)
            return
        op = "max" if "Max" in node.op_type else "mean"
        taps = slides[0].taps * slides[1].taps
        if op == "max" and (x.scale, x.zero_point, x.dtype) != (y.scale, y.zero_point, y.dtype):
            graph.problem(
                "BL0302", node, "changes the scale of what it selects", "quantise its output with its input's scale"
            )
            return
        if op == "mean" and x.scale >= y.scale * (1 << MANTISSA_BITS):
            self._too_fine(node)
            return
        pads = ints_attribute(node, "pads", [0, 0, 0, 0])
        if op == "mean" and int_attribute(node, "count_include_pad", 0) and _reaches_out(slides, shape[2:], pads[2:]):
            graph.problem(
                "BL0302", node, "counts padding and reaches beyond it (ceil_mode)", "export it with explicit padding"
            )
            return
        valid = op == "mean" and not whole and not int_attribute(node, "count_include_pad", 0)
        counts = range(1, taps + 1) if valid else [taps]
        scales = tuple(Scale(mantissa=m, shift=s) for m, s in (fixed_point(x.scale / y.scale / n) for n in counts))
        outs = (slides[0].out, slides[1].out, x.shape[2])
        padded = any(slide.pad_before for slide in slides) or _reaches_out(slides, shape[2:])
        if valid and not padded:
            valid, scales = False, scales[-1:]
        stored = replace(y, shape=(outs[0], outs[1], shape[1]))
        out = index_map.reshape(stored_view((1, shape[1], outs[0], outs[1]))[1], graph.shapes[node.output[0]])
        assert isinstance(out, IndexMap), out
        self.kernels.append(
            Pool(
                name=nodes[0],
                nodes=nodes,
                op=op,
                x=x.name,
                y=y.name,
                read=read,
                write=identity(stored.shape),
                scales=() if op == "max" else scales,
                divide_by_valid=valid,
                low=low,
                high=high,
            )
        )
        self._finish(stored, out)

    def _over_image(self, node: onnx.NodeProto) -> bool:
        axes = ints_attribute(node, "axes", [])
        if not axes and len(node.input) > 1 and node.input[1] in self.graph.initializers:
            axes = [int(a) for a in self.graph.initializers[node.input[1]].reshape(-1)]
        return sorted(a % 4 for a in axes) == [2, 3]

    def _softmax(self, node: onnx.NodeProto, nodes: tuple[str, ...], y: Tensor, low: int, high: int) -> None:
        value = self._operand(node, 0)
        if value is None:
            return
        x = self.tensors[value.tensor]
        shape = value.view.shape
        axis = int_attribute(node, "axis", -1) % len(shape)
        same = index_map.reshape(identity(x.shape), shape)
        if (
            axis != len(shape) - 1
            or (same != value.view and index_map.merge_digits(value.view) != same)
            or shape[-1] != x.shape[2]
        ):
            if axis == len(shape) - 1 and len(shape) <= 3 and self._moved(node, 0):
                self._softmax(node, nodes, y, low, high)
                return
            self.graph.problem(
                "BL0302", node, "does not run along the stored rows", "apply it to the last axis of [1, rows, classes]"
            )
            return
        if y.scale < 2.0**-MOST_SOFTMAX_BITS:
            self._too_fine(node)
            return
        self.constants[f"{nodes[0]}.table"] = vector.softmax_table(x.scale)
        factor = round(2.0**vector.SOFTMAX_FRACTION_BITS / y.scale)
        self.kernels.append(
            Softmax(
                name=nodes[0],
                nodes=nodes,
                x=x.name,
                y=y.name,
                table=f"{nodes[0]}.table",
                factor=factor,
                fraction_bits=vector.SOFTMAX_FRACTION_BITS,
            )
        )
        self._finish(replace(y, shape=x.shape), value.view)


def _keeps_channels(read: IndexMap) -> bool:
    """Whether channel c of a pool's read map (its last dimension) is stored channel c, whatever the tap."""
    taps, channels = read.shape[2:]
    values = read_taps(read)
    same = [(v.reshape(taps, channels) == v.reshape(taps, channels)[:, :1]).all() for v in (values.rows, values.cols)]
    return bool(all(same) and (values.channels.reshape(taps, channels) == np.arange(channels)).all())


def _reaches_out(slides: list[Window], sizes: tuple[int, ...], pads_after: Sequence[int] = (0, 0)) -> bool:
    """Whether any window ends beyond the tensor and its padding."""
    return any(
        s.stride * (s.out - 1) + s.dilation * (s.taps - 1) - s.pad_before >= size + after
        for s, size, after in zip(slides, sizes, pads_after, strict=True)
    )


def lower(proto: onnx.ModelProto, name: str, *, make_math: MakeMath, unary: UnaryTable) -> Lowered:
    """The kernels of a QDQ model. Raises `Refusal` listing every node that has no kernel (BL0301, BL0302, BL0304)."""
    return _Lowering(read_qdq(proto, name), make_math, unary).run()

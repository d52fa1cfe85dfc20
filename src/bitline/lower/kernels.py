"""QDQ ONNX -> `Network`. One kernel for every quantised tensor that is computed; layout operators become index maps.

What no unit of the chip does goes to the host, with the reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import onnx
from onnx import TensorProto, helper

from bitline.core.diagnostics import Refusal
from bitline.graph.model import attribute
from bitline.ir import index_map
from bitline.ir.kernels import LIMITS, Constants, Dtype, Network, Operator, Port, Tensor, inputs_of, outputs_of
from bitline.lower.elementwise import (
    add_elementwise,
    lower_extreme,
    lower_prelu,
    lower_product,
    lower_quotient,
    lower_root,
    lower_select,
    lower_sum,
    lower_unary,
    reach,
    rescale,
)
from bitline.lower.halves import by_halves
from bitline.lower.host import add_host, float_input, plain_tensor
from bitline.lower.integers import WRAPPING, IntegerRanges, within
from bitline.lower.layout import VIEWS, lower_concat, lower_pad, lower_scatter
from bitline.lower.linear import lower_conv, lower_conv_transpose, lower_gemm
from bitline.lower.qdq import DTYPES, QdqGraph, Value, read_qdq
from bitline.lower.reduce import lower_pool, lower_reduce
from bitline.lower.repeat import lower_scan
from bitline.lower.rows import lower_lookup, lower_norm, lower_products, lower_softmax
from bitline.lower.state import DOUBLE_BITS, Build, Lowering, MakeMath, Scalar, Target, UnaryTable, Unfit, name_of
from bitline.lower.stored import stored_view

INTEGER = {
    TensorProto.BOOL,
    TensorProto.INT32,
    TensorProto.INT64,
    TensorProto.UINT8,
    TensorProto.INT8,
    TensorProto.INT16,
}
"""Types whose values kernels compute with as they are."""
ON_INTEGERS = ("Cast", "Equal", "Not", "Mod", "Where", "Add", "Sub", "Mul", "Max", "Min")
INTEGER_OPERATORS: dict[str, tuple[Operator, tuple[int, ...]]] = {
    "Equal": ("equal", (0, 0)),
    "Not": ("equal", (0, 0)),
    "Mod": ("modulo", (0, 0)),
    "Where": ("select", (0, 1, 1)),
    "Add": ("sum", (1, 1)),
    "Sub": ("sum", (1, -1)),
    "Mul": ("product", (1, 0)),
    "Max": ("largest", (1, 1)),
    "Min": ("smallest", (1, 1)),
}
"""Operators on integers and truth values: the operator, and what multiplies each operand."""
CLAMPS = ("Relu", "Clip")


def lower_matmul(state: Lowering, node: onnx.NodeProto, target: Target) -> None:
    """A constant matrix of 8 bits stays in arrays -> `MatMul`; any other product of two -> `BatchMatMul`."""
    constant = state.graph.constant(node.input[1])
    still = constant is not None and constant.values.ndim == 2 and constant.values.dtype.name in ("int8", "uint8")
    if still and node.input[0] in state.values:
        by_halves(lower_gemm)(state, node, target)
    else:
        lower_products(state, node, target)


BUILDERS: dict[str, Build] = {
    "Conv": by_halves(lower_conv),
    "ConvTranspose": by_halves(lower_conv_transpose),
    **dict.fromkeys(("Gemm", "MatMul"), lower_matmul),
    **dict.fromkeys(("Add", "Sub", "Sum"), lower_sum),
    "Mul": lower_product,
    "Sqrt": lower_root,
    "Div": lower_quotient,
    **dict.fromkeys(("Max", "Min"), lower_extreme),
    "PRelu": lower_prelu,
    "Where": lower_select,
    **dict.fromkeys(("MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool"), lower_pool),
    **dict.fromkeys(("ReduceMean", "ReduceSum", "ReduceMax"), lower_reduce),
    "Softmax": lower_softmax,
    "LayerNormalization": lower_norm,
    "Gather": lower_lookup,
    "Concat": lower_concat,
    "Pad": lower_pad,
    "ScatterND": lower_scatter,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Lowered:
    """Kernels and the arrays that they name."""

    network: Network
    constants: Constants


class _Walk(Lowering):
    """Node after node of a QDQ graph."""

    def __init__(self, graph: QdqGraph, make_math: MakeMath, unary: UnaryTable) -> None:
        super().__init__(graph, make_math, unary)
        self.inputs = {i.name for i in self.graph.proto.graph.input}
        self.ranges = IntegerRanges(graph)
        self.unseen: dict[str, Unfit] = {}  # layout operators that no view and no copy can say, by their result
        self.names |= {n.output[0] for n in self.graph.proto.graph.node if n.op_type == "QuantizeLinear"}

    def run(self) -> Lowered:
        graph = self.graph
        self.ranges.narrow()
        for value in graph.proto.graph.input:
            if self._only_dequantised(value.name):
                self._integer_input(value.name)
            elif self._read_as_it_is(value.name):
                self.values[value.name] = float_input(self, value.name, self.ranges.to_check(value.name))
        self.walk()
        for output in graph.proto.graph.output:
            try:
                self._output(output.name)
            except Refusal as refusal:  # the other outputs may have more to say
                graph.problems += refusal.diagnostics
        graph.raise_problems()
        network = Network(
            name=graph.name,
            tensors=tuple(self.tensors.values()),
            kernels=tuple(self.kernels),
            ports=tuple(self.ports),
            repeats=tuple(self.repeats),
        )
        network = without_dead(network)
        network.check()
        names = {constant for constant in self.constants if constant in _named(network)}
        return Lowered(network=network, constants={n: v for n, v in self.constants.items() if n in names})

    def walk(self) -> None:
        """All nodes, in the order of the graph."""
        for node in self.graph.proto.graph.node:
            match node.op_type:
                case "QuantizeLinear":
                    if node.output[0] not in self.quantised:
                        self._quantise(node)
                case "DequantizeLinear":
                    if node.input[0] in self.quantised:
                        self._dequantise(node)
                case "Scan":
                    self.attempt(partial(lower_scan, self, node, self._inside))
                case _:
                    self._layout_or_integers(node)

    def _inside(self, graph: QdqGraph, quantised: Mapping[str, Value]) -> dict[str, Value]:
        """The nodes of a subgraph, its kernels among all others; what its tensors stand for."""
        inner = _Walk(graph, self.make_math, self.unary)
        inner.tensors, inner.kernels, inner.constants = self.tensors, self.kernels, self.constants
        inner.names |= self.names
        inner.quantised |= quantised
        before = len(self.tensors)
        inner.walk()
        for name in list(self.tensors)[before:]:  # tensors of a body are none of the model's own
            self.tensors[name] = replace(self.tensors[name], onnx="")
        self.names |= inner.names
        return inner.values

    def _read_as_it_is(self, name: str) -> bool:
        """Whether anything reads a graph input without quantising it first."""
        readers = self.graph.readers.get(name, [])
        alone = len(readers) == 1 and self.graph.uses[name] == 1
        if alone and readers[0].op_type == "Clip":
            following = self.graph.readers.get(readers[0].output[0], [])
            return not (
                len(following) == 1 and following[0].op_type == "QuantizeLinear" and readers[0].input[0] == name
            )
        plain = any(r.op_type != "QuantizeLinear" or self._odd_grid(r) for r in readers)
        return plain or self.graph.uses.get(name, 0) > len(readers)

    def _odd_grid(self, node: onnx.NodeProto) -> bool:
        """Whether a QuantizeLinear makes what no unit has: scales per channel, other types."""
        if any(name not in self.graph.initializers for name in node.input[1:] if name):
            return True
        return self.graph.parameters(node)[0].size != 1 or self.graph.zero_dtype(node) not in DTYPES

    def _only_dequantised(self, name: str) -> bool:
        """Whether a graph input holds integers of one grid that the user quantised."""
        readers = self.graph.readers.get(name, [])
        if not readers or self.graph.uses[name] != len(readers):
            return False
        if any(r.op_type != "DequantizeLinear" or r.input[0] != name or self._odd_grid(r) for r in readers):
            return False
        grids = {(float(s[0]), int(z[0])) for s, z in map(self.graph.parameters, readers) if z.size == 1}
        dtype = helper.tensor_dtype_to_np_dtype(self.graph.types[name])
        return len(grids) == 1 and dtype in DTYPES and all(self.graph.real_result(r) for r in readers)

    def _integer_input(self, name: str) -> None:
        dtype = np.dtype(helper.tensor_dtype_to_np_dtype(self.graph.types[name]))
        scale, zero = self.graph.parameters(self.graph.readers[name][0])
        stored, view = stored_view(self.shape(name), "image")
        tensor = Tensor(
            name=self.free(name),
            shape=stored,
            dtype=DTYPES[dtype],
            scale=float(scale[0]),
            zero_point=int(zero[0]),
            onnx=name,
            view=view,
        )
        self.tensors[tensor.name] = tensor
        self.quantised[name] = Value(tensor=tensor.name, view=view)
        port = Port(
            name=name,
            shape=self.shape(name),
            tensor=tensor.name,
            view=view,
            direction="input",
            real=False,
            dtype=str(dtype),
        )
        self.ports.append(port)

    # -- quantised tensors -----------------------------------------------------------------------------------------

    def _quantise(self, node: onnx.NodeProto) -> None:
        graph = self.graph
        source, name = node.input[0], node.output[0]
        if source in graph.initializers or (graph.constant(source) is not None and source not in self.values):
            return  # a constant that is quantised again: whoever reads it goes to the host
        if self._odd_grid(node):
            return  # per channel, or to a type that no unit has: whoever reads it goes to the host
        scale, zero = graph.parameters(node)
        dtype = DTYPES[graph.zero_dtype(node)]
        shape = graph.shapes[source]
        form = "line" if len(shape) == 3 and graph.convolved(name) else "image"
        stored, view = stored_view(shape, form)
        y = Tensor(
            name=name, shape=stored, dtype=dtype, scale=float(scale[0]), zero_point=int(zero[0]), onnx=name, view=view
        )
        clip = graph.producer.get(source)
        low, high = LIMITS[dtype]
        if source in self.inputs and source not in self.values:
            self._input(source, y, None)
        elif clip is not None and clip.op_type == "Clip" and clip.input[0] in self.inputs - self.values.keys():
            self._input(clip.input[0], y, self.bounds(clip, y))
        else:
            target = Target(y=y, nodes=(name_of(node),), shape=shape, low=low, high=high)
            unfit = self.attempt(lambda: self._compute(node, source, target))
            if unfit is not None:
                rows, plain = stored_view(shape, "rows")
                reason = (
                    f"{unfit.node.op_type} {name_of(unfit.node)!r}: {unfit.why}" if unfit.node.op_type else unfit.why
                )
                add_host(self, name, replace(y, shape=rows, view=plain), reason)
                self.quantised[name] = Value(tensor=name, view=plain)

    def _input(self, name: str, tensor: Tensor, clamp: tuple[int, int] | None) -> None:
        """A float input that the host quantises, or clips and quantises."""
        self.tensors[tensor.name] = tensor
        self.names.add(tensor.name)
        self.quantised[tensor.name] = Value(tensor=tensor.name, view=tensor.view)
        self.ports.append(
            Port(
                name=name,
                shape=self.shape(name),
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
        if self._odd_grid(node) or not self.graph.real_result(node):
            return
        scale, zero = self.graph.parameters(node)
        if scale.size == 1 and np.isclose(scale[0], tensor.scale, rtol=1e-6) and zero[0] == tensor.zero_point:
            self.values[node.output[0]] = value

    def _compute(self, node: onnx.NodeProto, source: str, target: Target) -> None:
        """The kernel that makes the target: an operator, the Relu and Clip after it, the requantisation."""
        graph, y = self.graph, target.y
        low, high = target.low, target.high
        chain: list[onnx.NodeProto] = []
        while source not in self.values and (made := graph.producer.get(source)) is not None:
            if made.op_type not in CLAMPS or graph.uses.get(made.input[0], 0) != 1 or made.input[0] in self.values:
                break
            chain.append(made)
            low, high = (min(max(bound, low), high) for bound in self.bounds(made, y))  # the later clamp decides
            source = made.input[0]
        names = [name_of(n) for n in reversed(chain)]
        if source in self.values:
            if self.tensor(self.values[source]).dtype in ("f32", "s64"):
                raise Unfit(node, "its input is float, from the host or the user")
            nodes = tuple(names) or target.nodes
            rescale(self, node, replace(target, nodes=nodes, low=low, high=high), self.values[source])
            return
        made = graph.producer.get(source)
        if made is None:
            raise Unfit(node, f"nothing computes {source!r}")
        aim = replace(target, nodes=(name_of(made), *names), low=low, high=high, shape=graph.shapes[source])
        if made.op_type in CLAMPS and made.input[0] in self.values:
            value = self.dynamic(made, 0)
            if self.tensor(value).dtype == "s16":
                bounds = self.bounds(made, y)
                low, high = (min(max(bound, low), high) for bound in bounds)
                rescale(self, made, replace(aim, low=low, high=high), value)
                return
        builder = BUILDERS.get(made.op_type)
        dynamic = [i for i in made.input if i in self.values]
        if builder is not None:
            builder(self, made, aim)
        elif made.output[0] in self.unseen:
            raise self.unseen[made.output[0]]
        elif len(dynamic) == 1 and all(i in self.values or i in graph.initializers or not i for i in made.input):
            lower_unary(self, made, aim)
        elif made.domain not in ("", "ai.onnx"):
            raise Unfit(made, f"it is of the domain {made.domain!r}")
        else:
            raise Unfit(made, "no unit does it")

    def from_host(self, name: str) -> Value | None:
        kind = self.graph.types.get(name, 0)
        node = self.graph.producer.get(name)
        if kind not in INTEGER or node is None or self.graph.constant(name) is not None:
            return None
        if not within(self.ranges.of(name), LIMITS["s32"]):
            raise Unfit(node, "its results can leave 32 bits")
        value = plain_tensor(self, name, name)
        tensor = self.tensors.pop(value.tensor)
        if tensor.dtype == "s64":  # indices and masks: kernels read 32 bits
            tensor = replace(tensor, dtype="s32")
        add_host(self, name, tensor, self._why_on_host(name), self.ranges.to_check(name))
        self.values[name] = value
        return value

    # -- everything that is not quantised --------------------------------------------------------------------------

    def _layout_or_integers(self, node: onnx.NodeProto) -> None:
        """Views of what is stored, integers and truth values that kernels compute; the rest waits for a reader."""
        integers = self.graph.types.get(node.output[0] if node.output else "") in INTEGER
        if not node.input or not (self._reads_values(node) or integers):
            return
        if node.op_type in VIEWS and node.input[0] not in self.values and self._waits(node):
            self.attempt(lambda: self._demand(node))
        if node.op_type in VIEWS and node.input[0] in self.values:
            value = self.values[node.input[0]]
            if self.tensor(value).dtype in ("f32", "s64"):
                return
            found: list[Value] = []
            rule = VIEWS[node.op_type]
            unfit = self.attempt(lambda: found.extend(rule(self, node, value)))
            if unfit is None:
                self.values |= dict(zip((name for name in node.output if name), found, strict=False))
            else:
                self.unseen[node.output[0]] = unfit
            return
        if node.op_type in ON_INTEGERS and (integers or node.op_type == "Cast"):
            self.attempt(lambda: self._integers(node))

    def _reads_values(self, node: onnx.NodeProto) -> bool:
        return any(name in self.values for name in node.input)

    def _waits(self, node: onnx.NodeProto) -> bool:
        """Whether integers that nobody computed yet are all that a layout operator lacks."""
        return self.graph.constant(node.input[0]) is None and node.input[0] in self.graph.producer

    def _demand(self, node: onnx.NodeProto) -> None:
        if self.from_host(node.input[0]) is None:
            raise Unfit(node, "its input is not quantised")

    def _integers(self, node: onnx.NodeProto) -> None:
        """Cast, Equal, Not, Mod, Where, Add, Sub, Mul, Max, Min of integers and truth values. Raises `Unfit`."""
        name = node.output[0]
        kind = self.graph.types.get(name, 0)
        if any(self.graph.types.get(i) not in INTEGER for i in node.input if i and node.op_type != "Cast"):
            raise Unfit(node, "it does not take integers")
        if node.op_type == "Cast" and kind == TensorProto.BOOL and self.graph.types.get(node.input[0]) in INTEGER:
            zero = self._number(0)
            is_zero = self._integer_result(node, name, "equal", [(self.dynamic(node, 0), 0), (zero, 0)])
            self.values[name] = self._integer_result(node, name, "equal", [(is_zero, 0), (zero, 0)])
            return
        if node.op_type == "Cast":
            value = self.dynamic(node, 0)
            tensor = self.tensor(value)
            plain = (tensor.scale, tensor.zero_point) == (1.0, 0) and self.graph.types.get(node.input[0]) in INTEGER
            wide = kind in (TensorProto.INT32, TensorProto.INT64, TensorProto.FLOAT)
            if not plain or not (wide or self.graph.types.get(node.input[0]) == TensorProto.BOOL):
                raise Unfit(node, "it rounds or cuts off")
            self.values[name] = value
            return
        if node.op_type in WRAPPING and kind not in (TensorProto.INT32, TensorProto.INT64):
            raise Unfit(node, "its results wrap around")
        if node.op_type in WRAPPING and not self.ranges.fits(node):
            raise Unfit(node, "its results can leave 32 bits")
        operands = [self._whole_number(node, place) for place in range(len(node.input))]
        found = INTEGER_OPERATORS.get(node.op_type)
        if found is None or attribute(node, "fmod", 0) or len(operands) > len(found[1]):
            raise Unfit(node, "no unit does it on integers")
        op, mantissas = found
        if node.op_type == "Not":
            operands = [*operands, self._number(0)]
        if op == "product" and self._reach(operands[0]) * self._reach(operands[1]) >= 1 << DOUBLE_BITS:
            raise Unfit(node, f"its products can leave {DOUBLE_BITS} bits")
        self.values[name] = self._integer_result(node, name, op, list(zip(operands, mantissas, strict=True)))

    def _reach(self, value: Value) -> int:
        """The largest absolute value that an integer operand can have."""
        tensor = self.tensor(value)
        return int(np.abs(self.constants[tensor.constant].astype(np.int64)).max()) if tensor.constant else reach(tensor)

    def _integer_result(
        self, node: onnx.NodeProto, name: str, op: Operator, operands: Sequence[tuple[Value, int]]
    ) -> Value:
        """A kernel whose result has the type and shape of the ONNX tensor `name`, as it is."""
        dtype: Dtype = "u8" if self.graph.types.get(name) == TensorProto.BOOL else "s32"
        stored, view = stored_view(self.shape(name), "rows")
        own = self.free(name)
        last = op != "equal" or node.op_type != "Cast" or own != name  # of two steps the second one is the ONNX tensor
        onnx_name = name if last else ""
        y = Tensor(name=own, shape=stored, dtype=dtype, scale=1.0, zero_point=0, onnx=onnx_name, view=view)
        low, high = LIMITS[dtype]
        target = Target(y=y, nodes=(name_of(node),), shape=self.shape(name), low=low, high=high)
        add_elementwise(self, target, op, operands)
        return self.quantised.pop(own)

    def _whole_number(self, node: onnx.NodeProto, place: int) -> Value:
        operand = self.operand(node, place)
        return self._number(int(operand.real)) if isinstance(operand, Scalar) else operand

    def _number(self, number: int) -> Value:
        return self.constant_tensor(f"integer {number}", np.array(number, np.int64), "s32", 1.0, 0)

    def _output(self, name: str) -> None:
        value = self.values.get(name) or self.quantised.get(name)
        kind = self.graph.types.get(name, TensorProto.FLOAT)
        if value is None:
            node = self.graph.producer.get(name)
            if node is None and name not in self.graph.initializers:
                self.graph.problem("BL0304", onnx.NodeProto(name=name), "is made by nothing", "export the model again")
                return
            value = self._from_host(name)
        elif not index_map.covers(value.view) or self.tensor(value).constant:
            stored, view = stored_view(value.view.shape, "rows")
            value = self.copied(value, stored, view, name)
        tensor = self.tensor(value)
        real = kind == TensorProto.FLOAT and tensor.dtype in ("u8", "s8", "s16", "s32")
        self.ports.append(
            Port(
                name=name,
                shape=self.shape(name),
                tensor=value.tensor,
                view=value.view,
                direction="output",
                real=real,
                dtype=str(np.dtype(helper.tensor_dtype_to_np_dtype(kind))),
            )
        )

    def _from_host(self, name: str) -> Value:
        """A result that is not quantised: whatever makes it runs on the host."""
        value = plain_tensor(self, name, name)
        tensor = self.tensors.pop(value.tensor)
        add_host(self, name, tensor, self._why_on_host(name))
        return value

    def _why_on_host(self, name: str) -> str:
        """Why a result that is no integer of a grid is left to the host."""
        node = self.graph.producer.get(name)
        kind = TensorProto.DataType.Name(self.graph.types.get(name, 0)).lower()
        if node is None:
            return "a constant result"
        what = f"{node.op_type} {name_of(node)!r}"
        if node.op_type in WRAPPING and self.graph.types.get(name) in INTEGER and not self.ranges.fits(node):
            return f"{what}: its results can leave 32 bits"
        if self.graph.types.get(name) in INTEGER:
            return f"{what}: no unit does it on {kind}"
        return f"{what}: its result is {kind} on no grid of integers"


def _named(network: Network) -> set[str]:
    """Constants that anything in a network names."""
    found = {tensor.constant for tensor in network.tensors}
    for kernel in network.kernels:
        for field in ("table", "model"):
            found.add(str(getattr(kernel, field, "")))
        matrix, post = getattr(kernel, "matrix", None), getattr(kernel, "post", None)
        if matrix is not None and post is not None:
            found |= {matrix.name, post.parameters}
    return found - {""}


def without_dead(network: Network) -> Network:
    """Kernels and tensors that no output depends on go; inputs stay, as they are the network's interface."""
    live = {port.tensor for port in network.ports}
    kept: list[int] = []
    number = len(network.kernels) - 1
    while number >= 0:
        repeat = network.repeat_of(number)
        together = range(repeat.first, number + 1) if repeat else range(number, number + 1)  # a repetition goes whole
        if any(live.intersection(outputs_of(network.kernels[i])) for i in together):
            for i in together:
                live.update(inputs_of(network.kernels[i]), outputs_of(network.kernels[i]))
            kept += reversed(together)
        number = together.start - 1
    kept.reverse()
    places = {number: place for place, number in enumerate(kept)}
    return Network(
        name=network.name,
        tensors=tuple(t for t in network.tensors if t.name in live),
        kernels=tuple(network.kernels[i] for i in kept),
        ports=network.ports,
        repeats=tuple(
            replace(r, first=places[r.first], last=places[r.last]) for r in network.repeats if r.first in places
        ),
    )


def lower(proto: onnx.ModelProto, name: str, *, make_math: MakeMath, unary: UnaryTable) -> Lowered:
    """The kernels of a QDQ model. Raises `Refusal`: tensors that no memory holds (BL0302) or nothing makes (BL0304)."""
    return _Walk(read_qdq(proto, name), make_math, unary).run()

"""What no unit of the chip does becomes a `Host` kernel: the ONNX nodes back to what is stored, as a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from bitline.core.diagnostics import Diagnostic, Refusal, refuse
from bitline.engines.protobuf import serialised
from bitline.graph.macs import node_macs
from bitline.graph.model import reads
from bitline.ir.kernels import LIMITS, Dtype, Host, Port, Tensor
from bitline.lower.integers import Interval
from bitline.lower.qdq import ONNX_TYPE, QdqGraph, Value
from bitline.lower.state import Lowering, name_of
from bitline.lower.stored import stored_view

OLDEST_OPSET = 18
"""`golden.onnx` holds these nodes beside its own, which are of this opset."""
STORED: dict[int, Dtype] = {
    TensorProto.FLOAT: "f32",
    TensorProto.FLOAT16: "f32",
    TensorProto.BFLOAT16: "f32",
    TensorProto.DOUBLE: "f32",
    TensorProto.BOOL: "u8",
    TensorProto.UINT8: "u8",
    TensorProto.INT8: "s8",
    TensorProto.INT16: "s16",
    TensorProto.UINT16: "s32",
    TensorProto.INT32: "s32",
    TensorProto.UINT32: "s64",
    TensorProto.INT64: "s64",
    TensorProto.UINT64: "s64",
}
"""How a tensor that is not quantised is stored between kernels."""

RESULT, ROW, LOW, HIGH = ".result", ".check.row", ".check.low", ".check.high"
"""What the names of a subgraph's own tensors end with: the result; integers as one row, and their limits."""


def stored_dtype(graph: QdqGraph, name: str, place: str) -> Dtype:
    """The stored type of an ONNX tensor. Raises `Refusal` (BL0302) for strings and the like."""
    dtype = STORED.get(graph.types.get(name, 0))
    if dtype is None:
        kind = TensorProto.DataType.Name(graph.types.get(name, 0))
        raise refuse(
            "BL0302",
            f"tensor {name!r} is of type {kind}, which no memory of a chip holds",
            place=f"{graph.name}:{place}",
            help="leave it out of the network, or convert it to numbers",
        )
    return dtype


def plain_tensor(state: Lowering, name: str, place: str) -> Value:
    """A tensor that is no quantised one, row by row, in the type that its ONNX type has here."""
    shape = state.shape(name)
    if not prod(shape):
        raise refuse("BL0302", f"tensor {name!r} is empty", place=f"{state.graph.name}:{place}", help="remove it")
    stored, view = stored_view(shape, "rows")
    own = state.free(name)
    dtype = stored_dtype(state.graph, name, place)
    state.tensors[own] = Tensor(name=own, shape=stored, dtype=dtype, scale=1.0, zero_point=0, onnx=name, view=view)
    return Value(tensor=own, view=view)


class _Subgraph:
    """A model under construction, from what is stored to one result."""

    def __init__(self, state: Lowering, wanted: Sequence[str]) -> None:
        self.state, self.graph = state, state.graph
        self.nodes = self._closure(wanted)
        self.before: list[onnx.NodeProto] = []
        self.after: list[onnx.NodeProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []
        self.xs: list[str] = []
        self.initializers: dict[str, onnx.TensorProto] = {}

    def known(self, name: str) -> bool:
        return name in self.state.values

    def _closure(self, wanted: Sequence[str]) -> list[onnx.NodeProto]:
        """The nodes that make `wanted` from what is stored, in the order of the graph."""
        needed: set[int] = set()
        waiting = [name for name in wanted if not self.known(name)]
        seen: set[str] = set()
        while waiting:
            name = waiting.pop()
            node = self.graph.producer.get(name)
            if name in seen or node is None:
                continue
            seen.add(name)
            needed.add(id(node))
            waiting += [used for used in reads(node) if not self.known(used)]
        return [node for node in self.graph.proto.graph.node if id(node) in needed]

    def add_inputs(self) -> None:
        """A graph input of the subgraph for everything stored that its nodes read, brought to its ONNX type."""
        made = {output for node in self.nodes for output in node.output}
        for name in dict.fromkeys(used for node in self.nodes for used in reads(node)):
            if name in made:
                continue
            if name in self.graph.initializers:
                self.initializers[name] = numpy_helper.from_array(
                    np.ascontiguousarray(self.graph.initializers[name]).reshape(self.graph.initializers[name].shape),
                    name,
                )
            elif self.known(name):
                self._input(name)

    def _input(self, name: str) -> None:
        state, shape = self.state, self.graph.shapes[name]
        value = in_rows(state, state.values[name], name)
        tensor = state.tensor(value)
        entry = f"{name}.stored"
        source = f"{entry}.{len(self.xs)}"
        self.xs.append(value.tensor)
        self.inputs.append(helper.make_tensor_value_info(source, ONNX_TYPE[tensor.dtype], list(shape)))
        element = self.graph.types.get(name, TensorProto.FLOAT)
        quantised = element == TensorProto.FLOAT and tensor.dtype != "f32"
        if quantised and tensor.dtype in ("u8", "s8", "s16") and (tensor.scale, tensor.zero_point) != (1.0, 0):
            kind = {"u8": np.uint8, "s8": np.int8, "s16": np.int16}[tensor.dtype]
            scale, zero = f"{entry}.scale", f"{entry}.zero"
            self.initializers[scale] = numpy_helper.from_array(np.array(tensor.scale, np.float32), scale)
            self.initializers[zero] = numpy_helper.from_array(np.array(tensor.zero_point, kind), zero)
            node = helper.make_node("DequantizeLinear", [source, scale, zero], [name], name=f"{entry}.real")
        elif element == ONNX_TYPE[tensor.dtype]:
            node = helper.make_node("Identity", [source], [name], name=f"{entry}.same")
        else:
            node = helper.make_node("Cast", [source], [name], name=f"{entry}.cast", to=element)
        self.before.append(node)

    def add_trigger(self) -> None:
        """One number that nothing reads: results that depend on no input are computed when this was stored."""
        number = self.state.scalar_tensor(1.0)
        value = self.state.copied(number, *stored_view((), "rows"), "constant result")
        self.xs.append(value.tensor)
        self.inputs.append(helper.make_tensor_value_info("constant result.trigger", TensorProto.INT8, [1]))

    def add_output(self, name: str, dtype: Dtype, limits: Interval | None) -> onnx.ValueInfoProto:
        """The result in its stored type, checked to lie within the limits."""
        out = f"{name}{RESULT}"
        same = self.graph.types.get(name) == ONNX_TYPE[dtype]
        source = name if limits is None else self._checked(name, limits)
        node = helper.make_node("Identity" if same else "Cast", [source], [out], name=f"{name}.out")
        if not same:
            node.attribute.append(helper.make_attribute("to", ONNX_TYPE[dtype]))
        self.after.append(node)
        return helper.make_tensor_value_info(out, ONNX_TYPE[dtype], list(self.graph.shapes[name]))

    def _checked(self, name: str, limits: Interval) -> str:
        """The integers `name` again. Where one lies outside, ONNX Runtime ends: a Gather takes row 1 of 1 row."""
        kind = helper.tensor_dtype_to_np_dtype(self.graph.types[name])
        constants = {f"{name}{LOW}": np.array(limits[0], kind), f"{name}{HIGH}": np.array(limits[1], kind)}
        one_row, shape = f"{name}.check.one_row", f"{name}.check.shape"
        constants |= {one_row: np.array([1, -1]), shape: np.array(self.graph.shapes[name], np.int64)}
        self.initializers |= {key: numpy_helper.from_array(value, key) for key, value in constants.items()}
        below, above, outside, number, worst, inside, checked = (
            f"{name}.check.{step}" for step in ("below", "above", "outside", "number", "worst", "inside", "result")
        )
        self.after += [
            helper.make_node("Reshape", [name, one_row], [f"{name}{ROW}"], name=f"{name}{ROW}"),
            helper.make_node("Less", [f"{name}{ROW}", f"{name}{LOW}"], [below], name=below),
            helper.make_node("Greater", [f"{name}{ROW}", f"{name}{HIGH}"], [above], name=above),
            helper.make_node("Or", [below, above], [outside], name=outside),
            helper.make_node("Cast", [outside], [number], name=number, to=TensorProto.INT32),
            helper.make_node("ReduceMax", [number], [worst], name=worst, keepdims=0),
            helper.make_node("Gather", [f"{name}{ROW}", worst], [inside], name=inside),
            helper.make_node("Reshape", [inside, shape], [checked], name=checked),
        ]
        return checked

    def model(self, outputs: Sequence[onnx.ValueInfoProto]) -> onnx.ModelProto:
        graph = helper.make_graph(
            [*self.before, *self.nodes, *self.after],
            "host",
            self.inputs,
            list(outputs),
            list(self.initializers.values()),
        )
        proto = self.graph.proto
        model = helper.make_model(graph, opset_imports=list(proto.opset_import), producer_name="bitline")
        model.ir_version = max(8, min(proto.ir_version, 10))
        return raised(model)


def raised(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model in an opset that `golden.onnx` can hold. Raises `Refusal` (BL0302)."""
    from onnx import version_converter

    version = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), OLDEST_OPSET)
    if version >= OLDEST_OPSET:
        return model
    try:
        return version_converter.convert_version(model, OLDEST_OPSET)
    except (version_converter.ConvertError, RuntimeError, ValueError) as error:
        nodes = ", ".join(sorted({node.op_type for node in model.graph.node}))
        raise refuse(
            "BL0302",
            f"operators for the host ({nodes}) cannot be converted to opset {OLDEST_OPSET}: {error}",
            help=f"export the model with opset {OLDEST_OPSET} or newer",
        ) from None


def in_rows(state: Lowering, value: Value, origin: str) -> Value:
    """The value in ONNX's own order, as all of a tensor that is no constant, which the host can be handed."""
    tensor = state.tensor(value)
    stored, view = stored_view(value.view.shape, "rows")
    size = prod(stored)
    same_order = prod(tensor.shape) == size and not tensor.constant
    if same_order and np.array_equal(value.view.evaluate().reshape(-1), np.arange(size)):
        return value
    return state.copied(value, stored, view, origin)


def add_host(state: Lowering, name: str, y: Tensor, why: str, limits: Interval | None = None) -> None:
    """A kernel whose one result is the ONNX tensor `name`, stored as `y`; raises `Refusal` where it cannot be run.

    With `limits` its run ends where an integer lies outside.
    """
    graph = state.graph
    part = _Subgraph(state, [name])
    part.add_inputs()
    missing = [
        used
        for node in part.nodes
        for used in reads(node)
        if used not in graph.producer and used not in graph.initializers and not part.known(used)
    ]
    if missing or not part.nodes:
        raise Refusal([*graph.problems, _unreadable(state, name, missing)])
    if not part.xs:
        part.add_trigger()
    output = part.add_output(name, y.dtype, limits)
    model = part.model([output])
    nodes = tuple(dict.fromkeys(name_of(node) for node in part.nodes if node.op_type not in QDQ)) or (name,)
    kernel = state.free(nodes[-1])
    state.constants[f"{kernel}.host"] = np.frombuffer(serialised(model, place=kernel), np.uint8).copy()
    state.kernels.append(
        Host(
            name=kernel,
            nodes=nodes,
            xs=tuple(part.xs),
            ys=(y.name,),
            model=f"{kernel}.host",
            macs=sum(node_macs(node, graph.shapes) for node in part.nodes),
            why=why,
        )
    )
    state.tensors[y.name] = y


QDQ = ("QuantizeLinear", "DequantizeLinear")


def _unreadable(state: Lowering, name: str, missing: Sequence[str]) -> Diagnostic:
    what = f"{missing[0]!r} is made by nothing" if missing else f"nothing computes {name!r}"
    return refuse("BL0304", what, place=f"{state.graph.name}:{name}", help="export the model again").diagnostics[0]


def float_input(state: Lowering, name: str, limits: Interval | None) -> Value:
    """A graph input that is handed on as the user gives it, integers within the limits."""
    value = plain_tensor(state, name, name)
    tensor = state.tensor(value)
    if tensor.dtype == "s64":  # indices and masks, which kernels can read; the host checks that they fit
        tensor = state.tensors[tensor.name] = replace(tensor, dtype="s32")
    onnx_type = helper.tensor_dtype_to_np_dtype(state.graph.types[name])
    state.ports.append(
        Port(
            name=name,
            shape=state.shape(name),
            tensor=tensor.name,
            view=value.view,
            direction="input",
            real=False,
            dtype=str(np.dtype(onnx_type)),
            limits=limits if tensor.dtype == "s32" and limits != LIMITS["s32"] else None,
        )
    )
    return Value(tensor=tensor.name, view=value.view)

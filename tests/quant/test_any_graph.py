"""Any graph of all kinds, with float operators in between, becomes a QDQ model that holds what lowering relies on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from bitline.engines.ort import Session
from bitline.graph import shapes
from bitline.graph.model import Model, Wiring
from bitline.graph.passes.name_nodes import name_nodes
from bitline.quant.calibration import batches
from bitline.quant.options import QuantOptions, ResidualBits
from bitline.quant.prepare import prepare
from bitline.quant.ptq import quantize
from bitline.quant.score import SQNR_CAP_DB
from bitline.quant.steps import Plan
from tests.graph.build import as_model, constants

SIZE = 4
UNARY = ("Relu", "Sigmoid", "Tanh", "HardSwish", "LeakyRelu", "Erf", "Abs", "Neg")
BINARY = ("Add", "Sub", "Mul", "Max", "Min", "Sum")
IN_FLOAT = ("LogSoftmax", "Hardmax", "Sinh")
KINDS = (
    *("unary", "binary", "constant", "weights", "gemm", "product", "where", "softmax", "norm", "mean", "highest"),
    *("transpose", "gather", "split", "concat", "float", "float", "residual", "reshape", "divide"),
)


@dataclass
class Graph:
    """A graph under construction, in which every tensor is float[4, 4]."""

    draw: st.DrawFn
    rng: np.random.Generator
    nodes: list[onnx.NodeProto] = field(default_factory=list[onnx.NodeProto])
    values: dict[str, np.ndarray] = field(default_factory=dict[str, np.ndarray])
    tensors: list[str] = field(default_factory=lambda: ["x", "z"])

    def any(self) -> str:
        return self.draw(st.sampled_from(self.tensors))

    def constant(self, *shape: int) -> str:
        name = f"k{len(self.values)}"
        self.values[name] = self.rng.standard_normal(shape).astype(np.float32)
        return name

    def integers(self, *values: int) -> str:
        name = f"k{len(self.values)}"
        self.values[name] = np.array(values, np.int64)
        return name

    def add(self, op_type: str, *inputs: str, outputs: int = 1, keep: bool = True, **attributes: Any) -> str:
        made = [f"t{len(self.nodes)}_{index}" for index in range(outputs)]
        self.nodes.append(helper.make_node(op_type, inputs, made, **attributes))
        self.tensors += made if keep else []
        return made[0]

    def grow(self, kind: str) -> None:
        match kind:
            case "unary":
                self.add(self.draw(st.sampled_from(UNARY)), self.any())
            case "binary":
                self.add(self.draw(st.sampled_from(BINARY)), self.any(), self.any())
            case "constant":
                shape = self.draw(st.sampled_from([(), (SIZE,), (SIZE, 1)]))
                self.add(self.draw(st.sampled_from((*BINARY, "PRelu"))), self.any(), self.constant(*shape))
            case "weights":
                self.add("MatMul", self.any(), self.constant(SIZE, SIZE))
            case "gemm":
                self.add("Gemm", self.any(), self.constant(SIZE, SIZE), self.constant(SIZE), transB=1)
            case "product":
                self.add("MatMul", self.any(), self.any())
            case "where":
                self.add("Where", "c", self.any(), self.any())
            case "softmax":
                self.add("Softmax", self.any())
            case "norm" | "residual":
                source = self.any() if kind == "norm" else self.add("Add", self.any(), self.any())
                self.add("LayerNormalization", source, self.constant(SIZE))
            case "mean":
                mean = self.add("ReduceMean", self.any(), axes=[1], keep=False)
                self.add("Sub", self.any(), mean)
            case "highest":
                top = self.add("ReduceMax", self.any(), axes=[0], keep=False)
                self.add("Add", top, self.any())
            case "transpose":
                self.add("Transpose", self.any(), perm=[1, 0])
            case "gather":
                self.add("Gather", self.draw(st.sampled_from([*self.tensors, self.constant(6, SIZE)])), "i")
            case "split":
                first = self.add("Split", self.any(), outputs=2, axis=0, keep=False)
                self.add("Concat", first.replace("_0", "_1"), first, axis=0)
            case "concat":
                joined = self.add("Concat", self.any(), self.constant(2, SIZE), axis=0, keep=False)
                self.add("Slice", joined, self.integers(1), self.integers(SIZE + 1), self.integers(0))
            case "float":
                self.add(self.draw(st.sampled_from(IN_FLOAT)), self.any())
            case "reshape":
                flat = self.add("Flatten", self.any(), axis=0, keep=False)
                self.add("Reshape", flat, self.integers(SIZE, SIZE))
            case _:
                self.add("Div", self.any(), self.add("Sigmoid", self.any()))


@st.composite
def graphs(draw: st.DrawFn) -> Model:
    graph = Graph(draw=draw, rng=np.random.default_rng(draw(st.integers(0, 10_000))))
    for kind in draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=8)):
        graph.grow(kind)
    tensor = onnx.TensorProto
    info = helper.make_tensor_value_info
    inputs = [info(name, tensor.FLOAT, [SIZE, SIZE]) for name in "xz"]
    inputs += [info("c", tensor.BOOL, [SIZE, SIZE]), info("i", tensor.INT64, [SIZE])]
    read = {name for node in graph.nodes for name in node.input}
    ends = [name for node in graph.nodes for name in node.output if name not in read]
    outputs = [info(name, tensor.FLOAT, None) for name in ends]
    initializers = [numpy_helper.from_array(value, name) for name, value in graph.values.items()]
    made = helper.make_graph(graph.nodes, "net", inputs, outputs, initializers)
    proto = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return as_model(name_nodes(shapes.inferred(proto)))


def samples(seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    drawn = {name: rng.uniform(-2, 2, (4, SIZE, SIZE)).astype(np.float32) for name in "xz"}
    return drawn | {"c": rng.integers(0, 2, (4, SIZE, SIZE)).astype(bool), "i": rng.integers(0, SIZE, (4, SIZE))}


@given(graphs(), st.integers(0, 100), st.sampled_from(["auto", 8, 16]))
def test_every_graph_becomes_what_lowering_reads(model: Model, seed: int, residual_bits: ResidualBits) -> None:
    feeds = samples(seed)
    options = QuantOptions(method="minmax", residual_bits=residual_bits)
    result = quantize(model, feeds, options)
    proto = result.model.proto
    onnx.checker.check_model(proto, full_check=True)
    session = Session(proto, optimise=False)
    for batch in batches(feeds, model):
        assert all(np.isfinite(value).all() for value in session.run(batch).values())
    assert result.sqnr_db > 8 or result.sqnr_db == -SQNR_CAP_DB, "close, unless the float outputs are all 0"
    assert quantize(model, feeds, options).model.proto.SerializeToString() == proto.SerializeToString()
    check_structure(model, prepare(model, feeds, options).plan, proto)


def check_structure(model: Model, plan: Plan, proto: onnx.ModelProto) -> None:
    wiring, values = Wiring(proto.graph), constants(proto)
    kept = {node.name: node for node in proto.graph.node}
    steps = {step.node: step for step in plan.steps}
    assert {node.name for node in model.proto.graph.node} <= set(kept), "nodes keep their names"
    for node in proto.graph.node:
        if node.op_type == "QuantizeLinear":
            assert values[node.input[1]].shape == values[node.input[2]].shape == ()
            assert values[node.input[2]].dtype in (np.uint8, np.int16)
            reader = wiring.only_reader(node.output[0])
            assert reader is not None, "one pair, one reader"
            assert (reader.op_type, reader.input[1:]) == ("DequantizeLinear", node.input[1:])
    for step in steps.values():
        node = kept[step.activation or step.node]
        for name in node.output:
            if step.activation or name in step.outputs or name.removesuffix("_f") in step.outputs:
                assert [reader.op_type for reader in wiring.readers[name]] == ["QuantizeLinear"], step
        for name in kept[step.node].input:
            quantised = wiring.producer[name].op_type == "DequantizeLinear" if name in wiring.producer else False
            parameter = name in values or wiring.elem_type(name) != onnx.TensorProto.FLOAT
            assert quantised or parameter or name == "", f"{step.node} reads {name} in float"

"""QDQ ONNX -> `Network`. One kernel for every quantised tensor that is computed; layout operators become index maps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx

from bitline.core.diagnostics import NoMatch
from bitline.ir import index_map
from bitline.ir.index_map import IndexMap
from bitline.ir.kernels import (
    LIMITS,
    Constants,
    Network,
    Port,
    Tensor,
)
from bitline.lower.elementwise import lower_add, lower_copy, lower_pool, lower_softmax, lower_table
from bitline.lower.linear import lower_conv, lower_gemm
from bitline.lower.qdq import DTYPES, Value, ints_attribute, read_qdq
from bitline.lower.state import Lowering, MakeMath, UnaryTable
from bitline.lower.stored import stored_view

VIEWS = {"Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Identity"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Lowered:
    """Kernels and the arrays that they name."""

    network: Network
    constants: Constants


class _Walk(Lowering):
    """Node after node of a QDQ graph."""

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
            self._input(clip.input[0], tensor, self.bounds(clip, tensor))
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
            value = self.flattened(node, value)
            view = index_map.reshape(value.view, shape)
            assert isinstance(view, IndexMap), view
        self.values[node.output[0]] = Value(tensor=value.tensor, view=view)

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
            bounds = self.bounds(made, y)
            if bounds is None:
                return
            low, high = (min(max(bound, low), high) for bound in bounds)  # the later clamp has the last word
            source = made.input[0]
        if source in self.values:
            lower_copy(self, node, chain, self.values[source], y, low, high)
            return
        made = graph.producer.get(source)
        if made is None:
            graph.problem("BL0304", node, f"quantises {source!r}, which nothing computes", "quantise the model again")
            return
        nodes = tuple(n.name or n.output[0] for n in [made, *reversed(chain)])
        builders = {
            "Conv": lower_conv,
            "Gemm": lower_gemm,
            "MatMul": lower_gemm,
            "Add": lower_add,
            "MaxPool": lower_pool,
            "AveragePool": lower_pool,
            "GlobalAveragePool": lower_pool,
            "GlobalMaxPool": lower_pool,
            "ReduceMean": lower_pool,
            "Softmax": lower_softmax,
        }
        if made.op_type in builders:
            builders[made.op_type](self, made, nodes, y, low, high)
        elif len([i for i in made.input if i in self.values]) == 1 and all(
            i in self.values or i in graph.initializers or not i for i in made.input
        ):
            lower_table(self, made, nodes, y, low, high)
        else:
            self.unsupported(made)


def lower(proto: onnx.ModelProto, name: str, *, make_math: MakeMath, unary: UnaryTable) -> Lowered:
    """The kernels of a QDQ model. Raises `Refusal` listing every node that has no kernel (BL0301, BL0302, BL0304)."""
    return _Walk(read_qdq(proto, name), make_math, unary).run()

"""Write the quantised model: QuantizeLinear -> DequantizeLinear pairs on activations, integers for all weights.

    y = Relu(Conv(x, w, b))   -->   x_q = QuantizeLinear(x, x_scale, x_zero_point);  x_dq = DequantizeLinear(x_q, ...)
                                    w_dq = DequantizeLinear(w_q int8, w_scale, 0, axis=0)
                                    b_dq = DequantizeLinear(b_q int32, x_scale * w_scale, 0, axis=0)
                                    y = Relu(Conv(x_dq, w_dq, b_dq));  y_q = ...;  y_dq = ...
    z = MatMul(y, w), y wide  -->   y_dq = DequantizeLinear(QuantizeLinear(y)) int16
                                    y_dq8 = DequantizeLinear(QuantizeLinear(y_dq)) uint8;  z = MatMul(y_dq8, w_dq)

Names: `T_q` and `T_dq` stand for the ONNX tensor T, `T_q8` and `T_dq8` for the 8 bits of a 16-bit one; nodes keep their
names. An output T of the graph that a step makes stays T and is what DequantizeLinear makes; the float value before it
is `T_f`. Widths below 8 bits put a Clip (`T_c`) before QuantizeLinear, whose uint8 would saturate later than the chip.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper

from bitline.graph.model import Model, Wiring, copied, set_constant, subgraphs
from bitline.graph.passes.drop_dead import drop_dead
from bitline.quant.assign import Grids
from bitline.quant.grid import Grid, bias_floor, quantised_bias, quantised_weight, weight_scale
from bitline.quant.kinds import Kind
from bitline.quant.options import QuantOptions
from bitline.quant.steps import Plan, Step

Array = npt.NDArray[Any]


def write_qdq(model: Model, plan: Plan, grids: Grids, options: QuantOptions) -> onnx.ModelProto:
    """The QDQ form, without `value_info` for the tensors it adds (`graph.shapes.with_shapes`)."""
    return _Writer(model, plan, grids, options).write()


class _Writer:
    def __init__(self, model: Model, plan: Plan, grids: Grids, options: QuantOptions) -> None:
        self.proto = copied(model.proto)
        self.graph = self.proto.graph
        self.wiring = Wiring(model.proto.graph)
        self.options = options
        self.plan = plan
        self.grids = grids
        self.made = {name for step in plan.steps for name in step.outputs}
        self.nodes: list[onnx.NodeProto] = []
        self.read_as: dict[str, str] = {}
        self.present: set[str] = set()
        self.taken = {name for node in self.graph.node for name in (*node.input, *node.output)}
        self.taken |= {tensor.name for tensor in self.graph.initializer}
        self.names: dict[str, str] = {}
        self.constant_names: dict[tuple[str, Grid], str] = {}
        self.weight_scales = self._weight_scales()

    def write(self) -> onnx.ModelProto:
        by_node = {name: step for step in self.plan.steps for name in (step.node, *step.inner)}
        by_last = {step.activation or step.node: step for step in self.plan.steps}
        for value in self.graph.input:
            if value.name in self.plan.owner:
                self._quantise(value.name, value.name, clip=True)
        for original in self.wiring.graph.node:
            node = onnx.NodeProto.FromString(original.SerializeToString())
            step = by_node.get(node.name)
            self._rewire(node, step)
            if step is not None:
                self._quantise_constants(node, step)
            self.nodes.append(node)
            last = by_last.get(node.name)
            for index, name in enumerate(node.output):
                if name not in self.plan.owner:
                    continue
                if name in self.made:
                    assert last is not None
                    before = self._free(f"{name}_f") if name in self.wiring.outputs else name
                    node.output[index] = before
                    self._quantise(name, before, clip=last.kind is not Kind.MOVE, output=name in self.wiring.outputs)
                else:
                    self._quantise(name, name, clip=True)
        del self.graph.node[:]
        self.graph.node.extend(self.nodes)
        return drop_dead(self.proto)

    def _rewire(self, node: onnx.NodeProto, step: Step | None) -> None:
        """Steps read what was dequantised; float nodes read it too where a step made it, else the float itself."""
        for index, name in enumerate(node.input):
            if step is not None and (step.node, name) in self.grids.narrowed:
                node.input[index] = self._narrowed(name)
            elif step is not None or name in self.made:
                node.input[index] = self.read_as.get(name, name)
        for graph in subgraphs(node):
            _rename(graph, {name: after for name, after in self.read_as.items() if name in self.made})

    def _narrowed(self, name: str) -> str:
        after = self._free(f"{name}_dq8")
        if after not in self.present:
            self.present.add(after)
            self._pair(name, self.read_as[name], after, owner=name, grid=self.grids.narrow[name], suffix="8")
        return after

    def _quantise(self, name: str, before: str, *, clip: bool, output: bool = False) -> None:
        """The pair after tensor `before`, which stands for the ONNX tensor `name`."""
        owner = self.plan.owner[name]
        after = name if output else self._free(f"{name}_dq")
        self._pair(name, before, after, owner=owner, grid=self.grids.of[owner], clip=clip)
        self.read_as[name] = after

    def _pair(
        self, name: str, before: str, after: str, *, owner: str, grid: Grid, suffix: str = "", clip: bool = True
    ) -> None:
        parameters = self._parameters(self._label(owner, grid), grid, suffix)
        if clip and grid.bits < 8:
            low, high = grid.limits()
            clipped = self._free(f"{name}_c{suffix}")
            bounds = [
                self._constant(f"{owner}_low{suffix}", np.asarray(low, np.float32)),
                self._constant(f"{owner}_high{suffix}", np.asarray(high, np.float32)),
            ]
            self.nodes.append(helper.make_node("Clip", [before, *bounds], [clipped], name=f"{name}_Clip{suffix}"))
            before = clipped
        quantised = self._free(f"{name}_q{suffix}")
        for op_type, source, target in (
            ("QuantizeLinear", before, quantised),
            ("DequantizeLinear", quantised, after),
        ):
            node_name = f"{name}_{op_type}{suffix}"
            self.nodes.append(helper.make_node(op_type, [source, *parameters], [target], name=node_name))

    def _weight_scales(self) -> dict[tuple[str, int | None], npt.NDArray[np.float32]]:
        """One scale per weight tensor, though several nodes may share it: tied weights are stored once on the chip."""
        floors: dict[tuple[str, int | None], Any] = {}
        for step in self.plan.steps:
            if step.kind is not Kind.MATMUL:
                continue
            bias = self.wiring.array(step.bias) if step.bias else None
            floor = 0.0 if bias is None else bias_floor(bias, self._input_scale(step))
            if self._axis(step.weight_axis) is None:
                floor = np.max(floor)
            key = (step.weight, step.weight_axis)
            floors[key] = np.maximum(floors.get(key, 0.0), floor)
        return {
            (name, axis): weight_scale(self._weight(name), self._axis(axis), self.options.weight_bits, floor)
            for (name, axis), floor in floors.items()
        }

    def _quantise_constants(self, node: onnx.NodeProto, step: Step) -> None:
        if step.kind is Kind.MATMUL:
            self._quantise_parameters(node, step)
        for index, name in enumerate(node.input):
            if name not in step.constants or (step.op_type == "Where" and index == 0):
                continue
            grid = self.grids.of[name] if step.kind is Kind.MOVE else self.grids.constants[step.node, name]
            node.input[index] = self._dequantised_operand(name, grid)

    def _quantise_parameters(self, node: onnx.NodeProto, step: Step) -> None:
        scale = self.weight_scales[step.weight, step.weight_axis]
        axis = self._axis(step.weight_axis)
        alone = sum(name == step.weight for name, _ in self.weight_scales) == 1
        name = step.weight if alone else f"{step.weight}_axis{step.weight_axis}"
        q = quantised_weight(self._weight(step.weight), scale, axis, self.options.weight_bits)
        node.input[1] = self._dequantised(name, q, scale, axis)
        if step.bias:
            bias = self.wiring.array(step.bias)
            assert bias is not None
            bias_scale = (np.float32(self._input_scale(step)) * scale).astype(np.float32)
            name = step.bias if self.wiring.only_reader(step.bias) is not None else f"{step.node}.{step.bias}"
            q = quantised_bias(bias, bias_scale)
            node.input[2] = self._dequantised(name, q, bias_scale, None if axis is None else 0)

    def _dequantised_operand(self, name: str, grid: Grid) -> str:
        """A constant operand of an element-wise step, or a table, holds integers on a grid of its own."""
        value = self.wiring.array(name)
        assert value is not None
        zero_point = np.asarray(grid.zero_point, grid.dtype)
        label = self._label(name, grid)
        return self._dequantised(label, grid.quantised(value), np.asarray(grid.scale, np.float32), None, zero_point)

    def _label(self, name: str, grid: Grid) -> str:
        """The name under which the integers and scale of a constant go: one for each grid, another one for weights."""
        if name not in self.wiring.constants:
            return name
        key = (name, grid)
        if key not in self.constant_names:
            rivals = sum(other == name for other, _ in self.constant_names)
            weight = any(other == name for other, _ in self.weight_scales)
            self.constant_names[key] = name if not (rivals or weight) else f"{name}_operand{rivals}"
        return self.constant_names[key]

    def _parameters(self, owner: str, grid: Grid, suffix: str = "") -> list[str]:
        return [
            self._constant(f"{owner}_scale{suffix}", np.asarray(grid.scale, np.float32)),
            self._constant(f"{owner}_zero_point{suffix}", np.asarray(grid.zero_point, grid.dtype)),
        ]

    def _dequantised(self, name: str, q: Array, scale: Array, axis: int | None, zero_point: Array | None = None) -> str:
        """The float tensor `name_dq` that stands for the integers `q`; written once."""
        after = self._free(f"{name}_dq")
        if after in self.present:
            return after
        self.present.add(after)
        zeros = np.zeros(scale.shape, q.dtype) if zero_point is None else zero_point
        inputs = [
            self._constant(f"{name}_q", q),
            self._constant(f"{name}_scale", scale),
            self._constant(f"{name}_zero_point", zeros),
        ]
        node = helper.make_node("DequantizeLinear", inputs, [after], name=f"{name}_DequantizeLinear")
        if axis is not None:
            node.attribute.append(helper.make_attribute("axis", axis))
        self.nodes.append(node)
        return after

    def _constant(self, wanted: str, value: Array) -> str:
        """Add an initializer, once, and say under which name."""
        name = self._free(wanted)
        if name not in self.present:
            self.present.add(name)
            set_constant(self.graph, name, value)
        return name

    def _free(self, name: str) -> str:
        """`name`, or `name_1`, `name_2`, ... where a tensor of the user's has that name; the same at every call."""
        if name not in self.names:
            count, free = 0, name
            while free in self.taken:
                count += 1
                free = f"{name}_{count}"
            self.names[name] = free
            self.taken.add(free)
        return self.names[name]

    def _input_scale(self, step: Step) -> float:
        return self.grids.read(self.plan, step, step.inputs[0]).scale

    def _weight(self, name: str) -> Array:
        weight = self.wiring.array(name)
        assert weight is not None
        return weight

    def _axis(self, axis: int | None) -> int | None:
        return axis if self.options.granularity == "channel" else None


def _rename(graph: onnx.GraphProto, names: Mapping[str, str]) -> None:
    """Readers inside a subgraph follow; ONNX forbids that a name inside hides one outside."""
    for node in graph.node:
        for index, name in enumerate(node.input):
            node.input[index] = names.get(name, name)
        for inner in subgraphs(node):
            _rename(inner, names)
    for value in graph.output:
        value.name = names.get(value.name, value.name)

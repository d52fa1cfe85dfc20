"""Write the quantised model: QuantizeLinear -> DequantizeLinear pairs on activations, integers for all weights.

    y = Relu(Conv(x, w, b))   -->   x_q = QuantizeLinear(x, x_scale, x_zero_point);  x_dq = DequantizeLinear(x_q, ...)
                                    w_dq = DequantizeLinear(w_q int8, w_scale, 0, axis=0)
                                    b_dq = DequantizeLinear(b_q int32, x_scale * w_scale, 0, axis=0)
                                    y = Relu(Conv(x_dq, w_dq, b_dq));  y_q = ...;  y_dq = ...

Names: `T_q` and `T_dq` stand for the ONNX tensor T; nodes keep their names. An output T of the graph stays T and is
what DequantizeLinear makes; the float value before it is `T_f`. Widths below 8 bits put a Clip (`T_c`) before
QuantizeLinear, whose uint8 would saturate later than the chip does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper

from bitline.graph import shapes
from bitline.graph.model import Model, Wiring, copied, set_constant
from bitline.graph.passes.drop_dead import drop_dead
from bitline.quant.grid import (
    Grid,
    activation_grid,
    bias_floor,
    quantised_bias,
    quantised_weight,
    weight_scale,
)
from bitline.quant.options import QuantOptions
from bitline.quant.steps import Kind, Step

Array = npt.NDArray[Any]


def write_qdq(model: Model, steps: Sequence[Step], grids: Mapping[str, Grid], options: QuantOptions) -> onnx.ModelProto:
    """The QDQ form. `grids` holds one grid per tensor of `scale_owner`; the others follow from the steps."""
    return _Writer(model, steps, grids, options).write()


def scale_owner(model: Model, steps: Sequence[Step]) -> dict[str, str]:
    """For every quantised activation the tensor whose range it uses: itself, or what a moving step moves."""
    owner = {
        value.name: value.name for value in model.inputs if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    }
    for step in steps:
        owner[step.output] = owner[step.inputs[0]] if step.kind is Kind.MOVE else step.output
    return owner


class _Writer:
    def __init__(self, model: Model, steps: Sequence[Step], grids: Mapping[str, Grid], options: QuantOptions) -> None:
        self.proto = copied(model.proto)
        self.graph = self.proto.graph
        self.wiring = Wiring(model.proto.graph)
        self.options = options
        self.steps = steps
        self.owner = scale_owner(model, steps)
        self.grids = grids
        self.inputs = [value.name for value in model.inputs if value.name in self.owner]
        self.nodes: list[onnx.NodeProto] = []
        self.read_as: dict[str, str] = {}
        self.present: set[str] = set()
        self.taken = {name for node in self.graph.node for name in (*node.input, *node.output)}
        self.taken |= {tensor.name for tensor in self.graph.initializer}
        self.names: dict[str, str] = {}
        self.weight_scales = self._weight_scales()

    def write(self) -> onnx.ModelProto:
        by_node = {step.node: step for step in self.steps}
        by_last = {step.activation or step.node: step for step in self.steps}
        for name in self.inputs:
            self._quantise(name, name, clip=True)
        for original in self.wiring.graph.node:
            node = onnx.NodeProto.FromString(original.SerializeToString())
            for index, name in enumerate(node.input):
                node.input[index] = self.read_as.get(name, name)
            step = by_node.get(node.name)
            if step is not None and step.kind is Kind.MATMUL:
                self._quantise_parameters(node, step)
            elif step is not None and step.kind is Kind.ADD:
                self._quantise_addend(node)
            self.nodes.append(node)
            last = by_last.get(node.name)
            if last is not None:
                before = self._free(f"{last.output}_f") if last.output in self.wiring.outputs else last.output
                node.output[0] = before
                self._quantise(last.output, before, clip=last.kind is not Kind.MOVE)
        del self.graph.node[:]
        self.graph.node.extend(self.nodes)
        return shapes.with_shapes(drop_dead(self.proto))

    def _quantise(self, name: str, before: str, *, clip: bool) -> None:
        """The pair after tensor `before`, which stands for the ONNX tensor `name`."""
        owner = self.owner[name]
        grid = self.grids[owner]
        parameters = [
            self._constant(f"{owner}_scale", np.asarray(grid.scale, np.float32)),
            self._constant(f"{owner}_zero_point", np.asarray(grid.zero_point, np.uint8)),
        ]
        if clip and grid.bits < 8:
            low, high = grid.limits()
            clipped = self._free(f"{name}_c")
            bounds = [
                self._constant(f"{owner}_low", np.asarray(low, np.float32)),
                self._constant(f"{owner}_high", np.asarray(high, np.float32)),
            ]
            self.nodes.append(helper.make_node("Clip", [before, *bounds], [clipped], name=f"{name}_Clip"))
            before = clipped
        quantised = self._free(f"{name}_q")
        after = name if name in self.wiring.outputs else self._free(f"{name}_dq")
        self.nodes.append(
            helper.make_node("QuantizeLinear", [before, *parameters], [quantised], name=f"{name}_QuantizeLinear")
        )
        self.nodes.append(
            helper.make_node("DequantizeLinear", [quantised, *parameters], [after], name=f"{name}_DequantizeLinear")
        )
        self.read_as[name] = after

    def _weight_scales(self) -> dict[tuple[str, int], npt.NDArray[np.float32]]:
        """One scale per weight tensor, though several nodes may share it: tied weights are stored once on the chip."""
        floors: dict[tuple[str, int], Any] = {}
        for step in self.steps:
            if step.kind is not Kind.MATMUL:
                continue
            bias = self.wiring.array(step.bias) if step.bias else None
            floor = 0.0 if bias is None else bias_floor(bias, self._input_scale(step))
            if self.options.granularity == "tensor":
                floor = np.max(floor)
            key = (step.weight, step.weight_axis)
            floors[key] = np.maximum(floors.get(key, 0.0), floor)
        return {
            (name, axis): weight_scale(self._weight(name), self._axis(axis), self.options.weight_bits, floor)
            for (name, axis), floor in floors.items()
        }

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

    def _quantise_addend(self, node: onnx.NodeProto) -> None:
        """A constant operand of an Add is uint8 on a grid of its own, like an activation."""
        for index, name in enumerate(node.input):
            value = self.wiring.array(name)
            if value is None:
                continue
            grid = activation_grid(float(value.min()), float(value.max()), self.options.activation_bits)
            zero_point = np.asarray(grid.zero_point, np.uint8)
            scale = np.asarray(grid.scale, np.float32)
            node.input[index] = self._dequantised(name, grid.quantised(value), scale, None, zero_point)

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
        return self.grids[self.owner[step.inputs[0]]].scale

    def _weight(self, name: str) -> Array:
        weight = self.wiring.array(name)
        assert weight is not None
        return weight

    def _axis(self, axis: int) -> int | None:
        return axis if self.options.granularity == "channel" else None

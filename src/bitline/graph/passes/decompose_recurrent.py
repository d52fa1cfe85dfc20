"""LSTM and GRU become the layers and element-wise operators that they stand for.

    y, h, c = LSTM(x[1,b,i], w, r, bias, , h0, c0)      one step: inline
        -->   gates = Add(Gemm(Reshape(x), w', bias'), Gemm(h0, r')); sigma, g = Split(gates)
              i, o, f = Split(Sigmoid(sigma)); c = Add(Mul(f, c0), Mul(i, Tanh(g))); h = Mul(o, Tanh(c))
    y, h, c = LSTM(x[t,b,i], w, r, bias, , h0, c0)      t steps: a Scan over the same cell
        -->   steps = Reshape(Gemm(Reshape(x), w', bias')); h, c, y = Scan(h0, c0, steps)

The weights of the input multiply all steps at once, outside the Scan. Its body holds the weights of the state as
constants of its own, reads nothing from outside, and carries h (and c). A backward direction scans backward; two
directions are two Scans and a Concat. Left alone, for `near_recurrent` to tell: weights that are not constant,
peepholes, clip, input_forget, activations other than Sigmoid, Tanh and Relu, sequence_lens that are not all full.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import numpy_helper

from bitline.core.diagnostics import NoMatch
from bitline.graph.model import Array, Wiring, attribute, copied, keep_nodes
from bitline.graph.passes.drop_dead import drop_dead

_KINDS = {"LSTM": 4, "GRU": 3}
_DEFAULTS = {"LSTM": ("Sigmoid", "Tanh", "Tanh"), "GRU": ("Sigmoid", "Tanh")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Recurrent:
    """An LSTM or GRU that can be written out: constant weights (direction first), sizes, what it reads and makes."""

    node: onnx.NodeProto
    weights: Array  # [d, gates * hidden, inputs]
    state_weights: Array  # [d, gates * hidden, hidden]
    bias: Array  # [d, gates * hidden], of the input
    state_bias: Array  # [d, gates * hidden], of the state
    activations: tuple[tuple[str, ...], ...]
    steps: int
    batch: int
    batch_first: bool
    backward: tuple[bool, ...]
    reset_last: bool  # GRU: linear_before_reset

    @property
    def hidden(self) -> int:
        return self.state_weights.shape[2]

    @property
    def gates(self) -> int:
        return _KINDS[self.node.op_type]


def decompose_recurrent(model: onnx.ModelProto) -> onnx.ModelProto:
    plain = copied(model)
    graph = plain.graph
    wiring = Wiring(graph)
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        layer = recurrent(node, wiring) if node.op_type in _KINDS else None
        if isinstance(layer, Recurrent):
            build = Build(prefix=_free_prefix(graph, node))
            _write(layer, build)
            nodes += build.nodes
            graph.initializer.extend(build.constants)
        else:
            nodes.append(node)
    if len(nodes) == len(graph.node):
        return plain
    keep_nodes(graph, nodes)
    return drop_dead(plain)


def _free_prefix(graph: onnx.GraphProto, node: onnx.NodeProto) -> str:
    """The name of the node, longer where a tensor of the graph lies below that name already."""
    taken = [name for other in graph.node for name in (other.name, *other.input, *other.output)]
    prefix = node.name or f"{node.op_type}_{next(name for name in node.output if name)}"
    while any(name.startswith(f"{prefix}/") for name in taken):
        prefix += "_"
    return prefix


def near_recurrent(model: onnx.ModelProto) -> tuple[NoMatch, ...]:
    """Every LSTM, GRU and RNN that stays as it is, with the reason."""
    wiring = Wiring(model.graph)
    found = [recurrent(node, wiring) for node in model.graph.node if node.op_type in (*_KINDS, "RNN")]
    return tuple(miss for miss in found if isinstance(miss, NoMatch))


def recurrent(node: onnx.NodeProto, wiring: Wiring) -> Recurrent | NoMatch:
    """What is needed to write the node out, or why it stays."""

    def no(why: str) -> NoMatch:
        return NoMatch(why=f"{node.name}: {node.op_type} {why}")

    if node.op_type not in _KINDS:
        return no("is not written out")
    operands = [*node.input, *[""] * (8 - len(node.input))]
    weights, state_weights = wiring.array(operands[1]), wiring.array(operands[2])
    shape = wiring.shape(operands[0])
    if weights is None or state_weights is None or shape is None:
        return no("has weights that are no constants")
    directions, rows = weights.shape[:2]
    both = wiring.array(operands[3]) if operands[3] else np.zeros((directions, 2 * rows), weights.dtype)
    if both is None:
        return no("has a bias that is no constant")
    if operands[7]:
        return no("has peepholes")
    for name in ("clip", "input_forget", "activation_alpha", "activation_beta"):
        if attribute(node, name, 0):
            return no(f"has {name}")
    wanted = _DEFAULTS[node.op_type]
    stated = [str(name, "utf-8") for name in attribute(node, "activations", [])] or list(wanted * directions)
    if not set(stated) <= {"Sigmoid", "Tanh", "Relu"} or len(stated) != len(wanted) * directions:
        return no(f"has activations {', '.join(stated)}")
    batch_first = bool(attribute(node, "layout", 0))
    steps, batch = (shape[1], shape[0]) if batch_first else shape[:2]
    if operands[4]:
        lengths = wiring.array(operands[4])
        if lengths is None or (lengths != steps).any():
            return no("has sequence_lens that are not all the full length")
    if steps < 1 or batch < 1:
        return no("has no steps")
    direction = attribute(node, "direction", "forward")
    return Recurrent(
        node=node,
        weights=weights,
        state_weights=state_weights,
        bias=both[:, :rows],
        state_bias=both[:, rows:],
        activations=tuple(tuple(stated[at : at + len(wanted)]) for at in range(0, len(stated), len(wanted))),
        steps=steps,
        batch=batch,
        batch_first=batch_first,
        backward={"forward": (False,), "reverse": (True,)}.get(direction, (False, True)),
        reset_last=bool(attribute(node, "linear_before_reset", 0)),
    )


@dataclass(slots=True, kw_only=True)
class Build:
    """Nodes and constants under construction, every name of which starts with `prefix`."""

    prefix: str
    nodes: list[onnx.NodeProto] = field(default_factory=list[onnx.NodeProto])
    constants: list[onnx.TensorProto] = field(default_factory=list[onnx.TensorProto])

    def constant(self, name: str, value: Array) -> str:
        full = f"{self.prefix}/{name}"
        if all(tensor.name != full for tensor in self.constants):
            self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), full))
        return full

    def node(
        self,
        op_type: str,
        inputs: Sequence[str],
        name: str,
        *,
        to: str = "",
        **attributes: int | list[int],
    ) -> str:
        """Append a node of one output, called `to` or after the node; returns the output."""
        full = f"{self.prefix}/{name}"
        output = to or full
        node = onnx.helper.make_node(op_type, inputs, [output], name=full)
        node.attribute.extend(onnx.helper.make_attribute(key, value) for key, value in attributes.items())
        self.nodes.append(node)
        return output

    def split(self, source: str, sizes: Sequence[int], names: Sequence[str], *, axis: int = 1) -> list[str]:
        outputs = [f"{self.prefix}/{name}" for name in names]
        lengths = self.constant("_".join(["split", *map(str, sizes)]), np.asarray(sizes, np.int64))
        name = f"{self.prefix}/split_{'_'.join(names)}"
        self.nodes.append(onnx.helper.make_node("Split", [source, lengths], outputs, name=name, axis=axis))
        return outputs

    def reshape(self, source: str, shape: Sequence[int], name: str, *, to: str = "") -> str:
        sizes = self.constant("_".join(["shape", *map(str, shape)]), np.asarray(shape, np.int64))
        return self.node("Reshape", [source, sizes], name, to=to)


def _write(layer: Recurrent, build: Build) -> None:
    """The whole layer: every direction, then its results in the form that the operator had."""
    node, count = layer.node, len(layer.backward)
    x = node.input[0]
    if layer.batch_first and layer.steps > 1 and layer.batch > 1:
        x = build.node("Transpose", [x], "x", perm=[1, 0, 2])
    rows = build.reshape(x, (layer.steps * layer.batch, layer.weights.shape[2]), "rows")
    carried = [_initial(layer, index, build) for index in ((5, 6) if node.op_type == "LSTM" else (5,))]
    ends: list[list[str]] = []
    sequences: list[str] = []
    for direction in range(count):
        suffix = ("", "_backward")[direction] if count == 2 else ""
        sequence, states = _direction(layer, direction, rows, [parts[direction] for parts in carried], suffix, build)
        sequences.append(sequence)
        ends.append(states)
    outputs = [*node.output, *[""] * (3 - len(node.output))]
    if outputs[0]:
        shape = (layer.steps, 1, layer.batch, layer.hidden)
        parts = [build.reshape(name, shape, f"y{index}") for index, name in enumerate(sequences)]
        order = [2, 0, 1, 3] if layer.batch_first else None
        _together(parts, 1, order, outputs[0], "y", build)
    for index, output in enumerate(outputs[1 : 1 + len(carried)]):
        if output:
            which = ("y_h", "y_c")[index]
            shape = (1, layer.batch, layer.hidden)
            parts = [build.reshape(states[index], shape, f"{which}{at}") for at, states in enumerate(ends)]
            _together(parts, 0, [1, 0, 2] if layer.batch_first else None, output, which, build)


def _together(parts: list[str], axis: int, order: list[int] | None, output: str, name: str, build: Build) -> None:
    """One tensor `output` of the parts of all directions."""
    if order is None:
        build.node("Concat", parts, name, to=output, axis=axis)
        return
    whole = build.node("Concat", parts, f"{name}_directions", axis=axis)
    build.node("Transpose", [whole], name, to=output, perm=order)


def _initial(layer: Recurrent, index: int, build: Build) -> list[str]:
    """The first state of each direction, [batch, hidden]; empty names where it is zero and need not be computed."""
    name = layer.node.input[index] if len(layer.node.input) > index else ""
    which = "h0" if index == 5 else "c0"
    count, shape = len(layer.backward), (layer.batch, layer.hidden)
    if not name:
        if layer.steps == 1:
            return [""] * count
        zeros = build.constant("zeros", np.zeros(shape, layer.weights.dtype))
        return [zeros] * count
    if count == 1:
        return [build.reshape(name, shape, which)]
    parts = build.split(name, (1, 1), (f"{which}_0", f"{which}_1"), axis=1 if layer.batch_first else 0)
    return [build.reshape(part, shape, f"{which}_{at}_rows") for at, part in enumerate(parts)]


def _direction(
    layer: Recurrent, direction: int, rows: str, states: list[str], suffix: str, build: Build
) -> tuple[str, list[str]]:
    """(h of all steps, [batch * steps or 1, hidden]; the last states) of one direction."""
    weights = build.constant(f"weights{suffix}", layer.weights[direction].T)
    bias = build.constant(f"bias{suffix}", _input_bias(layer, direction))
    inputs = build.node("Gemm", [rows, weights, bias], f"inputs{suffix}")
    if layer.steps == 1:
        inner = Build(prefix=f"{build.prefix}/cell{suffix}")
        ends = _cell(layer, direction, inputs, states, inner)
        build.nodes += inner.nodes
        build.constants += inner.constants
        return ends[0], ends
    gates = layer.gates * layer.hidden
    steps = build.reshape(inputs, (layer.steps, layer.batch, gates), f"steps{suffix}")
    body = _body(layer, direction, f"{build.prefix}/cell{suffix}")
    ends = [f"{build.prefix}/{name}{suffix}" for name in ("last_h", "last_c")][: len(states)]
    sequence = f"{build.prefix}/sequence{suffix}"
    way = [int(layer.backward[direction])]
    scan = onnx.helper.make_node(
        "Scan",
        [*states, steps],
        [*ends, sequence],
        name=f"{build.prefix}/scan{suffix}",
        num_scan_inputs=1,
        scan_input_directions=way,
        scan_output_directions=way,
        body=body,
    )
    build.nodes.append(scan)
    return sequence, ends


def _input_bias(layer: Recurrent, direction: int) -> Array:
    """Both biases, since they add up, except where a GRU multiplies the state's one with the reset gate."""
    state = layer.state_bias[direction].astype(np.float64).copy()
    if layer.node.op_type == "GRU" and layer.reset_last:
        state[2 * layer.hidden :] = 0
    return (layer.bias[direction] + state).astype(layer.weights.dtype)


def _body(layer: Recurrent, direction: int, prefix: str) -> onnx.GraphProto:
    """The graph of one step: states and one step of the input in, states and h out."""
    build = Build(prefix=prefix)
    names = ["h_in", "c_in"] if layer.node.op_type == "LSTM" else ["h_in"]
    states = [f"{prefix}/{name}" for name in names]
    step = f"{prefix}/step"
    ends = _cell(layer, direction, step, states, build)
    row = build.node("Identity", [ends[0]], "h_out")
    elem_type = onnx.helper.np_dtype_to_tensor_dtype(layer.weights.dtype)
    state = (layer.batch, layer.hidden)

    def value(name: str, shape: tuple[int, int]) -> onnx.ValueInfoProto:
        return onnx.helper.make_tensor_value_info(name, elem_type, shape)

    return onnx.helper.make_graph(
        build.nodes,
        prefix,
        [*(value(name, state) for name in states), value(step, (layer.batch, layer.gates * layer.hidden))],
        [*(value(name, state) for name in ends), value(row, state)],
        build.constants,
    )


def _cell(layer: Recurrent, direction: int, inputs: str, states: list[str], build: Build) -> list[str]:
    """One step: the new states, from `inputs` (x times its weights, biases added) and the old ones ("" is zero)."""
    if layer.node.op_type == "LSTM":
        return _lstm_cell(layer, direction, inputs, states, build)
    return _gru_cell(layer, direction, inputs, states[0], build)


def _lstm_cell(layer: Recurrent, direction: int, inputs: str, states: list[str], build: Build) -> list[str]:
    (h, c), size = states, layer.hidden
    gate, candidate, squash = layer.activations[direction]
    gates = inputs
    if h:
        weights = build.constant("state_weights", layer.state_weights[direction].T)
        gates = build.node("Add", [inputs, build.node("MatMul", [h, weights], "states")], "gates")
    sums, sum_g = build.split(gates, (3 * size, size), ("sums", "sum_g"))
    i, o, f = build.split(build.node(gate, [sums], "iof"), (size,) * 3, ("i", "o", "f"))
    g = build.node(candidate, [sum_g], "g")
    fresh = build.node("Mul", [i, g], "fresh")
    new_c = build.node("Add", [build.node("Mul", [f, c], "kept"), fresh], "c") if c else fresh
    new_h = build.node("Mul", [o, build.node(squash, [new_c], "squashed")], "h")
    return [new_h, new_c]


def _gru_cell(layer: Recurrent, direction: int, inputs: str, h: str, build: Build) -> list[str]:
    size = layer.hidden
    gate, candidate = layer.activations[direction]
    weights = layer.state_weights[direction].T
    bias = layer.state_bias[direction][2 * size :]
    sums, sum_g = build.split(inputs, (2 * size, size), ("sums", "sum_g"))
    from_state = ""
    if h and layer.reset_last:
        all_weights = build.constant("state_weights", weights)
        all_bias = build.constant("state_bias", np.concatenate([np.zeros(2 * size, bias.dtype), bias]))
        from_state = build.node("Gemm", [h, all_weights, all_bias], "states")
        from_gates, from_state = build.split(from_state, (2 * size, size), ("state_sums", "state_g"))
        sums = build.node("Add", [sums, from_gates], "gates")
    elif h:
        gate_weights = build.constant("gate_weights", weights[:, : 2 * size])
        sums = build.node("Add", [sums, build.node("MatMul", [h, gate_weights], "states")], "gates")
    elif layer.reset_last:
        from_state = build.constant("state_bias", bias)
    z, r = build.split(build.node(gate, [sums], "zr"), (size, size), ("z", "r"))
    if h and not layer.reset_last:
        reset = build.node("Mul", [r, h], "reset")
        state_weights = build.constant("state_weights", weights[:, 2 * size :])
        sum_g = build.node("Add", [sum_g, build.node("MatMul", [reset, state_weights], "state_g")], "sum_all")
    elif from_state:
        sum_g = build.node("Add", [sum_g, build.node("Mul", [r, from_state], "reset")], "sum_all")
    g = build.node(candidate, [sum_g], "g")
    difference = build.node("Sub", [h, g], "difference") if h else build.node("Neg", [g], "difference")
    return [build.node("Add", [g, build.node("Mul", [z, difference], "kept")], "h")]

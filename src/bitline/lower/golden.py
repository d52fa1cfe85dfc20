"""The chip's arithmetic as an ONNX model of integer operators, for ONNX Runtime: a witness that nobody here wrote.

Tensors keep the stored form with a batch axis: [1, H, W, C]. Convolutions and linear layers are `MatMulInteger` over
gathered rows; where a converter can clip, every input bit and weight slice of every row group is a `MatMulInteger` of
its own, clipped and shifted. Requantisation multiplies in double, which is exact: 24-bit mantissas, sums below 2^29.
"""

from __future__ import annotations

from typing import assert_never

import numpy as np
import onnx
from onnx import TensorProto, helper

from bitline.ir.kernels import (
    NUMPY,
    BatchMatMul,
    Constants,
    Elementwise,
    Host,
    Kernel,
    Lookup,
    MatMul,
    Move,
    Network,
    Norm,
    Pool,
    Repeat,
    Softmax,
)
from bitline.lower.golden_builder import Builder
from bitline.lower.golden_elementwise import write_elementwise
from bitline.lower.golden_matmul import write_matmul
from bitline.lower.golden_rows import write_batch_matmul, write_lookup, write_norm, write_pool, write_softmax
from bitline.lower.qdq import ONNX_TYPE


def _write_move(builder: Builder, kernel: Move) -> None:
    y = builder.network.tensor(kernel.y)
    if len(kernel.parts) == 1:
        (part,) = kernel.parts
        builder.stored(builder.gathered(part.x, part.read, builder.network.tensor(part.x).zero_point), y, part.write)
        return
    taken: list[str] = []
    for part in kernel.parts:
        gathered = builder.gathered(part.x, part.read, builder.network.tensor(part.x).zero_point)
        taken.append(builder.op("Reshape", gathered, builder.integers(-1)))
    places = np.concatenate([part.write.evaluate().reshape(-1) for part in kernel.parts])
    order = builder.constant(np.argsort(places))
    whole = builder.op("Gather", builder.op("Concat", *taken, axis=0), order, axis=0)
    builder.op("Reshape", whole, builder.integers(1, *y.shape), out=y.name)


def _write_host(builder: Builder, kernel: Host) -> None:
    """The subgraph as it is, its names made its own."""
    model = onnx.load_model_from_string(builder.constants[kernel.model].tobytes())
    inner = model.graph
    builder.opset = max(builder.opset, *(entry.version for entry in model.opset_import if not entry.domain))
    prefix = f"{kernel.name}/"
    names: dict[str, str] = {}
    for value, stored in zip(inner.input, kernel.xs, strict=True):
        shape = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        names[value.name] = builder.op("Reshape", builder.named(stored), builder.integers(*shape))
    for tensor in inner.initializer:
        copy = onnx.TensorProto()
        copy.CopyFrom(tensor)
        copy.name = _own(builder, names, prefix, tensor.name)
        builder.initializers.append(copy)
    for node in inner.node:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copy.name = f"{prefix}{node.name}"
        _rename(builder, copy, names, prefix)
        builder.nodes.append(copy)
    for value, stored in zip(inner.output, kernel.ys, strict=True):
        shape = builder.network.tensor(stored).shape
        builder.op("Reshape", names[value.name], builder.integers(1, *shape), out=stored)


def _own(builder: Builder, names: dict[str, str], prefix: str, name: str) -> str:
    """The name in the whole model of a tensor of a subgraph."""
    if name not in names:
        names[name] = builder.fresh(f"{prefix}{name}")
    return names[name]


def _rename(builder: Builder, node: onnx.NodeProto, names: dict[str, str], prefix: str) -> None:
    """Give every tensor that a node names its name in the whole model, those of its subgraphs too."""
    for place, name in enumerate(node.input):
        node.input[place] = _own(builder, names, prefix, name) if name else ""
    for place, name in enumerate(node.output):
        node.output[place] = _own(builder, names, prefix, name) if name else ""
    for attribute in node.attribute:
        for graph in [*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])]:
            for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
                value.name = _own(builder, names, prefix, value.name)
            for inner in graph.node:
                _rename(builder, inner, names, prefix)


def _write_repeat(builder: Builder, repeat: Repeat) -> None:
    """A `Loop` over the kernels: carried tensors are its state, what is filled over all passes its scan outputs."""
    network = builder.network
    prefix = f"{repeat.name}/"
    body = network.kernels[repeat.first : repeat.last + 1]
    moves = [k for k in body if isinstance(k, Move)]
    carries = {k.y: k for k in moves if k.y in repeat.carried}
    fills = [k for k in moves if any(part.write_step for part in k.parts)]
    outer, outer_names = builder.nodes, dict(builder.renamed)
    builder.nodes = []
    turn, going = f"{prefix}turn", f"{prefix}going"
    for name in repeat.carried:
        builder.renamed[name] = f"{prefix}{name}"
    results: dict[str, str] = {}
    for kernel in body:
        if isinstance(kernel, Move) and (kernel.y in carries or kernel in fills):
            results[kernel.y] = _moved_elements(builder, kernel, turn, f"{prefix}next/{kernel.y}")
        elif isinstance(kernel, Move):
            elements = _moved_elements(builder, kernel, turn, "")
            shape = builder.integers(1, *network.tensor(kernel.y).shape)
            builder.op("Reshape", elements, shape, out=kernel.y)
        else:
            _write_kernel(builder, kernel)
    states: list[str] = []
    for name in repeat.carried:
        shape = builder.integers(1, *network.tensor(name).shape)
        states.append(builder.op("Reshape", results[name], shape))
    same = builder.op("Identity", going)
    inner, builder.nodes, builder.renamed = builder.nodes, outer, outer_names
    types = [ONNX_TYPE[network.tensor(name).dtype] for name in repeat.carried]
    shapes = [[1, *network.tensor(name).shape] for name in repeat.carried]
    graph = helper.make_graph(
        inner,
        repeat.name,
        [
            helper.make_tensor_value_info(turn, TensorProto.INT64, []),
            helper.make_tensor_value_info(going, TensorProto.BOOL, []),
            *(
                helper.make_tensor_value_info(f"{prefix}{name}", kind, shape)
                for name, kind, shape in zip(repeat.carried, types, shapes, strict=True)
            ),
        ],
        [
            helper.make_tensor_value_info(same, TensorProto.BOOL, []),
            *(
                helper.make_tensor_value_info(state, kind, shape)
                for state, kind, shape in zip(states, types, shapes, strict=True)
            ),
            *(onnx.ValueInfoProto(name=results[kernel.y]) for kernel in fills),
        ],
    )
    count = builder.constant(np.array(repeat.count, np.int64))
    ends = [f"{prefix}end/{name}" for name in repeat.carried]
    stacks = [f"{prefix}all/{kernel.y}" for kernel in fills]
    loop = helper.make_node("Loop", [count, "", *repeat.carried], [*ends, *stacks], name=repeat.name, body=graph)
    builder.nodes.append(loop)
    for name, end in zip(repeat.carried, ends, strict=True):
        builder.renamed[name] = end
    for kernel, stack in zip(fills, stacks, strict=True):
        places = np.concatenate([part.write.evaluate().reshape(-1) for part in kernel.parts])
        steps = np.concatenate([np.full(part.write.evaluate().size, part.write_step) for part in kernel.parts])
        all_places = (places[None, :] + np.arange(repeat.count)[:, None] * steps[None, :]).reshape(-1)
        flat = builder.op("Reshape", stack, builder.integers(-1))
        whole = builder.op("Gather", flat, builder.constant(np.argsort(all_places)), axis=0)
        builder.op("Reshape", whole, builder.integers(1, *network.tensor(kernel.y).shape), out=kernel.y)


def _moved_elements(builder: Builder, kernel: Move, turn: str, out: str) -> str:
    """What a copy of one pass takes, part after part; in the order of the result where it writes all of it."""
    taken: list[str] = []
    for part in kernel.parts:
        indices = part.read.evaluate().reshape(-1)
        assert (indices >= 0).all(), "a copy inside a repetition pads nothing"
        flat = builder.op("Reshape", builder.named(part.x), builder.integers(-1))
        index = builder.constant(indices)
        if part.read_step:
            index = builder.op("Add", index, builder.op("Mul", turn, builder.integers(part.read_step)))
        taken.append(builder.op("Gather", flat, index, axis=0))
    whole = taken[0] if len(taken) == 1 else builder.op("Concat", *taken, axis=0)
    if any(part.write_step for part in kernel.parts):
        return builder.op("Identity", whole, out=out)
    order = np.argsort(np.concatenate([part.write.evaluate().reshape(-1) for part in kernel.parts]))
    return builder.op("Gather", whole, builder.constant(order), out=out, axis=0)


def _hand_out(builder: Builder, name: str) -> None:
    """Let an output that a repetition carried be what it is in the end; what it began with gets another name."""
    if name not in builder.renamed:
        return
    before = builder.fresh(f"{name}.before")
    for node in builder.nodes:
        for names in (node.input, node.output):
            for place, used in enumerate(names):
                names[place] = before if used == name else used
    builder.op("Identity", builder.renamed[name], out=name)


def _write_kernel(builder: Builder, kernel: Kernel) -> None:
    match kernel:
        case MatMul():
            write_matmul(builder, kernel)
        case Elementwise():
            write_elementwise(builder, kernel)
        case Pool():
            write_pool(builder, kernel)
        case Softmax():
            write_softmax(builder, kernel)
        case Norm():
            write_norm(builder, kernel)
        case BatchMatMul():
            write_batch_matmul(builder, kernel)
        case Lookup():
            write_lookup(builder, kernel)
        case Move():
            _write_move(builder, kernel)
        case Host():
            _write_host(builder, kernel)
        case _:
            assert_never(kernel)


def golden_model(network: Network, constants: Constants) -> onnx.ModelProto:
    """The integer model: inputs and outputs are stored tensors [1, H, W, C] under their names."""
    builder = Builder(network, constants)
    for tensor in network.tensors:
        if tensor.constant:
            values = constants[tensor.constant].astype(NUMPY[tensor.dtype]).reshape(1, *tensor.shape)
            builder.op("Identity", builder.constant(values), out=tensor.name)
    number = 0
    while number < len(network.kernels):
        repeat = network.repeat_of(number)
        if repeat is None:
            _write_kernel(builder, network.kernels[number])
        else:
            _write_repeat(builder, repeat)
        number = repeat.last + 1 if repeat else number + 1

    def info(name: str) -> onnx.ValueInfoProto:
        tensor = network.tensor(name)
        return helper.make_tensor_value_info(name, ONNX_TYPE[tensor.dtype], [1, *tensor.shape])

    inputs = list(dict.fromkeys(p.tensor for p in network.ports if p.direction == "input"))
    outputs = list(dict.fromkeys(p.tensor for p in network.ports if p.direction == "output"))
    for name in outputs:
        _hand_out(builder, name)
    graph = helper.make_graph(
        builder.nodes,
        "golden",
        [info(name) for name in inputs],
        [info(name) for name in outputs if name not in inputs],
        builder.initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", builder.opset)], producer_name="bitline")
    model.ir_version = 10
    return model

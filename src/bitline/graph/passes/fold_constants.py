"""What depends on constants only is computed once; branches that are never taken go, as do Identity and Dropout.

    c = Constant(2); s = Shape(x[1,8,4]); y = Add(x, Mul(c, c))   -->   y = Add(x, 4)
    y = If(Equal(Gather(s, 0), 1), then: Relu(x), else: x)        -->   y = Relu(x)
    y = Relu(Identity(Dropout(x)))                                -->   y = Relu(x)

ONNX Runtime computes the values, unoptimised, so that the model before and after agrees bit for bit. Left alone:
results above 64 MiB each or 256 MiB together, random operators, operators with subgraphs, QuantizeLinear and
DequantizeLinear (they carry what a quantised model means), and nodes whose output the graph returns.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from bitline.graph import shapes
from bitline.graph.model import Array, Wiring, attribute, copied, keep_nodes, subgraphs
from bitline.graph.passes.drop_identities import drop_identities
from bitline.graph.passes.inline_branches import inline_branches
from bitline.graph.shapes import FOLD_BYTES, FOLD_BYTES_TOTAL

_KEPT = frozenset(
    {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "Dropout"}
    | {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli", "Multinomial"}
)


def fold_constants(
    model: onnx.ModelProto,
    *,
    each_bytes: int = FOLD_BYTES,
    total_bytes: int = FOLD_BYTES_TOTAL,
    keep_names: bool = False,
) -> onnx.ModelProto:
    """`keep_names` lets every tensor that is not constant keep its name, and so leaves Identity and Dropout."""
    folded = copied(model) if keep_names else drop_identities(model)
    folded = _constant_nodes_to_initializers(folded)
    budget = total_bytes
    while True:
        folded = _constant_nodes_to_initializers(inline_branches(folded))
        shapes.grow(folded)
        chosen = _foldable(folded, each_bytes, budget)
        if not chosen:
            return folded
        values = _computed(folded, chosen)
        budget -= sum(value.nbytes for value in values.values())
        graph = folded.graph
        keep_nodes(graph, (node for index, node in enumerate(graph.node) if index not in chosen))
        wanted = Wiring(graph)
        for name, value in values.items():
            if wanted.readers[name]:
                graph.initializer.append(numpy_helper.from_array(value, name))
            elif keep_names:
                elem_type = onnx.helper.np_dtype_to_tensor_dtype(value.dtype)
                graph.value_info.append(onnx.helper.make_tensor_value_info(name, elem_type, value.shape))
        folded = folded if keep_names else drop_identities(folded)


def _constant_nodes_to_initializers(model: onnx.ModelProto) -> onnx.ModelProto:
    graph = model.graph
    outputs = {value.name for value in graph.output}
    kept: list[onnx.NodeProto] = []
    for node in graph.node:
        tensor = _constant_value(node) if node.op_type == "Constant" and node.output[0] not in outputs else None
        if tensor is None:
            kept.append(node)
            continue
        graph.initializer.append(tensor)
        graph.initializer[-1].name = node.output[0]
    if len(kept) < len(graph.node):
        keep_nodes(graph, kept)
    return model


def _constant_value(node: onnx.NodeProto) -> onnx.TensorProto | None:
    (entry,) = node.attribute
    value = onnx.helper.get_attribute_value(entry)
    match entry.name:
        case "value":
            return value
        case "value_float" | "value_floats":
            return numpy_helper.from_array(np.asarray(value, np.float32))
        case "value_int" | "value_ints":
            return numpy_helper.from_array(np.asarray(value, np.int64))
        case _:
            return None


def _foldable(model: onnx.ModelProto, each_bytes: int, budget: int) -> set[int]:
    """Indices of nodes that can be computed now, each with outputs of known and bearable size."""
    wiring = Wiring(model.graph)
    constant = {name for name, t in wiring.constants.items() if t.data_location != TensorProto.EXTERNAL}
    chosen: set[int] = set()
    for index, node in enumerate(model.graph.node):
        if node.op_type in _KEPT or node.domain not in ("", "ai.onnx") or any(True for _ in subgraphs(node)):
            continue
        if any(name in wiring.outputs for name in node.output):
            continue
        static = node.op_type in ("Shape", "Size") and wiring.shape(node.input[0]) is not None
        if not static and not all(name in constant for name in node.input if name):
            continue
        sizes = [_bytes(wiring, name) for name in node.output if name]
        if any(size is None or size > each_bytes for size in sizes):
            continue
        budget -= sum(size for size in sizes if size is not None)
        if budget < 0:
            break
        chosen.add(index)
        constant.update(node.output)
    return chosen


def _bytes(wiring: Wiring, name: str) -> int | None:
    shape, elem_type = wiring.shape(name), wiring.elem_type(name)
    if shape is None or elem_type in (TensorProto.UNDEFINED, TensorProto.STRING):
        return None
    size = onnx.helper.tensor_dtype_to_np_dtype(elem_type).itemsize
    for extent in shape:
        size *= extent
    return size


def _computed(model: onnx.ModelProto, chosen: set[int]) -> dict[str, Array]:
    """Values of all outputs of the chosen nodes: `Shape` and `Size` from the shapes, the rest by ONNX Runtime."""
    from bitline.engines.ort import run_model

    wiring = Wiring(model.graph)
    values: dict[str, Array] = {}
    rest: list[onnx.NodeProto] = []
    for index in sorted(chosen):
        node = model.graph.node[index]
        if node.op_type in ("Shape", "Size"):
            values[node.output[0]] = _shape_value(node, wiring)
        else:
            rest.append(node)
    if not rest:
        return values
    made = [name for node in rest for name in node.output if name]
    read = sorted({name for node in rest for name in node.input if name} - set(made))
    graph = onnx.helper.make_graph(
        rest,
        "constants",
        [],
        [onnx.ValueInfoProto(name=name) for name in made],
        [
            wiring.constants[name] if name in wiring.constants else numpy_helper.from_array(values[name], name)
            for name in read
        ],
    )
    part = onnx.helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    return values | run_model(part, {}, made, optimise=False)


def _shape_value(node: onnx.NodeProto, wiring: Wiring) -> Array:
    shape = wiring.shape(node.input[0])
    assert shape is not None
    if node.op_type == "Size":
        return np.asarray(np.prod(shape, dtype=np.int64))
    start, end = attribute(node, "start", 0), attribute(node, "end", len(shape))
    return np.asarray(shape[start:end], np.int64)

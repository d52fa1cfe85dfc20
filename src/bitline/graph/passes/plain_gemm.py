"""Linear layers in one plain form: Gemm with alpha = beta = 1 and a bias of one value a column.

    y = Gemm(x, w, c, alpha=2, beta=3)          -->   y = Gemm(x, 2 * w, 3 * c)
    y = Gemm(x, w, c[1,n] or scalar)            -->   y = Gemm(x, w, c[n])
    y = Gemm(x, w, transA=1)                    -->   y = Gemm(Transpose(x), w)
    y = MatMul(x, w[1,k,n])                     -->   y = MatMul(x, w[k,n])
    y = MatMul(w[m,k], x)                       -->   y = Transpose(MatMul(Transpose(x), Transpose(w)))
    y = Add(MatMul(x[m,k], w[k,n]), c)          -->   y = Gemm(x, w, c[n])                          named as the MatMul
    y = Add(MatMul(x[b,m,k], w[k,n]), c)        -->   y = Reshape(Gemm(Reshape(x), w, c[n]))        rounds once

A bias that differs from row to row is left alone.
"""

from __future__ import annotations

from math import prod

import numpy as np
import onnx

from bitline.graph.model import Array, Wiring, attribute, copied, keep_nodes, set_attribute
from bitline.graph.passes.drop_dead import drop_dead


def plain_gemm(model: onnx.ModelProto) -> onnx.ModelProto:
    plain = copied(model)
    graph = plain.graph
    wiring = Wiring(graph)
    merged: set[str] = set()  # outputs of the Adds that are now part of a Gemm
    flattened: dict[str, str] = {}
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        if node.op_type == "Gemm":
            nodes += _normalised(node, wiring)
        elif node.op_type == "MatMul":
            _unstack(node, wiring)
            add = wiring.only_reader(node.output[0])
            made = _merged(node, add, wiring, flattened) if add is not None and add.op_type == "Add" else None
            if add is not None and made is not None:
                merged.add(add.output[0])
            nodes += made or _weights_right(node, wiring)
        elif node.op_type != "Add" or node.output[0] not in merged:
            nodes.append(node)
    keep_nodes(graph, nodes)
    return drop_dead(plain)


def _merged(
    matmul: onnx.NodeProto, add: onnx.NodeProto, wiring: Wiring, flattened: dict[str, str]
) -> list[onnx.NodeProto] | None:
    """The Gemm that does the work of both, between Reshapes where x is no matrix; None where the two stay."""
    other = add.input[1] if add.input[0] == matmul.output[0] else add.input[0]
    weight, bias = wiring.array(matmul.input[1]), wiring.array(other)
    shape, out = wiring.shape(matmul.input[0]), wiring.shape(matmul.output[0])
    if weight is None or bias is None or weight.ndim != 2 or shape is None or out is None or len(shape) < 2:
        return None
    row = _row(bias, weight.shape[1])
    if row is None or bias.ndim > len(shape) or prod(shape) == 0:
        return None
    name = other
    if bias.shape != row.shape:
        name = wiring.fresh(f"{matmul.name}.bias")
        wiring.put(name, row)
    gemm = onnx.helper.make_node("Gemm", [matmul.input[0], matmul.input[1], name], [add.output[0]], name=matmul.name)
    if len(shape) == 2:
        return [gemm]
    nodes = [gemm]
    source = matmul.input[0]
    if source not in flattened:
        flattened[source] = wiring.fresh(f"{source}.rows")
        nodes.insert(0, _reshape(wiring, wiring.node_below(matmul, "rows"), source, flattened[source], (-1, shape[-1])))
    gemm.input[0] = flattened[source]
    gemm.output[0] = wiring.fresh(f"{add.output[0]}.rows")
    return [*nodes, _reshape(wiring, wiring.node_below(matmul, "shape"), gemm.output[0], add.output[0], out)]


def _reshape(wiring: Wiring, name: str, source: str, target: str, shape: tuple[int, ...]) -> onnx.NodeProto:
    sizes = wiring.fresh(f"{target}.shape")
    wiring.put(sizes, np.asarray(shape, np.int64))
    return onnx.helper.make_node("Reshape", [source, sizes], [target], name=name)


def _unstack(matmul: onnx.NodeProto, wiring: Wiring) -> None:
    """Weights with leading axes of 1 become a matrix where the output keeps its shape."""
    weight, shape = wiring.array(matmul.input[1]), wiring.shape(matmul.input[0])
    if weight is None or shape is None or weight.ndim < 3 or any(size != 1 for size in weight.shape[:-2]):
        return
    if len(shape) < weight.ndim:
        return
    name = wiring.fresh(f"{matmul.name}.weight")
    wiring.put(name, weight.reshape(weight.shape[-2:]))
    matmul.input[1] = name


def _weights_right(matmul: onnx.NodeProto, wiring: Wiring) -> list[onnx.NodeProto]:
    """Weights come second, as in every other layer; the MatMul itself where they do, or where both are variable."""
    weight, shape = wiring.array(matmul.input[0]), wiring.shape(matmul.input[1])
    if weight is None or matmul.input[1] in wiring.constants or weight.ndim != 2 or shape is None or len(shape) < 2:
        return [matmul]
    source, target = matmul.input[1], matmul.output[0]
    turned, product = wiring.fresh(f"{target}.operand"), wiring.fresh(f"{target}.turned")
    name = wiring.fresh(f"{matmul.name}.weight")
    wiring.put(name, weight.T)
    order = [*range(len(shape) - 2), len(shape) - 1, len(shape) - 2]
    return [
        _transpose(wiring.node_below(matmul, "operand"), source, turned, order),
        onnx.helper.make_node("MatMul", [turned, name], [product], name=matmul.name),
        _transpose(wiring.node_below(matmul, "turned"), product, target, order),
    ]


def _transpose(name: str, source: str, target: str, order: list[int]) -> onnx.NodeProto:
    return onnx.helper.make_node("Transpose", [source], [target], name=name, perm=order)


def _normalised(gemm: onnx.NodeProto, wiring: Wiring) -> list[onnx.NodeProto]:
    _normalise(gemm, wiring)
    if not attribute(gemm, "transA", 0):
        return [gemm]
    set_attribute(gemm, "transA", None)
    source = gemm.input[0]
    gemm.input[0] = wiring.fresh(f"{gemm.output[0]}.operand")
    constant = wiring.array(source)
    if constant is not None:
        wiring.put(gemm.input[0], constant.T)
        return [gemm]
    return [_transpose(wiring.node_below(gemm, "operand"), source, gemm.input[0], [1, 0]), gemm]


def _normalise(gemm: onnx.NodeProto, wiring: Wiring) -> None:
    weight = wiring.array(gemm.input[1])
    has_bias = len(gemm.input) > 2 and bool(gemm.input[2])
    bias = wiring.array(gemm.input[2]) if has_bias else None
    if weight is None or (has_bias and bias is None):
        return
    alpha, beta = attribute(gemm, "alpha", 1.0), attribute(gemm, "beta", 1.0)
    columns = weight.shape[0] if attribute(gemm, "transB", 0) else weight.shape[1]
    row = None if bias is None else _row(bias, columns)
    if bias is not None and row is None:
        return
    if alpha != 1.0:
        gemm.input[1] = name = wiring.fresh(f"{gemm.name}.weight")
        wiring.put(name, (weight.astype(np.float64) * alpha).astype(weight.dtype))
    if bias is not None and row is not None and (beta != 1.0 or bias.shape != row.shape):
        gemm.input[2] = name = wiring.fresh(f"{gemm.name}.bias")
        wiring.put(name, (row.astype(np.float64) * beta).astype(bias.dtype))
    set_attribute(gemm, "alpha", None)
    set_attribute(gemm, "beta", None)


def _row(bias: Array, columns: int) -> Array | None:
    """The bias as one value a column, or None where rows differ."""
    if bias.size not in (1, columns) or (bias.ndim > 1 and bias.size != bias.shape[-1]):
        return None
    return np.ascontiguousarray(np.broadcast_to(bias.reshape(-1), (columns,)))

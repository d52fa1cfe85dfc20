"""Linear layers in one plain form: Gemm with alpha = beta = 1 and a bias of one value a column.

    y = Gemm(x, w, c, alpha=2, beta=3)   -->   y = Gemm(x, 2 * w, 3 * c)
    y = Gemm(x, w, c[1,n] or scalar)     -->   y = Gemm(x, w, c[n])
    y = Add(MatMul(x[m,k], w[k,n]), c)   -->   y = Gemm(x, w, c[n])       named as the MatMul

A bias that differs from row to row, and a transposed x, are left alone.
"""

from __future__ import annotations

import numpy as np
import onnx

from bitline.graph.model import Array, Wiring, attribute, copied, fresh_name, keep_nodes, set_attribute, set_constant
from bitline.graph.passes.drop_dead import drop_dead


def plain_gemm(model: onnx.ModelProto) -> onnx.ModelProto:
    plain = copied(model)
    wiring = Wiring(plain.graph)
    merged: set[str] = set()
    for node in plain.graph.node:
        if node.op_type == "MatMul":
            add = wiring.only_reader(node.output[0])
            if add is not None and add.op_type == "Add" and _merge(node, add, wiring):
                merged.add(add.output[0])
        elif node.op_type == "Gemm":
            _normalise(node, wiring)
    if merged:
        kept = [node for node in plain.graph.node if node.op_type != "Add" or node.output[0] not in merged]
        keep_nodes(plain.graph, kept)
    return drop_dead(plain)


def _merge(matmul: onnx.NodeProto, add: onnx.NodeProto, wiring: Wiring) -> bool:
    other = add.input[1] if add.input[0] == matmul.output[0] else add.input[0]
    weight, bias = wiring.array(matmul.input[1]), wiring.array(other)
    if weight is None or bias is None or weight.ndim != 2 or len(wiring.shape(matmul.input[0]) or ()) != 2:
        return False
    row = _row(bias, weight.shape[1])
    if row is None or bias.ndim > 2:
        return False
    name = other if bias.shape == row.shape else fresh_name(wiring.graph, f"{matmul.name}.bias")
    if name != other:
        set_constant(wiring.graph, name, row)
    matmul.op_type = "Gemm"
    matmul.input.append(name)
    matmul.output[0] = add.output[0]
    return True


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
    graph = wiring.graph
    if alpha != 1.0:
        gemm.input[1] = name = fresh_name(graph, f"{gemm.name}.weight")
        set_constant(graph, name, (weight.astype(np.float64) * alpha).astype(weight.dtype))
    if bias is not None and row is not None and (beta != 1.0 or bias.shape != row.shape):
        gemm.input[2] = name = fresh_name(graph, f"{gemm.name}.bias")
        set_constant(graph, name, (row.astype(np.float64) * beta).astype(bias.dtype))
    set_attribute(gemm, "alpha", None)
    set_attribute(gemm, "beta", None)


def _row(bias: Array, columns: int) -> Array | None:
    """The bias as one value a column, or None where rows differ."""
    if bias.size not in (1, columns) or (bias.ndim > 1 and bias.size != bias.shape[-1]):
        return None
    return np.ascontiguousarray(np.broadcast_to(bias.reshape(-1), (columns,)))

"""Softmax, LayerNormalization, products of two activations, and look-ups."""

from __future__ import annotations

from math import prod

import numpy as np
import onnx

from bitline.graph.model import attribute
from bitline.ir import index_map
from bitline.ir.index_map import IndexMap, identity
from bitline.ir.kernels import LIMITS, NUMPY, BatchMatMul, Lookup, Norm, Read, Softmax
from bitline.lower.elementwise import reach, result_layout
from bitline.lower.state import DOUBLE_BITS, MOST_SOFTMAX_BITS, Lowering, Scalar, Target, Unfit
from bitline.numerics import norm, vector
from bitline.numerics.rounding import MANTISSA_BITS, fixed_point

NARROW_FRACTION_BITS = 14
"""Of a softmax with 16-bit output, whose factor K has 15 bits more."""
MOST_SUM_BITS = 48


def rows_of(view: IndexMap, axes: list[int]) -> IndexMap:
    """(rows, n): the given axes innermost, all others before them."""
    others = [axis for axis in range(len(view.dims)) if axis not in axes]
    lead = index_map.lead(view, 1)
    return index_map.join_dims(lead, [[0, *(a + 1 for a in others)], [a + 1 for a in axes]])


def lower_softmax(state: Lowering, node: onnx.NodeProto, target: Target) -> None:
    """Along any one axis; input of 8 or 16 bits, output scale of at least 2^-20 -> `Softmax`."""
    value = state.dynamic(node, 0)
    x, y = state.tensor(value), target.y
    axis = int(attribute(node, "axis", -1)) % len(target.shape)
    if x.dtype == "s32" or y.scale < 2.0**-MOST_SOFTMAX_BITS:
        raise Unfit(node, "its output scale is too fine, or its input is no quantised tensor")
    fraction = NARROW_FRACTION_BITS if y.dtype == "s16" else vector.SOFTMAX_FRACTION_BITS
    name = state.free(f"{target.name}.table")
    state.constants[name] = vector.softmax_table(x.scale, wide=x.dtype == "s16")
    stored, view = result_layout(state, target, [value])
    made = state.finish(target, stored, view)
    state.kernels.append(
        Softmax(
            name=state.free(target.name),
            nodes=target.nodes,
            x=x.name,
            y=made.name,
            read=rows_of(value.view, [axis]),
            write=rows_of(view, [axis]),
            table=name,
            factor=round(2.0**fraction / y.scale),
            fraction_bits=fraction,
        )
    )


def lower_norm(state: Lowering, node: onnx.NodeProto, target: Target) -> None:
    """Over the last axes, up to 4,096 values of 8 or 16 bits a row; gain and offset constant, in steps of the output at
    most 2^27 / sqrt(n - 1) and 2^18 -> `Norm`."""
    value = state.dynamic(node, 0)
    x, y = state.tensor(value), target.y
    if any(node.output[1:]):
        raise Unfit(node, "its mean or deviation is used")
    rank = len(target.shape)
    axes = list(range(int(attribute(node, "axis", -1)) % rank, rank))
    n = prod(target.shape[a] for a in axes)
    if n > norm.LARGEST_ROW or x.dtype == "s32":
        raise Unfit(node, f"its rows have {n} values, at most {norm.LARGEST_ROW} of 8 or 16 bits fit")
    gain, offset = (_per_column(state, node, place, n, float(1 - i)) for i, place in enumerate((1, 2)))
    low, high = LIMITS[x.dtype]
    epsilon = float(attribute(node, "epsilon", 1e-5))
    found = norm.norm_constants(gain, offset, epsilon, scale_x=x.scale, span=high - low, scale_y=y.scale)
    if found is None:
        raise Unfit(node, "its gain, offset or epsilon is too large for its scales", "quantise the model again")
    name = state.free(f"{target.name}.gain")
    state.constants[name] = found.table
    stored, view = result_layout(state, target, [value])
    made = state.finish(target, stored, view)
    state.kernels.append(
        Norm(
            name=state.free(target.name),
            nodes=target.nodes,
            x=x.name,
            y=made.name,
            read=rows_of(value.view, axes),
            write=rows_of(view, axes),
            table=name,
            format=found.format,
            low=target.low,
            high=target.high,
        )
    )


def _per_column(
    state: Lowering, node: onnx.NodeProto, place: int, n: int, absent: float
) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Gain or offset of every column as reals."""
    if place >= len(node.input) or not node.input[place]:
        return np.full(n, absent)
    constant = state.graph.constant(node.input[place])
    if constant is None or constant.values.size not in (1, n):
        raise Unfit(node, "its gain or offset is no constant of one value a column")
    flat = constant.values.reshape(-1).astype(np.float64)
    reals = (flat - constant.zero_point.reshape(-1)) * constant.scale.reshape(-1)
    return np.broadcast_to(reals, (n,))


def lower_products(state: Lowering, node: onnx.NodeProto, target: Target) -> None:
    """Two activations (one may be a constant), broadcast over the axes before the last two -> `BatchMatMul`."""
    operands = [state.operand(node, place) for place in (0, 1)]
    a, b = operands
    if isinstance(a, Scalar) or isinstance(b, Scalar):
        raise Unfit(node, "one of its operands is a number")
    if node.op_type == "Gemm" and len(node.input) > 2 and node.input[2]:
        raise Unfit(node, "it adds a bias to a product of two activations")
    left, right = a.view, b.view
    if node.op_type == "Gemm":
        left = index_map.transpose(left, [1, 0]) if attribute(node, "transA", 0) else left
        right = index_map.transpose(right, [1, 0]) if attribute(node, "transB", 0) else right
        if attribute(node, "alpha", 1.0) != 1.0:
            raise Unfit(node, "it has alpha")
    left = index_map.lead(left, 1) if len(left.dims) == 1 else left
    if len(right.dims) == 1:
        column = index_map.reshape(right, (right.shape[0], 1))
        assert isinstance(column, IndexMap), column
        right = column
    m, k, n = left.shape[-2], left.shape[-1], right.shape[-1]
    outer = np.broadcast_shapes(left.shape[:-2], right.shape[:-2])
    batch = list(range(1 + len(outer)))
    wide = [index_map.lead(index_map.broadcast(v, (*outer, *v.shape[-2:])), 1) for v in (left, right)]
    first, second = len(outer) + 1, len(outer) + 2
    rows = index_map.join_dims(wide[0], [batch, [first], [second]])
    columns = index_map.join_dims(wide[1], [batch, [second], [first]])
    groups = prod(outer)
    x, z = state.tensor(a), state.tensor(b)
    bound = k * reach(x) * reach(z)
    bits = min(MANTISSA_BITS, DOUBLE_BITS - bound.bit_length())
    factor = x.scale * z.scale / target.y.scale
    if bound >= 1 << MOST_SUM_BITS or bits < 6 or factor >= 1 << max(bits, 0):
        raise Unfit(node, f"its sums can reach {bound}, or its output scale is too fine")
    mantissa, shift = fixed_point(factor, bits)
    stored = (groups, m, n)
    view = index_map.reshape(identity(stored), target.shape)
    assert isinstance(view, IndexMap), view
    made = state.finish(target, stored, view)
    state.kernels.append(
        BatchMatMul(
            name=state.free(target.name),
            nodes=target.nodes,
            a=Read(x=x.name, map=rows, mantissa=mantissa),
            b=Read(x=z.name, map=columns),
            y=made.name,
            write=identity(stored),
            shift=shift,
            low=target.low,
            high=target.high,
        )
    )


def lower_lookup(state: Lowering, node: onnx.NodeProto, target: Target) -> None:
    """Rows of a constant table by numbers that depend on the input -> `Lookup`; the table is on the output's grid."""
    indices = state.values.get(node.input[1])
    constant = state.graph.constant(node.input[0])
    if indices is None or constant is None or int(attribute(node, "axis", 0)) != 0 or constant.scale.size > 1:
        raise Unfit(node, "it does not take rows of a constant table")
    if state.tensor(indices).dtype != "s32":
        raise Unfit(node, f"its indices are {state.tensor(indices).dtype}")
    y = target.y
    reals = (constant.values.astype(np.float64) - constant.zero_point[0]) * constant.scale[0]
    rows = np.clip(np.rint(reals / y.scale) + y.zero_point, target.low, target.high).astype(np.int64)
    rows = rows.reshape(len(rows), -1).astype(NUMPY[y.dtype])
    name = state.free(f"{target.name}.rows")
    state.constants[name] = rows
    count = prod(indices.view.shape)
    lead = index_map.lead(indices.view, 1)
    read = index_map.join_dims(lead, [list(range(len(lead.dims)))])
    stored = (1, count, rows.shape[1])
    view = index_map.reshape(identity(stored), target.shape)
    assert isinstance(view, IndexMap), view
    made = state.finish(target, stored, view)
    state.kernels.append(
        Lookup(
            name=state.free(target.name),
            nodes=target.nodes,
            x=indices.tensor,
            y=made.name,
            read=read,
            write=index_map.join_dims(identity(stored), [[0, 1], [2]]),
            table=name,
        )
    )

"""Add, pools, softmax and functions of one tensor -> kernels of the vector unit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import onnx

from bitline.core.diagnostics import NoMatch, Refusal
from bitline.ir import index_map
from bitline.ir.boxes import read_taps, read_walks
from bitline.ir.index_map import IndexMap, Window, identity
from bitline.ir.kernels import (
    LIMITS,
    Add,
    Pool,
    Scale,
    Softmax,
    Table,
    Tensor,
)
from bitline.lower.linear import try_again, window_slides
from bitline.lower.qdq import Value, int_attribute, ints_attribute
from bitline.lower.state import MOST_SOFTMAX_BITS, Ints, Lowering
from bitline.lower.stored import stored_view
from bitline.numerics import vector
from bitline.numerics.rounding import MANTISSA_BITS, fixed_point


def lower_copy(
    state: Lowering, node: onnx.NodeProto, chain: list[onnx.NodeProto], value: Value, y: Tensor, low: int, high: int
) -> None:
    """Requantisation of something stored: nothing at all where the numbers stay, else a table."""
    x = state.tensors[value.tensor]
    smallest, largest = LIMITS[x.dtype]
    codes = np.arange(smallest, largest + 1)
    target = np.rint((codes - x.zero_point) * x.scale / y.scale) + y.zero_point
    table = np.clip(target, low, high).astype(np.int64)
    if (x.dtype, x.zero_point, x.scale) == (y.dtype, y.zero_point, y.scale) and (table == codes).all():
        state.quantised[y.name] = value
        return
    nodes = tuple(n.name or n.output[0] for n in reversed(chain)) or (node.name or node.output[0],)
    add_table(state, value, table, nodes, y)


def add_table(state: Lowering, value: Value, table: Ints, nodes: tuple[str, ...], y: Tensor) -> None:
    x = state.tensors[value.tensor]
    name = f"{y.name}.table"
    state.constants[name] = table
    state.kernels.append(Table(name=nodes[0], nodes=nodes, x=x.name, y=y.name, table=name))
    state.finish(replace(y, shape=x.shape), value.view)


def lower_table(state: Lowering, node: onnx.NodeProto, nodes: tuple[str, ...], y: Tensor, low: int, high: int) -> None:
    """Any operator of one 8-bit tensor: 256 entries, from the operator itself."""
    value = state.values[next(i for i in node.input if i in state.values)]
    x = state.tensors[value.tensor]
    smallest, largest = LIMITS[x.dtype]
    reals = ((np.arange(smallest, largest + 1) - x.zero_point) * x.scale).astype(np.float32)
    result = element_wise(state, node, reals)
    if result is None:
        state.unsupported(node)
        return
    steps = np.nan_to_num(np.rint(result.astype(np.float64) / y.scale), nan=-np.inf, posinf=np.inf, neginf=-np.inf)
    table = np.clip(steps + y.zero_point, low, high).astype(np.int64)
    add_table(state, value, table, nodes, y)


def element_wise(
    state: Lowering, node: onnx.NodeProto, reals: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32] | None:
    """The operator on every real; None where a result depends on its place or on other elements (LogSoftmax)."""
    even = np.where(np.arange(reals.size) % 2 == 0, reals, reals[0])
    try:
        result, backwards, half = (state.unary(node, values) for values in (reals, reals[::-1].copy(), even))
    except Refusal:
        return None
    if not result.shape == backwards.shape == half.shape == reals.shape:
        return None
    alone = np.array_equal(result[::-1], backwards, equal_nan=True)
    return result if alone and np.array_equal(result[::2], half[::2], equal_nan=True) else None


def lower_add(state: Lowering, node: onnx.NodeProto, nodes: tuple[str, ...], y: Tensor, low: int, high: int) -> None:
    left, right = state.operand(node, 0), state.operand(node, 1)
    if left is None or right is None:
        return
    a, b = state.tensors[left.tensor], state.tensors[right.tensor]
    alike = index_map.merge_digits(left.view) == index_map.merge_digits(right.view)
    if not alike and left.view.shape == right.view.shape and a.dtype == b.dtype:
        moved = [state.moved(node, place) for place in (0, 1)]
        if any(moved):
            lower_add(state, node, nodes, y, low, high)
            return
    if not alike or a.dtype != b.dtype:
        state.graph.problem(
            "BL0302",
            node,
            "adds tensors of different shapes, layouts or types",
            "make both operands alike before adding",
        )
        return
    if max(a.scale, b.scale) >= y.scale * (1 << vector.ADD_MANTISSA_BITS):
        state.too_fine(node)
        return
    mantissa_a, mantissa_b, shift = vector.add_scales(a.scale / y.scale, b.scale / y.scale)
    state.kernels.append(
        Add(
            name=nodes[0],
            nodes=nodes,
            a=a.name,
            b=b.name,
            y=y.name,
            mantissa_a=mantissa_a,
            mantissa_b=mantissa_b,
            shift=shift,
            low=low,
            high=high,
        )
    )
    state.finish(replace(y, shape=a.shape), left.view)


def lower_pool(state: Lowering, node: onnx.NodeProto, nodes: tuple[str, ...], y: Tensor, low: int, high: int) -> None:
    value = state.operand(node, 0)
    if value is None:
        return
    graph, x = state.graph, state.tensors[value.tensor]
    shape = value.view.shape
    whole = node.op_type.startswith("Global") or node.op_type == "ReduceMean"
    if len(shape) != 4 or (node.op_type == "ReduceMean" and not over_image(state, node)):
        graph.problem(
            "BL0302", node, "does not pool over the two axes of an image", "use tensors of shape [1, C, H, W]"
        )
        return
    if whole:
        slides = [Window(out=1, taps=n, stride=1, dilation=1, pad_before=0) for n in shape[2:]]
    else:
        kernel = ints_attribute(node, "kernel_shape", [1, 1])
        slides = window_slides(state, node, kernel, graph.shapes[node.output[0]][2:])
    window = index_map.windows(value.view, (2, 3), slides)
    if isinstance(window, NoMatch):
        try_again(state, node, lower_pool, nodes, y, low, high, window.why)
        return
    read = index_map.join_dims(window, [[0], [1], [2, 3], [4, 5]])
    if isinstance(walks := read_walks(read), NoMatch) or not _keeps_channels(read):
        why = walks.why if isinstance(walks, NoMatch) else "its channels are mixed with other axes"
        try_again(state, node, lower_pool, nodes, y, low, high, why)
        return
    op = "max" if "Max" in node.op_type else "mean"
    taps = slides[0].taps * slides[1].taps
    if op == "max" and (x.scale, x.zero_point, x.dtype) != (y.scale, y.zero_point, y.dtype):
        graph.problem(
            "BL0302", node, "changes the scale of what it selects", "quantise its output with its input's scale"
        )
        return
    if op == "mean" and x.scale >= y.scale * (1 << MANTISSA_BITS):
        state.too_fine(node)
        return
    pads = ints_attribute(node, "pads", [0, 0, 0, 0])
    if op == "mean" and int_attribute(node, "count_include_pad", 0) and _reaches_out(slides, shape[2:], pads[2:]):
        graph.problem(
            "BL0302", node, "counts padding and reaches beyond it (ceil_mode)", "export it with explicit padding"
        )
        return
    valid = op == "mean" and not whole and not int_attribute(node, "count_include_pad", 0)
    counts = range(1, taps + 1) if valid else [taps]
    scales = tuple(Scale(mantissa=m, shift=s) for m, s in (fixed_point(x.scale / y.scale / n) for n in counts))
    outs = (slides[0].out, slides[1].out, x.shape[2])
    padded = any(slide.pad_before for slide in slides) or _reaches_out(slides, shape[2:])
    if valid and not padded:
        valid, scales = False, scales[-1:]
    stored = replace(y, shape=(outs[0], outs[1], shape[1]))
    out = index_map.reshape(stored_view((1, shape[1], outs[0], outs[1]))[1], graph.shapes[node.output[0]])
    assert isinstance(out, IndexMap), out
    state.kernels.append(
        Pool(
            name=nodes[0],
            nodes=nodes,
            op=op,
            x=x.name,
            y=y.name,
            read=read,
            write=identity(stored.shape),
            scales=() if op == "max" else scales,
            divide_by_valid=valid,
            low=low,
            high=high,
        )
    )
    state.finish(stored, out)


def over_image(state: Lowering, node: onnx.NodeProto) -> bool:
    axes = ints_attribute(node, "axes", [])
    if not axes and len(node.input) > 1 and node.input[1] in state.graph.initializers:
        axes = [int(a) for a in state.graph.initializers[node.input[1]].reshape(-1)]
    return sorted(a % 4 for a in axes) == [2, 3]


def lower_softmax(
    state: Lowering, node: onnx.NodeProto, nodes: tuple[str, ...], y: Tensor, low: int, high: int
) -> None:
    value = state.operand(node, 0)
    if value is None:
        return
    x = state.tensors[value.tensor]
    shape = value.view.shape
    axis = int_attribute(node, "axis", -1) % len(shape)
    same = index_map.reshape(identity(x.shape), shape)
    if (
        axis != len(shape) - 1
        or (same != value.view and index_map.merge_digits(value.view) != same)
        or shape[-1] != x.shape[2]
    ):
        if axis == len(shape) - 1 and len(shape) <= 3 and state.moved(node, 0):
            lower_softmax(state, node, nodes, y, low, high)
            return
        state.graph.problem(
            "BL0302", node, "does not run along the stored rows", "apply it to the last axis of [1, rows, classes]"
        )
        return
    if y.scale < 2.0**-MOST_SOFTMAX_BITS:
        state.too_fine(node)
        return
    state.constants[f"{nodes[0]}.table"] = vector.softmax_table(x.scale)
    factor = round(2.0**vector.SOFTMAX_FRACTION_BITS / y.scale)
    state.kernels.append(
        Softmax(
            name=nodes[0],
            nodes=nodes,
            x=x.name,
            y=y.name,
            table=f"{nodes[0]}.table",
            factor=factor,
            fraction_bits=vector.SOFTMAX_FRACTION_BITS,
        )
    )
    state.finish(replace(y, shape=x.shape), value.view)


def _keeps_channels(read: IndexMap) -> bool:
    """Whether channel c of a pool's read map (its last dimension) is stored channel c, whatever the tap."""
    taps, channels = read.shape[2:]
    values = read_taps(read)
    same = [(v.reshape(taps, channels) == v.reshape(taps, channels)[:, :1]).all() for v in (values.rows, values.cols)]
    return bool(all(same) and (values.channels.reshape(taps, channels) == np.arange(channels)).all())


def _reaches_out(slides: list[Window], sizes: tuple[int, ...], pads_after: Sequence[int] = (0, 0)) -> bool:
    """Whether any window ends beyond the tensor and its padding."""
    return any(
        s.stride * (s.out - 1) + s.dilation * (s.taps - 1) - s.pad_before >= size + after
        for s, size, after in zip(slides, sizes, pads_after, strict=True)
    )

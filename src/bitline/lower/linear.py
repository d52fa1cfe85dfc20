"""Conv, Gemm and MatMul with constant weights -> `MatMul` kernels."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np
import numpy.typing as npt
import onnx

from bitline.core.diagnostics import NoMatch
from bitline.ir import index_map
from bitline.ir.boxes import read_walks
from bitline.ir.index_map import Coordinate, IndexMap, Window, identity
from bitline.ir.kernels import (
    LIMITS,
    MatMul,
    Matrix,
    Requantise,
    Tensor,
)
from bitline.lower.qdq import Constant, int_attribute, ints_attribute
from bitline.lower.state import DOUBLE_BITS, Build, Ints, Lowering
from bitline.lower.stored import stored_view
from bitline.numerics.rounding import MANTISSA_BITS, fixed_point


def try_again(
    state: Lowering,
    node: onnx.NodeProto,
    build: Build,
    nodes: tuple[str, ...],
    y: Tensor,
    low: int,
    high: int,
    why: str,
) -> None:
    """Try an operator once more on a plain copy of its input; if it lay plainly already, that is a problem."""
    if state.moved(node, 0):
        build(state, node, nodes, y, low, high)
        return
    state.graph.problem("BL0302", node, f"cannot read its input: {why}", "remove the transpose or reshape before it")


def read_weights(
    state: Lowering, node: onnx.NodeProto, channel_axis: int
) -> tuple[Ints, npt.NDArray[np.float64]] | None:
    """(int8 weights, scale per output channel) of the second operand."""
    graph = state.graph
    constant = graph.constant(node.input[1])
    if constant is None or constant.values.dtype not in (np.dtype(np.int8), np.dtype(np.uint8)):
        graph.problem("BL0302", node, "has weights that are no 8-bit constants", "quantise the weights to int8")
        return None
    values = constant.values.astype(np.int64)
    zero = constant.zero_point
    if zero.size > 1:
        zero = zero.reshape([-1 if a == constant.axis % values.ndim else 1 for a in range(values.ndim)])
    values = values - zero
    if constant.scale.size > 1 and constant.axis % values.ndim != channel_axis:
        graph.problem(
            "BL0302", node, f"has weight scales along axis {constant.axis}", "quantise weights per output channel"
        )
        return None
    if values.size and (values.min() < -128 or values.max() > 127):
        graph.problem(
            "BL0302",
            node,
            "has weights beyond 8 bits once the zero point is taken off",
            "quantise weights symmetrically",
        )
        return None
    return values, np.broadcast_to(constant.scale, (values.shape[channel_axis],))


def read_bias(state: Lowering, node: onnx.NodeProto, channels: int, step: npt.NDArray[np.float64]) -> Ints | None:
    """The bias in units of `step` = scale_x * scale_w per channel."""
    if len(node.input) < 3 or not node.input[2]:
        return np.zeros(channels, np.int64)
    constant: Constant | None = state.graph.constant(node.input[2])
    if constant is None:
        state.graph.problem("BL0302", node, "has a bias that is no constant", "export it with a constant bias")
        return None
    real_step = np.broadcast_to(constant.scale, (channels,))
    values = np.broadcast_to(constant.values.reshape(-1).astype(np.float64), (channels,))
    if constant.values.dtype.kind == "i" and np.allclose(real_step, step, rtol=1e-5):
        return values.astype(np.int64)
    return np.rint(values * real_step / step).astype(np.int64)


def add_matmul(
    state: Lowering,
    node: onnx.NodeProto,
    nodes: tuple[str, ...],
    x: Tensor,
    y: Tensor,
    read: IndexMap,
    view: IndexMap,
    weights: Ints,
    scales: npt.NDArray[np.float64],
    low: int,
    high: int,
) -> None:
    """`weights` [groups, rows, cols] in the order of the read map; `scales` per output channel."""
    groups, rows, cols = weights.shape
    channels = groups * cols
    step = x.scale * scales
    bias = read_bias(state, node, channels, step)
    if bias is None:
        return
    name = nodes[0]
    math = state.make_math(rows, cols, groups, x.dtype == "s8")
    smallest, largest = LIMITS[x.dtype]
    reach = max(largest - x.zero_point, x.zero_point - smallest, largest - smallest)
    bound = np.abs(weights).sum(axis=1).reshape(-1) * reach + np.abs(bias)
    if not math.lossless:  # all conversions may clip to nothing, while the offset of the weights is taken off in full
        bound = bound + rows * (largest - smallest) * math.weight_offset
    parameters = np.zeros((channels, 3), np.int64)
    parameters[:, 0] = bias
    for channel, (factor, most) in enumerate(zip(step / y.scale, bound, strict=True)):
        bits = min(MANTISSA_BITS, DOUBLE_BITS - int(most).bit_length())
        if most >= 2**31 or bits < 8:
            state.graph.problem(
                "BL0302", node, f"can reach {most}, beyond a 32-bit accumulator", "quantise with fewer bits"
            )
            return
        if factor >= 1 << bits:
            state.too_fine(node)
            return
        parameters[channel, 1:] = fixed_point(float(factor), bits) if factor > 0 else (0, 0)
    state.constants[f"{name}.weights"] = weights.astype(np.int8)
    state.constants[f"{name}.parameters"] = parameters
    state.kernels.append(
        MatMul(
            name=name,
            nodes=nodes,
            x=x.name,
            y=y.name,
            matrix=Matrix(name=f"{name}.weights", groups=groups, rows=rows, cols=cols),
            read=read,
            write=identity(y.shape),
            post=Requantise(parameters=f"{name}.parameters", zero_point=y.zero_point, low=low, high=high),
            math=math,
        )
    )
    state.finish(y, view)


def lower_conv(state: Lowering, node: onnx.NodeProto, nodes: tuple[str, ...], y: Tensor, low: int, high: int) -> None:
    value, weighted = state.operand(node, 0), read_weights(state, node, 0)
    if value is None or weighted is None:
        return
    weights, scales = weighted
    spatial = weights.ndim - 2
    if spatial not in (1, 2):
        state.graph.problem("BL0302", node, f"has {spatial} spatial axes", "use 1 or 2")
        return
    groups = int_attribute(node, "group", 1)
    outs, channels, per_group = weights.shape[0], state.graph.shapes[node.input[0]][1], weights.shape[1]
    slides = window_slides(state, node, list(weights.shape[2:]), state.graph.shapes[node.output[0]][2:])
    batch, _, *size = value.view.shape
    split = index_map.reshape(value.view, [batch, groups, channels // groups, *size])
    if isinstance(split, NoMatch):
        try_again(state, node, lower_conv, nodes, y, low, high, split.why)
        return
    if spatial == 1:  # a line is an image of one row
        split = index_map.reshape(split, [batch, groups, per_group, 1, *size])
        assert isinstance(split, IndexMap)
        slides = [Window(out=1, taps=1, stride=1, dilation=1, pad_before=0), *slides]
        weights = weights[:, :, None]
    window = index_map.windows(split, (3, 4), slides)
    if isinstance(window, NoMatch):
        try_again(state, node, lower_conv, nodes, y, low, high, window.why)
        return
    # window dimensions: 0 oh, 1 ow, 2 kh, 3 kw, 4 batch, 5 group, 6 channel
    read = index_map.join_dims(window, [[0], [1], [4, 5, 2, 3, 6]])
    if isinstance(walks := read_walks(read), NoMatch):
        try_again(state, node, lower_conv, nodes, y, low, high, walks.why)
        return
    matrix = weights.reshape(groups, outs // groups, per_group, *weights.shape[2:])
    matrix = matrix.transpose(0, 3, 4, 2, 1).reshape(groups, -1, outs // groups)
    stored = replace(y, shape=(slides[0].out, slides[1].out, outs))
    image = stored_view((1, outs, slides[0].out, slides[1].out))[1]
    view = index_map.reshape(image, state.graph.shapes[node.output[0]])
    assert isinstance(view, IndexMap), view
    add_matmul(state, node, nodes, state.tensors[value.tensor], stored, read, view, matrix, scales, low, high)


def window_slides(state: Lowering, node: onnx.NodeProto, taps: list[int], outs: tuple[int, ...]) -> list[Window]:
    rank = len(taps)
    strides = ints_attribute(node, "strides", [1] * rank)
    dilations = ints_attribute(node, "dilations", [1] * rank)
    pads = ints_attribute(node, "pads", [0] * 2 * rank)
    return [
        Window(out=outs[a], taps=taps[a], stride=strides[a], dilation=dilations[a], pad_before=pads[a])
        for a in range(rank)
    ]


def lower_gemm(state: Lowering, node: onnx.NodeProto, nodes: tuple[str, ...], y: Tensor, low: int, high: int) -> None:
    """x [1, ..., K] times a constant [K, N]; the rows are put into the order in which x is stored."""
    transposed = bool(int_attribute(node, "transB", 0))
    value, weighted = state.operand(node, 0), read_weights(state, node, 0 if transposed else 1)
    if value is None or weighted is None:
        return
    weights, scales = weighted
    plain = all(getattr(a, "f", 1.0) == 1.0 for a in node.attribute if a.name in ("alpha", "beta"))
    if int_attribute(node, "transA", 0) or not plain or weights.ndim != 2:
        state.graph.problem(
            "BL0302", node, "has transA, alpha, beta or a stack of matrices", "fold them into the weights"
        )
        return
    matrix = weights.T if transposed else weights
    rank = len(value.view.dims)
    view = index_map.merge_digits(index_map.join_dims(value.view, [list(range(rank - 1)), [rank - 1]]))
    pixels = [d for d in index_map.digits_of(view, 0) if view.digits[d] > 1]
    axes = [next(a for a, c in enumerate(view.coordinates) if c.coefficients[d]) for d in pixels]
    if not set(axes) <= {0, 1} or len(set(axes)) != len(axes):
        try_again(state, node, lower_gemm, nodes, y, low, high, "its rows are no stored rows")
        return
    inner = list(index_map.digits_of(view, 1))
    extents = [view.digits[d] for d in inner]
    strides = view.digit_strides()
    order = sorted(range(len(inner)), key=lambda i: (-strides[inner[i]], i))
    rows = np.arange(prod(extents)).reshape(extents).transpose(order).reshape(-1)
    lead = [dict(zip(axes, pixels, strict=True)).get(axis) for axis in (0, 1)]
    digits = [*lead, *(inner[i] for i in order)]
    shape = tuple(view.digits[d] if d is not None else 1 for d in lead)
    read = IndexMap(
        source=view.source,
        dims=((shape[0],), (shape[1],), tuple(extents[i] for i in order)),
        coordinates=tuple(
            Coordinate(offset=c.offset, coefficients=tuple(c.coefficients[d] if d is not None else 0 for d in digits))
            for c in view.coordinates
        ),
    )
    if isinstance(walks := read_walks(read), NoMatch):
        try_again(state, node, lower_gemm, nodes, y, low, high, walks.why)
        return
    channels = matrix.shape[1]
    stored = replace(y, shape=(shape[0], shape[1], channels))
    turned = index_map.transpose(identity(stored.shape), [1, 0, 2] if axes == [1, 0] else [0, 1, 2])
    out = index_map.reshape(turned, state.graph.shapes[node.output[0]])
    assert isinstance(out, IndexMap), out
    add_matmul(
        state, node, nodes, state.tensors[value.tensor], stored, read, out, matrix[rows][None], scales, low, high
    )

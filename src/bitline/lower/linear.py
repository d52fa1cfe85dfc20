"""Conv, ConvTranspose, Gemm and MatMul with constant weights -> `MatMul` kernels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import gcd, prod

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
    Part,
    Requantise,
    Tensor,
)
from bitline.lower.qdq import Value, attributes, int_attribute, ints_attribute
from bitline.lower.state import DOUBLE_BITS, Ints, Lowering, Target, Unfit, name_of
from bitline.lower.stored import stored_view
from bitline.numerics.rounding import MANTISSA_BITS, fixed_point


def read_weights(state: Lowering, node: onnx.NodeProto, channel_axis: int) -> tuple[Ints, npt.NDArray[np.float64]]:
    """(int8 weights, scale per output channel) of the second operand."""
    constant = state.graph.constant(node.input[1])
    if constant is None or constant.values.dtype not in (np.dtype(np.int8), np.dtype(np.uint8)):
        raise Unfit(node, "its weights are no 8-bit constants", "quantise the weights to int8")
    values = constant.values.astype(np.int64)
    zero = constant.zero_point
    if zero.size > 1:
        zero = zero.reshape([-1 if a == constant.axis % values.ndim else 1 for a in range(values.ndim)])
    values = values - zero
    if constant.scale.size > 1 and constant.axis % values.ndim != channel_axis:
        raise Unfit(node, f"its weights have scales along axis {constant.axis}", "quantise weights per output channel")
    if values.size and (values.min() < -128 or values.max() > 127):
        why = "its weights go beyond 8 bits once the zero point is taken off"
        raise Unfit(node, why, "quantise weights symmetrically")
    return values, np.broadcast_to(constant.scale, (values.shape[channel_axis],))


def read_bias(state: Lowering, node: onnx.NodeProto, channels: int, step: npt.NDArray[np.float64]) -> Ints:
    """The bias in units of `step` = scale_x * scale_w per channel."""
    if len(node.input) < 3 or not node.input[2]:
        return np.zeros(channels, np.int64)
    constant = state.graph.constant(node.input[2])
    if constant is None:
        raise Unfit(node, "its bias is no constant", "export it with a constant bias")
    real_step = np.broadcast_to(constant.scale, (channels,))
    values = np.broadcast_to(constant.values.reshape(-1).astype(np.float64), (channels,))
    if constant.values.dtype.kind == "i" and np.allclose(real_step, step, rtol=1e-5):
        return values.astype(np.int64)
    return np.rint(values * real_step / step).astype(np.int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """`matrix` [groups, rows, cols] in the order of the read map, `scales` and `bias` (in steps of scale_x * scale_w)
    per output channel."""

    matrix: Ints
    scales: npt.NDArray[np.float64]
    bias: Ints


def add_matmul(
    state: Lowering,
    node: onnx.NodeProto,
    target: Target,
    x: Tensor,
    read: IndexMap,
    stored: tuple[int, int, int],
    view: IndexMap,
    weights: Weights,
) -> None:
    """The kernel that makes `target` from the rows of `read`; the result is stored as `view` says."""
    groups, rows, cols = weights.matrix.shape
    y, step = target.y, x.scale * weights.scales
    name = state.free(target.name)
    math = state.make_math(rows, cols, groups, x.dtype == "s8")
    smallest, largest = LIMITS[x.dtype]
    reach = max(largest - x.zero_point, x.zero_point - smallest, largest - smallest)
    bound = np.abs(weights.matrix).sum(axis=1).reshape(-1) * reach + np.abs(weights.bias)
    if not math.lossless:  # all conversions may clip to nothing, while the offset of the weights is taken off in full
        bound = bound + rows * (largest - smallest) * math.weight_offset
    parameters = np.zeros((groups * cols, 3), np.int64)
    parameters[:, 0] = weights.bias
    for channel, (factor, most) in enumerate(zip(step / y.scale, bound, strict=True)):
        bits = min(MANTISSA_BITS, DOUBLE_BITS - int(most).bit_length())
        if most >= 2**31 or bits < 8:
            raise Unfit(node, f"its sums can reach {most}, beyond a 32-bit accumulator", "quantise with fewer bits")
        if factor >= 1 << bits:
            raise Unfit(node, "its output scale is too far below that of its input", "quantise the model again")
        parameters[channel, 1:] = fixed_point(float(factor), bits) if factor > 0 else (0, 0)
    held = state.matrix(weights.matrix, math, f"{name}.weights")
    state.constants[f"{name}.parameters"] = parameters
    made = state.finish(target, stored, view)
    state.kernels.append(
        MatMul(
            name=name,
            nodes=target.nodes,
            x=x.name,
            y=made.name,
            matrix=Matrix(name=held, groups=groups, rows=rows, cols=cols),
            read=read,
            write=identity(stored),
            post=Requantise(parameters=f"{name}.parameters", zero_point=y.zero_point, low=target.low, high=target.high),
            math=math,
        )
    )


def driven(state: Lowering, node: onnx.NodeProto) -> Value:
    """The operand that drives the rows of arrays: of 8 bits."""
    value = state.dynamic(node, 0)
    dtype = state.tensor(value).dtype
    if dtype not in ("u8", "s8"):
        raise Unfit(node, f"its input is {dtype}; arrays are driven with 8 bits", "quantise its input to 8 bits")
    return value


def per_sample(
    state: Lowering, node: onnx.NodeProto, target: Target, value: Value, build: Callable[[Target, Value], None]
) -> None:
    """Image operators on a batch: one kernel for each sample, their results side by side in one tensor."""
    batch, *body = target.shape
    if batch == 1:
        build(target, value)
        return
    stored, view = stored_view(target.shape, "image" if len(target.shape) >= 4 else "line")
    parts: list[Part] = []
    for sample in range(batch):
        one = state.sliced(value, 0, sample, 1, 1, name_of(node))
        name = state.free(f"{target.y.name}.sample{sample}")
        aim = replace(target, y=replace(target.y, name=name, onnx=""), shape=(1, *body))
        build(aim, one)
        made = state.quantised.pop(name)
        write = index_map.take_slice(view, 0, sample, 1)
        assert isinstance(write, IndexMap), write
        parts.append(Part(x=made.tensor, read=made.view, write=write))
    y = state.finish(target, stored, view)
    state.add_move(y.name, parts, y, target.nodes)


def image_windows(
    state: Lowering, node: onnx.NodeProto, value: Value, groups: int, slides: Sequence[Window], *, line: bool
) -> tuple[Value, IndexMap]:
    """(value as it is read, its read map [OH, OW, (batch, group, taps, channels)]); copied channels-last if need be."""
    batch, channels, *size = value.view.shape
    shape = (batch, groups, channels // groups, *([1] if line else []), *size)
    why = ""
    for held in (value, None):
        if held is None:
            held = state.plain(value, "line" if line else "image", name_of(node))
            if held is value:
                break
        split = index_map.reshape(held.view, shape)
        if isinstance(split, NoMatch):
            why = split.why
            continue
        window = index_map.windows(split, (3, 4), slides)
        if isinstance(window, NoMatch):
            why = window.why
            continue
        # window dimensions: 0 oh, 1 ow, 2 kh, 3 kw, 4 batch, 5 group, 6 channel
        read = index_map.join_dims(window, [[0], [1], [4, 5, 2, 3, 6]])
        walks = read_walks(read)
        if not isinstance(walks, NoMatch):
            return held, read
        why = walks.why
    raise Unfit(node, f"its input cannot be read: {why}")


def lower_conv(state: Lowering, node: onnx.NodeProto, target: Target) -> None:
    """One or two spatial axes, any stride, padding, dilation and groups; constant weights of 8 bits -> `MatMul`.

    Without their zero point weights stay within 8 bits; their scale is one per output channel or per tensor; a bias is
    constant. A batch is one kernel for each sample.
    """
    value = driven(state, node)
    weights, scales = read_weights(state, node, 0)
    spatial = weights.ndim - 2
    if spatial not in (1, 2):
        raise Unfit(node, f"it has {spatial} spatial axes")
    groups, outs = int_attribute(node, "group", 1), weights.shape[0]
    per_group = weights.shape[1]
    slides = window_slides(node, list(weights.shape[2:]), target.shape[2:])
    if spatial == 1:  # a line is an image of one row
        slides = [Window(out=1, taps=1, stride=1, dilation=1, pad_before=0), *slides]
        weights = weights[:, :, None]
    matrix = weights.reshape(groups, outs // groups, per_group, *weights.shape[2:])
    matrix = matrix.transpose(0, 3, 4, 2, 1).reshape(groups, -1, outs // groups)
    bias = read_bias(state, node, outs, state.tensor(value).scale * scales)

    def build(aim: Target, one: Value) -> None:
        held, read = image_windows(state, node, one, groups, slides, line=spatial == 1)
        _store_image(state, node, aim, held, read, slides, Weights(matrix=matrix, scales=scales, bias=bias))

    per_sample(state, node, target, value, build)


def _store_image(
    state: Lowering,
    node: onnx.NodeProto,
    target: Target,
    value: Value,
    read: IndexMap,
    slides: Sequence[Window],
    weights: Weights,
) -> None:
    outs = weights.scales.size
    stored = (slides[0].out, slides[1].out, outs)
    view = index_map.reshape(stored_view((1, outs, slides[0].out, slides[1].out))[1], target.shape)
    assert isinstance(view, IndexMap), view
    add_matmul(state, node, target, state.tensor(value), read, stored, view, weights)


def lower_conv_transpose(state: Lowering, node: onnx.NodeProto, target: Target) -> None:
    """One or two spatial axes, explicit padding, any stride, dilation and groups; phase by phase -> `MatMul`.

    Outputs that are a stride apart see the same taps, so they are a convolution of their own:

    out = stride * in - pad + dilation * tap, so output r + stride * t takes the taps k for which stride divides
    r + pad - dilation * k, each from input t + (r + pad - dilation * k) / stride.
    """
    value = driven(state, node)
    groups = int_attribute(node, "group", 1)
    weights, scales = _transposed_weights(state, node, groups)
    spatial = weights.ndim - 2
    if spatial not in (1, 2):
        raise Unfit(node, f"it has {spatial} spatial axes")
    if attributes(node).get("auto_pad", "NOTSET") != "NOTSET" or "output_shape" in attributes(node):
        raise Unfit(node, "its padding is not explicit")
    strides, pads = ints_attribute(node, "strides", [1] * spatial), ints_attribute(node, "pads", [0] * 2 * spatial)
    dilations = ints_attribute(node, "dilations", [1] * spatial)
    flat = target
    if spatial == 1:  # a line is an image of one row
        shape = value.view.shape
        value = state.reshaped(value, (*shape[:2], 1, shape[2]), name_of(node))
        weights, strides, pads, dilations = (
            weights[:, :, None],
            [1, *strides],
            [0, pads[0], 0, pads[1]],
            [1, *dilations],
        )
        flat = replace(target, shape=(*target.shape[:2], 1, target.shape[2]))
    channels, outs = weights.shape[0] // groups, weights.shape[1]
    weights = weights.reshape(groups, channels, *weights.shape[1:])
    bias = read_bias(state, node, groups * outs, state.tensor(value).scale * scales)

    def phase(aim: Target, one: Value, residues: tuple[int, int]) -> None:
        slides: list[Window] = []
        chosen: list[Ints] = []
        for axis, residue in enumerate(residues):
            window, taps = _phase_window(
                residue + pads[axis], weights.shape[3 + axis], strides[axis], dilations[axis], aim.shape[2 + axis]
            )
            slides.append(window)
            chosen.append(taps)
        held, read = image_windows(state, node, one, groups, slides, line=False)
        part = weights[:, :, :, chosen[0]][:, :, :, :, chosen[1]]
        if not part.size:  # no tap reaches these outputs
            part = np.zeros((groups, channels, outs, slides[0].taps, slides[1].taps), np.int64)
        matrix = part.transpose(0, 3, 4, 1, 2).reshape(groups, -1, outs)
        _store_image(state, node, aim, held, read, slides, Weights(matrix=matrix, scales=scales, bias=bias))

    def build(aim: Target, one: Value) -> None:
        if strides == [1, 1]:
            phase(aim, one, (0, 0))
            return
        stored, view = stored_view(aim.shape)
        parts: list[Part] = []
        for residues in product(range(min(strides[0], aim.shape[2])), range(min(strides[1], aim.shape[3]))):
            write: IndexMap | NoMatch = view
            for axis, residue in enumerate(residues):
                assert isinstance(write, IndexMap), write
                count = len(range(residue, aim.shape[2 + axis], strides[axis]))
                write = index_map.take_slice(write, 2 + axis, residue, count, strides[axis])
            assert isinstance(write, IndexMap), write
            name = state.free(f"{aim.y.name}.phase{residues[0]}{residues[1]}")
            phase(replace(aim, y=replace(aim.y, name=name, onnx=""), shape=write.shape), one, residues)
            made = state.quantised.pop(name)
            parts.append(Part(x=made.tensor, read=made.view, write=write))
        y = state.finish(aim, stored, view)
        state.add_move(y.name, parts, y, aim.nodes)

    per_sample(state, node, flat, value, build)
    if spatial == 1:
        made = state.quantised[target.y.name]
        view = index_map.reshape(made.view, target.shape)
        assert isinstance(view, IndexMap), view
        state.finish(target, state.tensor(made).shape, view)


def _phase_window(shifted: int, size: int, stride: int, dilation: int, out: int) -> tuple[Window, Ints]:
    """(window over the input, its taps) of outputs r, r + stride, ... of one axis; `shifted` is r + pad.

    The last tap reads the first input. From one tap that fits to the next it is stride / gcd taps, and dilation / gcd
    inputs back.
    """
    taps = np.array([k for k in range(size) if (shifted - dilation * k) % stride == 0], np.int64)[::-1]
    before = -((shifted - dilation * int(taps[0])) // stride) if taps.size else 0
    apart = dilation // gcd(stride, dilation)
    return Window(out=out, taps=max(1, taps.size), stride=1, dilation=apart, pad_before=before), taps


def _transposed_weights(state: Lowering, node: onnx.NodeProto, groups: int) -> tuple[Ints, npt.NDArray[np.float64]]:
    """Weights [channels, outs of a group, ...] and a scale per output channel."""
    weights, scales = read_weights(state, node, 1)
    if groups == 1:
        return weights, scales
    constant = state.graph.constant(node.input[1])
    if constant is None or constant.scale.size > 1:
        raise Unfit(node, "its weights have a scale per channel and groups")
    return weights, np.broadcast_to(constant.scale, (groups * weights.shape[1],))


def window_slides(node: onnx.NodeProto, taps: list[int], outs: tuple[int, ...]) -> list[Window]:
    rank = len(taps)
    strides = ints_attribute(node, "strides", [1] * rank)
    dilations = ints_attribute(node, "dilations", [1] * rank)
    pads = ints_attribute(node, "pads", [0] * 2 * rank)
    return [
        Window(out=outs[a], taps=taps[a], stride=strides[a], dilation=dilations[a], pad_before=pads[a])
        for a in range(rank)
    ]


def lower_gemm(state: Lowering, node: onnx.NodeProto, target: Target) -> None:
    """x [..., K] times a constant [K, N] of 8 bits, a bias of one value a column -> `MatMul`.

    The rows are put into the order in which x is stored.
    """
    transposed = bool(int_attribute(node, "transB", 0))
    value = driven(state, node)
    weights, scales = read_weights(state, node, 0 if transposed else 1)
    plain = all(getattr(a, "f", 1.0) == 1.0 for a in node.attribute if a.name in ("alpha", "beta"))
    if int_attribute(node, "transA", 0) or not plain or weights.ndim != 2:
        raise Unfit(node, "it has transA, alpha, beta or a stack of matrices", "fold them into the weights")
    matrix = weights.T if transposed else weights
    columns = matrix.shape[1]
    bias = read_bias(state, node, columns, state.tensor(value).scale * scales)
    why = ""
    for held in (value, None):
        if held is None:
            held = state.plain(value, "rows", name_of(node))
            if held is value:
                break
        rows = _stored_rows(held.view)
        if isinstance(rows, NoMatch):
            why = rows.why
            continue
        read, order, turned = rows
        stored = (read.shape[0], read.shape[1], columns)
        flat = index_map.transpose(identity(stored), [1, 0, 2] if turned else [0, 1, 2])
        view = index_map.reshape(flat, target.shape)
        assert isinstance(view, IndexMap), view
        whole = Weights(matrix=matrix[order][None], scales=scales, bias=bias)
        add_matmul(state, node, target, state.tensor(held), read, stored, view, whole)
        return
    raise Unfit(node, f"its input cannot be read: {why}")


def _stored_rows(whole: IndexMap) -> tuple[IndexMap, Ints, bool] | NoMatch:
    """(read map [H, W, K], order of its K among the ONNX ones, whether W is the outer of the two)."""
    rank = len(whole.dims)
    lead = index_map.lead(whole, 1) if rank == 1 else whole
    rank = len(lead.dims)
    view = index_map.merge_digits(index_map.join_dims(lead, [list(range(rank - 1)), [rank - 1]]))
    pixels = [d for d in index_map.digits_of(view, 0) if view.digits[d] > 1]
    moves = [[a for a, c in enumerate(view.coordinates) if c.coefficients[d]] for d in pixels]
    axes = [found[0] if len(found) == 1 else -1 for found in moves]
    if not set(axes) <= {0, 1} or len(set(axes)) != len(axes):
        return NoMatch(why="its rows are no stored rows")
    inner = list(index_map.digits_of(view, 1))
    extents = [view.digits[d] for d in inner]
    strides = view.digit_strides()
    order = sorted(range(len(inner)), key=lambda i: (-strides[inner[i]], i))
    rows = np.arange(prod(extents)).reshape(extents).transpose(order).reshape(-1)
    first = [dict(zip(axes, pixels, strict=True)).get(axis) for axis in (0, 1)]
    digits = [*first, *(inner[i] for i in order)]
    shape = tuple(view.digits[d] if d is not None else 1 for d in first)
    read = IndexMap(
        source=view.source,
        dims=((shape[0],), (shape[1],), tuple(extents[i] for i in order)),
        coordinates=tuple(
            Coordinate(offset=c.offset, coefficients=tuple(c.coefficients[d] if d is not None else 0 for d in digits))
            for c in view.coordinates
        ),
    )
    walks = read_walks(read)
    return walks if isinstance(walks, NoMatch) else (read, rows, axes == [1, 0])

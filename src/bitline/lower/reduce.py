"""Pools and reductions over axes -> `Pool`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod

import numpy as np
import onnx

from bitline.core.diagnostics import NoMatch
from bitline.ir import index_map
from bitline.ir.boxes import read_taps, read_walks
from bitline.ir.index_map import IndexMap, Window, identity
from bitline.ir.kernels import LIMITS, Pool, Scale, Tensor
from bitline.lower.elementwise import reach, rescale
from bitline.lower.linear import per_sample, window_slides
from bitline.lower.qdq import Value, int_attribute, ints_attribute
from bitline.lower.state import DOUBLE_BITS, Lowering, Target, Unfit, name_of
from bitline.lower.stored import stored_view
from bitline.numerics.rounding import MANTISSA_BITS, fixed_point

MEANS = ("AveragePool", "GlobalAveragePool", "ReduceMean", "ReduceSum")


def lower_pool(state: Lowering, node: onnx.NodeProto, target: Target) -> None:
    """One or two axes, any stride, padding and dilation, without indices; a batch by samples -> `Pool`."""
    value = state.dynamic(node, 0)
    shape = value.view.shape
    if len(shape) not in (3, 4) or any(name for name in node.output[1:]):
        raise Unfit(node, "it pools over other than one or two axes, or gives indices")
    whole = node.op_type.startswith("Global")
    size = shape[2:]
    if whole:
        slides = [Window(out=1, taps=n, stride=1, dilation=1, pad_before=0) for n in size]
    else:
        slides = window_slides(node, ints_attribute(node, "kernel_shape", [1] * len(size)), target.shape[2:])
    pads = ints_attribute(node, "pads", [0] * 2 * len(size))
    if len(shape) == 3:
        slides = [Window(out=1, taps=1, stride=1, dilation=1, pad_before=0), *slides]
        size, pads = (1, *size), [0, pads[0], 0, pads[1]]
        value = state.reshaped(value, (*shape[:2], 1, shape[2]), name_of(node))
    flat = replace(target, shape=(*shape[:2], slides[0].out, slides[1].out))
    counted = bool(int_attribute(node, "count_include_pad", 0)) or whole
    op = "max" if "Max" in node.op_type else "mean"
    if op == "mean" and counted and _reaches_out(slides, size, pads[2:]):
        raise Unfit(node, "it counts padding and reaches beyond it (ceil_mode)", "export it with explicit padding")
    padded = any(slide.pad_before for slide in slides) or _reaches_out(slides, size)
    if op == "max" and padded and state.tensor(value).dtype == "s16":
        raise Unfit(node, "it pads 16-bit values with the smallest")

    def build(aim: Target, one: Value) -> None:
        held, read = _pool_windows(state, node, one, slides)
        stored = (slides[0].out, slides[1].out, shape[1])
        view = stored_view((1, shape[1], slides[0].out, slides[1].out))[1]
        add_pool(state, node, aim, held, read, stored, view, valid=op == "mean" and not counted and padded)

    per_sample(state, node, flat, value, build)
    if len(shape) == 3:
        made = state.quantised[target.y.name]
        view = index_map.reshape(made.view, target.shape)
        assert isinstance(view, IndexMap), view
        state.finish(target, state.tensor(made).shape, view)


def _pool_windows(
    state: Lowering, node: onnx.NodeProto, value: Value, slides: Sequence[Window]
) -> tuple[Value, IndexMap]:
    why = ""
    for held in (value, None):
        if held is None:
            held = state.plain(value, "image", name_of(node))
            if held is value:
                break
        window = index_map.windows(held.view, (2, 3), slides)
        if isinstance(window, NoMatch):
            why = window.why
            continue
        read = index_map.join_dims(window, [[0], [1], [2, 3], [4, 5]])
        walks = read_walks(read)
        if not isinstance(walks, NoMatch) and _keeps_channels(read):
            return held, read
        why = walks.why if isinstance(walks, NoMatch) else "its channels are mixed with other axes"
    raise Unfit(node, f"its input cannot be read: {why}")


def add_pool(
    state: Lowering,
    node: onnx.NodeProto,
    target: Target,
    value: Value,
    read: IndexMap,
    stored: tuple[int, int, int],
    view: IndexMap,
    *,
    valid: bool,
) -> None:
    """The kernel; a maximum on another grid than its input's is rescaled afterwards."""
    x, y, taps = state.tensor(value), target.y, read.shape[2]
    op = "mean" if node.op_type in MEANS else "max"
    same = (x.scale, x.zero_point, x.dtype) == (y.scale, y.zero_point, y.dtype)
    if op == "max" and not same:
        name = state.free(f"{y.name}.largest")
        low, high = LIMITS[x.dtype]
        plain = replace(target, y=_like(x, name), low=low, high=high)
        add_pool(state, node, plain, value, read, stored, view, valid=False)
        rescale(state, node, target, state.quantised.pop(name))
        return
    scales: tuple[Scale, ...] = ()
    if op == "mean":
        factor = x.scale / y.scale
        counts = [1] if node.op_type == "ReduceSum" else list(range(1, taps + 1)) if valid else [taps]
        bits = min(MANTISSA_BITS, DOUBLE_BITS - (taps * reach(x)).bit_length())
        if factor >= 1 << max(bits, 0) or bits < 8:
            raise Unfit(node, "its output scale is too far below that of its input", "quantise the model again")
        scales = tuple(Scale(mantissa=m, shift=s) for m, s in (fixed_point(factor / n, bits) for n in counts))
    made = state.finish(target, stored, view)
    state.kernels.append(
        Pool(
            name=state.free(target.name),
            nodes=target.nodes,
            op=op,
            x=x.name,
            y=made.name,
            read=read,
            write=identity(stored),
            scales=scales,
            divide_by_valid=valid,
            low=target.low,
            high=target.high,
        )
    )


def _like(x: Tensor, name: str) -> Tensor:
    """A tensor on the grid of `x` that no ONNX tensor equals."""
    return replace(x, name=name, onnx="", constant="")


def lower_reduce(state: Lowering, node: onnx.NodeProto, target: Target) -> None:
    """Over any constant axes: these become the rows of an image, the others its channels -> `Pool`."""
    value = state.dynamic(node, 0)
    shape = value.view.shape
    axes = ints_attribute(node, "axes", [])
    if not axes and len(node.input) > 1 and node.input[1]:
        stated = state.graph.initializers.get(node.input[1])
        if stated is None:
            raise Unfit(node, "its axes are no constants")
        axes = [int(a) for a in stated.reshape(-1)]
    if not axes and int_attribute(node, "noop_with_empty_axes", 0):
        rescale(state, node, target, value)
        return
    gone = sorted(a % len(shape) for a in axes) or list(range(len(shape)))
    kept = [a for a in range(len(shape)) if a not in gone]
    taps, channels = prod(shape[a] for a in gone), prod(shape[a] for a in kept)
    turned = index_map.lead(index_map.transpose(value.view, [*kept, *gone]), 1)
    grouped = index_map.join_dims(turned, [[0, *range(1, 1 + len(kept))], list(range(1 + len(kept), 1 + len(shape)))])
    pairs = index_map.merge_digits(grouped)  # [channels, taps] of the stored tensor
    held = Value(tensor=value.tensor, view=pairs)
    read = _column_windows(pairs, taps, channels)
    if read is None:
        stored = (taps, 1, channels)
        view = index_map.transpose(index_map.join_dims(identity(stored), [[0], [1, 2]]), [1, 0])
        held = state.copied(held, stored, view, name_of(node))
        read = _column_windows(held.view, taps, channels)
        assert read is not None, "rows of columns can be read"
    out = (1, 1, channels)
    view = index_map.reshape(identity(out), target.shape)
    assert isinstance(view, IndexMap), view
    add_pool(state, node, target, held, read, out, view, valid=False)


def _column_windows(pairs: IndexMap, taps: int, channels: int) -> IndexMap | None:
    """[1, 1, taps, channels] where every tap is a stored pixel with all channels in order; None otherwise."""
    read = index_map.lead(index_map.transpose(pairs, [1, 0]), 2)
    if pairs.source[2] != channels or isinstance(read_walks(read), NoMatch):
        return None
    return read if read.shape == (1, 1, taps, channels) and _keeps_channels(read) else None


def _keeps_channels(read: IndexMap) -> bool:
    """Whether channel c of a pool's read map (its last dimension) is stored channel c, whatever the tap."""
    taps, channels = read.shape[2:]
    values = read_taps(read)
    same = [(v.reshape(taps, channels) == v.reshape(taps, channels)[:, :1]).all() for v in (values.rows, values.cols)]
    return bool(all(same) and (values.channels.reshape(taps, channels) == np.arange(channels)).all())


def _reaches_out(slides: Sequence[Window], sizes: Sequence[int], pads_after: Sequence[int] = (0, 0)) -> bool:
    """Whether any window ends beyond the tensor and its padding."""
    return any(
        s.stride * (s.out - 1) + s.dilation * (s.taps - 1) - s.pad_before >= size + after
        for s, size, after in zip(slides, sizes, pads_after, strict=True)
    )

"""Operators that only say where elements lie: index maps on what is stored, and copies where a map cannot say it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from math import prod

import numpy as np
import onnx

from bitline.graph.model import attribute
from bitline.ir import index_map
from bitline.ir.index_map import IndexMap, identity
from bitline.ir.kernels import LIMITS, Part
from bitline.lower.elementwise import rescale
from bitline.lower.qdq import Value
from bitline.lower.state import Ints, Lowering, Scalar, Target, Unfit, name_of
from bitline.lower.stored import Form, stored_view

MOST_STRETCHES = 4096
"""Of one copy: each is a part of a kernel and an instruction."""

LayoutRule = Callable[[Lowering, onnx.NodeProto, Value], list[Value]]
"""Views of all outputs of a node on its stored input. Raises `Unfit`."""


def _integers(state: Lowering, node: onnx.NodeProto, place: int, name: str) -> list[int] | None:
    """A list that is an input since some opset and was an attribute before; None where it is absent."""
    if place < len(node.input) and node.input[place]:
        values = state.graph.initializers.get(node.input[place])
        if values is None:
            raise Unfit(node, f"its {name} are no constants")
        return [int(v) for v in values.reshape(-1)]
    found = attribute(node, name, None)
    return None if found is None else [int(v) for v in (found if isinstance(found, Sequence) else [found])]


def _reshape(state: Lowering, node: onnx.NodeProto, value: Value) -> list[Value]:
    """Any form of the same elements: Reshape, Flatten, Squeeze, Unsqueeze; copied where no map says it."""
    return [state.reshaped(value, state.shape(node.output[0]), name_of(node))]


def _transpose(state: Lowering, node: onnx.NodeProto, value: Value) -> list[Value]:
    """Any order of the axes."""
    order = attribute(node, "perm", list(range(len(value.view.dims)))[::-1])
    return [Value(tensor=value.tensor, view=index_map.transpose(value.view, list(order)))]


def _slice(state: Lowering, node: onnx.NodeProto, value: Value) -> list[Value]:
    """Constant bounds and steps, also backward; the result is not empty."""
    starts, ends = _integers(state, node, 1, "starts"), _integers(state, node, 2, "ends")
    if starts is None or ends is None:
        raise Unfit(node, "it has no bounds")
    axes = _integers(state, node, 3, "axes") or list(range(len(starts)))
    steps = _integers(state, node, 4, "steps") or [1] * len(starts)
    rank = len(value.view.shape)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        dim = axis % rank
        taken = range(value.view.shape[dim])[slice(start, end, step)]
        if step < 0 and end < -value.view.shape[dim]:  # as ONNX has it: down to the first
            taken = range(value.view.shape[dim])[start::step]
        if not len(taken):
            raise Unfit(node, "its result is empty")
        value = state.sliced(value, dim, taken.start, len(taken), step, name_of(node))
    return [value]


def _split(state: Lowering, node: onnx.NodeProto, value: Value) -> list[Value]:
    """Along one axis, into parts of any constant sizes."""
    axis = int(attribute(node, "axis", 0)) % len(value.view.shape)
    found: list[Value] = []
    start = 0
    for name in node.output:
        count = state.shape(name)[axis]
        found.append(state.sliced(value, axis, start, count, 1, name_of(node)))
        start += count
    return found


def _gather(state: Lowering, node: onnx.NodeProto, value: Value) -> list[Value]:
    """By constant indices: a view where they are evenly spaced, copied in even stretches elsewhere."""
    indices = state.graph.initializers.get(node.input[1])
    if indices is None:
        raise Unfit(node, "its indices and its data both depend on the input")
    axis = int(attribute(node, "axis", 0)) % len(value.view.shape)
    extent = value.view.shape[axis]
    numbers = indices.astype(np.int64).reshape(-1)
    places = np.where(numbers < 0, numbers + extent, numbers)
    if not places.size or places.min() < 0 or places.max() >= extent:
        raise Unfit(node, "its indices lie outside, or there are none")
    taken = picked(state, value, axis, places, name_of(node))
    return [state.reshaped(taken, state.shape(node.output[0]), name_of(node))]


def picked(state: Lowering, value: Value, axis: int, places: Ints, origin: str) -> Value:
    """Indices `places` of one dimension: a view where they are evenly spaced, else a copy in even stretches."""
    steps = np.diff(places)
    if not steps.size or (steps == steps[0]).all():
        step = int(steps[0]) if steps.size else 1
        return state.sliced(value, axis, int(places[0]), places.size, step, origin)
    shape = tuple(places.size if i == axis else n for i, n in enumerate(value.view.shape))
    stored, view = stored_view(shape, form_of(state, value))
    x = state.tensor(value)
    name = state.free(f"{x.name}.picked")
    parts: list[Part] = []
    for start, end, step in stretches(places):
        source = state.sliced(value, axis, int(places[start]), end - start, step, origin)
        target = index_map.take_slice(view, axis, start, end - start)
        assert isinstance(target, IndexMap), target
        parts.append(Part(x=source.tensor, read=source.view, write=target))
    state.add_move(name, parts, replace(x, name=name, shape=stored, onnx="", view=view, constant=""), (origin,))
    return Value(tensor=name, view=view)


def stretches(places: Ints) -> Iterator[tuple[int, int, int]]:
    """(start, end, step) of runs that are evenly spaced; places below 0 make runs of their own."""
    start = 0
    while start < places.size:
        end, step = start + 1, 1
        if places[start] < 0:
            while end < places.size and places[end] < 0:
                end += 1
        elif end < places.size and places[end] >= 0:
            step = int(places[end] - places[start])
            while end < places.size and places[end] >= 0 and places[end] - places[end - 1] == step:
                end += 1
        yield start, end, step
        start = end


def form_of(state: Lowering, value: Value) -> Form:
    """`image` where a tensor of four axes lies channels-last, else `rows`."""
    shape = value.view.shape
    stored, view = stored_view(shape, "image")
    alike = state.tensor(value).shape == stored and index_map.merge_digits(view) == index_map.merge_digits(value.view)
    return "image" if alike else "rows"


def _elements(state: Lowering, value: Value, places: Ints, shape: tuple[int, ...], origin: onnx.NodeProto) -> Value:
    """The elements at `places`, row-major numbers of what `value` holds, as `shape`."""
    if not places.size or sum(1 for _ in stretches(places.reshape(-1))) > MOST_STRETCHES:
        raise Unfit(origin, f"its indices make more than {MOST_STRETCHES} stretches, or none")
    flat = state.reshaped(value, (prod(value.view.shape),), name_of(origin))
    return state.reshaped(picked(state, flat, 0, places.reshape(-1), name_of(origin)), shape, name_of(origin))


def _constant_indices(state: Lowering, node: onnx.NodeProto) -> Ints:
    indices = state.graph.initializers.get(node.input[1])
    if indices is None:
        raise Unfit(node, "its indices depend on the input")
    return indices.astype(np.int64)


def _gather_elements(state: Lowering, node: onnx.NodeProto, value: Value) -> list[Value]:
    """By constant indices within the axis; copied in even stretches."""
    shape, indices = value.view.shape, _constant_indices(state, node)
    axis = int(attribute(node, "axis", 0)) % len(shape)
    if indices.size and not -shape[axis] <= indices.min() <= indices.max() < shape[axis]:
        raise Unfit(node, "its indices lie outside")
    numbers = np.arange(prod(shape)).reshape(shape)
    numbers = numbers[tuple(slice(None) if a == axis else slice(n) for a, n in enumerate(indices.shape))]
    places = np.take_along_axis(numbers, indices % shape[axis], axis)
    return [_elements(state, value, places, state.shape(node.output[0]), node)]


def _gather_nd(state: Lowering, node: onnx.NodeProto, value: Value) -> list[Value]:
    """By constant indices within the tensor, with batch_dims; copied in even stretches."""
    shape, indices = value.view.shape, _constant_indices(state, node)
    batch, depth = int(attribute(node, "batch_dims", 0)), indices.shape[-1]
    extents = np.array(shape[batch : batch + depth], np.int64)
    if indices.size and ((indices < -extents) | (indices >= extents)).any():
        raise Unfit(node, "its indices lie outside")
    numbers = np.arange(prod(shape)).reshape(prod(shape[:batch]), *shape[batch:])
    rows = (indices % extents).reshape(numbers.shape[0], -1, depth)
    found = [one[tuple(np.moveaxis(row, -1, 0))] for one, row in zip(numbers, rows, strict=True)]
    return [_elements(state, value, np.stack(found), state.shape(node.output[0]), node)]


def _expand(state: Lowering, node: onnx.NodeProto, value: Value) -> list[Value]:
    """To any shape that it broadcasts to; nothing is stored twice."""
    return [Value(tensor=value.tensor, view=index_map.broadcast(value.view, state.shape(node.output[0])))]


def _tile(state: Lowering, node: onnx.NodeProto, value: Value) -> list[Value]:
    """Constant repeats; nothing is stored twice."""
    times = _integers(state, node, 1, "repeats") or []
    view = value.view
    for dim, count in enumerate(times):
        view = index_map.repeated(view, dim, count, inner=False) if count > 1 else view
    return [Value(tensor=value.tensor, view=view)]


def _depth_to_space(state: Lowering, node: onnx.NodeProto, value: Value) -> list[Value]:
    """Four axes, in the order DCR or CRD."""
    batch, channels, height, width = value.view.shape
    size = int(attribute(node, "blocksize", 1))
    deep = channels // (size * size)
    if attribute(node, "mode", "DCR") == "DCR":
        split, order = (batch, size, size, deep, height, width), (0, 3, 4, 1, 5, 2)
    else:
        split, order = (batch, deep, size, size, height, width), (0, 1, 4, 2, 5, 3)
    apart = state.reshaped(value, split, name_of(node))
    turned = Value(tensor=apart.tensor, view=index_map.transpose(apart.view, order))
    return _reshape(state, node, turned)


def _space_to_depth(state: Lowering, node: onnx.NodeProto, value: Value) -> list[Value]:
    """Four axes, in the order DCR."""
    batch, channels, height, width = value.view.shape
    size = int(attribute(node, "blocksize", 1))
    apart = state.reshaped(value, (batch, channels, height // size, size, width // size, size), name_of(node))
    turned = Value(tensor=apart.tensor, view=index_map.transpose(apart.view, (0, 3, 5, 1, 2, 4)))
    return _reshape(state, node, turned)


def _resize(state: Lowering, node: onnx.NodeProto, value: Value) -> list[Value]:
    """Nearest neighbour, coordinates asymmetric, (pytorch_)half_pixel or align_corners; copied unless whole factors.

    Which input each output takes is computed here, by the formulas of ONNX's Resize.
    """
    if attribute(node, "mode", "nearest") != "nearest":
        raise Unfit(node, "it interpolates")
    old, new = value.view.shape, state.shape(node.output[0])
    scales = resize_scales(state, node, old, new)
    way = str(attribute(node, "coordinate_transformation_mode", "half_pixel"))
    rounding = str(attribute(node, "nearest_mode", "round_prefer_floor"))
    for axis, (size, wanted) in enumerate(zip(old, new, strict=True)):
        if size == wanted:
            continue
        places = nearest(size, wanted, scales[axis], way, rounding)
        if places is None:
            raise Unfit(node, f"its coordinates are {way}, {rounding}")
        times = wanted // size
        if wanted == times * size and (places == np.arange(wanted) // times).all():
            view = index_map.repeated(value.view, axis, times, inner=True)
            value = Value(tensor=value.tensor, view=view)
        else:
            value = picked(state, value, axis, places, name_of(node))
    return [value]


def resize_scales(state: Lowering, node: onnx.NodeProto, old: Sequence[int], new: Sequence[int]) -> tuple[float, ...]:
    """The factor of every axis: as stated, or as the sizes stated say."""
    rank = len(old)
    axes = [int(a) % rank for a in attribute(node, "axes", None) or range(rank)]
    factors = [wanted / size for size, wanted in zip(old, new, strict=True)]

    def stated(place: int) -> list[float]:
        name = node.input[place] if place < len(node.input) else ""
        held = state.graph.initializers.get(name)
        return [] if held is None or held.size != len(axes) else [float(v) for v in held.reshape(-1)]

    policy = str(attribute(node, "keep_aspect_ratio_policy", "stretch"))
    if policy != "stretch" and (sizes := stated(3)):
        ratios = [size / old[axis] for axis, size in zip(axes, sizes, strict=True)]
        common = min(ratios) if policy == "not_larger" else max(ratios)
        return tuple(common if axis in axes else factor for axis, factor in enumerate(factors))
    for axis, factor in zip(axes, stated(2), strict=False):
        factors[axis] = factor
    return tuple(factors)


def nearest(size: int, wanted: int, scale: float, way: str, rounding: str) -> Ints | None:
    """The input index of every output index of one axis; None for a mode that is not known."""
    out = np.arange(wanted, dtype=np.float64)
    match way:
        case "asymmetric":
            place = out / scale
        case "half_pixel":
            place = (out + 0.5) / scale - 0.5
        case "pytorch_half_pixel":
            place = (out + 0.5) / scale - 0.5 if wanted > 1 else out * 0
        case "align_corners":
            place = out * (size - 1) / (wanted - 1) if wanted > 1 else out * 0
        case _:
            return None
    match rounding:
        case "floor":
            index = np.floor(place)
        case "ceil":
            index = np.ceil(place)
        case "round_prefer_floor":
            index = np.ceil(place - 0.5)
        case "round_prefer_ceil":
            index = np.floor(place + 0.5)
        case _:
            return None
    return np.clip(index, 0, size - 1).astype(np.int64)


VIEWS: dict[str, LayoutRule] = {
    **dict.fromkeys(("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout"), _reshape),
    "Transpose": _transpose,
    "Slice": _slice,
    "Split": _split,
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "GatherND": _gather_nd,
    "Expand": _expand,
    "Tile": _tile,
    "DepthToSpace": _depth_to_space,
    "SpaceToDepth": _space_to_depth,
    "Resize": _resize,
    "Upsample": _resize,
}


def lower_concat(state: Lowering, node: onnx.NodeProto, target: Target) -> None:
    """Any number of tensors, constant or computed, each on the grid of the result -> `Move`."""
    axis = int(attribute(node, "axis", 0)) % len(target.shape)
    operands = [_stored_operand(state, node, place) for place in range(len(node.input))]
    stored, view = stored_view(target.shape, "image" if form_of(state, operands[0]) == "image" else "rows")
    parts: list[Part] = []
    start = 0
    for place, operand in enumerate(operands):
        count = operand.view.shape[axis]
        same = on_grid(state, node, target, operand, place)
        write = index_map.take_slice(view, axis, start, count)
        assert isinstance(write, IndexMap), write
        parts.append(Part(x=same.tensor, read=same.view, write=write))
        start += count
    y = state.finish(target, stored, view)
    state.add_move(y.name, parts, y, target.nodes)


def lower_scatter(state: Lowering, node: onnx.NodeProto, target: Target) -> None:
    """To constant places, without reduction; data and updates on the grid of the result -> `Move`."""
    indices = _constant_indices(state, node)
    if attribute(node, "reduction", "none") != "none":
        raise Unfit(node, f"it combines values by {attribute(node, 'reduction', '')}")
    shape, depth = target.shape, indices.shape[-1]
    extents = np.array(shape[:depth], np.int64)
    if indices.size and ((indices < -extents) | (indices >= extents)).any():
        raise Unfit(node, "its indices lie outside")
    updated = np.full(shape, -1)
    rows = (indices % extents).reshape(-1, depth)
    updated[tuple(rows.T)] = np.arange(prod(state.shape(node.input[2]))).reshape(len(rows), *shape[depth:])
    old = np.where(updated < 0, np.arange(prod(shape)).reshape(shape), -1).reshape(-1)
    runs: list[tuple[int, int, int, int, int]] = []  # operand, first place of the result, first of the operand, ...
    for start, end, step in stretches(old):
        if old[start] >= 0:
            runs.append((0, start, int(old[start]), end - start, step))
            continue
        new = updated.reshape(-1)[start:end]
        runs += [(2, start + s, int(new[s]), e - s, by) for s, e, by in stretches(new)]
    if len(runs) > MOST_STRETCHES:
        raise Unfit(node, f"its indices make more than {MOST_STRETCHES} stretches")
    sources: dict[int, Value] = {}
    for place in (0, 2):
        held = _stored_operand(state, node, place)
        same = on_grid(state, node, target, held, place)
        sources[place] = state.reshaped(same, (prod(same.view.shape),), name_of(node))
    flat = identity((1, 1, prod(shape)))
    line = index_map.reshape(flat, (prod(shape),))
    view = index_map.reshape(flat, shape)
    assert isinstance(line, IndexMap), line
    assert isinstance(view, IndexMap), view
    parts: list[Part] = []
    for place, at, first, count, step in runs:
        taken = state.sliced(sources[place], 0, first, count, step, name_of(node))
        write = index_map.take_slice(line, 0, at, count)
        assert isinstance(write, IndexMap), write
        parts.append(Part(x=taken.tensor, read=taken.view, write=write))
    y = state.finish(target, (1, 1, prod(shape)), view)
    state.add_move(y.name, parts, y, target.nodes)


def _stored_operand(state: Lowering, node: onnx.NodeProto, place: int) -> Value:
    operand = state.operand(node, place)
    if isinstance(operand, Value):
        return operand
    number = state.scalar_tensor(operand.real)
    shape = state.shape(node.input[place])
    return Value(tensor=number.tensor, view=index_map.broadcast(number.view, shape))


def on_grid(state: Lowering, node: onnx.NodeProto, target: Target, value: Value, place: int) -> Value:
    """The value with the scale, zero point, type and limits of the result: itself where it has them."""
    x, y = state.tensor(value), target.y
    limits = LIMITS[y.dtype]
    if (x.dtype, x.scale, x.zero_point) == (y.dtype, y.scale, y.zero_point) and (target.low, target.high) == limits:
        return value
    name = state.free(f"{y.name}.part{place}")
    part = replace(target, y=replace(y, name=name, onnx=""), shape=value.view.shape)
    rescale(state, node, part, value)
    return state.quantised.pop(name)


def lower_pad(state: Lowering, node: onnx.NodeProto, target: Target) -> None:
    """With a number, the edge, reflected or wrapped, on any axes -> `Move`."""
    value = state.dynamic(node, 0)
    mode = str(attribute(node, "mode", "constant"))
    rank = len(value.view.shape)
    pads = _integers(state, node, 1, "pads") or []
    axes = _integers(state, node, 3, "axes") or list(range(rank))
    number = 0.0
    if mode == "constant" and len(node.input) > 2 and node.input[2]:
        given = state.operand(node, 2)
        if not isinstance(given, Scalar):
            raise Unfit(node, "it pads with a tensor")
        number = given.real
    if min(pads, default=0) < 0 or len(pads) != 2 * len(axes):
        raise Unfit(node, "it cuts off instead of padding")
    value = on_grid(state, node, target, value, 0)
    done = False
    for i, axis in enumerate(axes):
        before, after = pads[i], pads[i + len(axes)]
        if before or after:
            value = _padded(state, node, target, value, axis % rank, before, after, mode, number)
            done = True
    if done:
        y = replace(state.tensors.pop(value.tensor), name=target.y.name, onnx=target.y.onnx)
        state.kernels[-1] = replace(state.kernels[-1], y=y.name)  # type: ignore[call-arg]  # the last kernel is a Move
        state.finish(target, y.shape, y.view)
    else:
        state.quantised[target.y.name] = value


def _padded(
    state: Lowering,
    node: onnx.NodeProto,
    target: Target,
    value: Value,
    axis: int,
    before: int,
    after: int,
    mode: str,
    number: float,
) -> Value:
    size = value.view.shape[axis]
    inner = np.arange(-before, size + after)
    match mode:
        case "constant":
            places = np.where((inner < 0) | (inner >= size), -1, inner)
        case "edge":
            places = np.clip(inner, 0, size - 1)
        case "reflect" if size > 1:
            around = np.abs(inner) % (2 * (size - 1))
            places = np.where(around >= size, 2 * (size - 1) - around, around)
        case "wrap":
            places = inner % size
        case _:
            raise Unfit(node, f"it pads by {mode!r}")
    shape = tuple(size + before + after if i == axis else n for i, n in enumerate(value.view.shape))
    stored, view = stored_view(shape, form_of(state, value))
    x = state.tensor(value)
    name = state.free(f"{target.y.name}.padded")
    parts: list[Part] = []
    for start, end, step in stretches(places):
        write = index_map.take_slice(view, axis, start, end - start)
        assert isinstance(write, IndexMap), write
        if places[start] < 0:
            parts.append(_filling(state, target, number, write))
        else:
            source = state.sliced(value, axis, int(places[start]), end - start, step, name_of(node))
            parts.append(Part(x=source.tensor, read=source.view, write=write))
    state.add_move(name, parts, replace(x, name=name, shape=stored, onnx="", view=view, constant=""), target.nodes)
    return Value(tensor=name, view=view)


def _filling(state: Lowering, target: Target, number: float, write: IndexMap) -> Part:
    """A part that holds one number everywhere, as a stored constant of one element."""
    y = target.y
    step = int(np.clip(np.rint(number / y.scale) + y.zero_point, target.low, target.high))
    value = state.constant_tensor(f"{y.name}.filling {step}", np.array([step]), y.dtype, y.scale, y.zero_point)
    return Part(x=value.tensor, read=index_map.broadcast(value.view, write.shape), write=write)

"""Which output channels of a layer end up in one part of its output. No pass itself: `fold_affine` asks.

The layer's channels are numbered and the numbers moved as the graph moves the values, so that every exporter's way to
cut queries, keys and values apart is understood alike.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import onnx

from bitline.graph.model import Wiring, attribute

FORMS = ("Reshape", "Squeeze", "Unsqueeze", "Flatten")
PARTITIONS = ("Split", "Slice")

_Numbers = npt.NDArray[np.int64]


def part_of_channels(
    way: Sequence[onnx.NodeProto], part: str, axis: int, wiring: Wiring
) -> npt.NDArray[np.bool_] | None:
    """For each channel of the layer `way[0]`, whether the tensor `part` has values of it.

    `way` leads from the layer through layout operators to a Split, or a Slice, that makes `part`. None where a channel
    of the part is also in what the Split or the other Slices give, or cannot be followed.
    """
    layer, *layouts, partition = way
    shape = wiring.shape(layer.output[0])
    if shape is None:
        return None
    numbers = np.arange(shape[axis], dtype=np.int64).reshape([-1 if at == axis else 1 for at in range(len(shape))])
    moved: _Numbers | None = np.broadcast_to(numbers, shape)
    for node in layouts:
        moved = _moved(node, moved, wiring)
        if moved is None:
            return None
    parts = _parts(partition, moved, wiring)
    if parts is None or part not in parts:
        return None
    mine = np.isin(np.arange(shape[axis]), parts[part])
    others = [values.reshape(-1) for name, values in parts.items() if name != part]
    theirs = np.isin(np.arange(shape[axis]), np.concatenate(others)) if others else np.zeros_like(mine)
    return None if (mine & theirs).any() else mine


def _moved(node: onnx.NodeProto, values: _Numbers, wiring: Wiring) -> _Numbers | None:
    shape = wiring.shape(node.output[0])
    if shape is None:
        return None
    if node.op_type in FORMS:
        return values.reshape(shape)
    if node.op_type == "Transpose":
        return values.transpose(attribute(node, "perm", list(range(values.ndim))[::-1]))
    return None


def _parts(node: onnx.NodeProto, values: _Numbers, wiring: Wiring) -> dict[str, _Numbers] | None:
    """What the node, and for a Slice every other reader, gives of its input; None where one gives who knows what."""
    if node.op_type == "Split":
        shapes = [wiring.shape(name) for name in node.output]
        axis = attribute(node, "axis", 0)
        if any(shape is None for shape in shapes):
            return None
        ends = np.cumsum([shape[axis] for shape in shapes if shape is not None])[:-1]
        return dict(zip(node.output, np.split(values, ends, axis=axis), strict=True))
    parts: dict[str, _Numbers] = {}
    for reader in wiring.readers[node.input[0]]:
        sliced = _sliced(reader, values, wiring) if reader.op_type == "Slice" else None
        if sliced is None:
            return None
        parts[reader.output[0]] = sliced
    return parts


def _sliced(node: onnx.NodeProto, values: _Numbers, wiring: Wiring) -> _Numbers | None:
    bounds = [wiring.array(name) for name in node.input[1:] if name]
    if any(bound is None for bound in bounds) or len(bounds) != len(node.input) - 1:
        return None
    starts, ends, *rest = ([int(value) for value in bound] for bound in bounds if bound is not None)
    axes = rest[0] if rest else list(range(len(starts)))
    steps = rest[1] if len(rest) > 1 else [1] * len(starts)
    if any(step < 1 for step in steps):
        return None
    index = [slice(None)] * values.ndim
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        index[axis] = slice(start, end, step)
    return values[tuple(index)]

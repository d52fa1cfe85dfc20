"""How tensors of the ONNX graph are stored: (H, W, C), axes of one element in front left out."""

from __future__ import annotations

from math import prod
from typing import Literal

from bitline.ir import index_map
from bitline.ir.index_map import IndexMap, identity

Form = Literal["image", "line", "rows"]
"""image: [N, C, H, W] channels-last. line: [N, C, W] likewise. rows: as ONNX has it, the last axis innermost."""


def stored_shape(shape: tuple[int, ...], form: Form = "image") -> tuple[tuple[int, int, int], tuple[int, ...]]:
    """((H, W, C), order): how a tensor is stored, and which ONNX axes make H, W, C, in this order.

    Tensors of fewer than four axes are rows unless they are a `line`.
    """
    rank = len(shape)
    if form == "line" and rank == 3:
        return (shape[0], shape[2], shape[1]), (0, 2, 1)
    if form == "image" and rank >= 4:
        batch, channels, *rest = shape
        return (batch * prod(rest[:-1]), rest[-1], channels), (0, *range(2, rank), 1)
    padded = (1, 1, 1, *shape)
    return (prod(padded[:-2]), padded[-2], padded[-1]), tuple(range(rank))


def stored_view(shape: tuple[int, ...], form: Form = "image") -> tuple[tuple[int, int, int], IndexMap]:
    """(stored shape, view of the ONNX shape on it) for a tensor that nothing has laid out yet."""
    stored, order = stored_shape(shape, form)
    inner = index_map.reshape(identity(stored), [shape[axis] for axis in order])
    assert isinstance(inner, IndexMap), inner
    return stored, index_map.transpose(inner, [order.index(axis) for axis in range(len(shape))])

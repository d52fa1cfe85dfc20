"""How tensors of the ONNX graph are stored: (H, W, C), the batch axis left out."""

from __future__ import annotations

from math import prod

from bitline.ir import index_map
from bitline.ir.index_map import IndexMap, identity


def stored_shape(shape: tuple[int, ...], line: bool = False) -> tuple[tuple[int, int, int], tuple[int, ...]]:
    """((H, W, C), order): how an ONNX tensor of batch 1 is stored, and which ONNX axes make H, W, C.

    Of three axes the last makes C, as in the rows of a matrix; the second in a `line`, which a 1-D Conv reads.
    """
    body = shape[1:]
    match len(body):
        case 2 if line:
            return (1, body[1], body[0]), (2, 1)
        case 0:
            return (1, 1, 1), ()
        case 1:
            return (1, 1, body[0]), (1,)
        case 2:
            return (1, body[0], body[1]), (1, 2)
        case _:
            channels, *rest = body
            return (prod(rest[:-1]), rest[-1], channels), (*range(2, len(shape)), 1)


def stored_view(shape: tuple[int, ...], line: bool = False) -> tuple[tuple[int, int, int], IndexMap]:
    """(stored shape, view of the ONNX shape on it) for a tensor that nothing has laid out yet."""
    stored, order = stored_shape(shape, line)
    flat = identity(stored)
    axes = [shape[axis] for axis in order]
    inner = index_map.reshape(flat, [1, *axes])
    assert isinstance(inner, IndexMap), inner
    places = [0, *(1 + order.index(axis) for axis in range(1, len(shape)))]
    return stored, index_map.transpose(inner, places)

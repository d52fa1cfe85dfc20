"""How much a protobuf file holds, found by walking its bytes: before anything is built from it.

A parsed message takes up to a hundred times its bytes: 20 MB of empty nodes are 2 GB of objects. This walk builds
nothing, reads no payload, and ends as soon as a budget is passed. The numbers of fields are those of `onnx.proto`.
"""

from __future__ import annotations

import mmap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

# message -> field -> the message in it; `small` messages are counted by their length, not walked
_MESSAGES: Final[Mapping[str, Mapping[int, str]]] = {
    "model": {7: "graph", 8: "small", 14: "small", 20: "training", 25: "function", 26: "small"},
    "training": {1: "graph", 2: "graph", 3: "small", 4: "small"},
    "function": {7: "node", 9: "small", 11: "attribute", 12: "small", 14: "small"},
    "graph": {1: "node", 5: "tensor", 11: "small", 12: "small", 13: "small", 14: "small", 15: "sparse", 16: "small"},
    "node": {5: "attribute", 9: "small", 10: "small"},
    "attribute": {
        **dict.fromkeys((5, 10), "tensor"),
        **dict.fromkeys((6, 11), "subgraph"),
        **dict.fromkeys((22, 23), "sparse"),
        8: "numbers",
        14: "small",
        15: "small",
    },
    "sparse": {1: "tensor", 2: "tensor", 3: "numbers"},
    "tensor": {1: "numbers", 5: "numbers", 7: "numbers", 11: "numbers", 13: "small", 16: "small"},
}
_MESSAGES_OF: Final = {**_MESSAGES, "subgraph": _MESSAGES["graph"]}
_BYTES_PER_FIELD: Final = {"small": 4, "numbers": 16}
"""A small message costs about as much as a field for every 4 bytes, packed numbers, up to 8 bytes each, for 16."""


class Damaged(ValueError):
    """The bytes are no protobuf message; the text says where."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """What was counted; `complete` is False where a budget ended the walk early."""

    fields: int
    nodes: int
    subgraphs: int
    nesting: int
    complete: bool


def measure(data: bytes | mmap.mmap, *, fields: int, nodes: int, subgraphs: int) -> Extent:
    """Count fields, nodes, subgraphs and their nesting until a budget is passed. Raises `Damaged`."""
    counted = seen = inner = level = deepest = at = 0
    end, kind = len(data), "model"
    outer: list[tuple[int, str]] = []
    while True:
        while at >= end:
            if not outer:
                return Extent(fields=counted, nodes=seen, subgraphs=inner, nesting=deepest, complete=True)
            level -= kind == "subgraph"
            end, kind = outer.pop()
        counted += 1
        if counted > fields or seen > nodes or inner > subgraphs:
            return Extent(fields=counted, nodes=seen, subgraphs=inner, nesting=deepest, complete=False)
        tag = data[at]
        at += 1
        if tag > 0x7F:  # numbers of one byte are nearly all there are: no call for them
            tag, at = _varint(data, at - 1, end)
        form = tag & 7 if tag > 7 else -1  # no field has the number 0
        if form == _VARINT:
            _, at = _varint(data, at, end)
        elif form == _BYTES:
            length = data[at] if at < end else 0x80
            start = at + 1
            if length > 0x7F:
                length, start = _varint(data, at, end)
            at = start + length
            if at > end:
                raise Damaged(f"{length} bytes are announced at byte {start}, {end - start} are there")
            held = _MESSAGES_OF[kind].get(tag >> 3)
            if held in _BYTES_PER_FIELD:
                counted += length // _BYTES_PER_FIELD[held]
            elif held is not None:
                outer.append((end, kind))
                at, end, kind = start, at, held
                seen += held == "node"
                if held == "subgraph":
                    inner, level = inner + 1, level + 1
                    deepest = max(deepest, level)
        elif form in (_FIXED64, _FIXED32):
            at += 8 if form == _FIXED64 else 4
        else:
            raise Damaged(f"no field begins at byte {at - 1}")
        if at > end:
            raise Damaged(f"the file ends within a field, at byte {end}")


def _varint(data: bytes | mmap.mmap, at: int, end: int) -> tuple[int, int]:
    """A number of 1 to 10 bytes, and the place after it."""
    value = shift = 0
    while at < end and shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise Damaged(f"a number does not end, at byte {at}")

"""The walk over the bytes counts what protobuf then builds, ends at its budgets, and takes any bytes."""

from __future__ import annotations

import mmap
from contextlib import suppress
from pathlib import Path

import onnx
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from bitline.graph.budgets import all_graphs, all_nodes
from bitline.graph.wire import Damaged, Extent, measure
from tests.graph import hostile as h

PLENTY = 10**9


def counted(data: bytes, *, fields: int = PLENTY, nodes: int = PLENTY, subgraphs: int = PLENTY) -> Extent:
    return measure(data, fields=fields, nodes=nodes, subgraphs=subgraphs)


MODELS = {
    "plain": h.changed(lambda p: p),
    "branches": h.nested(3, 2),
    "a loop": h.loop(3),
    "functions": h.functions([[1, 1], [2], []]),
    "a convolution": h.conv(strides=[1, 1]),
}


@pytest.mark.parametrize("name", MODELS)
def test_counts_what_protobuf_builds(name: str, tmp_path: Path) -> None:
    path = MODELS[name](tmp_path)
    proto = onnx.ModelProto.FromString(path.read_bytes())
    everywhere = [list(all_nodes(nodes)) for nodes in (proto.graph.node, *(f.node for f in proto.functions))]
    extent = counted(path.read_bytes())
    assert extent.complete
    assert extent.nodes == sum(map(len, everywhere))
    assert extent.subgraphs == sum(1 for _ in all_graphs(proto)) - 1
    assert extent.nesting == max(level for nodes in everywhere for level, _ in nodes)
    assert extent.fields >= sum(len(message.ListFields()) for message in (proto, proto.graph, *proto.graph.node))
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        assert measure(mapped, fields=PLENTY, nodes=PLENTY, subgraphs=PLENTY) == extent


def test_ends_at_a_budget(tmp_path: Path) -> None:
    data = h.nested(3, 2)(tmp_path).read_bytes()
    whole = counted(data)
    assert counted(data, fields=whole.fields - 1).fields == whole.fields
    assert counted(data, nodes=2).nodes == 3
    assert counted(data, subgraphs=2).subgraphs == 3
    assert not counted(data, fields=100).complete
    assert not counted(data, nodes=2).complete
    assert not counted(data, subgraphs=2).complete
    assert counted(data, fields=whole.fields, nodes=whole.nodes, subgraphs=whole.subgraphs) == whole


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"\x3a", "ends within"),
        (b"\x3a\x05ab", "5 bytes are announced at byte 2, 2 are there"),
        (b"\x0b", "no field begins at byte 0"),
        (b"\x00\x00", "no field begins at byte 0"),
        (b"\x08" + b"\xff" * 11, "a number does not end"),
        (b"\x09\x00", "ends within a field"),
        (b"\x0d\x00", "ends within a field"),
    ],
)
def test_damage_is_located(data: bytes, said: str) -> None:
    with pytest.raises(Damaged, match=said if said != "ends within" else "does not end"):
        counted(data)


@given(st.binary(max_size=300))
def test_what_it_refuses_protobuf_refuses(data: bytes) -> None:
    """Groups (wire types 3 and 4), which ONNX has none of, apart."""
    try:
        counted(data)
    except Damaged as error:
        if "no field begins" not in str(error):
            with pytest.raises(DecodeError):
                onnx.ModelProto.FromString(data)


@given(st.integers(0, 10_000), st.integers(0, 255))
def test_a_changed_byte_ends_in_counts_or_damage(position: int, value: int) -> None:
    data = bytearray(h.net().SerializeToString())
    data[position % len(data)] = value
    with suppress(Damaged):
        assert counted(bytes(data)).fields > 0

"""What a model would cost is counted without computing it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from bitline.core.diagnostics import Refusal
from bitline.graph.budgets import DEFAULTS, Limits, check_contents, check_loops, stored_bytes
from bitline.graph.read import read_model
from tests.graph import hostile as h


def said(make: h.Make, folder: Path, limits: Limits = DEFAULTS) -> str:
    """The findings of `check_contents` and `check_loops`, in one line."""
    proto = onnx.ModelProto.FromString(make(folder).read_bytes())
    found: list[str] = []
    for check in (
        lambda: check_contents(proto, "net.onnx", limits),
        lambda: check_loops(proto.graph, "net.onnx", limits),
    ):
        try:
            check()
        except Refusal as refusal:
            found += [f"{d.code} {d.place} {d.message}" for d in refusal.diagnostics]
    return " | ".join(found)


@pytest.mark.parametrize(
    ("elem_type", "dims", "size"),
    [
        (TensorProto.FLOAT, (2, 3), 24),
        (TensorProto.DOUBLE, (), 8),
        (TensorProto.INT8, (7,), 7),
        (TensorProto.BOOL, (7,), 7),
        (TensorProto.BFLOAT16, (3,), 6),
        (TensorProto.FLOAT8E4M3FN, (3,), 3),
        (TensorProto.COMPLEX64, (2,), 16),
        (TensorProto.INT4, (5,), 3),
        (TensorProto.UINT4, (4,), 2),
        (TensorProto.FLOAT4E2M1, (1,), 1),
        (TensorProto.FLOAT, (0, 2**40), 0),
        (TensorProto.FLOAT, (2**62, 2**62), 2**126),
        (0, (1,), None),
        (99, (1,), None),
    ],
)
def test_bytes_of_a_stored_tensor(elem_type: int, dims: tuple[int, ...], size: int | None) -> None:
    tensor = TensorProto(data_type=elem_type, dims=dims)
    assert stored_bytes(tensor) == size


def test_every_type_of_onnx_has_a_size() -> None:
    for elem_type in TensorProto.DataType.values():
        size = stored_bytes(TensorProto(data_type=elem_type, dims=[64]))
        assert (size is None) == (elem_type == TensorProto.UNDEFINED)
        assert size is None or 64 // 4 <= size <= 64 * 16


def test_onnx_stores_so_many_bytes() -> None:
    for elem_type in (TensorProto.INT4, TensorProto.UINT4, TensorProto.FLOAT16, TensorProto.BOOL, TensorProto.UINT8):
        made = helper.make_tensor("w", elem_type, [5], np.ones(5, np.float32).tolist())
        raw = helper.make_tensor("w", elem_type, [5], onnx.numpy_helper.to_array(made), raw=False)
        stored = onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(raw), "w")
        assert len(stored.raw_data) == stored_bytes(stored)


@pytest.mark.parametrize(
    ("turns", "limit", "refused"), [(10, 10, False), (11, 10, True), (0, 0, False), (-5, 0, False)]
)
def test_turns_of_a_loop(turns: int, limit: int, refused: bool, tmp_path: Path) -> None:
    answer = said(h.loop(turns), tmp_path, Limits(turns=limit))
    assert ("turns of a Loop: 11; the limit is 10" in answer) == refused
    assert bool(answer) == refused


def test_turns_of_loops_within_loops_are_multiplied(tmp_path: Path) -> None:
    proto = onnx.ModelProto.FromString(h.loop(100)(tmp_path).read_bytes())
    inner = onnx.NodeProto.FromString(proto.graph.node[0].SerializeToString())
    inner.input[2] = "state"
    inner.output[0] = "twice"
    proto.graph.node[0].attribute[0].g.node.append(inner)
    make = h.written(proto)
    assert said(make, tmp_path, Limits(turns=10_000)) == ""
    assert "turns of a Loop: 10000; the limit is 9999" in said(make, tmp_path, Limits(turns=9_999))


@pytest.mark.parametrize(
    ("calls", "limits", "words"),
    [
        ([[1, 1], [2, 2], []], Limits(), ""),
        ([[1, 1], [2, 2], []], Limits(nodes=13), "nodes, with all functions put in: 14; the limit is 13"),
        ([[1, 1], [2, 2], []], Limits(calls=3), ""),
        ([[1, 1], [2, 2], []], Limits(calls=2), "functions within functions: 3; the limit is 2"),
        ([[1], [2], [0]], Limits(), "calls itself"),
    ],
)
def test_functions(calls: list[list[int]], limits: Limits, words: str, tmp_path: Path) -> None:
    answer = said(h.functions(calls), tmp_path, limits)
    assert words in answer
    assert bool(answer) == bool(words)


def test_functions_grow_to_what_was_counted(tmp_path: Path) -> None:
    """14 is the number of nodes after ONNX has put them in."""
    path = h.functions([[1, 1], [2, 2], []])(tmp_path)
    assert len(read_model(path).proto.graph.node) == 14


def test_large_attributes(tmp_path: Path) -> None:
    value = onnx.numpy_helper.from_array(np.zeros(1000, np.float32))
    make = h.written(h.net([h.node("Constant", [], ["c"], value=value), h.node("Relu", ["x"], ["y"])], {}))
    assert said(make, tmp_path) == ""
    answer = said(make, tmp_path, Limits(attribute_bytes=3_999))
    assert "net.onnx:the_Constant bytes of the attribute 'value'" in answer


def test_everything_is_said_at_once(tmp_path: Path) -> None:
    proto = h.net()
    proto.graph.initializer[0].dims[0] = -1
    proto.graph.node[0].name = "n" * 2_000
    proto.graph.node[1].name = "a\0b"
    answer = said(h.written(proto), tmp_path)
    assert "negative size" in answer
    assert "begins 'nnn" in answer
    assert "NUL" in answer


def test_an_unknown_operator_within_a_branch(tmp_path: Path) -> None:
    proto = onnx.ModelProto.FromString(h.nested(1)(tmp_path).read_bytes())
    proto.graph.node[1].attribute[0].g.node[0].op_type = "Frobnicate"
    with pytest.raises(Refusal) as refused:
        read_model(h.written(proto)(tmp_path))
    assert refused.value.diagnostics[0].code == "BL0301"

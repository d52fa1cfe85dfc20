"""Models of opsets that ONNX Runtime does not read are converted down where nothing new is in them, else refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from bitline.core.diagnostics import Refusal
from bitline.engines.ort import run_model
from bitline.graph.newest_opset import NEWEST, NEWEST_IR, without_news
from bitline.graph.read import read_model

NEW = 28


def one_node(
    node: onnx.NodeProto, inputs: dict[str, int], output: int, opset: int = NEW, shape: tuple[int, ...] = (4,)
) -> onnx.ModelProto:
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info(name, kind, shape) for name, kind in inputs.items()],
        [helper.make_tensor_value_info("y", output, shape)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=14)


def cast(kind: int = TensorProto.INT32, opset: int = NEW) -> onnx.ModelProto:
    return one_node(helper.make_node("Cast", ["x"], ["y"], to=kind), {"x": TensorProto.FLOAT}, kind, opset)


def test_what_only_takes_more_types_becomes_the_older_operator() -> None:
    older, refused = without_news(cast(), "m.onnx")
    assert refused == []
    assert (older.opset_import[0].version, older.ir_version) == (NEWEST, NEWEST_IR)
    values = np.array([1.5, -2.5, 0, 7], np.float32)
    assert run_model(older, {"x": values}, optimise=False)["y"].tolist() == [1, -2, 0, 7]


def test_the_model_given_stays_as_it_is() -> None:
    proto = cast()
    before = proto.SerializeToString()
    without_news(proto, "m.onnx")
    assert proto.SerializeToString() == before


def test_older_models_only_lose_an_ir_version_that_is_too_new() -> None:
    proto = cast(opset=17)
    older, refused = without_news(proto, "m.onnx")
    assert refused == []
    assert older.ir_version == NEWEST_IR
    proto.ir_version = 8
    assert without_news(proto, "m.onnx")[0] is proto


def test_a_type_that_is_new_is_named() -> None:
    node = helper.make_node("BitShift", ["x", "s"], ["y"], direction="LEFT")
    proto = one_node(node, {"x": TensorProto.INT32, "s": TensorProto.INT32}, TensorProto.INT32)
    _, (refused,) = without_news(proto, "m.onnx")
    assert refused.code == "BL0302"
    assert "BitShift on INT32: new in opset 28" in refused.message
    assert "opset 26" in refused.help


def test_an_operator_that_is_new_is_named() -> None:
    node = helper.make_node("SwiGLU", ["x", "g"], ["y"])
    proto = one_node(node, {"x": TensorProto.FLOAT, "g": TensorProto.FLOAT}, TensorProto.FLOAT)
    _, (refused,) = without_news(proto, "m.onnx")
    assert "SwiGLU does not exist" in refused.message


def test_an_attribute_that_means_the_old_goes_and_another_is_named() -> None:
    def space_to_depth(mode: str) -> onnx.ModelProto:
        node = helper.make_node("SpaceToDepth", ["x"], ["y"], blocksize=2, mode=mode)
        graph = helper.make_graph(
            [node],
            "blocks",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, 2, 2])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4, 1, 1])],
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", NEW)], ir_version=14)

    older, refused = without_news(space_to_depth("DCR"), "m.onnx")
    assert refused == []
    assert [entry.name for entry in older.graph.node[0].attribute] == ["blocksize"]
    _, (named,) = without_news(space_to_depth("CRD"), "m.onnx")
    assert "has mode 'CRD'" in named.message


numbers = st.floats(-100, 100, width=32).filter(lambda v: abs(v) > 1e-3)


@given(st.lists(numbers, min_size=4, max_size=4), st.lists(numbers, min_size=4, max_size=4))
def test_mod_of_floats_has_the_sign_of_the_divisor(x: list[float], z: list[float]) -> None:
    """numpy's floor modulo, in float32 as the operator has it."""
    node = helper.make_node("Mod", ["x", "z"], ["y"], name="rest")
    proto = one_node(node, {"x": TensorProto.FLOAT, "z": TensorProto.FLOAT}, TensorProto.FLOAT)
    older, refused = without_news(proto, "m.onnx")
    assert refused == []
    assert {inner.op_type for inner in older.graph.node} >= {"Mod", "Where"}
    feeds = {"x": np.array(x, np.float32), "z": np.array(z, np.float32)}
    got = run_model(older, feeds, optimise=False)["y"]
    wanted = np.mod(feeds["x"].astype(np.float64), feeds["z"].astype(np.float64)).astype(np.float32)
    assert np.array_equal(got, wanted)


def test_the_gate_says_what_it_did(tmp_path: Path) -> None:
    path = tmp_path / "new.onnx"
    onnx.save(cast(), path)
    model = read_model(path)
    assert model.proto.opset_import[0].version == NEWEST
    assert f"opset {NEW} became {NEWEST}" in model.remarks


def test_the_gate_refuses_all_that_is_new_at_once(tmp_path: Path) -> None:
    shift = helper.make_node("BitShift", ["x", "s"], ["m"], direction="RIGHT", name="first")
    again = helper.make_node("BitShift", ["m", "s"], ["y"], direction="RIGHT", name="second")
    proto = one_node(shift, {"x": TensorProto.INT64, "s": TensorProto.INT64}, TensorProto.INT64)
    proto.graph.node.append(again)
    path = tmp_path / "new.onnx"
    onnx.save(proto, path)
    with pytest.raises(Refusal) as refused:
        read_model(path)
    assert refused.value.exit_code == 3
    assert [d.place for d in refused.value.diagnostics] == ["new.onnx:first", "new.onnx:second"]

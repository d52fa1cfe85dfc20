"""`bitline check`: fit, units and problems before any work, as text and as JSON, with the exit codes of the design."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import bitline as library
from bitline import api
from bitline.core.diagnostics import Refusal
from tests.cli.invoke import bitline
from tests.cli.models import network

TARGET = ("--target", "sram-dcim")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Conv, Relu, Flatten, Gemm."""
    path = tmp_path / "small.onnx"
    onnx.save(network(), path)
    return path


def with_odd_parts(folder: Path) -> Path:
    """A layer, a Pow with an exponent that is an input, a product of two activations."""
    weight = np.random.default_rng(0).normal(0, 0.3, (8, 8)).astype(np.float32)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"], name="layer"),
        helper.make_node("Transpose", ["h"], ["t"], name="turned", perm=[1, 0]),
        helper.make_node("MatMul", ["h", "t"], ["p"], name="product"),
        helper.make_node("Abs", ["p"], ["a"], name="size"),
        helper.make_node("Pow", ["a", "e"], ["y"], name="power"),
    ]
    graph = helper.make_graph(
        nodes,
        "odd",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [8, 8]) for name in ("x", "e")],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [8, 8])],
        [numpy_helper.from_array(weight, "w")],
    )
    path = folder / "odd.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def test_says_what_runs_where(model: Path) -> None:
    answer = bitline("check", str(model), *TARGET, "--json")
    assert answer.status == 0
    found = json.loads(answer.out)
    assert found["schema"] == "bitline.check/1"
    assert found["ok"] is True
    assert found["fits"] is True
    assert found["resident"] is True
    assert {(row["operator"], row["unit"], row["count"]) for row in found["operators"]} == {
        ("Conv", "arrays", 1),
        ("Relu", "arrays", 1),
        ("Gemm", "arrays", 1),
        ("Reshape", "addresses", 1),
    }
    assert found["host"] == []
    assert found["macs_on_host"] == found["macs_on_vector"] == 0
    assert found["macs"] == found["macs_on_arrays"] == 6 * 6 * 9 * 2 * 4 + 144 * 10
    assert found["inputs"] == [{"name": "image", "shape": [1, 2, 6, 6], "dtype": "float32"}]


def test_agrees_with_compile(model: Path) -> None:
    seen = api.check_model(model, target="sram-dcim")
    feeds = {"image": np.random.default_rng(0).normal(0, 1, (1, 2, 6, 6)).astype(np.float32)}
    figures = api.compile(model, target="sram-dcim", calib=feeds).figures()
    assert seen.fit is not None
    assert figures["arrays_used"] == seen.fit.arrays_used >= seen.fit.arrays_needed
    assert figures["resident"] == seen.fit.resident
    assert figures["macs_on_arrays"] == seen.macs.arrays
    assert figures["segments"] == seen.fit.segments


def test_names_host_nodes_with_the_reason_of_quantisation(tmp_path: Path) -> None:
    path = with_odd_parts(tmp_path)
    found = json.loads(bitline("check", str(path), *TARGET, "--json").out)
    assert found["host"] == [{"node": "power", "operator": "Pow", "why": "exponent no constant number"}]
    assert found["macs_on_vector"] == 8 * 8 * 8
    assert found["macs_on_arrays"] in (8 * 8 * 8, 2 * 8 * 8 * 8)  # twice where the layer reads 16 bits
    text = bitline("check", str(path), *TARGET).out
    assert "Pow power: exponent no constant number" in text
    assert "random sample" in text
    assert "% on arrays" in text
    assert "0 % on the host" in text


def test_without_a_target_says_what_the_model_is(model: Path) -> None:
    found = json.loads(bitline("check", str(model), "--json").out)
    assert found["target"] == ""
    assert found["fits"] is None
    assert found["macs"] == 6 * 6 * 9 * 2 * 4 + 144 * 10
    assert "fits" not in bitline("check", str(model)).out


def test_every_tensor_without_room_is_named_and_the_exit_code_is_4(model: Path) -> None:
    small = ("--set", "memory.shared_bytes=64", "--set", "memory.dram_bytes=64")
    answer = bitline("check", str(model), *TARGET, *small, "--json")
    assert answer.status == 4
    found = json.loads(answer.out)
    assert found["ok"] is False
    assert found["fits"] is False
    assert [problem["code"] for problem in found["problems"]] == ["BL0401"] * len(found["problems"])
    assert len(found["problems"]) > 1
    assert all(problem["help"] for problem in found["problems"])
    assert "--set memory.dram_bytes" in answer.err
    assert "no: see below" in bitline("check", str(model), *TARGET, *small).out


def test_an_open_first_axis_is_said(tmp_path: Path) -> None:
    path = tmp_path / "open.onnx"
    onnx.save(network(axes=("batch", 2, 6, 6)), path)
    assert "open axis 0 of 'image' became 1" in bitline("check", str(path), *TARGET).out


def test_an_unsupported_model_is_refused_with_exit_code_3(tmp_path: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("RandomNormalLike", ["x"], ["n"]), helper.make_node("Add", ["x", "n"], ["y"])],
        "random",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [4])],
    )
    path = tmp_path / "random.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    answer = bitline("check", str(path), *TARGET)
    assert answer.status == 3
    assert "gives another result at every run" in answer.err
    with pytest.raises(Refusal):
        api.check_model(path)


def test_a_broken_file_is_refused_with_exit_code_5(tmp_path: Path) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"\x08\x07 not a model")
    assert bitline("check", str(path), *TARGET).status == 5


def test_values_of_a_target_need_a_target(model: Path) -> None:
    answer = bitline("check", str(model), "--set", "cores=1")
    assert answer.status == 2
    assert "--set without --target" in answer.err


def test_is_part_of_the_library() -> None:
    assert library.check_model is api.check_model

"""Raised models compute the same, and hold no Constant nodes that would hide weights."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.version_converter
import pytest

from bitline.engines.ort import run_model
from bitline.graph.model import Model
from bitline.quant.opset import INT16_OPSET, opset_of, with_int16
from tests.graph.build import as_model, assert_same_function, lines, parsed


def raised(model: Model) -> Model:
    made = with_int16(model)
    assert made is not None
    return made


def test_attributes_that_became_inputs_are_constants() -> None:
    model = as_model(parsed("float[2,3] x) => (float y", "a = ReduceMean<axes = [1]>(x) y = Relu(a)", opset=13))
    made = raised(model)
    assert (opset_of(model), opset_of(made)) == (13, INT16_OPSET)
    assert made.proto.ir_version >= 10
    assert [line.split("(")[0] for line in lines(made.proto)] == ["a = ReduceMean", "y = Relu"]
    assert len(made.proto.graph.initializer) == 1
    assert_same_function(model.proto, made.proto)


def test_a_newer_model_stays_as_it_is() -> None:
    model = as_model(parsed("float[2] x) => (float[2] y", "y = Relu(x)", opset=22))
    assert raised(model) is model


def test_subgraphs_are_raised_too() -> None:
    branches = "then_branch = t () => (float b) { b = ReduceMean<axes = [0], keepdims = 0>(x) }, "
    branches += "else_branch = e () => (float d) { d = ReduceMax<keepdims = 0>(x) }"
    model = as_model(parsed("float[2] x, bool c) => (float y", f"y = If(c) <{branches}>"))
    made = raised(model)
    for chosen, wanted in ((True, 1.5), (False, 2.0)):
        feeds = {"x": np.array([1, 2], np.float32), "c": np.array(chosen)}
        assert run_model(made.proto, feeds, optimise=False)["y"] == wanted


def test_none_where_the_converter_gives_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(model: onnx.ModelProto, version: int) -> onnx.ModelProto:
        raise onnx.version_converter.ConvertError(f"no adapter to {version}")

    monkeypatch.setattr(onnx.version_converter, "convert_version", unknown)
    assert with_int16(as_model(parsed("float[2] x) => (float[2] y", "y = Relu(x)"))) is None


def test_names_of_nodes_and_tensors_stay() -> None:
    proto = parsed("float[2] x) => (float[2] y", "mine = Relu(x) y = Exp(mine)")
    proto.graph.node[0].name = "/layer/relu"
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.ones(1, np.float32), "unused"))
    names = [(node.name, list(node.output)) for node in raised(as_model(proto)).proto.graph.node]
    assert names == [("/layer/relu", ["mine"]), ("Exp_y", ["y"])]

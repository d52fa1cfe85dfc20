"""All passes together, on drawn networks and on real ones."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import onnx
import pytest
from hypothesis import given

from bitline.core.diagnostics import Refusal
from bitline.graph.passes import PASSES, simplify
from bitline.graph.read import read_model
from tests.graph.build import as_model, assert_same_function, networks, parsed


@given(networks())
def test_the_function_stays(proto: onnx.ModelProto) -> None:
    after = simplify(as_model(proto)).proto
    assert_same_function(proto, after, tolerance=5e-3)
    left = {node.op_type for node in after.graph.node} if len(after.graph.node) > 1 else set[str]()
    assert not left & {"BatchNormalization", "Dropout", "Identity", "Shape", "Constant"}


@given(networks())
def test_a_second_time_changes_nothing(proto: onnx.ModelProto) -> None:
    once = simplify(as_model(proto))
    twice = simplify(once)
    assert twice.proto.SerializeToString(deterministic=True) == once.proto.SerializeToString(deterministic=True)


def test_every_tensor_has_a_static_shape_afterwards() -> None:
    model = simplify(
        as_model(
            parsed(
                "float[2,3] x) => (float[a] y",
                "s = Size(x) n = Constant<value_ints = [1]>() t = Reshape(s, n) y = Reshape(x, t)",
            )
        )
    )
    (output,) = model.outputs
    assert [dim.dim_value for dim in output.type.tensor_type.shape.dim] == [6]


def test_a_pass_can_be_left_out() -> None:
    model = as_model(parsed("float[2,3] x) => (float[2,3] y", "a = Identity(x) y = Relu(a)"))
    assert len(simplify(model, disable=["fold_constants"]).proto.graph.node) == 2
    assert len(simplify(model).proto.graph.node) == 1


def test_an_unknown_pass_is_refused_with_the_known_ones() -> None:
    model = as_model(parsed("float[2,3] x) => (float[2,3] y", "y = Relu(x)"))
    with pytest.raises(Refusal) as refusal:
        simplify(model, disable=["fold_everything"])
    (diagnostic,) = refusal.value.diagnostics
    assert diagnostic.code == "BL0101"
    assert all(name in diagnostic.help for name in PASSES)


def test_resnet20_keeps_only_its_layers(shared: Path) -> None:
    model = read_model(shared / "models" / "resnet20_cifar10.onnx")
    after = simplify(model)
    assert Counter(node.op_type for node in after.proto.graph.node) == {
        "Conv": 21,
        "Relu": 19,
        "Add": 9,
        "GlobalAveragePool": 1,
        "Flatten": 1,
        "Gemm": 1,
    }
    assert {node.name for node in after.proto.graph.node} <= {node.name for node in model.proto.graph.node}
    assert_same_function(model.proto, after.proto, tolerance=1e-4)

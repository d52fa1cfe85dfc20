"""Every node ends with a name of its own that says what it is, and the same one every time."""

from __future__ import annotations

import onnx
from hypothesis import given

from bitline.graph.passes.name_nodes import name_nodes
from tests.graph.build import assert_same_function, networks, parsed


def named(*names: str) -> onnx.ModelProto:
    proto = parsed("float[1,3] x) => (float[1,3] y", "a = Relu(x) b = Exp(a) y = Relu(b)")
    for node, name in zip(proto.graph.node, names, strict=True):
        node.name = name
    return proto


def test_unnamed_nodes_are_named_by_operator_and_output() -> None:
    assert [node.name for node in name_nodes(named("", "", "")).graph.node] == ["Relu_a", "Exp_b", "Relu_y"]


def test_unique_names_stay_and_repeated_ones_get_a_number() -> None:
    assert [node.name for node in name_nodes(named("r", "e", "r")).graph.node] == ["r", "e", "r_1"]


def test_a_made_up_name_never_takes_one_that_is_there() -> None:
    assert [node.name for node in name_nodes(named("", "Relu_a", "r")).graph.node] == ["Relu_a_1", "Relu_a", "r"]


@given(networks())
def test_the_function_stays(proto: onnx.ModelProto) -> None:
    for node in proto.graph.node:
        node.name = ""
    after = name_nodes(proto)
    names = [node.name for node in after.graph.node]
    assert all(names)
    assert len(set(names)) == len(names)
    assert_same_function(proto, after, tolerance=0)

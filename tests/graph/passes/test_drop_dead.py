"""What no output depends on goes; the rest, and the interface, stay."""

from __future__ import annotations

import numpy as np
import onnx
from hypothesis import given

from bitline.graph.passes.drop_dead import drop_dead
from tests.graph.build import assert_same_function, constants, lines, networks, parsed

ONE = np.ones(3, np.float32)


def test_dead_nodes_and_weights_go() -> None:
    before = parsed(
        "float[1,3] x) => (float[1,3] y", "y = Add(x, w) z = Exp(x) u = Mul(z, v)", {"w": ONE, "v": ONE, "free": ONE}
    )
    after = drop_dead(before)
    assert lines(after) == ["y = Add(x, w)"]
    assert list(constants(after)) == ["w"]
    assert [value.name for value in after.graph.value_info] == []


def test_an_input_that_nobody_reads_stays() -> None:
    after = drop_dead(parsed("float[1,3] x, float[2] unused) => (float[1,3] y", "y = Relu(x)"))
    assert [value.name for value in after.graph.input] == ["x", "unused"]


def test_what_a_subgraph_reads_is_alive() -> None:
    before = parsed(
        "bool c, float[1,3] x) => (float[1,3] y",
        "a = Exp(x) y = If (c) <then_branch = t () => (float[1,3] p) { p = Relu(a) }, "
        "else_branch = e () => (float[1,3] q) { q = Add(x, w) }>",
        {"w": ONE},
    )
    after = drop_dead(before)
    assert [node.op_type for node in after.graph.node] == ["Exp", "If"]
    assert list(constants(after)) == ["w"]


@given(networks())
def test_the_function_stays(proto: onnx.ModelProto) -> None:
    after = drop_dead(proto)
    assert_same_function(proto, after, tolerance=0)
    assert lines(drop_dead(after)) == lines(after)

"""Identity and Dropout go, the names of outputs stay, in subgraphs too."""

from __future__ import annotations

import numpy as np
import onnx
from hypothesis import given

from bitline.graph.passes.drop_identities import drop_identities
from tests.graph.build import assert_same_function, lines, networks, parsed


def test_a_chain() -> None:
    before = parsed("float[1,2] x) => (float[1,2] y", "a = Identity(x) b, m = Dropout(a) c = Relu(b) y = Identity(c)")
    after = drop_identities(before)
    assert lines(after) == ["y = Relu(x)"]
    assert_same_function(before, after, tolerance=0)


def test_what_a_subgraph_reads_is_renamed() -> None:
    before = parsed(
        "bool c, float[1,3] x) => (float[1,3] y",
        "r = Exp(x) a = Identity(r) y = If (c) <then_branch = t () => (float[1,3] p) { p = Relu(a) }, "
        "else_branch = e () => (float[1,3] q) { q = Neg(a) }>",
    )
    after = drop_identities(before)
    assert [node.op_type for node in after.graph.node] == ["Exp", "If"]
    assert [entry.g.node[0].input[0] for entry in after.graph.node[1].attribute] == ["r", "r"]


def test_a_dropout_in_training_stays() -> None:
    before = parsed(
        "float[1,2] x) => (float[1,2] y",
        "y = Dropout(x, ratio, training)",
        {"ratio": np.array(0.5, np.float32), "training": np.array(True)},
    )
    assert lines(drop_identities(before)) == lines(before)


def test_an_identity_of_a_constant_to_an_output_stays() -> None:
    before = parsed(
        "float[2] x) => (float[2] y, float[2] z", "y = Relu(x) z = Identity(k)", {"k": np.ones(2, np.float32)}
    )
    assert lines(drop_identities(before)) == lines(before)


@given(networks(("identity", "dropout", "relu", "residual", "conv")))
def test_the_function_stays(proto: onnx.ModelProto) -> None:
    after = drop_identities(proto)
    assert_same_function(proto, after, tolerance=0)
    assert len(after.graph.node) == 1 or not {"Identity", "Dropout"} & {node.op_type for node in after.graph.node}

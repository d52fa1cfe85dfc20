"""A result and its side results become two nodes; nothing else changes."""

from __future__ import annotations

import numpy as np
import onnx
from hypothesis import given

from bitline.graph.passes.second_outputs import second_outputs
from tests.graph.build import assert_same_function, lines, networks, parsed

GAIN = np.linspace(0.5, 2, 4, dtype=np.float32)


def test_moments_of_a_norm_get_a_node_of_their_own() -> None:
    before = parsed(
        "float[2,4] x) => (float[2,4] y, float[2,1] m, float[2,1] d",
        "n, m, d = LayerNormalization(x, g) y = Relu(n)",
        {"g": GAIN},
    )
    after = second_outputs(before)
    assert lines(after) == [
        "n = LayerNormalization(x, g)",
        "n.again, m, d = LayerNormalization(x, g)",
        "y = Relu(n)",
    ]
    assert_same_function(before, after)


def test_places_of_maxima_get_a_node_of_their_own() -> None:
    before = parsed(
        "float[1,2,4,4] x) => (float[1,2,2,2] y, int64[1,2,2,2] i",
        "y, i = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (x)",
    )
    after = second_outputs(before)
    assert [len(node.output) for node in after.graph.node] == [1, 2]
    assert len({node.name for node in after.graph.node} | {""}) == 2  # the second has a name, the first had none
    assert_same_function(before, after)


def test_side_results_alone_stay() -> None:
    """Nobody reads the pooled values: there is nothing for a unit of the chip."""
    before = parsed(
        "float[1,2,4,4] x) => (int64[1,2,2,2] i",
        "y, i = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (x)",
    )
    assert second_outputs(before).graph == before.graph


def test_side_results_that_nobody_reads_stay() -> None:
    before = parsed("float[2,4] x) => (float[2,4] y", "y, m, d = LayerNormalization(x, g)", {"g": GAIN})
    assert second_outputs(before).graph == before.graph


def test_other_operators_with_two_results_stay() -> None:
    before = parsed(
        "float[2,4] x) => (float[2,2] a, float[2,2] b", "a, b = Split <axis = 1> (x, s)", {"s": np.array([2, 2])}
    )
    assert second_outputs(before).graph == before.graph


@given(networks())
def test_networks_without_them_stay(proto: onnx.ModelProto) -> None:
    assert second_outputs(proto).graph == proto.graph

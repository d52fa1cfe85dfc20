"""An older model becomes a newer one where no node changes its meaning, and only there."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given

from bitline.core.diagnostics import NoMatch
from bitline.graph.passes.raise_opset import NEWEST, opset_of, raise_opset
from tests.graph.build import assert_same_function, constants, lines, networks, parsed


def raised(model: onnx.ModelProto, version: int) -> onnx.ModelProto:
    after = raise_opset(model, version)
    assert isinstance(after, onnx.ModelProto)
    onnx.checker.check_model(after, full_check=True)
    return after


def test_axes_of_a_reduction_become_an_input() -> None:
    before = parsed("float[2,3,4] x) => (float[2,3] y", "y = ReduceMean<axes = [-1], keepdims = 0>(x)", opset=13)
    after = raised(before, 18)
    assert lines(after) == ["y = ReduceMean(x, y.axes) keepdims=0"]
    np.testing.assert_array_equal(constants(after)["y.axes"], [-1])
    assert opset_of(after) == 18
    assert after.ir_version >= 8
    assert_same_function(before, after, tolerance=0)


def test_a_reduction_over_everything_needs_no_axes() -> None:
    before = parsed("float[2,3] x) => (float[1,1] y", "y = ReduceMax(x)", opset=13)
    after = raised(before, 20)
    assert lines(after) == ["y = ReduceMax(x)"]
    assert_same_function(before, after, tolerance=0)


def test_an_even_split_says_into_how_many() -> None:
    before = parsed("float[2,6] x) => (float[2,3] a, float[2,3] b", "a, b = Split<axis = 1>(x)", opset=13)
    after = raised(before, 18)
    assert lines(after) == ["a, b = Split(x) axis=1 num_outputs=2"]
    assert_same_function(before, after, tolerance=0)


def test_a_split_of_stated_lengths_stays() -> None:
    before = parsed(
        "float[2,6] x) => (float[2,2] a, float[2,4] b",
        "a, b = Split<axis = 1>(x, n)",
        {"n": np.array([2, 4], np.int64)},
        opset=13,
    )
    assert lines(raised(before, 20)) == lines(before)


def test_nodes_of_subgraphs_too() -> None:
    before = parsed(
        "bool c, float[2,3] x) => (float[2] y",
        "y = If (c) <then_branch = t () => (float[2] p) { p = ReduceMean<axes = [1], keepdims = 0>(x) }, "
        "else_branch = e () => (float[2] q) { q = ReduceMax<axes = [1], keepdims = 0>(x) }>",
        opset=13,
    )
    after = raised(before, 18)
    branches = [entry.g for entry in after.graph.node[0].attribute]
    assert [len(branch.node[0].input) for branch in branches] == [2, 2]
    assert [len(branch.initializer) for branch in branches] == [1, 1]


@pytest.mark.parametrize(
    ("signature", "body", "why"),
    [
        (
            "float[1,1,7,7] x) => (float[1,1,3,3] y",
            "y = AveragePool<kernel_shape = [3, 3], strides = [2, 2], ceil_mode = 1>(x)",
            "ceil_mode",
        ),
        (
            "float[1,1,4,4] x, float[1,4] r, int64[1] i) => (float[1,1,1,1] y",
            "y = RoiAlign(x, r, i)",
            "RoiAlign has changed",
        ),
        ("float[1,1,4] x) => (float[1,1,a] y", "y = LpPool<kernel_shape = [2]>(x)", "LpPool has changed"),
    ],
)
def test_what_would_change_is_named(signature: str, body: str, why: str) -> None:
    before = parsed(signature, body, opset=13)
    before.graph.node[0].name = "pool1"
    after = raise_opset(before, NEWEST)
    assert isinstance(after, NoMatch)
    assert why in after.why
    assert after.why.startswith("pool1: opset 13 cannot become 20")


def test_a_batch_normalisation_in_training_is_named() -> None:
    ones = {name: np.ones(2, np.float32) for name in ("g", "b", "m", "v")}
    before = parsed(
        "float[1,2,3] x) => (float[1,2,3] y",
        "y, rm, rv = BatchNormalization<training_mode = 1>(x, g, b, m, v)",
        ones,
        opset=14,
    )
    assert isinstance(raise_opset(before, 17), NoMatch)


def test_a_model_that_is_new_enough_stays() -> None:
    before = parsed("float[2] x) => (float[2] y", "y = Relu(x)", opset=18)
    assert raised(before, 17) == before


def test_every_operator_that_changed_is_decided_on() -> None:
    """Of those that changed between opset 13 and 20, these change what a node means, and no other is forgotten."""
    undecided: set[str] = set()
    for name in {schema.name for schema in onnx.defs.get_all_schemas_with_history() if schema.domain == ""}:
        versions = {
            onnx.defs.get_schema(name, version, "").since_version
            for version in range(13, NEWEST + 1)
            if onnx.defs.has(name, version, "")
        }
        node = onnx.helper.make_node(name, ["a", "b"], ["c"])
        model = onnx.helper.make_model(
            onnx.helper.make_graph([node], "g", [], []),
            opset_imports=[onnx.helper.make_opsetid("", min(versions, default=0))],
        )
        if len(versions) > 1 and isinstance(raise_opset(model, NEWEST), NoMatch):
            undecided.add(name)
    assert undecided == {"DFT", "GridSample", "LpPool", "OptionalGetElement", "OptionalHasElement", "RoiAlign"}


@given(networks())
def test_the_function_stays(proto: onnx.ModelProto) -> None:
    proto.opset_import[0].version = 13
    after = raise_opset(proto, NEWEST)
    assert isinstance(after, onnx.ModelProto)
    assert_same_function(proto, after)  # the kernels of ONNX Runtime differ in the last bit

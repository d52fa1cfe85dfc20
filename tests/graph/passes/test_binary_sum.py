"""Operators of many operands become chains of two, from left to right."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitline.graph.passes.binary_sum import binary_sum
from tests.graph.build import assert_same_function, lines, networks, parsed

XYZ = "float[2,3] a, float[3] b, float[2,1] c, float[2,3] d) => (float[2,3] y"


def test_a_sum_of_four() -> None:
    before = parsed(XYZ, "y = Sum(a, b, c, d)")
    before.graph.node[0].name = "/block/Sum"
    after = binary_sum(before)
    assert lines(after) == ["y_0 = Add(a, b)", "y_1 = Add(y_0, c)", "y = Add(y_1, d)"]
    assert [node.name for node in after.graph.node] == ["/block/Sum/0", "/block/Sum/1", "/block/Sum"]
    assert_same_function(before, after, tolerance=0)


def test_a_sum_of_two_and_of_one() -> None:
    before = parsed("float[2,3] a, float[3] b) => (float[2,3] y", "t = Sum(a, b) y = Sum(t)")
    after = binary_sum(before)
    assert lines(after) == ["t = Add(a, b)", "y = Identity(t)"]
    assert_same_function(before, after, tolerance=0)


@pytest.mark.parametrize("op_type", ["Max", "Min"])
def test_largest_and_smallest(op_type: str) -> None:
    before = parsed(XYZ, f"t = {op_type}(a, b, c) y = {op_type}(t, d)")
    after = binary_sum(before)
    assert lines(after) == [f"t_0 = {op_type}(a, b)", f"t = {op_type}(t_0, c)", f"y = {op_type}(t, d)"]
    assert_same_function(before, after, tolerance=0)


def test_names_that_are_taken_stay_theirs() -> None:
    before = parsed("float[2] a, float[2] b, float[2] c) => (float[2] y", "y_0 = Relu(a) y = Sum(y_0, b, c)")
    before.graph.node[0].name, before.graph.node[1].name = "s/0", "s"
    after = binary_sum(before)
    assert lines(after) == ["y_0 = Relu(a)", "y_0_1 = Add(y_0, b)", "y = Add(y_0_1, c)"]
    assert [node.name for node in after.graph.node] == ["s/0", "s/0_1", "s"]
    assert_same_function(before, after, tolerance=0)


@pytest.mark.parametrize("op_type", ["Sum", "Max", "Min"])
def test_many_operands_of_a_quantised_model_stay(op_type: str) -> None:
    """What a chain has in between would have no scale; integers need none, and of two Sum is Add."""
    grid = {"s": np.array(0.1, np.float32), "z": np.array(0, np.int8)}
    body = f"d = DequantizeLinear(q, s, z) y = {op_type}(d, b, c)"
    before = parsed("int8[3] q, float[3] b, float[3] c) => (float[3] y", body, grid)
    assert binary_sum(before) == before
    body = "d = DequantizeLinear(q, s, z) y = Sum(d, b) k = Max(i, j, i) e = Min(b)"
    before = parsed("int8[3] q, float[3] b, int64[3] i, int64[3] j) => (float[3] y, int64[3] k, float[3] e", body, grid)
    chain = ["k_0 = Max(i, j)", "k = Max(k_0, i)"]
    assert lines(binary_sum(before))[1:] == ["y = Add(d, b)", *chain, "e = Identity(b)"]


@given(st.integers(1, 7), st.sampled_from(["Sum", "Max", "Min"]))
def test_any_number(count: int, op_type: str) -> None:
    names = [f"x{index}" for index in range(count)]
    before = parsed(
        ", ".join(f"float[2,3] {name}" for name in names) + ") => (float[2,3] y", f"y = {op_type}({', '.join(names)})"
    )
    after = binary_sum(before)
    assert all(len(node.input) <= 2 and node.op_type != "Sum" for node in after.graph.node)
    assert_same_function(before, after, tolerance=1e-6)


@given(networks())
def test_networks_without_them_stay(proto: onnx.ModelProto) -> None:
    assert binary_sum(proto) == proto

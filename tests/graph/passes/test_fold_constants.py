"""Constants are computed, Identity and Dropout go, and what must stay stays."""

from __future__ import annotations

import numpy as np
import onnx
from hypothesis import given

from bitline.graph.passes.drop_dead import drop_dead
from bitline.graph.passes.fold_constants import fold_constants
from tests.graph.build import assert_same_function, constants, lines, networks, parsed

TWO = np.array([2.0, 2.0], np.float32)


def test_chains_of_constants() -> None:
    before = parsed(
        "float[1,2] x) => (float[1,2] y", "c = Constant<value_float = 3.0>() d = Mul(w, c) y = Add(x, d)", {"w": TWO}
    )
    after = drop_dead(fold_constants(before))
    assert lines(after) == ["y = Add(x, d)"]
    np.testing.assert_array_equal(constants(after)["d"], [6, 6])


def test_shape_arithmetic() -> None:
    before = parsed(
        "float[2,3,4] x) => (float[a,b] y",
        "s = Shape(x) one = Constant<value_ints = [0]>() n = Gather<axis = 0>(s, one) "
        "rest = Constant<value_ints = [-1]>() t = Concat<axis = 0>(n, rest) y = Reshape(x, t)",
    )
    after = drop_dead(fold_constants(before))
    assert lines(after) == ["y = Reshape(x, t)"]
    np.testing.assert_array_equal(constants(after)["t"], [2, -1])


def test_shape_takes_start_and_end() -> None:
    before = parsed("float[2,3,4] x) => (int64[1] y", "s = Shape<start = 1, end = 2>(x) y = Add(s, s)")
    folded = fold_constants(before)
    np.testing.assert_array_equal(constants(folded)["s"], [3])


def test_identity_and_dropout_go_but_the_output_keeps_its_name() -> None:
    before = parsed("float[1,2] x) => (float[1,2] y", "a = Identity(x) b, m = Dropout(a) c = Relu(b) y = Identity(c)")
    after = fold_constants(before)
    assert lines(after) == ["y = Relu(x)"]
    assert_same_function(before, after, tolerance=0)


def test_an_identity_from_input_to_output_stays() -> None:
    before = parsed("float[1,2] x) => (float[1,2] y", "y = Identity(x)")
    assert lines(fold_constants(before)) == ["y = Identity(x)"]


def test_two_outputs_of_one_tensor_stay_two() -> None:
    before = parsed("float[1,2] x) => (float[1,2] y, float[1,2] z", "a = Relu(x) y = Identity(a) z = Identity(a)")
    after = fold_constants(before)
    assert lines(after) == ["y = Relu(x)", "z = Identity(y)"]
    assert_same_function(before, after, tolerance=0)


def test_dropout_in_training_or_with_a_used_mask_stays() -> None:
    before = parsed("float[1,2] x) => (float[1,2] y, bool[1,2] m", "y, m = Dropout(x)")
    assert lines(fold_constants(before)) == lines(before)


def test_quantised_weights_stay_quantised() -> None:
    before = parsed(
        "float[1,2] x) => (float[1,2] y",
        "d = DequantizeLinear(q, s) y = Add(x, d)",
        {"q": np.array([1, 2], np.int8), "s": np.array(0.5, np.float32)},
    )
    assert lines(fold_constants(before)) == lines(before)


def test_random_operators_stay() -> None:
    before = parsed("float[1,2] x) => (float[1,2] y", "r = RandomNormal<shape = [1, 2]>() y = Add(x, r)")
    assert lines(fold_constants(before)) == lines(before)


def test_large_results_stay() -> None:
    """256 GiB of zeros, made from 16 bytes: ONNX's checker lets it through."""
    before = parsed(
        "float[1,2] x) => (float[a,b] y", "z = ConstantOfShape(n) y = Add(x, z)", {"n": np.array([2**35, 2], np.int64)}
    )
    assert lines(fold_constants(before)) == lines(before)


def test_many_results_together_are_bounded() -> None:
    body = " ".join(f"z{i} = ConstantOfShape(n) t{i} = Slice(z{i}, zero, two)" for i in range(5))
    before = parsed(
        "float[2] x) => (float[2] y",
        f"{body} s = Sum(t0, t1, t2, t3, t4) y = Add(x, s)",
        {"n": np.array([256], np.int64), "zero": np.array([0], np.int64), "two": np.array([2], np.int64)},
    )
    after = fold_constants(before, each_bytes=1024, total_bytes=3 * 1024 + 64)
    assert sum(node.op_type == "ConstantOfShape" for node in after.graph.node) == 2
    assert_same_function(before, after, tolerance=0)
    assert len(fold_constants(before, each_bytes=1023).graph.node) == len(before.graph.node)


def test_the_argument_is_left_as_it_is() -> None:
    before = parsed("float[1,2] x) => (float[1,2] y", "a = Identity(x) y = Relu(a)")
    bytes_before = before.SerializeToString(deterministic=True)
    fold_constants(before)
    assert before.SerializeToString(deterministic=True) == bytes_before


@given(networks())
def test_the_function_stays(proto: onnx.ModelProto) -> None:
    after = fold_constants(proto)
    assert not any(node.op_type == "Shape" for node in after.graph.node)
    assert all(node.output[0] == after.graph.output[0].name for node in after.graph.node if node.op_type == "Dropout")
    assert_same_function(proto, after, tolerance=0)

"""BatchNormalization disappears, its function stays, and the layer keeps its name."""

from __future__ import annotations

import numpy as np
import onnx
from hypothesis import given

from bitline.graph.passes.fold_batchnorm import fold_batchnorm
from tests.graph.build import assert_same_function, constants, lines, networks, parsed

W = np.arange(8, dtype=np.float32).reshape(2, 1, 2, 2)
NORM = {
    "g": np.array([1, 2], np.float32),
    "beta": np.array([0.5, -0.5], np.float32),
    "mean": np.array([1, 3], np.float32),
    "var": np.array([4, 1], np.float32),
}
X = "float[1,1,4,4] x) => (float[1,2,3,3] y"
NORMALISED = "y = BatchNormalization<epsilon = 0.0>(t, g, beta, mean, var)"


def test_into_a_convolution() -> None:
    before = parsed(X, f"t = Conv(x, w, b) {NORMALISED}", {"w": W, "b": np.array([1, 1], np.float32), **NORM})
    before.graph.node[0].name = "conv1"
    after = fold_batchnorm(before)
    assert lines(after) == ["y = Conv(x, w, b)"]
    assert after.graph.node[0].name == "conv1"
    values = constants(after)
    np.testing.assert_array_equal(values["w"], W * np.array([0.5, 2], np.float32).reshape(2, 1, 1, 1))
    np.testing.assert_array_equal(values["b"], [0.5, -4.5])  # (1 - 1) * 0.5 + 0.5 and (1 - 3) * 2 - 0.5
    assert_same_function(before, after)


def test_into_a_convolution_without_bias() -> None:
    before = parsed(X, f"t = Conv(x, w) {NORMALISED}", {"w": W, **NORM})
    before.graph.node[0].name = "conv1"
    after = fold_batchnorm(before)
    assert lines(after) == ["y = Conv(x, w, conv1.bias)"]
    assert_same_function(before, after)


def test_a_weight_that_others_read_stays_theirs() -> None:
    before = parsed(
        "float[1,1,4,4] x) => (float[1,2,3,3] y, float[1,2,3,3] z",
        f"t = Conv(x, w) {NORMALISED} z = Conv(x, w)",
        {"w": W, **NORM},
    )
    before.graph.node[0].name = "conv1"
    after = fold_batchnorm(before)
    assert lines(after) == ["y = Conv(x, conv1.weight, conv1.bias)", "z = Conv(x, w)"]
    np.testing.assert_array_equal(constants(after)["w"], W)
    assert_same_function(before, after)


def test_into_gemm_either_way_round() -> None:
    for trans, weight in ((0, W.reshape(4, 2)), (1, W.reshape(2, 4))):
        before = parsed(
            "float[1,4] x) => (float[1,2] y",
            f"t = Gemm<alpha = 0.5, beta = 2.0, transB = {trans}>(x, w, b) {NORMALISED}",
            {"w": weight, "b": np.array([[1, 2]], np.float32), **NORM},
        )
        after = fold_batchnorm(before)
        assert [node.op_type for node in after.graph.node] == ["Gemm"]
        assert_same_function(before, after)


def test_alone_it_becomes_a_depthwise_convolution_of_its_name() -> None:
    before = parsed("float[1,2,3,3] t) => (float[1,2,3,3] y", NORMALISED, NORM)
    before.graph.node[0].name = "bn1"
    after = fold_batchnorm(before)
    assert lines(after) == ["y = Conv(t, bn1.weight, bn1.bias) group=2 kernel_shape=[1, 1]"]
    assert after.graph.node[0].name == "bn1"
    assert_same_function(before, after)


def test_a_convolution_whose_output_is_read_twice_is_not_changed() -> None:
    before = parsed(
        "float[1,1,4,4] x) => (float[1,2,3,3] y, float[1,2,3,3] z",
        f"t = Conv(x, w) {NORMALISED} z = Relu(t)",
        {"w": W, **NORM},
    )
    after = fold_batchnorm(before)
    assert [node.op_type for node in after.graph.node] == ["Conv", "Conv", "Relu"]
    assert_same_function(before, after)


@given(networks(("norm", "conv", "relu", "residual")))
def test_the_function_stays(proto: onnx.ModelProto) -> None:
    after = fold_batchnorm(proto)
    assert not any(node.op_type == "BatchNormalization" for node in after.graph.node)
    assert_same_function(proto, after, tolerance=2e-3)

"""Zero padding moves into the reader that can take it, and only there."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given

from bitline.graph.passes.explicit_pads import explicit_pads
from bitline.graph.passes.fold_pad import fold_pad
from tests.graph.build import assert_same_function, lines, networks, parsed

W = np.arange(36, dtype=np.float32).reshape(2, 2, 3, 3) / 36
AMOUNTS = np.array([0, 0, 1, 2, 0, 0, 0, 1], np.int64)
X = "float[1,2,6,6] x) => (float[1,2,a,b] y"


def padded(reader: str, **constants: np.ndarray) -> onnx.ModelProto:
    return parsed(X, f"p = Pad(x, amounts) y = {reader}", {"w": W, "amounts": AMOUNTS} | constants)


def test_into_a_convolution() -> None:
    before = padded("Conv<pads = [1, 1, 1, 1]>(p, w)")
    after = fold_pad(before)
    assert lines(after) == ["y = Conv(x, w) pads=[2, 3, 1, 2]"]
    assert_same_function(before, after)


def test_into_every_reader_at_once() -> None:
    before = padded("Conv(p, w) q = Conv(p, w) z = Relu(q)")
    assert lines(fold_pad(before))[0] == "y = Conv(x, w) pads=[1, 2, 0, 1]"


def test_two_pads_in_a_row() -> None:
    before = parsed(
        X, "p = Pad(x, amounts) q = Conv(p, w) r = Pad(q, amounts) y = Conv(r, w)", {"w": W, "amounts": AMOUNTS}
    )
    after = fold_pad(before)
    assert lines(after) == ["q = Conv(x, w) pads=[1, 2, 0, 1]", "y = Conv(q, w) pads=[1, 2, 0, 1]"]
    assert_same_function(before, after)


@pytest.mark.parametrize("own", ["", ", pads = [1, 1, 1, 1], count_include_pad = 1"])
def test_into_an_average_pool_whose_zeros_count(own: str) -> None:
    before = padded(f"AveragePool<kernel_shape = [4, 4]{own}>(p)")
    after = fold_pad(before)
    assert [node.op_type for node in after.graph.node] == ["AveragePool"]
    assert_same_function(before, after)


@pytest.mark.parametrize(
    "reader",
    [
        "AveragePool<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(p)",  # its own padding does not count, these zeros do
        "AveragePool<kernel_shape = [2, 2], ceil_mode = 1>(p)",
        "AveragePool<kernel_shape = [2, 2]>(p)",  # a window wholly within the padding
        "MaxPool<kernel_shape = [3, 3]>(p)",
        "Relu(p)",
        'Conv<auto_pad = "SAME_UPPER">(p, w)',
    ],
)
def test_left_alone(reader: str) -> None:
    before = padded(reader)
    assert lines(fold_pad(before)) == lines(before)


@pytest.mark.parametrize(
    ("pad", "constants"),
    [
        ("Pad(x, amounts, value)", {"value": np.array(1, np.float32)}),
        ('Pad<mode = "edge">(x, amounts)', {}),
        ("Pad(x, channels)", {"channels": np.array([0, 1, 1, 1, 0, 1, 1, 1], np.int64)}),
        ("Pad(x, crop)", {"crop": np.array([0, 0, -1, 1, 0, 0, 1, 1], np.int64)}),
    ],
)
def test_other_pads_stay(pad: str, constants: dict[str, np.ndarray]) -> None:
    signature = "float[1,2,6,6] x) => (float[1,c,a,b] y"
    weights = {"w": np.ones((2, 4 if "channels" in constants else 2, 3, 3), np.float32), "amounts": AMOUNTS}
    before = parsed(signature, f"p = {pad} y = Conv(p, w)", weights | constants)
    assert [node.op_type for node in fold_pad(before).graph.node] == ["Pad", "Conv"]


def test_axes_of_opset_18() -> None:
    before = parsed(
        X,
        "p = Pad(x, amounts, , axes) y = Conv(p, w)",
        {"w": W, "amounts": np.array([1, 2], np.int64), "axes": np.array([-1], np.int64)},
        opset=18,
    )
    after = fold_pad(before)
    assert lines(after) == ["y = Conv(x, w) pads=[0, 1, 0, 2]"]
    assert_same_function(before, after)


@given(networks(("pad", "conv", "average", "relu")))
def test_the_function_stays(proto: onnx.ModelProto) -> None:
    assert_same_function(proto, fold_pad(explicit_pads(proto)), tolerance=1e-4)

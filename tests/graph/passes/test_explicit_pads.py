"""auto_pad becomes the numbers that ONNX's definition gives."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given

from bitline.graph.passes.explicit_pads import explicit_pads
from tests.graph.build import assert_same_function, lines, networks, parsed

W3 = np.ones((4, 3, 3, 3), np.float32)


@pytest.mark.parametrize(
    ("size", "mode", "stride", "pads"),
    [
        (8, "SAME_UPPER", 1, [1, 1, 1, 1]),
        (8, "SAME_UPPER", 2, [0, 0, 1, 1]),
        (8, "SAME_LOWER", 2, [1, 1, 0, 0]),
        (9, "SAME_UPPER", 2, [1, 1, 1, 1]),
        (8, "VALID", 2, [0, 0, 0, 0]),
    ],
)
def test_convolution(size: int, mode: str, stride: int, pads: list[int]) -> None:
    before = parsed(
        f"float[1,3,{size},{size}] x) => (float[1,4,a,b] y",
        f'y = Conv<auto_pad = "{mode}", strides = [{stride}, {stride}]>(x, w)',
        {"w": W3},
    )
    after = explicit_pads(before)
    assert lines(after) == [f"y = Conv(x, w) pads={pads} strides=[{stride}, {stride}]"]
    assert_same_function(before, after, tolerance=0)


def test_dilation_counts() -> None:
    before = parsed(
        "float[1,3,8,8] x) => (float[1,4,a,b] y",
        'y = Conv<auto_pad = "SAME_UPPER", dilations = [2, 2]>(x, w)',
        {"w": W3},
    )
    assert lines(explicit_pads(before)) == ["y = Conv(x, w) dilations=[2, 2] pads=[2, 2, 2, 2]"]


def test_transposed_convolution_and_explicit_pads_stay() -> None:
    before = parsed(
        "float[1,4,8,8] x) => (float[1,a,b,c] y",
        'z = ConvTranspose<auto_pad = "SAME_UPPER">(x, w) y = MaxPool<kernel_shape = [2, 2], pads = [1, 0, 0, 0]>(z)',
        {"w": W3},
    )
    assert lines(explicit_pads(before)) == lines(before)


@given(networks(("conv", "average", "max", "relu")))
def test_the_function_stays(proto: onnx.ModelProto) -> None:
    after = explicit_pads(proto)
    assert all("auto_pad" not in line or "NOTSET" in line for line in lines(after))
    assert_same_function(proto, after)

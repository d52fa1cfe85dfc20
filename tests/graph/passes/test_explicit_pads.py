"""auto_pad becomes the numbers that ONNX's definition gives."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given

from bitline.graph import shapes
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


def test_explicit_pads_stay() -> None:
    before = parsed(
        "float[1,3,8,8] x) => (float[1,a,b,c] y", "y = MaxPool<kernel_shape = [2, 2], pads = [1, 0, 0, 0]>(x)"
    )
    assert lines(explicit_pads(before)) == lines(before)


def transposed(kernel: int, **attributes: int | str | list[int]) -> onnx.ModelProto:
    node = onnx.helper.make_node("ConvTranspose", ["x", "w"], ["y"], name="up")
    node.attribute.extend(onnx.helper.make_attribute(name, value) for name, value in attributes.items())
    graph = onnx.helper.make_graph(
        [node],
        "net",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 2, 5])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)],
        [onnx.numpy_helper.from_array(np.arange(6 * kernel, dtype=np.float32).reshape(2, 3, kernel), "w")],
    )
    return shapes.inferred(
        onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    )


@pytest.mark.parametrize("mode", ["SAME_UPPER", "SAME_LOWER", "VALID"])
@pytest.mark.parametrize(
    ("kernel", "stride", "dilation"), [(3, 2, 1), (4, 2, 1), (3, 1, 1), (4, 3, 1), (3, 2, 2), (5, 3, 2)]
)
def test_transposed_convolution(mode: str, kernel: int, stride: int, dilation: int) -> None:
    before = transposed(kernel, auto_pad=mode, strides=[stride], dilations=[dilation])
    after = explicit_pads(before)
    names = {entry.name for entry in after.graph.node[0].attribute}
    assert names == {"strides", "dilations", "pads"}
    assert_same_function(before, after, tolerance=0)


@pytest.mark.parametrize("extra", [0, 1])
@pytest.mark.parametrize("wanted", [8, 9, 10, 11, 12])
def test_transposed_convolution_of_a_stated_size(wanted: int, extra: int) -> None:
    """The full output has 11: smaller ones are cut, the odd element at the start; a larger one is padded."""
    before = transposed(3, output_shape=[wanted], strides=[2], output_padding=[extra])
    after = explicit_pads(before)
    assert "output_shape" not in lines(after)[0]
    assert_same_function(before, after, tolerance=0)


def test_a_stated_size_beyond_the_full_output_is_padded() -> None:
    after = explicit_pads(transposed(3, output_shape=[12], strides=[2]))
    assert lines(after) == ["y = ConvTranspose(x, w) output_padding=[1] pads=[0, 0] strides=[2]"]


@pytest.mark.parametrize("mode", ["SAME_UPPER", "SAME_LOWER"])
def test_strides_beyond_the_window_stay(mode: str) -> None:
    """ONNX asks for 10 outputs, ONNX Runtime 1.31 gives 9."""
    before = transposed(1, auto_pad=mode, strides=[2])
    assert lines(explicit_pads(before)) == lines(before)


def test_a_transposed_convolution_with_explicit_pads_stays() -> None:
    before = transposed(3, pads=[1, 0], strides=[2], output_padding=[1])
    assert lines(explicit_pads(before)) == lines(before)


@given(networks(("conv", "average", "max", "relu")))
def test_the_function_stays(proto: onnx.ModelProto) -> None:
    after = explicit_pads(proto)
    assert all("auto_pad" not in line or "NOTSET" in line for line in lines(after))
    assert_same_function(proto, after)

"""Shape inference without the weights says the same as with them, and gives them back."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from bitline.graph.shapes import ERRORS
from bitline.graph.weightless import LARGE_ELEMENTS, infer_shapes, infer_shapes_in_place
from tests.graph.build import parsed

WIDE = np.zeros((256, LARGE_ELEMENTS // 256), np.float32)


def model() -> onnx.ModelProto:
    return parsed(
        "float[1,256] x) => (float[a,b] y",
        "g = MatMul(x, w) r = Reshape(g, s) t = Relu(r) y = Flatten(t)",
        {"w": WIDE, "s": np.array([1, 2, -1], np.int64)},
    )


@pytest.mark.parametrize("strict", [True, False])
def test_same_shapes_same_weights(strict: bool) -> None:
    before = model()
    found = infer_shapes(before, strict=strict)
    expected = onnx.shape_inference.infer_shapes(before, check_type=strict, strict_mode=strict)
    assert found == expected
    assert found.graph.initializer[0].raw_data == WIDE.tobytes()
    assert before == model()


@pytest.mark.parametrize("strict", [True, False])
def test_in_place_finds_the_same(strict: bool) -> None:
    grown = model()
    weights = grown.graph.initializer[0]
    infer_shapes_in_place(grown, strict=strict)
    assert grown == infer_shapes(model(), strict=strict)
    assert weights.raw_data == WIDE.tobytes()


def test_bare_forgets_what_the_file_says() -> None:
    lying = model()
    lying.graph.output[0].type.tensor_type.shape.dim[0].dim_value = 77
    lying.graph.value_info.append(onnx.helper.make_tensor_value_info("g", onnx.TensorProto.FLOAT, [3, 3, 3]))
    with pytest.raises(ERRORS):
        infer_shapes(lying, strict=True)
    found = infer_shapes(lying, strict=True, bare=True)
    assert [dim.dim_value for dim in found.graph.output[0].type.tensor_type.shape.dim] == [1, 256]


def test_a_contradiction_is_still_found() -> None:
    wrong = parsed("float[1,256] x) => (float[a,b] y", "y = MatMul(x, w)", {"w": WIDE})
    wrong.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 255
    with pytest.raises(ERRORS):
        infer_shapes(wrong, strict=True)

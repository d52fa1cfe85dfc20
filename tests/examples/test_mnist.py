"""Proves that the shipped MNIST files are small, of the documented form, and classify as well as their README says."""

# onnx and onnxruntime are typed in part only
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest

from bitline import examples
from bitline.core.diagnostics import Refusal

MEAN, STD = 0.1307, 0.3081


def digits(name: str) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    with np.load(examples.path(name)) as archive:
        assert sorted(archive.files) == ["x", "y"]
        return archive["x"], archive["y"]


def predicted(x: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    session = onnxruntime.InferenceSession(examples.path("mnist_cnn.onnx"), providers=["CPUExecutionProvider"])
    prepared = ((x.transpose(0, 3, 1, 2) / 255 - MEAN) / STD).astype(np.float32)
    (logits,) = session.run(["logits"], {"input": prepared})
    assert isinstance(logits, np.ndarray)
    return logits.argmax(axis=1)


def test_sizes() -> None:
    sizes = {name: examples.path(name).stat().st_size for name in examples.NAMES}
    assert sizes["mnist_cnn.onnx"] < 1_300_000
    assert sum(sizes.values()) < 1_500_000


def test_the_readme_states_the_sizes() -> None:
    readme = examples.path("mnist_cnn.onnx").with_name("README.md").read_text(encoding="utf-8")
    for name in examples.NAMES:
        assert f"{examples.path(name).stat().st_size:,}" in readme, name


@pytest.mark.parametrize(("name", "count"), [("mnist_test_200.npz", 200), ("mnist_calib_64.npz", 64)])
def test_digits(name: str, count: int) -> None:
    x, y = digits(name)
    assert (x.shape, x.dtype) == ((count, 28, 28, 1), np.uint8)
    assert (y.shape, y.dtype) == ((count,), np.int64)
    assert (y == np.arange(count) % 10).all(), "classes in turn, so that every prefix is balanced"
    assert x.min() == 0
    assert x.max() == 255


def test_no_digit_is_in_both_files() -> None:
    test, calibration = digits("mnist_test_200.npz")[0], digits("mnist_calib_64.npz")[0]
    assert not {image.tobytes() for image in test} & {image.tobytes() for image in calibration}


def test_the_model_is_valid_named_and_of_the_documented_form() -> None:
    model = onnx.load(examples.path("mnist_cnn.onnx"))
    onnx.checker.check_model(model, full_check=True)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 17)]
    shapes = {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    }
    assert shapes == {"input": ["N", 1, 28, 28], "logits": ["N", 10]}
    names = [node.name for node in model.graph.node]
    assert all(names)
    assert len(set(names)) == len(names)
    assert {node.op_type for node in model.graph.node} == {"Conv", "Relu", "MaxPool", "Add", "Flatten", "Gemm"}


def test_weight_count() -> None:
    model = onnx.load(examples.path("mnist_cnn.onnx"))
    weights = [math.prod(tensor.dims) for tensor in model.graph.initializer if len(tensor.dims) > 1]
    assert sum(weights) == 252_672


def test_accuracy_on_the_shipped_digits() -> None:
    """198 of 200 in float; an engine that rounds otherwise may tip one digit."""
    x, y = digits("mnist_test_200.npz")
    assert int((predicted(x) == y).sum()) >= 197


def test_any_batch_size_gives_the_same_classes() -> None:
    x, _ = digits("mnist_calib_64.npz")
    one_by_one = np.concatenate([predicted(x[i : i + 1]) for i in range(8)])
    assert (one_by_one == predicted(x)[:8]).all()


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(Refusal) as refusal:
        examples.path("mnist.onnx")
    (diagnostic,) = refusal.value.diagnostics
    assert diagnostic.code == "BL0201"
    assert "mnist_cnn.onnx" in diagnostic.help

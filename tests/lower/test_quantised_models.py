"""Models quantised by ONNX Runtime's own tool are taken as they are: exact, and within one step kernel by kernel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from bitline import pipeline
from bitline.graph.model import Model
from bitline.quant.options import QuantOptions
from tests.lower.engines import build, differences, teacher_forced_worst

CHIPS = (
    ("reram-tile", ()),
    ("sram-dcim", ("array.rows=16", "array.cols=8", "array.per_core=2")),
    ("reram-tile", ("adc.bits=5", "cores=3")),
)


def network() -> onnx.ModelProto:
    """Conv, depthwise Conv, residual Add, pools, Gemm and Softmax on 8 x 8 pixels."""
    rng = np.random.default_rng(3)
    constants: list[onnx.TensorProto] = []

    def weights(*shape: int) -> str:
        constants.append(numpy_helper.from_array(rng.normal(0, 0.3, shape).astype(np.float32), f"w{len(constants)}"))
        return constants[-1].name

    nodes = [
        helper.make_node("Conv", ["x", weights(8, 3, 3, 3), weights(8)], ["a"], "conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"], "relu"),
        helper.make_node("Conv", ["b", weights(8, 1, 3, 3)], ["c"], "depthwise", pads=[1, 1, 1, 1], group=8),
        helper.make_node("Add", ["b", "c"], ["d"], "add"),
        helper.make_node("MaxPool", ["d"], ["e"], "max", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("AveragePool", ["e"], ["f"], "mean", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        helper.make_node("Flatten", ["f"], ["g"], "flatten"),
        helper.make_node("Gemm", ["g", weights(10, 128), weights(10)], ["h"], "dense", transB=1),
        helper.make_node("Sigmoid", ["h"], ["i"], "sigmoid"),
        helper.make_node("Softmax", ["i"], ["y"], "softmax", axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 10])],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


class Reader(CalibrationDataReader):
    """Eight random images."""

    def __init__(self) -> None:
        rng = np.random.default_rng(5)
        self.images = iter(rng.normal(0, 1, (8, 1, 3, 8, 8)).astype(np.float32))

    def get_next(self) -> dict[str, npt.NDArray[np.float32]] | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        image = next(self.images, None)
        return None if image is None else {"x": image}


def by_onnx_runtime(folder: Path, activations: QuantType, weights: QuantType, per_channel: bool) -> Model:
    source, target = folder / "float.onnx", folder / "qdq.onnx"
    onnx.save(network(), source)
    quantize_static(
        source,
        target,
        Reader(),
        quant_format=QuantFormat.QDQ,
        activation_type=activations,
        weight_type=weights,
        per_channel=per_channel,
        extra_options={"ActivationSymmetric": False, "WeightSymmetric": True},
    )
    model = pipeline.load(target, {})
    taken = pipeline.quantise(model, None, QuantOptions())
    assert taken.model is model
    return model


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("target", "overrides"), CHIPS)
@pytest.mark.parametrize(
    ("activations", "weights", "per_channel"),
    [
        (QuantType.QUInt8, QuantType.QInt8, True),
        (QuantType.QInt8, QuantType.QInt8, True),
        (QuantType.QUInt8, QuantType.QInt8, False),
        (QuantType.QInt8, QuantType.QInt8, False),
    ],
)
def test_a_foreign_qdq_model_is_exact(
    activations: QuantType,
    weights: QuantType,
    per_channel: bool,
    target: str,
    overrides: tuple[str, ...],
    tmp_path: Path,
) -> None:
    model = by_onnx_runtime(tmp_path, activations, weights, per_channel)
    made = build(model, target, overrides)
    assert not differences(made, 1)
    if all(kernel.math.lossless for kernel in made.network.kernels if kernel.kind == "MatMul"):
        assert max(teacher_forced_worst(model, made, seed) for seed in range(4)) <= 1

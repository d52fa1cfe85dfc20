"""Layers that read 16 bits: exact in every engine, within one step of ONNX Runtime, weights placed once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from bitline import api
from bitline.ir.kernels import Host, MatMul

Array = npt.NDArray[Any]

INPUT_SCALE = 3 / 32767


class Qdq:
    """A QDQ model under construction."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.rng = np.random.default_rng(0)

    def constant(self, name: str, value: Array) -> str:
        self.constants.append(numpy_helper.from_array(value, name))
        return name

    def rounded(self, x: str, name: str, scale: float, zero: Array) -> str:
        grid = [self.constant(f"{name}_s", np.array(scale, np.float32)), self.constant(f"{name}_z", zero)]
        self.nodes.append(helper.make_node("QuantizeLinear", [x, *grid], [f"{name}_q"], name=f"{name}_quantise"))
        self.nodes.append(helper.make_node("DequantizeLinear", [f"{name}_q", *grid], [name], name=f"{name}_back"))
        return name

    def weights(self, name: str, shape: tuple[int, ...], axis: int) -> tuple[str, Array]:
        values = self.rng.normal(size=shape)
        others = tuple(a for a in range(len(shape)) if a != axis)
        scale = (np.abs(values).max(axis=others) / 127).astype(np.float32)
        spread = scale.reshape([-1 if a == axis else 1 for a in range(len(shape))])
        return self.integers(name, np.rint(values / spread).astype(np.int8), scale, axis), scale

    def integers(self, name: str, values: Array, scale: Array, axis: int) -> str:
        zeros = self.constant(f"{name}_z", np.zeros(scale.shape, values.dtype))
        inputs = [self.constant(f"{name}_i", values), self.constant(f"{name}_s", scale), zeros]
        self.nodes.append(helper.make_node("DequantizeLinear", inputs, [name], name=f"{name}_back", axis=axis))
        return name

    def saved(self, path: Path, x: list[int], outputs: dict[str, list[int]]) -> Path:
        graph = helper.make_graph(
            self.nodes,
            "halves",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, x)],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
            self.constants,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)])
        model.ir_version = 10
        onnx.checker.check_model(model, full_check=True)
        onnx.save(model, path)
        return path


def network(folder: Path) -> Path:
    """A padded, strided Conv with bias and Relu over int16, then two linear layers over its int16 result."""
    q = Qdq()
    x = q.rounded("x", "x16", INPUT_SCALE, np.array(0, np.int16))
    w, scale = q.weights("w", (8, 4, 3, 3), 0)
    step = np.float32(INPUT_SCALE) * scale
    bias = q.integers("b", np.rint(q.rng.normal(size=8) / step).astype(np.int32), step, 0)
    conv = helper.make_node("Conv", [x, w, bias], ["c"], name="conv", pads=[1, 1, 1, 1], strides=[1, 2])
    q.nodes += [conv, helper.make_node("Relu", ["c"], ["r"], name="relu")]
    held = q.rounded("r", "r16", 30 / 32767, np.array(0, np.int16))
    q.nodes.append(helper.make_node("Transpose", [held], ["t"], name="turn", perm=[0, 2, 3, 1]))
    for name, columns, scale_y, zero in (
        ("y", 6, 60 / 32767, np.array(0, np.int16)),
        ("z", 5, 0.6, np.array(128, np.uint8)),
    ):
        v, _ = q.weights(f"v_{name}", (8, columns), 1)
        q.nodes.append(helper.make_node("MatMul", ["t", v], [f"{name}_f"], name=f"linear_{name}"))
        q.rounded(f"{name}_f", name, scale_y, zero)
    return q.saved(folder / "halves.onnx", [1, 4, 6, 6], {"y": [1, 6, 3, 6], "z": [1, 6, 3, 5]})


@pytest.mark.parametrize("target", ["sram-dcim", "reram-tile", "isaac"])
def test_sixteen_bits_at_layers_are_exact_and_within_one_step(target: str, tmp_path: Path) -> None:
    package = api.compile(network(tmp_path), target=target)
    kernels = package.contents.network.kernels
    assert not any(isinstance(kernel, Host) for kernel in kernels)
    layers = [kernel for kernel in kernels if isinstance(kernel, MatMul)]
    assert [kernel.nodes[0] for kernel in layers] == [n for n in ("conv", "linear_y", "linear_z") for _ in range(2)]
    assert len({kernel.matrix.name for kernel in layers}) == 3, "both halves use the same weights"
    figures = package.figures()
    assert figures["macs_on_arrays"] == figures["macs"], "two halves are one layer"
    x = np.random.default_rng(1).normal(size=(4, 4, 6, 6)).astype(np.float32)
    x[0, :, 0] = np.array([-9, 9, -3, 3, -3 - 1e-4, 0])  # both ends of int16, and beyond them
    ran = package.run({"x": x}, check_samples=4)
    assert ran.checked is not None
    for agreement in (ran.checked.exact.against_reference, ran.checked.exact.against_golden):
        assert agreement.equal == agreement.values > 0
    forced = ran.checked.teacher_forced
    assert forced.within_one == forced.values
    assert forced.equal_share > 0.995
    assert ran.checked.sqnr_vs_onnxruntime_db > 60, "eight bits would leave less than 50"
    assert package.verify().ok


def test_the_tensor_is_split_once_for_all_that_read_it(tmp_path: Path) -> None:
    tensors = [tensor.name for tensor in api.compile(network(tmp_path), target="sram-dcim").contents.network.tensors]
    assert [name for name in tensors if name.endswith((".high", ".low"))] == [
        "x16_q.high",
        "x16_q.low",
        "r16_q.high",
        "r16_q.low",
    ]

"""Scales and zero points that are no constants: what they scale is left to the host, by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx

import bitline
from bitline.engines.ort import run_model
from bitline.ir.kernels import Host
from tests.graph.build import parsed

BODY = """
q = QuantizeLinear(x, S, z) d = DequantizeLinear(q, S, z) r = Relu(d) p = QuantizeLinear(r, t, z)
y = DequantizeLinear(p, t, z)
"""
CONSTANTS = {"t": np.array(0.1, np.float32), "z": np.array(0, np.int8)}
FEEDS = {"x": np.array([[-1.0, 0.26, 3.0]], np.float32), "a": np.array([0.25], np.float32)}


def network(scale: str) -> onnx.ModelProto:
    return parsed("float[1,3] x, float a) => (float[1,3] y", BODY.replace("S", scale), CONSTANTS)


def test_a_constant_scale_leaves_nothing_to_the_host(tmp_path: Path) -> None:
    onnx.save(network("t"), tmp_path / "net.onnx")
    assert bitline.compile(tmp_path / "net.onnx", target="reram-tile").figures()["host"] == []


def test_a_scale_that_is_an_input_leaves_its_tensor_to_the_host(tmp_path: Path) -> None:
    proto = network("a")
    onnx.save(proto, tmp_path / "net.onnx")
    package = bitline.compile(tmp_path / "net.onnx", target="reram-tile")
    (kernel,) = (k for k in package.contents.network.kernels if isinstance(k, Host))
    assert kernel.why
    wanted = run_model(proto, FEEDS | {"a": FEEDS["a"].reshape(())}, optimise=False)["y"]
    ran = package.run(FEEDS, check_samples=1)
    assert np.array_equal(ran.outputs["y"].reshape(wanted.shape), wanted)
    assert package.verify().errors == ()

"""Scales that are no constants: what reads them stays in float, on the host; scales without a zero point are 0."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from bitline import pipeline
from bitline.ir.kernels import Host
from tests.graph.build import parsed
from tests.lower.engines import build, differences, teacher_forced_worst

BODY = """
q = QuantizeLinear(x, S, z) d = DequantizeLinear(q, S, z) r = Relu(d) p = QuantizeLinear(r, t, z)
y = DequantizeLinear(p, t, z)
"""


@pytest.mark.parametrize(("scale", "hosts"), [("a", 1), ("t", 0)])
def test_a_scale_that_is_an_input_goes_to_the_host(scale: str, hosts: int, tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    constants = {"t": np.array(0.1, np.float32), "z": np.array(0, np.int8)}
    onnx.save(parsed("float[1,3] x, float a) => (float[1,3] y", BODY.replace("S", scale), constants), path)
    model = pipeline.load(path, {})
    made = build(model, "reram-tile")
    found = [kernel for kernel in made.network.kernels if isinstance(kernel, Host)]
    assert len(found) == hosts
    assert all(kernel.why for kernel in found)
    assert not differences(made, 3)
    assert teacher_forced_worst(model, made, 3) <= 1

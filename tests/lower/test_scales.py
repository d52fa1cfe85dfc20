"""Scales and zero points that are no constants are refused where they stand."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

import bitline
from bitline.core.diagnostics import Refusal
from tests.graph.build import parsed

BODY = """
q = QuantizeLinear(x, S, z) d = DequantizeLinear(q, S, z) r = Relu(d) p = QuantizeLinear(r, t, z)
y = DequantizeLinear(p, t, z)
"""


@pytest.mark.parametrize(("scale", "node"), [("a", "Quantize"), ("t", "")])
def test_the_scale_is_an_input(scale: str, node: str, tmp_path: object) -> None:
    path = f"{tmp_path}/net.onnx"
    constants = {"t": np.array(0.1, np.float32), "z": np.array(0, np.int8)}
    onnx.save(parsed("float[1,3] x, float a) => (float[1,3] y", BODY.replace("S", scale), constants), path)
    if not node:
        assert bitline.compile(path, target="reram-tile").figures()
        return
    with pytest.raises(Refusal) as refused:
        bitline.compile(path, target="reram-tile")
    (diagnostic,) = refused.value.diagnostics
    assert diagnostic.code == "BL0304"
    assert "'a', no constant" in diagnostic.message

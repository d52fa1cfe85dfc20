"""Magnitudes of spectra: one kernel, squares never rounded, exact in every engine."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from bitline import api
from bitline.ir.kernels import Elementwise
from bitline.quant.ptq import quantize
from tests.graph.build import as_model, parsed


@pytest.mark.parametrize("target", ["sram-dcim", "isaac"])
def test_a_spectrum_keeps_what_is_quiet(target: str, tmp_path: Path) -> None:
    """Four decades of magnitudes in one tensor; between quantised ends lies one kernel."""
    values = {"cut": np.array([4, 4], np.int64), "two": np.array(2, np.float32)}
    body = "a, b = Split<axis = 1>(x, cut) c = Pow(a, two) d = Mul(b, b) e = Add(c, d) y = Sqrt(e)"
    model = as_model(parsed("float[1,8,5] x) => (float[1,4,5] y", body, values))
    rng = np.random.default_rng(0)
    sizes = 10 ** rng.uniform(-4, 0, (16, 1, 5))
    samples = (sizes * rng.choice([-1, 1], (16, 8, 5))).astype(np.float32)
    made = quantize(model, {"x": samples}).model
    package = api.compile(made, target=target)
    kernels = [kernel for kernel in package.contents.network.kernels if isinstance(kernel, Elementwise)]
    assert [kernel.op for kernel in kernels] == ["length"]
    ran = package.run({"x": samples}, check_samples=4)
    assert ran.checked is not None
    for agreement in (ran.checked.exact.against_reference, ran.checked.exact.against_golden):
        assert agreement.equal == agreement.values > 0
    assert ran.checked.teacher_forced.within_one == ran.checked.teacher_forced.values
    wanted = np.broadcast_to(sizes * math.sqrt(2), (16, 4, 5))
    got = ran.outputs["y"].astype(np.float64).reshape(16, 4, 5)
    np.testing.assert_allclose(got, wanted, atol=1e-4)
    assert package.verify().ok

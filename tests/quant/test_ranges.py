"""Observed ranges are those that numpy finds in the same tensors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitline.core.diagnostics import Refusal
from bitline.quant.ranges import BINS, observe
from tests.graph.build import as_model, parsed

EXP = as_model(parsed("float[1,50] x) => (float[1,50] y", "a = Exp(x) y = Relu(x)"))


@given(seed=st.integers(0, 1000), percent=st.sampled_from([90.0, 99.0, 100.0]))
def test_extremes_and_percentiles(seed: int, percent: float) -> None:
    x = np.random.default_rng(seed).standard_normal((8, 50)).astype(np.float32)
    seen = observe(EXP, ["x", "a"], {"x": x})
    for name, values in (("x", x), ("a", np.exp(x))):
        low, high = seen[name].minmax()
        assert (low, high) == pytest.approx((values.min(), values.max()), rel=1e-5)
        assert seen[name].counts.sum() == values.size
        width = (high - low) / BINS
        below, above = seen[name].percentile(percent)
        # within the values on either side of the exact place, and one bin
        count = (1 - percent / 100) * values.size
        ordered = np.sort(values.ravel())
        assert ordered[max(int(count) - 1, 0)] - 2 * width <= below <= ordered[int(count) + 1] + 2 * width
        assert ordered[-int(count) - 2] - 2 * width <= above <= ordered[-max(int(count), 1)] + 2 * width


def test_a_constant_tensor() -> None:
    seen = observe(EXP, ["y"], {"x": np.full((2, 50), -3, np.float32)})
    assert seen["y"].minmax() == seen["y"].percentile(99) == (0.0, 0.0)


def test_values_that_overflow_are_refused_by_name() -> None:
    with pytest.raises(Refusal) as refusal:
        observe(EXP, ["x", "a"], {"x": np.full((2, 50), 1000, np.float32)})
    (diagnostic,) = refusal.value.diagnostics
    assert diagnostic.code == "BL0105"
    assert "'a'" in diagnostic.message

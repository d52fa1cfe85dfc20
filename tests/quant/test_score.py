"""The figures a user reads are those that the definitions give."""

from __future__ import annotations

import numpy as np
import pytest

from bitline.quant.calibration import Samples
from bitline.quant.score import SQNR_CAP_DB, score, sqnr_db
from tests.graph.build import as_model, parsed

ONE = as_model(parsed("float[1,2] x) => (float[1,2] y", "y = Identity(x)"))
SHIFTED = as_model(
    parsed("float[1,2] x) => (float[1,2] y", "y = Add(x, c)", {"c": np.array([[0.1, -0.1]], np.float32)})
)
X = np.array([[1, 0], [0, 1], [0.5, 0.6], [0, 2]], np.float32)


@pytest.mark.parametrize("optimise", [False, True])
def test_against_a_model_with_a_known_error(optimise: bool) -> None:
    got = score(ONE, SHIFTED, Samples(feeds={"x": X}, labels=np.array([0, 1, 1, 0])), optimise=optimise)
    assert (got.samples, got.agree, got.top1_reference, got.top1_other) == (4, 75.0, 75.0, 50.0)
    assert got.sqnr_db == pytest.approx(10 * np.log10((X**2).sum() / (4 * 0.02)), abs=1e-4)


def test_equal_models_and_no_labels() -> None:
    got = score(ONE, ONE, Samples(feeds={"x": X}))
    assert (got.agree, got.sqnr_db, got.top1_reference, got.top1_other) == (100.0, SQNR_CAP_DB, None, None)


def test_sqnr_is_always_a_number() -> None:
    assert sqnr_db(0, 1) == -SQNR_CAP_DB
    assert sqnr_db(100, 1) == pytest.approx(20)
    assert sqnr_db(0, 0) == SQNR_CAP_DB

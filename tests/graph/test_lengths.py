"""What is the length of a vector of two, and what only looks like one."""

from __future__ import annotations

import numpy as np
import pytest

from bitline.graph.lengths import length_at
from bitline.graph.model import Wiring
from tests.graph.build import parsed

VALUES = {"two": np.array(2, np.float32), "three": np.array([3], np.float32), "pair": np.array([2, 2], np.float32)}


def found(body: str) -> tuple[str, str, tuple[str, ...]] | None:
    graph = parsed("float[2] a, float[2] b, float[2] p) => (float[2] y", body, VALUES).graph
    wiring = Wiring(graph)
    length = length_at(graph.node[-1], wiring.producer, wiring.array)
    return None if length is None else (length.a, length.b, tuple(node.output[0] for node in length.inner))


@pytest.mark.parametrize(
    ("body", "inner"),
    [
        ("c = Pow(a, two) d = Pow(b, two) e = Add(c, d) y = Sqrt(e)", ("c", "d", "e")),
        ("c = Mul(a, a) d = Pow(b, two) e = Add(c, d) y = Sqrt(e)", ("c", "d", "e")),
        ("d = Mul(b, b) c = Mul(a, a) e = Add(c, d) y = Sqrt(e)", ("c", "d", "e")),
    ],
)
def test_lengths(body: str, inner: tuple[str, ...]) -> None:
    assert found(body) == ("a", "b", inner)


@pytest.mark.parametrize(
    "body",
    [
        "c = Pow(a, three) d = Pow(b, two) e = Add(c, d) y = Sqrt(e)",
        "c = Pow(a, pair) d = Pow(b, two) e = Add(c, d) y = Sqrt(e)",
        "c = Pow(a, p) d = Pow(b, two) e = Add(c, d) y = Sqrt(e)",
        "c = Mul(a, b) d = Mul(b, b) e = Add(c, d) y = Sqrt(e)",
        "c = Mul(a, a) e = Add(c, b) y = Sqrt(e)",
        "c = Mul(a, a) d = Mul(b, b) e = Sub(c, d) y = Sqrt(e)",
        "c = Mul(a, a) d = Mul(b, b) e = Add(c, d) y = Exp(e)",
        "y = Sqrt(a)",
    ],
)
def test_no_lengths(body: str) -> None:
    assert found(body) is None

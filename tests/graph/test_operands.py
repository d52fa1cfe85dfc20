"""Operands that contradict each other are refused at the gate, sound ones of every form pass."""

from __future__ import annotations

import numpy as np
import pytest

from bitline.core.diagnostics import Refusal
from bitline.graph.operands import check_operands
from bitline.graph.shapes import with_shapes
from tests.graph.build import parsed


def said(signature: str, body: str, **shapes: tuple[int, ...]) -> str:
    """What is found wrong with one node over zeros of these shapes; `n` holds a shape."""
    constants = {
        name: np.array(shape, np.int64) if name == "n" else np.zeros(shape, np.float32)
        for name, shape in shapes.items()
    }
    model = with_shapes(parsed(signature, body, constants))
    try:
        check_operands(model.graph, "net.onnx")
    except Refusal as refusal:
        return " ".join(f"{d.code} {d.place} {d.message}" for d in refusal.diagnostics)
    return ""


IMAGE = "float[1,4,8,8] x) => (float[a,b,c,d] y"


@pytest.mark.parametrize(
    ("body", "shapes"),
    [
        ("y = Conv(x, w)", {"w": (6, 4, 3, 3)}),
        ("y = Conv(x, w, b)", {"w": (6, 4, 3, 3), "b": (6,)}),
        ("y = Conv<group = 2>(x, w, b)", {"w": (6, 2, 3, 3), "b": (6,)}),
        ("y = Conv<group = 4>(x, w)", {"w": (8, 1, 1, 1)}),
        ("y = ConvTranspose(x, w)", {"w": (4, 6, 3, 3)}),
        ("y = ConvTranspose<group = 2>(x, w, b)", {"w": (4, 3, 3, 3), "b": (6,)}),
        ("y = Reshape(x, n)", {"n": (1, 16, -1, 4)}),
        ("y = Reshape(x, n)", {"n": (0, 16, 4, 4)}),
        ("q = QuantizeLinear(x, s) y = DequantizeLinear(q, s)", {"s": (1,)}),
        ("q = QuantizeLinear(x, s) y = DequantizeLinear(q, s)", {"s": (4,)}),
        ("q = QuantizeLinear<axis = -1>(x, s) y = DequantizeLinear<axis = -1>(q, s)", {"s": (8,)}),
    ],
)
def test_sound(body: str, shapes: dict[str, tuple[int, ...]]) -> None:
    assert said(IMAGE, body, **shapes) == ""


@pytest.mark.parametrize(
    ("body", "shapes", "words"),
    [
        ("y = Conv(x, w)", {"w": (6, 5, 3, 3)}, "has 4 channels, the weights [6, 5, 3, 3] in 1 groups take 5"),
        ("y = Conv<group = 2>(x, w)", {"w": (6, 4, 3, 3)}, "in 2 groups take 8"),
        ("y = Conv<group = 2>(x, w)", {"w": (5, 2, 3, 3)}, "4 to 5 channels cannot be divided into 2 groups"),
        ("y = Conv<group = 0>(x, w)", {"w": (6, 4, 3, 3)}, "0 groups"),
        ("y = Conv<group = -2>(x, w)", {"w": (6, 4, 3, 3)}, "-2 groups"),
        ("y = Conv(x, w, b)", {"w": (6, 4, 3, 3), "b": (4,)}, "the bias [4] is not one number for each of 6 channels"),
        ("y = ConvTranspose(x, w)", {"w": (6, 4, 3, 3)}, "has 4 channels, the weights [6, 4, 3, 3] in 1 groups take 6"),
        ("y = Reshape(x, n)", {"n": (1, 4, 8, 9)}, "[1, 4, 8, 8] has 256 elements, [1, 4, 8, 9] has 288"),
        ("q = QuantizeLinear(x, s) y = DequantizeLinear(q, s)", {"s": (3,)}, "scales [3] for axis 1 of [1, 4, 8, 8]"),
        ("q = QuantizeLinear<axis = 4>(x, s) y = DequantizeLinear(q, s)", {"s": (4,)}, "axis 4 of [1, 4, 8, 8]"),
    ],
)
def test_contradicting(body: str, shapes: dict[str, tuple[int, ...]], words: str) -> None:
    answer = said(IMAGE, body, **shapes)
    assert answer.startswith("BL0202 net.onnx:")
    assert words in answer


def test_everything_is_said_at_once() -> None:
    answer = said(IMAGE, "a = Conv(x, w) y = Conv(a, v)", w=(6, 5, 3, 3), v=(6, 5, 3, 3))
    assert answer.count("BL0202") == 2

"""The example hook finds boxes that were written into the heads of a detector, where they lie in the user's image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bitline.data.frame import Frame
from bitline.data.grammar import parse_preprocess
from bitline.data.pixels import fitted, image_input
from bitline.inference import Box
from bitline.inference.hooks import call_hook, load_hook
from tests.data.pictures import picture, takes

HOOK = load_hook(f"{Path(__file__).resolve().parents[2] / 'examples/yolo/boxes.py'}:boxes")
CLASSES = 3
OFF = -12.0


def framed() -> Frame:
    """An image of 832 x 624 in the letterbox of 416 x 416: half the size, 52 grey rows above."""
    target = image_input(takes("1,3,416,416"), None, place="p", without=frozenset())
    return fitted(Image.fromarray(picture(624, 832)), target, parse_preprocess("fit=letterbox"))[1]


def logit(share: float) -> float:
    return float(np.log(share / (1 - share)))


def empty(size: int) -> np.ndarray:
    """A head of YOLO v3 that sees nothing: 3 anchors, 5 + CLASSES numbers each."""
    return np.full((1, 3 * (5 + CLASSES), size, size), OFF, np.float32)


def write(head: np.ndarray, anchor: int, row: int, col: int, number: int, width: float, sure: float = 4.0) -> None:
    """A box as wide as `width` times its anchor with its middle at the middle of a cell."""
    start = anchor * (5 + CLASSES)
    head[0, start : start + 5, row, col] = (0, 0, np.log(width), np.log(width), sure)
    head[0, start + 5 + number, row, col] = 8


def test_boxes_of_both_heads_lie_in_the_image() -> None:
    coarse, fine = empty(13), empty(26)
    write(coarse, 0, 6, 6, 2, 1.0)  # middle (208, 208), 81 x 82
    write(fine, 1, 8, 20, 0, 2.0, sure=3.0)  # middle (328, 136), 46 x 54
    found = call_hook(HOOK, {"a": coarse, "b": fine}, framed())
    assert isinstance(found, tuple)
    assert [box.label for box in found] == ["2", "0"]
    corners = [(box.x0, box.y0, box.x1, box.y1) for box in found]
    np.testing.assert_allclose(corners[0], (2 * 167.5, 2 * (167 - 52), 2 * 248.5, 2 * (249 - 52)), rtol=1e-6)
    np.testing.assert_allclose(corners[1], (2 * 305, 2 * (109 - 52), 2 * 351, 2 * (163 - 52)), rtol=1e-6)
    assert found[0].score == pytest.approx(1 / (1 + np.exp(-4.0)), rel=1e-3)


def test_of_overlapping_boxes_of_a_class_the_surest_stays() -> None:
    head = empty(13)
    write(head, 0, 6, 6, 1, 1.0, sure=5.0)
    write(head, 0, 6, 7, 1, 1.0, sure=4.0)  # 32 pixels aside: 43 % in common
    write(head, 1, 6, 6, 1, 0.62, sure=3.0)  # about the same box
    write(head, 2, 6, 6, 0, 0.25, sure=2.0)  # of another class
    found = call_hook(HOOK, {"a": head}, framed())
    assert isinstance(found, tuple)
    assert [box.label for box in found] == ["1", "1", "0"]


def test_boxes_end_at_the_edges_of_the_image() -> None:
    head = empty(13)
    write(head, 2, 6, 0, 0, 1.0)
    found = call_hook(HOOK, {"a": head}, framed())
    assert isinstance(found, tuple)
    (box,) = found
    assert isinstance(box, Box)
    assert (box.x0, box.y0, box.y1) == (0.0, 0.0, 624.0)
    assert box.x1 == pytest.approx(2 * (16 + 344 / 2))


def test_candidates_of_later_versions() -> None:
    output = np.zeros((1, 4 + CLASSES, 6), np.float32)
    output[0, :4, 2], output[0, 4 + 1, 2] = (208, 208, 100, 50), 0.9
    output[0, :4, 5], output[0, 4 + 1, 5] = (209, 208, 100, 50), 0.8
    output[0, :4, 0], output[0, 4 + 2, 0] = (100, 200, 10, 10), 0.2
    found = call_hook(HOOK, {"output0": output}, framed())
    assert isinstance(found, tuple)
    (box,) = found
    assert (box.label, box.x0, box.y0, box.x1, box.y1) == ("1", 316.0, 262.0, 516.0, 362.0)


def test_nothing_is_found_in_nothing() -> None:
    assert call_hook(HOOK, {"a": empty(13), "b": empty(26)}, framed()) == ()
    with pytest.raises(Exception, match="KeyError"):
        call_hook(HOOK, {"a": empty(7)}, framed())

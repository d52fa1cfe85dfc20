"""What is drawn on images: readable at any size, inside the image, and nothing hidden of the image itself."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from bitline.inference.annotate import LEAST_SIDE, PALETTE, PAPER, annotated
from bitline.inference.answers import Answer, Box, Classes, Prediction
from tests.data.pictures import gradient, picture, save

BEST = Classes(
    best=(
        Prediction(number=1, label="tabby cat", score=0.9),
        Prediction(number=2, label="a name that is so long that nobody would ever want to read all of it", score=0.07),
        Prediction(number=3, label="猫\x1b", score=0.02),
    )
)


def drawn(path: Path, answer: Answer) -> np.ndarray:
    assert answer is not None
    return np.asarray(Image.open(io.BytesIO(annotated(path, answer))))


def box(x0: float, y0: float, x1: float, y1: float, label: str = "cat", score: float = 0.5) -> Box:
    return Box(x0=x0, y0=y0, x1=x1, y1=y1, label=label, score=score)


@pytest.mark.parametrize(("high", "wide"), [(480, 640), (640, 480), (40, 800), (800, 40)])
def test_the_image_stays_whole_above_the_panel(tmp_path: Path, high: int, wide: int) -> None:
    pixels = gradient(high, wide)
    found = drawn(save(tmp_path / "p.png", pixels), BEST)
    left = (found.shape[1] - wide) // 2
    np.testing.assert_array_equal(found[:high, left : left + wide], pixels)
    panel = found[high + 1 :]
    assert len(panel) > 60
    assert (panel == PAPER).all(axis=2).mean() > 0.5
    assert (panel.sum(axis=2) < 200).sum() > 50  # ink


def test_small_images_are_enlarged_pixel_by_pixel(tmp_path: Path) -> None:
    pixels = picture(28, 28)
    found = drawn(save(tmp_path / "p.png", pixels), BEST)
    assert found.shape[1] >= LEAST_SIDE
    np.testing.assert_array_equal(found[: 28 * 13 : 13, : 28 * 13 : 13], pixels)


def test_bars_are_as_long_as_scores(tmp_path: Path) -> None:
    place = save(tmp_path / "p.png", gradient(100, 400))
    lengths: list[int] = []
    for score in (0.25, 0.5, 1.0):
        panel = drawn(place, Classes(best=(Prediction(number=0, label="", score=score),)))[101:]
        lengths.append(int((panel == (46, 98, 168)).all(axis=2).any(axis=0).sum()))
    assert lengths[1] == pytest.approx(2 * lengths[0], abs=3)
    assert lengths[2] == pytest.approx(4 * lengths[0], abs=5)


def test_boxes_are_drawn_where_they_are(tmp_path: Path) -> None:
    place = save(tmp_path / "p.png", np.zeros((400, 400, 3), np.uint8))
    found = drawn(place, (box(100, 150, 300, 350),))
    assert found.shape == (400, 400, 3)
    rows, cols = np.nonzero(found[152:].any(axis=2))
    assert (cols.min(), cols.max(), rows.max() + 152) == (100, 300, 350)
    assert not found[160:340, 110:290].any()
    assert tuple(found[340, 100]) in PALETTE
    assert found[120:150].any()  # the name above the box


def test_labels_of_an_image_have_different_colours(tmp_path: Path) -> None:
    place = save(tmp_path / "p.png", np.zeros((400, 400, 3), np.uint8))
    boxes = tuple(box(45 * i, 200, 45 * i + 40, 300, label=f"label {i}") for i in range(8))
    found = drawn(place, boxes)
    assert len({tuple(found[290, 45 * i]) for i in range(8)}) == 8
    many = tuple(box(5, 5, 50, 50, label=f"label {i}") for i in range(20))
    assert drawn(place, many).shape == (400, 400, 3)


def test_boxes_on_small_images_are_enlarged_with_them(tmp_path: Path) -> None:
    place = save(tmp_path / "p.png", np.zeros((40, 40, 3), np.uint8))
    found = drawn(place, (box(10, 20, 30, 35),))
    cols = np.nonzero(found[250:].any(axis=2))[1]
    assert (cols.min(), cols.max()) == (90, 270)


def test_no_box_leaves_the_image_as_it_is(tmp_path: Path) -> None:
    pixels = gradient(400, 400)
    np.testing.assert_array_equal(drawn(save(tmp_path / "p.png", pixels), ()), pixels)


def test_a_jpeg_stays_one(tmp_path: Path) -> None:
    data = annotated(save(tmp_path / "p.jpg", gradient(400, 400)), BEST)
    assert Image.open(io.BytesIO(data)).format == "JPEG"


def test_the_same_answer_gives_the_same_bytes(tmp_path: Path) -> None:
    place = save(tmp_path / "p.png", picture(50, 50))
    assert annotated(place, BEST) == annotated(place, BEST)


@settings(max_examples=25)
@given(
    corners=st.tuples(*[st.floats(-1e6, 1e6, width=32)] * 4),
    label=st.text(max_size=40),
    score=st.floats(-2, 2),
    size=st.tuples(st.integers(1, 60), st.integers(1, 60)),
)
def test_anything_can_be_drawn(
    tmp_path_factory: pytest.TempPathFactory,
    corners: tuple[float, float, float, float],
    label: str,
    score: float,
    size: tuple[int, int],
) -> None:
    place = save(tmp_path_factory.getbasetemp() / "p.png", picture(*size))
    assert drawn(place, (box(*corners, label=label, score=score),)).ndim == 3
    best = Classes(best=(Prediction(number=0, label=label, score=score),))
    assert drawn(place, best).ndim == 3

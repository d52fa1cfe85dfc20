"""Images in the size, layout, channels and numbers that a model's input asks for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from bitline.core.diagnostics import Refusal
from bitline.data.grammar import Preprocess, parse_preprocess
from bitline.data.load import Rules, load_data, load_source
from bitline.data.pixels import ImageInput, fitted, image_input, in_words, numbers
from bitline.data.sources import find_sources
from tests.data.pictures import gradient, picture, said, save, takes
from tests.graph.build import as_model, parsed

NOTHING: frozenset[str] = frozenset()


def target_of(shape: str, text: str = "", dtype: str = "float") -> ImageInput:
    return image_input(takes(shape, dtype), parse_preprocess(text) if text else None, place="p.png", without=NOTHING)


@pytest.mark.parametrize(
    ("shape", "text", "words"),
    [
        ("1,3,8,6", "", "6 x 8 RGB, NCHW"),
        ("1,8,6,3", "", "6 x 8 RGB, NHWC"),
        ("1,1,8,6", "", "6 x 8 GRAY, NCHW"),
        ("1,8,6,1", "", "6 x 8 GRAY, NHWC"),
        ("1,8,6", "", "6 x 8 GRAY, NHWC"),
        ("1,3,8,3", "", "3 x 8 RGB, NCHW"),
        ("1,3,8,3", "layout=NHWC", "8 x 3 RGB, NHWC"),
        ("1,3,8,6", "color=BGR", "6 x 8 BGR, NCHW"),
    ],
)
def test_what_a_shape_implies(shape: str, text: str, words: str) -> None:
    assert str(target_of(shape, text)) == words


@pytest.mark.parametrize(
    ("shape", "text", "dtype", "code", "word"),
    [
        ("1,12", "", "float", "BL0105", "takes no image"),
        ("2,3,8,8", "", "float", "BL0105", "takes no image"),
        ("1,3,4,8,8", "", "float", "BL0105", "takes no image"),
        ("1,3,8,8", "", "bool", "BL0105", "takes no image"),
        ("1,4,8,8", "", "float", "BL0105", "takes 4 as NCHW"),
        ("1,3,8,8", "color=GRAY", "float", "BL0101", "GRAY images have 1 channels"),
        ("1,3,8,8", "layout=NHWC", "float", "BL0101", "takes 8 as NHWC"),
        ("1,3,8,8", "mean=0.1,0.2", "float", "BL0101", "2 values of mean for 3 channels"),
        ("1,3,8,8", "mean=0.1", "uint8", "BL0101", "uint8 pixels as they are"),
        ("1,3,8,8", "crop=4", "float", "BL0101", "leaves 4 x 4 pixels, the model takes 8 x 8"),
        ("1,3,8,8", "resize=8x9", "float", "BL0101", "leaves 9 x 8 pixels"),
        ("1,3,8,8", "resize=7", "float", "BL0101", "a shorter side of 7 pixels"),
    ],
)
def test_inputs_and_rules_that_do_not_fit(shape: str, text: str, dtype: str, code: str, word: str) -> None:
    with pytest.raises(Refusal) as refusal:
        target_of(shape, text, dtype)
    assert refusal.value.diagnostics[0].code == code
    assert word in said(refusal.value)
    assert "help:" in said(refusal.value)


def test_an_image_fills_one_input() -> None:
    model = as_model(parsed("float[1,3,4,4] a, float[1,3,4,4] b) => (float[1,3,4,4] y", "y = Add(a, b)"))
    with pytest.raises(Refusal) as refusal:
        image_input(model, None, place="p.png", without=NOTHING)
    assert "the model has 2: a [1, 3, 4, 4], b" in said(refusal.value)
    assert image_input(model, None, place="p.png", without=frozenset("b")).name == "a"


def test_numbers_are_those_of_torchvision() -> None:
    """ToTensor and Normalize, written out."""
    pixels = picture(8, 6)
    rule = parse_preprocess("mean=0.485,0.456,0.406 std=0.229,0.224,0.225")
    want = pixels.astype(np.float32) / np.float32(255)
    want = (want - np.array((0.485, 0.456, 0.406), np.float32)) / np.array((0.229, 0.224, 0.225), np.float32)
    for shape, axes in (("1,3,8,6", (2, 0, 1)), ("1,8,6,3", (0, 1, 2))):
        got = numbers(pixels[None], target_of(shape), rule)
        assert got.dtype == np.float32
        np.testing.assert_array_equal(got[0], want.transpose(axes))


def test_orders_scales_and_types() -> None:
    pixels = picture(8, 6)
    bgr = numbers(pixels[None], target_of("1,3,8,6", "color=BGR"), Preprocess(scale=(1.0, 1.0)))
    np.testing.assert_array_equal(bgr[0], pixels[..., ::-1].transpose(2, 0, 1))
    whole = numbers(pixels[None], target_of("1,8,6,3", dtype="uint8"), Preprocess())
    assert whole.dtype == np.uint8
    np.testing.assert_array_equal(whole[0], pixels)
    signed = numbers(pixels[None], target_of("1,3,8,6"), parse_preprocess("scale=2/255 mean=1"))
    assert -1.0 <= signed.min() < signed.max() <= 1.0
    np.testing.assert_allclose(signed[0], pixels.transpose(2, 0, 1) / 127.5 - 1, atol=1e-6)
    half = numbers(pixels[None], target_of("1,3,8,6", dtype="float16"), Preprocess())
    assert half.dtype == np.float16


def test_resize_and_crop_as_torchvision_does() -> None:
    """Resize(12), CenterCrop(8) of 20 x 31: 12 x 18 (the longer side rounds down), then rows 2.., columns 5.."""
    image = Image.fromarray(picture(20, 31))
    got, frame = fitted(image, target_of("1,3,8,8"), parse_preprocess("resize=12 crop=8"))
    want = np.asarray(image.resize((18, 12), Image.Resampling.BILINEAR))[2:10, 5:13]
    np.testing.assert_array_equal(got, want)
    assert (frame.width, frame.height, frame.offset_x, frame.offset_y) == (31, 20, -5.0, -2.0)
    implied, _ = fitted(image, target_of("1,3,8,8"), parse_preprocess("resize=12"))
    np.testing.assert_array_equal(implied, want)
    tall, _ = fitted(Image.fromarray(picture(31, 20)), target_of("1,3,8,8"), parse_preprocess("resize=8"))
    assert tall.shape == (8, 8, 3)


def test_an_image_smaller_than_its_crop_is_refused() -> None:
    with pytest.raises(Refusal, match="5 x 30 pixels is too small to cut 8 x 8"):
        fitted(Image.fromarray(picture(30, 5)), target_of("1,3,8,8"), parse_preprocess("crop=8"))


@pytest.mark.parametrize("filter", ["bilinear", "bicubic", "nearest"])
def test_filters_and_stretching(filter: str) -> None:
    image = Image.fromarray(picture(20, 31))
    got, frame = fitted(image, target_of("1,3,8,6"), parse_preprocess(f"filter={filter}"))
    np.testing.assert_array_equal(got, np.asarray(image.resize((6, 8), Image.Resampling[filter.upper()])))
    assert frame.to_image(6, 8) == (31, 20)


def test_letterbox_adds_grey_edges_and_cover_cuts() -> None:
    image = Image.fromarray(gradient(10, 20))
    boxed, frame = fitted(image, target_of("1,3,8,8"), parse_preprocess("fit=letterbox"))
    assert (boxed[:2] == 114).all()
    assert (boxed[6:] == 114).all()
    assert boxed[2:6, 0, 0].max() < 40 < 215 < boxed[2:6, 7, 0].min()
    assert frame.to_image(0, 2) == (0, 0)
    assert frame.to_image(8, 6) == (20, 10)
    covered, frame = fitted(image, target_of("1,3,8,8"), parse_preprocess("fit=cover"))
    assert covered[:, 0, 0].min() > 40
    assert frame.to_image(0, 0) == (5, 0)
    assert frame.to_image(8, 8) == (15, 10)


@given(
    high=st.integers(1, 40),
    wide=st.integers(1, 40),
    size=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    fit=st.sampled_from(["stretch", "cover", "letterbox"]),
)
def test_every_image_fits_and_its_middle_stays_there(high: int, wide: int, size: tuple[int, int], fit: str) -> None:
    target = ImageInput(
        name="x",
        shape=(1, 3, *size),
        dtype=np.dtype(np.float32),
        layout="NCHW",
        height=size[0],
        width=size[1],
        channels=3,
        color="RGB",
    )
    pixels, frame = fitted(Image.fromarray(picture(high, wide)), target, parse_preprocess(f"fit={fit}"))
    assert pixels.shape == (*size, 3)
    x, y = frame.to_image(size[1] / 2, size[0] / 2)
    assert abs(x - wide / 2) <= 0.5 / frame.scale_x + 1e-9
    assert abs(y - high / 2) <= 0.5 / frame.scale_y + 1e-9


def test_what_is_done_is_said() -> None:
    assert in_words(target_of("1,3,8,6"), None) == (
        "images become 'x', 6 x 8 RGB, NCHW: stretched to size, pixel / 255, no mean and std (--preprocess gives none)"
    )
    rule = parse_preprocess("resize=10 crop=8x6 scale=2/255 mean=1")
    assert in_words(target_of("1,3,8,6"), rule).endswith(
        "shorter side to 10, the middle cut out, pixel x 2 / 255, mean 1, std 1"
    )


def test_arrays_of_images_go_the_same_way_as_files(tmp_path: Path) -> None:
    pixels = picture(20, 31)
    np.savez(tmp_path / "x.npz", x=pixels[None], y=np.array([3]), allow_pickle=False)
    np.save(tmp_path / "one.npy", pixels)
    rules = Rules(preprocess=parse_preprocess("fit=letterbox color=BGR mean=0.5"))
    specs = [str(save(tmp_path / "p.png", pixels)), str(tmp_path / "x.npz"), str(tmp_path / "one.npy")]
    first, *others = (load_source(source, takes("1,8,8,3"), rules) for source in find_sources(specs))
    for other in others:
        np.testing.assert_array_equal(other.feeds["x"], first.feeds["x"])
        assert other.frames == first.frames


@pytest.mark.parametrize(
    ("shape", "given", "turned"),
    [
        ("1,2,6,6", (4, 6, 6, 2), True),
        ("1,6,6,2", (4, 6, 6, 2), False),
        ("1,13,6,5", (4, 6, 5, 13), True),
        ("2,3,6,6", (4, 6, 6, 3), True),
        ("1,1,6,5", (4, 6, 5), False),
        ("1,6,5", (4, 6, 5), False),
        ("1,6,5,1", (6, 5, 1), False),
    ],
)
def test_arrays_may_have_any_channels_and_models_any_batch(
    tmp_path: Path, shape: str, given: tuple[int, ...], turned: bool
) -> None:
    """`turned`: the layout changes, NHWC to NCHW."""
    x = np.random.default_rng(0).integers(0, 256, given, np.uint8)
    np.save(tmp_path / "x.npy", x)
    got = load_data(str(tmp_path / "x.npy"), takes(shape)).feeds["x"]
    want = (x.transpose(0, 3, 1, 2) if turned else x) / np.float32(255)
    np.testing.assert_array_equal(got.reshape(-1), want.astype(np.float32).reshape(-1))


def test_channels_that_are_no_colours_are_scaled_one_by_one(tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(0, 256, (2, 12, 12, 5), np.uint8)
    np.save(tmp_path / "x.npy", x)
    got = load_data(str(tmp_path / "x.npy"), takes("1,5,6,6"), parse_preprocess("fit=stretch scale=1")).feeds["x"]
    one = Image.fromarray(x[1, ..., 3]).resize((6, 6), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(got[1, 3], np.asarray(one))
    assert got.shape == (2, 5, 6, 6)

"""Image files: all that a camera or a program writes is read upright; what is broken is refused by its own name."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bitline.core.diagnostics import Refusal
from bitline.data import images
from bitline.data.images import read_image
from tests.data.pictures import gradient, picture, said, save


def read(path: Path) -> np.ndarray:
    return np.asarray(read_image(path, "RGB"))


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".PNG"])
def test_lossless_files(tmp_path: Path, suffix: str) -> None:
    pixels = picture(5, 7)
    np.testing.assert_array_equal(read(save(tmp_path / f"p{suffix}", pixels)), pixels)


def test_a_jpeg_is_near(tmp_path: Path) -> None:
    pixels = gradient(32, 32)
    got = read(save(tmp_path / "p.jpg", pixels, quality=98, subsampling=0))
    assert np.abs(got.astype(int) - pixels).mean() < 3


def test_every_mode_becomes_colours_or_grey(tmp_path: Path) -> None:
    pixels = picture(6, 6)
    image = Image.fromarray(pixels)
    for mode in ("RGBA", "P", "LA", "L", "1", "CMYK"):
        place = tmp_path / ("p.jpg" if mode == "CMYK" else "p.png")
        image.convert(mode).save(place)
        assert np.asarray(read_image(place, "RGB")).shape == (6, 6, 3)
        assert np.asarray(read_image(place, "GRAY")).shape == (6, 6)
    image.convert("RGBA").save(tmp_path / "p.png")
    np.testing.assert_array_equal(read(tmp_path / "p.png"), pixels)


def test_sixteen_bits_of_grey_keep_their_upper_eight(tmp_path: Path) -> None:
    deep = np.array([[0, 255, 256], [32768, 65280, 65535]], np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    np.testing.assert_array_equal(np.asarray(read_image(tmp_path / "deep.png", "GRAY")), deep >> 8)


def test_photos_are_turned_upright(tmp_path: Path) -> None:
    pixels = gradient(8, 16)
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    Image.fromarray(pixels).save(tmp_path / "p.png", exif=exif)
    np.testing.assert_array_equal(read(tmp_path / "p.png"), np.rot90(pixels, -1))


def huge_png(width: int, height: int) -> bytes:
    """A PNG of a few bytes that claims to be large."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"IDAT" + zlib.compress(bytes(100))
    chunks = (struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in (header, data))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def broken(folder: Path) -> dict[str, bytes]:
    whole = save(folder / "whole.png", picture(40, 40)).read_bytes()
    jpeg = save(folder / "whole.jpg", picture(40, 40)).read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0xFF
    return {
        "half.png": whole[: len(whole) // 2],
        "half.jpg": jpeg[: len(jpeg) // 2],
        "flipped.png": bytes(flipped),
        "header.png": whole[:20],
        "text.png": b"not an image at all",
        "empty.png": b"",
        "gif.png": b"GIF89a\x01\x00\x01\x00\x00\x00\x00;",
        "huge.png": huge_png(11_000, 10_000),
        "bomb.png": huge_png(2_000_000, 2_000_000),
        "zeros.bmp": b"BM" + bytes(60),
    }


def test_broken_files_are_refused(tmp_path: Path) -> None:
    for name, data in broken(tmp_path).items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(Refusal) as refusal:
            read_image(tmp_path / name, "RGB")
        (diagnostic,) = refusal.value.diagnostics
        assert (diagnostic.code, diagnostic.place) == ("BL0206", str(tmp_path / name))
        assert diagnostic.message.startswith("cannot be read: ")
        assert len(diagnostic.message) > len("cannot be read: ")
        assert diagnostic.help


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("empty.png", "the file is empty"),
        ("text.png", "no PNG, JPEG or BMP image, whatever its name says"),
        ("gif.png", "no PNG, JPEG or BMP image"),
        ("half.png", "truncated"),
        ("huge.png", "11000 x 10000 pixels, the limit is 100,000,000"),
        ("bomb.png", "far too many pixels, the limit is 100,000,000"),
    ],
)
def test_reasons_are_told(tmp_path: Path, name: str, word: str) -> None:
    (tmp_path / name).write_bytes(broken(tmp_path)[name])
    with pytest.raises(Refusal) as refusal:
        read_image(tmp_path / name, "RGB")
    assert word in said(refusal.value)


def test_no_byte_of_a_file_can_do_harm(tmp_path: Path) -> None:
    """Every byte of three small files changed: read, or refused, and nothing else."""
    rng = np.random.default_rng(0)
    refused, codes = 0, set[str]()
    for name in ("p.png", "p.jpg", "p.bmp"):
        whole = save(tmp_path / name, picture(6, 6)).read_bytes()
        for place in range(len(whole)):
            data = bytearray(whole)
            data[place] ^= int(rng.integers(1, 256))
            (tmp_path / name).write_bytes(data)
            try:
                assert read_image(tmp_path / name, "RGB").mode == "RGB"
            except Refusal as refusal:
                codes.add(refusal.diagnostics[0].code)
                refused += 1
    assert refused > 100
    assert codes == {"BL0206"}


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    for place, word in ((tmp_path / "none.png", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(Refusal, match=word):
            read_image(place, "RGB")


def test_the_limit_is_stated_where_it_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MOST_PIXELS", 24)
    with pytest.raises(Refusal, match="5 x 5 pixels, the limit is 24"):
        read_image(save(tmp_path / "p.png", picture(5, 5)), "RGB")

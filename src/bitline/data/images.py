"""PNG, JPEG and BMP files. Pillow is imported here and in `inference.annotate`, and only when there is an image."""

from __future__ import annotations

import re
import struct
import warnings
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from bitline.core.diagnostics import Refusal, refuse
from bitline.data.grammar import Color

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES: Final = (".png", ".jpg", ".jpeg", ".bmp")
FORMATS: Final = ("PNG", "JPEG", "BMP")
MOST_PIXELS: Final = 100_000_000
"""A few kilobytes of PNG can ask for gigabytes: more than the largest cameras take is refused before it is decoded."""

_UNREADABLE: Final = (
    *(OSError, ValueError, SyntaxError, EOFError, KeyError, IndexError, TypeError),
    *(OverflowError, MemoryError, struct.error, zlib.error),
)
"""What Pillow raises for damaged files: its decoders let errors of the parser through."""


def read_image(path: Path, color: Color) -> Image:
    """The image, upright, as RGB or as grey ("L"). Raises `Refusal` (BL0206)."""
    from PIL import Image as Images
    from PIL import ImageOps

    try:
        if path.stat().st_size == 0:
            raise _unreadable(path, "the file is empty")
        # warnings are for whoever writes programs with Pillow; sizes are checked below
        with warnings.catch_warnings(action="ignore"), Images.open(path, formats=FORMATS) as opened:
            if opened.width * opened.height > MOST_PIXELS:
                raise _unreadable(path, f"{opened.width} x {opened.height} pixels, the limit is {MOST_PIXELS:,}")
            opened.load()
            upright = ImageOps.exif_transpose(opened)
            return _converted(upright, color)
    except Images.DecompressionBombError:
        raise _unreadable(path, f"far too many pixels, the limit is {MOST_PIXELS:,}") from None
    except Images.UnidentifiedImageError:
        raise _unreadable(path, "no PNG, JPEG or BMP image, whatever its name says") from None
    except _UNREADABLE as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise _unreadable(path, why or type(error).__name__) from None


def load_decoders() -> None:
    """Import what reads images, so that the first file is not charged for it."""
    from PIL import Image as Images

    Images.preinit()


def _converted(image: Image, color: Color) -> Image:
    from PIL import Image as Images

    if image.mode.startswith("I"):  # 16 bits of grey: the upper 8, where Pillow itself would cut at 255
        image = Images.fromarray((np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8))
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert("L" if color == "GRAY" else "RGB")


def _unreadable(path: Path, why: str) -> Refusal:
    why = re.sub(r"\s+", " ", why)
    return refuse(
        "BL0206",
        f"cannot be read: {why}",
        place=str(path),
        help="give a whole PNG, JPEG or BMP file, or remove this one",
    )

"""The user's image with what the network says drawn on it: a panel of classes below it, or boxes."""

from __future__ import annotations

import io
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bitline.data.images import read_image
from bitline.inference.answers import Box, Classes, Prediction

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont, ImageFont

    Font = FreeTypeFont | ImageFont

Colour = tuple[int, int, int]

LEAST_SIDE: Final = 360
"""Smaller images are enlarged, pixel by pixel, so that a line of text fits below them."""
ROWS: Final = 5
INK: Final = (32, 36, 44)
FAINT: Final = (112, 120, 132)
PAPER: Final = (250, 250, 248)
TRACK: Final = (232, 234, 237)
BARS: Final = ((46, 98, 168), (150, 176, 208))
PALETTE: Final = (
    *((0, 100, 160), (200, 80, 0), (0, 125, 92), (166, 70, 124)),
    *((138, 95, 10), (84, 84, 200), (180, 26, 56), (80, 80, 80)),
)
"""After Okabe and Ito (2008), told apart by most people, darkened so that white text can be read on it."""


def annotated(path: Path, answer: Classes | tuple[Box, ...]) -> bytes:
    """The image at `path` with the answer, as a PNG, or as a JPEG where it was one."""
    image = read_image(path, "RGB")
    enlarge = max(1, -(-LEAST_SIDE // max(image.width, image.height)))
    if enlarge > 1:
        from PIL.Image import Resampling

        image = image.resize((image.width * enlarge, image.height * enlarge), Resampling.NEAREST)
    drawn = _with_panel(image, answer) if isinstance(answer, Classes) else _with_boxes(image, answer, enlarge)
    out = io.BytesIO()
    if path.suffix.lower() in (".jpg", ".jpeg"):
        drawn.save(out, "JPEG", quality=92)
    else:
        drawn.save(out, "PNG")
    return out.getvalue()


def _with_panel(image: Image, answer: Classes) -> Image:
    """The image, and below it a line for each of the best classes: name, bar, percent."""
    from PIL import Image as Images
    from PIL import ImageDraw

    width = max(image.width, LEAST_SIDE)
    size = max(15, min(width, 1600) // 32)
    line, edge = round(size * 1.7), round(size * 0.9)
    best = answer.best[:ROWS]
    whole = Images.new("RGB", (width, image.height + 2 * edge + line * len(best) - (line - size) // 2), PAPER)
    whole.paste(image, ((width - image.width) // 2, 0))
    draw = ImageDraw.Draw(whole)
    draw.line((0, image.height, width, image.height), fill=TRACK)
    font = _font(size)
    percent = round(font.getlength("100.0 %"))
    bar = (round(width * 0.52), width - edge - percent - edge // 2)
    for row, prediction in enumerate(best):
        middle = image.height + edge + row * line + size // 2
        ink = INK if row == 0 else FAINT
        title = _shortened(_title(prediction), font, bar[0] - 2 * edge)
        draw.text((edge, middle), title, fill=ink, font=font, anchor="lm")
        draw.text((width - edge, middle), f"{100 * prediction.score:.1f} %", fill=ink, font=font, anchor="rm")
        half = max(2, size // 5)
        draw.rounded_rectangle((bar[0], middle - half, bar[1], middle + half), half, fill=TRACK)
        reach = round((bar[1] - bar[0]) * min(max(prediction.score, 0.0), 1.0))
        if reach > 2 * half:
            colour = BARS[0] if row == 0 else BARS[1]
            draw.rounded_rectangle((bar[0], middle - half, bar[0] + reach, middle + half), half, fill=colour)
    return whole


def _with_boxes(image: Image, boxes: tuple[Box, ...], enlarge: int) -> Image:
    """Rectangles, the surest drawn last, each with its name and score on a strip of its colour."""
    from PIL import ImageDraw

    draw = ImageDraw.Draw(image)
    size = max(13, min(image.width, image.height) // 36)
    font, stroke = _font(size), max(2, size // 5)
    colours = _colours({box.label for box in boxes})
    for box in sorted(boxes, key=lambda b: b.score):
        colour = colours[box.label]
        left, top, right, bottom = (round(v * enlarge) for v in (box.x0, box.y0, box.x1, box.y1))
        left, right = sorted((min(max(left, 0), image.width - 1), min(max(right, 0), image.width - 1)))
        top, bottom = sorted((min(max(top, 0), image.height - 1), min(max(bottom, 0), image.height - 1)))
        draw.rectangle((left, top, right, bottom), outline=colour, width=stroke)
        _tag(draw, _readable(f"{box.label} {100 * box.score:.0f} %", box.label), (left, top), image, font, size, colour)
    return image


def _colours(labels: set[str]) -> dict[str, Colour]:
    """A colour for each label: the same one in every image, unless another label of this image has it."""
    found: dict[str, Colour] = {}
    for label in sorted(labels):
        start = zlib.crc32(label.encode())
        turns = (PALETTE[(start + i) % len(PALETTE)] for i in range(len(PALETTE)))
        found[label] = next((c for c in turns if c not in found.values()), PALETTE[start % len(PALETTE)])
    return found


def _tag(
    draw: ImageDraw, text: str, corner: tuple[int, int], image: Image, font: Font, size: int, colour: Colour
) -> None:
    """A strip above the corner, or inside where there is no room above; never beyond the right edge."""
    pad = max(3, size // 4)
    high, wide = size + 2 * pad, round(font.getlength(text)) + 2 * pad
    left = max(0, min(corner[0], image.width - wide))
    top = corner[1] - high if corner[1] >= high else corner[1]
    draw.rectangle((left, top, left + wide, top + high), fill=colour)
    draw.text((left + pad, top + high // 2), text, fill=(255, 255, 255), font=font, anchor="lm")


def _font(size: int) -> Font:
    """Pillow's own font: the same picture on every machine."""
    from PIL import ImageFont

    return ImageFont.load_default(size)


def _title(prediction: Prediction) -> str:
    return _readable(prediction.title, f"class {prediction.number}")


def _readable(text: str, otherwise: str) -> str:
    """`text` where the font has its letters (Latin ones), else `otherwise` without those that it lacks."""
    if all(c.isprintable() and ord(c) < 0x180 for c in text):
        return text
    return "".join(c if c.isprintable() and ord(c) < 0x180 else "?" for c in otherwise)


def _shortened(text: str, font: Font, width: int) -> str:
    """As much of `text` as fits, with an ellipsis where that is not all."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text.rstrip() + "…"

"""The floor plan of a placement as a PNG, the same picture as `floorplan_svg`."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Final

from bitline.ir.placement import Placement
from bitline.report.floorplan_marks import DARK, LIGHT, Box, Dot, Hatch, Line, Mark, Scene, Text, bounds
from bitline.report.floorplan_scene import WIDTH, scene

if TYPE_CHECKING:
    from PIL import Image, ImageDraw, ImageFont

MOST_PIXELS: Final = 60_000_000
"""A larger picture is drawn at half the resolution, which any program opens."""


def floorplan_png(placement: Placement, width: float = WIDTH, *, dark: bool = False) -> bytes:
    """All arrays, two pixels for each of the SVG's; the same bytes for the same placement and version of Pillow."""
    return png(scene(placement, width), DARK if dark else LIGHT)


def png(picture: Scene, theme: dict[str, str]) -> bytes:
    """A picture in the colours of `theme`."""
    from PIL import Image, ImageDraw

    scale = 2 if 4 * picture.width * picture.height <= MOST_PIXELS else 1
    size = max(1, round(scale * picture.width)), max(1, round(scale * picture.height))
    image = Image.new("RGB", size, theme["panel"])
    draw = ImageDraw.Draw(image)
    fonts: dict[int, ImageFont.FreeTypeFont | ImageFont.ImageFont] = {}
    for mark in picture.marks:
        _draw(draw, image, mark, scale, theme, fonts)
    out = io.BytesIO()
    image.save(out, "PNG", compress_level=4)
    return out.getvalue()


def _draw(
    draw: ImageDraw.ImageDraw,
    image: Image.Image,
    mark: Mark,
    scale: int,
    theme: dict[str, str],
    fonts: dict[int, ImageFont.FreeTypeFont | ImageFont.ImageFont],
) -> None:
    match mark:
        case Box():
            x0, y0, x1, y1 = _corners(mark, scale)
            stroke = theme.get(mark.stroke, mark.stroke) or None
            line = max(1, round(mark.line * scale / 2)) if stroke and min(x1 - x0, y1 - y0) > 2 else 0
            fill = theme.get(mark.fill, mark.fill) or None
            draw.rectangle((x0, y0, max(x0, x1 - 1), max(y0, y1 - 1)), fill, stroke if line else None, line)
        case Hatch():
            _hatch(draw, mark, scale, theme)
        case Line():
            _line(draw, mark, scale, theme)
        case Dot():
            ends = [scale * v for v in bounds(mark)]
            draw.ellipse(ends, theme.get(mark.fill, mark.fill), theme.get(mark.stroke, mark.stroke), round(1.5 * scale))
        case Text():
            _write(draw, image, mark, scale, theme, fonts)


def _corners(mark: Box | Hatch, scale: int) -> tuple[int, int, int, int]:
    """Pixels (left, top, right, bottom), ends excluded; what touches here touches there."""
    left, top = round(mark.x * scale), round(mark.y * scale)
    return left, top, round((mark.x + mark.width) * scale), round((mark.y + mark.height) * scale)


def _hatch(draw: ImageDraw.ImageDraw, mark: Hatch, scale: int, theme: dict[str, str]) -> None:
    """Lines x + y = c, y = c or x - y = c inside the rectangle, in phase over the whole picture."""
    x0, y0, x1, y1 = _corners(mark, scale)
    if x1 <= x0 or y1 <= y0:
        return
    x1, y1 = x1 - 1, y1 - 1
    ground, ink, step = {
        "empty": ("lane", "hatch", 6 * scale),
        "reserved": ("panel", "hatch", 5 * scale),
        "blocked": ("hatch", "soft", 5 * scale),
    }[mark.pattern]
    draw.rectangle((x0, y0, x1, y1), theme[ground])
    colour = theme[ink]
    match mark.pattern:
        case "empty":
            for c in range(-(-(x0 + y0) // step) * step, x1 + y1 + 1, step):
                draw.line((max(x0, c - y1), min(y1, c - x0), min(x1, c - y0), max(y0, c - x1)), colour, scale)
        case "reserved":
            for y in range(-(-(y0 + 1) // step) * step, y1, step):
                draw.line((x0, y, x1, y), colour, scale)
        case "blocked":
            for c in range(-(-(x0 - y1) // step) * step, x1 - y0 + 1, step):
                draw.line((max(x0, c + y0), max(y0, x0 - c), min(x1, c + y1), min(y1, x1 - c)), colour, scale)


def _line(draw: ImageDraw.ImageDraw, mark: Line, scale: int, theme: dict[str, str]) -> None:
    """A level or upright line, dashes of 5 and gaps of 3."""
    length = max(abs(mark.x2 - mark.x1), abs(mark.y2 - mark.y1))
    dash, step = (5.0, 8.0) if mark.dashed else (length, max(1.0, length))
    across, down = ((mark.x2 - mark.x1) / length, (mark.y2 - mark.y1) / length) if length else (0.0, 0.0)
    at = 0.0
    while at < length:
        end = min(length, at + dash)
        ends = (mark.x1 + at * across, mark.y1 + at * down, mark.x1 + end * across, mark.y1 + end * down)
        draw.line([round(scale * v) for v in ends], theme.get(mark.colour, mark.colour), scale)
        at += step


def _write(
    draw: ImageDraw.ImageDraw,
    image: Image.Image,
    mark: Text,
    scale: int,
    theme: dict[str, str],
    fonts: dict[int, ImageFont.FreeTypeFont | ImageFont.ImageFont],
) -> None:
    """Letters of Pillow's own font; bold is a thin line around them, for it has one weight."""
    from PIL import Image, ImageDraw, ImageFont

    size = round(mark.size * scale)
    font = fonts[size] = fonts.get(size) or ImageFont.load_default(size)
    text = _in_font(mark.text)
    colour = theme.get(mark.colour, mark.colour)
    anchor = {"start": "ls", "middle": "ms", "end": "rs"}[mark.anchor]
    bold = 0.022 * size if mark.bold else 0
    x, y = mark.x * scale, mark.y * scale
    if not mark.upright:
        draw.text((x, y), text, colour, font, anchor, stroke_width=bold, stroke_fill=colour)
        if mark.tail:
            draw.text((x + font.getlength(f"{text} "), y), _in_font(mark.tail), theme["soft"], font, anchor)
        return
    left, top, right, bottom = draw.textbbox((0, 0), text, font, anchor)
    stamp = Image.new("L", (max(1, round(right - left)), max(1, round(bottom - top))))
    ImageDraw.Draw(stamp).text((-left, -top), text, 255, font, anchor)
    turned = stamp.transpose(Image.Transpose.ROTATE_90)
    image.paste(colour, (round(x + top), round(y - right)), turned)


def _in_font(text: str) -> str:
    """Signs that Pillow's font has no shape for, in those that it has."""
    return text.replace("\N{NARROW NO-BREAK SPACE}", " ").replace("\N{MULTIPLICATION SIGN}", "x")

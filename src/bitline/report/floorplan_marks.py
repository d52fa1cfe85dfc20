"""What pictures of placements are made of, and their two themes; `floorplan_svg` and `floorplan_png` draw it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final, Literal

Pattern = Literal["empty", "blocked", "reserved"]
Anchor = Literal["start", "middle", "end"]

LIGHT: Final[dict[str, str]] = {
    "ink": "#16202c",
    "soft": "#5a6878",
    "line": "#d9e0e8",
    "panel": "#ffffff",
    "lane": "#eef1f5",
    "hatch": "#d5dce4",
    "accent": "#0b63b5",
    "warn": "#8a5300",
    "taken": "#b3bdc8",
    "label": "#10161d",
}
DARK: Final[dict[str, str]] = {
    "ink": "#e3e9f0",
    "soft": "#96a5b5",
    "line": "#303b47",
    "panel": "#19212a",
    "lane": "#202a35",
    "hatch": "#33404d",
    "accent": "#6db3f2",
    "warn": "#e3ab62",
    "taken": "#74818f",
    "label": "#10161d",
}
"""Colours by role, as `html/style.css` has them; `taken` is what something else occupies, `label` lies on a block."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A filled rectangle. `fill` and `stroke` are roles of a theme or `#rrggbb`, "" is none. `block`: the place of the
    block that it is; `tip`: what a reader who points at it is told."""

    x: float
    y: float
    width: float
    height: float
    fill: str
    stroke: str = ""
    line: float = 1.0
    tip: str = ""
    block: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Hatch:
    """A rectangle of cells that hold no weights."""

    x: float
    y: float
    width: float
    height: float
    pattern: Pattern


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """One line on the baseline `y`. `upright`: turned to read from bottom to top, `x` being its baseline.
    `tail` follows it, after a space, in the colour of what matters less."""

    x: float
    y: float
    text: str
    size: float
    colour: str = "ink"
    anchor: Anchor = "start"
    bold: bool = False
    upright: bool = False
    tail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line; `dashed` where nothing may cross it."""

    x1: float
    y1: float
    x2: float
    y2: float
    colour: str
    dashed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Dot:
    """A point of a chart."""

    x: float
    y: float
    radius: float
    fill: str
    stroke: str
    tip: str


Mark = Box | Hatch | Text | Line | Dot


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """The picture of one array, or of several that look alike, from (0, 0). `blocks`: how many lie in all of them."""

    arrays: tuple[int, ...]
    blocks: int
    width: float
    height: float
    marks: tuple[Mark, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A whole picture, later marks over earlier ones."""

    width: float
    height: float
    marks: tuple[Mark, ...]


def moved(marks: Iterable[Mark], x: float, y: float) -> list[Mark]:
    """The same marks elsewhere."""
    return [
        replace(mark, x1=mark.x1 + x, y1=mark.y1 + y, x2=mark.x2 + x, y2=mark.y2 + y)
        if isinstance(mark, Line)
        else replace(mark, x=mark.x + x, y=mark.y + y)
        for mark in marks
    ]


def bounds(mark: Mark, width: float = 0.0) -> tuple[float, float, float, float]:
    """(left, top, right, bottom) of a mark; `width` is that of a text."""
    match mark:
        case Line():
            return min(mark.x1, mark.x2), min(mark.y1, mark.y2), max(mark.x1, mark.x2), max(mark.y1, mark.y2)
        case Box() | Hatch():
            return mark.x, mark.y, mark.x + mark.width, mark.y + mark.height
        case Dot():
            return mark.x - mark.radius, mark.y - mark.radius, mark.x + mark.radius, mark.y + mark.radius
        case Text():
            before = {"start": 0.0, "middle": width / 2, "end": width}[mark.anchor]
            up, down = 0.75 * mark.size, 0.22 * mark.size
            if mark.upright:
                return mark.x - up, mark.y + before - width, mark.x + down, mark.y + before
            return mark.x - before, mark.y - up, mark.x - before + width, mark.y + down

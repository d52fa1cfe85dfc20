"""Which words fit where: no font is at hand when a picture is laid out, so widths are those of a wide one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from bitline.core.escape import printable
from bitline.report.floorplan_marks import Mark, Text

THIN: Final = "\N{NARROW NO-BREAK SPACE}"
_EMS: Final = (
    *(32, 41, 46, 84, 65, 96, 78, 28, 40, 40, 65, 84, 32, 37, 32, 34, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 34, 34),
    *(84, 84, 84, 58, 100, 69, 72, 73, 79, 65, 63, 78, 77, 32, 59, 66, 65, 91, 75, 79, 69, 79, 72, 64, 65, 74, 69, 99),
    *(69, 62, 69, 40, 34, 40, 84, 53, 50, 62, 67, 58, 67, 62, 39, 67, 64, 28, 28, 58, 28, 98, 64, 65, 67, 67, 42, 53),
    *(40, 64, 60, 82, 60, 60, 58, 64, 34, 64, 84),
)
"""Hundredths of an em of ' ' to '~': the wider of DejaVu Sans, as wide as any common one, and Pillow's own, which
rounds to pixels."""
_OTHERS: Final = {THIN: 0.32, "\N{MULTIPLICATION SIGN}": 0.84, "\N{MIDDLE DOT}": 0.32}
_ELLIPSIS: Final = "\N{HORIZONTAL ELLIPSIS}"
_OPERATOR: Final = re.compile(r"(?:Conv|Gemm|MatMul|Linear|LSTM|GRU|RNN|ConvTranspose|Add|QLinear\w*)(?:_?\d+)?")
LONGEST: Final = 300
"""Characters of a name that a picture looks at; the table of layers has all of them."""
SHORT: Final = 24
"""Characters of the shortest form of a name."""
SIZES: Final = (12.0, 10.5, 9.0, 8.0)
PAD: Final = 3.0
LINE: Final = 1.22
"""Distance of two lines, in sizes of the letters."""


def text_width(text: str, size: float, *, bold: bool = False) -> float:
    """Pixels that a line takes at most, in the fonts that pictures are seen with."""
    ems = sum(_EMS[ord(c) - 32] / 100 if " " <= c <= "~" else _OTHERS.get(c, 1.05) for c in text)
    return size * ems * (1.09 if bold else 1.0)


def shown(text: str) -> str:
    """`text`, printable: thin spaces between thousands are no harm."""
    return THIN.join(printable(part) for part in text.split(THIN))


def clipped(text: str, width: float, size: float, *, bold: bool = False) -> str:
    """`text`, printable, without what does not fit into `width`: the middle goes, for names differ at their ends."""
    line = shown(text[: 4 * LONGEST])
    if len(line) > LONGEST:
        line = line[: LONGEST // 2] + _ELLIPSIS + shown(text[-LONGEST:])[-LONGEST // 2 :]
    if text_width(line, size, bold=bold) <= width:
        return line
    for keep in range(min(len(line) - 1, LONGEST), 3, -1):
        short = line[: keep // 3] + _ELLIPSIS + line[len(line) - (keep - keep // 3) :]
        if text_width(short, size, bold=bold) <= width:
            return short
    return ""


def short_names(node: str) -> tuple[str, ...]:
    """A node's name and shorter ones: `/layer1/layer1.0/conv1/Conv` -> `layer1.0/conv1`, `conv1`."""
    parts = [part for part in printable(node[:LONGEST]).split("/") if part]
    if len(parts) > 1 and _OPERATOR.fullmatch(parts[-1]):
        parts.pop()
    parts = [p for p, after in zip(parts, [*parts, ""][1:], strict=True) if not after.startswith(f"{p}.")]
    names = ["/".join(parts[first:]) for first in range(len(parts))]
    names = names or [printable(node[:LONGEST])]
    last = names[-1]
    if len(last) > SHORT:
        names.append(last[: SHORT // 3 - 1] + _ELLIPSIS + last[-2 * SHORT // 3 :])
    return tuple(names)


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """What may stand in a block, best first: its layer's number and names, its size, its number alone."""

    number: int
    names: tuple[str, ...]
    size: str

    def choices(self) -> Iterator[list[str]]:
        """Lines, from the most telling to the number alone."""
        for name in self.names:
            yield [f"{self.number}  {name}", self.size]
            yield [f"{self.number}  {name}  {self.size}"]
        yield [str(self.number), self.size]
        for name in self.names[-1:]:
            yield [f"{self.number}  {name}"]
        yield [str(self.number)]


def label_marks(label: Label, x: float, y: float, width: float, height: float) -> tuple[Mark, ...]:
    """The best label that fits into a block, level before upright and large before small; none in a tiny one."""
    if width < 6 or height < 6:
        return ()
    for lines in label.choices():
        widest = max(text_width(line, 1.0) for line in lines)
        alone = len(lines) == 1 and lines[0].isdecimal()
        pad, sizes = (1.0, (*SIZES, 7.0)) if alone else (PAD, SIZES)
        for upright in (False, True):
            along, across = (height, width) if upright else (width, height)
            for size in sizes:
                if widest * size <= along - 2 * pad and LINE * size * len(lines) <= across - 1:
                    return tuple(_line(lines, n, size, upright, x, y, width, height) for n in range(len(lines)))
    return ()


def _line(
    lines: list[str], n: int, size: float, upright: bool, x: float, y: float, width: float, height: float
) -> Text:
    """Line `n`, all of them in the middle of the block."""
    baseline = (n - (len(lines) - 1) / 2) * LINE * size + 0.35 * size
    middle = x + width / 2, y + height / 2
    return Text(
        x=middle[0] + (baseline if upright else 0),
        y=middle[1] + (0 if upright else baseline),
        text=lines[n],
        size=size,
        colour="label",
        anchor="middle",
        upright=upright,
    )

"""What more arrays buy: MVMs and interval of other placements of the same networks, over the arrays they take."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import log10
from typing import Final

from bitline.report.floorplan_marks import Dot, Line, Mark, Scene, Text, bounds
from bitline.report.floorplan_text import text_width
from bitline.report.html.columns import grouped
from bitline.report.placement_facts import counted

WIDTH, HEIGHT = 460.0, 270.0
LEFT, RIGHT, TOP, BOTTOM = 52.0, 26.0, 40.0, 44.0
LOGARITHMIC: Final = 8
"""From this ratio of the largest to the smallest value on, equal steps are equal factors."""
MOST_TICKS: Final = 7
Point = tuple[int, int, int, int]
"""(arrays used, MVMs of an inference, interval, lower bound of the arrays)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Axis:
    """Values low..high onto pixels start..end."""

    low: float
    high: float
    start: float
    end: float
    log: bool

    def __call__(self, value: float) -> float:
        part = (self._scaled(value) - self._scaled(self.low)) / (self._scaled(self.high) - self._scaled(self.low))
        return self.start + part * (self.end - self.start)

    def _scaled(self, value: float) -> float:
        return log10(value) if self.log else value


def pareto_chart(points: Sequence[Point], chosen: Point | None, what: str, value: Callable[[Point], int]) -> Scene:
    """`value` of every point over its arrays; a filled one takes the fewest arrays that its blocks can, `chosen` is
    the placement shown."""
    ordered = sorted(set(points), key=lambda p: (p[0], value(p), p))
    first, last = ordered[0][0], ordered[-1][0]
    room = max(1, last - first) * 0.04
    across = _Axis(low=first - room, high=last + room, start=LEFT, end=WIDTH - RIGHT, log=False)
    down, ticks = _values([value(p) for p in ordered])
    log = ", equal steps are equal factors" if down.log else ""
    marks: list[Mark] = [Text(x=0, y=14, text=f"{what}{log}", size=12, bold=True)]
    for tick in ticks:
        y = down(tick)
        marks.append(Line(x1=LEFT, y1=y, x2=WIDTH - RIGHT, y2=y, colour="line"))
        marks.append(Text(x=LEFT - 6, y=y + 3.5, text=_short(tick), size=10, colour="soft", anchor="end"))
    marks += _numbers(ordered, across)
    marks.append(
        Text(x=(LEFT + WIDTH - RIGHT) / 2, y=HEIGHT - 6, text="arrays", size=11, colour="soft", anchor="middle")
    )
    places = [(across(p[0]), down(value(p))) for p in ordered]
    for (x1, y1), (x2, y2) in pairwise(places):
        marks.append(Line(x1=x1, y1=y1, x2=x2, y2=y2, colour="accent"))
    taken = [(x - 5, y - 5, x + 5, y + 5) for x, y in places]
    for p, (x, y) in zip(ordered, places, strict=True):
        fill = "accent" if p[0] == p[3] else "panel"
        stroke, radius = ("warn", 6.0) if p == chosen else ("accent", 4.0)
        marks.append(Dot(x=x, y=y, radius=radius, fill=fill, stroke=stroke, tip=_tip(p)))
    for p, (x, y) in sorted(zip(ordered, places, strict=True), key=lambda pair: pair[0] != chosen):
        label = _label(grouped(value(p)), x, y, taken, bold=p == chosen)
        if label is not None:
            marks.append(label)
    return Scene(width=WIDTH, height=HEIGHT, marks=tuple(marks))


def _tip(p: Point) -> str:
    known = "no fewer can hold these blocks" if p[0] == p[3] else f"at least {grouped(p[3])} needed"
    return (
        f"{counted(p[0], 'array')}: {known}\n{counted(p[1], 'fire')} an inference, {grouped(p[2])} in the busiest array"
    )


def _values(values: Sequence[int]) -> tuple[_Axis, tuple[int, ...]]:
    """The upward axis and its ticks: from 0, or logarithmic with ticks of 1, 2 and 5."""
    low, high = min(values), max(values)
    start, end = HEIGHT - BOTTOM, TOP
    steps = [digit * 10**power for power in range(len(str(max(1, high))) + 1) for digit in (1, 2, 5)]
    if low > 0 and high >= LOGARITHMIC * low:
        bottom = max(step for step in steps if step <= low)
        top = min(step for step in steps if step >= high)
        ticks = [step for step in steps if bottom <= step <= top]
        if len(ticks) > MOST_TICKS:
            ticks = [step for step in ticks if str(step)[0] == "1"] or ticks
            ticks = ticks[:: -(-len(ticks) // MOST_TICKS)]
        return _Axis(low=bottom, high=top, start=start, end=end, log=True), tuple(ticks)
    step = next((step for step in steps if 6 * step >= high), 1)
    top = max(1, -(-high // step)) * step
    return _Axis(low=0, high=top, start=start, end=end, log=False), tuple(range(0, top + 1, step))


def _numbers(ordered: Sequence[Point], across: _Axis) -> list[Mark]:
    """Numbers of arrays under the chart, those that have room."""
    marks: list[Mark] = []
    free = 0.0
    for arrays in sorted({p[0] for p in ordered}):
        text, x = grouped(arrays), across(arrays)
        width = text_width(text, 10)
        if x - width / 2 >= free:
            marks.append(Text(x=x, y=HEIGHT - BOTTOM + 16, text=text, size=10, colour="soft", anchor="middle"))
            free = x + width / 2 + 4
    return marks


def _short(value: int) -> str:
    """`1.5 M`, `20 k`: numbers of ticks are round."""
    for factor, unit in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if value >= factor:
            return f"{value / factor:g} {unit}"
    return str(value)


def _label(text: str, x: float, y: float, taken: list[tuple[float, float, float, float]], *, bold: bool) -> Text | None:
    """The value beside its point where nothing else is; None where all places are taken: the tip has it."""
    width = text_width(text, 10, bold=bold)
    for left, base in ((x + 7, y - 6), (x - width / 2, y - 9), (x - width / 2, y + 17), (x - width - 8, y + 13)):
        text_mark = Text(x=left, y=base, text=text, size=10, bold=bold)
        box = bounds(text_mark, width)
        inside = box[0] >= LEFT - 2 and box[2] <= WIDTH and box[1] >= 18 and box[3] <= HEIGHT - BOTTOM + 4
        if inside and not any(
            box[0] < other[2] and other[0] < box[2] and box[1] < other[3] and other[1] < box[3] for other in taken
        ):
            taken.append(box)
            return text_mark
    return None

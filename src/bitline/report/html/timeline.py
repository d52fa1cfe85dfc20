"""What every unit of every core did when, as bars on one axis."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil, floor, log10

from bitline.ir.trace import Span, Trace
from bitline.report.html.columns import grouped
from bitline.report.lanes import lanes
from bitline.report.layers import PS_PER_US, busy_share, unit_order
from bitline.report.names import unit_label

WHOLE = 1_000_000
"""Horizontal units of the drawing for the whole time."""
ROW = 16
GAP = 3
MOST_SPANS = 12_000
"""Cores beyond this many spans are left to trace.json, so that the page opens at once."""
FEWEST_TICKS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A span as drawn: its width is its duration, its height the share of it in which the unit was busy."""

    place: int
    kernel: int
    x: int
    y: float
    width: int
    height: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One unit of one core (further lanes where layers take turns). `top` and `height` are pixels."""

    core: int
    unit: str
    lane: int
    top: int
    height: int
    bars: tuple[Bar, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """A mark on the axis: `level` 0 is always shown, 1 and 2 when enlarged."""

    percent: float
    text: str
    level: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """`spans` in the order in which bars refer to them."""

    rows: tuple[Row, ...]
    ticks: tuple[Tick, ...]
    spans: tuple[Span, ...]
    height: int
    undrawn_cores: int


def timeline(trace: Trace) -> Timeline:
    """All spans of the inference; where there are too many, those of the first cores."""
    end = max([trace.latency_ps, 1] + [span.end_ps for span in trace.spans])
    by_core: dict[int, list[Span]] = defaultdict(list)
    for span in trace.spans:
        by_core[span.core].append(span)
    rows: list[Row] = []
    drawn: list[Span] = []
    top, cores = 0, 0
    for core in sorted(by_core):
        if drawn and len(drawn) + len(by_core[core]) > MOST_SPANS:
            break
        cores += 1
        for row in _rows(core, by_core[core], end, top + (2 * GAP if rows else 0), len(drawn)):
            rows.append(row)
            top = row.top + row.height
        drawn += sorted(by_core[core], key=_order)
    return Timeline(
        rows=tuple(rows), ticks=ticks(end), spans=tuple(drawn), height=top, undrawn_cores=len(by_core) - cores
    )


def _order(span: Span) -> tuple[tuple[int, str], int, int, int]:
    return (unit_order(span.unit), span.start_ps, span.end_ps, span.kernel)


def _rows(core: int, spans: Sequence[Span], end: int, top: int, first: int) -> Iterator[Row]:
    ordered = sorted(spans, key=_order)
    for unit in sorted({span.unit for span in ordered}, key=unit_order):
        mine = [(first + i, span) for i, span in enumerate(ordered) if span.unit == unit]
        lane_of = lanes([(span.start_ps, span.end_ps) for _, span in mine])
        for lane in range(max(lane_of) + 1):
            bars = tuple(_bar(i, s, end, top) for (i, s), k in zip(mine, lane_of, strict=True) if k == lane)
            yield Row(core=core, unit=unit_label(unit), lane=lane, top=top, height=ROW, bars=bars)
            top += ROW + GAP


def _bar(place: int, span: Span, end: int, top: int) -> Bar:
    x = span.start_ps * WHOLE // end
    height = round(max(3.0, ROW * busy_share(span)), 1)
    return Bar(
        place=place,
        kernel=span.kernel,
        x=x,
        y=round(top + ROW - height, 1),
        width=max(1, span.end_ps * WHOLE // end - x),
        height=height,
    )


def ticks(end_ps: int) -> tuple[Tick, ...]:
    """Marks at round times in us, on three levels of ten each."""
    end_us = end_ps / PS_PER_US
    exponent = floor(log10(end_us / FEWEST_TICKS))
    step = next(m for m in (5, 2, 1) if m * 10.0**exponent * FEWEST_TICKS <= end_us)
    marks: list[Tick] = []
    for level in range(3):
        power = exponent - level
        decimals = max(0, -power)
        for i in range(ceil(end_us / (step * 10.0**power)) + 1):
            value = i * step * 10.0**power
            if value <= end_us and (level == 0 or i % 10):
                marks.append(Tick(percent=round(100 * value / end_us, 4), text=grouped(value, decimals), level=level))
    return tuple(marks)

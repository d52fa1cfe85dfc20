"""One array as a picture: blocks to scale, what may hold none, ticks, how full it is and how often it fires."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bitline.core.escape import printable
from bitline.ir.placement import PlacedBlock, Placement
from bitline.report.floorplan_marks import Box, Hatch, Line, Mark, Panel, Text
from bitline.report.floorplan_text import LONGEST, Label, clipped, label_marks, short_names, text_width
from bitline.report.html.colours import layer_colour
from bitline.report.html.columns import grouped
from bitline.report.placement_facts import TIMES, ArrayFacts, counted, listed, node_of

LEFT, TOP = 30.0, 13.0
"""Room for the numbers of rows and columns."""
BANDS_GAP = 4.0
PILL = {"emptiest": 56.0, "busiest": 50.0}
SMALL = 190.0
"""Panels narrower than this have a line of their own for what marks them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """Pixels per column and row, and height of the strip of bias rows; 0 without."""

    per_col: float
    per_row: float
    bands: float
    width: float
    height: float


def scale_of(placement: Placement, width: float, height: float) -> Scale:
    """An array of `width` x `height` pixels with its reserved columns. Bias rows are drawn at least 1.5 pixels high, 12
    in all, but not above 30: 16 rows of 1 792 would be a line."""
    shape = placement.shape
    per_row = height / max(1, shape.rows)
    bands = max(shape.bias_rows * per_row, min(30.0, max(12.0, 1.5 * shape.bias_rows))) if shape.bias_rows else 0.0
    return Scale(
        per_col=width / max(1, shape.cols + shape.reserved_cols),
        per_row=per_row,
        bands=bands,
        width=width,
        height=height,
    )


def panel(
    placement: Placement, alike: tuple[ArrayFacts, ...], scale: Scale, marks: tuple[int | None, int | None], most: int
) -> Panel:
    """The arrays `alike`, which all look like the first. `marks`: cells of the emptiest, load of the busiest; `most`:
    the largest load of all."""
    first = alike[0]
    emptiest, busiest = first.cells == marks[0], first.load == marks[1]
    y = TOP + scale.height + (scale.bands + BANDS_GAP if scale.bands else 0.0)
    right = LEFT + scale.width
    drawn: list[Mark] = [*_ground(placement, scale), *_ticks(placement, scale)]
    for place in first.occupied:
        drawn += _occupied(placement, place, scale)
    for place in first.blocks:
        drawn += _block(placement, place, scale)
    for edge in placement.shape.edges:
        at = TOP + edge * scale.per_row
        drawn.append(Line(x1=LEFT - 2, y1=at, x2=right + 4, y2=at, colour="ink", dashed=True))
    frame, out = ("accent" if emptiest else "warn" if busiest else "line"), (1.5 if emptiest or busiest else 0.0)
    drawn.append(
        Box(
            x=LEFT - out,
            y=TOP - out,
            width=scale.width + 2 * out,
            height=scale.height + 2 * out,
            fill="",
            stroke=frame,
            line=1.0 + 1.4 * out,
        )
    )
    drawn += _bar(LEFT, y + 7, scale.width, first.fill, "accent")
    drawn += _bar(LEFT, y + 12, scale.width, first.load / most if most else 0.0, "warn")
    drawn += _caption(alike, scale.width, y + 28, emptiest=emptiest, busiest=busiest)
    height = y + (64 if scale.width < SMALL else 47)
    return Panel(
        arrays=tuple(facts.array for facts in alike),
        blocks=sum(len(facts.blocks) for facts in alike),
        width=right + 5,
        height=height,
        marks=tuple(drawn),
    )


def _ground(placement: Placement, scale: Scale) -> Iterator[Mark]:
    """An empty array: hatched, with what can't be used."""
    shape = placement.shape
    yield Hatch(x=LEFT, y=TOP, width=scale.width, height=scale.height, pattern="empty")
    reserved = shape.reserved_cols * scale.per_col
    if reserved:
        yield Hatch(x=LEFT, y=TOP, width=reserved, height=scale.height, pattern="reserved")
    for top, left, bottom, end in shape.blocked:
        y0, y1 = max(0, top) * scale.per_row, min(shape.rows, bottom) * scale.per_row
        x0, x1 = max(0, left) * scale.per_col, min(shape.cols, end) * scale.per_col
        if x1 > x0 and y1 > y0:
            yield Hatch(x=LEFT + reserved + x0, y=TOP + y0, width=x1 - x0, height=y1 - y0, pattern="blocked")
    if scale.bands:
        y = TOP + scale.height + BANDS_GAP
        usable = scale.width - reserved
        yield Hatch(x=LEFT + reserved, y=y, width=usable, height=scale.bands, pattern="empty")
        yield Box(x=LEFT + reserved, y=y, width=usable, height=scale.bands, fill="", stroke="line")


def _ticks(placement: Placement, scale: Scale) -> Iterator[Mark]:
    shape, start = placement.shape, LEFT + placement.shape.reserved_cols * scale.per_col
    yield _tick("0", start, TOP - 3)
    yield _tick(grouped(shape.cols), LEFT + scale.width, TOP - 3, end=True)
    yield _tick("0", LEFT - 4, TOP + 7, end=True)
    last = TOP + 7
    for edge in sorted({*shape.edges, shape.rows}):
        at = TOP + edge * scale.per_row
        if at - last >= 9 and (edge == shape.rows or TOP + scale.height - at >= 9):
            yield _tick(grouped(edge), LEFT - 4, at + (0 if edge == shape.rows else 3), end=True)
            last = at
    if scale.bands:
        yield _tick("bias", LEFT - 4, TOP + scale.height + BANDS_GAP + scale.bands / 2 + 3, end=True)


def _tick(text: str, x: float, y: float, *, end: bool = False) -> Text:
    size = min(8.5, (LEFT - 5) / text_width(text, 1.0))
    return Text(x=x, y=y, text=text, size=size, colour="soft", anchor="end" if end else "start")


def _occupied(placement: Placement, place: int, scale: Scale) -> Iterator[Mark]:
    """What something else takes, with its name where that fits."""
    o = placement.occupied[place]
    left = LEFT + (placement.shape.reserved_cols + o.w_col_start) * scale.per_col
    x, y = left, TOP + o.w_row_start * scale.per_row
    width, height = o.cols * scale.per_col, o.rows * scale.per_row
    name = printable(o.name[:LONGEST])
    tip = f"occupied by {name}: {o.rows} {TIMES} {o.cols} at row {o.w_row_start}, column {o.w_col_start}"
    yield Box(x=x, y=y, width=width, height=height, fill="taken", stroke="panel", tip=tip)
    shown = clipped(o.name, width - 8, 10.5)
    if shown and height > 15:
        yield Text(x=x + width / 2, y=y + height / 2 + 3.7, text=shown, size=10.5, colour="label", anchor="middle")
    if o.bias_rows and scale.bands:
        yield _band(placement, o.bias_start, o.bias_rows, x, width, scale, "taken", tip)


def _block(placement: Placement, place: int, scale: Scale) -> Iterator[Mark]:
    b = placement.blocks[place]
    x = LEFT + (placement.shape.reserved_cols + b.w_col_start) * scale.per_col
    y = TOP + b.w_row_start * scale.per_row
    width, height = b.cols * scale.per_col, b.rows * scale.per_row
    colour, tip = layer_colour(b.matrix), block_tip(placement, b)
    thin = min(1.0, 0.25 * min(width, height))
    yield Box(x=x, y=y, width=width, height=height, fill=colour, stroke="panel", line=thin, tip=tip, block=place)
    if b.bias_rows and scale.bands:
        yield _band(placement, b.bias_start, b.bias_rows, x, width, scale, colour, tip)
    yield from label_marks(label_of(placement, b), x, y, width, height)


def _band(
    placement: Placement, start: int, rows: int, x: float, width: float, scale: Scale, fill: str, tip: str
) -> Box:
    per_row = scale.bands / placement.shape.bias_rows
    y = TOP + scale.height + BANDS_GAP + start * per_row
    return Box(x=x, y=y, width=width, height=rows * per_row, fill=fill, stroke="panel", line=0.6, tip=tip)


def label_of(placement: Placement, b: PlacedBlock) -> Label:
    """What may stand in block `b`."""
    size = f"{grouped(b.rows)} {TIMES} {grouped(b.cols)}"
    return Label(number=b.matrix, names=short_names(node_of(placement.matrices[b.matrix])), size=size)


def block_tip(placement: Placement, b: PlacedBlock) -> str:
    """What a reader who points at a block is told: nodes, part of the matrix, copy, place, how often it fires."""
    m = placement.matrices[b.matrix]
    nodes = printable(", ".join(m.nodes[:4])[:LONGEST]) or printable(m.matrix.name[:LONGEST])
    bias = f", bias rows {b.bias_start} to {b.bias_start + b.bias_rows - 1}" if b.bias_rows else ""
    return "\n".join(
        (
            f"{b.matrix}  {nodes} of {printable(m.network[:LONGEST])}",
            f"rows {b.row_offset} to {b.row_offset + b.rows - 1}, columns {b.col_offset} to "
            f"{b.col_offset + b.cols - 1} of {m.matrix.groups * m.matrix.rows} {TIMES} "
            f"{m.matrix.groups * m.matrix.cols}, copy {b.copy + 1} of {m.copies}",
            f"array {b.array}, row {b.w_row_start}, column {b.w_col_start}{bias}",
            f"fires {grouped(m.fires)} times an inference",
        )
    )


def _bar(x: float, y: float, width: float, share: float, colour: str) -> Iterator[Mark]:
    yield Box(x=x, y=y, width=width, height=3, fill="lane")
    if share > 0:
        yield Box(x=x, y=y, width=width * min(1.0, share), height=3, fill=colour)


def _caption(alike: tuple[ArrayFacts, ...], width: float, y: float, *, emptiest: bool, busiest: bool) -> Iterator[Mark]:
    """Number, fill and load; what marks the array comes after the load, or on a line of its own."""
    first, right = alike[0], LEFT + width
    fill = percent(first.fill)
    room = width - text_width(fill, 10.5) - 6
    yield Text(x=LEFT, y=y, text=_name(alike, room), size=11, bold=True)
    yield Text(x=right, y=y, text=fill, size=10.5, anchor="end")
    each = " each" if len(alike) > 1 else ""
    yield Text(x=LEFT, y=y + 14, text=f"{fires(first.load)}{each}", size=10.5, colour="soft")
    if width < SMALL:
        yield from pills(LEFT, y + 29, emptiest=emptiest, busiest=busiest)
    else:
        yield from pills(
            right - pills_width(emptiest=emptiest, busiest=busiest), y + 14, emptiest=emptiest, busiest=busiest
        )


def fires(load: int) -> str:
    """`1 fire`, `12 544 fires`: MVMs of an inference."""
    return counted(load, "fire")


def pills(x: float, y: float, *, emptiest: bool, busiest: bool) -> Iterator[Mark]:
    """`emptiest` and `busiest` on their colours, from `x` on."""
    for word, colour, true in (("emptiest", "accent", emptiest), ("busiest", "warn", busiest)):
        if true:
            width = PILL[word]
            yield Box(x=x, y=y - 10, width=width, height=13.5, fill=colour)
            yield Text(x=x + width / 2, y=y, text=word, size=10, colour="panel", anchor="middle", bold=True)
            x += width + 4


def pills_width(*, emptiest: bool, busiest: bool) -> float:
    """Pixels that `pills` takes."""
    return emptiest * PILL["emptiest"] + busiest * PILL["busiest"] + 4.0 * (emptiest and busiest)


def percent(share: float) -> str:
    """`97.3 %`; never 100 of what is not full."""
    return "100 %" if share >= 1 else f"{min(round(1000 * share), 999) / 10:.1f} %"


def _name(alike: tuple[ArrayFacts, ...], width: float) -> str:
    if len(alike) == 1:
        return clipped(f"array {alike[0].array}", width, 11, bold=True)
    full = f"arrays {listed(tuple(facts.array for facts in alike))}"
    return full if text_width(full, 11, bold=True) <= width else f"{grouped(len(alike))} arrays"

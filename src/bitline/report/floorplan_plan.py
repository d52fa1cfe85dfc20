"""Which arrays are drawn, how large and with which others.

Arrays that one block fills are a tile per layer, arrays that look alike one panel with their number. Where there are
more panels than can be read, the fullest are left out and counted in words.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Final

from bitline.core.escape import printable
from bitline.ir.placement import Placement
from bitline.report.floorplan_marks import Box, Mark, Panel, Text
from bitline.report.floorplan_panel import LEFT, fires, label_of, panel, percent, pills, scale_of
from bitline.report.floorplan_text import LONGEST, clipped, text_width
from bitline.report.html.colours import layer_colour
from bitline.report.placement_facts import TIMES, ArrayFacts, array_facts, counted, extremes, node_of

GAP: Final = 14.0
MOST_PANELS: Final = 150
LONGEST_SIDE: Final = ((2, 520.0), (6, 380.0), (12, 290.0), (30, 230.0), (80, 170.0))
"""The fewer arrays there are, the larger each is drawn: up to so many, so long in pixels."""
NARROWEST: Final = 112.0
PHONE: Final = 600.0
"""Lines below this take two arrays."""
FLATTEST: Final = 3.0
"""Arrays longer than this times their width are drawn squeezed."""
TILE_WIDTH, TILE = 232.0, 40.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All pictures of arrays: tiles of those that one block fills, panels of the others; `left_out` are not drawn."""

    tiles: tuple[Panel, ...]
    panels: tuple[Panel, ...]
    left_out: tuple[ArrayFacts, ...]
    squeezed: bool


def plan(placement: Placement, width: float, longest: float = LONGEST_SIDE[0][1]) -> Plan:
    """Every array that holds something, for lines of `width` pixels, no side above about `longest`."""
    arrays = array_facts(placement)
    marks, most = extremes(arrays), max((facts.load for facts in arrays), default=0)
    whole: dict[int, list[ArrayFacts]] = defaultdict(list)
    alike: dict[tuple[object, ...], list[ArrayFacts]] = defaultdict(list)
    for facts in arrays:
        layer = filled_by(placement, facts)
        if layer is None:
            alike[_look(placement, facts)].append(facts)
        else:
            whole[layer].append(facts)
    groups = sorted(alike.values(), key=lambda group: (group[0].cells, -group[0].load, group[0].array))
    busiest = [group for group in groups if group[0].load == marks[1]][:1]
    drawn = groups[:MOST_PANELS]
    if busiest and len(groups) > MOST_PANELS and busiest[0] not in drawn:
        drawn[-1] = busiest[0]
    kept = sorted(drawn, key=lambda group: group[0].array)
    chosen = {group[0].array for group in kept}
    size, squeezed = _size(placement, len(kept), width, longest)
    scale = scale_of(placement, *size)
    return Plan(
        tiles=tuple(_tile(placement, layer, tuple(whole[layer]), marks) for layer in sorted(whole)),
        panels=tuple(panel(placement, tuple(group), scale, marks, most) for group in kept),
        left_out=tuple(facts for group in groups if group[0].array not in chosen for facts in group),
        squeezed=squeezed,
    )


def filled_by(placement: Placement, facts: ArrayFacts) -> int | None:
    """The layer whose one block fills a whole array, else None."""
    if len(facts.blocks) != 1 or facts.occupied:
        return None
    block, shape = placement.blocks[facts.blocks[0]], placement.shape
    return block.matrix if (block.rows, block.cols) == (shape.rows, shape.cols) else None


def _look(placement: Placement, facts: ArrayFacts) -> tuple[object, ...]:
    """What a picture shows of an array, apart from its number."""
    blocks = [placement.blocks[place] for place in facts.blocks]
    others = [placement.occupied[place] for place in facts.occupied]
    return (
        *sorted((b.matrix, b.w_row_start, b.w_col_start, b.rows, b.cols, b.bias_start, b.bias_rows) for b in blocks),
        *sorted((o.name, o.w_row_start, o.w_col_start, o.rows, o.cols, o.bias_start, o.bias_rows) for o in others),
    )


def _size(placement: Placement, count: int, width: float, most: float) -> tuple[tuple[float, float], bool]:
    """Width and height of an array in pixels, lines of arrays full, and whether rows had to be drawn shorter."""
    shape = placement.shape
    aspect = shape.rows / max(1, shape.cols + shape.reserved_cols)
    longest = min(most, next((side for fewer, side in LONGEST_SIDE if count <= fewer), NARROWEST))
    if width < PHONE and count > 2:
        longest = min(longest, 0.4 * width)
    wanted = max(NARROWEST, longest / max(1.0, aspect))
    around = LEFT + 5 + GAP
    per_line = max(1, round((width + GAP) / (wanted + around)))
    if 3 * count <= 4 * per_line:
        per_line = max(per_line, count)  # a line a little tighter, rather than one array alone below it
    if count >= per_line:
        wanted = (width + GAP) / per_line - around
    wanted = min(wanted, width - LEFT - 5)
    return (wanted, wanted * min(aspect, FLATTEST)), aspect > FLATTEST


def _tile(
    placement: Placement, layer: int, alike: tuple[ArrayFacts, ...], marks: tuple[int | None, int | None]
) -> Panel:
    """All arrays that blocks of `layer` fill, each on its own: one small array, a stack where there are several."""
    first, shape = alike[0], placement.shape
    longest = max(shape.rows, shape.cols)
    width, height = max(12.0, TILE * shape.cols / longest), max(12.0, TILE * shape.rows / longest)
    block = placement.blocks[first.blocks[0]]
    tip = (
        f"{layer}  {printable(node_of(placement.matrices[layer])[:LONGEST])}\n{counted(len(alike), 'array')} full of it"
    )
    drawn: list[Mark] = [
        Box(x=back, y=8 - back, width=width, height=height, fill=layer_colour(layer), stroke="panel", tip=tip)
        for back in ((8.0, 4.0, 0.0) if len(alike) > 2 else (4.0, 0.0) if len(alike) == 2 else (0.0,))
    ]
    drawn.append(Text(x=width / 2, y=8 + height / 2 + 4, text=str(layer), size=10.5, colour="label", anchor="middle"))
    label, left = label_of(placement, block), TILE + 18
    name = clipped(label.names[0], TILE_WIDTH - left, 11, bold=True)
    many, each = (f"{TIMES} ", " each") if len(alike) > 1 else ("", "")
    load = f"{fires(first.load)}{each}"
    drawn += [
        Text(x=left, y=16, text=name, size=11, bold=True),
        Text(x=left, y=30, text=f"{many}{counted(len(alike), 'array')}, {percent(first.fill)}", size=10.5),
        Text(x=left, y=44, text=load, size=10.5, colour="soft"),
        *pills(
            left + text_width(load, 10.5) + 4,
            y=44,
            emptiest=first.cells == marks[0],
            busiest=first.load == marks[1],
        ),
    ]
    return Panel(
        arrays=tuple(facts.array for facts in alike),
        blocks=len(alike),
        width=TILE_WIDTH,
        height=TILE + 14,
        marks=tuple(drawn),
    )


def notes(pictures: Plan) -> tuple[str, ...]:
    """What the picture does not show, in words."""
    found: list[str] = []
    out = pictures.left_out
    if out:
        blocks = sum(len(facts.blocks) for facts in out)
        found.append(
            f"{counted(len(out), 'more array')} with {counted(blocks, 'block')} not drawn: the fullest, "
            f"{percent(min(facts.fill for facts in out))} full or more."
        )
    if pictures.squeezed:
        found.append("Arrays are drawn shorter than they are: a row takes fewer pixels than a column.")
    if not (pictures.tiles or pictures.panels):
        found.append("Nothing is placed: these networks have no weights that arrays hold.")
    return tuple(found)

"""A placement as one picture: what it took and what is known about that, its layers, its arrays.

Arrays that one block fills are a tile per layer, arrays that look alike one panel with their number. Where there are
more panels than can be read, the fullest are left out and counted in words.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil
from typing import Final

from bitline.core.escape import printable
from bitline.ir.placement import Placement
from bitline.report.floorplan_marks import Box, Hatch, Line, Mark, Panel, Pattern, Scene, Text, moved
from bitline.report.floorplan_panel import LEFT, fires, label_of, panel, percent, pills, scale_of
from bitline.report.floorplan_text import LONGEST, clipped, short_names, shown, text_width
from bitline.report.html.colours import layer_colour
from bitline.report.html.columns import grouped
from bitline.report.placement_facts import (
    TIMES,
    ArrayFacts,
    LayerFacts,
    array_facts,
    counted,
    extremes,
    layer_facts,
    node_of,
    proof_sentence,
)

WIDTH: Final = 1240.0
MARGIN, GAP = 20.0, 14.0
MOST_PANELS: Final = 150
MOST_LAYERS: Final = 240
LONGEST_SIDE: Final = ((2, 520.0), (6, 380.0), (12, 290.0), (30, 230.0), (80, 170.0))
"""The fewer arrays there are, the larger each is drawn: up to so many, so long in pixels."""
NARROWEST: Final = 112.0
PHONE: Final = 600.0
"""Lines below this take two arrays."""
FLATTEST: Final = 3.0
LEGEND_WIDTH, TILE_WIDTH, TILE = 390.0, 232.0, 40.0
MOST_COLUMNS: Final = 5


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


def scene(placement: Placement, width: float = WIDTH) -> Scene:
    """The whole picture, `width` pixels wide and as high as it takes."""
    inner = width - 2 * MARGIN
    pictures = plan(placement, inner)
    drawn: list[Mark] = []
    y = _heading(placement, inner, drawn)
    y = _legend(placement, inner, y, drawn)
    y = _key(placement, inner, y, drawn)
    for heading, panels in (("Filled by one block each", pictures.tiles), ("", pictures.panels)):
        if heading and panels:
            drawn.append(Text(x=MARGIN, y=y + 12, text=heading, size=12, bold=True, colour="soft"))
            y += 22
        y = _flow(panels, inner, y, drawn)
    for note in notes(pictures):
        for line in _wrapped(note, inner, 11):
            drawn.append(Text(x=MARGIN, y=y + 11, text=line, size=11, colour="soft"))
            y += 16
    height = y + MARGIN - 4
    ground = Box(x=0, y=0, width=width, height=height, fill="panel")
    return Scene(width=width, height=height, marks=(ground, *drawn))


def _heading(placement: Placement, width: float, drawn: list[Mark]) -> float:
    title = f"{placement.target}: {proof_sentence(placement.certificate)}"
    y = MARGIN + 16
    for line in _wrapped(shown(title[:LONGEST]), width, 18, bold=True):
        drawn.append(Text(x=MARGIN, y=y, text=line, size=18, bold=True))
        y += 23
    for line in _wrapped(shown(summary_line(placement)[: 2 * LONGEST]), width, 12):
        drawn.append(Text(x=MARGIN, y=y, text=line, size=12, colour="soft"))
        y += 17
    return y + 2


def summary_line(placement: Placement) -> str:
    """Networks, size of an array, how full all are together, load of the busiest."""
    arrays, shape = array_facts(placement), placement.shape
    networks = list(dict.fromkeys(m.network for m in placement.matrices))
    names = ", ".join(networks[:4]) + (f" and {len(networks) - 4} more" if len(networks) > 4 else "")
    size = f"arrays of {grouped(shape.rows)} rows {TIMES} {grouped(shape.cols)} columns"
    words = [names, size] if names else [size]
    if arrays:
        words.append(f"{percent(sum(facts.fill for facts in arrays) / len(arrays))} full")
        words.append(f"{grouped(sum(facts.load for facts in arrays))} fires an inference")
        words.append(f"{grouped(max(facts.load for facts in arrays))} in the busiest array")
    return " \N{MIDDLE DOT} ".join(words)


def _wrapped(text: str, width: float, size: float, *, bold: bool = False) -> list[str]:
    """Lines of whole words; a word longer than a line is clipped."""
    lines = [""]
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}".strip()
        if text_width(longer, size, bold=bold) <= width:
            lines[-1] = longer
        else:
            lines.append(clipped(word, width, size, bold=bold))
    return [line for line in lines if line]


def _legend(placement: Placement, width: float, y: float, drawn: list[Mark]) -> float:
    """Number, colour, name and size of every layer, in columns that are read downwards."""
    layers = layer_facts(placement)
    listed = layers[:MOST_LAYERS]
    texts = [legend_words(placement, facts) for facts in listed]
    widest = max((text_width(f"{name} {size}", 11) for name, size in texts), default=0.0) + 60
    columns = max(1, min(MOST_COLUMNS, int(width / min(widest, LEGEND_WIDTH))))
    lines = ceil(len(listed) / columns)
    step = width / columns
    for facts, (name, size) in zip(listed, texts, strict=True):
        x, top = MARGIN + facts.number // lines * step, y + facts.number % lines * 18
        colour, tip = layer_colour(facts.number), printable(facts.name[:LONGEST])
        drawn.append(Box(x=x, y=top, width=26, height=14, fill=colour, tip=tip))
        drawn.append(Text(x=x + 13, y=top + 10.8, text=str(facts.number), size=10, colour="label", anchor="middle"))
        room = step - 32 - 12
        tail = clipped(size, 0.6 * room, 11)
        name = clipped(name, room - text_width(f" {tail}", 11), 11)
        drawn.append(Text(x=x + 32, y=top + 11, text=name, size=11, tail=tail))
    y += lines * 18 + 6
    if len(layers) > len(listed):
        rest = f"{grouped(len(layers) - len(listed))} more layers are not in this list."
        drawn.append(Text(x=MARGIN, y=y + 8, text=rest, size=11, colour="soft"))
        y += 18
    return y


def legend_words(placement: Placement, facts: LayerFacts) -> tuple[str, str]:
    """Name of a layer as short as blocks have it, its size and copies."""
    m = placement.matrices[facts.number]
    network = f"{m.network}: " if facts.name.startswith(f"{m.network}: ") else ""
    copies = f", {grouped(m.copies)} copies" if m.copies > 1 else ""
    return network + short_names(node_of(m))[0], facts.size + copies


def key_words(placement: Placement) -> tuple[tuple[Pattern | str, str], ...]:
    """What is drawn besides blocks, and what it means."""
    shape = placement.shape
    words: list[tuple[Pattern | str, str]] = [("empty", "empty")]
    if shape.reserved_cols:
        words.append(("reserved", f"{counted(shape.reserved_cols, 'reserved column')}, not counted"))
    if shape.blocked:
        words.append(("blocked", "blocked cells"))
    if shape.edges:
        words.append(("edge", "no block crosses"))
    if shape.bias_rows:
        words.append(("bias", f"strip below: {counted(shape.bias_rows, 'bias row')}"))
    if placement.occupied:
        words.append(("taken", "occupied by an earlier placement"))
    words.append(("fill", "how full"))
    words.append(("load", "load, full in the busiest"))
    return tuple(words)


def sample(kind: str, x: float, y: float) -> Iterator[Mark]:
    """26 x 14 pixels of what `kind` looks like."""
    match kind:
        case "empty" | "reserved" | "blocked":
            yield Hatch(x=x, y=y, width=26, height=14, pattern=kind)
            yield Box(x=x, y=y, width=26, height=14, fill="", stroke="line")
        case "edge":
            yield Line(x1=x, y1=y + 7, x2=x + 26, y2=y + 7, colour="ink", dashed=True)
        case "taken":
            yield Box(x=x, y=y, width=26, height=14, fill="taken")
        case "bias":
            yield Hatch(x=x, y=y + 3, width=26, height=8, pattern="empty")
            yield Box(x=x + 5, y=y + 3, width=15, height=4, fill=layer_colour(0))
        case _:
            yield Box(x=x, y=y + 5, width=26, height=3, fill="lane")
            yield Box(x=x, y=y + 5, width=18, height=3, fill="accent" if kind == "fill" else "warn")


def _key(placement: Placement, width: float, y: float, drawn: list[Mark]) -> float:
    x = MARGIN
    for kind, words in key_words(placement):
        taken = 32 + text_width(words, 11) + 16
        if x > MARGIN and x + taken > MARGIN + width:
            x, y = MARGIN, y + 20
        drawn += sample(kind, x, y)
        drawn.append(Text(x=x + 32, y=y + 11, text=words, size=11, colour="soft"))
        x += taken
    return y + 32


def _flow(panels: tuple[Panel, ...], width: float, y: float, drawn: list[Mark]) -> float:
    """Panels in lines from left to right; they are all of one size."""
    x = MARGIN
    for n, one in enumerate(panels):
        if n and x + one.width > MARGIN + width + 0.01:
            x, y = MARGIN, y + one.height + GAP
        drawn += moved(one.marks, x, y)
        x += one.width + GAP
    return y + panels[0].height + GAP if panels else y


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

"""What the colours, numbers and hatches of a floor plan stand for."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil
from typing import Final

from bitline.core.escape import printable
from bitline.ir.placement import Placement
from bitline.report.floorplan_marks import Box, Hatch, Line, Mark, Pattern, Text
from bitline.report.floorplan_text import LONGEST, clipped, short_names, text_width
from bitline.report.html.colours import layer_colour
from bitline.report.html.columns import grouped
from bitline.report.placement_facts import LayerFacts, counted, layer_facts, node_of

MOST_LAYERS: Final = 240
WIDEST: Final = 390.0
MOST_COLUMNS: Final = 5
NETWORK_WIDTH: Final = 110.0


def legend(placement: Placement, width: float, x0: float, y: float, drawn: list[Mark]) -> float:
    """Number, colour, name and size of every layer, in columns that are read downwards."""
    layers = layer_facts(placement)
    listed = layers[:MOST_LAYERS]
    texts = [legend_words(placement, facts) for facts in listed]
    widest = max((text_width(f"{name} {size}", 11) for name, size in texts), default=0.0) + 60
    columns = max(1, min(MOST_COLUMNS, int(width / min(widest, WIDEST))))
    lines = ceil(len(listed) / columns)
    step = width / columns
    for facts, (name, size) in zip(listed, texts, strict=True):
        x, top = x0 + facts.number // lines * step, y + facts.number % lines * 18
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
        drawn.append(Text(x=x0, y=y + 8, text=rest, size=11, colour="soft"))
        y += 18
    return y


def legend_words(placement: Placement, facts: LayerFacts) -> tuple[str, str]:
    """Name of a layer as short as blocks have it, its size and copies."""
    m = placement.matrices[facts.number]
    network = f"{clipped(m.network, NETWORK_WIDTH, 11)}: " if facts.name.startswith(f"{m.network}: ") else ""
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


def key(placement: Placement, width: float, x0: float, y: float, drawn: list[Mark]) -> float:
    """Samples with words, as many a line as fit."""
    x = x0
    for kind, words in key_words(placement):
        taken = 32 + text_width(words, 11) + 16
        if x > x0 and x + taken > x0 + width:
            x, y = x0, y + 20
        drawn += sample(kind, x, y)
        drawn.append(Text(x=x + 32, y=y + 11, text=words, size=11, colour="soft"))
        x += taken
    return y + 32

"""A placement as one picture: what it took and what is known about that, its layers, its arrays."""

from __future__ import annotations

from typing import Final

from bitline.ir.placement import Placement
from bitline.report.floorplan_legend import key, legend
from bitline.report.floorplan_marks import Box, Mark, Panel, Scene, Text, moved
from bitline.report.floorplan_panel import percent
from bitline.report.floorplan_plan import GAP, notes, plan
from bitline.report.floorplan_text import clipped, text_width
from bitline.report.html.columns import grouped
from bitline.report.placement_facts import TIMES, array_facts, proof_sentence

WIDTH: Final = 1240.0
MARGIN: Final = 20.0
NAME_WIDTH: Final = 280.0
"""Pixels of the name of a target or network in the heading: the words after it matter more."""


def scene(placement: Placement, width: float = WIDTH) -> Scene:
    """The whole picture, `width` pixels wide and as high as it takes."""
    inner = width - 2 * MARGIN
    pictures = plan(placement, inner)
    drawn: list[Mark] = []
    y = _heading(placement, inner, drawn)
    y = legend(placement, inner, MARGIN, y, drawn)
    y = key(placement, inner, MARGIN, y, drawn)
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
    title = f"{clipped(placement.target, NAME_WIDTH, 18, bold=True)}: {proof_sentence(placement.certificate)}"
    y = MARGIN + 16
    for line in _wrapped(title, width, 18, bold=True):
        drawn.append(Text(x=MARGIN, y=y, text=line, size=18, bold=True))
        y += 23
    for line in _wrapped(summary_line(placement), width, 12):
        drawn.append(Text(x=MARGIN, y=y, text=line, size=12, colour="soft"))
        y += 17
    return y + 2


def summary_line(placement: Placement) -> str:
    """Networks, size of an array, how full all are together, load of the busiest."""
    arrays, shape = array_facts(placement), placement.shape
    networks = [clipped(name, NAME_WIDTH, 12) for name in dict.fromkeys(m.network for m in placement.matrices)]
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


def _flow(panels: tuple[Panel, ...], width: float, y: float, drawn: list[Mark]) -> float:
    """Panels in lines from left to right; they are all of one size."""
    x = MARGIN
    for n, one in enumerate(panels):
        if n and x + one.width > MARGIN + width + 0.01:
            x, y = MARGIN, y + one.height + GAP
        drawn += moved(one.marks, x, y)
        x += one.width + GAP
    return y + panels[0].height + GAP if panels else y

"""A placement as one HTML page: certificate in words, floor plan, trade-off, arrays, layers. It needs no script."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from bitline.core.escape import printable
from bitline.ir.placement import Placement
from bitline.report.floorplan_legend import MOST_LAYERS, key_words, legend_words, sample
from bitline.report.floorplan_marks import Mark
from bitline.report.floorplan_panel import percent
from bitline.report.floorplan_plan import notes, plan
from bitline.report.floorplan_svg import PATTERNS, styles, svg_marks
from bitline.report.floorplan_text import LONGEST, clipped
from bitline.report.html.colours import layer_colour
from bitline.report.html.columns import grouped
from bitline.report.pareto_chart import Point, pareto_chart
from bitline.report.placement_facts import (
    LONGEST_BOUND,
    TIMES,
    ArrayFacts,
    array_facts,
    counted,
    extremes,
    layer_facts,
    proof_sentence,
)

LINE, LONGEST_SIDE = 1200.0, 400.0
MOST_ROWS: Final = 2000
MOST_NODES, MOST_SWATCHES = 6, 14


@dataclass(frozen=True, slots=True, kw_only=True)
class _LegendLine:
    number: int
    colour: str
    short: str
    size: str
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _ArrayRow:
    array: int
    fill: str
    fill_bar: float
    load: str
    load_bar: float
    blocks: str
    layers: tuple[tuple[int, str], ...]
    more: str
    marks: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _LayerRow:
    number: int
    colour: str
    nodes: tuple[str, ...]
    more: str
    size: str
    cells: tuple[str, ...]


def placement_page(placement: Placement, points: Sequence[Point] = ()) -> str:
    """The page, the same bytes for the same values. `points`: (arrays used, MVMs of an inference, interval, lower
    bound) of placements of these networks that trade one for another; one that equals this placement is ringed."""
    environment = Environment(
        loader=PackageLoader("bitline.report", "html"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    arrays, layers = array_facts(placement), layer_facts(placement)
    pictures = plan(placement, LINE, LONGEST_SIDE)
    chosen = _point(placement, arrays)
    ringed = next((p for p in points if p[:3] == chosen), None)
    legend = [legend_words(placement, facts) for facts in layers[:MOST_LAYERS]]
    shape = placement.shape
    drawn = (("Filled by one block each", pictures.tiles), ("", pictures.panels))
    return environment.get_template("placement.html.jinja").render(
        target=_name(placement.target),
        style=Markup(_own("style.css")),
        own=Markup(_own("placement.css") + styles()),
        patterns=Markup(PATTERNS),
        networks=[_name(name) for name in dict.fromkeys(m.network for m in placement.matrices)],
        size=f"{grouped(shape.rows)} {TIMES} {grouped(shape.cols)}",
        cuts=placement.cuts,
        cards=_cards(placement, arrays),
        proof=proof_sentence(placement.certificate),
        layers=[
            _LegendLine(
                number=facts.number,
                colour=layer_colour(facts.number),
                short=_name(name),
                size=size,
                title=_name(facts.name),
            )
            for facts, (name, size) in zip(layers, legend, strict=False)
        ],
        more_layers=_more(len(layers), MOST_LAYERS),
        key=[(_svg(26, 14, tuple(sample(kind, 0, 0)), words), words) for kind, words in key_words(placement)],
        pictures=[
            (heading, [_svg(p.width, p.height, p.marks, _arrays(p.arrays)) for p in panels])
            for heading, panels in drawn
            if panels
        ],
        notes=notes(pictures),
        charts=[
            _svg(scene.width, scene.height, scene.marks, what)
            for what, place in (("Fires of an inference", 1), ("Fires of the busiest array", 2))
            for scene in ([pareto_chart(points, ringed, what, lambda p, place=place: p[place])] if points else [])
        ],
        chosen=ringed is not None,
        arrays=_array_rows(placement, arrays),
        more_arrays=_more(len(arrays), MOST_ROWS),
        rows=_layer_rows(placement),
        more_rows=_more(len(layers), MOST_ROWS),
        totals=(
            grouped(len(placement.blocks)),
            grouped(sum(facts.row_cuts for facts in layers)),
            grouped(sum(facts.col_cuts for facts in layers)),
            "",
            grouped(sum(facts.load for facts in layers)),
        ),
    )


def _own(name: str) -> str:
    return resources.files("bitline.report.html").joinpath(name).read_text(encoding="utf-8")


def _name(text: str) -> str:
    """A name from a file, printable and not endless."""
    return printable(text) if len(text) <= LONGEST else clipped(text, 1e9, 1.0)


def _more(count: int, most: int) -> str:
    return grouped(count - most) if count > most else ""


def _arrays(numbers: tuple[int, ...]) -> str:
    return f"array {numbers[0]}" if len(numbers) == 1 else f"{len(numbers)} arrays from {numbers[0]}"


def _svg(width: float, height: float, marks: Sequence[Mark], label: str) -> Markup:
    size = f'viewBox="0 0 {width:.1f} {height:.1f}" width="{width:.1f}" height="{height:.1f}"'
    head = Markup('<svg {} role="img" aria-label="{}">').format(Markup(size), label)
    return head + Markup(svg_marks(marks)) + Markup("</svg>")


def _point(placement: Placement, arrays: Sequence[ArrayFacts]) -> tuple[int, int, int]:
    loads = [facts.load for facts in arrays]
    return placement.certificate.arrays_used, sum(loads), max(loads, default=0)


def _cards(placement: Placement, arrays: Sequence[ArrayFacts]) -> list[tuple[str, str, str]]:
    c, layers = placement.certificate, layer_facts(placement)
    _, fires, interval = _point(placement, arrays)
    fill = sum(facts.fill for facts in arrays) / len(arrays) if arrays else 0.0
    row_cuts, col_cuts = sum(f.row_cuts for f in layers), sum(f.col_cuts for f in layers)
    gap = c.arrays_used - c.lower_bound
    known = "no fewer can hold these blocks" if c.proof != "none" else f"gap {grouped(gap)} to the bound"
    return [
        ("arrays", grouped(c.arrays_used), known),
        ("needed at least", grouped(c.lower_bound), f"{printable(c.bound[:LONGEST_BOUND])} bound"),
        ("full", percent(fill) if arrays else "0 %", "cells taken, of those that may be used in arrays that hold any"),
        ("fires an inference", grouped(fires), "matrix-vector multiplications of all blocks"),
        ("busiest array", grouped(interval), "fires of it: the interval between inferences in a pipeline"),
        (
            "pieces",
            grouped(len(placement.blocks)),
            f"{counted(row_cuts, 'row cut')}, {counted(col_cuts, 'column cut')}",
        ),
    ]


def _array_rows(placement: Placement, arrays: tuple[ArrayFacts, ...]) -> list[_ArrayRow]:
    emptiest, busiest = extremes(arrays)
    most = max((facts.load for facts in arrays), default=0)
    rows: list[_ArrayRow] = []
    for facts in arrays[:MOST_ROWS]:
        here = sorted({placement.blocks[place].matrix for place in facts.blocks})
        marks = (("emptiest", facts.cells == emptiest), ("busiest", facts.load == busiest))
        more = f" and {len(here) - MOST_SWATCHES} more" if len(here) > MOST_SWATCHES else ""
        rows.append(
            _ArrayRow(
                array=facts.array,
                fill=percent(facts.fill),
                fill_bar=round(100 * min(1.0, facts.fill), 1),
                load=grouped(facts.load),
                load_bar=round(100 * facts.load / most, 1) if most else 0.0,
                blocks=grouped(len(facts.blocks)) + (f" + {len(facts.occupied)} occupied" if facts.occupied else ""),
                layers=tuple((number, layer_colour(number)) for number in here[:MOST_SWATCHES]),
                more=more,
                marks=tuple(word for word, true in marks if true),
            )
        )
    return rows


def _layer_rows(placement: Placement) -> list[_LayerRow]:
    rows: list[_LayerRow] = []
    several = len({m.network for m in placement.matrices}) > 1
    for facts, m in list(zip(layer_facts(placement), placement.matrices, strict=True))[:MOST_ROWS]:
        nodes = [_name(node) for node in m.nodes[:MOST_NODES]] or [_name(m.matrix.name)]
        if several:
            nodes[0] = f"{_name(m.network)}: {nodes[0]}"
        rows.append(
            _LayerRow(
                number=facts.number,
                colour=layer_colour(facts.number),
                nodes=tuple(nodes),
                more=f" and {len(m.nodes) - MOST_NODES} more" if len(m.nodes) > MOST_NODES else "",
                size=facts.size,
                cells=(
                    grouped(m.math.bundle) if m.matrix.groups > 1 else "",
                    grouped(m.copies),
                    grouped(facts.pieces),
                    grouped(facts.row_cuts),
                    grouped(facts.col_cuts),
                    grouped(m.fires),
                    grouped(facts.load),
                ),
            )
        )
    return rows

"""Values -> the page. The template holds the form, `page.js` what moves, `style.css` what it looks like."""

from __future__ import annotations

import base64
import hashlib
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from bitline.ir.kernels import Network
from bitline.ir.program import UNITS
from bitline.ir.residency import BlockResidency
from bitline.ir.trace import Trace
from bitline.report.facts import Facts
from bitline.report.hosts import HostRow, host_rows, wide_tensors
from bitline.report.html.colours import layer_colour
from bitline.report.html.columns import COLUMNS, grouped, table_rows, totals
from bitline.report.html.floorplan import FloorPlan, floor_plan, rounds_per_step
from bitline.report.html.timeline import WHOLE, Timeline, timeline
from bitline.report.layers import FJ_PER_NJ, layer_table, unit_order
from bitline.report.names import kernel_of, matrix_users, node_label, printable, unit_label
from bitline.target.schema import KEYS, Chip, entry, meaning


@dataclass(frozen=True, slots=True, kw_only=True)
class SheetRow:
    """A number of the target: key, value, where it comes from, what it means."""

    key: str
    value: str
    source: str
    meaning: str
    estimated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part of a bar: name, value in words, percent of the whole, number of its colour in the style sheet."""

    name: str
    text: str
    percent: float
    colour: int


def render(
    *,
    facts: Facts,
    network: Network,
    blocks: Sequence[BlockResidency],
    trace: Trace,
    chip: Chip,
    steps: Sequence[str] = (),
) -> str:
    """The report as one HTML page, the same bytes for the same values. `steps`: what quantisation did, in words.

    Names come from model files: the template escapes all text, and the page's own policy lets no script run but ours.
    """
    environment = Environment(
        loader=PackageLoader("bitline.report", "html"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["grouped"] = _grouped
    environment.policies["json.dumps_kwargs"] = {"sort_keys": True, "separators": (",", ":")}
    script = _own("page.js")
    layers = layer_table(network, blocks, trace, chip)
    bars = timeline(trace)
    plan = floor_plan(network, blocks, chip)
    return environment.get_template("page.html.jinja").render(
        facts=facts,
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        style=Markup(_own("style.css")),
        colours=[layer_colour(place) for place in range(len(network.kernels))],
        plan=plan,
        timeline=bars,
        whole=WHOLE,
        columns=COLUMNS,
        layers=table_rows(layers),
        totals=totals(layers),
        energy=_energy(trace),
        hosts=[_host_line(row) for row in host_rows(network, trace)],
        steps=steps,
        wide=wide_tensors(network),
        sheet=_data_sheet(chip),
        chip=chip,
        data=_data(network, blocks, bars, plan),
        printable=printable,
    )


def _grouped(text: str) -> str:
    """Words of the console with thousands as the tables of this page have them."""
    return re.sub(r"(?<=\d),(?=\d{3})", "\N{NARROW NO-BREAK SPACE}", text)


def _own(name: str) -> str:
    """A file of this package, line ends as they were written: the policy of the page names the hash of its script."""
    return resources.files("bitline.report.html").joinpath(name).read_text(encoding="utf-8")


def _data(
    network: Network, blocks: Sequence[BlockResidency], bars: Timeline, plan: FloorPlan
) -> dict[str, list[str] | list[list[str]] | list[list[int]] | list[int] | int]:
    """What tooltips and the step selector need; the script names the places of each list."""
    users = matrix_users(network)
    matrices = {name: place for place, name in enumerate(sorted({b.block.matrix for b in blocks}))}
    units = sorted({span.unit for span in bars.spans}, key=unit_order)
    return {
        "kernels": [[printable(node_label(k)), k.kind, printable(", ".join(k.nodes))] for k in network.kernels],
        "rounds": list(rounds_per_step(blocks, len(network.kernels))),
        "matrices": [printable(name) for name in matrices],
        "blocks": [
            [
                *(kernel_of(b, users), matrices[b.block.matrix], b.block.copy, b.index),
                *(b.block.row_offset, b.block.col_offset, b.block.rows, b.block.cols),
                *(b.region.core, b.region.array, b.region.w_row_start, b.region.w_col_start),
                *(b.from_step, b.to_step, b.round, b.loads),
            ]
            for b in blocks
        ],
        "units": [unit_label(unit) for unit in units],
        "spans": [
            [s.kernel, s.core, units.index(s.unit), s.start_ps, s.end_ps, s.busy_ps, s.instructions] for s in bars.spans
        ],
        "cells": plan.rows * plan.cols,
        "arrays": plan.total,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class HostLine:
    """A row of the table of host kernels, in words."""

    kernel: int
    name: str
    others: int
    why: str
    macs: str
    time: str
    percent: str


def _host_line(row: HostRow) -> HostLine:
    return HostLine(
        kernel=row.kernel,
        name=row.nodes[-1] if row.nodes else "",
        others=max(0, len(row.nodes) - 1),
        why=row.why,
        macs=grouped(row.macs),
        time=grouped(row.time_us, 1),
        percent=f"{100 * row.time_share:.1f}",
    )


def _energy(trace: Trace) -> tuple[Part, ...]:
    """Energy of one inference by unit; what no instruction spends is power at rest."""
    units: dict[str, int] = defaultdict(int)
    for cost in trace.costs:
        for unit, energy in cost.energy_by_unit_fj.items():
            units[unit] += energy
    spent = [(unit_label(unit), units[unit], unit_order(unit)[0]) for unit in sorted(units, key=unit_order)]
    spent.append(("at rest", trace.energy_fj - sum(units.values()), len(UNITS)))
    return tuple(
        Part(
            name=name,
            text=f"{grouped(energy / FJ_PER_NJ, 1)} nJ",
            percent=round(100 * energy / trace.energy_fj, 2),
            colour=colour,
        )
        for name, energy, colour in spent
        if energy > 0 and trace.energy_fj
    )


def _data_sheet(chip: Chip) -> tuple[SheetRow, ...]:
    rows: list[SheetRow] = []
    for key in KEYS:
        found = entry(chip, key)
        if found is None:
            continue
        value = found.value
        rows.append(
            SheetRow(
                key=key,
                value=_plain(value),
                source=found.source,
                meaning=meaning(key).replace("`", ""),
                estimated=found.source.startswith("estimated"),
            )
        )
    return tuple(rows)


def _plain(value: object) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case int():
            return grouped(value)
        case float():
            return f"{value:g}" if abs(value) < 1e3 or value % 1 else grouped(value)
        case _:
            return str(value)

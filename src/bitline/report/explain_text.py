"""An explained kernel as a person reads it, and as one JSON object."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from bitline.report.explain import Explained, Place, counted
from bitline.report.figures import Json
from bitline.report.layers import UnitShare
from bitline.report.levers import Lever, by_saving, cheapest, worth
from bitline.report.names import printable, unit_label
from bitline.target.sheet import shown, unit

MOST_CORES = 6
NJ_PER_UJ = 1000


def explanation_text(e: Explained, levers: Sequence[Lever], latency_us: float) -> str:
    """Sections of label and value; names are printable; no line feed at the end."""
    node = printable(e.nodes[0] if e.nodes else e.name)
    title = f"{node}: kernel {e.kernel} ({e.kind})"
    rows: list[tuple[str, str]] = [("nodes", ", ".join(map(printable, e.nodes)) or "-")]
    if e.blocks:
        rows.append(("lies in", _places(e.places)))
        rows.append(("blocks", f"{e.blocks:,}, {e.weights}, {_writes(e)}"))
        rows.append(("wear", _wear(e)))
    rows.append(("segment", f"{e.segment + 1} of {e.segments}"))
    rows += [("why" if i == 0 else "", reason) for i, reason in enumerate(e.why)]
    if e.tiles:
        rows.append(("tiles", f"{e.tiles:,} of {e.tile[0]} x {e.tile[1]} output pixels"))
    rows.append(
        ("time", f"{e.duration_us:,.2f} us, {100 * e.time_share:.1f} % of the inference ({latency_us:,.1f} us)")
    )
    if e.critical is not None:
        rows.append(("bound by", f"{_share(e.critical)}; {', '.join(map(_share, e.others)) or 'no other unit works'}"))
    rows.append(("waits", e.waits))
    parts = ", ".join(f"{unit_label(part.unit)} {100 * part.share:.0f} %" for part in e.energy if part.nanojoules)
    spent = f"{e.energy_nj:,.2f} nJ" if e.energy_nj < NJ_PER_UJ else f"{e.energy_nj / NJ_PER_UJ:,.2f} uJ"
    rows.append(("energy", f"{spent}, {100 * e.energy_share:.1f} % of the inference: {parts or 'none'}"))
    width = max(len(label) for label, _ in rows)
    lines = [title, *(f"  {label:<{width}}  {value}" for label, value in rows)]
    return "\n".join([*lines, *_lever_lines(e, levers)])


def explanation_json(e: Explained, levers: Sequence[Lever], latency_us: float) -> dict[str, Json]:
    """The same values; shares 0 to 1, levers sorted by what they save, the cheapest under `lever`."""
    ordered = [_lever_json(lever, e) for lever in by_saving(levers)]
    best = cheapest(levers, e)
    return {
        "layer": e.nodes[0] if e.nodes else e.name,
        "kernel": e.kernel,
        "name": e.name,
        "kind": e.kind,
        "nodes": list(e.nodes),
        "weights": e.weights,
        "segment": e.segment,
        "segments": e.segments,
        "places": [{"core": p.core, "array": p.array, "blocks": p.blocks} for p in e.places],
        "blocks": e.blocks,
        "loads": e.loads,
        "why": list(e.why),
        "tile": list(e.tile),
        "tiles": e.tiles,
        "start_us": e.start_us,
        "end_us": e.end_us,
        "duration_us": e.duration_us,
        "time_share": e.time_share,
        "latency_us": latency_us,
        "critical": _share_json(e.critical) if e.critical else None,
        "others": [_share_json(share) for share in e.others],
        "waits": e.waits,
        "energy_nj": e.energy_nj,
        "energy_share": e.energy_share,
        "energy_by_unit_nj": {part.unit: part.nanojoules for part in e.energy},
        "writes_per_cell_max": e.writes_per_cell,
        "lifetime_inferences": e.lifetime_inferences,
        "levers": list(ordered),
        "lever": _lever_json(best, e) if best else None,
    }


def _places(places: Sequence[Place]) -> str:
    cores = [(core, list(inside)) for core, inside in groupby(places, key=lambda p: p.core)]
    words = [f"core {core} arrays {_ranges([p.array for p in inside])}" for core, inside in cores[:MOST_CORES]]
    more = f", and {len(cores) - MOST_CORES} more cores" if len(cores) > MOST_CORES else ""
    return f"{counted(len(places), 'array')}: {', '.join(words)}{more}"


def _ranges(numbers: Sequence[int]) -> str:
    """0, 1, 2, 5 -> `0-2+5`."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][-1] + 1 == number:
            runs[-1].append(number)
        else:
            runs.append([number])
    return "+".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def _writes(e: Explained) -> str:
    return f"{counted(e.loads, 'write')} per inference" if e.loads else "written once before the first inference"


def _wear(e: Explained) -> str:
    if not e.writes_per_cell:
        return "no cell is written during inference"
    lasts = (
        ", no endurance stated" if e.lifetime_inferences is None else f": lasts {e.lifetime_inferences:,} inferences"
    )
    return f"{counted(e.writes_per_cell, 'write')} per inference of the worst cell{lasts}"


def _share(share: UnitShare) -> str:
    return f"{unit_label(share.unit)} {100 * share.share:.0f} %"


def _share_json(share: UnitShare) -> Json:
    return {"unit": share.unit, "core": share.core, "share": share.share}


def _lever_lines(e: Explained, levers: Sequence[Lever]) -> list[str]:
    if not levers:
        return []
    useful = [lever for lever in by_saving(levers) if worth(lever, e)]
    if not useful:
        tried = ", ".join(lever.change.key for lever in levers)
        return [f"  no lever: doubling (or halving) one of {tried} saves less than 1 % of the layer"]
    lines = ["  what one doubling (or halving) would do, the chip else unchanged"]
    best = cheapest(levers, e)
    for lever in useful:
        mark = "cheapest lever: " if lever is best else ""
        lines.append(f"    {mark:<16}{_lever(lever, e)}")
    return lines


def _lever(lever: Lever, e: Explained) -> str:
    change = lever.change
    saved = 100 * (1 - lever.layer_us / e.duration_us)
    text = f"{change.key} {shown(change.before)} -> {shown(change.after)} {unit(change.key)}".rstrip()
    text += f": layer {e.duration_us:,.2f} -> {lever.layer_us:,.2f} us (-{saved:.0f} %)"
    text += f", inference {lever.latency_us:,.1f} us"
    if lever.tiles != e.tiles:
        text += f", tiles {e.tiles:,} -> {lever.tiles:,}"
    if lever.loads != e.loads:
        text += f", writes {e.loads:,} -> {lever.loads:,}"
    return text + (" (planned again)" if lever.replanned else " (same program)")


def _lever_json(lever: Lever, e: Explained) -> dict[str, Json]:
    return {
        "key": lever.change.key,
        "before": lever.change.before,
        "after": lever.change.after,
        "replanned": lever.replanned,
        "layer_us": lever.layer_us,
        "latency_us": lever.latency_us,
        "saved_share": 1 - lever.layer_us / e.duration_us if e.duration_us else 0.0,
        "tiles": lever.tiles,
        "loads": lever.loads,
    }

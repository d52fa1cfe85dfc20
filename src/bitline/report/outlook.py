"""What `bitline check` says before any work: does the network fit, what runs where, what is unsupported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from bitline.core.diagnostics import Diagnostic
from bitline.report.figures import Json
from bitline.report.names import printable

Unit = Literal["arrays", "vector", "dma", "host", "addresses"]

UNITS: Final[tuple[tuple[Unit, str], ...]] = (
    ("arrays", "weights in arrays"),
    ("vector", "vector unit"),
    ("dma", "copied by DMA"),
    ("host", "host"),
    ("addresses", "nothing to do: part of an address or of another operator"),
)
NODES_SHOWN: Final = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """An input or output of the model."""

    name: str
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """How many nodes of one operator run on one unit."""

    operator: str
    unit: Unit
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OnHost:
    """A node that the host runs, and why no unit of the chip does."""

    node: str
    operator: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """A memory: bytes used and bytes there."""

    memory: str
    used: int
    capacity: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Macs:
    """Multiplications of one inference, by where they are done; `vector` are those of activations by activations."""

    arrays: int
    vector: int
    host: int

    @property
    def all(self) -> int:
        return self.arrays + self.vector + self.host


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """That the network fits, and how. `resident`: all weights stay in the arrays; else they are written in `segments`.

    `arrays_used` over all segments, of `arrays_available`; `arrays_needed` would hold everything at once.
    """

    arrays_used: int
    arrays_needed: int
    arrays_available: int
    resident: bool
    segments: int
    memories: tuple[Room, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """Everything that is known before quantisation with real data. `target` is "" where none was asked for.

    `problems` are what would stop a compilation, each with a way out; `fit` is None where they stopped the planning.
    """

    model: str
    target: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    rows: tuple[Row, ...]
    on_host: tuple[OnHost, ...]
    macs: Macs
    fit: Fit | None
    problems: tuple[Diagnostic, ...]
    remarks: tuple[str, ...]


def outlook_json(found: Outlook) -> dict[str, Json]:
    """The keys of `bitline check --json`."""
    fit = found.fit
    return {
        "model": found.model,
        "target": found.target,
        "ok": not found.problems,
        "inputs": [_port(port) for port in found.inputs],
        "outputs": [_port(port) for port in found.outputs],
        "operators": [{"operator": row.operator, "unit": row.unit, "count": row.count} for row in found.rows],
        "host": [{"node": entry.node, "operator": entry.operator, "why": entry.why} for entry in found.on_host],
        "macs": found.macs.all,
        "macs_on_arrays": found.macs.arrays,
        "macs_on_vector": found.macs.vector,
        "macs_on_host": found.macs.host,
        "fits": None if not found.target else fit is not None,
        "resident": None if fit is None else fit.resident,
        "segments": None if fit is None else fit.segments,
        "arrays_used": None if fit is None else fit.arrays_used,
        "arrays_needed": None if fit is None else fit.arrays_needed,
        "arrays_available": None if fit is None else fit.arrays_available,
        "memories": []
        if fit is None
        else [{"memory": room.memory, "used": room.used, "capacity": room.capacity} for room in fit.memories],
        "problems": [{"code": d.code, "message": d.message, "place": d.place, "help": d.help} for d in found.problems],
        "remarks": list(found.remarks),
    }


def _port(port: Port) -> dict[str, Json]:
    return {"name": port.name, "shape": list(port.shape), "dtype": port.dtype}


def outlook_text(found: Outlook) -> str:
    """The same for people."""
    lines = [f"{printable(found.model)}{f' on {found.target}' if found.target else ''}"]
    for label, ports in (("in", found.inputs), ("out", found.outputs)):
        lines += [f"  {label:8} {printable(p.name)} {p.dtype} {list(p.shape)}" for p in ports]
    if found.fit is not None:
        lines += [f"  {'fits':8} {_fit_text(found.fit)}", *map(_room_text, found.fit.memories)]
    elif found.target:
        lines.append(f"  {'fits':8} no: see below")
    if found.macs.all:
        shares = ((found.macs.arrays, "on arrays"), (found.macs.vector, "activations by activations on vector units"))
        parts = [f"{100 * share / found.macs.all:.4g} % {where}" for share, where in shares]
        parts.append(f"{100 * found.macs.host / found.macs.all:.4g} % on the host")
        lines.append(f"  {'MACs':8} {found.macs.all / 1e6:,.2f} M: {', '.join(parts if found.target else parts[:0])}")
        lines[-1] = lines[-1].removesuffix(": ")
    lines += ["", f"  {'operator':28} {'nodes':>6}  {'where' if found.target else ''}".rstrip()]
    words = dict(UNITS)
    lines += [
        f"  {printable(r.operator):28} {r.count:>6}  {words[r.unit] if found.target else ''}".rstrip()
        for r in found.rows
    ]
    lines += _host_text(found.on_host)
    lines += ["", *(f"  note: {printable(remark)}" for remark in found.remarks)] if found.remarks else []
    return "\n".join(lines)


def _fit_text(fit: Fit) -> str:
    if fit.resident:
        return f"yes, all weights stay in the arrays: {fit.arrays_used} of {fit.arrays_available} in use"
    parts = "" if fit.segments == 1 else f" in {fit.segments} parts, one after another"
    needed = f"{fit.arrays_needed} arrays would hold them, the chip has {fit.arrays_available}"
    return f"yes, weights are written{parts} during inference: {needed}"


def _room_text(room: Room) -> str:
    return f"  {room.memory:8} {room.used / 1e6:,.3f} of {room.capacity / 1e6:,.3f} MB"


def _host_text(on_host: Sequence[OnHost]) -> list[str]:
    if not on_host:
        return []
    lines = ["", "  on the host:"]
    lines += [f"    {printable(e.operator)} {printable(e.node)}: {printable(e.why)}" for e in on_host[:NODES_SHOWN]]
    return lines + (
        [f"    ... {len(on_host) - NODES_SHOWN} more (--json lists all)"] if len(on_host) > NODES_SHOWN else []
    )

"""One row per kernel: work, time, energy, and what holds it up."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from bitline.ir.kernels import Kernel, MatMul, Network, macs
from bitline.ir.program import UNITS
from bitline.ir.residency import BlockResidency
from bitline.ir.trace import KernelCost, Span, Trace
from bitline.report.names import unit_label
from bitline.target.schema import Chip

PS_PER_US = 1_000_000
FJ_PER_NJ = 1_000_000
COMPUTES = ("mvm", "vector", "host")
BUSY_ENOUGH = 0.5
"""A kernel in which no unit works for half of the time is held up by waiting, not by that unit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerRow:
    """What one kernel did in one inference, over all cores. Shares are of the whole inference, 0 to 1.

    A kernel works from `start_us`, its first instruction on a unit that computes, to `end_us`; it may load weights and
    inputs from `loads_from_us` on, while others work. Inside a repetition that is from its first pass to its last; the
    time share is then what its busiest unit works.
    `utilisation` is macs / (mvms x rows x columns of an array), None where nothing was multiplied in arrays.
    `bound_by` names the unit that was busy for the largest part of the duration, in words.
    """

    kernel: int
    name: str
    kind: str
    nodes: tuple[str, ...]
    macs: int
    mvms: int
    weight_writes: int
    dma_bytes: int
    loads_from_us: float
    start_us: float
    end_us: float
    duration_us: float
    time_share: float
    energy_nj: float
    energy_share: float
    energy_by_unit_nj: tuple[tuple[str, float], ...]
    utilisation: float | None
    arrays: int
    bound_by: str


def unit_order(unit: str) -> tuple[int, str]:
    """Sort key: the order of the program's queues, then names that it does not have."""
    return (UNITS.index(unit) if unit in UNITS else len(UNITS), unit)


def busy_share(span: Span) -> float:
    """Busy time over duration; arrays of a core that work side by side count once."""
    duration = span.end_ps - span.start_ps
    return min(1.0, span.busy_ps / duration) if duration else 1.0


def working_time(spans: Sequence[Span]) -> tuple[int, int]:
    """Start and end in ps: from the first instruction of a unit that computes to the last instruction of all.

    Weights and inputs are loaded while earlier kernels still compute; that would make a kernel look as long as those.
    """
    computing = [span.start_ps for span in spans if span.unit in COMPUTES] or [span.start_ps for span in spans]
    return min(computing, default=0), max((span.end_ps for span in spans), default=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitShare:
    """A unit of a core and the share, 0 to 1, of a kernel's working time for which it was busy with it."""

    unit: str
    core: int
    share: float


def unit_shares(spans: Sequence[Span]) -> tuple[UnitShare, ...]:
    """All units that worked on a kernel, the busiest first.

    Of a span that began before the working time, the part within counts, as if it had been busy evenly.
    """
    start, end = working_time(spans)
    busy: dict[tuple[str, int], float] = defaultdict(float)
    for span in spans:
        length = span.end_ps - span.start_ps
        within = (span.end_ps - max(start, span.start_ps)) / length if length else 1.0
        busy[span.unit, span.core] += span.busy_ps * max(0.0, within)
    share_of = {key: min(1.0, time / (end - start)) if end > start else 1.0 for key, time in busy.items()}
    order = sorted(busy, key=lambda key: (-share_of[key], -busy[key], unit_order(key[0]), key[1]))
    return tuple(UnitShare(unit=key[0], core=key[1], share=share_of[key]) for key in order)


def bound_by(spans: Sequence[Span]) -> str:
    """What holds a kernel up: `mvm 93 %`, or `waiting (dma in 31 %)` where no unit is busy for half of the time."""
    if not spans:
        return "no work"
    busiest = unit_shares(spans)[0]
    unit, share = busiest.unit, busiest.share
    words = f"{unit_label(unit)} {100 * share:.0f} %"
    return words if share >= BUSY_ENOUGH else f"waiting ({words})"


def _arrays(place: int, kernel: Kernel, blocks: Sequence[BlockResidency]) -> int:
    """Arrays in which a kernel finds its weights."""
    if not isinstance(kernel, MatMul):
        return 0
    return len({(b.region.core, b.region.array) for b in blocks if b.from_step <= place <= b.to_step})


def _utilisation(macs: int, mvms: int, chip: Chip) -> float | None:
    cells = mvms * chip.array.rows.value * chip.array.cols.value
    return macs / cells if cells else None


def layer_table(network: Network, blocks: Sequence[BlockResidency], trace: Trace, chip: Chip) -> tuple[LayerRow, ...]:
    """One row per kernel, in the order of the network; a kernel without spans or cost has zeros."""
    spans: dict[int, list[Span]] = defaultdict(list)
    costs: dict[int, list[KernelCost]] = defaultdict(list)
    held: dict[str, list[BlockResidency]] = defaultdict(list)
    for span in trace.spans:
        spans[span.kernel].append(span)
    for cost in trace.costs:
        costs[cost.kernel].append(cost)
    for block in blocks:
        held[block.block.matrix].append(block)
    rows: list[LayerRow] = []
    for place, kernel in enumerate(network.kernels):
        mine, paid = spans[place], costs[place]
        start, end = working_time(mine)
        by_unit: dict[str, int] = defaultdict(int)
        for cost in paid:
            for unit, energy in cost.energy_by_unit_fj.items():
                by_unit[unit] += energy
        mvms, energy = sum(cost.mvms for cost in paid), sum(cost.energy_fj for cost in paid)
        passes = network.passes(place)
        work = passes * macs(kernel)
        taken = end - start if passes == 1 else max((span.busy_ps for span in mine), default=0)
        rows.append(
            LayerRow(
                kernel=place,
                name=kernel.name,
                kind=kernel.kind,
                nodes=kernel.nodes,
                macs=work,
                mvms=mvms,
                weight_writes=sum(cost.weight_writes for cost in paid),
                dma_bytes=sum(cost.dma_bytes for cost in paid),
                loads_from_us=min((span.start_ps for span in mine), default=0) / PS_PER_US,
                start_us=start / PS_PER_US,
                end_us=end / PS_PER_US,
                duration_us=(end - start) / PS_PER_US,
                time_share=taken / trace.latency_ps if trace.latency_ps else 0.0,
                energy_nj=energy / FJ_PER_NJ,
                energy_share=energy / trace.energy_fj if trace.energy_fj else 0.0,
                energy_by_unit_nj=tuple((u, by_unit[u] / FJ_PER_NJ) for u in sorted(by_unit, key=unit_order)),
                utilisation=_utilisation(work, mvms, chip),
                arrays=_arrays(place, kernel, held[kernel.matrix.name] if isinstance(kernel, MatMul) else ()),
                bound_by=bound_by(mine),
            )
        )
    return tuple(rows)

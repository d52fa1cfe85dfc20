"""What ran when, on which unit, for which kernel; integer picoseconds and femtojoules."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Instructions of one kernel on one unit: first start to last end, and the time in between during which
    at least one of them was being carried out.
    """

    kernel: int
    core: int
    unit: str
    start_ps: int
    end_ps: int
    busy_ps: int
    instructions: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelCost:
    """What one kernel executed in one inference, summed over cores."""

    kernel: int
    mvms: int
    weight_writes: int
    dma_transactions: int
    dma_bytes: int
    instructions: int
    energy_fj: int
    energy_by_unit_fj: dict[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """Time and energy of one inference, and of the weight loading before the first. `interval_ps`: from one result to
    the next over a stream of inputs; the latency where they do not overlap."""

    latency_ps: int
    interval_ps: int
    setup_ps: int
    energy_fj: int
    setup_energy_fj: int
    instructions: int
    spans: tuple[Span, ...]
    costs: tuple[KernelCost, ...]

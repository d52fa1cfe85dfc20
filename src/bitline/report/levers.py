"""Which single change of the chip would help a kernel, and how its figures read: candidates here, prices elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from bitline.ir.kernels import MatMul, Network
from bitline.report.explain import Explained
from bitline.report.layers import BUSY_ENOUGH
from bitline.target.schema import Chip, entry

MOST_LEVERS: Final = 6
WORTH: Final = 0.01
"""A lever that saves less of the layer's time is not called one."""
PLENTY: Final = 0.1
"""A cheap lever is preferred to a dear one that saves more, if it saves this share of the layer's time."""
DEARNESS: Final[tuple[tuple[str, ...], ...]] = (
    ("memory.input_bytes", "memory.psum_bytes", "memory.output_bytes"),
    ("control.issue_ns", "noc.message_ns", "dma.setup_ns", "vector.setup_ns"),
    ("dma.bytes_per_ns", "memory.shared_bytes_per_ns", "vector.elements_per_ns", "vector.macs_per_ns"),
    ("memory.dram_bytes_per_ns", "host.call_ns", "host.bytes_per_ns", "host.macs_per_ns"),
    ("array.per_core", "cores"),
    ("array.step_ns", "array.write_row_ns"),
)
"""Keys from cheap to dear, estimated: some KiB of SRAM, a shorter pipeline, wider buses, pins and
the host, area, another device."""
REPLANNED: Final = frozenset(
    ("memory.input_bytes", "memory.psum_bytes", "memory.output_bytes", "array.per_core", "cores")
)
"""Keys on which tiles and placement depend; the others only change what an instruction costs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One key of the chip, once doubled or once halved, whichever is the better."""

    key: str
    before: float
    after: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Lever:
    """A change and what it does: times of the kernel and of the inference in us, tiles and array writes of the kernel.

    `replanned`: placement, schedule and program were made again for the changed chip; else the same program was priced.
    """

    change: Change
    replanned: bool
    layer_us: float
    latency_us: float
    tiles: int
    loads: int


def candidates(explained: Explained, network: Network, chip: Chip) -> tuple[Change, ...]:
    """Changes to try, the likeliest first; which they are follows from the unit that binds the time."""
    if explained.critical is None:
        return ()
    product = isinstance(network.kernels[explained.kernel], MatMul)
    streamed = explained.weights in ("held", "cycled")
    buffers = ("memory.psum_bytes", "memory.input_bytes", "memory.output_bytes") if product else ("memory.input_bytes",)
    by_unit: dict[str, tuple[str, ...]] = {
        "write": ("memory.psum_bytes", "memory.input_bytes", "array.write_row_ns", "memory.dram_bytes_per_ns"),
        "mvm": ("array.step_ns", "cores", "memory.psum_bytes"),
        "dma_in": ("memory.shared_bytes_per_ns", "dma.bytes_per_ns", "dma.setup_ns", "memory.input_bytes"),
        "dma_out": ("memory.shared_bytes_per_ns", "dma.bytes_per_ns", "dma.setup_ns", "memory.output_bytes"),
        "vector": ("vector.elements_per_ns", "vector.setup_ns", "vector.macs_per_ns", "cores"),
        "host": ("host.call_ns", "host.bytes_per_ns", "host.macs_per_ns"),
    }
    keys = by_unit.get(explained.critical.unit, ())
    if explained.critical.share < BUSY_ENOUGH:
        keys = (*keys[:2], *buffers, "noc.message_ns", "control.issue_ns")
    if streamed:
        keys = (*keys, "array.per_core")
    changes = (_change(chip, key) for key in dict.fromkeys(keys))
    return tuple(change for change in changes if change is not None)[:MOST_LEVERS]


def _change(chip: Chip, key: str) -> Change | None:
    found = entry(chip, key)
    value = found.value if found is not None else None
    if isinstance(value, bool) or not isinstance(value, int | float) or value == 0:
        return None
    better = value / 2 if key.endswith("_ns") and not key.endswith("_per_ns") else value * 2
    return Change(key=key, before=value, after=better)


def by_saving(levers: Sequence[Lever]) -> tuple[Lever, ...]:
    """The lever that saves the most time of the layer first; of equal ones, the one that was tried first."""
    return tuple(sorted(levers, key=lambda lever: lever.layer_us))


def cheapest(levers: Sequence[Lever], explained: Explained) -> Lever | None:
    """The first in the order of `DEARNESS` that saves `PLENTY`, else the one that saves most; None if none is worth it.

    Of equally dear ones, the one that saves more.
    """
    useful = [lever for lever in by_saving(levers) if worth(lever, explained)]
    plenty = [lever for lever in useful if lever.layer_us <= explained.duration_us * (1 - PLENTY)]
    return min(plenty, key=_dearness) if plenty else next(iter(useful), None)


def _dearness(lever: Lever) -> int:
    return next(i for i, keys in enumerate(DEARNESS) if lever.change.key in keys)


def worth(lever: Lever, explained: Explained) -> bool:
    """Whether the layer is faster by more than `WORTH` of its time."""
    return lever.layer_us < explained.duration_us * (1 - WORTH)

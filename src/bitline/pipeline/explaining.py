"""A kernel of a package explained, and the chip's levers priced: by planning again, or with the same program."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bitline.core.diagnostics import Refusal
from bitline.ir.trace import Trace
from bitline.lower.kernels import Lowered
from bitline.pipeline.compile import plan_and_program
from bitline.pipeline.contents import Contents
from bitline.report.explain import Explained, explain_kernel, find_kernel
from bitline.report.levers import REPLANNED, Change, Lever, candidates
from bitline.sim import timing
from bitline.target.load import changed


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """A kernel, the latency of the inference in us, and its levers in the order in which they were tried."""

    explained: Explained
    latency_us: float
    levers: tuple[Lever, ...]


PS_PER_US = 1_000_000


def explain(contents: Contents, layer: str, *, levers: bool = True) -> Explanation:
    """The kernel of ONNX node `layer`. Raises `Refusal` (BL0101) where there is none.

    `levers`: also price changes of the chip, each of which simulates the whole inference once more.
    """
    number = find_kernel(contents.network, layer, contents.network.name)
    trace = timing.trace(contents.chip, contents.program, len(contents.network.kernels), contents.schedule.window)
    explained = explain_kernel(contents.network, contents.schedule, contents.blocks, trace, contents.chip, number)
    tried: Sequence[Change] = candidates(explained, contents.network, contents.chip) if levers else ()
    priced = [price(contents, explained, change) for change in tried]
    return Explanation(
        explained=explained,
        latency_us=trace.latency_ps / PS_PER_US,
        levers=tuple(lever for lever in priced if lever is not None),
    )


def price(contents: Contents, explained: Explained, change: Change) -> Lever | None:
    """What a change does to a kernel; None where no chip can be so, or where the network does not fit it."""
    whole = isinstance(change.before, int)
    value = int(change.after) if whole else change.after
    try:
        chip = changed(contents.chip, [f"{change.key}={value!r}"])
        if change.key not in REPLANNED:
            trace = timing.trace(chip, contents.program, len(contents.network.kernels), contents.schedule.window)
            again = explain_kernel(contents.network, contents.schedule, contents.blocks, trace, chip, explained.kernel)
            return _lever(change, again, trace, replanned=False)
        lowered = Lowered(network=contents.network, constants=contents.constants)
        stream = contents.schedule.stream
        planned, built = plan_and_program(lowered, chip, stream.inputs if stream else 1, _budget(contents))
        trace = timing.trace(chip, built.program, len(contents.network.kernels), planned.schedule.window)
        again = explain_kernel(contents.network, planned.schedule, planned.blocks, trace, chip, explained.kernel)
        return _lever(change, again, trace, replanned=True)
    except Refusal:
        return None


def _budget(contents: Contents) -> int | None:
    """The arrays that a package takes for copies of layers, if it has any."""
    if all(plan.copies == 1 for plan in contents.schedule.kernels):
        return None
    return len({(block.region.core, block.region.array) for block in contents.blocks})


def _lever(change: Change, again: Explained, trace: Trace, *, replanned: bool) -> Lever:
    return Lever(
        change=change,
        replanned=replanned,
        layer_us=again.duration_us,
        latency_us=trace.latency_ps / PS_PER_US,
        tiles=again.tiles,
        loads=again.loads,
    )

"""From observed ranges to the grid of every tensor of a plan, and the steps whose values no grid can hold."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from bitline.graph.model import Wiring
from bitline.quant.grid import WIDE, Grid, activation_grid
from bitline.quant.kinds import Kind
from bitline.quant.masks import Masks
from bitline.quant.options import QuantOptions
from bitline.quant.ranges import Observation, Range
from bitline.quant.steps import Plan, Step
from bitline.quant.wide import Widths, narrow_reads

LARGEST_VALUE: Final = 1e30  # the product of two such scales still is a float32


@dataclass(frozen=True, slots=True, kw_only=True)
class Grids:
    """`of` has one grid for each owner of `Plan.owner`, `constants` one for each constant operand of each step.

    `narrowed` names the (step, operand) pairs that read a 16-bit tensor in 8 bits, on its grid in `narrow`.
    """

    of: Mapping[str, Grid]
    constants: Mapping[tuple[str, str], Grid]
    narrow: Mapping[str, Grid]
    narrowed: Collection[tuple[str, str]]

    def read(self, plan: Plan, step: Step, name: str) -> Grid:
        """The grid on which a step reads an activation."""
        return self.narrow[name] if (step.node, name) in self.narrowed else self.of[plan.owner[name]]


def assign_grids(
    wiring: Wiring,
    plan: Plan,
    ranges: Mapping[str, Range],
    *,
    extremes: Mapping[str, Range],
    masks: Masks,
    widths: Widths,
    options: QuantOptions,
) -> Grids:
    """The grids that `ranges` (of every observed owner) lead to; wide tensors get 16 bits, over `extremes`.

    Softmax always has [0, 1], so that 1.0 is the largest integer exactly (scale 1/255 or 1/32767).
    """
    softmax = {step.output for step in plan.steps if step.kind is Kind.SOFTMAX}
    bits = options.activation_bits

    def limits(name: str) -> Range:
        if name in softmax:
            return 0.0, 1.0
        if name in masks.ranges:
            return masks.ranges[name]
        return ranges[name] if name in ranges else _extremes(name, wiring)

    def plain(name: str) -> bool:
        return name not in softmax and name not in masks.ranges

    def width(name: str) -> int:
        return WIDE if name in widths.tensors else bits

    owners = sorted(set(plan.owner.values()))
    narrowed = narrow_reads(plan, widths)
    constants = {
        (step.node, name): activation_grid(*limits(name), bits if step.kind is Kind.PRODUCT else width(step.output))
        for step in plan.steps
        if step.kind is not Kind.MOVE
        for name in step.constants
    }
    return Grids(
        of={
            name: activation_grid(*(extremes[name] if name in extremes and plain(name) else limits(name)), width(name))
            for name in owners
        },
        constants=constants,
        narrow={
            name: activation_grid(*limits(name if name in ranges else plan.owner[name]), bits)
            for name in sorted({name for _, name in narrowed})
        },
        narrowed=narrowed,
    )


def tied(plan: Plan, grids: Grids, pairs: Sequence[tuple[str, str]]) -> Grids:
    """The same grids, but one for both tensors of each pair (a state as it leaves and as it enters)."""
    of = dict(grids.of)
    for left, right in pairs:
        owners = [plan.owner[name] for name in (left, right) if name in plan.owner]
        if len(owners) < 2:
            continue
        both = [of[owner] for owner in owners]
        low, high = min(g.limits()[0] for g in both), max(g.limits()[1] for g in both)
        together = activation_grid(low, high, max(g.bits for g in both))
        of |= dict.fromkeys(owners, together)
    return Grids(of=of, constants=grids.constants, narrow=grids.narrow, narrowed=grids.narrowed)


def unfit(wiring: Wiring, plan: Plan, seen: Mapping[str, Observation], masks: Masks) -> dict[str, str]:
    """Nodes that calibration shows to be beyond any grid, and why: they have to stay in float.

    With a division whose divisor comes so close to 0 that 8 bits would make it 0, so has everything that the divisor is
    computed with, back to a layer or an input.
    """
    found: dict[str, str] = {}
    makers = {name: step for step in plan.steps for name in step.outputs}
    for step in plan.steps:
        owners = {plan.owner[name] for name in (*step.inputs, *step.outputs)} | set(step.constants)
        if any(_beyond(name, wiring, seen) for name in owners - set(masks.ranges)):
            found[step.node] = "values near infinity"
        divisor = wiring.producer[step.output].input[1] if step.op_type == "Div" else ""
        if divisor and divisor not in wiring.constants and _near_zero(seen.get(plan.owner[divisor])):
            waiting = [step.node, *_ancestors(makers, divisor)]
            found |= dict.fromkeys(waiting, "divisor comes too close to 0 for 8 bits")
    return found


def _near_zero(divisor: Observation | None) -> bool:
    if divisor is None:
        return False
    reach = max(divisor.low, -divisor.high)  # distance of the range from 0; negative where it holds 0
    return reach * 255 < 16 * max(divisor.high, -divisor.low)


def _ancestors(makers: Mapping[str, Step], name: str) -> set[str]:
    """The steps that `name` depends on, back to layers, LayerNormalization and inputs."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        step = makers.get(waiting.pop())
        if step is not None and step.node not in found and step.kind not in (Kind.MATMUL, Kind.NORM):
            found.add(step.node)
            waiting += step.inputs
    return found


def _beyond(name: str, wiring: Wiring, seen: Mapping[str, Observation]) -> bool:
    low, high = seen[name].minmax() if name in seen else _extremes(name, wiring)
    return not (-LARGEST_VALUE < low <= high < LARGEST_VALUE)


def _extremes(name: str, wiring: Wiring) -> Range:
    value = wiring.array(name)
    assert value is not None, f"{name!r} was neither observed nor is constant"
    return (float(value.min()), float(value.max())) if value.size else (0.0, 0.0)

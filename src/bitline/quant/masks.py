"""Additive attention masks: numbers near minus infinity in front of a Softmax, which would take the whole grid.

    y = Softmax(Add(scores, Where(keep, 0, -3.4e38)))        Where, Add, Mul by -1e4 and moves may lie between

What a mask must do is make the exponential vanish: below half a step of the softmax output, all masked elements
together. So the masked sum may saturate at `floor` = the smallest maximum of a row of scores - ln(2 * largest q * row),
and the mask itself at `depth` = floor - the largest score. Both then have grids as fine as their unmasked values allow.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from bitline.graph.model import Wiring
from bitline.quant.grid import WIDEST
from bitline.quant.kinds import Kind
from bitline.quant.ranges import FAR, Observation, Range
from bitline.quant.steps import Plan
from bitline.quant.wide import LONGEST_NARROW_SOFTMAX, softmax_width

_CARRIES: Final = frozenset(
    {"Where", "Mul", "Add", "Sub", "Div", "Min", "Max", "Expand", "Reshape", "Transpose", "Unsqueeze", "Squeeze"}
    | {"Flatten", "Slice", "Split", "Gather", "Identity", "Cast", "Tile", "Concat", "Trilu", "Pad", "ScatterND"}
)
"""Operators through which a mask is followed back to the number that makes it one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Masks:
    """`ranges` replaces the observed range of tensors and constants that carry a mask; `remark` says it in words."""

    ranges: Mapping[str, Range]
    remark: str = ""


def find_masks(wiring: Wiring, plan: Plan, seen: Mapping[str, Observation]) -> Masks:
    """The masks in front of every Softmax, from the observation of their operands. `seen` holds owners of grids."""
    ranges: dict[str, Range] = {}
    floors: list[float] = []
    for step in plan.steps:
        scores = plan.owner[step.inputs[0]] if step.kind is Kind.SOFTMAX and step.inputs else ""
        if not scores or scores not in wiring.producer:
            continue
        carriers, factors = _carriers(scores, wiring, plan, seen)
        if wiring.producer[scores].op_type not in ("Add", "Sub", "Where") or not carriers:
            continue
        width = softmax_width(wiring, step)
        largest = WIDEST if width > LONGEST_NARROW_SOFTMAX else 255
        high = min(seen[scores].high, -FAR)
        crest = _crest(seen[scores], seen[step.inputs[0]].crest, high)
        floor = crest - math.log(2 * largest * width)
        depth = floor - max(high, 0.0)
        flips = any(_reaches(wiring, name)[1] for name in carriers)
        for name in carriers - {scores}:
            low, top = _range(name, depth, wiring, seen, flips=flips)
            held = ranges.get(name, (0.0, 0.0))
            ranges[name] = (min(low, held[0]), max(top, held[1]))
        ranges[scores] = (floor, high)
        for name in factors - carriers:
            if name in seen and seen[name].minmax() == (0.0, 0.0):  # nothing was masked during calibration
                ranges[name] = (-1.0, 1.0)
        floors.append(floor)
    if not floors:
        return Masks(ranges={})
    remark = f"attention masks in front of {len(floors)} Softmax saturate: scores end at {min(floors):.3g}"
    return Masks(ranges=ranges, remark=remark)


def _crest(scores: Observation, crest: float | None, high: float) -> float:
    """The smallest maximum of a row; of rows that hold one score where nothing was masked during calibration."""
    if scores.low > FAR:
        return scores.low
    return high if crest is None else crest


def _range(name: str, depth: float, wiring: Wiring, seen: Mapping[str, Observation], *, flips: bool) -> Range:
    """The range of a tensor or constant that carries a mask: `depth` (or -depth) stands for infinity.

    `flips`: some number on the way is far above 0, so that the mask may change its sign.
    """
    value = wiring.array(name)
    if value is not None:
        near = value[np.abs(value) < -FAR]
        low, high = (float(near.min()), float(near.max())) if near.size else (0.0, 0.0)
        far_below, far_above = _reaches(wiring, name)
    elif name in seen:
        low, high = seen[name].minmax()
        far_below, far_above = low <= FAR, high >= -FAR
        if not far_below and not far_above:  # nothing was masked during calibration
            far_below, far_above = True, flips
    else:
        low, high, far_below, far_above = 0.0, 0.0, True, flips
    return depth if far_below else low, -depth if far_above else high


def _reaches(wiring: Wiring, name: str) -> tuple[bool, bool]:
    """Whether a float constant holds numbers near minus infinity, and near plus infinity."""
    value = wiring.array(name)
    if value is None or value.dtype.kind != "f" or not value.size:
        return False, False
    return float(value.min()) <= FAR, float(value.max()) >= -FAR


def _carriers(scores: str, wiring: Wiring, plan: Plan, seen: Mapping[str, Observation]) -> tuple[set[str], set[str]]:
    """Owners of grids, and constants, that hold the mask on its way to `scores`, with `scores`; empty: no mask.

    The second set holds what numbers near infinity are multiplied with: the mask as 0 and 1.
    """
    known: dict[str, bool] = {}
    factors: set[str] = set()

    def carries(name: str) -> bool:
        if name in known:
            return known[name]
        known[name] = False
        node = wiring.producer.get(name)
        if name in wiring.constants:
            known[name] = any(_reaches(wiring, name))
        elif node is None:
            known[name] = name in seen and seen[name].low <= FAR
        elif node.op_type in _CARRIES:
            held = [carries(read) for read in node.input if read]  # all of them: each carrier gets a range
            known[name] = any(held)
            if node.op_type == "Mul" and any(held):
                factors.update(node.input)
        return known[name]

    carries(scores)
    held = {plan.owner.get(name, name) for name, carried in known.items() if carried}
    return held, {plan.owner.get(name, name) for name in factors}

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
from bitline.quant.steps import Plan, Step
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
    makers = {name: step for step in plan.steps if step.kind is not Kind.MOVE for name in step.outputs}
    ranges: dict[str, Range] = {}
    nodes: list[str] = []
    floors: list[float] = []
    for step in plan.steps:
        if step.kind is not Kind.SOFTMAX:
            continue
        scores = plan.owner[step.inputs[0]]
        maker = makers.get(scores)
        carriers = _carriers(scores, wiring, plan, seen)
        if maker is None or maker.op_type not in ("Add", "Where") or not carriers:
            continue
        width = softmax_width(wiring, step)
        largest = WIDEST if width > LONGEST_NARROW_SOFTMAX else 255
        crest = seen[step.inputs[0]].crest
        high = min(seen[scores].high, -FAR)
        floor = (high if crest is None else crest) - math.log(2 * largest * width)
        depth = floor - max(high, 0.0)
        ranges[scores] = (floor, high)
        for name in carriers - {scores}:
            limits = ranges.get(name, (0.0, 0.0))
            ranges[name] = (min(depth, limits[0]), max(_top(name, maker, wiring, seen), limits[1]))
        nodes.append(step.node)
        floors.append(floor)
    if not nodes:
        return Masks(ranges={})
    remark = f"attention masks in front of {len(nodes)} Softmax saturate: scores end at {min(floors):.3g}"
    return Masks(ranges=ranges, remark=remark)


def _top(name: str, maker: Step, wiring: Wiring, seen: Mapping[str, Observation]) -> float:
    """The largest value apart from the mask; a number far above 0 (a mask with its sign still to change) is none."""
    value = wiring.array(name)
    if value is not None:
        near = value[np.abs(value) < -FAR]
        return float(near.max()) if near.size else 0.0
    observed = seen.get(name)
    return 0.0 if observed is None or observed.high >= -FAR else observed.high


def _carriers(scores: str, wiring: Wiring, plan: Plan, seen: Mapping[str, Observation]) -> set[str]:
    """Owners of grids, and constants, that hold the mask on its way to `scores`, with `scores`; empty: no mask."""
    known: dict[str, bool] = {}

    def carries(name: str) -> bool:
        if name in known:
            return known[name]
        known[name] = False
        value = wiring.array(name)
        node = wiring.producer.get(name)
        if value is not None:
            known[name] = value.dtype.kind == "f" and value.size > 0 and float(value.min()) <= FAR
        elif node is None:
            known[name] = name in seen and seen[name].low <= FAR
        elif node.op_type in _CARRIES:
            held = [carries(read) for read in node.input if read]  # all of them: each carrier gets a range
            known[name] = any(held)
        return known[name]

    if not carries(scores):
        return set()
    return {plan.owner.get(name, name) for name, held in known.items() if held}

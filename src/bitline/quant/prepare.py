"""What quantisation knows before it chooses grids: the plan, observed ranges, masks, and what may take 16 bits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy.typing as npt

from bitline.graph.model import Model, Wiring
from bitline.quant.assign import unfit
from bitline.quant.kinds import Kind
from bitline.quant.masks import Masks, find_masks
from bitline.quant.opset import with_int16
from bitline.quant.options import QuantOptions
from bitline.quant.ranges import Observation, observe
from bitline.quant.steps import Plan, plan_steps
from bitline.quant.wide import (
    Widths,
    cell_state,
    lengths,
    narrow_reads,
    residual_path,
    root_sums,
    softmax_axis,
    wide_softmax,
)

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A plan with everything that was observed for it.

    `wide` always takes 16 bits; `residual`, `roots` and what layers read may. `model` is in an opset with int16 where
    one of the first three holds something; `original`, the model as it was given, has the same plan, or is None.
    `leave` stays in float.
    """

    model: Model
    original: Model | None
    plan: Plan
    seen: Mapping[str, Observation]
    masks: Masks
    wide: frozenset[str]
    residual: frozenset[str]
    roots: frozenset[str]
    leave: Mapping[str, str]
    remarks: tuple[str, ...]

    def raised(self) -> Prepared | None:
        """The same in an opset with int16; None where the model cannot be raised, or would be another one."""
        model = with_int16(self.model)
        if model is None or plan_steps(model, self.leave) != self.plan:
            return None
        return replace(self, model=model)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """Candidates for 16 bits, by why."""

    softmax: frozenset[str] = frozenset()
    cells: frozenset[str] = frozenset()
    lengths: frozenset[str] = frozenset()
    roots: frozenset[str] = frozenset()
    residual: frozenset[str] = frozenset()

    def any(self) -> frozenset[str]:
        return self.certain() | self.residual | self.roots

    def certain(self) -> frozenset[str]:
        return self.softmax | self.cells | self.lengths


def prepare(model: Model, feeds: Mapping[str, Array], options: QuantOptions) -> Prepared:
    """Plan and observe. The nodes of `model` have unique names, `feeds` went through `checked`.

    Raises `Refusal` (BL0105) where a tensor becomes NaN or infinite.
    """
    remarks: list[str] = []
    original, plan = model, plan_steps(model)
    found = _found(model, plan, options)
    if found.any():
        raised = with_int16(model)
        if raised is None:
            remarks.append("no 16-bit activations: the model cannot be raised to opset 21")
            found = _Found()
        else:
            model, plan = raised, plan_steps(raised)
            found = _found(model, plan, options)
    wiring = Wiring(model.proto.graph)
    crests = {step.inputs[0]: softmax_axis(wiring, step) for step in plan.steps if step.kind is Kind.SOFTMAX}
    seen: dict[str, Observation] = {}
    leave: dict[str, str] = {}
    while True:  # a plan that leaves nodes in float can need tensors that were inside a step before
        narrowed = narrow_reads(plan, Widths(tensors=found.any()))
        wanted = set(plan.owner.values()) | {name for _, name in narrowed}
        if unseen := sorted(wanted - set(wiring.constants) - set(seen)):
            seen |= observe(model, unseen, feeds, histogram=options.method != "minmax", crests=crests)
        more = unfit(wiring, plan, seen, find_masks(wiring, plan, seen))
        if more.keys() <= leave.keys():
            break
        leave = more | leave
        plan = plan_steps(model, leave)
        found = _found(model, plan, options) if found.any() else found
    masks = find_masks(wiring, plan, seen)
    for tensors, what in (
        (found.softmax, "Softmax over more than 128 elements"),
        (found.cells, "tensors of recurrent cells"),
        (found.lengths, "tensors of magnitudes sqrt(a^2 + b^2)"),
    ):
        if tensors:
            remarks.append(f"{len(tensors)} {what} in 16 bits")
    if masks.remark:
        remarks.append(masks.remark)
    return Prepared(
        model=model,
        original=original if plan_steps(original, leave) == plan else None,
        plan=plan,
        seen=seen,
        masks=masks,
        wide=found.certain(),
        residual=found.residual - found.certain(),
        roots=found.roots - found.certain(),
        leave=leave,
        remarks=tuple(remarks),
    )


def _found(model: Model, plan: Plan, options: QuantOptions) -> _Found:
    return _Found(
        softmax=wide_softmax(Wiring(model.proto.graph), plan),
        cells=cell_state(plan),
        lengths=lengths(plan),
        roots=root_sums(plan) if options.unary_bits != 8 else frozenset(),
        residual=residual_path(plan) if options.residual_bits != 8 else frozenset(),
    )

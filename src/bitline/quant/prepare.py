"""What quantisation knows before it chooses grids: the plan, observed ranges, masks, and what may take 16 bits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
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
from bitline.quant.wide import cell_state, narrow_reads, residual_path, root_sums, softmax_axis, wide_softmax

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A plan with everything that was observed for it.

    `wide` always takes 16 bits, `residual` may. `model` is in an opset with int16 where one of them holds something;
    `original`, the model as it was given, has the same plan, or is None.
    """

    model: Model
    original: Model | None
    plan: Plan
    seen: Mapping[str, Observation]
    masks: Masks
    wide: frozenset[str]
    residual: frozenset[str]
    remarks: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Widths:
    softmax: frozenset[str] = frozenset()
    cells: frozenset[str] = frozenset()
    roots: frozenset[str] = frozenset()
    residual: frozenset[str] = frozenset()

    def all(self) -> frozenset[str]:
        return self.certain() | self.residual

    def certain(self) -> frozenset[str]:
        return self.softmax | self.cells | self.roots


def prepare(model: Model, feeds: Mapping[str, Array], options: QuantOptions) -> Prepared:
    """Plan and observe. The nodes of `model` have unique names, `feeds` went through `checked`.

    Raises `Refusal` (BL0105) where a tensor becomes NaN or infinite.
    """
    remarks: list[str] = []
    original, plan = model, plan_steps(model)
    widths = _widths(model, plan, options)
    if widths.all():
        raised = with_int16(model)
        if raised is None:
            remarks.append("no 16-bit activations: the model cannot be raised to opset 21")
            widths = _Widths()
        else:
            model, plan = raised, plan_steps(raised)
            widths = _widths(model, plan, options)
    wiring = Wiring(model.proto.graph)
    crests = {step.inputs[0]: softmax_axis(wiring, step) for step in plan.steps if step.kind is Kind.SOFTMAX}
    wanted = set(plan.owner.values()) | {name for _, name in narrow_reads(plan, widths.all(), options.unary_bits)}
    observed = sorted(wanted - set(wiring.constants))
    seen = observe(model, observed, feeds, histogram=options.method != "minmax", crests=crests)
    leave = unfit(wiring, plan, seen, find_masks(wiring, plan, seen))
    if leave:
        plan = plan_steps(model, leave)
        widths = _widths(model, plan, options) if widths.all() else widths
    masks = find_masks(wiring, plan, seen)
    if widths.softmax:
        remarks.append(f"{len(widths.softmax)} Softmax over more than 128 elements in 16 bits")
    if widths.cells:
        remarks.append(f"{len(widths.cells)} tensors of recurrent cells in 16 bits")
    if widths.roots:
        remarks.append(f"{len(widths.roots)} sums of squares below a Sqrt in 16 bits")
    if masks.remark:
        remarks.append(masks.remark)
    return Prepared(
        model=model,
        original=original if plan_steps(original, leave) == plan else None,
        plan=plan,
        seen=seen,
        masks=masks,
        wide=widths.certain(),
        residual=widths.residual - widths.certain(),
        remarks=tuple(remarks),
    )


def _widths(model: Model, plan: Plan, options: QuantOptions) -> _Widths:
    return _Widths(
        softmax=wide_softmax(Wiring(model.proto.graph), plan),
        cells=cell_state(plan),
        roots=root_sums(plan) if options.unary_bits == 16 else frozenset(),
        residual=residual_path(plan) if options.residual_bits != 8 else frozenset(),
    )

"""Post-training quantisation: ranges from samples, the QDQ model, and how close it comes to the float model."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx

from bitline.core.diagnostics import refuse
from bitline.graph import shapes
from bitline.graph.model import Model, Wiring
from bitline.graph.passes.name_nodes import name_nodes
from bitline.quant.assign import assign_grids, tied
from bitline.quant.calibration import batches, checked
from bitline.quant.opset import with_int16
from bitline.quant.options import QuantOptions
from bitline.quant.prepare import prepare
from bitline.quant.qdq import write_qdq
from bitline.quant.scan import Scans, quantise_scans
from bitline.quant.score import sqnr_db
from bitline.quant.search import Judge, choose
from bitline.quant.steps import Left, plan_steps
from bitline.quant.streams import KEPT_STEPS, recorded, spread_steps
from bitline.quant.wide import Widths

Array = npt.NDArray[Any]

LINES_OF_FLOAT: Final = 5  # reasons to stay in float that the report tells apart


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantResult:
    """`model` is QDQ; `steps` say in words what was done; `sqnr_db` compares its outputs with the float model's.

    With several outputs the noise of each is taken in relation to its own signal, and the mean of these counts.
    """

    model: Model
    steps: tuple[str, ...]
    sqnr_db: float


def is_quantized(model: Model) -> bool:
    """Whether the model already holds QuantizeLinear or DequantizeLinear."""
    return any(node.op_type in ("QuantizeLinear", "DequantizeLinear") for node in model.proto.graph.node)


def quantize(model: Model, samples: Mapping[str, Array], options: QuantOptions = QuantOptions()) -> QuantResult:
    """Quantise a simplified float model with samples stacked on axis 0. What has no integer form stays in float.

    Raises `Refusal`: BL0101 options, or quantised already; BL0105 samples.
    """
    options.check()
    if is_quantized(model):
        raise refuse(
            "BL0101",
            "the model is quantised already",
            place=model.place(),
            help="compile it as it is, or start from the float model",
        )
    named = replace(model, proto=name_nodes(model.proto))
    feeds = recorded(model, samples, options.states, finite=plan_steps(named).owner)
    scans = _with_bodies(named, feeds, options)
    every = list(batches(feeds, model))
    judge = Judge(scans.model, every, options.states)
    kept = every
    if options.states and len(every) > KEPT_STEPS:
        kept = spread_steps(every, KEPT_STEPS)
        feeds = {name: np.stack([batch[name] for batch in kept]) for name in feeds}
    ready = prepare(scans.model, feeds, options)
    chosen = choose(ready, judge, options)
    source = ready.model
    if chosen.widths.tensors:
        source = chosen.ready.model
    elif ready.original is not None:
        source = ready.original
    proto = shapes.with_shapes(write_qdq(source, ready.plan, chosen.best.grids, options))
    figures = ", ".join(f"{entry.method} {entry.error:.3g}" for entry in chosen.tried)
    back = f"{len(options.states)} state{'s' if len(options.states) > 1 else ''} fed back"
    stream = f" of a stream, {back}" if options.states else ""
    return QuantResult(
        model=replace(source, proto=proto),
        steps=(
            f"ranges of {len(set(ready.plan.owner.values()))} activations from {len(kept)} samples{stream}: "
            + chosen.best.method
            + (f" (noise by signal at the outputs: {figures})" if len(chosen.tried) > 1 else ""),
            f"weights int{options.weight_bits} symmetric per {options.granularity}, "
            f"activations uint{options.activation_bits} per tensor, biases int32",
            *scans.remarks,
            *ready.remarks,
            *chosen.remarks,
            *_in_float(ready.plan.left),
        ),
        sqnr_db=sqnr_db(1.0, chosen.best.error),
    )


def _with_bodies(model: Model, feeds: Mapping[str, Array], options: QuantOptions) -> Scans:
    """The model with the bodies of its Scans quantised; they and it have to be of one opset."""
    if not any(node.op_type == "Scan" for node in model.proto.graph.node):
        return Scans(model=model, remarks=())
    raised = with_int16(model)
    if raised is None:
        return Scans(model=model, remarks=("Scan stays in float: the model cannot be raised to opset 21",))

    def body(part: Model, samples: Mapping[str, Array], states: Sequence[tuple[str, str]]) -> onnx.ModelProto:
        ready = prepare(part, checked(samples, part, place=part.place()), options)
        ranges = {name: observation.minmax() for name, observation in ready.seen.items()}
        grids = assign_grids(
            Wiring(ready.model.proto.graph),
            ready.plan,
            ranges,
            extremes=ranges,
            masks=ready.masks,
            widths=Widths(tensors=ready.wide, unary_bits=16 if options.unary_bits == 16 else 8),
            options=options,
        )
        return shapes.with_shapes(write_qdq(ready.model, ready.plan, tied(ready.plan, grids, states), options))

    return quantise_scans(raised, feeds, body)


def _in_float(left: Sequence[Left]) -> tuple[str, ...]:
    """What stays in float: a line for each reason, the most frequent first."""
    groups: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for entry in left:
        groups[entry.why][entry.op_type] += 1
    ordered = sorted(groups.items(), key=lambda item: (-item[1].total(), item[0]))
    lines = [f"in float, {why}: {_counted(operators)}" for why, operators in ordered[:LINES_OF_FLOAT]]
    rest = sum((operators for _, operators in ordered[LINES_OF_FLOAT:]), Counter[str]())
    return (*lines, f"in float for other reasons: {_counted(rest)}") if rest else tuple(lines)


def _counted(operators: Counter[str]) -> str:
    return ", ".join(f"{count} {op_type}" for op_type, count in sorted(operators.items(), key=lambda e: (-e[1], e[0])))

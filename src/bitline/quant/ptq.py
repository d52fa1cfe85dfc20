"""Post-training quantisation: ranges from samples, the QDQ model, and how close it comes to the float model."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx

from bitline.core.diagnostics import refuse
from bitline.engines.ort import Session
from bitline.graph import shapes
from bitline.graph.model import Model, Wiring
from bitline.graph.passes.name_nodes import name_nodes
from bitline.quant.assign import Grids, assign_grids, unfit
from bitline.quant.calibration import batches, checked, sample_count
from bitline.quant.kinds import Kind
from bitline.quant.masks import Masks, find_masks
from bitline.quant.opset import with_int16
from bitline.quant.options import QuantOptions
from bitline.quant.qdq import write_qdq
from bitline.quant.ranges import Observation, Range, observe
from bitline.quant.score import sqnr_db
from bitline.quant.steps import Left, Plan, plan_steps
from bitline.quant.wide import residual_path, softmax_axis, wide_softmax

Array = npt.NDArray[Any]

JUDGED_SAMPLES: Final = 32  # for "best" and for the SQNR: spread evenly over the calibration samples
TIGHT_PERCENTILE: Final = 99.999  # the second percentile that "best" tries (notes: best of ONNX Runtime's at W8A8)
MOST_ERROR: Final = 1e20  # noise where there should be none, or beyond all numbers
LINES_OF_FLOAT: Final = 6  # operators that stay in float and are told apart in the report


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
    feeds = checked(samples, model, place=model.place())
    start = _prepared(replace(model, proto=name_nodes(model.proto)), feeds, options)
    tried = _tries(start, start.probabilities, options)
    best = min(tried, key=lambda entry: entry.error)  # the first of equals
    remarks = list(start.remarks)
    narrow_db = sqnr_db(1.0, best.error)
    if start.residual and (options.residual_bits == 16 or narrow_db < options.residual_threshold_db):
        wide = _tries(start, start.probabilities | start.residual, options)
        rival = min(wide, key=lambda entry: entry.error)
        figures = f"{sqnr_db(1.0, rival.error):.1f} dB at the outputs with 16 bits, {narrow_db:.1f} dB with 8"
        better = options.residual_bits == 16 or rival.error < best.error
        remarks.append(f"residual path of {len(start.residual)} tensors in {16 if better else 8} bits: {figures}")
        tried, best = (wide, rival) if better else (tried, best)
    quantised = replace(start.model, proto=shapes.with_shapes(_written(start, best.grids, options)))
    owners = set(start.plan.owner.values())
    rivals = ", ".join(f"{entry.method} {entry.error:.3g}" for entry in tried)
    return QuantResult(
        model=quantised,
        steps=(
            f"ranges of {len(owners)} activations from {sample_count(feeds, model)} samples: {best.method}"
            + (f" (noise by signal at the outputs: {rivals})" if len(tried) > 1 else ""),
            f"weights int{options.weight_bits} symmetric per {options.granularity}, "
            f"activations uint{options.activation_bits} per tensor, biases int32",
            *remarks,
            *_in_float(start.plan.left),
        ),
        sqnr_db=sqnr_db(1.0, best.error),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Start:
    """A plan with everything that was observed for it."""

    model: Model
    plan: Plan
    seen: Mapping[str, Observation]
    masks: Masks
    judged: Sequence[Mapping[str, Array]]
    wanted: Mapping[str, Array]
    probabilities: frozenset[str]  # outputs of long softmaxes, always in 16 bits
    residual: frozenset[str]  # what may take 16 bits
    remarks: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Try:
    error: float
    method: str
    grids: Grids


def _prepared(model: Model, feeds: Mapping[str, Array], options: QuantOptions) -> _Start:
    remarks: list[str] = []
    model, plan, probabilities, residual = _with_width(model, options, remarks)
    wiring = Wiring(model.proto.graph)
    crests = {step.inputs[0]: softmax_axis(wiring, step) for step in plan.steps if step.kind is Kind.SOFTMAX}
    owners = sorted(name for name in set(plan.owner.values()) if name not in wiring.constants)
    seen = observe(model, owners, feeds, histogram=options.method != "minmax", crests=crests)
    masks = find_masks(wiring, plan, seen)
    leave = unfit(wiring, plan, seen, masks)
    if leave:
        plan = plan_steps(model, leave)
        residual &= residual_path(plan)
        probabilities = wide_softmax(wiring, plan)
        masks = find_masks(wiring, plan, seen)
    if probabilities:
        remarks.append(f"{len(probabilities)} Softmax over more than 128 elements in 16 bits")
    if masks.remark:
        remarks.append(masks.remark)
    judged = _spread(list(batches(feeds, model)), JUDGED_SAMPLES)
    return _Start(
        model=model,
        plan=plan,
        seen=seen,
        masks=masks,
        judged=judged,
        wanted=_outputs(model, judged),
        probabilities=probabilities,
        residual=residual,
        remarks=tuple(remarks),
    )


def _with_width(
    model: Model, options: QuantOptions, remarks: list[str]
) -> tuple[Model, Plan, frozenset[str], frozenset[str]]:
    """The plan, and which of its tensors take or may take 16 bits; the model in an opset that can, if any."""
    plan = plan_steps(model)
    probabilities = wide_softmax(Wiring(model.proto.graph), plan)
    residual = residual_path(plan) if options.residual_bits != 8 else frozenset[str]()
    if not probabilities | residual:
        return model, plan, probabilities, residual
    raised = with_int16(model)
    if raised is None:
        remarks.append("no 16-bit activations: the model cannot be raised to opset 21")
        return model, plan, frozenset(), frozenset()
    plan = plan_steps(raised)
    residual = residual_path(plan) if options.residual_bits != 8 else residual
    return raised, plan, wide_softmax(Wiring(raised.proto.graph), plan), residual


def _tries(start: _Start, wide: frozenset[str], options: QuantOptions) -> list[_Try]:
    tried: list[_Try] = []
    wiring = Wiring(start.model.proto.graph)
    extremes = {name: start.seen[name].minmax() for name in wide if name in start.seen}
    for method, ranges in _candidates(start.seen, options).items():
        grids = assign_grids(
            wiring, start.plan, ranges, extremes=extremes, masks=start.masks, wide=wide, options=options
        )
        quantised = replace(start.model, proto=_written(start, grids, options))
        tried.append(_Try(error=_error(start.wanted, _outputs(quantised, start.judged)), method=method, grids=grids))
    return tried


def _written(start: _Start, grids: Grids, options: QuantOptions) -> onnx.ModelProto:
    return write_qdq(start.model, start.plan, grids, options)


def _in_float(left: Sequence[Left]) -> tuple[str, ...]:
    """What stays in float, by operator: the most frequent first."""
    groups: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for entry in left:
        groups[entry.op_type, entry.why].append(entry.node)
    ordered = sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))
    lines = [
        f"in float: {len(nodes)} {op_type} ({why}): {nodes[0]}" + (", ..." if len(nodes) > 1 else "")
        for (op_type, why), nodes in ordered
    ]
    rest = ", ".join(sorted({op_type for (op_type, _), _ in ordered[LINES_OF_FLOAT:]}))
    return (*lines[:LINES_OF_FLOAT], f"in float: {rest}") if rest else tuple(lines)


def _candidates(seen: Mapping[str, Observation], options: QuantOptions) -> dict[str, dict[str, Range]]:
    minmax = {name: observation.minmax() for name, observation in seen.items()}
    if options.method == "minmax":
        return {"minmax": minmax}
    percents = {options.percentile} if options.method == "percentile" else {options.percentile, TIGHT_PERCENTILE}
    cut = {
        f"percentile {percent:g}": {name: observation.percentile(percent) for name, observation in seen.items()}
        for percent in sorted(percents)
    }
    return cut if options.method == "percentile" else {"minmax": minmax} | cut


def _spread(entries: list[dict[str, Array]], most: int) -> list[dict[str, Array]]:
    if len(entries) <= most:
        return entries
    return [entries[index * len(entries) // most] for index in range(most)]


def _outputs(model: Model, judged: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
    """The outputs over all judged samples; the float ones, if there are any."""
    session = Session(model.proto, optimise=False, place=model.place())
    runs = [session.run(batch) for batch in judged]
    floats = [name for name, value in runs[0].items() if value.dtype.kind == "f"]
    return {name: np.concatenate([run[name].ravel().astype(np.float64) for run in runs]) for name in floats or runs[0]}


def _error(wanted: Mapping[str, Array], got: Mapping[str, Array]) -> float:
    """Noise by signal, the mean over the outputs that are not 0 throughout."""
    ratios: list[float] = []
    silent = 0.0
    for name, value in wanted.items():
        noise, signal = float(np.sum((value - got[name]) ** 2)), float(np.sum(value**2))
        if signal > 0:
            ratios.append(noise / signal if np.isfinite(noise) else MOST_ERROR)
        elif noise > 0:
            silent = MOST_ERROR
    return float(np.mean(ratios)) if ratios else silent

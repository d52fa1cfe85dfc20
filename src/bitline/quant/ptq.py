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
from bitline.engines.ort import Session
from bitline.graph import shapes
from bitline.graph.model import Model, Wiring
from bitline.graph.passes.name_nodes import name_nodes
from bitline.quant.assign import Grids, assign_grids, tied
from bitline.quant.calibration import batches, checked, sample_count
from bitline.quant.opset import with_int16
from bitline.quant.options import QuantOptions
from bitline.quant.prepare import Prepared, prepare
from bitline.quant.qdq import write_qdq
from bitline.quant.ranges import Observation, Range
from bitline.quant.scan import Scans, quantise_scans
from bitline.quant.score import sqnr_db
from bitline.quant.steps import Left, plan_steps

Array = npt.NDArray[Any]

JUDGED_SAMPLES: Final = 32  # for "best" and for the SQNR: spread evenly over the calibration samples
TIGHT_PERCENTILE: Final = 99.999  # the second percentile that "best" tries (notes: best of ONNX Runtime's at W8A8)
MOST_ERROR: Final = 1e20  # noise where there should be none, or beyond all numbers
WORTHWHILE_DB: Final = 3.0  # what 16 bits on the residual path must gain: half of the noise
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
    feeds = checked(samples, model, place=model.place(), finite=plan_steps(named).owner)
    scans = _with_bodies(named, feeds, options)
    ready = prepare(scans.model, feeds, options)
    judged = _spread(list(batches(feeds, model)), JUDGED_SAMPLES)
    wanted = _outputs(ready.model, judged)
    tried = _tries(ready, ready.wide, judged, wanted, options)
    best = min(tried, key=lambda entry: entry.error)  # the first of equals
    remarks = [*scans.remarks, *ready.remarks]
    narrow_db = sqnr_db(1.0, best.error)
    wide = ready.wide
    if ready.residual and (options.residual_bits == 16 or narrow_db < options.residual_threshold_db):
        rivals = _tries(ready, ready.wide | ready.residual, judged, wanted, options)
        rival = min(rivals, key=lambda entry: entry.error)
        wide_db = sqnr_db(1.0, rival.error)
        chosen = options.residual_bits == 16 or wide_db >= narrow_db + WORTHWHILE_DB
        remarks.append(
            f"residual path of {len(ready.residual)} tensors in {16 if chosen else 8} bits: "
            f"{wide_db:.1f} dB at the outputs with 16, {narrow_db:.1f} dB with 8"
        )
        if chosen:
            tried, best, wide = rivals, rival, ready.wide | ready.residual
    source = ready.model if wide or ready.original is None else ready.original
    proto = shapes.with_shapes(write_qdq(source, ready.plan, best.grids, options))
    figures = ", ".join(f"{entry.method} {entry.error:.3g}" for entry in tried)
    return QuantResult(
        model=replace(source, proto=proto),
        steps=(
            f"ranges of {len(set(ready.plan.owner.values()))} activations from {sample_count(feeds, model)} samples: "
            + best.method
            + (f" (noise by signal at the outputs: {figures})" if len(tried) > 1 else ""),
            f"weights int{options.weight_bits} symmetric per {options.granularity}, "
            f"activations uint{options.activation_bits} per tensor, biases int32",
            *remarks,
            *_in_float(ready.plan.left),
        ),
        sqnr_db=sqnr_db(1.0, best.error),
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
            wide=ready.wide,
            options=options,
        )
        return shapes.with_shapes(write_qdq(ready.model, ready.plan, tied(ready.plan, grids, states), options))

    return quantise_scans(raised, feeds, body)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Try:
    error: float
    method: str
    grids: Grids


def _tries(
    ready: Prepared,
    wide: frozenset[str],
    judged: Sequence[Mapping[str, Array]],
    wanted: Mapping[str, Array],
    options: QuantOptions,
) -> list[_Try]:
    """Every candidate for the ranges, judged by what its model returns."""
    tried: list[_Try] = []
    wiring = Wiring(ready.model.proto.graph)
    extremes = {name: ready.seen[name].minmax() for name in wide if name in ready.seen}
    for method, ranges in _candidates(ready.seen, options).items():
        grids = assign_grids(
            wiring, ready.plan, ranges, extremes=extremes, masks=ready.masks, wide=wide, options=options
        )
        grids = tied(ready.plan, grids, options.states)
        quantised = replace(ready.model, proto=write_qdq(ready.model, ready.plan, grids, options))
        tried.append(_Try(error=_error(wanted, _outputs(quantised, judged)), method=method, grids=grids))
    return tried


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
        other = got[name]
        finite = np.isfinite(value) & np.isfinite(other)
        alike = np.array_equal(value[~finite], other[~finite], equal_nan=True)  # NaN and infinity in, the same out
        noise, signal = float(np.sum((value[finite] - other[finite]) ** 2)), float(np.sum(value[finite] ** 2))
        if signal > 0:
            ratios.append(noise / signal if alike and np.isfinite(noise) else MOST_ERROR)
        elif noise > 0 or not alike:
            silent = MOST_ERROR
    return float(np.mean(ratios)) if ratios else silent

"""Post-training quantisation: ranges from samples, the QDQ model, and how close it comes to the float model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from bitline.core.diagnostics import refuse
from bitline.engines.ort import Session
from bitline.graph.model import Model
from bitline.graph.passes.name_nodes import name_nodes
from bitline.quant.calibration import batches, checked, sample_count
from bitline.quant.grid import Grid, activation_grid
from bitline.quant.options import QuantOptions
from bitline.quant.qdq import scale_owner, write_qdq
from bitline.quant.ranges import Observation, Range, observe
from bitline.quant.score import sqnr_db
from bitline.quant.steps import Kind, Step, plan_steps

Array = npt.NDArray[Any]

JUDGED_SAMPLES: Final = 32  # for "best" and for the SQNR: spread evenly over the calibration samples
TIGHT_PERCENTILE: Final = 99.999  # the second percentile that "best" tries (notes: best of ONNX Runtime's at W8A8)


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantResult:
    """`model` is QDQ; `steps` say in words what was done; `sqnr_db` compares its outputs with the float model's."""

    model: Model
    steps: tuple[str, ...]
    sqnr_db: float


def is_quantized(model: Model) -> bool:
    """Whether the model already holds QuantizeLinear or DequantizeLinear."""
    return any(node.op_type in ("QuantizeLinear", "DequantizeLinear") for node in model.proto.graph.node)


def quantize(model: Model, samples: Mapping[str, Array], options: QuantOptions = QuantOptions()) -> QuantResult:
    """Quantise a simplified float model with samples stacked on axis 0.

    Raises `Refusal`: BL0101 options, or quantised already; BL0105 samples; BL0301, BL0302 nodes, all of them at once.
    """
    options.check()
    if is_quantized(model):
        raise refuse(
            "BL0101",
            "the model is quantised already",
            place=model.place(),
            help="compile it as it is, or start from the float model",
        )
    model = replace(model, proto=name_nodes(model.proto))
    steps = plan_steps(model)
    feeds = checked(samples, model, place=model.place())
    owners = sorted(set(scale_owner(model, steps).values()))
    seen = observe(model, owners, feeds, histogram=options.method != "minmax")
    judged = _spread(list(batches(feeds, model)), JUDGED_SAMPLES)
    wanted = _outputs(model, judged)
    tried: list[tuple[float, str, Model]] = []
    for name, ranges in _candidates(seen, options).items():
        proto = write_qdq(model, steps, _grids(ranges, steps, options), options)
        quantised = replace(model, proto=proto)
        tried.append((_mean_square_error(wanted, _outputs(quantised, judged)), name, quantised))
    error, method, best = min(tried, key=lambda entry: entry[0])  # the first of equals
    rivals = ", ".join(f"{name} {value:.3g}" for value, name, _ in tried)
    count = sample_count(feeds, model)
    return QuantResult(
        model=best,
        steps=(
            f"ranges of {len(owners)} activations from {count} samples: {method}"
            + (f" (mean square error at the outputs: {rivals})" if len(tried) > 1 else ""),
            f"weights int{options.weight_bits} symmetric per {options.granularity}, "
            f"activations uint{options.activation_bits} per tensor, biases int32",
        ),
        sqnr_db=sqnr_db(float(np.mean([np.mean(value**2) for value in wanted])), error),
    )


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


def _grids(ranges: Mapping[str, Range], steps: Sequence[Step], options: QuantOptions) -> dict[str, Grid]:
    """Softmax always gets [0, 1], so that 1.0 is the largest integer exactly (scale 1/255)."""
    softmax = {step.output for step in steps if step.kind is Kind.SOFTMAX}
    return {
        name: activation_grid(*((0.0, 1.0) if name in softmax else limits), options.activation_bits)
        for name, limits in ranges.items()
    }


def _spread(entries: list[dict[str, Array]], most: int) -> list[dict[str, Array]]:
    if len(entries) <= most:
        return entries
    return [entries[index * len(entries) // most] for index in range(most)]


def _outputs(model: Model, judged: Sequence[Mapping[str, Array]]) -> list[Array]:
    session = Session(model.proto, optimise=False, place=model.place())
    return [
        np.concatenate([value.ravel().astype(np.float64) for value in session.run(batch).values()]) for batch in judged
    ]


def _mean_square_error(wanted: Sequence[Array], got: Sequence[Array]) -> float:
    return float(np.mean([np.mean((a - b) ** 2) for a, b in zip(wanted, got, strict=True)]))

"""Which ranges and widths a model gets: tried, judged by what the model returns, the cheapest that will do is kept.

Ranges: minmax and percentiles, the one with the least noise. Widths, where 8 bits leave the outputs below the
threshold, one after the other, each kept where it gains:

    the residual path in 16 bits  -->  functions of one value read 16 bits  -->  layers read 16 bits

A layer that reads 16 bits drives its arrays twice. So of those that would, the ones that matter least go back to 8:
noise of single layers adds up, and together they may double what is left with all in 16 bits.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from bitline.engines.ort import Session
from bitline.graph.model import Model, Wiring
from bitline.quant.assign import Grids, assign_grids, tied
from bitline.quant.kinds import Kind
from bitline.quant.options import QuantOptions
from bitline.quant.prepare import Prepared
from bitline.quant.qdq import write_qdq
from bitline.quant.ranges import Observation, Range
from bitline.quant.score import sqnr_db
from bitline.quant.streams import Batch, Pairs, spread_steps, streamed, windows
from bitline.quant.wide import Widths, layer_inputs

Array = npt.NDArray[Any]

JUDGED_SAMPLES: Final = 32  # for "best" and for the SQNR: spread evenly over the calibration samples
TIGHT_PERCENTILE: Final = 99.999  # the second percentile that "best" tries (notes: best of ONNX Runtime's at W8A8)
MOST_ERROR: Final = 1e20  # noise where there should be none, or beyond all numbers
WORTHWHILE_DB: Final = 3.0  # what 16 bits on the residual path must gain: half of the noise
WORTH_ARRAYS_DB: Final = 10.0  # what 16 bits at the inputs of layers must gain, as they drive arrays twice
MOST_LAYERS: Final = 48  # up to which each layer is tried alone: a run of the judge for each


class Judge:
    """The noise that a model adds to the float model's outputs, on a few samples or on stretches of a stream."""

    def __init__(self, model: Model, samples: Sequence[Batch], pairs: Pairs) -> None:
        self.pairs = pairs
        self.windows = windows(samples) if pairs else [[batch] for batch in spread_steps(samples, JUDGED_SAMPLES)]
        self.wanted = self._outputs(model)

    def error(self, model: Model) -> float:
        """Noise by signal, the mean over the outputs that are not 0 throughout."""
        got = self._outputs(model)
        ratios: list[float] = []
        silent = 0.0
        for name, value in self.wanted.items():
            other = got[name]
            finite = np.isfinite(value) & np.isfinite(other)
            alike = np.array_equal(value[~finite], other[~finite], equal_nan=True)  # NaN and infinity in, the same out
            noise, signal = float(np.sum((value[finite] - other[finite]) ** 2)), float(np.sum(value[finite] ** 2))
            if signal > 0:
                ratios.append(noise / signal if alike and np.isfinite(noise) else MOST_ERROR)
            elif noise > 0 or not alike:
                silent = MOST_ERROR
        return float(np.mean(ratios)) if ratios else silent

    def _outputs(self, model: Model) -> dict[str, Array]:
        """The outputs over all judged samples; the float ones, if there are any."""
        session = Session(model.proto, optimise=False, place=model.place())
        runs = [made for window in self.windows for made in streamed(session.run, window, self.pairs)]
        floats = [name for name, value in runs[0].items() if value.dtype.kind == "f"]
        return {
            name: np.concatenate([run[name].ravel().astype(np.float64) for run in runs]) for name in floats or runs[0]
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Try:
    """Grids by one method, and the noise of the model that has them."""

    error: float
    method: str
    grids: Grids

    @property
    def sqnr_db(self) -> float:
        return sqnr_db(1.0, self.error)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """The best try, and what was tried with the same widths. `ready` is in the opset that the widths need."""

    ready: Prepared
    widths: Widths
    tried: tuple[Try, ...]
    remarks: tuple[str, ...] = ()

    @property
    def best(self) -> Try:
        return min(self.tried, key=lambda entry: entry.error)  # the first of equals


def choose(ready: Prepared, judge: Judge, options: QuantOptions) -> Chosen:
    """Ranges and widths. The widths that `options` state are taken, the others where they are worth it."""
    stated = 16 if options.unary_bits == 16 else 8
    tensors = ready.wide | (ready.roots if stated == 16 else frozenset())
    chosen = _chosen(ready, Widths(tensors=tensors, unary_bits=stated), judge, options)
    if ready.residual:
        rival = replace(chosen.widths, tensors=chosen.widths.tensors | ready.residual)
        what = f"residual path of {len(ready.residual)} tensors in"
        chosen = _rivalled(chosen, rival, judge, options, what, WORTHWHILE_DB, forced=options.residual_bits == 16)
    if options.unary_bits == "auto" and _reads_wide(chosen):
        rival = replace(chosen.widths, tensors=chosen.widths.tensors | ready.roots, unary_bits=16)
        chosen = _rivalled(chosen, rival, judge, options, "functions of one value read", WORTHWHILE_DB)
    layers = [step.node for step in ready.plan.steps if step.kind is Kind.MATMUL and step.inputs]
    if layers and options.layer_bits != 8:
        chosen = _with_layers(chosen, layers, judge, options)
    return chosen


def _reads_wide(chosen: Chosen) -> bool:
    """Whether a function of one value would read 16 bits if it might."""
    plan = chosen.ready.plan
    wide = chosen.widths.tensors | chosen.ready.roots
    return any(step.kind is Kind.UNARY and plan.owner[name] in wide for step in plan.steps for name in step.inputs)


def _rivalled(
    chosen: Chosen, rival: Widths, judge: Judge, options: QuantOptions, what: str, gain_db: float, forced: bool = False
) -> Chosen:
    """`rival` in place of what is chosen, where that is not good enough and the rival gains `gain_db`."""
    if not forced and chosen.best.sqnr_db >= options.residual_threshold_db:
        return chosen
    other = _chosen(chosen.ready, rival, judge, options)
    better = forced or other.best.sqnr_db >= chosen.best.sqnr_db + gain_db
    figures = f"{other.best.sqnr_db:.1f} dB at the outputs with 16, {chosen.best.sqnr_db:.1f} dB with 8"
    remarks = (*chosen.remarks, f"{what} {16 if better else 8} bits: {figures}")
    return replace(other if better else chosen, remarks=remarks)


def _with_layers(chosen: Chosen, layers: Sequence[str], judge: Judge, options: QuantOptions) -> Chosen:
    """Those layers read 16 bits that have to, if it is worth it."""
    forced = options.layer_bits == 16
    narrower = options.activation_bits < 8  # who asks for so few does not want more
    if not forced and (narrower or chosen.best.sqnr_db >= options.residual_threshold_db):
        return chosen
    ready = chosen.ready.raised()
    if ready is None:
        remark = "layers read 8 bits: the model cannot be raised to opset 21"
        return replace(chosen, remarks=(*chosen.remarks, remark))

    def reading(wide: Collection[str]) -> Chosen:
        tensors = chosen.widths.tensors | layer_inputs(ready.plan, wide)
        unary_bits = 8 if options.unary_bits == 8 else 16
        widths = replace(chosen.widths, tensors=tensors, layers=frozenset(wide), unary_bits=unary_bits)
        return _chosen(ready, widths, judge, options, only=chosen.best.method)

    whole = reading(layers)
    narrow_db, whole_db = chosen.best.sqnr_db, whole.best.sqnr_db
    if not forced and whole_db < narrow_db + WORTH_ARRAYS_DB:
        remark = f"layers read 8 bits: {whole_db:.1f} dB at the outputs with 16, {narrow_db:.1f} dB with 8"
        return replace(chosen, remarks=(*chosen.remarks, remark))
    found = whole
    if not forced and len(layers) <= MOST_LAYERS:
        cost = {node: reading([n for n in layers if n != node]).best.error - whole.best.error for node in layers}
        found = reading(needed_layers(cost, whole.best.error))
        found = found if found.best.error <= 3 * whole.best.error else whole  # where noise does not add up
    remark = (
        f"{len(found.widths.layers)} of {len(layers)} layers read 16 bits, "
        f"functions of one value {found.widths.unary_bits}: {found.best.sqnr_db:.1f} dB at the outputs, "
        f"{whole_db:.1f} dB with all of them, {narrow_db:.1f} dB with none"
    )
    return replace(found, remarks=(*chosen.remarks, remark))


def needed_layers(cost: Mapping[str, float], least: float) -> list[str]:
    """The layers without those that cost least: what all of these add stays below `least`."""
    total = 0.0
    kept = set(cost)
    for node in sorted(cost, key=lambda node: (cost[node], node)):
        total += max(cost[node], 0.0)
        if total > least:
            break
        kept.remove(node)
    return [node for node in cost if node in kept]


def _chosen(ready: Prepared, widths: Widths, judge: Judge, options: QuantOptions, only: str = "") -> Chosen:
    """Every candidate for the ranges, or `only` one, judged by what its model returns."""
    tried: list[Try] = []
    wiring = Wiring(ready.model.proto.graph)
    extremes = {name: ready.seen[name].minmax() for name in widths.tensors if name in ready.seen}
    for method, ranges in _candidates(ready.seen, options).items():
        if only and method != only:
            continue
        grids = assign_grids(
            wiring, ready.plan, ranges, extremes=extremes, masks=ready.masks, widths=widths, options=options
        )
        grids = tied(ready.plan, grids, options.states)
        model = replace(ready.model, proto=write_qdq(ready.model, ready.plan, grids, options))
        tried.append(Try(error=judge.error(model), method=method, grids=grids))
    return Chosen(ready=ready, widths=widths, tried=tuple(tried))


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

"""`bitline place`: all matrices of some networks in arrays, the number of arrays unlimited."""

from __future__ import annotations

import gc
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

from bitline.core.diagnostics import refuse
from bitline.core.progress import SILENT, Progress
from bitline.ir.kernels import ArrayMath, MatMul, Matrix
from bitline.ir.placement import ArrayShape, PlacedMatrix, Placement, Rect
from bitline.lower.kernels import Lowered
from bitline.pack.cutting import Whole, cut_into
from bitline.pipeline.placement_files import Lying, read_earlier
from bitline.pipeline.placement_matches import kept_whole, known_again, stated
from bitline.place import figures
from bitline.place.arrays import bin_of, fewest_arrays, open_cells, spread_over
from bitline.place.blocks import CutMatrices, cut_all, fitted
from bitline.place.free import NOTHING_KEPT, Kept
from bitline.place.grouping import grouped
from bitline.place.mapping import Sliding, sliding
from bitline.place.matrices import array_shape, chip_arrays, extract_matrices
from bitline.place.options import PlaceOptions
from bitline.place.prices import col_cut_pj, row_cut_pj
from bitline.place.solve import NOTHING, Fixed, Solved, mapped, solve
from bitline.place.tradeoff import Point, tradeoff
from bitline.report.figures import Json
from bitline.report.placement_table import block_table
from bitline.target.schema import Chip
from bitline.verify.checks import Check
from bitline.verify.placement import verify_placement


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """A placement, what was found on the way, the trade-off if it was asked for, and the checks of `verify`."""

    solved: Solved
    points: tuple[Point, ...]
    checks: tuple[Check, ...]
    chip: Chip
    options: PlaceOptions
    seconds: float

    @property
    def placement(self) -> Placement:
        return self.solved.placement


def place_networks(
    networks: Sequence[Lowered],
    chip: Chip,
    options: PlaceOptions,
    *,
    blocked: Sequence[Rect] = (),
    bias_rows: int | None = None,
    fixed: Path | None = None,
    pareto: bool = False,
    progress: Progress = SILENT,
) -> Placed:
    """Place the matrices of all networks together. `blocked`: cells of every array that cannot be used; `bias_rows`: of
    every block with a bias, None for as few as hold it; `fixed`: a file of blocks that lie there already.

    Raises `Refusal` (BL0101, BL0201, BL0205)."""
    options.check(curve=pareto)
    if fixed is not None and options.objective != "arrays":
        raise refuse(
            "BL0101",
            "blocks that lie there already are packed around, not spread anew",
            place=str(fixed),
            help="leave out --fixed or --objective",
        )
    shape = array_shape(chip, blocked)
    _check_arrays(shape, chip, bias_rows)
    lying = read_earlier(fixed, shape, chip.name) if fixed is not None else None
    matrices: list[PlacedMatrix] = []
    layers: list[Sliding | None] = []
    for lowered, name in zip(networks, _names_apart([n.network.name for n in networks]), strict=True):
        found = extract_matrices(lowered.network, lowered.constants, bias_rows)
        matrices += [replace(matrix, network=name) for matrix in found]
        layers += [_layer(lowered, matrix) for matrix in found]

    def fix(cut: CutMatrices, of: Sequence[PlacedMatrix]) -> Fixed:
        return known_again(cut, of, lying, shape) if lying else NOTHING

    def keep(of: Sequence[PlacedMatrix]) -> Kept:
        return kept_whole(of, lying) if lying else NOTHING_KEPT

    as_they_lie, others = _as_they_lie(matrices, layers, lying, shape, options)
    warm_up(options)
    gc.freeze()  # what was loaded is not looked through again and again during the search
    started = time.perf_counter()
    solved = solve(
        as_they_lie,
        layers,
        shape,
        others,
        chip,
        fix=fix if lying else None,
        keep=keep if lying else None,
        progress=progress,
    )
    seconds = time.perf_counter() - started - solved.import_seconds
    gc.unfreeze()
    points = tradeoff(matrices, layers, shape, options, chip, progress) if pareto else ()
    return Placed(
        solved=solved,
        points=points,
        checks=verify_placement(solved.placement),
        chip=chip,
        options=options,
        seconds=seconds,
    )


def _names_apart(names: Sequence[str]) -> list[str]:
    """The same, a name that was there before with its number: a.onnx, a.onnx (2)."""
    found: list[str] = []
    for name in names:
        tries = (f"{name} ({number})" if number > 1 else name for number in count(1))
        found.append(next(one for one in tries if one not in found and (one == name or one not in names)))
    return found


def _as_they_lie(
    matrices: Sequence[PlacedMatrix],
    layers: Sequence[Sliding | None],
    lying: Lying | None,
    shape: ArrayShape,
    options: PlaceOptions,
) -> tuple[Sequence[PlacedMatrix], PlaceOptions]:
    """The matrices with what an earlier placement states of them, and the options that choose the rest."""
    there = [stated(m, layer, lying) if lying else None for m, layer in zip(matrices, layers, strict=True)]
    if not any(there):
        return matrices, options
    if options.depthwise_group != "max":  # groups of those that do not lie there are chosen first, all others stay
        others = [fitted(m, shape) for m, t in zip(matrices, there, strict=True) if not t]
        new = iter(next(grouped(others, shape, options)))
        return [t or next(new) for t in there], replace(options, depthwise_group="max")
    return [t or m for m, t in zip(matrices, there, strict=True)], options


def _check_arrays(shape: ArrayShape, chip: Chip, bias_rows: int | None) -> None:
    """Raise `Refusal` (BL0101) where arrays hold nothing, or have fewer bias rows than every block is to have."""
    if not open_cells(shape):
        raise refuse(
            "BL0101",
            f"all {shape.cols} columns of an array are bad, none is left",
            place=chip.name,
            help="name fewer with --bad-cols",
        )
    if bias_rows is not None and bias_rows > shape.bias_rows:
        raise refuse(
            "BL0101",
            f"--bias-rows {bias_rows}, but an array of {chip.name} has {shape.bias_rows or 'none'}",
            place=chip.name,
            help=f"give at most {shape.bias_rows}" if shape.bias_rows else "leave out --bias-rows",
        )


def warm_up(options: PlaceOptions) -> None:
    """Load what is compiled, which is no part of a search: two matrices into small arrays."""
    math = ArrayMath(
        group_rows=4, bundle=1, weight_bits=8, cell_bits=8, weight_offset=0, input_bits=8, input_offset=0, adc_bits=0
    )
    shape = ArrayShape(rows=4, cols=4)
    small = [
        PlacedMatrix(network="", nodes=(), matrix=Matrix(name="", groups=1, rows=n, cols=3), math=math, pixels=n)
        for n in (2, 3, 3)
    ]
    few = replace(options, time_limit=0.05, array_budget=None)
    chosen = mapped(small, [None] * len(small), shape, few).matrices
    layout = fewest_arrays(cut_all(chosen, shape).blocks, shape, few, {}, ())
    if options.objective != "arrays":
        spread_over(cut_all(chosen, shape).blocks, layout, shape, 3, few)
    if options.cuts == "free":
        cut_into([Whole(rows=3, cols=3), Whole(rows=2, cols=3)], bin_of(shape), steps=2)


def _layer(lowered: Lowered, matrix: PlacedMatrix) -> Sliding | None:
    """What slides over an image, where one kernel alone uses these weights."""
    users = [k for k in lowered.network.kernels if isinstance(k, MatMul) and k.matrix.name == matrix.matrix.name]
    return sliding(users[0]) if len(users) == 1 else None


def placement_values(placed: Placed) -> dict[str, Json]:
    """Keys of `bitline place --json`."""
    placement, solved = placed.placement, placed.solved
    certificate, shape = placement.certificate, placement.shape
    arrays = certificate.arrays_used
    cells = figures.cells(placement)
    reason = solved.infeasible
    least, why = figures.least_interval(placement)
    return {
        "arrays_used": arrays,
        "lower_bound": certificate.lower_bound,
        "bound": certificate.bound,
        "proof": certificate.proof,
        "gap": arrays - certificate.lower_bound,
        "utilisation": cells / (arrays * open_cells(shape)) if arrays else 0.0,
        "pieces": len(placement.blocks),
        "row_cuts": solved.row_cuts,
        "col_cuts": solved.col_cuts,
        "row_cut_pj": row_cut_pj(placed.chip),
        "col_cut_pj": col_cut_pj(placed.chip),
        "mvm_fires": figures.mvm_fires(placement),
        "interval": figures.interval(placement),
        "interval_bound": least,
        "interval_why": why,
        "latency": figures.latency(placement),
        "seconds": placed.seconds,
        "interrupted": solved.interrupted,
        "cuts": placed.options.cuts,
        "depthwise_group": placed.options.depthwise_group,
        "objective": placed.options.objective,
        "array_budget": placed.options.array_budget,
        "array": {"rows": shape.rows, "cols": shape.cols, "bias_rows": shape.bias_rows},
        "chip_arrays": chip_arrays(placed.chip),
        "fits_chip": arrays <= chip_arrays(placed.chip),
        "infeasible": None
        if reason is None
        else {
            "demand": reason.demand,
            "capacity": reason.capacity,
            "unit": reason.unit,
            "bound": reason.bound,
            "levers": list(reason.levers),
        },
        "verified": not any(check.errors for check in placed.checks),
        "pareto": [_point(p) for p in placed.points] or [_this_point(placed)],
        "layers": _layers(placement),
        "blocks": block_table(placement),
    }


def _point(point: Point) -> dict[str, Json]:
    return {
        "arrays_used": point.arrays_used,
        "mvm_fires": point.mvm_fires,
        "interval": point.interval,
        "lower_bound": point.lower_bound,
        "proof": point.proof,
        "options": point.options,
    }


def _this_point(placed: Placed) -> dict[str, Json]:
    """What was placed, as the only point."""
    certificate = placed.placement.certificate
    return {
        "arrays_used": certificate.arrays_used,
        "mvm_fires": figures.mvm_fires(placed.placement),
        "interval": figures.interval(placed.placement),
        "lower_bound": certificate.lower_bound,
        "proof": certificate.proof,
        "options": "",
    }


def _layers(placement: Placement) -> list[Json]:
    """One row per matrix."""
    pieces = Counter(block.matrix for block in placement.blocks)
    return [
        {
            "network": m.network,
            "nodes": list(m.nodes),
            "rows": m.matrix.groups * m.matrix.rows,
            "cols": m.matrix.groups * m.matrix.cols,
            "groups": m.matrix.groups,
            "depthwise_group": m.math.bundle,
            "copies": m.copies,
            "window": list(m.window),
            "pixels": m.pixels,
            "fires": m.fires,
            "pieces": pieces[number],
            "bias_rows": m.bias_rows,
            "gain": m.gain,
        }
        for number, m in enumerate(placement.matrices)
    ]

"""Matrices + arrays + options -> `Placement`, with the certificate of how many arrays any placement needs.

Groups and copies are chosen, matrices are cut (`place.blocks`, or freely in `pack.cutting`), packed into as few arrays
as the search finds, and, where the interval counts, spread so that no array fires much more than others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from bitline.core.progress import SILENT, Progress
from bitline.ir.placement import ArrayShape, Infeasible, Occupied, PlacedBlock, PlacedMatrix, Placement
from bitline.pack.shapes import Spot
from bitline.place.arrays import Layout, fewest_arrays, fits, lying, open_cells, spread_over
from bitline.place.blocks import CutBlock, CutMatrices, cut_all, fitted
from bitline.place.free import NOTHING_KEPT, Kept, cut_freely
from bitline.place.groups import mixtures
from bitline.place.mapping import Sliding, as_chosen, blocks_of, layouts, lowest_latency, shortest_interval
from bitline.place.matrices import chip_arrays, in_groups_of
from bitline.place.options import PlaceOptions
from bitline.place.regroup import fewest_fires, regrouped
from bitline.place.together import GAIN, plans
from bitline.target.schema import Chip


@dataclass(frozen=True, slots=True, kw_only=True)
class Fixed:
    """Blocks of the networks that stay where they lay, by number, and what else lies there."""

    blocks: dict[int, Occupied]
    occupied: tuple[Occupied, ...]


Fix = Callable[[CutMatrices, Sequence[PlacedMatrix]], Fixed]
Keep = Callable[[Sequence[PlacedMatrix]], Kept]
NOTHING = Fixed(blocks={}, occupied=())


@dataclass(frozen=True, slots=True, kw_only=True)
class Solved:
    """A placement, its cuts, and why it exceeds the arrays that there are, where it must."""

    placement: Placement
    row_cuts: int
    col_cuts: int
    infeasible: Infeasible | None
    import_seconds: float
    interrupted: bool


def solve(
    matrices: Sequence[PlacedMatrix],
    layers: Sequence[Sliding | None],
    shape: ArrayShape,
    options: PlaceOptions,
    chip: Chip,
    *,
    fix: Fix | None = None,
    keep: Keep | None = None,
    progress: Progress = SILENT,
) -> Solved:
    """All matrices in as few arrays as are found, or in `array_budget` of them as fast as is found. `layers[i]`: the
    convolution that matrix i is. `fix` says which blocks lie there already, `keep` which matrices, where cuts are free.
    Raises `Refusal` (BL0101) for what does not go together."""
    found = mapped(grouped([fitted(m, shape) for m in matrices], shape, options), layers, shape, options)
    chosen, interrupted = found.matrices, found.interrupted
    fixed, freely = NOTHING, None
    if options.cuts == "free":
        kept = keep(chosen) if keep else NOTHING_KEPT
        fixed = replace(NOTHING, occupied=kept.occupied)
        try:
            freely = cut_freely(chosen, shape, options, chip, kept)
        except KeyboardInterrupt:  # nothing was found yet: the full cut is there at once
            options, interrupted = replace(options, cuts="full"), True
    if freely is not None:
        cut, layout = freely
    else:
        cut = cut_all(chosen, shape, balanced=options.cuts == "balanced")
        fixed = fix(cut, chosen) if fix else NOTHING
        if found.spots is not None and not fix:
            layout = lying(cut.blocks, found.spots, shape)
        else:
            layout = fewest_arrays(cut.blocks, shape, options, fixed.blocks, fixed.occupied, progress)
    used = max(layout.certificate.arrays_used, 1)
    over = max(used, options.array_budget or used)
    if options.objective != "arrays" and not fixed.blocks and not fixed.occupied:
        try:
            layout = spread_over(cut.blocks, layout, shape, over, options)
        except KeyboardInterrupt:
            interrupted = True
    placement = _placement(chosen, cut.blocks, layout, shape, options, chip.name, fixed.occupied)
    return Solved(
        placement=placement,
        row_cuts=cut.row_cuts,
        col_cuts=cut.col_cuts,
        import_seconds=layout.import_seconds,
        interrupted=layout.interrupted or interrupted,
        infeasible=_infeasible(placement, cut.blocks, options, options.array_budget or chip_arrays(chip)),
    )


def grouped(matrices: Sequence[PlacedMatrix], shape: ArrayShape, options: PlaceOptions) -> Sequence[PlacedMatrix]:
    """The same with the size of diagonal groups that the options ask for."""
    size = options.depthwise_group
    if size == "max" or all(m.matrix.groups == 1 for m in matrices):
        return matrices
    if size != "auto":
        return [in_groups_of(m, size) for m in matrices]
    along = mixtures(matrices)
    least = regrouped(matrices, along[-1])
    arrays = options.array_budget
    if arrays is None:
        cut = cut_all(least, shape)
        arrays = fewest_arrays(cut.blocks, shape, options, {}, ()).certificate.arrays_used
    return fewest_fires(matrices, arrays, lambda these, most: fits(these, shape, most), along) or least


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapped:
    """Matrices with their windows and copies; where the blocks of their cut lie, where that was found on the way."""

    matrices: list[PlacedMatrix]
    spots: tuple[Spot, ...] | None = None
    interrupted: bool = False


def mapped(
    matrices: Sequence[PlacedMatrix], layers: Sequence[Sliding | None], shape: ArrayShape, options: PlaceOptions
) -> Mapped:
    """Windows and copies for a budget of arrays: exactly, as if every block had an array of its own, or for blocks that
    share arrays, where that is faster. Ctrl-C ends the search, not the answer."""
    if options.array_budget is None or options.objective == "arrays":
        return Mapped(matrices=list(matrices))
    budget = options.array_budget
    spare = budget - sum(blocks_of(m, shape) for m in matrices)
    ways = [
        layouts(m, layer if options.windows else None, shape, blocks_of(m, shape) + max(0, spare))
        for m, layer in zip(matrices, layers, strict=True)
    ]
    choose = shortest_interval if options.objective == "interval" else lowest_latency
    chosen = choose(ways, budget)
    best, interval = Mapped(matrices=list(matrices)), sum(blocks_of(m, shape) * m.fires for m in matrices)
    if chosen is not None:  # there is an array for every block
        several = [as_chosen(m, layer, option) for m, layer, option in zip(matrices, layers, chosen, strict=True)]
        best, interval = Mapped(matrices=several), max((m.fires for m in several), default=0)
    if options.objective == "interval":
        try:
            for plan in plans(matrices, layers, shape, options, budget):
                if plan.interval < GAIN * interval:
                    best, interval = Mapped(matrices=plan.matrices, spots=plan.spots), plan.interval
        except KeyboardInterrupt:
            best = replace(best, interrupted=True)
    return best


def _placement(
    matrices: Sequence[PlacedMatrix],
    blocks: Sequence[CutBlock],
    layout: Layout,
    shape: ArrayShape,
    options: PlaceOptions,
    target: str,
    occupied: Sequence[Occupied],
) -> Placement:
    return Placement(
        target=target,
        cuts=options.cuts,
        shape=shape,
        matrices=tuple(matrices),
        blocks=tuple(
            PlacedBlock(
                matrix=b.matrix,
                copy=b.copy,
                row_offset=b.row_offset,
                col_offset=b.col_offset,
                rows=b.rows,
                cols=b.cols,
                array=spot.bin,
                w_row_start=spot.row,
                w_col_start=spot.col,
                bias_start=spot.band,
                bias_rows=b.bias_rows,
            )
            for b, spot in zip(blocks, layout.spots, strict=True)
        ),
        occupied=tuple(occupied),
        certificate=layout.certificate,
    )


def _infeasible(
    placement: Placement, blocks: Sequence[CutBlock], options: PlaceOptions, arrays: int
) -> Infeasible | None:
    """Why these blocks cannot lie in `arrays` arrays; None where no bound says so."""
    certificate, shape = placement.certificate, placement.shape
    if certificate.lower_bound <= arrays:
        return None
    levers: list[str] = []
    if certificate.bound.startswith("bias"):
        levers.append("fewer bias rows in a block (--bias-rows; the rest is added digitally)")
        demand = sum(b.cols * b.bias_rows for b in blocks)
        capacity, unit = arrays * shape.cols * shape.bias_rows, "bias rows x columns"
    else:
        demand = sum(b.rows * b.cols for b in blocks)
        capacity, unit = arrays * open_cells(shape), "weights"
        if demand <= capacity:
            demand, capacity, unit = certificate.lower_bound, arrays, "arrays"
    if options.cuts != "free" and unit == "arrays":
        levers.append("matrices cut wherever there is room (--cuts free)")
    if options.depthwise_group == "max" and any(m.matrix.groups > 1 for m in placement.matrices):
        levers.append("smaller groups of grouped convolutions (--depthwise-group auto)")
    levers.append("a chip with more or larger arrays (--set array.rows=..., --set cores=...)")
    return Infeasible(demand=demand, capacity=capacity, unit=unit, bound=certificate.bound, levers=tuple(levers))

"""Matrices + arrays + options -> `Placement`, with the certificate of how many arrays any placement needs.

Groups and copies are chosen, matrices are cut (`place.blocks`, or freely in `pack.cutting`), packed into as few arrays
as the search finds, and, where the interval counts, spread so that no array fires much more than others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from bitline.core.progress import SILENT, Progress
from bitline.ir.placement import ArrayShape, Cuts, Infeasible, Occupied, PlacedBlock, PlacedMatrix, Placement
from bitline.pack.shapes import Spot
from bitline.place.arrays import Layout, certificate, fewest_arrays, fits, lying, open_cells, spread_over
from bitline.place.blocks import CutBlock, CutMatrices, cut_all, fitted
from bitline.place.figures import interval, latency
from bitline.place.free import NOTHING_KEPT, Kept, bound_of_cells, cut_freely
from bitline.place.grouping import grouped
from bitline.place.mapping import Sliding, as_chosen, blocks_of, layouts, lowest_latency, shortest_interval
from bitline.place.matrices import chip_arrays
from bitline.place.options import PlaceOptions
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
    best: Solved | None = None
    for these in grouped([fitted(m, shape) for m in matrices], shape, options):
        solved = _solve(these, layers, shape, options, chip, fix, keep, progress)
        used = solved.placement.certificate.arrays_used
        if best is None or used < best.placement.certificate.arrays_used:
            best = solved
        if solved.interrupted or used <= (options.array_budget or used):
            break
    assert best is not None, "there is a grouping"
    return best


def _solve(
    matrices: Sequence[PlacedMatrix],
    layers: Sequence[Sliding | None],
    shape: ArrayShape,
    options: PlaceOptions,
    chip: Chip,
    fix: Fix | None,
    keep: Keep | None,
    progress: Progress,
) -> Solved:
    """The same, groups chosen."""
    found = mapped(matrices, layers, shape, options)
    ways, interrupted = _ways(found, shape, options, chip, fix, keep, progress)
    ways = [_evened_out(way, shape, options) for way in ways]

    def placement(way: _Way) -> Placement:
        return _placement(found.matrices, way, shape, chip.name)

    best = min(ways, key=lambda way: _worth(placement(way), way, options))
    return Solved(
        placement=placement(best),
        row_cuts=best.cut.row_cuts,
        col_cuts=best.cut.col_cuts,
        import_seconds=sum(way.layout.import_seconds for way in ways),
        interrupted=interrupted or any(way.layout.interrupted for way in ways),
        infeasible=_infeasible(placement(best), best.cut.blocks, options, options.array_budget or chip_arrays(chip)),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Way:
    """Matrices cut and placed in one way, and what lies there anyway."""

    cuts: Cuts
    cut: CutMatrices
    layout: Layout
    fixed: Fixed = NOTHING


def _ways(
    found: Mapped,
    shape: ArrayShape,
    options: PlaceOptions,
    chip: Chip,
    fix: Fix | None,
    keep: Keep | None,
    progress: Progress,
) -> tuple[list[_Way], bool]:
    """Cut as the options ask, and whether Ctrl-C came before that. Free cuts may be those at array borders: where
    these do as well, they are a way too."""
    if options.cuts != "free":
        return [_at_borders(found, shape, options, fix, progress)], found.interrupted
    kept = keep(found.matrices) if keep else NOTHING_KEPT
    try:
        cut, layout = cut_freely(found.matrices, shape, options, chip, kept)
    except KeyboardInterrupt:  # nothing was found yet: the full cut is there at once
        return [_at_borders(found, shape, replace(options, cuts="full"), fix, progress)], True
    ways = [_Way(cuts="free", cut=cut, layout=layout, fixed=replace(NOTHING, occupied=kept.occupied))]
    arrays = layout.certificate.arrays_used
    if options.objective != "arrays":
        arrays = max(arrays, options.array_budget or 0)
    if keep is None and not layout.interrupted and fits(found.matrices, shape, arrays):
        border = _at_borders(found, shape, options, fix, progress)
        claim = certificate(border.layout.certificate.arrays_used, *bound_of_cells(border.cut.blocks, shape))
        ways.append(replace(border, layout=replace(border.layout, certificate=claim)))
    return ways, found.interrupted


def _at_borders(found: Mapped, shape: ArrayShape, options: PlaceOptions, fix: Fix | None, progress: Progress) -> _Way:
    cut = cut_all(found.matrices, shape, balanced=options.cuts == "balanced")
    if found.spots is not None and fix is None:
        return _Way(cuts=options.cuts, cut=cut, layout=lying(cut.blocks, found.spots, shape))
    fixed = fix(cut, found.matrices) if fix else NOTHING
    layout = fewest_arrays(cut.blocks, shape, options, fixed.blocks, fixed.occupied, progress)
    return _Way(cuts=options.cuts, cut=cut, layout=layout, fixed=fixed)


def _evened_out(way: _Way, shape: ArrayShape, options: PlaceOptions) -> _Way:
    """The same, where firings count, spread over the arrays that there may be. Ctrl-C ends that, not the answer."""
    if options.objective == "arrays" or way.fixed.blocks or way.fixed.occupied:
        return way
    used = max(way.layout.certificate.arrays_used, 1)
    try:
        layout = spread_over(way.cut.blocks, way.layout, shape, max(used, options.array_budget or used), options)
    except KeyboardInterrupt:
        layout = replace(way.layout, interrupted=True)
    return replace(way, layout=layout)


def _worth(placement: Placement, way: _Way, options: PlaceOptions) -> tuple[int, ...]:
    """What a way has to be small in, most important first."""
    arrays, cuts = placement.certificate.arrays_used, way.cut.row_cuts + way.cut.col_cuts
    over = max(0, arrays - options.array_budget) if options.array_budget else 0
    if options.objective == "arrays":
        return arrays, cuts
    figure = interval(placement) if options.objective == "interval" else latency(placement)
    return (over, figure, arrays, cuts) if options.array_budget else (arrays, figure, cuts)


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
    way: _Way,
    shape: ArrayShape,
    target: str,
) -> Placement:
    return Placement(
        target=target,
        cuts=way.cuts,
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
            for b, spot in zip(way.cut.blocks, way.layout.spots, strict=True)
        ),
        occupied=way.fixed.occupied,
        certificate=way.layout.certificate,
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

"""Blocks into arrays: as few as the search finds, or spread over a number of them; with the certificate."""

from __future__ import annotations

import importlib
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from bitline.core.progress import SILENT, Progress
from bitline.ir.placement import ArrayShape, Certificate, Occupied, PlacedMatrix, Proof
from bitline.pack.bounds import lower_bound
from bitline.pack.layout import pack_layout
from bitline.pack.layout_bounds import layout_bound
from bitline.pack.prove import prove
from bitline.pack.rectangles import Packing, pack, packings
from bitline.pack.shapes import Bin, Piece, Spot
from bitline.pack.spread import spread
from bitline.place.blocks import CutBlock, cut_all
from bitline.place.options import PlaceOptions

LAYOUT_STEPS = 2_000
"""Of the search where arrays are no plain rectangles."""
SEARCH_STEPS = 2_000
SPREAD_STEPS = 20_000
QUICK_EFFORT = 0.5
"""Of the solver, before the search for one array fewer."""
FEW = 40
"""Blocks of which the solver is also asked for positions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Where blocks lie, and that no fewer arrays will do, as far as it is known."""

    spots: tuple[Spot, ...]
    certificate: Certificate
    import_seconds: float = 0.0
    interrupted: bool = False


def bin_of(shape: ArrayShape) -> Bin:
    """An array as the packer sees it."""
    return Bin(rows=shape.rows, cols=shape.cols, blocked=shape.blocked, edges=shape.edges, bands=shape.bias_rows)


def open_cells(shape: ArrayShape) -> int:
    """Cells of an array that may be used."""
    return bin_of(shape).area


def pieces_of(blocks: Sequence[CutBlock]) -> list[Piece]:
    """Blocks as the packer sees them."""
    return [Piece(rows=b.rows, cols=b.cols, bands=b.bias_rows, load=b.load) for b in blocks]


def fits(matrices: Sequence[PlacedMatrix], shape: ArrayShape, arrays: int) -> bool:
    """Whether the full cut of all matrices is seen to fit into so many arrays, without a search."""
    pieces, bin = pieces_of(cut_all(matrices, shape).blocks), bin_of(shape)
    if bin.plain:
        sizes = [(p.rows, p.cols) for p in pieces]
        return pack(sizes, rows=shape.rows, cols=shape.cols, max_bins=arrays) is not None
    return pack_layout(pieces, bin, max_bins=arrays) is not None


def fewest_arrays(
    blocks: Sequence[CutBlock],
    shape: ArrayShape,
    options: PlaceOptions,
    fixed: Mapping[int, Occupied],
    occupied: Sequence[Occupied],
    progress: Progress = SILENT,
) -> Layout:
    """As few arrays as the search finds. `fixed` blocks, by number, and all that is `occupied` lie where they lie."""
    bin, pieces = bin_of(shape), pieces_of(blocks)
    if bin.plain and not fixed and not occupied:
        return _plain(pieces, shape, options, progress)
    there = [_lies(place) for place in (*fixed.values(), *occupied)]
    free = [number for number in range(len(blocks)) if number not in fixed]
    found = pack_layout([pieces[n] for n in free], bin, fixed=there, steps=LAYOUT_STEPS, seed=options.seed)
    assert found is not None, "blocks were cut to fit"
    spots = dict(zip(free, found, strict=True)) | {n: _lies(place)[1] for n, place in fixed.items()}
    arrays = {spot.bin for spot in spots.values()} | {o.array for o in occupied}
    bound = layout_bound([*(pieces[n] for n in free), *(piece for piece, _ in there)], bin)
    return Layout(spots=tuple(spots[n] for n in range(len(blocks))), certificate=certificate(len(arrays), *bound))


def _lies(place: Occupied) -> tuple[Piece, Spot]:
    piece = Piece(rows=place.rows, cols=place.cols, bands=place.bias_rows)
    return piece, Spot(bin=place.array, row=place.w_row_start, col=place.w_col_start, band=place.bias_start)


def _plain(pieces: Sequence[Piece], shape: ArrayShape, options: PlaceOptions, progress: Progress) -> Layout:
    """Many orders, then a search for one array fewer, then a solver that settles whether there is one."""
    sizes = [(p.rows, p.cols) for p in pieces]
    rows, cols = shape.rows, shape.cols
    bound, which = lower_bound(sizes, rows, cols)
    best, import_s, interrupted = None, 0.0, False
    ends = None if options.time_limit is None else time.perf_counter() + options.time_limit
    steps = SEARCH_STEPS if ends is None else None
    try:
        best = pack(sizes, rows=rows, cols=cols)
        assert best is not None, "the number of arrays is unlimited"
        if best.bins == bound + 1:
            import_s = solver_seconds()
            verdict = prove(
                sizes,
                rows=rows,
                cols=cols,
                bins=bound,
                effort=QUICK_EFFORT,
                places=sum(size != (rows, cols) for size in sizes) <= FEW,
            )
            if verdict.packing is not None:
                best = verdict.packing
            elif verdict.verdict == "infeasible":
                return _layout(best, certificate(best.bins, best.bins, "solver", solver=True), import_s)
        if best.bins > bound:
            for best in packings(sizes, rows=rows, cols=cols, steps=steps, seed=options.seed):
                progress.stage(f"{best.bins} arrays, at least {bound}")
                if best.bins == bound or (ends is not None and time.perf_counter() >= ends):
                    break
    except KeyboardInterrupt:
        if best is None:
            raise
        interrupted = True
    return _layout(best, certificate(best.bins, bound, which), import_s, interrupted)


def _layout(packing: Packing, claim: Certificate, import_s: float, interrupted: bool = False) -> Layout:
    spots = tuple(
        Spot(bin=b, row=r, col=c) for b, r, c in zip(packing.bin_of, packing.row_start, packing.col_start, strict=True)
    )
    return Layout(spots=spots, certificate=claim, import_seconds=import_s, interrupted=interrupted)


def solver_seconds() -> float:
    """Load the solver; how long that took, for it is no time of the search."""
    started = time.perf_counter()
    importlib.import_module("ortools.sat.python.cp_model")
    return time.perf_counter() - started


def spread_over(
    blocks: Sequence[CutBlock], layout: Layout, shape: ArrayShape, arrays: int, options: PlaceOptions
) -> Layout:
    """The same blocks in up to `arrays` arrays so that the busiest one fires as seldom as is found; `layout` where that
    is as good, or where arrays are no plain rectangles."""
    if not bin_of(shape).plain:
        return layout
    found = _apart(blocks, arrays) or spread(
        pieces_of(blocks),
        rows=shape.rows,
        cols=shape.cols,
        bins=arrays,
        start=layout.spots,
        steps=SPREAD_STEPS,
        seed=options.seed,
        seconds=options.time_limit,
    )
    if found is None or _busiest(blocks, found) >= _busiest(blocks, layout.spots):
        return layout
    numbers: dict[int, int] = {}
    for spot in found:
        numbers.setdefault(spot.bin, len(numbers))
    claim = layout.certificate
    spots = tuple(replace(spot, bin=numbers[spot.bin]) for spot in found)
    return replace(
        layout,
        spots=spots,
        certificate=certificate(len(numbers), claim.lower_bound, claim.bound, solver=claim.proof == "solver"),
    )


def _apart(blocks: Sequence[CutBlock], arrays: int) -> tuple[Spot, ...] | None:
    """Every block in an array of its own, where there are so many."""
    return tuple(Spot(bin=n, row=0, col=0) for n in range(len(blocks))) if len(blocks) <= arrays else None


def _busiest(blocks: Sequence[CutBlock], spots: Sequence[Spot]) -> int:
    loads: Counter[int] = Counter()
    for block, spot in zip(blocks, spots, strict=True):
        loads[spot.bin] += block.load
    return max(loads.values(), default=0)


def certificate(arrays: int, bound: int, which: str, *, solver: bool = False) -> Certificate:
    """What is known of how few arrays would do."""
    proof: Proof = "none" if bound < arrays else "solver" if solver else "bound"
    return Certificate(arrays_used=arrays, lower_bound=bound, bound=which, proof=proof)

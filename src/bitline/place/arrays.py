"""Blocks into arrays: as few as the search finds, or spread over a number of them; with the certificate."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from bitline.core.progress import SILENT, Progress
from bitline.ir.placement import ArrayShape, Certificate, Closed, Occupied, PlacedMatrix, Proof, Rect, Scale
from bitline.pack.bounds import Bound, best_bound
from bitline.pack.gap import narrow
from bitline.pack.layout import pack_layout, start_states
from bitline.pack.layout_bounds import layout_bound
from bitline.pack.rectangles import Packing, pack
from bitline.pack.shapes import Bin, Piece, Spot
from bitline.pack.spread import spread
from bitline.place.blocks import CutBlock, cut_all, largest_open_at
from bitline.place.options import PlaceOptions

LAYOUT_STEPS = 2_000
"""Of the search where arrays are no plain rectangles."""
SEARCH_STEPS = 200_000
"""About a second for a hundred blocks."""
SPREAD_STEPS = 20_000
SPREAD_MOST = 2_000_000
"""Steps times blocks."""


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
    there = [lies(place) for place in (*fixed.values(), *occupied)]
    free = [number for number in range(len(blocks)) if number not in fixed]
    found = pack_layout([pieces[n] for n in free], bin, fixed=there, steps=LAYOUT_STEPS, seed=options.seed)
    assert found is not None, "blocks were cut to fit"
    spots = dict(zip(free, found, strict=True)) | {n: lies(place)[1] for n, place in fixed.items()}
    arrays = {spot.bin for spot in spots.values()} | {o.array for o in occupied}
    claim = _layout_claim(len(arrays), [*(pieces[n] for n in free), *(piece for piece, _ in there)], bin)
    held = len({place.array for place in occupied})
    if held > claim.lower_bound:
        claim = certificate(len(arrays), held, "occupied")
    return Layout(spots=tuple(spots[n] for n in range(len(blocks))), certificate=claim)


def lies(place: Occupied) -> tuple[Piece, Spot]:
    """As the packer sees it."""
    piece = Piece(rows=place.rows, cols=place.cols, bands=place.bias_rows)
    return piece, Spot(bin=place.array, row=place.w_row_start, col=place.w_col_start, band=place.bias_start)


def _plain(pieces: Sequence[Piece], shape: ArrayShape, options: PlaceOptions, progress: Progress) -> Layout:
    """Packing and bound, narrowed for a number of steps or as long as the time limit; Ctrl-C ends that, not the
    answer."""
    answers = narrow(
        [(p.rows, p.cols) for p in pieces],
        rows=shape.rows,
        cols=shape.cols,
        steps=SEARCH_STEPS if options.time_limit is None else None,
        seconds=options.time_limit,
        seed=options.seed,
    )
    found, interrupted = next(answers), False
    try:
        for found in answers:
            progress.stage(f"{found.packing.bins} arrays, at least {found.least}")
    except KeyboardInterrupt:
        interrupted = True
    bins = found.packing.bins
    if found.refuted:
        claim = certificate(bins, bins, "solver", solver=True)
    else:
        claim = replace(certificate(bins, found.bound.value, found.bound.which), scale=scale_of(found.bound))
    return Layout(
        spots=spots_of(found.packing),
        certificate=claim,
        import_seconds=found.loading_seconds,
        interrupted=interrupted,
    )


def scale_of(bound: Bound) -> Scale | None:
    """What `verify` needs to see a bound by dual-feasible functions or scales."""
    if bound.which not in ("dff", "scale"):
        return None
    return Scale(
        closed=tuple(Closed(leader=g.leader, partners=g.partners, times=g.times) for g in bound.groups),
        row_values=bound.row_values,
        col_values=bound.col_values,
        row_cap=bound.row_cap,
        col_cap=bound.col_cap,
    )


def spots_of(packing: Packing) -> tuple[Spot, ...]:
    """Where the blocks of a packing lie."""
    places = zip(packing.bin_of, packing.row_start, packing.col_start, strict=True)
    return tuple(Spot(bin=b, row=r, col=c) for b, r, c in places)


def spread_over(
    blocks: Sequence[CutBlock], layout: Layout, shape: ArrayShape, arrays: int, options: PlaceOptions
) -> Layout:
    """The same blocks in up to `arrays` arrays so that the busiest one fires as seldom as is found; `layout` where that
    is as good, or where blocks that have bias rows share arrays."""
    found = _apart(blocks, shape, arrays)
    if found is None and spreads(blocks):
        found = spread(
            pieces_of(blocks),
            rows=shape.rows,
            cols=shape.cols,
            bins=arrays,
            opening=opening_of(shape),
            start=layout.spots,
            steps=min(SPREAD_STEPS, SPREAD_MOST // max(1, len(blocks))),
            seed=options.seed,
            seconds=options.time_limit,
        )
    if found is None or busiest(blocks, found) >= busiest(blocks, layout.spots):
        return layout
    used = len({spot.bin for spot in found})
    claim = layout.certificate
    if used != claim.arrays_used and claim.proof == "solver":  # which says nothing of more arrays that `verify` can see
        claim = lying(blocks, found, shape).certificate
    elif used != claim.arrays_used:
        claim = replace(claim, arrays_used=used, proof="none")
    return replace(layout, spots=_numbered(found), certificate=claim)


def lying(blocks: Sequence[CutBlock], spots: Sequence[Spot], shape: ArrayShape) -> Layout:
    """Blocks that were placed for another reason than few arrays, with what is known of those."""
    used, bin = len({spot.bin for spot in spots}), bin_of(shape)
    if bin.plain:
        bound = best_bound([(b.rows, b.cols) for b in blocks], shape.rows, shape.cols)
        claim = replace(certificate(used, bound.value, bound.which), scale=scale_of(bound))
    else:
        claim = _layout_claim(used, pieces_of(blocks), bin)
    return Layout(spots=_numbered(spots), certificate=claim)


def _layout_claim(used: int, pieces: Sequence[Piece], bin: Bin) -> Certificate:
    value, which = layout_bound(pieces, bin)
    return certificate(used, value, "bias" if which == "bias-dff" else which)


def spreads(blocks: Sequence[CutBlock] | Sequence[PlacedMatrix]) -> bool:
    """Whether `pack.spread` can place these: it knows nothing of bias rows."""
    return not any(b.bias_rows for b in blocks)


def opening_of(shape: ArrayShape) -> list[Rect]:
    """The maximal free rectangles of an empty array, for `pack.spread`; none said where it is all of it."""
    return (
        []
        if bin_of(shape).plain
        else [(r0, c0, r1, c1) for r0, c0, r1, c1 in start_states(bin_of(shape)).free.tolist()]
    )


def _numbered(spots: Sequence[Spot]) -> tuple[Spot, ...]:
    """The same with arrays counted from 0 without a gap."""
    numbers: dict[int, int] = {}
    for spot in spots:
        numbers.setdefault(spot.bin, len(numbers))
    return tuple(replace(spot, bin=numbers[spot.bin]) for spot in spots)


def _apart(blocks: Sequence[CutBlock], shape: ArrayShape, arrays: int) -> tuple[Spot, ...] | None:
    """Every block in an array of its own, where there are so many."""
    top, left, bottom, right = largest_open_at(shape)
    if len(blocks) > arrays or any(b.rows > bottom - top or b.cols > right - left for b in blocks):
        return None
    return tuple(Spot(bin=n, row=top, col=left) for n in range(len(blocks)))


def busiest(blocks: Sequence[CutBlock], spots: Sequence[Spot]) -> int:
    """Firings of the busiest array."""
    loads: Counter[int] = Counter()
    for block, spot in zip(blocks, spots, strict=True):
        loads[spot.bin] += block.load
    return max(loads.values(), default=0)


def certificate(arrays: int, bound: int, which: str, *, solver: bool = False) -> Certificate:
    """What is known of how few arrays would do."""
    proof: Proof = "none" if bound < arrays else "solver" if solver else "bound"
    return Certificate(arrays_used=arrays, lower_bound=bound, bound=which, proof=proof)

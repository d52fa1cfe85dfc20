"""Copies and windows of layers whose blocks share arrays: chosen by what the packed arrays then do.

`mapping` counts an array for every block, and is exact where that holds. Small blocks share one, though, and an array
whose blocks fire seldom has time for further copies: sum(firings of a block) / arrays is what an interval can come to.
Here every layer gets as many copies as keep its blocks under a cap of firings; for a number of caps around that mean
the blocks are packed and spread (`pack.spread`), and the best of these plans counts.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bitline.ir.placement import ArrayShape, PlacedMatrix
from bitline.pack.rectangles import pack
from bitline.pack.shapes import Spot
from bitline.pack.spread import spread
from bitline.place.arrays import bin_of, busiest, open_cells, opening_of, pieces_of, spots_of, spreads
from bitline.place.blocks import cut_all
from bitline.place.mapping import Option, Sliding, as_chosen, blocks_of, copied, frugal_layouts
from bitline.place.options import PlaceOptions

CAPS = (2.0, 1.5, 1.2, 1.0, 0.8, 0.6, 0.5, 0.4, 0.3, 0.25, 0.2, 0.15)
"""Firings of a block, times the mean of an array: high caps take few copies, low ones are easily evened out."""
PRICES = (0.0, 0.25, 1.0, 4.0, 1e9)
"""What the cells of all arrays cost beside all firings, where a layer has several windows to choose from; the last
leaves none but that of one pixel."""
GAIN = 0.99
"""Of the interval, below which more copies are worth their cells."""
STEPS, MOST = 2_000, 400_000
"""Search steps of a plan, and steps times blocks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Matrices with their windows and copies, where the blocks of their cut lie, and firings of the busiest array."""

    matrices: list[PlacedMatrix]
    spots: tuple[Spot, ...]
    interval: int


def plans(
    matrices: Sequence[PlacedMatrix],
    layers: Sequence[Sliding | None],
    shape: ArrayShape,
    options: PlaceOptions,
    arrays: int,
) -> Iterator[Plan]:
    """Better and better plans for so many arrays, first with few copies; none where blocks have bias rows.

    `layers[i]`: the convolution that matrix i is."""
    if not spreads(matrices):
        return
    ways = [
        frugal_layouts(m, layer if options.windows else None, shape, blocks_of(m, shape) + arrays // 4)
        for m, layer in zip(matrices, layers, strict=True)
    ]
    made = [[as_chosen(m, layer, way) for way in of] for m, layer, of in zip(matrices, layers, ways, strict=True)]
    until = None if options.time_limit is None else time.monotonic() + options.time_limit
    tried: set[tuple[Option, ...]] = set()
    best: Plan | None = None
    for price in PRICES if any(len(of) > 1 for of in ways) else PRICES[:1]:
        for cap in CAPS:
            chosen = _under_cap(made, ways, shape, arrays, cap, price)
            if chosen in tried:
                continue
            tried.add(chosen)
            several = [as_chosen(m, layer, way) for m, layer, way in zip(matrices, layers, chosen, strict=True)]
            plan = _packed(several, shape, options, arrays)
            if plan is not None and (best is None or plan.interval < GAIN * best.interval):
                best = plan
                yield plan
            if until is not None and time.monotonic() > until:
                return


def _under_cap(
    made: Sequence[Sequence[PlacedMatrix]],
    ways: Sequence[Sequence[Option]],
    shape: ArrayShape,
    arrays: int,
    cap: float,
    price: float,
) -> tuple[Option, ...]:
    """For every layer the window with the fewest firings of all blocks and the fewest cells, at this price, and copies
    under the cap."""
    loads = [[blocks_of(m, shape) * m.pixels for m in of] for of in made]
    areas = [[m.matrix.groups * m.matrix.rows * m.matrix.cols for m in of] for of in made]
    each = price * sum(load[0] for load in loads) / (arrays * shape.rows * shape.cols)  # firings that a cell is worth

    def cheapest(limit: float) -> list[int]:
        return [
            min(range(len(of)), key=lambda i: load[i] + each * area[i] * max(1.0, of[i].fires / limit))
            for of, load, area in zip(ways, loads, areas, strict=True)
        ]

    mean = sum(load[0] for load in loads) / arrays
    for _ in range(2):  # other windows, another mean
        mean = sum(load[i] for load, i in zip(loads, cheapest(mean), strict=True)) / arrays
    limit = max(1, round(cap * mean))
    return tuple(copied(of[i], limit) for of, i in zip(ways, cheapest(limit), strict=True))


def _packed(matrices: list[PlacedMatrix], shape: ArrayShape, options: PlaceOptions, arrays: int) -> Plan | None:
    """The plan with its blocks packed and spread; None where they are not seen to fit, or have an array each."""
    blocks = cut_all(matrices, shape, balanced=options.cuts == "balanced").blocks
    if len(blocks) <= arrays or sum(b.rows * b.cols for b in blocks) > arrays * open_cells(shape):
        return None
    pieces = pieces_of(blocks)
    start = None
    if bin_of(shape).plain:
        start = pack([(p.rows, p.cols) for p in pieces], rows=shape.rows, cols=shape.cols, max_bins=arrays)
    found = spread(
        pieces,
        rows=shape.rows,
        cols=shape.cols,
        bins=arrays,
        opening=opening_of(shape),
        start=None if start is None else spots_of(start),
        steps=max(1, min(STEPS, MOST // len(blocks))),
        seed=options.seed,
    )
    return None if found is None else Plan(matrices=matrices, spots=found, interval=busiest(blocks, found))

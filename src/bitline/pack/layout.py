"""Pack pieces into bins that are more than a rectangle: bad columns, halves, bias rows, pieces that lie already.

    pack_layout([Piece(rows=2, cols=3, bands=1)] * 2, Bin(rows=4, cols=3, edges=(2,), bands=2))
    -->  (Spot(bin=0, row=0, col=0, band=0), Spot(bin=0, row=2, col=0, band=1))

Maximal free rectangles as in `rectangles`, for every pair of an order and a placing rule; the fewest bins are kept, the
search ends where `layout_bound` is met. Where it is not, `steps` of an order search may follow. Equal input gives an
equal layout.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Final

import numpy as np
import numpy.typing as npt

from bitline.core.interrupts import uninterrupted
from bitline.pack.layout_bounds import layout_bound, open_rows
from bitline.pack.shapes import Bin, Piece, Rect, Spot

Ints = npt.NDArray[np.int64]

MAX_BANDS: Final = 64
"""Bias rows of a bin are the bits of a word."""
CHUNK: Final = 20_000
"""Pieces times search steps of one call of compiled code, so that an interrupt waits for less than a second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class States:
    """How bins start, one state after another, in the form `layout_decode.fill_bins` reads; the last is of all further
    bins."""

    bands: int
    free_at: Ints
    free: Ints
    masks_at: Ints
    masks: Ints


def pack_layout(
    pieces: Sequence[Piece],
    bin: Bin,
    *,
    max_bins: int | None = None,
    fixed: Sequence[tuple[Piece, Spot]] = (),
    steps: int = 0,
    seed: int = 0,
) -> tuple[Spot, ...] | None:
    """A spot for every piece, in bins 0..max_bins-1; None if they took more, or if no bin can hold one of them at all.

    `fixed` pieces lie where they lie and take cells and bias rows; their bins are filled first. None proves nothing
    unless `layout_bound` of all pieces is above `max_bins` too.
    """
    assert 0 <= bin.bands <= MAX_BANDS, f"{bin.bands} bias rows"
    if not pieces:
        return ()
    filled = sorted({spot.bin for _, spot in fixed})
    limit = len(pieces) + len(filled) if max_bins is None else min(max_bins, len(pieces) + len(filled))
    assert max_bins is None or not filled or filled[-1] < max_bins, "a fixed piece lies behind the last bin"
    sizes = np.array([(p.rows, p.cols, p.bands) for p in pieces], dtype=np.int64)
    states = start_states(bin, fixed, filled)
    floor = max(1, layout_bound([*pieces, *(piece for piece, _ in fixed)], bin)[0])
    if floor > limit:
        return None
    found = _search(sizes, states, floor, limit, steps, seed)
    if found is None:
        return None
    empty = (number for number in range(len(pieces) + len(filled)) if number not in set(filled))
    numbers = [*filled, *empty]
    return tuple(Spot(bin=numbers[b], row=row, col=col, band=band) for b, row, col, band in found.tolist())


def _search(sizes: Ints, states: States, floor: int, max_bins: int, steps: int, seed: int) -> Ints | None:
    """[piece, (bin, row, col, band)] of the layout with the fewest bins, the first found of equals."""
    from bitline.pack.layout_decode import LAYOUT_RULES, fill_bins, improve_layout
    from bitline.pack.layout_random import random_state

    form = states.bands, states.free_at, states.free, states.masks_at, states.masks
    best: Ints | None = None
    start = next(_orders(sizes)), LAYOUT_RULES[0]
    allowed = max_bins
    for order, rule in product(_orders(sizes), LAYOUT_RULES):
        positions = np.zeros((len(sizes), 4), dtype=np.int64)
        with uninterrupted():
            bins = fill_bins(order, sizes, *form, rule, allowed, positions)
        if bins > allowed:
            continue
        best, start, allowed = positions, (order, rule), bins - 1
        if bins <= floor:
            return best
    order, rule = start[0].copy(), start[1]
    random = random_state(seed)
    chunk = max(1, CHUNK // len(sizes))
    for done in range(0, steps, chunk):
        positions = np.zeros((len(sizes), 4), dtype=np.int64)
        with uninterrupted():
            bins = improve_layout(order, sizes, *form, rule, floor, min(chunk, steps - done), random, positions)
        if bins <= allowed:
            best, allowed = positions, bins - 1
        if bins <= floor:
            break
    return best


def _orders(sizes: Ints) -> Iterator[Ints]:
    """Large pieces first, by several notions of large, those of bias rows first; ties by rows, by cols, as given."""
    r, c, n = sizes[:, 0], sizes[:, 1], sizes[:, 2]
    notions = [r * c, np.maximum(r, c), r + c, r, c, np.minimum(r, c)]
    if n.any():
        notions = [n * c, n, c, *notions]
    for large in notions:
        yield np.lexsort((-c, -r, -large)).astype(np.int64)


def start_states(bin: Bin, fixed: Sequence[tuple[Piece, Spot]] = (), filled: Sequence[int] = ()) -> States:
    """How the bins with fixed pieces start, and the others."""
    from bitline.pack.maxrects import cut_free

    free_lists: list[Ints] = []
    mask_lists: list[Ints] = []
    for number in [*filled, None]:
        lying = [(piece, spot) for piece, spot in fixed if spot.bin == number]
        holes: list[Rect] = [rect for rect in bin.blocked if rect[0] < rect[2] and rect[1] < rect[3]]
        holes += [(s.row, s.col, s.row + p.rows, s.col + p.cols) for p, s in lying]
        regions = [(top, 0, bottom, bin.cols) for top, bottom in pairwise(open_rows(bin))]
        count, free = len(regions), np.array(regions, dtype=np.int64).reshape(-1, 4)
        for hole in holes:
            free = np.concatenate((free[:count], np.zeros((5 * count + 4, 4), dtype=np.int64)))
            with uninterrupted():
                count = cut_free(free, count, *hole, 1, 1)
        free_lists.append(free[:count])
        mask_lists.append(_masks(bin, lying))
    return States(
        bands=bin.bands,
        free_at=np.cumsum([0, *(len(each) for each in free_lists)], dtype=np.int64),
        free=np.ascontiguousarray(np.concatenate(free_lists)),
        masks_at=np.cumsum([0, *(len(each) for each in mask_lists)], dtype=np.int64),
        masks=np.ascontiguousarray(np.concatenate(mask_lists)),
    )


def _masks(bin: Bin, lying: Sequence[tuple[Piece, Spot]]) -> Ints:
    """Stretches (first column, bias rows taken), the sentinel behind the last column. What lies outside has none."""
    taken: list[tuple[int, int, int]] = []
    for p, s in lying:
        first, last = max(0, s.col), min(bin.cols, s.col + p.cols)
        low, high = max(0, s.band), min(bin.bands, s.band + p.bands)
        if first < last and low < high:
            taken.append((first, last, (1 << high) - (1 << low)))
    edges = sorted({0, bin.cols, *(edge for first, last, _ in taken for edge in (first, last))})
    masks: list[tuple[int, int]] = []
    for edge in edges:
        mask = 0
        for first, last, bits in taken:
            mask |= bits if first <= edge < last else 0
        masks.append((edge, mask - (1 << 64) if mask >> 63 else mask))
    return np.array(masks, dtype=np.int64)

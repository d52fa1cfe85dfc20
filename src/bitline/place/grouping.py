"""`--depthwise-group`: the sizes of diagonal groups that the options ask for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

from bitline.ir.placement import ArrayShape, PlacedMatrix
from bitline.place.arrays import fewest_arrays, fits, open_cells
from bitline.place.blocks import cut_all
from bitline.place.groups import mixtures
from bitline.place.matrices import in_groups_of
from bitline.place.options import PlaceOptions
from bitline.place.regroup import fewest_fires, regrouped

FILLED = (1.0, 0.97, 0.94)
"""Shares of the cells up to which free cuts are tried, with the largest groups that take no more."""


def grouped(
    matrices: Sequence[PlacedMatrix], shape: ArrayShape, options: PlaceOptions
) -> Iterator[Sequence[PlacedMatrix]]:
    """The same with the size of diagonal groups that the options ask for; where that depends on what fits, further
    ones, which take fewer arrays and fire more."""
    size = options.depthwise_group
    if size == "max" or all(m.matrix.groups == 1 for m in matrices):
        yield matrices
        return
    if size != "auto":
        yield [in_groups_of(m, size) for m in matrices]
        return
    along = mixtures(matrices)
    arrays = options.array_budget
    if arrays is not None:
        if options.cuts == "free":
            room = arrays * open_cells(shape)
            loose = [regrouped(matrices, sizes) for sizes in along]
            for share in FILLED:
                yield from islice((these for these in loose if sum(map(_cells, these)) <= share * room), 1)
        best = fewest_fires(matrices, arrays, lambda these, most: fits(these, shape, most), along)
        if best is not None:
            yield best
            return
    least = regrouped(matrices, along[-1])
    arrays = fewest_arrays(cut_all(least, shape).blocks, shape, options, {}, ()).certificate.arrays_used
    yield fewest_fires(matrices, arrays, lambda these, most: fits(these, shape, most), along) or least


def _cells(matrix: PlacedMatrix) -> int:
    """Cells of all diagonal blocks before any cut."""
    whole, rest = divmod(matrix.matrix.groups, matrix.math.bundle)
    return (whole * matrix.math.bundle**2 + rest**2) * matrix.matrix.rows * matrix.matrix.cols

"""Sizes of diagonal groups for a number of arrays: as few firings as fit.

The mixtures along the hull are searched for the first that fits; then single layers are given larger groups, as long as
all still fits, for between two prices there are mixtures that no price finds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bitline.ir.placement import PlacedMatrix
from bitline.place.groups import Choice, choices, mixtures
from bitline.place.matrices import in_groups_of

Fits = Callable[[Sequence[PlacedMatrix], int], bool]
"""Whether matrices fit into so many arrays."""
MOST_TRIALS = 120
"""Layers that are tried with a larger group."""


def regrouped(matrices: Sequence[PlacedMatrix], sizes: Sequence[int]) -> tuple[PlacedMatrix, ...]:
    """The same matrices with so many groups in a block."""
    return tuple(
        in_groups_of(matrix, size) if matrix.matrix.groups > 1 else matrix
        for matrix, size in zip(matrices, sizes, strict=True)
    )


def fewest_fires(
    matrices: Sequence[PlacedMatrix], arrays: int, fits: Fits, along: Sequence[tuple[int, ...]] | None = None
) -> tuple[PlacedMatrix, ...] | None:
    """Groups of the fewest firings found that fit into `arrays`; None where not even the smallest ones are seen to.

    `along`: `mixtures(matrices)`, where the caller has them."""
    hull = mixtures(matrices) if along is None else along
    if not fits(regrouped(matrices, hull[-1]), arrays):
        return None
    low, high = 0, len(hull) - 1
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(regrouped(matrices, hull[middle]), arrays) else (middle + 1, high)
    return _with_larger_groups(matrices, list(hull[low]), arrays, fits)


def _with_larger_groups(
    matrices: Sequence[PlacedMatrix], sizes: list[int], arrays: int, fits: Fits
) -> tuple[PlacedMatrix, ...]:
    ladders = [choices(m) if m.matrix.groups > 1 else () for m in matrices]
    refused: set[tuple[int, int]] = set()
    for _ in range(MOST_TRIALS):
        steps: list[tuple[float, int, Choice]] = []
        for number, ladder in enumerate(ladders):
            at = next((i for i, c in enumerate(ladder) if c.size <= sizes[number]), 0)
            for better in ladder[max(0, at - 2) : at]:
                if (number, better.size) not in refused:
                    gain = (ladder[at].fires - better.fires) / (better.cells - ladder[at].cells)
                    steps.append((-gain, number, better))
        if not steps:
            break
        _, number, better = min(steps, key=lambda step: step[:2])
        tried = [*sizes]
        tried[number] = better.size
        if fits(regrouped(matrices, tried), arrays):
            sizes = tried
        else:
            refused.add((number, better.size))
    return regrouped(matrices, sizes)

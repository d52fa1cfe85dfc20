"""How many diagonal groups of a grouped convolution share a block, layer by layer: firings against cells.

A block of g groups is g * rows by g * cols with zeros beside the diagonal; small blocks waste fewer cells and fire more
often. Along the lower hull of (cells, firings) every layer minimises firings + price * cells on its own, so one price
for all layers gives the best mixture for some number of cells (Everett 1963, generalised Lagrange multipliers).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from bitline.ir.placement import PlacedMatrix


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One size of the groups of a matrix: firings of its blocks in one inference, and their cells."""

    size: int
    fires: int
    cells: int


def choices(matrix: PlacedMatrix) -> tuple[Choice, ...]:
    """The sizes worth while, largest first: the least size for every number of blocks, up to the bundle that fits."""
    groups = matrix.matrix.groups
    area = matrix.matrix.rows * matrix.matrix.cols
    found: list[Choice] = []
    size = min(matrix.math.bundle, groups)
    while size:
        blocks = -(-groups // size)
        size = -(-groups // blocks)
        rest = groups - (blocks - 1) * size
        cells = ((blocks - 1) * size**2 + rest**2) * area
        if not found or cells < found[-1].cells:
            found.append(Choice(size=size, fires=blocks * matrix.fires, cells=cells))
        size = min(size - 1, -(-groups // (blocks + 1))) if size > 1 else 0
    return tuple(found)


def mixtures(matrices: Sequence[PlacedMatrix]) -> tuple[tuple[int, ...], ...]:
    """Sizes of every matrix (1 where it has no groups) for every price at which a layer changes, from the fewest
    firings to the fewest cells."""
    hulls = [_hull(choices(m)) if m.matrix.groups > 1 else () for m in matrices]
    steps = sorted(
        (
            ((b.fires - a.fires) / (a.cells - b.cells), number, place + 1)
            for number, hull in enumerate(hulls)
            for place, (a, b) in enumerate(pairwise(hull))
        )
    )
    at = [0] * len(matrices)

    def sizes() -> tuple[int, ...]:
        return tuple(hull[i].size if hull else 1 for hull, i in zip(hulls, at, strict=True))

    found = [sizes()]
    for _, number, place in steps:
        at[number] = place
        found.append(sizes())
    return tuple(found)


def _hull(points: Sequence[Choice]) -> tuple[Choice, ...]:
    """The points on the lower convex hull: firings against cells, from the most cells."""
    hull: list[Choice] = []
    for point in points:
        while len(hull) >= 2 and _above(hull[-2], hull[-1], point):
            hull.pop()
        hull.append(point)
    return tuple(hull)


def _above(a: Choice, b: Choice, c: Choice) -> bool:
    """Whether b lies on or above the line from a to c."""
    return (b.fires - a.fires) * (a.cells - c.cells) >= (c.fires - a.fires) * (a.cells - b.cells)

"""What is packed and into what: the nouns of this room."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

Rect = tuple[int, int, int, int]
"""(row, col, row end, col end), ends excluded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A rectangle to be placed, not turned. `bands`: bias rows that it needs over its columns; `load`: how often it
    fires."""

    rows: int
    cols: int
    bands: int = 0
    load: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin:
    """One of any number of equal bins.

    Nothing lies on the cells of `blocked`, nothing crosses a row of `edges` (two halves of 896 rows: edges=(896,)), and
    pieces that share a column have disjoint intervals of its `bands` bias rows.
    """

    rows: int
    cols: int
    blocked: tuple[Rect, ...] = ()
    edges: tuple[int, ...] = ()
    bands: int = 0

    @property
    def plain(self) -> bool:
        """Nothing but a rectangle."""
        return not (self.blocked or self.edges or self.bands)

    @property
    def area(self) -> int:
        """Cells that may be used. `blocked` rectangles may overlap and stand over."""
        open_cells = self.rows * self.cols
        corners = sorted({edge for r in self.blocked for edge in (r[0], r[2])} | {0, self.rows})
        for top, bottom in pairwise(corners):
            if not 0 <= top < bottom <= self.rows:
                continue
            spans = sorted((max(c0, 0), min(c1, self.cols)) for r0, c0, r1, c1 in self.blocked if r0 <= top < r1)
            end = 0
            for first, last in spans:
                open_cells -= (bottom - top) * max(0, last - max(first, end))
                end = max(end, last)
        return open_cells


@dataclass(frozen=True, slots=True, kw_only=True)
class Spot:
    """Where a piece lies: bin, top left corner, first bias row."""

    bin: int
    row: int
    col: int
    band: int = 0

"""Placements of whole networks, apart from any schedule: what `bitline place` writes and `bitline verify` checks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bitline.ir.kernels import ArrayMath, Matrix

Cuts = Literal["full", "balanced", "free"]
Proof = Literal["bound", "solver", "none"]
Rect = tuple[int, int, int, int]
"""(row, col, row end, col end), ends excluded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrayShape:
    """One of any number of equal arrays: `rows` x `cols` weights that may be used.

    Nothing lies on the cells of `blocked`, nothing crosses a row of `edges`, and blocks that share a column have
    disjoint intervals of its `bias_rows`. `reserved_cols` columns lie before the first usable one and count nowhere.
    """

    rows: int
    cols: int
    blocked: tuple[Rect, ...] = ()
    edges: tuple[int, ...] = ()
    bias_rows: int = 0
    reserved_cols: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedMatrix:
    """Static weights of a network and what their places follow from.

    `nodes` of `network` use them and fire every block `pixels` times an inference. `math.bundle` diagonal groups share
    a block. `bias_rows`: how many a block needs over its columns, once per column. `copies` lie in the arrays; each
    fires ceil(pixels / copies) times. `window`: the output pixels that one firing computes, down and right; where there
    are several, `matrix` is the one with as many shifted kernels side by side. `gain`: what sums are divided by, the
    nearest power of two.
    """

    network: str
    nodes: tuple[str, ...]
    matrix: Matrix
    math: ArrayMath
    pixels: int
    bias_rows: int = 0
    copies: int = 1
    window: tuple[int, int] = (1, 1)
    gain: int = 1

    @property
    def fires(self) -> int:
        """How often a block of a copy fires in one inference."""
        return -(-self.pixels // self.copies)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedBlock:
    """A part of copy `copy` of matrix number `matrix`, in rows and columns of its whole block-diagonal matrix, and its
    place: an array, its top left corner there, and `bias_rows` bias rows from `bias_start`."""

    matrix: int
    copy: int
    row_offset: int
    col_offset: int
    rows: int
    cols: int
    array: int
    w_row_start: int
    w_col_start: int
    bias_start: int = 0
    bias_rows: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Occupied:
    """Cells that something else than these networks takes: an earlier placement whose networks are not given."""

    name: str
    array: int
    w_row_start: int
    w_col_start: int
    rows: int
    cols: int
    bias_start: int = 0
    bias_rows: int = 0


Kind = tuple[int, int]
"""Rows and columns of a block."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    """`times` arrays, each of a block and all others that could ever share an array with it, in one row or column."""

    leader: Kind
    partners: tuple[Kind, ...] = ()
    times: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """A bound made for the blocks at hand: the arrays of the `closed` groups, one after another, and for the others
    ceil(sum row_values[rows] col_values[cols] / (row_cap col_cap)); no rows that fit above one another are worth more
    than `row_cap`, no columns that fit beside one another more than `col_cap` (a conservative scale)."""

    closed: tuple[Closed, ...]
    row_values: tuple[tuple[int, int], ...]
    col_values: tuple[tuple[int, int], ...]
    row_cap: int
    col_cap: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """No placement of these blocks takes fewer than `lower_bound` arrays: `bound` says why. `proof`: `bound` where that
    equals the arrays used, `solver` where an exhaustive search closed the gap, else `none`. `scale`: what a bound
    by dual-feasible functions or scales needs to be seen."""

    arrays_used: int
    lower_bound: int
    bound: str
    proof: Proof
    scale: Scale | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """All blocks of some networks in arrays; blocks in dependency order."""

    target: str
    cuts: Cuts
    shape: ArrayShape
    matrices: tuple[PlacedMatrix, ...]
    blocks: tuple[PlacedBlock, ...]
    occupied: tuple[Occupied, ...]
    certificate: Certificate
    version: Literal[1] = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Infeasible:
    """Why blocks cannot lie in so many arrays: `bound` says that they take `demand` of `unit`, there are `capacity`.
    `levers`: what would help, as one would type it."""

    demand: int
    capacity: int
    unit: str
    bound: str
    levers: tuple[str, ...]

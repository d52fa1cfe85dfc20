"""The arrays of a chip and the blocks in them, in pixels of the drawing."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor
from typing import Literal

from bitline.ir.kernels import Network
from bitline.ir.residency import BlockResidency
from bitline.report.names import kernel_of, matrix_users
from bitline.target.schema import Chip

MOST_ARRAYS = 1024
"""A chip with more arrays than this is drawn without those that never hold anything."""
LABEL_WIDTH, LABEL_HEIGHT = 20.0, 11.0
TINY_WIDTH, TINY_HEIGHT = 7.0, 4.0
LINE, AROUND_CORE, AROUND_ARRAY = 1312.0, 36.0, 35.0
"""Pixels of a line on a common screen, and what a core and an array take besides the array itself."""
FLATTEST = 3.0
"""Arrays longer than this times their width are drawn squeezed, so that a page holds them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """A block as drawn. `place` is its number in the data of the page; `fixed`: it lies there during all inferences."""

    place: int
    kernel: int
    x: float
    y: float
    width: float
    height: float
    fixed: bool

    @property
    def label(self) -> Literal["", "tiny", "full"]:
        """Whether the number of the layer fits: not at all, in an enlarged array, or always."""
        if self.width >= LABEL_WIDTH and self.height >= LABEL_HEIGHT:
            return "full"
        return "tiny" if self.width >= TINY_WIDTH and self.height >= TINY_HEIGHT else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrayPlan:
    """One array and all blocks that ever lie in it."""

    core: int
    array: int
    blocks: tuple[Placed, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CorePlan:
    """The arrays of one core; `spare` are the numbers of those that never hold anything."""

    core: int
    arrays: tuple[ArrayPlan, ...]
    spare: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FloorPlan:
    """All arrays of one size, `width` by `height` pixels; `undrawn` of `total` are empty and left out."""

    cores: tuple[CorePlan, ...]
    rows: int
    cols: int
    width: float
    height: float
    total: int
    undrawn: int


def rounds_per_step(blocks: Sequence[BlockResidency], steps: int) -> tuple[int, ...]:
    """How many rounds of streamed weights every step has; 1 where nothing is streamed."""
    rounds = [1] * steps
    for b in blocks:
        if b.from_step == b.to_step and 0 <= b.from_step < steps:
            rounds[b.from_step] = max(rounds[b.from_step], b.round + 1)
    return tuple(rounds)


def floor_plan(network: Network, blocks: Sequence[BlockResidency], chip: Chip) -> FloorPlan:
    """Every array of `chip`, and any further one that `blocks` name, with its blocks to scale."""
    rows, cols = chip.array.rows.value, chip.array.cols.value
    users = matrix_users(network)
    held: dict[tuple[int, int], list[int]] = defaultdict(list)
    for place, b in enumerate(blocks):
        held[b.region.core, b.region.array].append(place)
    total = chip.cores.value * chip.array.per_core.value
    if total <= MOST_ARRAYS:
        for core in range(chip.cores.value):
            for array in range(chip.array.per_core.value):
                held.setdefault((core, array), [])
    used = Counter(core for (core, _), places in held.items() if places)
    width, height = _size(rows, cols, used.total(), max(used.values(), default=1))
    cores: dict[int, list[ArrayPlan]] = {core: [] for core, _ in sorted(held)}
    for core, array in sorted(key for key, places in held.items() if places):
        drawn = (_placed(place, blocks[place], kernel_of(blocks[place], users)) for place in held[core, array])
        placed = tuple(_scaled(block, width / cols, height / rows) for block in drawn)
        cores[core].append(ArrayPlan(core=core, array=array, blocks=placed))
    return FloorPlan(
        cores=tuple(
            CorePlan(
                core=core,
                arrays=tuple(arrays),
                spare=tuple(sorted(array for (c, array), places in held.items() if c == core and not places)),
            )
            for core, arrays in cores.items()
        ),
        rows=rows,
        cols=cols,
        width=width,
        height=height,
        total=max(total, len(held)),
        undrawn=max(0, total - len(held)),
    )


def _size(rows: int, cols: int, arrays: int, per_core: int) -> tuple[float, float]:
    """Width and height of an array in pixels: the fewer there are, the larger, and lines of whole cores are full."""
    longest = 260.0 if arrays <= 4 else 190.0 if arrays <= 16 else 142.0 if arrays <= 80 else 104.0
    aspect = min(FLATTEST, max(1 / FLATTEST, rows / cols))
    wanted = longest / max(1.0, aspect)
    cores = LINE / (per_core * (wanted + AROUND_ARRAY) + AROUND_CORE)
    if cores >= 1:
        widths = [(LINE / n - AROUND_CORE) / per_core - AROUND_ARRAY for n in (int(cores), int(cores) + 1)]
    else:
        lines = ceil(1 / cores)
        widths = [(LINE - AROUND_CORE) / ceil(per_core / n) - AROUND_ARRAY for n in (max(1, lines - 1), lines)]
    width = floor(min(1.3 * wanted, max((w for w in widths if 0.75 * wanted <= w <= 1.3 * wanted), default=wanted)))
    return float(width), round(width * aspect, 1)


def _placed(place: int, b: BlockResidency, kernel: int) -> Placed:
    return Placed(
        place=place,
        kernel=kernel,
        x=b.region.w_col_start,
        y=b.region.w_row_start,
        width=b.block.cols,
        height=b.block.rows,
        fixed=b.loads == 0,
    )


def _scaled(block: Placed, per_col: float, per_row: float) -> Placed:
    return Placed(
        place=block.place,
        kernel=block.kernel,
        x=round(block.x * per_col, 2),
        y=round(block.y * per_row, 2),
        width=round(block.width * per_col, 2),
        height=round(block.height * per_row, 2),
        fixed=block.fixed,
    )

"""`bitline place`: all matrices of some networks in arrays, the number of arrays unlimited."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bitline.core.progress import SILENT, Progress
from bitline.ir.kernels import MatMul
from bitline.ir.placement import ArrayShape, PlacedMatrix, Placement, Rect
from bitline.lower.kernels import Lowered
from bitline.pipeline.check import Check
from bitline.pipeline.placement_files import known_again, read_earlier
from bitline.place import figures
from bitline.place.blocks import CutMatrices
from bitline.place.mapping import Sliding, sliding
from bitline.place.matrices import array_shape, chip_arrays, extract_matrices
from bitline.place.options import PlaceOptions
from bitline.place.solve import Earlier, Solved, solve
from bitline.place.tradeoff import Point, tradeoff
from bitline.report.figures import Json
from bitline.report.placement_table import block_table
from bitline.target.schema import Chip
from bitline.verify.placement import verify_placement


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """A placement, what was found on the way, the trade-off if it was asked for, and the checks of `verify`."""

    solved: Solved
    points: tuple[Point, ...]
    checks: tuple[Check, ...]
    chip: Chip
    options: PlaceOptions
    seconds: float

    @property
    def placement(self) -> Placement:
        return self.solved.placement


def place_networks(
    networks: Sequence[Lowered],
    chip: Chip,
    options: PlaceOptions,
    *,
    blocked: Sequence[Rect] = (),
    bias_rows: int | None = None,
    fixed: Path | None = None,
    pareto: bool = False,
    progress: Progress = SILENT,
) -> Placed:
    """Place the matrices of all networks together. `blocked`: cells of every array that cannot be used; `bias_rows`: of
    every block with a bias, None for as few as hold it; `fixed`: a file of blocks that lie there already.

    Raises `Refusal` (BL0101, BL0201, BL0205)."""
    options.check()
    started = time.perf_counter()
    shape = array_shape(chip, blocked)
    matrices: list[PlacedMatrix] = []
    layers: list[Sliding | None] = []
    for lowered in networks:
        found = extract_matrices(lowered.network, lowered.constants, bias_rows)
        matrices += found
        layers += [_layer(lowered, matrix) for matrix in found]
    earlier = read_earlier(fixed, shape) if fixed is not None else ()

    def fix(cut: CutMatrices, of: Sequence[PlacedMatrix]) -> Earlier:
        return known_again(cut, of, earlier, str(fixed))

    solved = solve(matrices, layers, shape, options, chip, fix=fix if fixed is not None else None, progress=progress)
    points = tradeoff(matrices, shape, options, chip, progress) if pareto else ()
    seconds = time.perf_counter() - started
    return Placed(
        solved=solved,
        points=points,
        checks=verify_placement(solved.placement),
        chip=chip,
        options=options,
        seconds=seconds,
    )


def _layer(lowered: Lowered, matrix: PlacedMatrix) -> Sliding | None:
    """What slides over an image, where one kernel alone uses these weights."""
    users = [k for k in lowered.network.kernels if isinstance(k, MatMul) and k.matrix.name == matrix.matrix.name]
    return sliding(users[0]) if len(users) == 1 else None


def placement_values(placed: Placed) -> dict[str, Json]:
    """Keys of `bitline place --json`."""
    placement, solved = placed.placement, placed.solved
    certificate, shape = placement.certificate, placement.shape
    ...

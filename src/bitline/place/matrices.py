"""Network -> the matrices that are to be placed, in dependency order, with what their places follow from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from bitline.ir.kernels import Constants, MatMul, Network
from bitline.ir.placement import ArrayShape, PlacedMatrix, Rect
from bitline.target.schema import Chip

BIAS_STEP = 128
"""What drives a bias row: the constant input 128 of the WTM2101, whose cells hold +-127 there."""
BIAS_CELL = 127


def extract_matrices(network: Network, constants: Constants, bias_rows: int | None = None) -> tuple[PlacedMatrix, ...]:
    """Every static matrix once; kernels with the same weights find them in one place, so their firings add up.

    `bias_rows`: of every matrix with a bias; None: as few as hold its largest one, ceil(max |b| / 128 / 127) where a
    row holds int8 and is driven with 128 (WTM2101).
    """
    users: dict[str, list[int]] = {}
    for number, kernel in enumerate(network.kernels):
        if isinstance(kernel, MatMul):
            users.setdefault(kernel.matrix.name, []).append(number)
    found: list[PlacedMatrix] = []
    for numbers in users.values():
        kernels = [k for number in numbers if isinstance(k := network.kernels[number], MatMul)]
        first = kernels[0]
        parameters = [np.asarray(constants[k.post.parameters], np.int64) for k in kernels]
        largest = max(int(np.abs(p[:, 0]).max(initial=0)) for p in parameters)
        needed = -(-largest // (BIAS_STEP * BIAS_CELL))
        found.append(
            PlacedMatrix(
                network=network.name,
                nodes=tuple(dict.fromkeys(node for k in kernels for node in k.nodes[:1])),
                matrix=first.matrix,
                math=first.math,
                pixels=sum(k.pixels * network.passes(n) for k, n in zip(kernels, numbers, strict=True)),
                bias_rows=needed if bias_rows is None or not needed else bias_rows,
                gain=_gain(parameters[0]),
            )
        )
    return tuple(found)


def _gain(parameters: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> int:
    """The power of two nearest to the middle one of 2^shift / mantissa."""
    used = parameters[parameters[:, 1] > 0]
    if not len(used):
        return 1
    logs = used[:, 2] - np.log2(used[:, 1])
    return 1 << max(0, round(float(np.median(logs))))


def array_shape(chip: Chip, blocked: Sequence[Rect] = ()) -> ArrayShape:
    """The arrays of a chip, `blocked` in each. Arrays that stand above one another and share converters are one, with
    an edge between them: they share the bias rows of their columns."""
    array = chip.array
    above = array.shared_converters.value if array.shared_converters and array.bias_rows else 1
    rows = array.rows.value
    return ArrayShape(
        rows=rows * above,
        cols=array.cols.value,
        blocked=tuple((r0 + i * rows, c0, r1 + i * rows, c1) for i in range(above) for r0, c0, r1, c1 in blocked),
        edges=tuple(rows * i for i in range(1, above)),
        bias_rows=array.bias_rows.value if array.bias_rows else 0,
        reserved_cols=array.reserved_cols.value if array.reserved_cols else 0,
    )


def chip_arrays(chip: Chip) -> int:
    """How many arrays of `array_shape` a chip has."""
    array = chip.array
    above = array.shared_converters.value if array.shared_converters and array.bias_rows else 1
    return chip.cores.value * array.per_core.value // above


def in_groups_of(matrix: PlacedMatrix, size: int) -> PlacedMatrix:
    """The same with at most `size` diagonal groups in a block."""
    return replace(matrix, math=replace(matrix.math, bundle=max(1, min(size, matrix.math.bundle))))

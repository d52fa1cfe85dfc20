"""How every layer is mapped under a budget of arrays: pixels per firing (windows) and copies, chosen for all at once.

A layer may be laid out for one output pixel (im2col) or for a window of several, whose shifted kernels lie side by side
(shift and duplicate; VW-SDK, DATE 2022): more arrays, fewer firings. Any of these may lie there several times. The
choice is exact: by bisection for the shortest interval, by dynamic programming for the lowest latency.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bitline.ir.index_map import IndexMap
from bitline.ir.kernels import MatMul
from bitline.ir.placement import ArrayShape, PlacedMatrix
from bitline.place.blocks import largest_open


@dataclass(frozen=True, slots=True, kw_only=True)
class Sliding:
    """A kernel that slides over an image: along both axes outputs, taps, and how far apart both are in the input."""

    outputs: tuple[int, int]
    taps: tuple[int, int]
    strides: tuple[int, int]
    dilations: tuple[int, int]
    channels: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One way to lay a layer out: output pixels of a firing, copies, arrays of all copies, firings of the layer one
    after another."""

    window: tuple[int, int] = (1, 1)
    copies: int = 1
    arrays: int
    fires: int


def sliding(kernel: MatMul) -> Sliding | None:
    """The convolution that a kernel is, where its rows are (taps down, taps right, channels) of an image; else None."""
    read: IndexMap = kernel.read
    if kernel.matrix.groups != 1 or len(read.source) != 3:
        return None
    down, right, rows = ([d for d in dim if d > 1] for dim in read.dims)
    starts = np.cumsum([0, *(len(dim) for dim in read.dims)])
    place = [starts[i] + j for i, dim in enumerate(read.dims) for j, extent in enumerate(dim) if extent > 1]
    extents = [*down, *right, *rows]
    if len(down) > 1 or len(right) > 1:
        return None
    steps = [[c.coefficients[p] for c in read.coordinates] for p in place]
    axes = [[a for a in range(3) if step[a]] for step in steps]
    if any(len(a) != 1 for a in axes):
        return None
    taps, channels, strides, dilations = [1, 1], 1, [1, 1], [1, 1]
    for number, (extent, step, (axis,)) in enumerate(zip(extents, steps, axes, strict=True)):
        output = 0 if number < len(down) else 1 if number < len(down) + len(right) else -1
        if output >= 0:
            if axis != output:
                return None
            strides[output] = step[axis]
        elif axis == 2:
            channels *= extent
        else:
            if taps[axis] != 1:
                return None
            taps[axis], dilations[axis] = extent, step[axis]
    return Sliding(
        outputs=(read.shape[0], read.shape[1]),
        taps=(taps[0], taps[1]),
        strides=(strides[0], strides[1]),
        dilations=(dilations[0], dilations[1]),
        channels=channels,
    )


def windowed(matrix: PlacedMatrix, layer: Sliding, window: tuple[int, int]) -> PlacedMatrix:
    """The matrix that computes `window` output pixels at once: a row for every input that one of them reads."""
    rows = layer.channels
    for axis in (0, 1):
        read = {
            o * layer.strides[axis] + t * layer.dilations[axis]
            for o in range(window[axis])
            for t in range(layer.taps[axis])
        }
        rows *= len(read)
    uses = matrix.pixels // (layer.outputs[0] * layer.outputs[1])
    positions = -(-layer.outputs[0] // window[0]) * -(-layer.outputs[1] // window[1])
    shape = replace(matrix.matrix, rows=rows, cols=matrix.matrix.cols * window[0] * window[1])
    return replace(matrix, matrix=shape, pixels=positions * uses, window=window)


def as_chosen(matrix: PlacedMatrix, layer: Sliding | None, option: Option) -> PlacedMatrix:
    """The matrix with the window and the copies of an option."""
    wide = windowed(matrix, layer, option.window) if layer is not None and option.window != (1, 1) else matrix
    return replace(wide, copies=option.copies)


def blocks_of(matrix: PlacedMatrix, shape: ArrayShape) -> int:
    """Blocks of one copy in the full cut."""
    height, width = largest_open(shape)
    if not matrix.math.lossless:
        height = max(1, height // matrix.math.group_rows) * min(matrix.math.group_rows, height)
    groups, bundle = matrix.matrix.groups, matrix.math.bundle
    found = 0
    for count, times in ((bundle, groups // bundle), (groups % bundle, 1)):
        found += times * -(-count * matrix.matrix.rows // height) * -(-count * matrix.matrix.cols // width)
    return found


def layouts(matrix: PlacedMatrix, layer: Sliding | None, shape: ArrayShape, most_arrays: int) -> tuple[Option, ...]:
    """Ways to lay one copy out in at most `most_arrays` arrays, none of which is at least as good in all as another;
    that of one pixel first."""
    return _undominated(_windows(matrix, layer, shape, most_arrays), lambda option, _: (option.arrays, option.fires))


def frugal_layouts(
    matrix: PlacedMatrix, layer: Sliding | None, shape: ArrayShape, most_arrays: int
) -> tuple[Option, ...]:
    """The same where blocks share arrays: none takes as many cells, and firings of all blocks, as another."""
    return _undominated(
        _windows(matrix, layer, shape, most_arrays), lambda option, cells: (cells, option.arrays * option.fires)
    )


def _windows(
    matrix: PlacedMatrix, layer: Sliding | None, shape: ArrayShape, most_arrays: int
) -> list[tuple[Option, int]]:
    """Every way to lay one copy out and its cells, that of one pixel first."""
    found = [(Option(arrays=blocks_of(matrix, shape), fires=matrix.pixels), matrix.matrix.rows * matrix.matrix.cols)]
    if layer is None:
        return found
    for down in range(1, layer.outputs[0] + 1):
        for right in range(1, layer.outputs[1] + 1):
            made = windowed(matrix, layer, (down, right))
            arrays = blocks_of(made, shape)
            if arrays > most_arrays:
                break
            option = Option(window=(down, right), arrays=arrays, fires=made.pixels)
            found.append((option, made.matrix.rows * made.matrix.cols))
        else:
            continue
        if right == 1:
            break
    return found


def _undominated(
    found: Sequence[tuple[Option, int]], cost: Callable[[Option, int], tuple[int, int]]
) -> tuple[Option, ...]:
    best: list[tuple[int, Option]] = []
    for option, cells in sorted(found, key=lambda each: (*cost(*each), each[0].window)):
        second = cost(option, cells)[1]
        if not best or second < best[-1][0]:
            best.append((second, option))
    return (found[0][0], *(option for _, option in best if option.window != (1, 1)))


def shortest_interval(layers: Sequence[Sequence[Option]], budget: int) -> tuple[Option, ...] | None:
    """For every layer an option with copies, so that the largest number of firings is least; None where not even the
    fewest arrays are within the budget."""

    def needed(interval: int) -> list[Option]:
        return [min((copied(o, interval) for o in options), key=lambda o: (o.arrays, o.fires)) for options in layers]

    low, high = 1, max((o.fires for options in layers for o in options), default=1)
    if sum(o.arrays for o in needed(high)) > budget:
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if sum(o.arrays for o in needed(middle)) <= budget else (middle + 1, high)
    return tuple(needed(low))


def copied(option: Option, interval: int) -> Option:
    """The same with as many copies as fire no more than `interval` times each."""
    copies = -(-option.fires // interval)
    return replace(option, copies=copies, arrays=option.arrays * copies, fires=-(-option.fires // copies))


def lowest_latency(layers: Sequence[Sequence[Option]], budget: int) -> tuple[Option, ...] | None:
    """For every layer an option with copies, so that the sum of firings is least; of equals the one with fewer arrays.
    None where not even the fewest arrays are within the budget."""
    spare = budget - sum(min(o.arrays for o in options) for options in layers)
    if spare < 0:
        return None
    best = np.zeros(spare + 1, np.int64)
    tables: list[tuple[list[Option], np.ndarray[tuple[int], np.dtype[np.int64]]]] = []
    for options in layers:
        base = min(o.arrays for o in options)
        ways = _ways(options, base + spare)
        found = np.full(spare + 1, np.iinfo(np.int64).max // 4)
        choice = np.zeros(spare + 1, np.int64)
        for number, way in enumerate(ways):
            extra = way.arrays - base
            total = best[: spare + 1 - extra] + way.fires
            better = total < found[extra:]
            found[extra:][better] = total[better]
            choice[extra:][better] = number
        best = found
        tables.append((ways, choice))
    left = int(np.flatnonzero(best == best[-1])[0])
    chosen: list[Option] = []
    for (ways, choice), options in zip(reversed(tables), reversed(layers), strict=True):
        way = ways[int(choice[left])]
        chosen.append(way)
        left -= way.arrays - min(o.arrays for o in options)
    return tuple(chosen[::-1])


def _ways(options: Sequence[Option], most_arrays: int) -> list[Option]:
    """All options with all numbers of copies that gain something, fewest arrays first."""
    found: list[Option] = []
    for option in options:
        copies = 1
        while copies * option.arrays <= most_arrays:
            times = -(-option.fires // copies)
            found.append(replace(option, copies=copies, arrays=copies * option.arrays, fires=times))
            if times == 1:
                break
            copies = max(copies + 1, -(-option.fires // (times - 1)))
    best: list[Option] = []
    for option in sorted(found, key=lambda o: (o.arrays, o.fires, o.window)):
        if not best or option.fires < best[-1].fires:
            best.append(option)
    return best

"""Placements for tests of their pictures: rectangles cut from arrays, some left empty, and one like a WTM2101."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

from bitline.ir.kernels import ArrayMath, Matrix
from bitline.ir.placement import ArrayShape, Certificate, Occupied, PlacedBlock, PlacedMatrix, Placement, Rect


def array_math(bundle: int = 1, group_rows: int = 1) -> ArrayMath:
    return ArrayMath(
        group_rows=group_rows,
        bundle=bundle,
        weight_bits=8,
        cell_bits=8,
        weight_offset=0,
        input_bits=8,
        input_offset=0,
        adc_bits=0,
    )


def matrix(
    node: str = "/conv1/Conv",
    rows: int = 64,
    cols: int = 64,
    *,
    groups: int = 1,
    bundle: int = 1,
    pixels: int = 100,
    copies: int = 1,
    network: str = "net.onnx",
) -> PlacedMatrix:
    return PlacedMatrix(
        network=network,
        nodes=(node,),
        matrix=Matrix(name=f"{node}.w", groups=groups, rows=rows, cols=cols),
        math=array_math(bundle),
        pixels=pixels,
        copies=copies,
    )


def block(number: int, array: int, place: Rect, *, row: int = 0, col: int = 0, copy: int = 0) -> PlacedBlock:
    """A block of matrix `number` that covers `place` of an array; (row, col) is its corner in the matrix."""
    return PlacedBlock(
        matrix=number,
        copy=copy,
        row_offset=row,
        col_offset=col,
        rows=place[2] - place[0],
        cols=place[3] - place[1],
        array=array,
        w_row_start=place[0],
        w_col_start=place[1],
    )


def placement(
    matrices: tuple[PlacedMatrix, ...],
    blocks: tuple[PlacedBlock, ...],
    *,
    shape: ArrayShape | None = None,
    occupied: tuple[Occupied, ...] = (),
    target: str = "chip",
) -> Placement:
    used = len({b.array for b in blocks})
    return Placement(
        target=target,
        cuts="full",
        shape=shape or ArrayShape(rows=64, cols=64),
        matrices=matrices,
        blocks=blocks,
        occupied=occupied,
        certificate=Certificate(arrays_used=used, lower_bound=used, bound="area", proof="bound"),
    )


def empty() -> Placement:
    return placement((), ())


def guillotine(
    seed: int,
    *,
    arrays: int = 3,
    rows: int = 64,
    cols: int = 48,
    layers: int = 5,
    name: Callable[[int], str] = "n{}".format,
) -> Placement:
    """Arrays cut at random edge by edge; a part of the rectangles stays empty."""
    rng = random.Random(seed)
    places = [(array, place) for array in range(arrays) for place in _cut(rng, (0, 0, rows, cols), 4)]
    kept = [(array, place) for array, place in places if rng.random() < 0.8]
    blocks: list[PlacedBlock] = []
    heights = [0] * layers
    for array, place in kept:
        number = rng.randrange(layers)
        blocks.append(block(number, array, place, row=heights[number]))
        heights[number] += place[2] - place[0]
    matrices = tuple(
        matrix(name(n), rows=max(1, heights[n]), cols=cols, pixels=rng.randint(1, 5000)) for n in range(layers)
    )
    return placement(matrices, tuple(blocks), shape=ArrayShape(rows=rows, cols=cols))


def _cut(rng: random.Random, place: Rect, depth: int) -> list[Rect]:
    top, left, bottom, right = place
    if depth == 0 or rng.random() < 0.15:
        return [place]
    if rng.random() < 0.5 and bottom - top > 1:
        at = rng.randint(top + 1, bottom - 1)
        return _cut(rng, (top, left, at, right), depth - 1) + _cut(rng, (at, left, bottom, right), depth - 1)
    if right - left > 1:
        at = rng.randint(left + 1, right - 1)
        return _cut(rng, (top, left, bottom, at), depth - 1) + _cut(rng, (top, at, bottom, right), depth - 1)
    return [place]


def wtm2101_like() -> Placement:
    """One array of two halves, reserved columns, bias rows, blocked cells, an earlier placement."""
    shape = ArrayShape(
        rows=1792, cols=896, blocked=((700, 740, 900, 896),), edges=(896,), bias_rows=16, reserved_cols=128
    )
    sizes = (("/conv1/Conv", 360, 64), ("/conv2/Conv", 576, 128), ("/gru/W", 640, 512), ("/gru/R", 640, 256))
    corners = ((0, 0, 0), (0, 64, 0), (896, 0, 8), (896, 512, 8))
    blocks = tuple(
        replace(block(n, 0, (row, col, row + rows, col + cols)), bias_start=bias, bias_rows=8)
        for n, ((_, rows, cols), (row, col, bias)) in enumerate(zip(sizes, corners, strict=True))
    )
    earlier = Occupied(name="vad", array=0, w_row_start=1600, w_col_start=0, rows=180, cols=420)
    matrices = tuple(replace(matrix(name, rows, cols), bias_rows=8) for name, rows, cols in sizes)
    return placement(matrices, blocks, shape=shape, occupied=(earlier,), target="wtm2101")

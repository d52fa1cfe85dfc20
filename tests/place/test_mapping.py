"""Windows and copies under a budget: exact against trying everything, and never slower than one pixel at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bitline.core.diagnostics import NoMatch
from bitline.ir.index_map import Window, identity, join_dims, transpose, windows
from bitline.ir.kernels import ArrayMath, MatMul, Matrix, Requantise
from bitline.ir.placement import ArrayShape, PlacedMatrix
from bitline.place.blocks import cut_all
from bitline.place.mapping import (
    Option,
    Sliding,
    blocks_of,
    layouts,
    lowest_latency,
    shortest_interval,
    sliding,
    windowed,
)

MATH = ArrayMath(
    group_rows=64, bundle=1, weight_bits=8, cell_bits=8, weight_offset=0, input_bits=8, input_offset=0, adc_bits=0
)


def placed(rows: int, cols: int, pixels: int) -> PlacedMatrix:
    matrix = Matrix(name="w", groups=1, rows=rows, cols=cols)
    return PlacedMatrix(network="n", nodes=("conv",), matrix=matrix, math=MATH, pixels=pixels)


def named(sizes: Sequence[tuple[int, int, int]]) -> list[PlacedMatrix]:
    """A matrix for every (rows, cols, pixels), with a name of its own."""
    found = [placed(*size) for size in sizes]
    return [replace(m, matrix=replace(m.matrix, name=f"w{n}")) for n, m in enumerate(found)]


def convolution(size: int, channels: int, outputs: int, taps: int, stride: int, dilation: int, pad: int) -> MatMul:
    """The kernel of a convolution of an image of size x size x channels."""
    out = (size + 2 * pad - dilation * (taps - 1) - 1) // stride + 1
    slide = Window(out=out, taps=taps, stride=stride, dilation=dilation, pad_before=pad)
    window = windows(identity((size, size, channels)), (0, 1), (slide, slide))
    assert not isinstance(window, NoMatch)
    read = join_dims(window, [[0], [1], [2, 3, 4]])
    return MatMul(
        name="conv",
        nodes=("conv",),
        x="x",
        y="y",
        matrix=Matrix(name="w", groups=1, rows=taps * taps * channels, cols=outputs),
        read=read,
        write=identity((1, 1, 1)),
        post=Requantise(parameters="p", zero_point=0, low=0, high=255),
        math=MATH,
    )


shapes = st.tuples(
    st.integers(5, 12), st.integers(1, 5), st.integers(1, 6), st.integers(1, 4), st.integers(1, 3), st.integers(1, 2)
)


@given(shapes, st.integers(1, 4), st.integers(1, 4))
def test_a_window_has_a_row_for_every_input_that_its_outputs_read(
    shape: tuple[int, int, int, int, int, int], down: int, right: int
) -> None:
    size, channels, outputs, taps, stride, dilation = shape
    if dilation * (taps - 1) >= size:
        return
    kernel = convolution(size, channels, outputs, taps, stride, dilation, pad=0)
    layer = sliding(kernel)
    assert layer is not None
    height, width, rows = kernel.read.shape
    down, right = min(down, height), min(right, width)
    assert (layer.outputs, layer.channels) == ((height, width), channels)
    made = windowed(placed(rows, outputs, height * width), layer, (down, right))
    read = kernel.read.evaluate().reshape(height, width, rows)[:down, :right]
    assert made.matrix.rows == len(np.unique(read))
    assert made.matrix.cols == outputs * down * right
    assert made.pixels == -(-height // down) * -(-width // right)


def test_what_slides_and_what_does_not() -> None:
    kernel = convolution(9, 3, 4, taps=3, stride=2, dilation=1, pad=1)
    assert sliding(kernel) == Sliding(outputs=(5, 5), taps=(3, 3), strides=(2, 2), dilations=(1, 1), channels=3)
    rows = identity((1, 6, 8))
    assert sliding(replace(kernel, read=rows)) == Sliding(
        outputs=(1, 6), taps=(1, 1), strides=(1, 1), dilations=(1, 1), channels=8
    )
    assert sliding(replace(kernel, read=transpose(kernel.read, (1, 0, 2)))) is None


options = st.lists(
    st.tuples(st.integers(1, 4), st.integers(1, 20)).map(lambda p: Option(arrays=p[0], fires=p[1])),
    min_size=1,
    max_size=3,
)


def every_choice(layers: list[list[Option]], budget: int) -> list[tuple[int, int, int]]:
    """(interval, latency, arrays) of everything within the budget."""
    ways = [
        [(o.arrays * d, -(-o.fires // d)) for o in layer for d in range(1, min(o.fires, budget // o.arrays) + 1)]
        for layer in layers
    ]
    found: list[tuple[int, int, int]] = []
    for choice in product(*ways):
        arrays = sum(a for a, _ in choice)
        if arrays <= budget:
            found.append((max(f for _, f in choice), sum(f for _, f in choice), arrays))
    return found


@given(st.lists(options, min_size=1, max_size=3), st.integers(1, 14))
def test_choices_equal_trying_everything(layers: list[list[Option]], budget: int) -> None:
    every = every_choice(layers, budget)
    short, low = shortest_interval(layers, budget), lowest_latency(layers, budget)
    if not every:
        assert short is None
        assert low is None
        return
    assert short is not None
    assert low is not None
    assert max(o.fires for o in short) == min(e[0] for e in every)
    assert sum(o.arrays for o in short) <= budget
    least = min(e[1] for e in every)
    assert sum(o.fires for o in low) == least
    assert sum(o.arrays for o in low) == min(e[2] for e in every if e[1] == least)
    for chosen in (short, low):
        for option, layer in zip(chosen, layers, strict=True):
            assert any(
                option.arrays == o.arrays * option.copies and option.fires == -(-o.fires // option.copies)
                for o in layer
            )


@given(shapes, st.integers(4, 24), st.integers(4, 24), st.integers(1, 12))
def test_windows_are_never_slower_than_one_pixel_at_a_time(
    shape: tuple[int, int, int, int, int, int], rows: int, cols: int, budget: int
) -> None:
    size, channels, outputs, taps, stride, dilation = shape
    if dilation * (taps - 1) >= size:
        return
    kernel = convolution(size, channels, outputs, taps, stride, dilation, pad=0)
    height, width, depth = kernel.read.shape
    matrix, arrays = placed(depth, outputs, height * width), ArrayShape(rows=rows, cols=cols)
    plain = layouts(matrix, None, arrays, budget)
    wide = layouts(matrix, sliding(kernel), arrays, budget)
    assert wide[0] == plain[0]
    assert [o.fires for o in wide[1:]] == sorted((o.fires for o in wide[1:]), reverse=True)
    layer = sliding(kernel)
    assert layer is not None
    for option in wide:
        made = windowed(matrix, layer, option.window)
        assert option.arrays == blocks_of(made, arrays) == len(cut_all([made], arrays).blocks)
    for choose in (shortest_interval, lowest_latency):
        slow, fast = choose([plain], budget), choose([wide], budget)
        if slow is not None:
            assert fast is not None
            assert fast[0].fires <= slow[0].fires

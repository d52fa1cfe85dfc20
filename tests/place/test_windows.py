"""Windows against the published tables of VW-SDK, against brute force, and never slower than im2col."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitline.place.windows import Convolution, Window, best_window, im2col, window


def square(size: int, kernel: int, inputs: int, outputs: int) -> Convolution:
    return Convolution(
        height=size, width=size, kernel_height=kernel, kernel_width=kernel, inputs=inputs, outputs=outputs
    )


RESNET18 = [
    (square(112, 7, 3, 64), (10, 8, 3, 64), 1431),
    (square(56, 3, 64, 64), (4, 4, 32, 64), 1458),
    (square(28, 3, 128, 128), (4, 4, 32, 128), 676),
    (square(14, 3, 256, 256), (4, 3, 42, 256), 504),
    (square(7, 3, 512, 512), (3, 3, 512, 512), 225),
]
VGG13 = [
    (square(224, 3, 3, 64), (10, 3, 3, 64), 6216),
    (square(224, 3, 64, 64), (4, 4, 32, 64), 24642),
    (square(112, 3, 64, 128), (4, 4, 32, 128), 6050),
    (square(112, 3, 128, 128), (4, 4, 32, 128), 12100),
    (square(56, 3, 128, 256), (4, 3, 42, 256), 5832),
    (square(56, 3, 256, 256), (4, 3, 42, 256), 10206),
    (square(28, 3, 256, 512), (3, 3, 512, 512), 3380),
    (square(28, 3, 512, 512), (3, 3, 512, 512), 6084),
    (square(14, 3, 512, 512), (3, 3, 512, 512), 1296),
    (square(14, 3, 512, 512), (3, 3, 512, 512), 1296),
]
"""Window sides, input and output channels per array (of im2col rows: all channels), cycles on arrays of 512 x 512."""


@pytest.mark.parametrize(("layer", "shape", "cycles"), RESNET18 + VGG13)
def test_rows_of_the_published_tables(layer: Convolution, shape: tuple[int, int, int, int], cycles: int) -> None:
    found = best_window(layer, 512, 512)
    assert found.cycles == cycles
    assert sorted((found.height, found.width), reverse=True) == list(shape[:2])
    if found != im2col(layer, 512, 512):
        assert (found.inputs, found.outputs) == shape[2:]


@pytest.mark.parametrize(("table", "total", "plain"), [(RESNET18, 4294, 20041), (VGG13, 77102, 243736)])
def test_sums_of_the_published_tables(
    table: list[tuple[Convolution, tuple[int, int, int, int], int]], total: int, plain: int
) -> None:
    assert sum(best_window(layer, 512, 512).cycles for layer, _, _ in table) == total
    assert sum(im2col(layer, 512, 512).cycles for layer, _, _ in table) == plain


SMALL = st.builds(
    Convolution,
    height=st.integers(3, 9),
    width=st.integers(3, 9),
    kernel_height=st.integers(1, 3),
    kernel_width=st.integers(1, 3),
    inputs=st.integers(1, 20),
    outputs=st.integers(1, 20),
)
SIDES = st.tuples(st.integers(1, 80), st.integers(1, 40))


@given(SMALL, SIDES)
def test_the_best_of_all_windows(layer: Convolution, sides: tuple[int, int]) -> None:
    """Every window counted on its own, output pixel by output pixel."""
    rows, cols = sides
    best = im2col(layer, rows, cols).cycles
    for height, width in product(range(1, layer.height + 1), range(1, layer.width + 1)):
        cycles = counted(layer, height, width, rows, cols)
        found = window(layer, height, width, rows, cols)
        assert (None if found is None else found.cycles) == cycles
        best = best if cycles is None else min(best, cycles)
    assert best_window(layer, rows, cols).cycles == best


def counted(layer: Convolution, height: int, width: int, rows: int, cols: int) -> int | None:
    """Firings of a window, by covering outputs from the first corner on."""
    down, right = height - layer.kernel_height + 1, width - layer.kernel_width + 1
    if down < 1 or right < 1 or height * width > rows or down * right > cols:
        return None
    done = np.zeros((layer.height - layer.kernel_height + 1, layer.width - layer.kernel_width + 1), bool)
    positions = 0
    while not done.all():
        row, col = (int(v[0]) for v in np.nonzero(~done))
        done[row : row + down, col : col + right] = True
        positions += 1
    inputs, outputs = rows // (height * width), cols // (down * right)
    return positions * -(-layer.inputs // inputs) * -(-layer.outputs // outputs)


@given(SMALL, SIDES, st.integers(1, 12))
def test_a_budget_is_kept_and_im2col_never_faster(layer: Convolution, sides: tuple[int, int], budget: int) -> None:
    plain = im2col(layer, *sides)
    found = best_window(layer, *sides, most_arrays=budget)
    assert found.cycles <= plain.cycles
    assert found.arrays <= budget or found == plain


def test_a_window_that_does_not_fit() -> None:
    layer = square(5, 3, 2, 2)
    assert window(layer, 2, 3, 64, 64) is None
    assert window(layer, 6, 3, 64, 64) is None
    assert window(layer, 5, 5, 24, 64) is None
    assert window(layer, 5, 5, 25, 8) is None
    fits = window(layer, 5, 5, 25, 9)
    assert fits == Window(height=5, width=5, inputs=1, outputs=1, positions=1, row_arrays=2, col_arrays=2)

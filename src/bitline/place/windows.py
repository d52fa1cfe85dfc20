"""Shift-and-duplicate windows: how many output pixels of a convolution one firing computes, and what that costs.

A parallel window of pw x ph input pixels holds (pw - kw + 1)(ph - kh + 1) shifted copies of the kernel. More pixels are
done at once, fewer input channels fit the rows and fewer output channels the columns of an array. All windows are tried
(VW-SDK: Rhe, Moon and Ko, "VW-SDK: Efficient Convolutional Weight Mapping Using Variable Windows for Processing-In-
Memory Architectures", DATE 2022, equations 1-8).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Convolution:
    """Sizes of a convolution of stride 1: input pixels, padding included, of the kernel, and channels."""

    height: int
    width: int
    kernel_height: int
    kernel_width: int
    inputs: int
    outputs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A parallel window, and the input and output channels that one array holds of it.

    The layer takes `row_arrays` times `col_arrays` arrays; `cycles` are its firings, one array after another.
    """

    height: int
    width: int
    inputs: int
    outputs: int
    positions: int
    row_arrays: int
    col_arrays: int

    @property
    def cycles(self) -> int:
        return self.positions * self.row_arrays * self.col_arrays

    @property
    def arrays(self) -> int:
        return self.row_arrays * self.col_arrays


def im2col(layer: Convolution, rows: int, cols: int) -> Window:
    """The window of one output pixel: rows of the matrix are cut wherever an array ends, also inside a channel."""
    size = layer.kernel_height * layer.kernel_width
    return Window(
        height=layer.kernel_height,
        width=layer.kernel_width,
        inputs=min(layer.inputs, rows // size) or 1,
        outputs=min(layer.outputs, cols),
        positions=(layer.height - layer.kernel_height + 1) * (layer.width - layer.kernel_width + 1),
        row_arrays=-(-size * layer.inputs // rows),
        col_arrays=-(-layer.outputs // cols),
    )


def window(layer: Convolution, height: int, width: int, rows: int, cols: int) -> Window | None:
    """The parallel window of `height` x `width` pixels in arrays of `rows` x `cols`; None where it does not fit."""
    down, right = height - layer.kernel_height + 1, width - layer.kernel_width + 1
    if min(down, right) < 1 or height > layer.height or width > layer.width:
        return None
    inputs, outputs = rows // (height * width), cols // (down * right)
    if not inputs or not outputs:
        return None
    return Window(
        height=height,
        width=width,
        inputs=min(layer.inputs, inputs),
        outputs=min(layer.outputs, outputs),
        positions=_steps(layer.height, height, down) * _steps(layer.width, width, right),
        row_arrays=-(-layer.inputs // inputs),
        col_arrays=-(-layer.outputs // outputs),
    )


def best_window(layer: Convolution, rows: int, cols: int, most_arrays: int | None = None) -> Window:
    """The window of the fewest cycles that takes at most `most_arrays` arrays; `im2col` where no other is faster."""
    best = im2col(layer, rows, cols)
    for width in range(layer.kernel_width, layer.width + 1):
        for height in range(layer.kernel_height, layer.height + 1):
            found = window(layer, height, width, rows, cols)
            if found is None:  # a higher one fits no better
                break
            if found.cycles < best.cycles and (most_arrays is None or found.arrays <= most_arrays):
                best = found
    return best


def _steps(size: int, extent: int, step: int) -> int:
    """How many windows of `extent` cover `size` pixels, `step` apart; the last one may stand over."""
    return -(-(size - extent) // step) + 1

"""Kernels: the operators of a network, apart from any schedule. Integers, bit for bit.

Tensors are stored without the batch axis as (H, W, C), row-major: images channels-last, rows of a matrix as (1, rows,
C), a vector as (1, 1, C). Arrays (matrices, biases, multipliers, tables) lie beside the kernels in `Constants`, named
here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from bitline.ir.index_map import IndexMap

Dtype = Literal["u8", "s8", "s32"]
Constants = dict[str, npt.NDArray[np.generic]]

LIMITS: dict[str, tuple[int, int]] = {"u8": (0, 255), "s8": (-128, 127), "s32": (-(2**31), 2**31 - 1)}
BYTES: dict[str, int] = {"u8": 1, "s8": 1, "s32": 4}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """A stored tensor: real value = scale * (integer - zero_point).

    `onnx` is the tensor of the QDQ model that it equals; `view` takes an index of that one to the stored one. A copy
    that a `Move` makes equals none: "".
    """

    name: str
    shape: tuple[int, int, int]
    dtype: Dtype
    scale: float
    zero_point: int
    onnx: str
    view: IndexMap

    @property
    def size_bytes(self) -> int:
        height, width, channels = self.shape
        return height * width * channels * BYTES[self.dtype]


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """Stationary weights: `groups` diagonal blocks of rows x cols int8; constant [groups, rows, cols] under `name`."""

    name: str
    groups: int
    rows: int
    cols: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrayMath:
    """What an array computes from inputs x and weights w of one row group:

        sum over input bits b and weight slices s of 2^(b + s*cell_bits) * min(adc_max, sum_r x_b[r] * w_s[r])
          - weight_offset * sum_r x[r]

    `adc_bits` 0: no converter, the sum is exact (digital). Inputs of int8 tensors are driven as x + input_offset.
    `group_rows` rows are converted together; cuts between blocks fall on multiples of it. `bundle` diagonal groups of a
    block-diagonal matrix share a block: their rows are driven together, the cells between them hold weight 0.
    """

    group_rows: int
    bundle: int
    weight_bits: int
    cell_bits: int
    weight_offset: int
    input_bits: int
    input_offset: int
    adc_bits: int

    @property
    def slices(self) -> int:
        return -(-self.weight_bits // self.cell_bits)

    @property
    def adc_max(self) -> int:
        return (1 << self.adc_bits) - 1

    @property
    def lossless(self) -> bool:
        """No conversion can clip, whatever the data: 1-bit inputs times the largest cell over a whole group."""
        return self.adc_bits == 0 or self.group_rows * ((1 << self.cell_bits) - 1) <= self.adc_max


@dataclass(frozen=True, slots=True, kw_only=True)
class Requantise:
    """y = clamp(RNE((acc + bias[c]) * mantissa[c] / 2^shift[c]) + zero_point, low, high); RNE rounds half to even.

    `parameters` names an int64 constant [channels, 3] of bias, mantissa (24 bits), shift.
    """

    parameters: str
    zero_point: int
    low: int
    high: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """One factor for a whole tensor: mantissa / 2^shift."""

    mantissa: int
    shift: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MatMul:
    """y[p, c] = post(sum_r x[read(p, r)] * W[r, c]); `read` has dimensions (OH, OW, groups * rows), padding reads
    zero_point."""

    name: str
    nodes: tuple[str, ...]
    x: str
    y: str
    matrix: Matrix
    read: IndexMap
    write: IndexMap
    post: Requantise
    math: ArrayMath
    kind: Literal["MatMul"] = "MatMul"


@dataclass(frozen=True, slots=True, kw_only=True)
class Add:
    """y = clamp(RNE(((a - za) * ma + (b - zb) * mb) / 2^shift) + zy, low, high): one rounding. Equal shapes."""

    name: str
    nodes: tuple[str, ...]
    a: str
    b: str
    y: str
    mantissa_a: int
    mantissa_b: int
    shift: int
    low: int
    high: int
    kind: Literal["Add"] = "Add"


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """y = table[x - smallest x]: any function of one 8-bit tensor; `table` names a constant of 256 entries."""

    name: str
    nodes: tuple[str, ...]
    x: str
    y: str
    table: str
    kind: Literal["Table"] = "Table"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """max: y = max over taps. mean: y = clamp(RNE(sum(x - zx) * mantissa / 2^shift) + zy, low, high).

    `read` has dimensions (OH, OW, taps, C). Padding counts as the smallest integer (max) or as real zero (mean);
    `divide_by_valid` means that the mean divides by the taps inside the tensor: `scales[n-1]` belongs to n taps.
    """

    name: str
    nodes: tuple[str, ...]
    op: Literal["max", "mean"]
    x: str
    y: str
    read: IndexMap
    write: IndexMap
    scales: tuple[Scale, ...]
    divide_by_valid: bool
    low: int
    high: int
    kind: Literal["Pool"] = "Pool"


@dataclass(frozen=True, slots=True, kw_only=True)
class Softmax:
    """Over the last axis of x: e = T[max - q]; y = (2 e K + S 2^f) // (S 2^(f+1)) + zy, S = sum e, K = round(2^f /
    scale_y).

    `table` names 256 integers with T[0] = 2^24.
    """

    name: str
    nodes: tuple[str, ...]
    x: str
    y: str
    table: str
    factor: int
    fraction_bits: int
    kind: Literal["Softmax"] = "Softmax"


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """y[i] = x[read(i)]: materialises an index map that no reader can follow; padding reads zero_point."""

    name: str
    nodes: tuple[str, ...]
    x: str
    y: str
    read: IndexMap
    kind: Literal["Move"] = "Move"


Kernel = MatMul | Add | Table | Pool | Softmax | Move


def inputs_of(kernel: Kernel) -> tuple[str, ...]:
    """Names of the tensors that a kernel reads."""
    match kernel:
        case Add():
            return (kernel.a, kernel.b)
        case MatMul() | Table() | Pool() | Softmax() | Move():
            return (kernel.x,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """An input or output of the network: the ONNX tensor, its shape there, and where each element is stored.

    `view` takes an index of the ONNX shape (without batch) to the stored tensor. `real` means that the user's side is
    float and the host quantises or dequantises with the tensor's scale; the chip sees integers only.
    `clamp`: the model clips this input before it quantises it, to these integers.
    """

    name: str
    shape: tuple[int, ...]
    tensor: str
    view: IndexMap
    direction: Literal["input", "output"]
    real: bool
    clamp: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """Kernels in topological order and the tensors between them."""

    name: str
    tensors: tuple[Tensor, ...]
    kernels: tuple[Kernel, ...]
    ports: tuple[Port, ...]

    def tensor(self, name: str) -> Tensor:
        return next(t for t in self.tensors if t.name == name)

    def check(self) -> None:
        """Raise ValueError where a kernel reads what nobody wrote, or two kernels write one tensor."""
        shapes = {t.name: t.shape for t in self.tensors}
        written = {p.tensor for p in self.ports if p.direction == "input"}
        for kernel in self.kernels:
            for name in inputs_of(kernel):
                if name not in written:
                    raise ValueError(f"{kernel.name} reads {name!r}, which nothing wrote before it")
            if kernel.y in written:
                raise ValueError(f"{kernel.name} writes {kernel.y!r}, which is written already")
            if kernel.y not in shapes:
                raise ValueError(f"{kernel.name} writes {kernel.y!r}, which is no tensor of the network")
            written.add(kernel.y)
            if isinstance(kernel, MatMul | Pool | Move):
                kernel.read.check()
        for port in self.ports:
            if port.tensor not in written:
                raise ValueError(f"port {port.name!r} stands for {port.tensor!r}, which nothing wrote")

    def __str__(self) -> str:
        lines = [
            f"tensor {t.name}: {t.dtype}{list(t.shape)} scale {t.scale:g} zero {t.zero_point}" for t in self.tensors
        ]
        for kernel in self.kernels:
            what = f" {kernel.op}" if isinstance(kernel, Pool) else ""
            lines.append(
                f"{kernel.y} = {kernel.kind}{what}({', '.join(inputs_of(kernel))})  # {', '.join(kernel.nodes)}"
            )
        return "\n".join(lines)


def macs(kernel: Kernel) -> int:
    """Multiplications of weights that the network asks for (zeros between groups not counted)."""
    if not isinstance(kernel, MatMul):
        return 0
    height, width, _ = kernel.read.shape
    return height * width * kernel.matrix.groups * kernel.matrix.rows * kernel.matrix.cols

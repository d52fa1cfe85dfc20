"""Kernels: the operators of a network, apart from any schedule. Integers, bit for bit.

Tensors are stored without the batch axis as (H, W, C), row-major: images channels-last, rows of a matrix as (1, rows,
C), a vector as (1, 1, C). Arrays (matrices, biases, multipliers, tables) lie beside the kernels in `Constants`, named
here.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Literal

import numpy as np
import numpy.typing as npt

from bitline.ir.index_map import IndexMap

Dtype = Literal["u8", "s8", "s16", "s32", "s64", "f32"]
"""u8, s8 and s16 stand for reals, s32 for indices and masks; s64 and f32 are only handed to and from the host."""
Constants = dict[str, npt.NDArray[np.generic]]

LIMITS: dict[str, tuple[int, int]] = {
    "u8": (0, 255),
    "s8": (-128, 127),
    "s16": (-(2**15), 2**15 - 1),
    "s32": (-(2**31), 2**31 - 1),
    "s64": (-(2**63), 2**63 - 1),
}
BYTES: dict[str, int] = {"u8": 1, "s8": 1, "s16": 2, "s32": 4, "s64": 8, "f32": 4}
NUMPY: dict[str, str] = {"u8": "uint8", "s8": "int8", "s16": "int16", "s32": "int32", "s64": "int64", "f32": "float32"}
"""How numpy calls them; all are stored with the lowest byte first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """A stored tensor: real value = scale * (integer - zero_point).

    `onnx` is the tensor of the QDQ model that it equals; `view` takes an index of that one to the stored one. A copy
    that a `Move` makes equals none: "". `constant` names the values of a tensor that never changes, else "".
    """

    name: str
    shape: tuple[int, int, int]
    dtype: Dtype
    scale: float
    zero_point: int
    onnx: str
    view: IndexMap
    constant: str = ""

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

    @property
    def pixels(self) -> int:
        """Output pixels, for each of which every block fires once."""
        return self.read.shape[0] * self.read.shape[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """An operand: which element of `x` belongs to each logical index of the kernel. Equal elements may repeat.

    `mantissa`: what the operand is multiplied with, as the operator says.
    """

    x: str
    map: IndexMap
    mantissa: int = 0


Operator = Literal[
    "sum",
    "product",
    "quotient",
    "largest",
    "smallest",
    "prelu",
    "select",
    "equal",
    "modulo",
    "table",
    "curve",
    "length",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Elementwise:
    """y[write(i)] = op of x_k[read_k(i)], element by element; n_k = x_k - zero_k, RNE rounds once, half to even:

    sum       clamp(RNE((sum n_k * m_k + bias) / 2^shift) + zero_y)      also rescaling, with one operand
    product   clamp(RNE(n_0 * n_1 * m_0 / 2^shift) + zero_y)
    quotient  clamp(sign * ((2 |n_0| m_0 + |n_1| 2^shift) // (|n_1| 2^(shift + 1))) + zero_y), half away from zero; by 0
              saturates, 0 / 0 is 0
    largest   clamp(max RNE(n_k * m_k / 2^shift) + zero_y)               smallest: min
    prelu     clamp(RNE((n_0 * m_0 where n_0 >= 0, else n_0 * n_1 * m_1) / 2^shift) + zero_y)
    select    clamp(RNE((n_1 * m_1 where x_0 != 0, else n_2 * m_2) / 2^shift) + zero_y)
    equal     1 where x_0 = x_1, else 0
    modulo    x_0 - x_1 * floor(x_0 / x_1), with the sign of x_1; 0 where x_1 is 0
    table     t[x_0 - smallest x_0], x_0 of 8 bits; `table` names 256 entries
    length    clamp(floor(sqrt(n_0^2 m_0 + n_1^2 m_1) / 2^shift + 1/2) + zero_y): of a vector of two, half up
    curve     interpolated between the knots that `table` names, x_0 of 16 bits (`numerics.curve`)
    """

    name: str
    nodes: tuple[str, ...]
    op: Operator
    reads: tuple[Read, ...]
    y: str
    write: IndexMap
    low: int
    high: int
    bias: int = 0
    shift: int = 0
    table: str = ""
    kind: Literal["Elementwise"] = "Elementwise"


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
    """Row by row: e = T(max - q); y = (2 e K + S 2^f) // (S 2^(f+1)) + zy, S = sum e, K = round(2^f / scale_y).

    `read` and `write` have dimensions (rows, n). `table` names 256 integers with T[0] = 2^24; for x of 16 bits 512, of
    which T(d) = (T[d >> 8] * T[256 + (d & 255)] + 2^23) >> 24.
    """

    name: str
    nodes: tuple[str, ...]
    x: str
    y: str
    read: IndexMap
    write: IndexMap
    table: str
    factor: int
    fraction_bits: int
    kind: Literal["Softmax"] = "Softmax"


@dataclass(frozen=True, slots=True, kw_only=True)
class NormFormat:
    """Where the binary points of a LayerNormalization lie.

    The variance, n^2 of it in steps of the input, has 2 `deviation_bits` fraction bits (below 0: as many are dropped),
    and so has `epsilon` = round(n^2 eps / scale_x^2 * 4^deviation_bits); the normalised value has `normal_bits`, what
    the result is rounded from `shift`.
    """

    epsilon: int
    deviation_bits: int
    normal_bits: int
    shift: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Norm:
    """LayerNormalization row by row, in the integers of `numerics.norm.layer_norm`.

    `read` and `write` have dimensions (rows, n). `table` names int64 [n, 2]: gain G and offset B of every column, of
    which B has `format.shift` fraction bits and G `format.normal_bits` fewer.
    """

    name: str
    nodes: tuple[str, ...]
    x: str
    y: str
    read: IndexMap
    write: IndexMap
    table: str
    format: NormFormat
    low: int
    high: int
    kind: Literal["Norm"] = "Norm"


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchMatMul:
    """y[g, i, j] = clamp(RNE(sum_k (a[g, i, k] - za) * (b[g, j, k] - zb) * mantissa / 2^shift) + zy): two activations.

    `a.map` has dimensions (g, i, k), `b.map` (g, j, k), `write` (g, i, j). Sums have 48 bits.
    """

    name: str
    nodes: tuple[str, ...]
    a: Read
    b: Read
    y: str
    write: IndexMap
    shift: int
    low: int
    high: int
    kind: Literal["BatchMatMul"] = "BatchMatMul"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookup:
    """y[write(i, j)] = rows[x[read(i)], j]: `table` names [entries, width] integers; an index below 0 counts from the
    end, one outside is brought to the nearest entry."""

    name: str
    nodes: tuple[str, ...]
    x: str
    y: str
    read: IndexMap
    write: IndexMap
    table: str
    kind: Literal["Lookup"] = "Lookup"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """y[write(i)] = x[read(i)]; padding reads the zero point of x.

    Inside a `Repeat`, pass t reads t * read_step stored elements further and writes t * write_step further.
    """

    x: str
    read: IndexMap
    write: IndexMap
    read_step: int = 0
    write_step: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """Copies: what no reader can follow, and what comes from several tensors. Parts cover y, each element once."""

    name: str
    nodes: tuple[str, ...]
    parts: tuple[Part, ...]
    y: str
    kind: Literal["Move"] = "Move"


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """An ONNX subgraph that ONNX Runtime runs on the host, unoptimised: `xs` and `ys` are its inputs and outputs.

    `model` names the bytes of the model among the constants; it takes and gives tensors of the shapes `shapes_x` and
    `shapes_y` that their `Tensor.view` has. `why` says why no unit of the chip does it.
    """

    name: str
    nodes: tuple[str, ...]
    xs: tuple[str, ...]
    ys: tuple[str, ...]
    model: str
    macs: int
    why: str
    kind: Literal["Host"] = "Host"


Kernel = MatMul | BatchMatMul | Elementwise | Pool | Softmax | Norm | Lookup | Move | Host


def inputs_of(kernel: Kernel) -> tuple[str, ...]:
    """Names of the tensors that a kernel reads, operand by operand."""
    match kernel:
        case Elementwise():
            return tuple(read.x for read in kernel.reads)
        case BatchMatMul():
            return (kernel.a.x, kernel.b.x)
        case Move():
            return tuple(part.x for part in kernel.parts)
        case Host():
            return kernel.xs
        case MatMul() | Pool() | Softmax() | Norm() | Lookup():
            return (kernel.x,)


def outputs_of(kernel: Kernel) -> tuple[str, ...]:
    """Names of the tensors that a kernel writes."""
    return kernel.ys if isinstance(kernel, Host) else (kernel.y,)


def index_maps(kernel: Kernel) -> tuple[tuple[str, IndexMap], ...]:
    """(tensor, map) of every read and write of a kernel that follows a map."""
    match kernel:
        case Elementwise():
            return (*((r.x, r.map) for r in kernel.reads), (kernel.y, kernel.write))
        case BatchMatMul():
            return ((kernel.a.x, kernel.a.map), (kernel.b.x, kernel.b.map), (kernel.y, kernel.write))
        case Move():
            pairs = (((p.x, p.read), (kernel.y, p.write)) for p in kernel.parts)
            return tuple(entry for pair in pairs for entry in pair)
        case MatMul() | Pool() | Softmax() | Norm() | Lookup():
            return ((kernel.x, kernel.read), (kernel.y, kernel.write))
        case Host():
            return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """An input or output of the network: the ONNX tensor, its shape there, and where each element is stored.

    `shape` is the model's, `view` takes its index to the stored tensor. `real` means that the user's side is float and
    the host quantises or dequantises with the tensor's scale; the chip sees integers only. `dtype`: numpy's name of the
    user's type. `clamp`: the model clips this input before it quantises it, to these integers. `limits`: what
    integers of the user have to lie in, where the stored type holds more than kernels can compute with. `state`: the
    input that this output feeds at the next step of a stream.
    """

    name: str
    shape: tuple[int, ...]
    tensor: str
    view: IndexMap
    direction: Literal["input", "output"]
    real: bool
    dtype: str = "float32"
    clamp: tuple[int, int] | None = None
    limits: tuple[int, int] | None = None
    state: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeat:
    """Kernels first..last (inclusive) run `count` times, in order. `carried` tensors hold their value from one pass to
    the next: a kernel before the first writes them, and a `Move` inside writes them again.

    Other tensors made inside are made anew in every pass; the parts of a `Move` with a `write_step` fill a tensor over
    all passes.
    """

    name: str
    nodes: tuple[str, ...]
    first: int
    last: int
    count: int
    carried: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """Kernels in topological order, the tensors between them, and which kernels are repeated."""

    name: str
    tensors: tuple[Tensor, ...]
    kernels: tuple[Kernel, ...]
    ports: tuple[Port, ...]
    repeats: tuple[Repeat, ...] = ()

    def repeat_of(self, number: int) -> Repeat | None:
        """The repetition that a kernel belongs to."""
        return next((r for r in self.repeats if r.first <= number <= r.last), None)

    def passes(self, number: int) -> int:
        """How often a kernel runs in one inference."""
        repeat = self.repeat_of(number)
        return repeat.count if repeat else 1

    def weights_of(self, number: int) -> tuple[str, int] | None:
        """(matrix, first kernel of the repetition or -1): kernels that are alike here may share blocks in arrays.

        One inside a repetition writes its weights in every pass where they do not stay; nobody outside may rely on it.
        """
        kernel, repeat = self.kernels[number], self.repeat_of(number)
        return (kernel.matrix.name, repeat.first if repeat else -1) if isinstance(kernel, MatMul) else None

    def tensor(self, name: str) -> Tensor:
        return next(t for t in self.tensors if t.name == name)

    def check(self) -> None:
        """Raise ValueError where a kernel reads what nobody wrote, or two kernels write one tensor."""
        shapes = {t.name: t.shape for t in self.tensors}
        written = {p.tensor for p in self.ports if p.direction == "input"}
        written |= {t.name for t in self.tensors if t.constant}
        for number, kernel in enumerate(self.kernels):
            repeat = self.repeat_of(number)
            again = {*repeat.carried} if repeat and isinstance(kernel, Move) else set[str]()
            for name in inputs_of(kernel):
                if name not in written:
                    raise ValueError(f"{kernel.name} reads {name!r}, which nothing wrote before it")
            for name in outputs_of(kernel):
                if name in written and name not in again:
                    raise ValueError(f"{kernel.name} writes {name!r}, which is written already")
                if name not in shapes:
                    raise ValueError(f"{kernel.name} writes {name!r}, which is no tensor of the network")
                written.add(name)
            for _, view in index_maps(kernel):
                view.check()
        last = -1
        for repeat in self.repeats:
            if not last < repeat.first <= repeat.last < len(self.kernels) or repeat.count < 1:
                raise ValueError(f"{repeat.name} repeats kernels {repeat.first}..{repeat.last}, {repeat.count} times")
            last = repeat.last
        for port in self.ports:
            if port.tensor not in written:
                raise ValueError(f"port {port.name!r} stands for {port.tensor!r}, which nothing wrote")

    def __str__(self) -> str:
        lines = [
            f"tensor {t.name}: {t.dtype}{list(t.shape)} scale {t.scale:g} zero {t.zero_point}" for t in self.tensors
        ]
        for kernel in self.kernels:
            what = f" {kernel.op}" if isinstance(kernel, Pool | Elementwise) else ""
            made, taken = ", ".join(outputs_of(kernel)), ", ".join(inputs_of(kernel))
            lines.append(f"{made} = {kernel.kind}{what}({taken})  # {', '.join(kernel.nodes)}")
        return "\n".join(lines)


def macs(kernel: Kernel) -> int:
    """Multiplications of weights that the network asks for (zeros between groups not counted)."""
    if not isinstance(kernel, MatMul):
        return 0
    height, width, _ = kernel.read.shape
    return height * width * kernel.matrix.groups * kernel.matrix.rows * kernel.matrix.cols


def dynamic_macs(kernel: Kernel) -> int:
    """Multiplications of activations by activations."""
    return prod(kernel.a.map.shape) * kernel.b.map.shape[1] if isinstance(kernel, BatchMatMul) else 0

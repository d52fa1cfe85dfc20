"""The slow, obvious evaluator of kernels: what every other engine has to equal, bit for bit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

import numpy as np
import numpy.typing as npt

from bitline.ir.index_map import IndexMap
from bitline.ir.kernels import LIMITS, Add, Constants, Kernel, MatMul, Move, Network, Pool, Softmax, Table, Tensor
from bitline.numerics import vector
from bitline.numerics.arrays import array_product, encode_cells
from bitline.numerics.rounding import wrap32

Ints = npt.NDArray[np.int64]
Values = dict[str, Ints]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated:
    """Values of all stored tensors, and how many converter readings were made and clipped."""

    values: Values
    conversions: int
    clipped: int


def gather(values: Ints, indices: Ints, padding: int) -> Ints:
    """Stored values at flat `indices`; -1 reads `padding`."""
    return np.where(indices < 0, padding, values.reshape(-1)[indices])


def column_sums(matrix: npt.NDArray[np.generic]) -> Ints:
    """Sum over the rows of each column of [groups, rows, cols], as [groups * cols]."""
    return matrix.astype(np.int64).sum(axis=1).reshape(-1)


def block_diagonal(groups: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    """[groups, rows, cols] as one matrix [groups * rows, groups * cols] with zeros off the diagonal."""
    count, rows, cols = groups.shape
    whole = np.zeros((count, rows, count, cols), groups.dtype)
    whole[np.arange(count), :, np.arange(count)] = groups
    return whole.reshape(count * rows, count * cols)


def _matmul(kernel: MatMul, x: Tensor, y: Tensor, values: Values, constants: Constants) -> tuple[Ints, int, int]:
    matrix, math = constants[kernel.matrix.name], kernel.math
    groups, rows, cols = matrix.shape
    indices = kernel.read.evaluate()
    driven = gather(values[kernel.x], indices, x.zero_point).reshape(-1, groups * rows) + math.input_offset
    acc = np.empty((driven.shape[0], groups * cols), np.int64)
    conversions = clipped = 0
    for first in range(0, groups, math.bundle):
        last = min(first + math.bundle, groups)
        cells = encode_cells(block_diagonal(matrix[first:last]), math.weight_offset)
        converted = array_product(math, driven[:, first * rows : last * rows], cells)
        acc[:, first * cols : last * cols] = converted.sums
        conversions, clipped = conversions + converted.conversions, clipped + converted.clipped
    parameters = constants[kernel.post.parameters].astype(np.int64)
    zero = (x.zero_point + math.input_offset) * column_sums(matrix)
    flat = wrap32(acc - zero)
    result = vector.requantise_columns(flat, parameters, kernel.post.zero_point, kernel.post.low, kernel.post.high)
    return scatter(kernel.write, result, y), conversions, clipped


def scatter(write: IndexMap, result: Ints, y: Tensor) -> Ints:
    """`result`, in the order of the write map's logical index, as the stored tensor."""
    stored = np.zeros(y.shape, np.int64).reshape(-1)
    stored[write.evaluate().reshape(-1)] = result.reshape(-1)
    return stored.reshape(y.shape)


def _pool(kernel: Pool, x: Tensor, y: Tensor, values: Values) -> Ints:
    indices = kernel.read.evaluate()
    if kernel.op == "max":
        taken = gather(values[kernel.x], indices, LIMITS[x.dtype][0]).max(axis=2)
        return scatter(kernel.write, np.clip(taken, kernel.low, kernel.high), y)
    total = (gather(values[kernel.x], indices, x.zero_point) - x.zero_point).sum(axis=2)
    count = (indices >= 0).sum(axis=2) if kernel.divide_by_valid else np.ones_like(total)
    mantissas = np.array([scale.mantissa for scale in kernel.scales], np.int64)
    shifts = np.array([scale.shift for scale in kernel.scales], np.int64)
    result = vector.requantise(total, mantissas[count - 1], shifts[count - 1], y.zero_point, kernel.low, kernel.high)
    return scatter(kernel.write, result, y)


def evaluate_kernel(kernel: Kernel, network: Network, values: Values, constants: Constants) -> tuple[Ints, int, int]:
    """(stored output, converter readings, clipped ones) of one kernel, its inputs taken from `values`."""
    y = network.tensor(kernel.y)
    match kernel:
        case MatMul():
            return _matmul(kernel, network.tensor(kernel.x), y, values, constants)
        case Pool():
            return _pool(kernel, network.tensor(kernel.x), y, values), 0, 0
        case Add():
            a, b = network.tensor(kernel.a), network.tensor(kernel.b)
            summed = vector.add(
                values[kernel.a] - a.zero_point,
                values[kernel.b] - b.zero_point,
                kernel.mantissa_a,
                kernel.mantissa_b,
                kernel.shift,
                y.zero_point,
                kernel.low,
                kernel.high,
            )
            return summed, 0, 0
        case Table():
            smallest = LIMITS[network.tensor(kernel.x).dtype][0]
            return vector.look_up(values[kernel.x], constants[kernel.table].astype(np.int64), smallest), 0, 0
        case Softmax():
            table = constants[kernel.table].astype(np.int64)
            low, high = LIMITS[y.dtype]
            x = values[kernel.x]
            return vector.softmax(x, table, kernel.factor, kernel.fraction_bits, y.zero_point, low, high), 0, 0
        case Move():
            x = network.tensor(kernel.x)
            return gather(values[kernel.x], kernel.read.evaluate(), x.zero_point).reshape(y.shape), 0, 0
        case _:
            assert_never(kernel)


def evaluate(network: Network, constants: Constants, inputs: Values) -> Evaluated:
    """All stored tensors of the network for one sample; `inputs` maps stored input tensors to integers of their
    shape."""
    values = dict(inputs)
    conversions = clipped = 0
    for kernel in network.kernels:
        values[kernel.y], made, over = evaluate_kernel(kernel, network, values, constants)
        conversions, clipped = conversions + made, clipped + over
    return Evaluated(values=values, conversions=conversions, clipped=clipped)

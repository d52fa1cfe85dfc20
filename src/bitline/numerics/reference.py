"""The slow, obvious evaluator of kernels: what every other engine has to equal, bit for bit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import assert_never

import numpy as np
import numpy.typing as npt

from bitline.ir.index_map import IndexMap
from bitline.ir.kernels import (
    LIMITS,
    BatchMatMul,
    Constants,
    Elementwise,
    Host,
    Kernel,
    Lookup,
    MatMul,
    Move,
    Network,
    Norm,
    Pool,
    Softmax,
    Tensor,
)
from bitline.numerics import elementwise, norm, vector
from bitline.numerics.arrays import array_product, encode_cells
from bitline.numerics.rounding import wrap32

Ints = npt.NDArray[np.int64]
Values = dict[str, npt.NDArray[np.generic]]
RunHost = Callable[[Host, Sequence[npt.NDArray[np.generic]]], Sequence[npt.NDArray[np.generic]]]
"""Runs a host kernel: stored inputs to stored outputs, in the types of their tensors."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated:
    """Values of all stored tensors, and how many converter readings were made and clipped."""

    values: Values
    conversions: int
    clipped: int


def gather(values: npt.NDArray[np.generic], indices: Ints, padding: int) -> Ints:
    """Stored values at flat `indices` as integers; -1 reads `padding`."""
    return np.where(indices < 0, padding, values.reshape(-1)[indices].astype(np.int64))


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


def elementwise_result(kernel: Elementwise, network: Network, values: Values, constants: Constants) -> Ints:
    """Every element of an `Elementwise`, in the order of its logical index."""
    y = network.tensor(kernel.y)
    zeros = [network.tensor(read.x).zero_point for read in kernel.reads]
    raw = [gather(values[read.x], read.map.evaluate(), zero) for read, zero in zip(kernel.reads, zeros, strict=True)]
    n = [x - zero for x, zero in zip(raw, zeros, strict=True)]
    m = [read.mantissa for read in kernel.reads]
    match kernel.op:
        case "sum":
            result = elementwise.weighted_sum(n, m, kernel.bias, kernel.shift)
        case "product":
            result = elementwise.product(n[0], n[1], m[0], kernel.shift)
        case "quotient":
            result = elementwise.quotient(n[0], n[1], m[0], kernel.shift)
        case "largest" | "smallest":
            result = elementwise.extreme(n, m, kernel.shift, largest=kernel.op == "largest")
        case "prelu":
            result = elementwise.prelu(n[0], n[1], m, kernel.shift)
        case "select":
            result = elementwise.select(raw[0], n[1], n[2], m, kernel.shift)
        case "equal":
            return (raw[0] == raw[1]).astype(np.int64)
        case "modulo":
            return elementwise.modulo(raw[0], raw[1])
        case "table":
            smallest = LIMITS[network.tensor(kernel.reads[0].x).dtype][0]
            return vector.look_up(raw[0], constants[kernel.table].astype(np.int64), smallest)
        case "length":
            result = elementwise.length(n[0], n[1], m, kernel.shift)
        case "curve":
            result = elementwise.curve(raw[0], constants[kernel.table].astype(np.int64))
        case _:
            assert_never(kernel.op)
    return np.clip(result + y.zero_point, kernel.low, kernel.high)


def _lookup(kernel: Lookup, values: Values, constants: Constants) -> Ints:
    table = constants[kernel.table].astype(np.int64)
    index = gather(values[kernel.x], kernel.read.evaluate(), 0)
    wrapped = np.where(index < 0, index + len(table), index)
    return table[np.clip(wrapped, 0, len(table) - 1)]


def _move(kernel: Move, network: Network, values: Values, turn: int) -> Ints:
    held = values.get(kernel.y)
    fills = held is not None and any(part.write_step for part in kernel.parts)
    stored = held.astype(np.int64) if held is not None and fills else np.zeros(network.tensor(kernel.y).shape, np.int64)
    flat = stored.reshape(-1)
    for part in kernel.parts:
        zero = network.tensor(part.x).zero_point
        source, target = part.read.evaluate(), part.write.evaluate() + turn * part.write_step
        source = np.where(source < 0, source, source + turn * part.read_step)
        flat[target.reshape(-1)] = gather(values[part.x], source, zero).reshape(-1)
    return stored


def _batch_matmul(kernel: BatchMatMul, network: Network, values: Values) -> Ints:
    zeros = [network.tensor(read.x).zero_point for read in (kernel.a, kernel.b)]
    a, b = (
        gather(values[read.x], read.map.evaluate(), zero) - zero
        for read, zero in zip((kernel.a, kernel.b), zeros, strict=True)
    )
    zero_y = network.tensor(kernel.y).zero_point
    return vector.matmul(a, b, kernel.a.mantissa, kernel.shift, zero_y, kernel.low, kernel.high)


def no_host(kernel: Host, inputs: Sequence[npt.NDArray[np.generic]]) -> Sequence[npt.NDArray[np.generic]]:
    """For networks without host kernels."""
    raise AssertionError(f"{kernel.name} needs a host, {len(inputs)} inputs wait")


def evaluate_kernel(
    kernel: Kernel,
    network: Network,
    values: Values,
    constants: Constants,
    run_host: RunHost = no_host,
    turn: int = 0,
) -> tuple[Values, int, int]:
    """(stored outputs by name, converter readings, clipped ones) of one kernel in pass `turn` of its repetition, its
    inputs taken from `values`."""
    readings = clipped = 0
    if isinstance(kernel, Host):
        made = run_host(kernel, [values[name] for name in kernel.xs])
        return dict(zip(kernel.ys, made, strict=True)), 0, 0
    y = network.tensor(kernel.y)
    low, high = LIMITS[y.dtype]
    match kernel:
        case MatMul():
            result, readings, clipped = _matmul(kernel, network.tensor(kernel.x), y, values, constants)
        case Pool():
            result = _pool(kernel, network.tensor(kernel.x), y, values)
        case Elementwise():
            result = scatter(kernel.write, elementwise_result(kernel, network, values, constants), y)
        case Softmax():
            table = constants[kernel.table].astype(np.int64)
            x = gather(values[kernel.x], kernel.read.evaluate(), 0)
            rows = vector.softmax(x, table, kernel.factor, kernel.fraction_bits, y.zero_point, low, high)
            result = scatter(kernel.write, rows, y)
        case Norm():
            table = constants[kernel.table].astype(np.int64)
            x = gather(values[kernel.x], kernel.read.evaluate(), 0)
            rows = norm.layer_norm(x, table, kernel.format, y.zero_point, kernel.low, kernel.high)
            result = scatter(kernel.write, rows, y)
        case BatchMatMul():
            result = scatter(kernel.write, _batch_matmul(kernel, network, values), y)
        case Lookup():
            result = scatter(kernel.write, _lookup(kernel, values, constants), y)
        case Move():
            result = _move(kernel, network, values, turn)
        case _:
            assert_never(kernel)
    return {kernel.y: result}, readings, clipped


def execution_order(network: Network) -> Iterator[tuple[int, int]]:
    """(kernel, pass) of everything that one inference runs."""
    number = 0
    while number < len(network.kernels):
        repeat = network.repeat_of(number)
        if repeat is None:
            yield number, 0
            number += 1
            continue
        for turn in range(repeat.count):
            yield from ((inner, turn) for inner in range(repeat.first, repeat.last + 1))
        number = repeat.last + 1


def constant_tensors(network: Network, constants: Constants) -> Values:
    """Stored tensors that never change."""
    return {t.name: constants[t.constant].astype(np.int64).reshape(t.shape) for t in network.tensors if t.constant}


def evaluate(network: Network, constants: Constants, inputs: Values, run_host: RunHost = no_host) -> Evaluated:
    """All stored tensors of the network for one sample; `inputs` maps stored input tensors to integers of their
    shape."""
    values = {**constant_tensors(network, constants), **inputs}
    conversions = clipped = 0
    for number, turn in execution_order(network):
        made, readings, over = evaluate_kernel(network.kernels[number], network, values, constants, run_host, turn)
        values |= made
        conversions, clipped = conversions + readings, clipped + over
    return Evaluated(values=values, conversions=conversions, clipped=clipped)

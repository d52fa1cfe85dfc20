"""Whether `kernels.json` and `weights.safetensors` describe a network at all: what every other check builds on."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf, prod
from typing import Final

import numpy as np

from bitline.core.diagnostics import Diagnostic
from bitline.ir.index_map import IndexMap
from bitline.ir.kernels import (
    LIMITS,
    Add,
    ArrayMath,
    Constants,
    Kernel,
    MatMul,
    Move,
    Network,
    Pool,
    Port,
    Softmax,
    Table,
    Tensor,
    inputs_of,
)

FINDINGS: Final = 20
LARGEST: Final = 1 << 32
"""No honest number of a network is larger; below it every product that others take of two of them fits int64."""
MOST_BITS: Final = 32
MOST_SHIFT: Final = 62
TABLE_ENTRIES: Final = 256


def verify_network(network: Network, constants: Constants) -> tuple[Diagnostic, ...]:
    """What is wrong with a network (BL0505): names, shapes, maps, constants. Empty where kernels can run."""
    found = [*_tensors(network), *_order(network)]
    if not found:
        tensors = {tensor.name: tensor for tensor in network.tensors}
        found += [e for tensor in network.tensors if tensor.onnx for e in _all_of(tensor.view, tensor, tensor.name)]
        found += [e for kernel in network.kernels for e in _kernel(kernel, tensors, constants)]
        found += [e for port in network.ports for e in _port(port, tensors[port.tensor])]
    return tuple(found[:FINDINGS])


def _error(message: str, place: str) -> Diagnostic:
    return Diagnostic(code="BL0505", message=message, place=f"kernels.json:{place}", help="compile the package again")


def _tensors(network: Network) -> Iterator[Diagnostic]:
    names = [tensor.name for tensor in network.tensors]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield _error("two tensors have this name", name)
    for tensor in network.tensors:
        if min(tensor.shape) < 1 or tensor.size_bytes > LARGEST:
            yield _error(f"no tensor is stored as {list(tensor.shape)}", tensor.name)
        low, high = LIMITS[tensor.dtype]
        if not low <= tensor.zero_point <= high or not 0 < tensor.scale < inf:
            yield _error(f"scale {tensor.scale}, zero point {tensor.zero_point} of {tensor.dtype}", tensor.name)


def _order(network: Network) -> Iterator[Diagnostic]:
    known = {tensor.name for tensor in network.tensors}
    for kernel in network.kernels:
        for name in sorted({*inputs_of(kernel), kernel.y} - known):
            yield _error(f"{name!r} is no tensor of the network", kernel.name)
    for port in network.ports:
        if port.tensor not in known:
            yield _error(f"{port.tensor!r} is no tensor of the network", f"port {port.name}")
    try:
        network.check()
    except ValueError as error:
        yield _error(str(error), "kernels")


def _map_error(view: IndexMap, tensor: Tensor) -> str:
    """Why `view` cannot be followed into `tensor`."""
    try:
        view.check()
    except ValueError as error:
        return str(error)
    numbers = [c.offset for c in view.coordinates] + [v for c in view.coordinates for v in c.coefficients]
    if prod(view.digits) > LARGEST or max(map(abs, numbers), default=0) > LARGEST:
        return "an index map with numbers that no network has"
    if tuple(view.source) != tuple(tensor.shape):
        return f"an index map of {list(view.source)} for a tensor of {list(tensor.shape)}"
    return ""


def _map(view: IndexMap, tensor: Tensor, shape: tuple[int, ...], place: str) -> Iterator[Diagnostic]:
    """`view` has this logical shape and reads `tensor`, or padding."""
    why = _map_error(view, tensor)
    if why or view.shape != shape:
        yield _error(why or f"an index map of shape {list(view.shape)}, expected {list(shape)}", place)


def _all_of(view: IndexMap, tensor: Tensor, place: str) -> Iterator[Diagnostic]:
    """`view` reaches every element of `tensor` once."""
    why = _map_error(view, tensor)
    size = prod(tensor.shape)
    if not why and prod(view.digits) != size:
        why = f"an index map of {prod(view.digits)} elements for a tensor of {size}"
    if not why and not np.array_equal(np.sort(view.evaluate().reshape(-1)), np.arange(size)):
        why = "an index map that does not reach every element once"
    if why:
        yield _error(why, place)


def _port(port: Port, tensor: Tensor) -> Iterator[Diagnostic]:
    place = f"port {port.name}"
    yield from _all_of(port.view, tensor, place)
    if prod(port.shape) != prod(tensor.shape):
        yield _error(f"shape {list(port.shape)} for a tensor stored as {list(tensor.shape)}", place)


def _kernel(kernel: Kernel, tensors: dict[str, Tensor], constants: Constants) -> Iterator[Diagnostic]:
    x, y = tensors[inputs_of(kernel)[0]], tensors[kernel.y]
    pixels = kernel.read.shape[:2] if isinstance(kernel, MatMul | Pool) else ()
    match kernel:
        case MatMul():
            matrix, post = kernel.matrix, kernel.post
            yield from _map(kernel.read, x, (*pixels, matrix.groups * matrix.rows), kernel.name)
            yield from _all_of(kernel.write, y, kernel.name)
            yield from _constant(constants, matrix.name, (matrix.groups, matrix.rows, matrix.cols), kernel)
            yield from _constant(constants, post.parameters, (matrix.groups * matrix.cols, 3), kernel)
            yield from _range(kernel.name, y, post.low, post.high)
            if post.zero_point != y.zero_point:
                yield _error(f"zero point {post.zero_point}, {y.name!r} has {y.zero_point}", kernel.name)
            if prod(pixels) * matrix.groups * matrix.cols != prod(y.shape):
                yield _error(f"{list(pixels)} pixels of {matrix.groups * matrix.cols} for {list(y.shape)}", kernel.name)
            yield from _math(kernel.name, kernel.math)
        case Pool():
            taps = kernel.read.shape[2:3]
            channels = prod(y.shape) // max(1, prod(pixels))
            yield from _map(kernel.read, x, (*pixels, *taps, channels), kernel.name)
            yield from _all_of(kernel.write, y, kernel.name)
            yield from _range(kernel.name, y, kernel.low, kernel.high)
            wanted = 0 if kernel.op == "max" else taps[0] if kernel.divide_by_valid else 1
            if len(kernel.scales) < wanted:
                yield _error(f"{len(kernel.scales)} factors for {taps[0]} taps", kernel.name)
            for scale in kernel.scales:
                yield from _factors(kernel.name, scale.shift, scale.mantissa)
        case Add():
            yield from _range(kernel.name, y, kernel.low, kernel.high)
            yield from _factors(kernel.name, kernel.shift, kernel.mantissa_a, kernel.mantissa_b)
            if not tensors[kernel.a].shape == tensors[kernel.b].shape == y.shape:
                yield _error("tensors of different shapes are added", kernel.name)
        case Table() | Softmax():
            yield from _constant(constants, kernel.table, (TABLE_ENTRIES,), kernel)
            if isinstance(kernel, Softmax):
                yield from _factors(kernel.name, kernel.fraction_bits, kernel.factor)
            if x.shape != y.shape:
                yield _error(f"{list(x.shape)} becomes {list(y.shape)}", kernel.name)
        case Move():
            why = _map_error(kernel.read, x)
            if not why and prod(kernel.read.digits) != prod(y.shape):
                why = f"{prod(kernel.read.digits)} elements for {list(y.shape)}"
            if why:
                yield _error(why, kernel.name)


def _constant(constants: Constants, name: str, shape: tuple[int, ...], kernel: Kernel) -> Iterator[Diagnostic]:
    stored = constants.get(name)
    if stored is None:
        yield _error(f"no constant {name!r} in weights.safetensors", kernel.name)
    elif stored.shape != shape or stored.dtype.kind not in "iu":
        yield _error(f"constant {name!r} is {stored.dtype}{list(stored.shape)}, expected {list(shape)}", kernel.name)


def _range(place: str, y: Tensor, low: int, high: int) -> Iterator[Diagnostic]:
    smallest, largest = LIMITS[y.dtype]
    if not smallest <= low <= high <= largest:
        yield _error(f"values {low}..{high} of {y.dtype}", place)


def _factors(place: str, shift: int, *mantissas: int) -> Iterator[Diagnostic]:
    if not 0 <= shift <= MOST_SHIFT or max(map(abs, mantissas)) > LARGEST:
        yield _error(f"factor {' '.join(map(str, mantissas))} / 2^{shift}", place)


def _math(place: str, math: ArrayMath) -> Iterator[Diagnostic]:
    bits = (math.weight_bits, math.cell_bits, math.input_bits)
    sound = all(1 <= width <= MOST_BITS for width in bits) and 0 <= math.adc_bits <= MOST_BITS
    sound = sound and 1 <= math.group_rows <= LARGEST and 1 <= math.bundle <= LARGEST
    if not sound or max(abs(math.weight_offset), abs(math.input_offset)) > LARGEST:
        yield _error(f"no array computes with {math}", place)

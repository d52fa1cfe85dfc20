"""Whether `kernels.json` and `weights.safetensors` describe a network at all: what every other check builds on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from bitline.core.diagnostics import Diagnostic
from bitline.ir.index_map import IndexMap
from bitline.ir.kernels import (
    Add,
    Constants,
    Kernel,
    MatMul,
    Move,
    Network,
    Pool,
    Softmax,
    Table,
    Tensor,
    inputs_of,
)

FINDINGS: Final = 20
LARGEST_TENSOR: Final = 1 << 32
"""Bytes; no chip of ours has a larger memory, and what is larger is not evaluated."""
TABLE_ENTRIES: Final = 256


def verify_network(network: Network, constants: Constants) -> tuple[Diagnostic, ...]:
    """What is wrong with a network (BL0505): names, shapes, maps, constants. Empty where kernels can run."""
    found = [*_tensors(network), *_order(network)]
    if not found:
        tensors = {tensor.name: tensor for tensor in network.tensors}
        found += [e for kernel in network.kernels for e in _kernel(kernel, tensors, constants)]
        found += [e for port in network.ports for e in _map(port.view, tensors[port.tensor], f"port {port.name}")]
    return tuple(found[:FINDINGS])


def _error(message: str, place: str) -> Diagnostic:
    return Diagnostic(code="BL0505", message=message, place=f"kernels.json:{place}", help="compile the package again")


def _tensors(network: Network) -> Iterator[Diagnostic]:
    names = [tensor.name for tensor in network.tensors]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield _error("two tensors have this name", name)
    for tensor in network.tensors:
        if min(tensor.shape) < 1 or tensor.size_bytes > LARGEST_TENSOR:
            yield _error(f"no tensor is stored as {list(tensor.shape)}", tensor.name)
        else:
            yield from _map(tensor.view, tensor, tensor.name)


def _order(network: Network) -> Iterator[Diagnostic]:
    try:
        network.check()
    except ValueError as error:
        yield _error(str(error), "kernels")


def _map(view: IndexMap, tensor: Tensor, place: str) -> Iterator[Diagnostic]:
    """`view` reads `tensor`."""
    try:
        view.check()
    except ValueError as error:
        yield _error(str(error), place)
        return
    size = int(np.prod([float(extent) for extent in view.digits]))
    if tuple(view.source) != tuple(tensor.shape) or size > LARGEST_TENSOR:
        yield _error(f"an index map of {list(view.source)} for a tensor of {list(tensor.shape)}", place)


def _kernel(kernel: Kernel, tensors: dict[str, Tensor], constants: Constants) -> Iterator[Diagnostic]:
    x, y = tensors[inputs_of(kernel)[0]], tensors[kernel.y]
    match kernel:
        case MatMul():
            matrix = kernel.matrix
            yield from _map(kernel.read, x, kernel.name)
            yield from _map(kernel.write, y, kernel.name)
            yield from _constant(constants, matrix.name, (matrix.groups, matrix.rows, matrix.cols), kernel)
            yield from _constant(constants, kernel.post.parameters, (matrix.groups * matrix.cols, 3), kernel)
        case Pool() | Move():
            yield from _map(kernel.read, x, kernel.name)
            if isinstance(kernel, Pool):
                yield from _map(kernel.write, y, kernel.name)
        case Table() | Softmax():
            yield from _constant(constants, kernel.table, (TABLE_ENTRIES,), kernel)
        case Add():
            if not tensors[kernel.a].shape == tensors[kernel.b].shape == y.shape:
                yield _error("tensors of different shapes are added", kernel.name)


def _constant(constants: Constants, name: str, shape: tuple[int, ...], kernel: Kernel) -> Iterator[Diagnostic]:
    stored = constants.get(name)
    if stored is None:
        yield _error(f"no constant {name!r} in weights.safetensors", kernel.name)
    elif stored.shape != shape or stored.dtype.kind != "i":
        yield _error(f"constant {name!r} is {stored.dtype}{list(stored.shape)}, expected {list(shape)}", kernel.name)

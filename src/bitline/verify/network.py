"""Whether `kernels.json` and `weights.safetensors` describe a network at all: what every other check builds on."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from math import inf, prod
from typing import Final

import numpy as np
import numpy.typing as npt

from bitline.core.diagnostics import Diagnostic
from bitline.ir.index_map import IndexMap
from bitline.ir.kernels import (
    LIMITS,
    ArrayMath,
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
    Port,
    Softmax,
    Tensor,
    inputs_of,
    outputs_of,
)

FINDINGS: Final = 20
LARGEST: Final = 1 << 32
"""No honest number of a network is larger; below it every product that others take of two of them fits int64."""
LARGEST_BIAS: Final = 1 << 52
MOST_BITS: Final = 32
MOST_SHIFT: Final = 62
TABLE_ENTRIES: Final = 256
LARGEST_ROW: Final = 4096
MOST_DEVIATION_BITS: Final = 30
NORM_INVERSE_BITS: Final = 61
NORM_FACTOR_BITS: Final = 30
NORM_OFFSET_BITS: Final = 60


def verify_network(network: Network, constants: Constants) -> tuple[Diagnostic, ...]:
    """What is wrong with a network (BL0505): names, shapes, maps, constants. Empty where kernels can run."""
    found = [*_tensors(network), *_order(network)]
    if not found:
        tensors = {tensor.name: tensor for tensor in network.tensors}
        found += [e for tensor in network.tensors if tensor.onnx for e in _all_of(tensor.view, tensor, tensor.name)]
        found += [e for tensor in network.tensors if tensor.constant for e in _values(tensor, constants)]
        passes = [network.passes(number) for number in range(len(network.kernels))]
        found += [
            e
            for kernel, times in zip(network.kernels, passes, strict=True)
            for e in _kernel(kernel, tensors, constants, times)
        ]
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
        low, high = LIMITS.get(tensor.dtype, (0, 0))
        if not low <= tensor.zero_point <= high or not 0 < tensor.scale < inf:
            yield _error(f"scale {tensor.scale}, zero point {tensor.zero_point} of {tensor.dtype}", tensor.name)


def _order(network: Network) -> Iterator[Diagnostic]:
    known = {tensor.name for tensor in network.tensors}
    for kernel in network.kernels:
        for name in sorted({*inputs_of(kernel), *outputs_of(kernel)} - known):
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
    if port.limits is not None:
        yield from _range(place, tensor, *port.limits)


def _values(tensor: Tensor, constants: Constants) -> Iterator[Diagnostic]:
    """The values of a tensor that never changes: as many as it has, within its type."""
    stored = constants.get(tensor.constant)
    low, high = LIMITS.get(tensor.dtype, (0, 0))
    if stored is None or stored.size != prod(tensor.shape) or stored.dtype.kind not in "iu":
        yield _error(f"no constant {tensor.constant!r} of {prod(tensor.shape)} integers", tensor.name)
    elif stored.size and (int(stored.min()) < low or int(stored.max()) > high):
        yield _error(f"constant {tensor.constant!r} has values that are no {tensor.dtype}", tensor.name)


def _kernel(kernel: Kernel, tensors: dict[str, Tensor], constants: Constants, passes: int) -> Iterator[Diagnostic]:
    if isinstance(kernel, Host):
        if passes > 1:
            yield _error("a host call inside a repetition", kernel.name)
        yield from _host(kernel, tensors, constants)
        return
    y = tensors[kernel.y]
    wrong = [name for name in (*inputs_of(kernel), kernel.y) if tensors[name].dtype in ("s64", "f32")]
    if wrong:
        yield _error(f"{wrong[0]!r} is {tensors[wrong[0]].dtype}, which only the host computes with", kernel.name)
        return
    match kernel:
        case MatMul():
            yield from _matmul(kernel, tensors[kernel.x], y, constants)
        case Pool():
            yield from _pool(kernel, tensors[kernel.x], y)
        case Elementwise():
            yield from _all_of(kernel.write, y, kernel.name)
            yield from _range(kernel.name, y, kernel.low, kernel.high)
            yield from _factors(kernel.name, kernel.shift, *(read.mantissa for read in kernel.reads))
            if abs(kernel.bias) > LARGEST_BIAS:
                yield _error(f"a bias of {kernel.bias}", kernel.name)
            for read in kernel.reads:
                yield from _map(read.map, tensors[read.x], kernel.write.shape, kernel.name)
            yield from _operator(kernel, tensors, constants)
        case Softmax() | Norm():
            yield from _all_of(kernel.write, y, kernel.name)
            yield from _map(kernel.read, tensors[kernel.x], kernel.write.shape, kernel.name)
            if len(kernel.read.shape) != 2 or tensors[kernel.x].dtype == "s32":
                yield _error(f"rows of shape {list(kernel.read.shape)}", kernel.name)
            elif isinstance(kernel, Softmax):
                wide = tensors[kernel.x].dtype == "s16"
                yield from _constant(constants, kernel.table, (2 * TABLE_ENTRIES if wide else TABLE_ENTRIES,), kernel)
                yield from _factors(kernel.name, kernel.fraction_bits, kernel.factor)
            else:
                yield from _constant(constants, kernel.table, (kernel.read.shape[1], 2), kernel)
                yield from _range(kernel.name, y, kernel.low, kernel.high)
                yield from _norm(kernel, tensors[kernel.x], constants.get(kernel.table))
        case BatchMatMul():
            groups, m, k = kernel.a.map.shape
            n = kernel.b.map.shape[1] if len(kernel.b.map.shape) == 3 else 0
            yield from _all_of(kernel.write, y, kernel.name)
            yield from _map(kernel.a.map, tensors[kernel.a.x], (groups, m, k), kernel.name)
            yield from _map(kernel.b.map, tensors[kernel.b.x], (groups, n, k), kernel.name)
            if kernel.write.shape != (groups, m, n):
                yield _error(f"products of {list(kernel.write.shape)}, expected {[groups, m, n]}", kernel.name)
            yield from _range(kernel.name, y, kernel.low, kernel.high)
            yield from _factors(kernel.name, kernel.shift, kernel.a.mantissa)
        case Lookup():
            stored = constants.get(kernel.table)
            if stored is None or stored.ndim != 2 or stored.dtype.kind not in "iu" or not stored.size:
                yield _error(f"no table {kernel.table!r} of rows", kernel.name)
                return
            rows = kernel.read.shape[:1]
            yield from _all_of(kernel.write, y, kernel.name)
            yield from _map(kernel.read, tensors[kernel.x], rows, kernel.name)
            low, high = LIMITS[y.dtype]
            if kernel.write.shape != (*rows, stored.shape[1]) or int(stored.min()) < low or int(stored.max()) > high:
                yield _error(f"rows of {list(stored.shape)} for {list(y.shape)} of {y.dtype}", kernel.name)
            if tensors[kernel.x].dtype != "s32":
                yield _error(f"row numbers of {tensors[kernel.x].dtype}", kernel.name)
        case Move():
            yield from _move(kernel, tensors, y, passes)


def _host(kernel: Host, tensors: dict[str, Tensor], constants: Constants) -> Iterator[Diagnostic]:
    stored = constants.get(kernel.model)
    if stored is None or stored.dtype != np.uint8 or stored.ndim != 1:
        yield _error(f"no model {kernel.model!r} for the host", kernel.name)
    if not kernel.ys:
        yield _error("a host call that gives nothing", kernel.name)
    if len({*kernel.ys}) < len(kernel.ys):
        yield _error("the host writes a tensor twice", kernel.name)
    if not 0 <= kernel.macs <= LARGEST << 20:
        yield _error(f"{kernel.macs} multiplications", kernel.name)


def _operator(kernel: Elementwise, tensors: dict[str, Tensor], constants: Constants) -> Iterator[Diagnostic]:
    """Operands and constants of an operator, and that no product leaves 2^53."""
    count = {"product": 2, "quotient": 2, "prelu": 2, "select": 3, "equal": 2, "modulo": 2, "table": 1, "curve": 1}
    count["length"] = 2
    reads = kernel.reads
    if not 1 <= len(reads) <= 3 or len(reads) != count.get(kernel.op, len(reads)):
        yield _error(f"{len(reads)} operands of `{kernel.op}`", kernel.name)
        return
    dtypes = [tensors[read.x].dtype for read in reads]
    if kernel.op == "table":
        yield from _constant(constants, kernel.table, (TABLE_ENTRIES,), kernel)
        if dtypes[0] not in ("u8", "s8"):
            yield _error(f"a table for {dtypes[0]}", kernel.name)
    if kernel.op == "curve":
        stored = constants.get(kernel.table)
        size = 0 if stored is None or stored.ndim != 1 or stored.dtype.kind not in "iu" else stored.size
        if dtypes[0] != "s16" or not 2 <= size <= (1 << 16) + 1 or (size - 1) & (size - 2):
            yield _error(f"a curve of {size} knots for {dtypes[0]}", kernel.name)
    reach = [_reach(tensors[read.x], constants) for read in reads]
    terms = [r * abs(read.mantissa) for r, read in zip(reach, reads, strict=True)]
    if kernel.op == "product":
        terms = [reach[0] * reach[1] * abs(reads[0].mantissa)]
    if kernel.op == "prelu":
        terms[1] *= reach[0]
    if kernel.op == "length":
        terms = [2 * (terms[0] * reach[0] + terms[1] * reach[1])]  # below 2^52
        if kernel.shift < 1:
            yield _error("a length that is not rounded", kernel.name)
    if kernel.op == "quotient":
        terms = [2 * terms[0] + (reach[1] << kernel.shift), reach[1] << (kernel.shift + 1)]
    wide = 1 << (62 if kernel.op == "quotient" else 53)
    total = sum(terms) + abs(kernel.bias) if kernel.op == "sum" else max(terms, default=0)
    if total >= wide and kernel.op not in ("equal", "modulo", "table", "curve"):
        yield _error(f"`{kernel.op}` reaches {total}", kernel.name)


def _reach(tensor: Tensor, constants: Constants) -> int:
    """The largest distance of a value from the zero point; of a tensor that never changes, as it is."""
    stored = constants.get(tensor.constant) if tensor.constant else None
    if stored is None or not stored.size:
        return max(abs(v - tensor.zero_point) for v in LIMITS[tensor.dtype])
    return max(abs(int(v) - tensor.zero_point) for v in (stored.min(), stored.max()))


def _move(kernel: Move, tensors: dict[str, Tensor], y: Tensor, passes: int) -> Iterator[Diagnostic]:
    """Parts cover the result, each element once, over all passes of the repetition that the kernel belongs to."""
    seen: list[np.ndarray[tuple[int, ...], np.dtype[np.int64]]] = []
    for part in kernel.parts:
        why = _map_error(part.read, tensors[part.x]) or _map_error(part.write, y)
        if not why and part.read.shape != part.write.shape:
            why = f"a part of {list(part.read.shape)} goes to {list(part.write.shape)}"
        if not why and tensors[part.x].dtype != y.dtype:
            why = f"{tensors[part.x].dtype} is moved to {y.dtype}"
        if why:
            yield _error(why, kernel.name)
            return
        size, moved = prod(tensors[part.x].shape), part.read_step * (passes - 1)
        source = part.read.evaluate()
        inside = source[source >= 0] + moved
        if inside.size and not 0 <= int(inside.min()) <= int(inside.max()) < size:
            yield _error(f"the last of {passes} passes reads beyond {part.x!r}", kernel.name)
        turns = np.arange(passes if part.write_step else 1) * part.write_step
        seen.append((part.write.evaluate().reshape(-1)[None, :] + turns[:, None]).reshape(-1))
    places = np.sort(np.concatenate(seen)) if seen else np.zeros(0, np.int64)
    if not np.array_equal(places, np.arange(prod(y.shape))):
        yield _error("parts that do not cover the result once", kernel.name)


def _matmul(kernel: MatMul, x: Tensor, y: Tensor, constants: Constants) -> Iterator[Diagnostic]:
    pixels = kernel.read.shape[:2]
    matrix, post = kernel.matrix, kernel.post
    yield from _map(kernel.read, x, (*pixels, matrix.groups * matrix.rows), kernel.name)
    yield from _all_of(kernel.write, y, kernel.name)
    yield from _constant(constants, matrix.name, (matrix.groups, matrix.rows, matrix.cols), kernel)
    yield from _constant(constants, post.parameters, (matrix.groups * matrix.cols, 3), kernel)
    yield from _range(kernel.name, y, post.low, post.high)
    if x.dtype not in ("u8", "s8"):
        yield _error(f"arrays are driven with bytes, not {x.dtype}", kernel.name)
    if post.zero_point != y.zero_point:
        yield _error(f"zero point {post.zero_point}, {y.name!r} has {y.zero_point}", kernel.name)
    if prod(pixels) * matrix.groups * matrix.cols != prod(y.shape):
        yield _error(f"{list(pixels)} pixels of {matrix.groups * matrix.cols} for {list(y.shape)}", kernel.name)
    yield from _math(kernel.name, kernel.math)


def _pool(kernel: Pool, x: Tensor, y: Tensor) -> Iterator[Diagnostic]:
    pixels, taps = kernel.read.shape[:2], kernel.read.shape[2:3]
    channels = prod(y.shape) // max(1, prod(pixels))
    yield from _map(kernel.read, x, (*pixels, *taps, channels), kernel.name)
    yield from _all_of(kernel.write, y, kernel.name)
    yield from _range(kernel.name, y, kernel.low, kernel.high)
    wanted = 0 if kernel.op == "max" else taps[0] if kernel.divide_by_valid else 1
    if len(kernel.scales) < wanted:
        yield _error(f"{len(kernel.scales)} factors for {taps[0]} taps", kernel.name)
    for scale in kernel.scales:
        yield from _factors(kernel.name, scale.shift, scale.mantissa)


def _norm(kernel: Norm, x: Tensor, table: npt.NDArray[np.generic] | None) -> Iterator[Diagnostic]:
    """That no number passes 62 bits and a sign."""
    form, n = kernel.format, kernel.read.shape[1]
    epsilon, h, shift = form.epsilon, form.deviation_bits, form.shift
    down = NORM_INVERSE_BITS - h - form.normal_bits
    if epsilon < 0 or abs(h) > MOST_DEVIATION_BITS or not 0 <= down <= MOST_SHIFT or not 1 <= shift <= MOST_SHIFT:
        yield _error(f"epsilon {epsilon}, {h} and {form.normal_bits} fraction bits, shift {shift}", kernel.name)
        return
    low, high = LIMITS[x.dtype]
    deviation = n * (high - low)
    if n > LARGEST_ROW or deviation**2 * Fraction(4) ** h / 4 + epsilon >= 1 << MOST_SHIFT:
        yield _error(f"a variance of rows of {n} values with {2 * h} fraction bits and epsilon {epsilon}", kernel.name)
    by_epsilon = Fraction(deviation**2) * Fraction(4) ** h / (epsilon + 1)
    if min(max(n - 1, 1), by_epsilon) * Fraction(4) ** form.normal_bits > 4**NORM_FACTOR_BITS:
        yield _error(f"normalised values with {form.normal_bits} fraction bits", kernel.name)
    limits = (1 << NORM_FACTOR_BITS, 1 << NORM_OFFSET_BITS)
    if table is not None and table.dtype.kind in "iu" and table.shape == (n, 2) and n:
        for values, limit in zip(table.T, limits, strict=True):
            if int(values.max()) > limit or int(values.min()) < -limit:
                yield _error(f"gains or offsets beyond {limit}", kernel.name)


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
    if not 0 <= shift <= MOST_SHIFT or max(map(abs, mantissas), default=0) > LARGEST:
        yield _error(f"factor {' '.join(map(str, mantissas))} / 2^{shift}", place)


def _math(place: str, math: ArrayMath) -> Iterator[Diagnostic]:
    bits = (math.weight_bits, math.cell_bits, math.input_bits)
    sound = all(1 <= width <= MOST_BITS for width in bits) and 0 <= math.adc_bits <= MOST_BITS
    sound = sound and 1 <= math.group_rows <= LARGEST and 1 <= math.bundle <= LARGEST
    if not sound or max(abs(math.weight_offset), abs(math.input_offset)) > LARGEST:
        yield _error(f"no array computes with {math}", place)

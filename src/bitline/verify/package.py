"""Whether the files of a package say the same: whatever stands in two places is read from both and compared.

Derived anew from the nouns: nothing of what wrote the files is used, but for the printer of `program.asm`.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, zip_longest
from typing import Final, TypeVar

import numpy as np
import numpy.typing as npt

from bitline.core.diagnostics import Diagnostic
from bitline.core.escape import cell
from bitline.ir.kernels import (
    NUMPY,
    ArrayMath,
    Constants,
    Elementwise,
    Host,
    Kernel,
    Lookup,
    MatMul,
    Network,
    Norm,
    Softmax,
)
from bitline.ir.program import Program, stream_length
from bitline.ir.residency import BlockResidency, TensorResidency
from bitline.ir.schedule import Schedule
from bitline.isa import text
from bitline.target.schema import Chip

Array = npt.NDArray[np.generic]
T = TypeVar("T")

FINDINGS: Final = 20
OF_ONE_KIND: Final = 5
WORD: Final = 8
"""What the parameters of a kernel are filled up to, in `constants.bin`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """A package, parsed, and the bytes of its files."""

    network: Network
    constants: Constants
    schedule: Schedule
    blocks: tuple[BlockResidency, ...]
    chip: Chip
    program: Program
    array_maths: Mapping[str, ArrayMath]
    tensors: tuple[TensorResidency, ...]
    memory_bytes: Mapping[str, int]
    golden: Mapping[str, Array]
    files: Mapping[str, bytes]


def verify_package(parts: Parts) -> tuple[Diagnostic, ...]:
    """Where files of a package disagree (BL0505, at most 20 findings). `verify_network` found nothing before."""
    kinds = (
        _array_maths(parts),
        _memory(parts),
        _placement_table(parts),
        _machine(parts),
        _spaces(parts),
        _ports(parts),
        _parameters(parts),
        _tables(parts),
        _calls(parts),
        _golden(parts),
        _provenance(parts),
    )
    return tuple([error for kind in kinds for error in islice(kind, OF_ONE_KIND)][:FINDINGS])


def verify_listing(program: Program, listing: bytes) -> tuple[Diagnostic, ...]:
    """Whether `program.asm` prints a program (BL0505); `verify_program` found nothing wrong with it before."""
    printed = text.disassemble(program).splitlines()
    listed = listing.decode(errors="replace").splitlines()
    difference = _first_difference(listed, printed)
    if difference is None:
        return ()
    place, line, instruction = difference
    shown = (instruction or "the end").strip()
    message = f"program.bin has {shown[:100]!r}, not {(line or '').strip()[:100]!r}"
    return (_error(f"program.asm:{place + 1}", message),)


def _error(file: str, message: str) -> Diagnostic:
    return Diagnostic(code="BL0505", message=message, place=file, help="compile the package again")


def _first_difference(first: Sequence[T], second: Sequence[T]) -> tuple[int, T | None, T | None] | None:
    """(place, one, other) where two sequences begin to differ."""
    pairs = enumerate(zip_longest(first, second))
    return next(((place, one, other) for place, (one, other) in pairs if one != other), None)


def _array_maths(parts: Parts) -> Iterator[Diagnostic]:
    needed = {k.matrix.name: k.math for k in parts.network.kernels if isinstance(k, MatMul)}
    for name in sorted(needed.keys() | parts.array_maths.keys()):
        if needed.get(name) != parts.array_maths.get(name):
            yield _error(f"array_math.json:{name}", "kernels.json has other arithmetic for this matrix")


def _memory(parts: Parts) -> Iterator[Diagnostic]:
    difference = _first_difference(parts.tensors, parts.schedule.tensors)
    if difference is not None:
        _, listed, scheduled = difference
        name = (listed or scheduled or parts.tensors[0]).tensor
        yield _error(f"memory.json:{name}", "schedule.json has another place or lifetime for this tensor")
    if dict(parts.memory_bytes) != parts.schedule.memory_bytes:
        yield _error("memory.json:memory_bytes", "schedule.json has other sizes")


def _placement_table(parts: Parts) -> Iterator[Diagnostic]:
    """The lines of the table in any order."""
    users: dict[str, list[tuple[int, Kernel]]] = {}
    for step, kernel in enumerate(parts.network.kernels):
        if isinstance(kernel, MatMul):
            users.setdefault(kernel.matrix.name, []).append((step, kernel))

    def line(item: BlockResidency) -> dict[str, str]:
        block, region = item.block, item.region
        known = users.get(block.matrix, [])
        inside = [kernel for step, kernel in known if item.from_step <= step <= item.to_step]
        user = next(iter(inside or [kernel for _, kernel in known]), None)
        node = "" if user is None else next(iter(user.nodes), user.name)
        values = {
            "core_id": region.core, "index": item.index, "array": region.array,
            "w_row_start": region.w_row_start, "w_col_start": region.w_col_start,
            "rows": block.rows, "cols": block.cols, "row_offset": block.row_offset, "col_offset": block.col_offset,
            "node": cell(node), "matrix": cell(block.matrix), "copy": block.copy, "from_step": item.from_step,
            "to_step": item.to_step, "round": item.round, "loads": item.loads, "cells_at": item.cells_at,
        }  # fmt: skip
        return {key: str(value) for key, value in values.items()}

    try:
        table = list(csv.DictReader(io.StringIO(parts.files["placement.csv"].decode(), newline="")))
    except (UnicodeDecodeError, csv.Error) as error:
        yield _error("placement.csv", f"unreadable: {error}")
        return
    expected = [line(item) for item in parts.blocks]
    listed, needed = (sorted(map(_cells, rows)) for rows in (table, expected))
    difference = _first_difference(listed, needed)
    if difference is not None:
        _, one, other = difference
        index = next((cell for cell in one or other or () if cell.startswith("index=")), "index=?")
        yield _error("placement.csv", f"the line with {index} is not what placement.json says")


def _cells(row: Mapping[str, str]) -> tuple[str, ...]:
    """A line of a table as words, whatever stands in it."""
    return tuple(sorted(f"{key}={value}" for key, value in row.items()))


def _machine(parts: Parts) -> Iterator[Diagnostic]:
    chip, program = parts.chip, parts.program
    for what, made, given in (
        ("cores", program.cores, chip.cores.value),
        ("array.per_core", program.arrays_per_core, chip.array.per_core.value),
        ("array.rows", program.array_rows, chip.array.rows.value),
        ("array.cols", program.array_cols, chip.array.cols.value),
    ):
        if made != given:
            yield _error(f"target.json:{what}", f"the program is for {made}, the chip has {given}")


def _spaces(parts: Parts) -> Iterator[Diagnostic]:
    memory, used = parts.chip.memory, parts.schedule.memory_bytes
    sizes = {
        "dram": used.get("dram", 0),
        "shared": used.get("shared", 0),
        "weights": len(parts.files["arrays.bin"]),
        "const": len(parts.files["constants.bin"]),
        "tables": len(parts.files["tables.bin"]),
        "input": memory.input_bytes.value,
        "psum": memory.psum_bytes.value,
        "output": memory.output_bytes.value,
    }
    found = {space.name: space.bytes for space in parts.program.spaces}
    if len(found) != len(parts.program.spaces):
        yield _error("program.bin:spaces", "two memories have one name")
    for name in sorted(sizes.keys() | found.keys()):
        if sizes.get(name) != found.get(name):
            yield _error(f"program.bin:{name}", f"this memory has {found.get(name)} bytes, expected {sizes.get(name)}")


def _ports(parts: Parts) -> Iterator[Diagnostic]:
    homes = {home.tensor: home for home in parts.schedule.tensors}
    names = [space.name for space in parts.program.spaces]
    times = parts.schedule.stream.inputs if parts.schedule.stream else 1
    if stream_length(parts.program) != times:
        yield _error("program.bin:main", f"takes {stream_length(parts.program)} inputs, schedule.json says {times}")
    needed = {
        (p.name, p.direction, p.tensor, homes[p.tensor].memory, homes[p.tensor].address, homes[p.tensor].bytes * times)
        for p in parts.network.ports
        if p.tensor in homes
    }
    found = {
        (p.name, p.direction, p.tensor, names[p.space], p.address, p.bytes)
        for p in parts.program.ports
        if 0 <= p.space < len(names)
    }
    for port in sorted(needed ^ found):
        yield _error(f"program.bin:port {port[0]}", "kernels.json and schedule.json have another place for it")
    if len(parts.program.ports) != len(parts.network.ports) and needed == found:
        yield _error("program.bin:ports", "an input or output stands there twice")


def _parameters(parts: Parts) -> Iterator[Diagnostic]:
    """Bias, mantissa and shift of every column, tables of every look-up: kernel after kernel."""
    stored, at = parts.files["constants.bin"], 0
    for kernel in parts.network.kernels:
        needed = _parameter_bytes(kernel, parts.network, parts.constants)
        if stored[at : at + len(needed)] != needed:
            where = _first_difference(stored[at : at + len(needed)], needed)
            message = "not what kernels.json and weights.safetensors say, from byte"
            yield _error(f"constants.bin:{kernel.name}", f"{message} {at + (where[0] if where else 0)}")
        at += len(needed)
    if at != len(stored):
        yield _error("constants.bin", f"{len(stored)} bytes, the kernels have parameters of {at}")


def _parameter_bytes(kernel: Kernel, network: Network, constants: Constants) -> bytes:
    match kernel:
        case MatMul():
            x = network.tensor(kernel.x)
            columns = constants[kernel.post.parameters].astype(np.int64)
            weights = constants[kernel.matrix.name].astype(np.int64)
            # arrays see x + input_offset where the sum is over x - zero_point
            too_much = weights.sum(axis=1).reshape(-1) * (x.zero_point + kernel.math.input_offset)
            data = np.stack([columns[:, 0] - too_much, columns[:, 1], columns[:, 2]], axis=1).astype("<i4").tobytes()
        case Elementwise():
            wide = "<i4" if kernel.op == "curve" else NUMPY[network.tensor(kernel.y).dtype]
            data = constants[kernel.table].astype(wide).tobytes() if kernel.table else b""
        case Softmax():
            data = constants[kernel.table].astype("<i4").tobytes()
        case Norm():
            data = constants[kernel.table].astype("<i8").tobytes()
        case _:
            data = b""
    return data.ljust(-(-len(data) // WORD) * WORD, b"\0")


def _tables(parts: Parts) -> Iterator[Diagnostic]:
    """Tensors that never change where the schedule says, then the tables of look-ups, one after another."""
    stored, at = parts.files["tables.bin"], 0
    homes = {home.tensor: home for home in parts.schedule.tensors}
    for tensor in parts.network.tensors:
        if not tensor.constant or tensor.name not in homes:
            continue
        needed = parts.constants[tensor.constant].astype(NUMPY[tensor.dtype]).tobytes()
        start = homes[tensor.name].address
        at = max(at, start + len(needed))
        if stored[start : start + len(needed)] != needed:
            yield _error(f"tables.bin:{tensor.name}", f"other values than weights.safetensors, from byte {start}")
    at = -(-at // WORD) * WORD
    for kernel in parts.network.kernels:
        if isinstance(kernel, Lookup):
            needed = parts.constants[kernel.table].astype(NUMPY[parts.network.tensor(kernel.y).dtype]).tobytes()
            needed = needed.ljust(-(-len(needed) // WORD) * WORD, b"\0")
            if stored[at : at + len(needed)] != needed:
                yield _error(f"tables.bin:{kernel.name}", f"other rows than weights.safetensors, from byte {at}")
            at += len(needed)
    if at != len(stored):
        yield _error("tables.bin", f"{len(stored)} bytes, the kernels have tables of {at}")


def _calls(parts: Parts) -> Iterator[Diagnostic]:
    """The host calls of the program are the host kernels of the network."""
    sizes = {tensor.name: tensor.size_bytes for tensor in parts.network.tensors}
    needed = [
        (k.name, tuple(sizes[x] for x in k.xs), tuple(sizes[y] for y in k.ys), k.macs)
        for k in parts.network.kernels
        if isinstance(k, Host)
    ]
    found = [(call.name, call.takes, call.gives, call.macs) for call in parts.program.calls]
    difference = _first_difference(found, needed)
    if difference is not None:
        yield _error(f"program.bin:call {difference[0]}", "kernels.json has another call for the host")


def _golden(parts: Parts) -> Iterator[Diagnostic]:
    ports = parts.network.ports
    inputs = {port.tensor for port in ports if port.direction == "input"}
    outputs = {port.tensor for port in ports if port.direction == "output"} - inputs
    needed = {f"input:{name}": name for name in inputs} | {f"output:{name}": name for name in outputs}
    counts: set[int] = set()
    for key in sorted(needed.keys() | parts.golden.keys()):
        if key not in needed or key not in parts.golden:
            yield _error(f"golden.npz:{key}", "not there" if key in needed else "no tensor of the network")
            continue
        tensor, array = parts.network.tensor(needed[key]), parts.golden[key]
        dtype = np.dtype(NUMPY[tensor.dtype])
        if array.shape[1:] != tensor.shape or array.dtype != dtype:
            yield _error(
                f"golden.npz:{key}", f"{array.dtype}{list(array.shape)} for {tensor.dtype}{list(tensor.shape)}"
            )
        else:
            counts.add(len(array))
    if len(counts) > 1 or 0 in counts:
        yield _error("golden.npz", f"different numbers of samples: {sorted(counts)}")


def _provenance(parts: Parts) -> Iterator[Diagnostic]:
    needed = {
        "kernels": [{"name": k.name, "kind": k.kind, "nodes": list(k.nodes)} for k in parts.network.kernels],
        "queues": {
            phase: {queue.unit: list(queue.kernels) for queue in queues}
            for phase, queues in (("setup", parts.program.setup), ("main", parts.program.main))
        },
    }
    try:
        written = json.loads(parts.files["provenance.json"])
    except ValueError as error:
        yield _error("provenance.json", f"unreadable: {error}")
        return
    if written != needed:
        part = next((key for key in needed if not isinstance(written, dict) or written.get(key) != needed[key]), "")
        yield _error(f"provenance.json:{part}", "not what kernels.json and program.bin say")

"""What one instruction costs on a chip: integer picoseconds and femtojoules, each formula in a docstring, once.

The numbers of the formulas are keys of the target file, which names their sources. A memory is known by the name of its
space: `dram` and `weights` lie outside the chip, `shared` is shared by the cores, `input`, `psum` and `output` are the
buffers of a core, and `const` counts as a store of the core that needs no port.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf
from typing import assert_never

from bitline.ir.kernels import BYTES
from bitline.ir.program import (
    Cores,
    Dma,
    End,
    Fill,
    HostCall,
    Instruction,
    Loop,
    Mvm,
    Operand,
    Post,
    Program,
    Recv,
    Send,
    Take,
    Vector,
    Wait,
    WriteWeights,
)
from bitline.target.schema import Chip

PS_PER_NS = 1000
FJ_PER_PJ = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """One execution. It occupies the memory `port_space`, a place in `Program.spaces`, for `port_ps`; None: no memory
    outside the core.
    """

    duration_ps: int
    port_space: int | None
    port_ps: int
    energy_fj: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Access:
    """One operand as its memory sees it. `port` is None for the buffers of a core, whose speed is their unit's."""

    bytes: int
    pieces: int
    bytes_per_ns: float
    energy_pj: float
    port: int | None


def issue_ps(chip: Chip) -> int:
    """Time to fetch and decode one instruction: control.issue_ns."""
    return round(chip.control.issue_ns.value * PS_PER_NS)


def instruction_cost(chip: Chip, program: Program, instruction: Instruction) -> Cost:
    """What one execution costs; time spent waiting for tokens, arrays and ports is not part of it."""
    match instruction:
        case Dma():
            return _dma(chip, _access(chip, program, instruction.src), _access(chip, program, instruction.dst))
        case Fill():
            return _fill(chip, _access(chip, program, instruction.dst))
        case WriteWeights():
            return _write(chip, instruction, _access(chip, program, instruction.src))
        case Mvm():
            return _mvm(chip, program, instruction)
        case Vector():
            return _vector(chip, program, instruction)
        case Take():
            return _take(chip, program, instruction)
        case HostCall():
            return _host(chip, program, instruction)
        case Recv():
            message_ps = round(chip.noc.message_ns.value * PS_PER_NS)
            return Cost(duration_ps=message_ps, port_space=None, port_ps=0, energy_fj=0)
        case Send() | Wait() | Post() | Loop() | Cores() | End():
            return Cost(duration_ps=issue_ps(chip), port_space=None, port_ps=0, energy_fj=0)
        case _:
            assert_never(instruction)


def _dma(chip: Chip, src: _Access, dst: _Access) -> Cost:
    """setup + (pieces - 1) * run + bytes / slowest of engine and both memories; energy of reading and of writing.

    Source and destination are walked together, so the more broken one counts.
    """
    return _cost(chip, _transfer_ns(chip, src, dst), src.energy_pj + dst.energy_pj, (src, dst))


def _fill(chip: Chip, dst: _Access) -> Cost:
    """bytes / dma.bytes_per_ns, without set-up: the engine writes and reads nothing."""
    return _cost(chip, dst.bytes / min(chip.dma.bytes_per_ns.value, dst.bytes_per_ns), dst.energy_pj, (dst,))


def _write(chip: Chip, instruction: WriteWeights, src: _Access) -> Cost:
    """Rows are written one after another while the next are fetched: max(rows * write_row, a DMA of the cells).

    Energy: write_cell per weight, and reading the cells. Source: PUMA, which writes row by row.
    """
    array = chip.array
    duration_ns = max(instruction.rows * array.write_row_ns.value, _transfer_ns(chip, src))
    energy_pj = instruction.rows * instruction.cols * array.write_cell_energy_pj.value + src.energy_pj
    return _cost(chip, duration_ns, energy_pj, (src,))


def mvm_ns(chip: Chip, rows: int, *, group_rows: int, input_bits: int) -> float:
    """groups * (input_bits + pipeline_steps) * step, groups = ceil(rows / group_rows). Source: PUMA, src/ima.py."""
    return -(-rows // group_rows) * (input_bits + chip.array.pipeline_steps.value) * chip.array.step_ns.value


def mvm_array_fj(chip: Chip, rows: int, cols: int, *, group_rows: int, steps: int) -> float:
    """Energy of one product inside an array, without its buffers; `steps` = input bits * weight slices.

    Every cell, every driven row, and per column and row group one conversion with its shift and add (ISAAC, Table I).
    """
    array, adc = chip.array, chip.adc
    cells_fj = steps * rows * (cols * array.cell_energy_fj.value + array.row_energy_fj.value)
    conversions_fj = steps * -(-rows // group_rows) * cols * (adc.energy_fj.value + adc.shift_add_energy_fj.value)
    return cells_fj + conversions_fj


def _mvm(chip: Chip, program: Program, instruction: Mvm) -> Cost:
    """`mvm_ns`. Energy: `mvm_array_fj`, the inputs read, the sums written, and read before where they are added to.

    Whether a conditional overwrite adds is only known per execution, so it counts as adding.
    """
    math = program.maths[instruction.math]
    src, dst = _access(chip, program, instruction.src), _access(chip, program, instruction.dst)
    rows, cols = src.bytes, instruction.cols
    duration_ns = mvm_ns(chip, rows, group_rows=math.group_rows, input_bits=math.input_bits)
    array_fj = mvm_array_fj(chip, rows, cols, group_rows=math.group_rows, steps=math.slices * math.input_bits)
    sums_pj = dst.energy_pj * (1 if instruction.overwrite == 0 else 2)
    return _cost(chip, duration_ns, array_fj / FJ_PER_PJ + src.energy_pj + sums_pj, (src, dst))


def _vector(chip: Chip, program: Program, instruction: Vector) -> Cost:
    """setup + elements / elements_per_ns, elements = the most that an operand or the result has; of a product of two
    activations setup + macs / macs_per_ns, each mac as an element. Every operand passes once.
    """
    vector, post = chip.vector, program.posts[instruction.post]
    optional = (instruction.b, instruction.c, instruction.parameters)
    operands = (instruction.a, instruction.dst, *(operand for operand in optional if operand is not None))
    a, dst, *others = (_access(chip, program, operand) for operand in operands)
    counted = [a.bytes // BYTES[post.types[0]], dst.bytes // BYTES[post.y]]
    elements, rate = max(counted), vector.elements_per_ns.value
    if post.op == "matmul":
        elements, rate = counted[1] * post.inner, vector.macs_per_ns.value
    energy_pj = elements * vector.energy_pj_per_element.value + sum(x.energy_pj for x in (a, dst, *others))
    duration_ns = vector.setup_ns.value + elements / rate
    return _cost(chip, duration_ns, energy_pj, (a, dst, *others))


def _take(chip: Chip, program: Program, instruction: Take) -> Cost:
    """A DMA of the rows, each a piece of its own in the memory outside the chip, and of their numbers."""
    src, dst = _access(chip, program, instruction.src), _access(chip, program, instruction.dst)
    memory = chip.memory
    table = _Access(
        bytes=dst.bytes,
        pieces=max(1, dst.bytes // instruction.row_bytes),
        bytes_per_ns=memory.dram_bytes_per_ns.value,
        energy_pj=dst.bytes * memory.dram_energy_pj_per_byte.value,
        port=next((i for i, space in enumerate(program.spaces) if space.name == "dram"), instruction.space),
    )
    energy_pj = src.energy_pj + dst.energy_pj + table.energy_pj
    return _cost(chip, _transfer_ns(chip, table, dst), energy_pj, (table, dst))


def _host(chip: Chip, program: Program, instruction: HostCall) -> Cost:
    """call + max(macs / macs_per_ns, bytes / bytes_per_ns): a roofline. Bytes are those of inputs and outputs."""
    host, call = chip.host, program.calls[instruction.call]
    src, dst = _access(chip, program, instruction.src), _access(chip, program, instruction.dst)
    size = src.bytes + dst.bytes
    duration_ns = host.call_ns.value + max(call.macs / host.macs_per_ns.value, size / host.bytes_per_ns.value)
    energy_pj = call.macs * host.energy_pj_per_mac.value + size * host.energy_pj_per_byte.value
    return _cost(chip, duration_ns, energy_pj + src.energy_pj + dst.energy_pj, (src, dst))


def _transfer_ns(chip: Chip, *accesses: _Access) -> float:
    dma = chip.dma
    rate = min(dma.bytes_per_ns.value, *(access.bytes_per_ns for access in accesses))
    pieces = max(access.pieces for access in accesses)
    return dma.setup_ns.value + max(0, pieces - 1) * dma.run_ns.value + accesses[0].bytes / rate


def _cost(chip: Chip, duration_ns: float, energy_pj: float, accesses: Sequence[_Access]) -> Cost:
    """Rounded once. The port of the first memory outside the core is busy while its bytes pass and its runs start."""
    outside = next((access for access in accesses if access.port is not None), None)
    port_ns = outside.bytes / outside.bytes_per_ns + (outside.pieces - 1) * chip.dma.run_ns.value if outside else 0.0
    return Cost(
        duration_ps=round(max(duration_ns, port_ns) * PS_PER_NS),
        port_space=outside.port if outside else None,
        port_ps=round(port_ns * PS_PER_NS),
        energy_fj=round(energy_pj * FJ_PER_PJ),
    )


def _access(chip: Chip, program: Program, operand: Operand) -> _Access:
    runs = program.runs[operand.runs]
    size = sum(length for _, length in runs)
    follows = sum(start + length == following for (start, length), (following, _) in pairwise(runs))
    memory, port = chip.memory, operand.space
    match program.spaces[operand.space].name:
        case "dram" | "weights" | "tables":
            rate, energy = memory.dram_bytes_per_ns.value, memory.dram_energy_pj_per_byte.value
            port = next((i for i, space in enumerate(program.spaces) if space.name == "dram"), operand.space)
        case "shared":
            rate, energy = memory.shared_bytes_per_ns.value, memory.shared_energy_pj_per_byte.value
        case "input" | "psum" | "output" | "const":
            rate, energy, port = inf, memory.local_energy_pj_per_byte.value, None
        case name:
            raise AssertionError(f"no memory of a chip is called {name!r}")
    return _Access(
        bytes=size, pieces=max(1, len(runs) - follows), bytes_per_ns=rate, energy_pj=size * energy, port=port
    )

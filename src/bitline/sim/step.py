"""The oracle: one instruction after another, one sample, addresses computed number by number. Slow and obvious."""

from __future__ import annotations

from collections.abc import Generator
from typing import assert_never

import numpy as np
import numpy.typing as npt

from bitline.ir.kernels import Dtype
from bitline.ir.program import (
    Address,
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
    Queue,
    Recv,
    Send,
    Take,
    Vector,
    Wait,
    WriteWeights,
)
from bitline.numerics.arrays import array_product
from bitline.numerics.rounding import wrap32
from bitline.sim.machine import Machine, matching_ends, stuck
from bitline.sim.vector import integers, vector_step

Ints = npt.NDArray[np.int64]


def address_of(address: Address, counters: list[int]) -> tuple[int, int]:
    """(base, offset before the modulus) of an address under the counters of levels 0, 1, ..."""
    return address.base, address.phase + sum(s * c for s, c in zip(address.strides, counters, strict=False))


def touched(machine: Machine, operand: Operand, counters: list[int]) -> Ints:
    """Every byte address of an operand, in order. Raises where one lies outside its memory."""
    base, start = address_of(operand.address, counters)
    flat = [start + offset + i for offset, length in machine.program.runs[operand.runs] for i in range(length)]
    modulus = operand.address.modulus
    places = np.array([base + (p % modulus if modulus else p) for p in flat], np.int64)
    space = machine.program.spaces[operand.space]
    if places.size and (places.min() < 0 or places.max() >= space.bytes):
        raise stuck(f"address {places.min()}..{places.max()} outside memory {space.name!r} of {space.bytes} bytes")
    return places


def number_of(address: Address, counters: list[int]) -> int:
    """The value of an address that counts arrays or cores."""
    base, start = address_of(address, counters)
    return base + (start % address.modulus if address.modulus else start)


def array_of(machine: Machine, address: Address, counters: list[int]) -> int:
    """The number of an array. Raises where the core has no such array."""
    array = number_of(address, counters)
    if not 0 <= array < machine.program.arrays_per_core:
        raise stuck(f"core has no array {array}")
    return array


def _memory(machine: Machine, operand: Operand, core: int) -> npt.NDArray[np.uint8]:
    per_core = machine.program.spaces[operand.space].per_core
    return machine.memories[operand.space][core if per_core else 0][0]


def _read(machine: Machine, operand: Operand, counters: list[int]) -> npt.NDArray[np.uint8]:
    return _memory(machine, operand, counters[0])[touched(machine, operand, counters)]


def _write(machine: Machine, operand: Operand, counters: list[int], data: npt.NDArray[np.uint8]) -> None:
    space = machine.program.spaces[operand.space]
    places = touched(machine, operand, counters)
    if space.constant:
        raise stuck(f"memory {space.name!r} cannot be written")
    if places.size != data.size:
        raise stuck(f"{data.size} bytes for {places.size} places")
    _memory(machine, operand, counters[0])[places] = data


def perform(machine: Machine, instruction: Instruction, counters: list[int]) -> None:
    """Carry out one instruction that moves or computes; `counters[0]` is the core."""
    core = counters[0]
    match instruction:
        case Dma():
            _write(machine, instruction.dst, counters, _read(machine, instruction.src, counters))
        case Fill():
            size = touched(machine, instruction.dst, counters).size
            _write(machine, instruction.dst, counters, np.full(size, instruction.value, np.uint8))
        case WriteWeights():
            cells = _read(machine, instruction.src, counters).reshape(instruction.rows, instruction.cols)
            array = machine.arrays[core, array_of(machine, instruction.array, counters)]
            rows, cols = instruction.row + instruction.rows, instruction.col + instruction.cols
            if rows > array.shape[0] or cols > array.shape[1]:
                raise stuck(f"weights reach row {rows}, column {cols} of an array of {array.shape}")
            array[instruction.row : rows, instruction.col : cols] = cells
        case Mvm():
            math = machine.program.maths[instruction.math]
            signed: Dtype = "s8" if math.input_offset else "u8"
            x = integers(_read(machine, instruction.src, counters), signed) + math.input_offset
            array = machine.arrays[core, array_of(machine, instruction.array, counters)]
            rows, cols = instruction.row + x.size, instruction.col + instruction.cols
            if rows > array.shape[0] or cols > array.shape[1]:
                raise stuck(f"mvm reaches row {rows}, column {cols} of an array of {array.shape}")
            converted = array_product(math, x.reshape(1, -1), array[instruction.row : rows, instruction.col : cols])
            machine.conversions += converted.conversions
            machine.clipped += converted.clipped
            sums = converted.sums[0]
            if not overwrites(instruction.overwrite, counters):
                held = np.ascontiguousarray(_read(machine, instruction.dst, counters)).view(np.int32)
                sums = sums + held
            _write(machine, instruction.dst, counters, wrap32(sums).astype(np.int32).view(np.uint8))
        case Vector():
            post = machine.program.posts[instruction.post]
            given = (instruction.a, instruction.b, instruction.c)
            data = [_read(machine, operand, counters) for operand in given if operand is not None]
            nothing = np.zeros(0, np.uint8)
            parameters = _read(machine, instruction.parameters, counters) if instruction.parameters else nothing
            size = touched(machine, instruction.dst, counters).size
            _write(machine, instruction.dst, counters, vector_step(post, data, parameters, size))
        case Take():
            taken = machine.take(instruction, _read(machine, instruction.src, counters))
            _write(machine, instruction.dst, counters, taken)
        case HostCall():
            made = machine.call(instruction.call, _read(machine, instruction.src, counters)[None])
            _write(machine, instruction.dst, counters, made[0])
        case Loop() | Cores() | End() | Wait() | Post() | Send() | Recv():
            raise AssertionError("not an instruction that moves or computes")
        case _:
            assert_never(instruction)


def overwrites(mask: int, counters: list[int]) -> bool:
    """Whether an accumulating instruction replaces what its target holds."""
    return mask >= 0 and all(c == 0 for level, c in enumerate(counters) if mask >> level & 1)


def _run_queue(machine: Machine, queue: Queue, core: int) -> Generator[None]:
    """Runs one unit of one core; yields where it has to wait for another."""
    ends = matching_ends(queue)
    counters = [core]
    cores = machine.program.cores

    def block(first: int, last: int) -> Generator[None]:
        place = first
        while place < last:
            instruction = queue.code[place]
            match instruction:
                case Loop():
                    for count in range(instruction.count):
                        counters.append(count)
                        yield from block(place + 1, ends[place])
                        counters.pop()
                    place = ends[place]
                case Cores():
                    if instruction.first <= core < instruction.last:
                        yield from block(place + 1, ends[place])
                    place = ends[place]
                case Wait():
                    while machine.tokens[core, instruction.token] == 0:
                        yield
                    machine.tokens[core, instruction.token] -= 1
                case Post():
                    machine.tokens[core, instruction.token] += 1
                case Send():
                    peer = number_of(instruction.peer, counters) + core
                    machine.messages[core, peer % cores, instruction.channel] += 1
                case Recv():
                    peer = number_of(instruction.peer, counters) + core
                    while machine.messages[peer % cores, core, instruction.channel] == 0:
                        yield
                    machine.messages[peer % cores, core, instruction.channel] -= 1
                case _:
                    perform(machine, instruction, counters)
            if not isinstance(instruction, Loop | Cores):
                machine.executed += 1
            place += 1

    return block(0, len(queue.code))


def run(machine: Machine, queues: tuple[Queue, ...]) -> None:
    """Run all units of all cores to their ends. Raises `Refusal` (BL0503) where they wait for one another for ever."""
    assert machine.samples == 1, "the oracle runs one sample"
    running = [_run_queue(machine, queue, core) for core in range(machine.program.cores) for queue in queues]
    while running:
        before = machine.executed
        running = [unit for unit in running if next(unit, "ended") != "ended"]
        if running and machine.executed == before:
            raise stuck("all units wait for one another")

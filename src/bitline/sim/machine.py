"""The state of a simulated chip: memories and arrays, for many samples at once or for one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from bitline.core.diagnostics import refuse
from bitline.ir.program import Cores, End, Fill, Loop, Program, Queue, Take

Bytes = npt.NDArray[np.uint8]
HostFunction = Callable[[Bytes], Bytes]
"""Input tensors of a host call, one after another, as stored bytes -> its output tensors."""


def stuck(why: str) -> Exception:
    """The program cannot go on, or would do what no chip can."""
    return refuse("BL0503", why, place="program.bin", help="the program is wrong; `bitline verify` says where")


@dataclass(slots=True, kw_only=True)
class Machine:
    """`memories[space]` is [cores or 1, samples, bytes]; `arrays` [cores, arrays, rows, cols] bytes of cells."""

    program: Program
    samples: int
    memories: list[Bytes]
    arrays: Bytes
    host: Sequence[HostFunction] = ()
    conversions: int = 0
    clipped: int = 0
    executed: int = 0
    tokens: dict[tuple[int, int], int] = field(default_factory=lambda: defaultdict(int))
    messages: dict[tuple[int, int, int], int] = field(default_factory=lambda: defaultdict(int))

    def call(self, number: int, data: Bytes) -> Bytes:
        """Host call `number` on bytes [samples, bytes]."""
        if not 0 <= number < len(self.host):
            raise stuck(f"no host call {number}")
        return np.stack([self.host[number](sample) for sample in data])

    def take(self, instruction: Take, indices: Bytes) -> Bytes:
        """Rows of a table by their numbers: bytes [..., 4 n] -> [..., n * row_bytes]."""
        table = self.memories[instruction.space][0, 0]
        size = instruction.rows * instruction.row_bytes
        if not self.program.spaces[instruction.space].constant or instruction.base + size > table.size:
            raise stuck(f"a table of {size} bytes at {instruction.base} lies in no constant memory")
        rows = table[instruction.base : instruction.base + size].reshape(instruction.rows, instruction.row_bytes)
        number = np.ascontiguousarray(indices).view(np.int32).astype(np.int64)
        number = np.where(number < 0, number + instruction.rows, number)
        return rows[np.clip(number, 0, instruction.rows - 1)].reshape(*indices.shape[:-1], -1)


def power_up(program: Program, constants: dict[str, bytes], samples: int, host: Sequence[HostFunction] = ()) -> Machine:
    """A machine with its constant memories filled; the others hold 0xA5, so that reading too early shows."""
    memories: list[Bytes] = []
    for space in program.spaces:
        if space.constant:
            content = np.frombuffer(constants[space.name], np.uint8)
            if content.size != space.bytes:
                raise stuck(f"memory {space.name!r} is {space.bytes} bytes, its content {content.size}")
            memories.append(content.reshape(1, 1, -1))
        else:
            cores = program.cores if space.per_core else 1
            memories.append(np.full((cores, samples, space.bytes), 0xA5, np.uint8))
    shape = (program.cores, program.arrays_per_core, program.array_rows, program.array_cols)
    arrays = np.full(shape, 0xA5, np.uint8)
    return Machine(program=program, samples=samples, memories=memories, arrays=arrays, host=host)


def put_inputs(machine: Machine, inputs: dict[str, Bytes]) -> None:
    """Store input tensors, each [samples, bytes], where the ports say."""
    for port in machine.program.ports:
        if port.direction == "input":
            machine.memories[port.space][0][:, port.address : port.address + port.bytes] = inputs[port.tensor]


def take_outputs(machine: Machine) -> dict[str, Bytes]:
    """Stored output tensors, each [samples, bytes]."""
    return {
        port.tensor: machine.memories[port.space][0][:, port.address : port.address + port.bytes].copy()
        for port in machine.program.ports
        if port.direction == "output"
    }


def matching_ends(queue: Queue) -> dict[int, int]:
    """Place of the `End` of every `Loop` and `Cores`; raises for a queue that no unit could run."""
    ends: dict[int, int] = {}
    stack: list[int] = []
    for place, instruction in enumerate(queue.code):
        match instruction:
            case Loop() if instruction.count < 1:
                raise stuck(f"{queue.unit}[{place}]: a loop of {instruction.count} passes")
            case Fill() if not 0 <= instruction.value <= 0xFF:
                raise stuck(f"{queue.unit}[{place}]: {instruction.value} is no byte")
            case Loop() | Cores():
                stack.append(place)
            case End():
                if not stack:
                    raise stuck(f"{queue.unit}[{place}]: `end` without a loop")
                ends[stack.pop()] = place
            case _:
                pass
    if stack:
        raise stuck(f"{queue.unit}[{stack[-1]}]: no `end`")
    return ends

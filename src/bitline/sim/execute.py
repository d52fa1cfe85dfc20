"""Values of a whole program: section by section, every leaf over all its iterations and all samples in one array
operation.

Equal to `sim.step`, which it is tested against; where `batchable` says no, a section is cut into smaller ones.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import assert_never

import numpy as np
import numpy.typing as npt

from bitline.ir.program import (
    Dma,
    Fill,
    HostCall,
    Mvm,
    Post,
    PostOp,
    Queue,
    Recv,
    Send,
    Take,
    Vector,
    Wait,
    WriteWeights,
)
from bitline.numerics import vector
from bitline.numerics.arrays import array_product, converts, decode_cells
from bitline.sim import sections
from bitline.sim.machine import Machine, stuck
from bitline.sim.sections import CoresNode, Leaf, LoopNode, Node, Pattern, Section
from bitline.sim.step import number_of
from bitline.sim.vector import integers, stored, vector_step

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]

EXACT_FLOAT32 = 1 << 24


class Executor:
    """The array operations of one machine; keeps decoded weights until an array is written again."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.trees: dict[int, list[Node]] = {}
        self.weights: dict[tuple[int, int], dict[tuple[int, ...], npt.NDArray[np.float32]]] = {}

    def memory(self, pattern: Pattern, core: int) -> Bytes:
        space = self.machine.program.spaces[pattern.operand.space]
        return self.machine.memories[pattern.operand.space][core if space.per_core else 0]

    def place(self, pattern: Pattern, counters: list[int]) -> slice | Ints:
        """Where a pattern lies: a slice where its bytes are neighbours, else one index per byte. Raises outside the
        memory."""
        address = pattern.operand.address
        space = self.machine.program.spaces[pattern.operand.space]
        start = pattern.start(counters)
        if address.modulus:
            start %= address.modulus
            if pattern.first + start < 0 or pattern.last + start >= address.modulus:
                places = sections.placed(pattern, start).reshape(-1)
                if address.base < 0 or address.base + address.modulus > space.bytes:
                    raise stuck(f"a ring of {address.modulus} bytes leaves memory {space.name!r}")
                return places
        start += address.base
        first, last = start + pattern.first, start + pattern.last
        if first < 0 or last >= space.bytes:
            raise stuck(f"addresses {first}..{last} outside memory {space.name!r} of {space.bytes} bytes")
        return slice(first, last + 1) if pattern.contiguous else (pattern.offsets + start).reshape(-1)

    def read(self, pattern: Pattern, counters: list[int]) -> Bytes:
        """Bytes [samples or 1, iterations, bytes]."""
        memory = self.memory(pattern, counters[0])
        place = self.place(pattern, counters)
        data = memory[:, place] if isinstance(place, slice) else memory.take(place, axis=1)
        return data.reshape(memory.shape[0], *pattern.offsets.shape)

    def write(self, pattern: Pattern, counters: list[int], data: Bytes) -> None:
        """Store bytes [samples, iterations, bytes]."""
        if self.machine.program.spaces[pattern.operand.space].constant:
            raise stuck("a constant memory cannot be written")
        if data.shape[1:] != pattern.offsets.shape:
            raise stuck(f"{data.shape[1:]} bytes for {pattern.offsets.shape} places")
        memory = self.memory(pattern, counters[0])
        memory[:, self.place(pattern, counters)] = data.reshape(data.shape[0], -1)

    def arrays(self, leaf: Leaf, counters: list[int]) -> Ints:
        """The array number of every iteration."""
        assert isinstance(leaf.instruction, WriteWeights | Mvm)
        assert leaf.array_steps is not None
        address = leaf.instruction.array
        numbers = sections.array_start(address, leaf.depth, counters) + leaf.array_steps
        if address.modulus:
            numbers = numbers % address.modulus
        numbers = numbers + address.base
        if numbers.min() < 0 or numbers.max() >= self.machine.program.arrays_per_core:
            raise stuck(f"core has no array {numbers.min()}..{numbers.max()}")
        return numbers

    def cells(self, core: int, array: int, leaf: Mvm, rows: int) -> npt.NDArray[np.float32]:
        """Weights of a block as float32, the offset taken off."""
        known = self.weights.setdefault((core, array), {})
        key = (leaf.row, rows, leaf.col, leaf.cols, leaf.math)
        if key not in known:
            math = self.machine.program.maths[leaf.math]
            stored = self.block(core, array, leaf, rows)
            known[key] = (decode_cells(stored, math.weight_offset) - math.weight_offset).astype(np.float32)
        return known[key]

    def block(self, core: int, array: int, leaf: Mvm, rows: int) -> Bytes:
        """Cells of a block; raises where it leaves the array."""
        whole = self.machine.arrays[core, array]
        if leaf.row + rows > whole.shape[0] or leaf.col + leaf.cols > whole.shape[1]:
            raise stuck(f"mvm of {rows} rows at row {leaf.row}, column {leaf.col} leaves the array")
        return np.ascontiguousarray(whole[leaf.row : leaf.row + rows, leaf.col : leaf.col + leaf.cols])

    def write_weights(self, leaf: Leaf, instruction: WriteWeights, counters: list[int]) -> None:
        data = self.read(leaf.reads[0], counters)[0]
        bottom, right = instruction.row + instruction.rows, instruction.col + instruction.cols
        for array, block in zip(self.arrays(leaf, counters), data, strict=True):
            whole = self.machine.arrays[counters[0], int(array)]
            if bottom > whole.shape[0] or right > whole.shape[1]:
                raise stuck(f"weights reach row {bottom}, column {right} of an array of {whole.shape}")
            whole[instruction.row : bottom, instruction.col : right] = block.reshape(instruction.rows, instruction.cols)
            self.weights.pop((counters[0], int(array)), None)

    def products(
        self, instruction: Mvm, core: int, array: int, x: Bytes
    ) -> npt.NDArray[np.int64] | npt.NDArray[np.int32]:
        """Sums [n, cols] of driven bytes x [n, rows]."""
        math = self.machine.program.maths[instruction.math]
        rows = x.shape[1]
        if math.adc_bits:
            groups = -(-rows // math.group_rows)
            self.machine.conversions += x.shape[0] * instruction.cols * groups * math.slices * math.input_bits
        if converts(math):
            driven = integers(x, "s8" if math.input_offset else "u8") + math.input_offset
            converted = array_product(math, driven, self.block(core, array, instruction, rows))
            self.machine.clipped += converted.clipped
            return converted.sums
        driven = x.view(np.int8).astype(np.float32) + math.input_offset if math.input_offset else x.astype(np.float32)
        weights = self.cells(core, array, instruction, rows)
        if rows * 255 * 255 < EXACT_FLOAT32 or float(np.abs(weights).sum(axis=0).max()) * 255 < EXACT_FLOAT32:
            return (driven @ weights).astype(np.int32)
        return np.rint(driven.astype(np.float64) @ weights.astype(np.float64)).astype(np.int64)

    def mvm(self, leaf: Leaf, instruction: Mvm, counters: list[int]) -> None:
        x = self.read(leaf.reads[0], counters)
        samples, iterations, rows = x.shape
        numbers = self.arrays(leaf, counters)
        if (numbers == numbers[0]).all():
            sums = self.products(instruction, counters[0], int(numbers[0]), x.reshape(-1, rows))
            sums = sums.reshape(samples, iterations, instruction.cols)
        else:
            sums = np.empty((samples, iterations, instruction.cols), np.int64)
            for array in np.unique(numbers):
                chosen = numbers == array
                part = self.products(instruction, counters[0], int(array), x[:, chosen].reshape(-1, rows))
                sums[:, chosen] = part.reshape(samples, -1, instruction.cols)
        keep = ~self._first(leaf, instruction.overwrite, counters)
        target = leaf.writes[0]
        if keep.any():
            held = np.ascontiguousarray(self.read(target, counters)).view(np.int32)
            sums = sums + held if keep.all() else sums + held * keep[None, :, None]
        wrapped = sums if sums.dtype == np.int32 else (((sums + 2**31) & 0xFFFFFFFF) - 2**31).astype(np.int32)
        self.write(target, counters, np.ascontiguousarray(wrapped).view(np.uint8))

    def _first(self, leaf: Leaf, mask: int, counters: list[int]) -> npt.NDArray[np.bool_]:
        """Which iterations overwrite."""
        if mask < 0:
            return np.zeros(leaf.iterations, np.bool_)
        if any(c for level, c in enumerate(counters) if mask >> level & 1):
            return np.zeros(leaf.iterations, np.bool_)
        inner = [i for i in range(len(leaf.extents)) if mask >> (leaf.depth + i) & 1]
        if not inner:
            return np.ones(leaf.iterations, np.bool_)
        index = np.indices(leaf.extents).reshape(len(leaf.extents), -1)
        return (index[inner] == 0).all(axis=0)

    def vector(self, leaf: Leaf, instruction: Vector, counters: list[int]) -> None:
        post = self.machine.program.posts[instruction.post]
        operands = [self.read(p, counters) for p in leaf.reads]
        parameters = operands.pop() if instruction.parameters is not None else None
        if parameters is not None and not (parameters == parameters[:, :1]).all():
            raise stuck("the parameters of a vector step change inside a section")
        constants = parameters[0, 0] if parameters is not None else np.zeros(0, np.uint8)
        size = leaf.writes[0].offsets.shape[1]
        if post.op == "requantise":
            sums = np.ascontiguousarray(operands[0]).reshape(-1).view(np.int32)
            result = stored(fast_requantise(post, sums, constants), post.y).reshape(*operands[0].shape[:2], size)
        else:
            result = vector_step(post, operands, constants, size)
        self.write(leaf.writes[0], counters, result)

    def leaf(self, leaf: Leaf, counters: list[int]) -> None:
        instruction = leaf.instruction
        match instruction:
            case Dma():
                data = self.read(leaf.reads[0], counters)
                self.write(leaf.writes[0], counters, np.broadcast_to(data, (self.machine.samples, *data.shape[1:])))
            case Fill():
                shape = (self.machine.samples, *leaf.writes[0].offsets.shape)
                self.write(leaf.writes[0], counters, np.full(shape, instruction.value, np.uint8))
            case WriteWeights():
                self.write_weights(leaf, instruction, counters)
            case Mvm():
                self.mvm(leaf, instruction, counters)
            case Vector():
                self.vector(leaf, instruction, counters)
            case Take():
                self.write(leaf.writes[0], counters, self.machine.take(instruction, self.read(leaf.reads[0], counters)))
            case HostCall():
                data = self.read(leaf.reads[0], counters)
                made = [self.machine.call(instruction.call, data[:, turn]) for turn in range(data.shape[1])]
                self.write(leaf.writes[0], counters, np.stack(made, axis=1))
            case _:
                assert_never(instruction)

    def section(self, section: Section, counters: list[int]) -> None:
        """Run a section: as one batch if that keeps program order, else in smaller sections."""
        if section.length == 1 or (sections.batchable(section, counters) and self._steady(section, counters)):
            for leaf in section.leaves:
                self.leaf(leaf, counters)
            return
        count, parts = sections.smaller(self.machine.program, section)
        if count == 0:
            for part in parts:
                self.section(part, counters)
            return
        for step in range(count):
            counters.append(step)
            for part in parts:
                self.section(part, counters)
            counters.pop()

    def _steady(self, section: Section, counters: list[int]) -> bool:
        """Weight writes stay in order, and no vector step changes its parameters inside the section."""
        if len(section.leaves) > 1 and any(isinstance(leaf.instruction, WriteWeights) for leaf in section.leaves):
            return False
        for leaf in section.leaves:
            instruction = leaf.instruction
            if isinstance(instruction, Vector) and instruction.parameters is not None and leaf.reads[-1].steps.any():
                return False
            if isinstance(instruction, WriteWeights) and np.unique(self.arrays(leaf, counters)).size < leaf.iterations:
                return False
        return True

    def queue(self, nodes: list[Node], counters: list[int]) -> Generator[None]:
        """Run nodes; yields where a token or message is missing."""
        machine = self.machine
        cores, core = machine.program.cores, counters[0]
        for node in nodes:
            match node:
                case Section():
                    self.section(node, counters)
                    machine.executed += node.length
                case LoopNode():
                    for count in range(node.count):
                        counters.append(count)
                        yield from self.queue(node.nodes, counters)
                        counters.pop()
                case CoresNode():
                    if node.first <= core < node.last:
                        yield from self.queue(node.nodes, counters)
                case Wait():
                    while machine.tokens[core, node.token] == 0:
                        yield
                    machine.tokens[core, node.token] -= 1
                    machine.executed += 1
                case Post():
                    machine.tokens[core, node.token] += 1
                    machine.executed += 1
                case Send():
                    peer = (core + number_of(node.peer, counters)) % cores
                    machine.messages[core, peer, node.channel] += 1
                    machine.executed += 1
                case Recv():
                    peer = (core + number_of(node.peer, counters)) % cores
                    while machine.messages[peer, core, node.channel] == 0:
                        yield
                    machine.messages[peer, core, node.channel] -= 1
                    machine.executed += 1
                case _:
                    raise AssertionError("the tree holds moving instructions in sections only")


def fast_requantise(post: PostOp, sums: npt.NDArray[np.int32], words: Bytes) -> Ints:
    """`vector.requantise_columns`; through double where |acc| < 2^29 makes that exact."""
    columns = words.view(np.int32).reshape(-1, 3)
    acc = sums.reshape(-1, len(columns)) + columns[:, 0]
    if acc.size and max(int(acc.max()), -int(acc.min())) >= 1 << 29:
        wide = vector.requantise_columns(
            sums.reshape(-1, len(columns)).astype(np.int64), columns.astype(np.int64), post.zero_y, post.low, post.high
        )
        return wide.reshape(-1)
    factors = np.ldexp(columns[:, 1].astype(np.float64), -columns[:, 2])
    scaled = acc * factors
    np.rint(scaled, out=scaled)
    scaled += post.zero_y
    np.clip(scaled, post.low, post.high, out=scaled)
    return scaled.astype(np.int32).reshape(-1)  # type: ignore[return-value]  # narrower, the values are the same


def run(machine: Machine, queues: tuple[Queue, ...], executor: Executor | None = None) -> None:
    """Run all units of all cores to their ends. Raises `Refusal` (BL0503) where they wait for one another for ever."""
    executor = executor or Executor(machine)
    program = machine.program
    for queue in queues:
        if id(queue) not in executor.trees:
            executor.trees[id(queue)] = sections.tree(program, queue)
    running = [executor.queue(executor.trees[id(q)], [core]) for core in range(program.cores) for q in queues]
    while running:
        before = machine.executed
        running = [unit for unit in running if next(unit, "ended") != "ended"]
        if running and machine.executed == before:
            raise stuck("all units wait for one another")

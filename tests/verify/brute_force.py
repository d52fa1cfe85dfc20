"""What `verify.program` should say, found the slow way: every instruction instance is a node of an explicit graph.

Edges are queue order, the k-th post to the k-th wait of a token, the k-th send to the k-th receive between two cores.
Nothing is summed up: every byte knows all its accesses, and every two that conflict must be joined by a path.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import combinations

from bitline.ir.kernels import BYTES
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
    PostOp,
    Program,
    Queue,
    Recv,
    Send,
    Take,
    Vector,
    Wait,
    WriteWeights,
)

Byte = tuple[str, int, int]
"""(memory or array, core or -1, address)."""


@dataclass(slots=True)
class Instance:
    """One execution of one instruction on one core; `counters[0]` is the core."""

    instruction: Instruction
    counters: tuple[int, ...]


@dataclass(slots=True)
class Verdict:
    """What is wrong; empty if nothing is. `instances` counts the nodes of the graph."""

    wrong: set[str] = field(default_factory=set[str])
    instances: int = 0


def expand(queue: Queue, core: int) -> Iterator[Instance]:
    """Everything that a unit of a core executes, in order."""

    def block(place: int, counters: tuple[int, ...], runs: bool) -> Iterator[Instance | int]:
        """Instances up to the matching `End`; last the place after it."""
        while place < len(queue.code):
            instruction = queue.code[place]
            match instruction:
                case End():
                    break
                case Loop():
                    after = place
                    for count in range(max(1, instruction.count)):
                        for part in block(place + 1, (*counters, count), runs and instruction.count > 0):
                            if isinstance(part, int):
                                after = part
                            else:
                                yield part
                    place = after
                case Cores():
                    inside = runs and instruction.first <= core < instruction.last
                    for part in block(place + 1, counters, inside):
                        if isinstance(part, int):
                            place = part
                        else:
                            yield part
                case _:
                    if runs:
                        yield Instance(instruction, counters)
                    place += 1
        yield place + 1

    for part in block(0, (core,), True):
        if not isinstance(part, int):
            yield part


def divisors(number: int) -> set[int]:
    return {d for d in range(1, number + 1) if number % d == 0}


def offset(address: Address, counters: tuple[int, ...]) -> int:
    return address.phase + sum(s * c for s, c in zip(address.strides, counters, strict=False))


def value(address: Address, counters: tuple[int, ...]) -> int:
    start = offset(address, counters)
    return address.base + (start % address.modulus if address.modulus else start)


class _Phase:
    """All instances of `setup` or of `main`."""

    def __init__(self, program: Program, queues: tuple[Queue, ...], verdict: Verdict) -> None:
        self.program, self.verdict = program, verdict
        self.nodes: list[Instance] = []
        self.before: list[list[int]] = []
        self.accesses: dict[Byte, list[tuple[int, bool]]] = defaultdict(list)
        self._graph(queues)
        verdict.instances += len(self.nodes)

    def _graph(self, queues: tuple[Queue, ...]) -> None:
        posts: dict[tuple[int, ...], list[int]] = defaultdict(list)
        waits: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for core in range(self.program.cores):
            for queue in queues:
                for place, instance in enumerate(expand(queue, core)):
                    node = len(self.nodes)
                    self.nodes.append(instance)
                    self.before.append([node - 1] if place else [])
                    match instance.instruction:
                        case Post(token=token):
                            posts[core, token].append(node)
                        case Wait(token=token):
                            waits[core, token].append(node)
                        case Send(peer=peer, channel=channel):
                            to = (core + value(peer, instance.counters)) % self.program.cores
                            posts[core, to, channel].append(node)
                        case Recv(peer=peer, channel=channel):
                            source = (core + value(peer, instance.counters)) % self.program.cores
                            waits[source, core, channel].append(node)
                        case _:
                            self._touch(node, instance)
        for key in posts.keys() | waits.keys():
            if len(posts[key]) != len(waits[key]):
                self.verdict.wrong.add("unbalanced")
            for post, wait in zip(posts[key], waits[key], strict=False):
                self.before[wait].append(post)

    def _bytes(self, operand: Operand, counters: tuple[int, ...]) -> list[Byte]:
        space = self.program.spaces[operand.space]
        address = operand.address
        start = offset(address, counters)
        found: list[Byte] = []
        for first, length in self.program.runs[operand.runs]:
            for place in range(start + first, start + first + length):
                at = address.base + (place % address.modulus if address.modulus else place)
                if not 0 <= at < space.bytes:
                    self.verdict.wrong.add("outside")
                    return []
                found.append((space.name, counters[0] if space.per_core else -1, at))
        return found

    def _cells(self, array: int, corner: tuple[int, int], shape: tuple[int, int], core: int) -> list[Byte]:
        program = self.program
        (row, col), (rows, cols) = corner, shape
        if not (0 <= array < program.arrays_per_core and row >= 0 and col >= 0):
            self.verdict.wrong.add("outside")
            return []
        if row + rows > program.array_rows or col + cols > program.array_cols:
            self.verdict.wrong.add("outside")
            return []
        line = program.array_cols
        return [(f"array {array}", core, r * line + c) for r in range(row, row + rows) for c in range(col, col + cols)]

    def _touch(self, node: int, instance: Instance) -> None:
        counters = instance.counters
        reads: list[Byte] = []
        writes: list[Byte] = []
        match instance.instruction:
            case Dma(src=src, dst=dst):
                reads, writes = self._bytes(src, counters), self._bytes(dst, counters)
                self._same(self._size(src), self._size(dst))
            case Fill(dst=dst):
                writes = self._bytes(dst, counters)
            case WriteWeights(array=array, row=row, col=col, rows=rows, cols=cols, src=src):
                reads = self._bytes(src, counters)
                writes = self._cells(value(array, counters), (row, col), (rows, cols), counters[0])
                self._same(self._size(src), rows * cols)
            case Mvm() as mvm:
                x, sums = self._bytes(mvm.src, counters), self._bytes(mvm.dst, counters)
                shape = (self._size(mvm.src), mvm.cols)
                cells = self._cells(value(mvm.array, counters), (mvm.row, mvm.col), shape, counters[0])
                levels = [c for level, c in enumerate(counters) if mvm.overwrite >> level & 1]
                adds = mvm.overwrite < 0 or any(levels)
                reads, writes = [*x, *cells, *(sums if adds else [])], sums
                self._same(self._size(mvm.dst), 4 * mvm.cols)
            case Vector() as vector:
                for operand in (vector.a, vector.b, vector.c, vector.parameters):
                    reads += self._bytes(operand, counters) if operand else []
                writes = self._bytes(vector.dst, counters)
                self._vector_sizes(vector)
            case Take() as take:
                reads, writes = self._bytes(take.src, counters), self._bytes(take.dst, counters)
                self._table(take)
            case HostCall(call=call, src=src, dst=dst):
                reads, writes = self._bytes(src, counters), self._bytes(dst, counters)
                self._same(self._size(src), sum(self.program.calls[call].takes))
                self._same(self._size(dst), sum(self.program.calls[call].gives))
                if len(counters) > 1:
                    self.verdict.wrong.add("call in a loop")
            case _:
                raise AssertionError(instance.instruction)
        constant = {space.name for space in self.program.spaces if space.constant}
        for byte in set(reads):
            if byte[0] not in constant:
                self.accesses[byte].append((node, False))
        for byte in set(writes):
            if byte[0] in constant:
                self.verdict.wrong.add("constant written")
            self.accesses[byte].append((node, True))

    def _size(self, operand: Operand | None) -> int:
        return sum(length for _, length in self.program.runs[operand.runs]) if operand else 0

    def _same(self, one: int, other: int) -> None:
        if one != other:
            self.verdict.wrong.add("sizes")

    def _table(self, take: Take) -> None:
        """All rows that may be taken lie in a memory that nothing writes; as many bytes come out as numbers go in."""
        space = self.program.spaces[take.space] if 0 <= take.space < len(self.program.spaces) else None
        inside = space is not None and space.constant and take.base >= 0 and min(take.rows, take.row_bytes) > 0
        if space is None or not inside or take.base + take.rows * take.row_bytes > space.bytes:
            self.verdict.wrong.add("table")
        numbers, rest = divmod(self._size(take.src), 4)
        if rest or numbers * take.row_bytes != self._size(take.dst):
            self.verdict.wrong.add("sizes")

    def _vector_sizes(self, vector: Vector) -> None:
        """Bytes as elements, and elements as the operation wants them."""
        post = self.program.posts[vector.post]
        operands = [operand for operand in (vector.a, vector.b, vector.c) if operand is not None]
        parameters = self._size(vector.parameters)
        elements, rest = divmod(self._size(vector.dst), BYTES[post.y])
        counts: list[int] = []
        fits = rest == 0 and len(operands) == len(post.types)
        for operand, dtype in zip(operands, post.types, strict=False):
            count, rest = divmod(self._size(operand), BYTES[dtype])
            counts.append(count)
            fits = fits and rest == 0
        if not fits or not self._shapes_fit(post, elements, counts, parameters):
            self.verdict.wrong.add("sizes")

    def _shapes_fit(self, post: PostOp, elements: int, counts: list[int], parameters: int) -> bool:
        match post.op:
            case "requantise":
                columns = parameters // 12
                return counts == [elements] and columns > 0 and parameters % 12 == 0 and elements % columns == 0
            case "max" | "mean":
                return len(counts) == 1 and counts[0] > 0 and counts[0] % elements == 0 and parameters == 0
            case "softmax" | "norm":
                wide = BYTES[post.types[0]] == 2
                wanted = 4 * (512 if wide else 256) if post.op == "softmax" else 16 * post.inner
                return counts == [elements] and elements % post.inner == 0 and parameters == wanted
            case "matmul":
                rows, columns = (count // post.inner for count in counts)
                return [rows * post.inner, columns * post.inner] == counts and rows * columns == elements
            case _ if len(post.spreads) != len(counts):
                return False
            case _:
                wanted = 256 * BYTES[post.y] if post.op == "table" else 0
                power = parameters % 4 == 0 and parameters // 4 - 1 in {1 << k for k in range(17)}
                spread = all(
                    count == elements or count * times in divisors(elements)
                    for count, times in zip(counts, post.spreads, strict=True)
                )
                return spread and (power if post.op == "curve" else parameters == wanted)

    def ancestors(self) -> list[int] | None:
        """For every node the set of nodes before it, as bits; None if some node never runs."""
        after: list[list[int]] = [[] for _ in self.nodes]
        missing = [len(before) for before in self.before]
        for node, before in enumerate(self.before):
            for earlier in before:
                after[earlier].append(node)
        ready = [node for node, count in enumerate(missing) if not count]
        found = [0] * len(self.nodes)
        done = 0
        while ready:
            node = ready.pop()
            done += 1
            for later in after[node]:
                found[later] |= found[node] | 1 << node
                missing[later] -= 1
                if not missing[later]:
                    ready.append(later)
        return found if done == len(self.nodes) else None

    def judge(self, filled: set[Byte], kept: set[Byte]) -> None:
        """`filled`: bytes with a value before the first instruction; `kept`: those of `setup`, for every inference."""
        before = self.ancestors()
        if before is None:
            self.verdict.wrong.add("stuck")
            return
        groups: dict[tuple[tuple[tuple[int, bool], ...], bool, bool], None] = {}
        for byte, accesses in self.accesses.items():
            groups[tuple(accesses), byte in filled, byte in kept] = None
        for accesses, full, stays in groups:
            for (one, writes), (other, overwrites) in combinations(accesses, 2):
                if one != other and (writes or overwrites) and not (before[other] >> one | before[one] >> other) & 1:
                    self.verdict.wrong.add("race")
            writers = [node for node, writes in accesses if writes]
            for node, writes in accesses:
                fresh = not any(before[node] >> writer & 1 for writer in writers)
                if not writes and fresh and not full:
                    self.verdict.wrong.add("unwritten")
                if not writes and fresh and stays and writers:
                    self.verdict.wrong.add("setup overwritten")


def judge(program: Program) -> Verdict:
    """Whether the values of a program depend on timing, or on what nothing has written."""
    verdict = Verdict()
    filled: set[Byte] = set()
    for port in program.ports:
        space = program.spaces[port.space]
        if port.direction == "input":
            filled |= {(space.name, 0 if space.per_core else -1, port.address + i) for i in range(port.bytes)}
    setup = _Phase(program, program.setup, verdict)
    setup.judge(filled, set())
    kept = {byte for byte, accesses in setup.accesses.items() if any(writes for _, writes in accesses)}
    main = _Phase(program, program.main, verdict)
    main.judge(filled | kept, kept)
    written = kept | {byte for byte, accesses in main.accesses.items() if any(writes for _, writes in accesses)}
    for port in program.ports:
        name = program.spaces[port.space].name
        if port.direction == "output" and any((name, -1, port.address + i) not in written for i in range(port.bytes)):
            verdict.wrong.add("output unwritten")
    return verdict

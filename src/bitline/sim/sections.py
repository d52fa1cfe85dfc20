"""Queues as trees, cut into sections: the longest stretches of a queue without a token or a message in them.

Between two tokens a unit is on its own. `verify.program` proves that tokens order every pair of conflicting accesses,
so a section may run as one step, whatever other units do meanwhile. Inside a section, program order has to hold:
`batchable` compares it, address by address, with the order in which the section would run leaf by leaf.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from bitline.ir.program import (
    Address,
    Cores,
    Dma,
    End,
    Fill,
    HostCall,
    Loop,
    Mvm,
    Operand,
    Post,
    Program,
    Queue,
    Recv,
    Send,
    Take,
    Vector,
    Wait,
    WriteWeights,
)
from bitline.sim.machine import matching_ends

Ints = npt.NDArray[np.int64]
Moving = Dma | Fill | WriteWeights | Mvm | Vector | Take | HostCall
Sync = Wait | Post | Send | Recv


@dataclass(slots=True, kw_only=True)
class Pattern:
    """Byte offsets of an operand over the inner loops of its section, [iterations, bytes], before start and modulus."""

    operand: Operand
    outer: tuple[int, ...]
    offsets: Ints
    steps: Ints
    first: int
    last: int
    contiguous: bool

    def start(self, counters: list[int]) -> int:
        address = self.operand.address
        return address.phase + sum(s * c for s, c in zip(self.outer, counters, strict=False))


@dataclass(slots=True, kw_only=True)
class Leaf:
    """One instruction of a section with the extents of the loops around it inside the section."""

    instruction: Moving
    depth: int
    extents: tuple[int, ...]
    times: Ints
    reads: tuple[Pattern, ...]
    writes: tuple[Pattern, ...]
    array_steps: Ints | None

    @property
    def iterations(self) -> int:
        return self.times.size


@dataclass(slots=True, kw_only=True)
class Section:
    """Loops and leaves without synchronisation. `pieces`, smaller sections, is what to run where the batch is not
    allowed."""

    nodes: list[Node]
    depth: int
    leaves: list[Leaf]
    length: int
    verdicts: dict[tuple[int, ...], bool] = field(default_factory=dict[tuple[int, ...], bool])
    parts: list[Section] | None = None


@dataclass(slots=True, kw_only=True)
class LoopNode:
    """A loop; `section` where nothing inside synchronises."""

    count: int
    nodes: list[Node]


@dataclass(slots=True, kw_only=True)
class CoresNode:
    """A region of some cores."""

    first: int
    last: int
    nodes: list[Node]


Node = LoopNode | CoresNode | Section | Moving | Sync


def _parse(queue: Queue, ends: dict[int, int], first: int, last: int) -> list[Node]:
    nodes: list[Node] = []
    place = first
    while place < last:
        instruction = queue.code[place]
        match instruction:
            case Loop():
                nodes.append(LoopNode(count=instruction.count, nodes=_parse(queue, ends, place + 1, ends[place])))
                place = ends[place]
            case Cores():
                inner = _parse(queue, ends, place + 1, ends[place])
                nodes.append(CoresNode(first=instruction.first, last=instruction.last, nodes=inner))
                place = ends[place]
            case End():
                pass
            case _:
                nodes.append(instruction)
        place += 1
    return nodes


def _free_of_sync(node: Node) -> bool:
    match node:
        case LoopNode():
            return all(_free_of_sync(n) for n in node.nodes)
        case Dma() | Fill() | WriteWeights() | Mvm() | Vector() | Take() | HostCall():
            return True
        case _:
            return False


def tree(program: Program, queue: Queue) -> list[Node]:
    """The queue with every stretch free of tokens, messages and core regions made a `Section`."""

    def cut(nodes: list[Node], depth: int) -> list[Node]:
        out: list[Node] = []
        run: list[Node] = []
        for node in [*nodes, None]:
            if node is not None and _free_of_sync(node):
                run.append(node)
                continue
            if run:
                out.append(make_section(program, run, depth))
                run = []
            match node:
                case None:
                    pass
                case LoopNode():
                    out.append(LoopNode(count=node.count, nodes=cut(node.nodes, depth + 1)))
                case CoresNode():
                    out.append(CoresNode(first=node.first, last=node.last, nodes=cut(node.nodes, depth)))
                case _:
                    out.append(node)
        return out

    return cut(_parse(queue, matching_ends(queue), 0, len(queue.code)), 1)


def _steps(strides: tuple[int, ...], depth: int, extents: tuple[int, ...]) -> Ints:
    """sum stride * counter over the inner loops, flattened in program order."""
    total = np.zeros((1,) * len(extents), np.int64)
    for level, extent in enumerate(extents):
        stride = strides[depth + level] if depth + level < len(strides) else 0
        axis = [-1 if i == level else 1 for i in range(len(extents))]
        total = total + (np.arange(extent, dtype=np.int64) * stride).reshape(axis)
    return np.broadcast_to(total, extents).reshape(-1)


def _pattern(program: Program, operand: Operand, depth: int, extents: tuple[int, ...]) -> Pattern:
    runs = program.runs[operand.runs]
    bytes_ = np.concatenate([np.arange(o, o + n, dtype=np.int64) for o, n in runs]) if runs else np.zeros(0, np.int64)
    steps = _steps(operand.address.strides, depth, extents)
    offsets = steps[:, None] + bytes_[None, :]
    flat = offsets.reshape(-1)
    return Pattern(
        operand=operand,
        outer=operand.address.strides[:depth],
        offsets=offsets,
        steps=steps,
        first=int(flat.min()) if flat.size else 0,
        last=int(flat.max()) if flat.size else 0,
        contiguous=bool(flat.size and (np.diff(flat) == 1).all()),
    )


def operands(instruction: Moving) -> tuple[tuple[Operand, ...], tuple[Operand, ...]]:
    """(read, written) operands; an accumulating mvm reads what it writes."""
    match instruction:
        case Dma():
            return (instruction.src,), (instruction.dst,)
        case Fill():
            return (), (instruction.dst,)
        case WriteWeights():
            return (instruction.src,), ()
        case Mvm():
            return (instruction.src,), (instruction.dst,)
        case Vector():
            extra = tuple(o for o in (instruction.b, instruction.c, instruction.parameters) if o is not None)
            return (instruction.a, *extra), (instruction.dst,)
        case Take() | HostCall():
            return (instruction.src,), (instruction.dst,)


def _weight(nodes: list[Node]) -> int:
    return sum(n.count * _weight(n.nodes) if isinstance(n, LoopNode) else 1 for n in nodes)


def make_section(program: Program, nodes: list[Node], depth: int) -> Section:
    """Collect the leaves of `nodes` with their place in program order."""
    leaves: list[Leaf] = []

    def walk(nodes: list[Node], extents: tuple[int, ...], spans: tuple[int, ...], at: int) -> None:
        for node in nodes:
            match node:
                case LoopNode():
                    body = _weight(node.nodes)
                    walk(node.nodes, (*extents, node.count), (*spans, body), at)
                    at += node.count * body
                case Dma() | Fill() | WriteWeights() | Mvm() | Vector() | Take() | HostCall():
                    reads, writes = operands(node)
                    array = node.array if isinstance(node, WriteWeights | Mvm) else None
                    leaves.append(
                        Leaf(
                            instruction=node,
                            depth=depth,
                            extents=extents,
                            times=at + _steps(spans, 0, extents),
                            reads=tuple(_pattern(program, o, depth, extents) for o in reads),
                            writes=tuple(_pattern(program, o, depth, extents) for o in writes),
                            array_steps=_steps(array.strides, depth, extents) if array else None,
                        )
                    )
                    at += 1
                case _:
                    raise AssertionError("a section holds loops and moving instructions only")

    walk(nodes, (), (), 0)
    return Section(nodes=nodes, depth=depth, leaves=leaves, length=_weight(nodes))


def smaller(program: Program, section: Section) -> tuple[int, list[Section]]:
    """(count, sections): run the sections in turn, `count` times with a counter of their own; 1 time: no new
    counter."""
    if len(section.nodes) > 1:
        if section.parts is None:
            section.parts = [make_section(program, [node], section.depth) for node in section.nodes]
        return 0, section.parts
    node = section.nodes[0]
    assert isinstance(node, LoopNode), "a single instruction is always batchable over its samples"
    if section.parts is None:
        section.parts = [make_section(program, [inner], section.depth + 1) for inner in node.nodes]
    return node.count, section.parts


def placed(pattern: Pattern, start: int) -> Ints:
    """Absolute byte addresses, [iterations, bytes]."""
    address = pattern.operand.address
    offsets = pattern.offsets + start
    if address.modulus:
        offsets %= address.modulus
    return offsets + address.base


def array_start(address: Address, depth: int, counters: list[int]) -> int:
    """The array number before the inner loops and the modulus."""
    return address.phase + sum(s * c for s, c in zip(address.strides[:depth], counters, strict=False))


def batchable(section: Section, counters: list[int]) -> bool:
    """Whether running leaf after leaf, each over all its iterations at once, gives what program order gives."""
    written = {p.operand.space for leaf in section.leaves for p in leaf.writes}
    patterns = [
        (ordinal, leaf, p, is_write)
        for ordinal, leaf in enumerate(section.leaves)
        for group, is_write in ((leaf.reads, False), (leaf.writes, True))
        for p in group
        if p.operand.space in written
    ]
    starts = tuple(p.start(counters) for _, _, p, _ in patterns)
    rings = {p.operand.space for _, _, p, _ in patterns if p.operand.address.modulus}
    origin: dict[int, int] = {}
    for (_, _, p, _), start in zip(patterns, starts, strict=True):
        origin.setdefault(p.operand.space, start)
    key = tuple(  # only differences matter where no ring wraps
        start % p.operand.address.modulus
        if p.operand.address.modulus
        else start - (0 if p.operand.space in rings else origin[p.operand.space])
        for (_, _, p, _), start in zip(patterns, starts, strict=True)
    )
    verdict = section.verdicts.get(key)
    if verdict is None:
        verdict = _same_order(patterns, starts)
        section.verdicts[key] = verdict
    return verdict


def _alike(patterns: list[tuple[int, Leaf, Pattern, bool]]) -> bool:
    """Whether all operands touch the same bytes in the same iterations of one loop nest, each byte in one iteration
    only."""
    _, first, pattern, _ = patterns[0]
    if any(
        p.operand.address != pattern.operand.address
        or p.operand.runs != pattern.operand.runs
        or leaf.extents != first.extents
        or not np.array_equal(leaf.times - leaf.times[0], first.times - first.times[0])
        for _, leaf, p, _ in patterns[1:]
    ):
        return False
    flat = np.sort(pattern.offsets, axis=None)
    modulus = pattern.operand.address.modulus
    return bool((flat[1:] != flat[:-1]).all()) and not (modulus and int(flat[-1] - flat[0]) >= modulus)


def _same_order(patterns: list[tuple[int, Leaf, Pattern, bool]], starts: tuple[int, ...]) -> bool:
    for space in {p.operand.space for _, _, p, _ in patterns}:
        if _alike([entry for entry in patterns if entry[2].operand.space == space]):
            continue
        columns: list[Ints] = []
        for (ordinal, leaf, pattern, is_write), start in zip(patterns, starts, strict=True):
            if pattern.operand.space != space:
                continue
            addresses = placed(pattern, start)
            times = np.broadcast_to(leaf.times[:, None], addresses.shape)
            columns.append(
                np.stack(
                    [
                        addresses.reshape(-1),
                        times.reshape(-1),
                        np.full(addresses.size, ordinal, np.int64),
                        np.full(addresses.size, int(is_write), np.int64),
                    ]
                )
            )
        address, time, ordinal_, write = np.concatenate(columns, axis=1)
        order = np.lexsort((write, time, address))
        address, time, ordinal_, write = address[order], time[order], ordinal_[order], write[order]
        same = address[1:] == address[:-1]
        conflict = same & ((write[1:] | write[:-1]) == 1)
        backwards = same & (ordinal_[1:] < ordinal_[:-1])
        own = conflict & (ordinal_[1:] == ordinal_[:-1]) & (time[1:] != time[:-1])
        if bool(backwards.any()) or bool(own.any()):
            return False
    return True

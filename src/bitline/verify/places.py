"""Memories cut into strips that share their fate: every access of a program covers a strip whole or not at all.

So one last writer and one clock per reader and strip say as much as one per byte (`verify.races`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import gcd

import numpy as np

from bitline.verify import flat as f
from bitline.verify.flat import I64, FlatProgram

Reach = tuple[int, int, int]
"""(first byte, end, unit): accesses that begin and end at `first + k * unit`, none beyond `end`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Strips:
    """One memory. Byte b, a multiple of `granule`, lies in strip `edge[b // granule]`; strip s begins at `starts[s]`,
    and the last of `starts` is the end of the memory."""

    granule: int
    edge: I64
    starts: I64

    def between(self, first: int, end: int) -> slice:
        """The strips of bytes first..end-1."""
        return slice(int(self.edge[first // self.granule]), int(self.edge[end // self.granule]))

    @property
    def count(self) -> int:
        return len(self.starts) - 1


def strips(program: FlatProgram) -> tuple[Strips, ...]:
    """Every memory of a program; constant ones, which nobody may write, are not cut."""
    reaches: list[set[Reach]] = [set() for _ in program.spaces]
    for space, reach in _reaches(program):
        reaches[space].add(reach)
    for _, space, address, size in program.ports:
        reaches[space].add((address, address + size, size))
    return tuple(
        _cut(() if space.constant else found, space.bytes) for space, found in zip(program.spaces, reaches, strict=True)
    )


def _cut(reaches: Iterable[Reach], size: int) -> Strips:
    edges = [(max(first, first % unit), max(0, min(end, size)), unit) for first, end, unit in reaches if unit]
    granule = gcd(*(number for reach in edges for number in reach)) or max(size, 1)
    marks = np.zeros(-(-size // granule) + 1, np.bool_)
    marks[[0, -1]] = True
    for first, end, unit in edges:
        marks[first // granule : end // granule + 1 : unit // granule] = True
    starts = np.flatnonzero(marks) * granule
    starts[-1] = size
    return Strips(granule=granule, edge=np.cumsum(marks) - 1, starts=starts)


def _reaches(program: FlatProgram) -> Iterator[tuple[int, Reach]]:
    """(memory, reach) of every operand of every instruction, as wide as its loops allow."""
    spans = [_span(program.runs[a:b].tolist()) for a, b in pairwise(program.run_starts.tolist())]
    operands = program.operands.tolist()
    for _, _, starts in program.phases:
        for first, last in pairwise(starts.tolist()):
            counters = [(0, program.cores - 1)]
            cores: list[tuple[int, int]] = []
            for row in program.code[first:last].tolist():
                if row[f.OP] == f.LOOP:
                    counters.append((0, row[f.ARG0] - 1))
                elif row[f.OP] == f.CORES:
                    cores.append(counters[0])
                    counters[0] = (row[f.ARG0], row[f.ARG1] - 1)
                elif row[f.OP] == f.END:
                    if program.code[row[f.MATE], f.OP] == f.LOOP:
                        counters.pop()
                    else:
                        counters[0] = cores.pop()
                for column in (f.DST, f.SRC0, f.SRC1, f.SRC2, f.SRC3):
                    if row[column] >= 0:
                        operand = operands[row[column]]
                        for reach in _reach(operand, spans[operand[f.O_RUNS]], counters):
                            yield operand[f.O_SPACE], reach


def _span(runs: Sequence[Sequence[int]]) -> Reach:
    """From the first to behind the last byte of an operand, and the unit of its runs."""
    first, end = min(offset for offset, _ in runs), max(offset + length for offset, length in runs)
    return first, end, gcd(*(number for offset, length in runs for number in (offset - first, length)))


def _reach(operand: Sequence[int], span: Reach, counters: Sequence[tuple[int, int]]) -> Iterator[Reach]:
    base, phase, modulus = operand[f.O_BASE], operand[f.O_PHASE], operand[f.O_MODULUS]
    strides = operand[f.O_STRIDES : f.O_STRIDES + len(counters)]
    first, end, unit = span
    unit = gcd(unit, modulus, *strides)
    if modulus:
        yield base, base + modulus, modulus
        yield base + (phase + first) % unit, base + modulus, unit
        return
    ends = [(stride * low, stride * high) for stride, (low, high) in zip(strides, counters, strict=True)]
    yield base + phase + first + sum(map(min, ends)), base + phase + end + sum(map(max, ends)), unit

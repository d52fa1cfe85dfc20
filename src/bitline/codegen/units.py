"""Units of work that are not tiles of an image: what each of them copies and computes, and loops over alike ones.

A unit touches elements in any order; `runs_of` says it in bytes. Units that differ only by where they start, evenly
spaced, become a hardware loop, and loops that differ only so become a loop around them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import gcd, prod

import numpy as np
import numpy.typing as npt

from bitline.codegen.context import Terms
from bitline.ir.loops import For, On, Statement
from bitline.ir.program import Runs
from bitline.ir.schedule import Job

Ints = npt.NDArray[np.int64]
TURN = "turn"
"""The variable of the loop around the kernels of a repetition."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Bytes of a memory from `start` on, as runs; the elements of an operand that is `spread` are used so many times
    each. `turn`: bytes on per pass of a repetition."""

    start: int
    runs: Runs
    spread: int = 1
    turn: int = 0

    @property
    def bytes(self) -> int:
        return sum(length for _, length in self.runs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One unit: what it copies in, what out, and a label for what it computes; alike units have equal shapes."""

    label: tuple[int, ...]
    spans: tuple[Span, ...]

    @property
    def shape(self) -> tuple[object, ...]:
        """Everything but the starts."""
        return (self.label, tuple((span.runs, span.spread, span.turn) for span in self.spans))


@dataclass(frozen=True, slots=True, kw_only=True)
class Nested:
    """`work` repeated by loops, outermost first: (passes, bytes on per pass for every span). `first`: number of the
    first unit within its core and job; `cores`: bytes on per core."""

    work: Work
    first: int
    loops: tuple[tuple[int, tuple[int, ...]], ...]
    cores: tuple[int, ...]

    @property
    def starts(self) -> tuple[int, ...]:
        return tuple(span.start for span in self.work.spans)

    @property
    def count(self) -> int:
        return prod(passes for passes, _ in self.loops)

    def terms(self, span: int) -> Terms:
        """How the address of a span moves with the loops and the core."""
        moves = [(f"u{level}", steps[span]) for level, (_, steps) in enumerate(self.loops) if steps[span]]
        turn = self.work.spans[span].turn
        turns = [(TURN, turn)] if turn else []
        return (*((("core", self.cores[span]),) if self.cores[span] else ()), *turns, *moves)

    @property
    def sequence(self) -> Terms:
        """How the number of the unit moves with the loops."""
        inside = self.count
        terms: list[tuple[str, int]] = []
        for level, (passes, _) in enumerate(self.loops):
            inside //= passes
            terms.append((f"u{level}", inside))
        return tuple(terms)


def runs_of(elements: Ints, width: int, origin: int = 0) -> Span:
    """The bytes of `elements` (numbers of elements of `width` bytes) in their order; `origin` is the first byte."""
    start = int(elements.min()) if elements.size else 0
    breaks = np.flatnonzero(np.diff(elements) != 1) + 1
    firsts = elements[np.concatenate([[0], breaks]).astype(np.int64)] - start if elements.size else elements
    edges = [0, *breaks.tolist(), elements.size]
    runs = tuple((int(f) * width, (b - a) * width) for f, a, b in zip(firsts, edges[:-1], edges[1:], strict=True))
    return Span(start=origin + start * width, runs=runs)


def spread_of(elements: Ints) -> tuple[int, Ints]:
    """(times, few): `elements` is `few`, each one `times` times on end, and that over and over."""
    if elements.size < 2 or elements[0] + elements.size - 1 == elements[-1]:
        return 1, elements
    changes = np.flatnonzero(np.diff(elements)) + 1
    times = gcd(elements.size, *changes.tolist())
    few = elements[::times]
    again = np.flatnonzero(few[1:] == few[0]) + 1
    for period in again.tolist()[:64]:
        if few.size % period == 0 and (few.reshape(-1, period) == few[:period]).all():
            return times, few[:period]
    return times, few


def _merged(items: list[Nested]) -> list[Nested]:
    """Runs of neighbours that differ by a constant step become one more loop around them."""
    out: list[Nested] = []
    place = 0
    while place < len(items):
        head = items[place]
        end = place + 1
        step: tuple[int, ...] = ()
        while end < len(items) and items[end].work.shape == head.work.shape and items[end].loops == head.loops:
            moved = tuple(b - a for a, b in zip(items[end - 1].starts, items[end].starts, strict=True))
            if step and moved != step:
                break
            step = moved
            end += 1
        if end - place > 1:
            head = Nested(work=head.work, first=head.first, loops=((end - place, step), *head.loops), cores=head.cores)
        out.append(head)
        place = end
    return out


def fold(works: Sequence[Work], most_loops: int = 3) -> list[Nested]:
    """The units in order, as few loop nests as neighbours allow."""
    items = [Nested(work=work, first=i, loops=(), cores=(0,) * len(work.spans)) for i, work in enumerate(works)]
    for _ in range(most_loops):
        merged = _merged(items)
        if len(merged) == len(items):
            break
        items = merged
    return items


def over_cores(lists: Sequence[list[Nested]]) -> list[Nested] | None:
    """One list for all cores where they differ by a constant step per core; None where they do not."""
    first = lists[0]
    if any(len(other) != len(first) for other in lists):
        return None
    joined: list[Nested] = []
    for place, item in enumerate(first):
        same = [other[place] for other in lists]
        if any(o.work.shape != item.work.shape or o.loops != item.loops for o in same):
            return None
        steps = tuple(b - a for a, b in zip(item.starts, same[1].starts, strict=True)) if len(same) > 1 else item.cores
        for core, other in enumerate(same):
            if other.starts != tuple(a + core * s for a, s in zip(item.starts, steps, strict=True)):
                return None
        joined.append(Nested(work=item.work, first=item.first, loops=item.loops, cores=steps))
    return joined


def unit_loops(
    job: Job, works: Callable[[int], Sequence[Work]], body: Callable[[Nested], Sequence[Statement]]
) -> list[Statement]:
    """Statements of all units of a job, unit u on core u mod cores. `works(u)`: the parts of unit u, in order;
    `body` makes the statements of one part, inside its loops; a span starts at its start less cores * first_core."""
    lists = [
        fold([part for turn in range(job.rounds) for part in works(turn * job.cores + core)])
        for core in range(job.cores)
    ]

    def statements(items: Sequence[Nested]) -> tuple[Statement, ...]:
        found: list[Statement] = []
        for item in items:
            inner: tuple[Statement, ...] = tuple(body(item))
            for level in reversed(range(len(item.loops))):
                inner = (For(var=f"u{level}", count=item.loops[level][0], body=inner),)
            found += inner
        return tuple(found)

    joined = over_cores(lists)
    if joined is not None:
        return [On(first=job.first_core, last=job.last_core, body=statements(joined))]
    return [
        On(first=job.first_core + core, last=job.first_core + core + 1, body=statements(items))
        for core, items in enumerate(lists)
    ]

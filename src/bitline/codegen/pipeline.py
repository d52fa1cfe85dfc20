"""The kernels of a network as a pipeline over a stream of inputs: who tells whom when a kernel is done.

The cores of a kernel tell its first core that they are done. That one tells every core of the kernels that wait for it,
and those of the first kernels when an input has left and its frame of memory is free. Messages between two cores are
taken in the order in which they are sent: a core does its kernels in order, so one message stands for all before it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from bitline.codegen.context import ARRIVE, GO, LEFT
from bitline.codegen.tiles import awaits, signals
from bitline.ir.loops import Affine, Do, For, Hear, Nest, On, Statement, Tell
from bitline.ir.program import Unit
from bitline.ir.schedule import Schedule, Stream, neighbours


def _tell(unit: Unit, channel: str, sender: int, cores: Iterable[int]) -> list[Statement]:
    """`sender` tells all cores but itself."""
    return _peers(sender, cores, lambda peer: Do(unit=unit, action=Tell(channel=channel, peer=peer)))


def _hear(unit: Unit, channel: str, hearer: int, cores: Iterable[int]) -> list[Statement]:
    """`hearer` hears all cores but itself."""
    return _peers(hearer, cores, lambda peer: Do(unit=unit, action=Hear(channel=channel, peer=peer)))


def _peers(core: int, cores: Iterable[int], action: Callable[[Affine], Statement]) -> list[Statement]:
    return [
        For(var="peer", count=len(run), body=(action(Affine(base=run.start - core, terms=(("peer", 1),))),))
        for run in neighbours(other for other in cores if other != core)
    ]


def _core(number: int) -> Affine:
    """A core as every other sees it."""
    return Affine(base=number, terms=(("core", -1),))


def _on(cores: Iterable[int], body: Sequence[Statement]) -> list[Statement]:
    return [On(first=run.start, last=run.stop, body=tuple(body)) for run in neighbours(cores)] if body else []


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """`told[k]`: cores that the first core of kernel k tells; `heard[k][core]`: first cores that a core of kernel k
    hears before it begins, in this order."""

    told: tuple[frozenset[int], ...]
    heard: tuple[dict[int, tuple[int, ...]], ...]


class Pipeline:
    """The signals around the kernels of a schedule that has a stream."""

    def __init__(self, schedule: Schedule, stream: Stream) -> None:
        self.stream = stream
        self.cores = [plan.cores for plan in schedule.kernels]
        self.route = _route(self.cores, stream.after)
        waited = {before for kernels in stream.after for before in kernels}
        self.first = [k for k, before in enumerate(stream.after) if not before]
        self.entrance = frozenset(core for k in self.first for core in self.cores[k])
        last = {self.cores[k][0]: k for k in range(len(self.cores)) if k not in waited}
        self.exits = {k: core for core, k in last.items()}

    def around(self, kernel: int, work: Sequence[Statement]) -> Nest:
        """The nest of a kernel: begin when all is there, work, tell who waits."""
        cores, heard = self.cores[kernel], self.route.heard[kernel]
        before: list[Statement] = []
        if kernel in self.first:
            seen = {core for k in self.first if k < kernel for core in self.cores[k]}
            before += self._left(core for core in cores if core not in seen)
        for sources in dict.fromkeys(heard.values()):
            hears = [Do(unit="dma_in", action=Hear(channel=GO, peer=_core(source))) for source in sources]
            before += _on((core for core in cores if heard.get(core) == sources), hears)
        before += _on(cores, [*signals("dma_in", "kernel_open", 1), *awaits("dma_out", "kernel_open", 1)])
        first = cores[0]
        after = _on(cores, [*signals("dma_out", "kernel_done", 1), *awaits("dma_in", "kernel_done", 1)])
        after += _on(cores[1:], [Do(unit="dma_out", action=Tell(channel=ARRIVE, peer=_core(first)))])
        tells = [*_hear("dma_in", ARRIVE, first, cores), *_tell("dma_in", GO, first, self.route.told[kernel])]
        if kernel in self.exits:
            tells += _tell("dma_in", LEFT, first, self.entrance)
        return (*before, *work, *after, *_on([first], tells))

    def opening(self) -> Nest:
        """All frames are free: as many inputs may enter."""
        return tuple(
            statement
            for core in self.exits.values()
            for statement in _on([core], self._each_frame(_tell("dma_in", LEFT, core, self.entrance)))
        )

    def closing(self) -> Nest:
        """The last inputs have left."""
        return tuple(statement for run in neighbours(self.entrance) for statement in self._each_frame(self._left(run)))

    def _each_frame(self, body: Sequence[Statement]) -> list[Statement]:
        return [For(var="frame", count=self.stream.window, body=tuple(body))] if body else []

    def _left(self, cores: Iterable[int]) -> list[Statement]:
        """These cores hear that an input has left."""
        waiting = list(cores)
        found: list[Statement] = []
        for exit_core in self.exits.values():
            hear = Do(unit="dma_in", action=Hear(channel=LEFT, peer=_core(exit_core)))
            found += _on((core for core in waiting if core != exit_core), [hear])
        return found


def _route(cores: Sequence[tuple[int, ...]], after: Sequence[tuple[int, ...]]) -> Route:
    told: list[set[int]] = [set() for _ in cores]
    for kernel, before in enumerate(after):
        for maker in before:
            told[maker] |= set(cores[kernel])
    sent: dict[tuple[int, int], list[int]] = {}
    for maker, targets in enumerate(told):
        for core in targets - {cores[maker][0]}:
            sent.setdefault((cores[maker][0], core), []).append(maker)
    taken = dict.fromkeys(sent, 0)
    heard: list[dict[int, tuple[int, ...]]] = []
    for kernel, before in enumerate(after):
        row: dict[int, tuple[int, ...]] = {}
        for core in cores[kernel]:
            sources: list[int] = []
            for maker in before:
                pair = (cores[maker][0], core)
                if pair in sent:
                    wanted = sent[pair].index(maker) + 1
                    sources += [pair[0]] * max(0, wanted - taken[pair])
                    taken[pair] = max(taken[pair], wanted)
            row[core] = tuple(sources)
        heard.append(row)
    return Route(told=tuple(map(frozenset, told)), heard=tuple(heard))

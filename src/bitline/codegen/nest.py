"""The loop nest of one kernel from its schedule. One shape for all kernels:

    for every job:                       its cores, `round` after round
      for every tile (`row`, `col`):     dma_in fills a box -> mvm or vector reads it -> vector -> dma_out stores it

Buffers are rings; a reader tells the writer with a token that a slot is free, the writer tells it that one is full.
"""

from __future__ import annotations

from bitline.codegen.context import ARRIVE, GO, Context
from bitline.codegen.flat import flat_nest, host_nest, lookup_nest, move_nest
from bitline.codegen.matmul import matmul_nest
from bitline.codegen.pool import pool_nest
from bitline.codegen.tiles import (
    awaits,
    signals,
)
from bitline.ir.kernels import BatchMatMul, Elementwise, Host, Kernel, Lookup, MatMul, Move, Norm, Pool, Softmax
from bitline.ir.loops import (
    Affine,
    Do,
    For,
    Hear,
    Nest,
    On,
    Statement,
    Tell,
)

FIRST_CORE = Affine(terms=(("core", -1),))
"""Core 0, as every other core sees it."""


def _heard(cores: int) -> list[Statement]:
    """Wait until this core and all others have finished the kernel before."""
    found = awaits("dma_in", "kernel_done", 1)
    if cores > 1:
        peer = Affine(base=1, terms=(("peer", 1),))
        hear = Do(unit="dma_in", action=Hear(channel=ARRIVE, peer=peer))
        tell = Do(unit="dma_in", action=Tell(channel=GO, peer=peer))
        loops = tuple(For(var="peer", count=cores - 1, body=(action,)) for action in (hear, tell))
        wait = Do(unit="dma_in", action=Hear(channel=GO, peer=FIRST_CORE))
        found += [On(first=0, last=1, body=loops), On(first=1, last=cores, body=(wait,))]
    return found


def closing_nest(cores: int) -> Nest:
    """After a repetition that ends the network: what its last pass signals is taken."""
    return tuple(_heard(cores))


def kernel_nest(kernel: Kernel, context: Context, *, cores: int, first: bool, last: bool) -> Nest:
    """The whole nest of a kernel: wait until every core has finished the kernel before, work, tell the others."""
    before: list[Statement] = []
    if not first:
        before = [
            *_heard(cores),
            *signals("dma_in", "kernel_open", 1),
            *awaits("dma_out", "kernel_open", 1),
        ]
    after: list[Statement] = []
    if not last:
        after = signals("dma_out", "kernel_done", 1)
        if cores > 1:
            tell = Do(unit="dma_out", action=Tell(channel=ARRIVE, peer=FIRST_CORE))
            after.append(On(first=1, last=cores, body=(tell,)))
    return (*before, *work_of(kernel, context), *after)


def work_of(kernel: Kernel, context: Context) -> list[Statement]:
    """What the cores do for a kernel, without what orders it among others."""
    match kernel:
        case MatMul():
            return matmul_nest(kernel, context)
        case Pool():
            return pool_nest(kernel, context)
        case Elementwise() | Softmax() | Norm() | BatchMatMul():
            return flat_nest(kernel, context)
        case Lookup():
            return lookup_nest(kernel, context)
        case Move():
            return move_nest(kernel, context)
        case Host():
            return host_nest(kernel, context)

"""Nests of kernels that take their elements by index maps: element by element, row by row, product by product.

A unit is copied into the input buffer, operand after operand, computed by the vector unit and copied out again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from bitline.codegen.context import Context, Placed, Ring
from bitline.codegen.tiles import awaits, signals
from bitline.codegen.units import Nested, Span, Work, runs_of, spread_of, unit_loops
from bitline.ir.index_map import IndexMap
from bitline.ir.kernels import BYTES, LIMITS, BatchMatMul, Elementwise, Host, Lookup, Move, Norm, Softmax
from bitline.ir.loops import Access, Affine, Copy, Do, Give, On, Pick, Set, Statement, Step, join_runs
from bitline.ir.program import PostOp, Runs
from bitline.ir.schedule import Job

Ints = npt.NDArray[np.int64]
Flat = Elementwise | Softmax | Norm | BatchMatMul
WORD = 8
"""Operands begin at multiples of this in the input buffer."""
TABLE_ENTRIES = 256
NOBODY = 1 << 40
"""Owner of elements that no part writes in the first pass."""


def in_order(write: IndexMap, *reads: IndexMap) -> list[Ints]:
    """For every stored element of the result, in order, which element each operand has for it."""
    places = write.evaluate().reshape(-1)
    found: list[Ints] = []
    for read in reads:
        ordered = np.empty(places.size, np.int64)
        ordered[places] = read.evaluate().reshape(-1)
        found.append(ordered)
    return found


def _width(placed: Placed) -> int:
    return BYTES[placed.tensor.dtype]


def _aligned(size: int) -> int:
    return -(-size // WORD) * WORD


@dataclass(frozen=True, slots=True, kw_only=True)
class _Maker:
    """`parts(first, columns)`: the units of work for columns first..first+columns-1 of the kernel."""

    parts: Callable[[int, Job], Sequence[Work]]
    post: Callable[[Work], PostOp]
    parameters: int


def _elementwise(kernel: Elementwise, context: Context) -> _Maker:
    reads = in_order(kernel.write, *(read.map for read in kernel.reads))
    x, y = context.reads, context.writes
    tabled = kernel.op in ("table", "curve")

    def parts(first: int, job: Job) -> list[Work]:
        spans: list[Span] = []
        for ordered, placed in zip(reads, x, strict=True):
            times, few = spread_of(ordered[first : first + job.cols])
            span = runs_of(few, _width(placed), placed.home.address)
            spans.append(Span(start=span.start, runs=span.runs, spread=times))
        out = ((0, job.cols * _width(y)),)
        spans.append(Span(start=y.home.address + first * _width(y), runs=out))
        return [Work(label=(), spans=tuple(spans))]

    def post(work: Work) -> PostOp:
        return PostOp(
            op=kernel.op,
            types=tuple(p.tensor.dtype for p in x),
            y=y.tensor.dtype,
            zeros=tuple(p.tensor.zero_point for p in x),
            mantissas=tuple(read.mantissa for read in kernel.reads),
            spreads=tuple(span.spread for span in work.spans[:-1]),
            zero_y=y.tensor.zero_point,
            bias=kernel.bias,
            shift=kernel.shift,
            low=kernel.low,
            high=kernel.high,
        )

    size = 0
    if tabled:
        size = TABLE_ENTRIES * BYTES[y.tensor.dtype] if kernel.op == "table" else context.parameter_bytes
    return _Maker(parts=parts, post=post, parameters=size)


def _rows(kernel: Softmax | Norm, context: Context) -> _Maker:
    reads, writes = kernel.read.evaluate(), kernel.write.evaluate()
    x, y = context.reads[0], context.writes
    n = kernel.read.shape[1]

    def parts(first: int, job: Job) -> list[Work]:
        taken = slice(first, first + job.cols)
        source = runs_of(reads[taken].reshape(-1), _width(x), x.home.address)
        target = runs_of(writes[taken].reshape(-1), _width(y), y.home.address)
        return [Work(label=(), spans=(source, target))]

    softmax = isinstance(kernel, Softmax)
    low, high = LIMITS[y.tensor.dtype] if isinstance(kernel, Softmax) else (kernel.low, kernel.high)
    op = PostOp(
        op="softmax" if softmax else "norm",
        types=(x.tensor.dtype,),
        y=y.tensor.dtype,
        mantissas=(kernel.factor,) if isinstance(kernel, Softmax) else (),
        fractions=() if isinstance(kernel, Softmax) else (kernel.format.deviation_bits, kernel.format.normal_bits),
        zero_y=y.tensor.zero_point,
        bias=0 if isinstance(kernel, Softmax) else kernel.format.epsilon,
        shift=kernel.fraction_bits if isinstance(kernel, Softmax) else kernel.format.shift,
        low=low,
        high=high,
        inner=n,
    )
    return _Maker(parts=parts, post=lambda _: op, parameters=context.parameter_bytes)


def _products(kernel: BatchMatMul, context: Context) -> _Maker:
    a, b, writes = kernel.a.map.evaluate(), kernel.b.map.evaluate(), kernel.write.evaluate()
    (x, other), y = context.reads, context.writes
    _, m, k = a.shape
    wide = context.schedule.tile_cols

    def parts(first: int, job: Job) -> list[Work]:
        group, shift = first // m, first - job.strips[0].col
        found: list[Work] = []
        for strip in job.strips:
            top = strip.col + shift - group * m
            rows = slice(top, top + strip.cols)
            left = runs_of(a[group, rows].reshape(-1), _width(x), x.home.address)
            for start in range(0, b.shape[1], wide):
                cols = slice(start, start + wide)
                right = runs_of(b[group, cols].reshape(-1), _width(other), other.home.address)
                out = runs_of(writes[group, rows, cols].reshape(-1), _width(y), y.home.address)
                found.append(Work(label=(), spans=(left, right, out)))
        return found

    op = PostOp(
        op="matmul",
        types=(x.tensor.dtype, other.tensor.dtype),
        y=y.tensor.dtype,
        zeros=(x.tensor.zero_point, other.tensor.zero_point),
        mantissas=(kernel.a.mantissa,),
        zero_y=y.tensor.zero_point,
        shift=kernel.shift,
        low=kernel.low,
        high=kernel.high,
        inner=k,
    )
    return _Maker(parts=parts, post=lambda _: op, parameters=0)


def flat_nest(kernel: Flat, context: Context) -> list[Statement]:
    """Copy in, compute, copy out, unit after unit, in rings of slots."""
    schedule = context.schedule
    match kernel:
        case Elementwise():
            maker = _elementwise(kernel, context)
        case Softmax() | Norm():
            maker = _rows(kernel, context)
        case BatchMatMul():
            maker = _products(kernel, context)
    parameters = (
        Access(space="const", at=Affine(base=context.parameters), runs=((0, maker.parameters),))
        if maker.parameters
        else None
    )
    found: list[Statement] = []
    for job in schedule.jobs:
        start = job.strips[0].col
        works = [maker.parts(start + unit * job.unit_cols, job) for unit in range(job.units)]
        largest_in = max(sum(_aligned(span.bytes) for span in work.spans[:-1]) for part in works for work in part)
        largest_out = max(work.spans[-1].bytes for part in works for work in part)
        inputs = Ring(space="input", slots=schedule.input_slots, bytes=largest_in)
        behind = inputs.slots * inputs.bytes if schedule.result_space == inputs.space else 0
        outputs = Ring(
            space=schedule.result_space, slots=schedule.output_slots, bytes=_aligned(largest_out), base=behind
        )

        def body(
            item: Nested, inputs: Ring = inputs, outputs: Ring = outputs, first_core: int = job.first_core
        ) -> list[Statement]:
            return _unit(item, context, maker.post(item.work), parameters, inputs, outputs, first_core)

        found.append(_around(job, [*signals("vector", "operand_free", inputs.slots)]))
        found.append(_around(job, [*signals("dma_out", "output_free", outputs.slots)]))
        found += unit_loops(job, lambda unit, works=works: works[unit], body)
        found.append(_around(job, [*awaits("dma_in", "operand_free", inputs.slots)]))
        found.append(_around(job, [*awaits("vector", "output_free", outputs.slots)]))
    return found


def _around(job: Job, body: Sequence[Statement]) -> Statement:
    return On(first=job.first_core, last=job.last_core, body=tuple(body))


def _from_core(item: Nested, span: int, first_core: int) -> int:
    """Where a span starts on core 0, whether that core runs it or not."""
    return item.starts[span] - item.cores[span] * first_core


def _unit(
    item: Nested,
    context: Context,
    post: PostOp,
    parameters: Access | None,
    inputs: Ring,
    outputs: Ring,
    first_core: int,
) -> list[Statement]:
    *sources, target = item.work.spans
    sequence, first = item.sequence, item.first
    copies: list[Statement] = []
    slots: list[Access] = []
    offset = 0
    for i, (span, placed) in enumerate(zip(sources, context.reads, strict=True)):
        slot = inputs.access(first, sequence, offset, (), ((0, span.bytes),))
        at = Affine(base=_from_core(item, i, first_core), terms=item.terms(i))
        copies.append(Do(unit="dma_in", action=Copy(src=placed.reach(at, span.runs), dst=slot)))
        slots.append(slot)
        offset += _aligned(span.bytes)
    made = outputs.access(first, sequence, 0, (), ((0, target.bytes),))
    last = len(sources)
    at = Affine(base=_from_core(item, last, first_core), terms=item.terms(last))
    store = Copy(src=made, dst=context.writes.reach(at, target.runs))
    step = Step(
        post=post,
        dst=made,
        a=slots[0],
        b=slots[1] if len(slots) > 1 else None,
        c=slots[2] if len(slots) > 2 else None,
        parameters=parameters,
    )
    return [
        *awaits("dma_in", "operand_free", 1),
        *copies,
        *signals("dma_in", "operand_full", 1),
        *awaits("vector", "operand_full", 1),
        *awaits("vector", "output_free", 1),
        Do(unit="vector", action=step),
        *signals("vector", "operand_free", 1),
        *signals("vector", "output_full", 1),
        *awaits("dma_out", "output_full", 1),
        Do(unit="dma_out", action=store),
        *signals("dma_out", "output_free", 1),
    ]


def move_nest(kernel: Move, context: Context) -> list[Statement]:
    """Copies from memory to memory, by runs of the result's stored elements dealt out to the cores."""
    y = context.writes
    width = _width(y)
    size = int(np.prod(y.tensor.shape))
    source, part_of = np.zeros(size, np.int64), np.full(size, NOBODY, np.int64)
    for number, part in enumerate(kernel.parts):
        places = part.write.evaluate().reshape(-1)
        source[places], part_of[places] = part.read.evaluate().reshape(-1), number
    part_of = np.where(source < 0, -1 - part_of, part_of)  # padding of a part stands apart
    part_of = np.where(part_of == -1 - NOBODY, NOBODY, part_of)

    def works(first: int, job: Job) -> list[Work]:
        found: list[Work] = []
        owners, taken = part_of[first : first + job.cols], source[first : first + job.cols]
        for owner in np.unique(owners[owners != NOBODY]).tolist():  # other passes fill the rest
            chosen = np.flatnonzero(owners == owner)
            steps = kernel.parts[owner if owner >= 0 else -1 - owner]
            out = replace(runs_of(chosen + first, width, y.home.address), turn=steps.write_step * width)
            if owner < 0:
                zero = context.reads[-1 - owner].tensor.zero_point
                found.append(Work(label=(0, zero), spans=(out,)))
                continue
            placed = context.reads[owner]
            src = replace(runs_of(taken[chosen], width, placed.home.address), turn=steps.read_step * width)
            found.append(Work(label=(1, owner), spans=(src, out)))
        return found

    def body(item: Nested, first_core: int) -> list[Statement]:
        last = len(item.work.spans) - 1
        at = Affine(base=_from_core(item, last, first_core), terms=item.terms(last))
        target = y.reach(at, join_runs(item.work.spans[-1].runs))
        kind, number = item.work.label
        if kind == 0:
            return _fill(target, number, width)
        at = Affine(base=_from_core(item, 0, first_core), terms=item.terms(0))
        src = context.reads[number].reach(at, join_runs(item.work.spans[0].runs))
        return [Do(unit="dma_out", action=Copy(src=src, dst=target))]

    found: list[Statement] = []
    for job in context.schedule.jobs:
        start = job.strips[0].col
        parts = [works(start + unit * job.unit_cols, job) for unit in range(job.units)]
        found += unit_loops(
            job,
            lambda unit, parts=parts: parts[unit],
            lambda item, first_core=job.first_core: body(item, first_core),
        )
    return found


def _fill(target: Access, value: int, width: int) -> list[Statement]:
    """`Set` writes one value into every byte: a wider number is written byte by byte."""
    bytes_ = [(value >> (8 * i)) & 0xFF for i in range(width)]
    if len(set(bytes_)) == 1:
        return [Do(unit="dma_out", action=Set(dst=target, value=bytes_[0]))]
    elements = [offset + step for offset, length in target.runs for step in range(0, length, width)]
    return [
        Do(
            unit="dma_out",
            action=Set(
                dst=Access(space=target.space, at=target.at, runs=tuple((e + i, 1) for e in elements)), value=byte
            ),
        )
        for i, byte in enumerate(bytes_)
    ]


def lookup_nest(kernel: Lookup, context: Context) -> list[Statement]:
    """Rows of a constant table, chosen by the numbers in a tensor, straight into the result."""
    x, y = context.reads[0], context.writes
    reads, writes = kernel.read.evaluate(), kernel.write.evaluate()
    rows, row_bytes = context.table_rows, writes.shape[1] * _width(y)
    found: list[Statement] = []
    for job in context.schedule.jobs:
        for unit in range(job.units):
            start = job.strips[0].col + unit * job.unit_cols
            taken = slice(start, start + job.cols)
            source = runs_of(reads[taken], _width(x), x.home.address)
            target = runs_of(writes[taken].reshape(-1), _width(y), y.home.address)
            pick = Pick(
                base=context.parameters,
                rows=rows,
                row_bytes=row_bytes,
                src=x.reach(Affine(base=source.start), source.runs),
                dst=y.reach(Affine(base=target.start), target.runs),
            )
            core = job.first_core + unit % job.cores
            found.append(On(first=core, last=core + 1, body=(Do(unit="dma_out", action=pick),)))
    return found


def host_nest(kernel: Host, context: Context) -> list[Statement]:
    """The host reads all inputs and writes all outputs where they lie, while core 0 waits for it."""

    def whole(placed: Sequence[Placed]) -> Access:
        (memory,) = {p.home.memory for p in placed}
        runs: Runs = tuple((p.home.address, p.home.bytes) for p in placed)
        return Access(space=memory, at=Affine(), runs=runs)

    count = len(kernel.xs)
    give = Give(call=context.call, src=whole(context.reads[:count]), dst=whole(context.all_writes))
    body: list[Statement] = [
        *signals("dma_in", "host_open", 1),
        *awaits("host", "host_open", 1),
        Do(unit="host", action=give),
        *signals("host", "host_done", 1),
        *awaits("dma_out", "host_done", 1),
    ]
    return [On(first=0, last=1, body=tuple(body))]

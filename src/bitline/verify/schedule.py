"""Whether a schedule computes every output column once, in order, and keeps every tensor until its last reader is done.

Derived anew from the network: nothing of the scheduler is used. A column is an output column of a MatMul, a channel of
a Pool, a row of a softmax, norm or look-up, a row of all products of two activations, and one stored element of every
other kernel.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice, pairwise
from math import prod
from typing import Final

import numpy as np
import numpy.typing as npt

from bitline.core.diagnostics import Diagnostic
from bitline.ir.kernels import (
    BatchMatMul,
    Elementwise,
    Host,
    Kernel,
    Lookup,
    MatMul,
    Move,
    Network,
    Norm,
    Pool,
    Softmax,
    inputs_of,
    outputs_of,
)
from bitline.ir.residency import TensorResidency
from bitline.ir.schedule import Job, KernelSchedule, Schedule, Strip

FINDINGS: Final = 20
OF_ONE_KIND: Final = 5
CONSTANT: Final = "tables"
"""The memory of tensors that never change."""
LARGEST: Final = 1 << 40
"""No honest address is larger; below it every sum here fits int64."""
MOST_PIXELS: Final = 1 << 25
"""Of a picture whose pixels are shared out."""
MOST_COLUMNS: Final = 1 << 31
"""No honest job counts further; below it every product here fits int64."""


def verify_schedule(
    network: Network, schedule: Schedule, memory_sizes: Mapping[str, int], cores: int
) -> tuple[Diagnostic, ...]:
    """What is wrong with a schedule (BL0502, at most 20 findings); empty where every claim of `ir.schedule` holds.

    Checked: dependency order, numbering, segments, columns and rows covered exactly once, cores, tiles, slots; of
    tensors one place each, size, memory, lifetime, and no byte shared by two that live at the same time.
    """
    kinds = (
        _dependencies(network),
        _numbering(network, schedule),
        _segments(schedule, len(network.kernels)),
        _counts(network, schedule),
        _jobs(network, schedule, cores),
        _columns(network, schedule, cores),
        _strips(network, schedule, cores),
        _tensors(network, schedule, memory_sizes),
        _lifetimes(network, schedule),
        _memories(schedule, memory_sizes),
        _shared_bytes(schedule.tensors),
        _stream(network, schedule) if schedule.stream is not None else (),
    )
    found = [error for kind in kinds for error in islice(kind, OF_ONE_KIND)]
    return tuple(found[:FINDINGS])


def _error(message: str, place: str) -> Diagnostic:
    return Diagnostic(code="BL0502", message=message, place=place, help="compile the package again")


def _schedule_error(message: str, kernel: str) -> Diagnostic:
    return _error(message, f"schedule.json:{kernel}")


def _tensor_error(message: str, tensor: str) -> Diagnostic:
    return _error(message, f"memory.json:{tensor}")


def _pairs(network: Network, schedule: Schedule) -> Iterator[tuple[int, Kernel, KernelSchedule]]:
    """(number, kernel, its schedule) as far as both go."""
    for number, (kernel, plan) in enumerate(zip(network.kernels, schedule.kernels, strict=False)):
        yield number, kernel, plan


def _dependencies(network: Network) -> Iterator[Diagnostic]:
    """Kernels stand in an order in which nothing is read before it is written, and nothing is written twice."""
    written = {port.tensor for port in network.ports if port.direction == "input"}
    written |= {tensor.name for tensor in network.tensors if tensor.constant}
    for number, kernel in enumerate(network.kernels):
        repeat = network.repeat_of(number)
        for name in inputs_of(kernel):
            if name not in written:
                yield _schedule_error(f"reads {name!r}, which nothing wrote before it", kernel.name)
        for name in outputs_of(kernel):
            if name in written and not (repeat and name in repeat.carried):
                yield _schedule_error(f"writes {name!r}, which is written already", kernel.name)
            written.add(name)
    for port in network.ports:
        if port.tensor not in written:
            yield _schedule_error(f"nothing writes {port.tensor!r}, which this port stands for", port.name)


def _numbering(network: Network, schedule: Schedule) -> Iterator[Diagnostic]:
    wanted, got = len(network.kernels), len(schedule.kernels)
    if wanted != got:
        yield _schedule_error(f"{got} kernels are scheduled, the network has {wanted}", "kernels")
    for number, kernel, plan in _pairs(network, schedule):
        if plan.kernel != number:
            yield _schedule_error(f"number {plan.kernel} stands at place {number}", kernel.name)


def _segments(schedule: Schedule, kernels: int) -> Iterator[Diagnostic]:
    """Segments follow one another from the first kernel to the last; every kernel is in the one it names."""
    start = 0
    for i, segment in enumerate(schedule.segments):
        if segment.first != start or segment.last < segment.first:
            span = f"{segment.first}..{segment.last}"
            yield _schedule_error(f"holds kernels {span}, expected to start at {start}", f"segments[{i}]")
        start = segment.last + 1
    if start != kernels:
        yield _schedule_error(f"end at kernel {start - 1}, the last is {kernels - 1}", "segments")
    for plan in schedule.kernels:
        place = f"kernels[{plan.kernel}]"
        if not 0 <= plan.segment < len(schedule.segments):
            yield _schedule_error(f"is in segment {plan.segment} of {len(schedule.segments)}", place)
            continue
        segment = schedule.segments[plan.segment]
        if not segment.first <= plan.kernel <= segment.last:
            span = f"{segment.first}..{segment.last}"
            yield _schedule_error(f"is in segment {plan.segment}, which holds kernels {span}", place)
    passing = sum(job.weights in ("held", "cycled") for plan in schedule.kernels for job in plan.jobs)
    if schedule.resident and (len(schedule.segments) > 1 or passing):
        why = f"{len(schedule.segments)} segments and {passing} streamed jobs"
        yield _schedule_error(f"is said to keep all weights in the arrays, with {why}", "resident")


def _counts(network: Network, schedule: Schedule) -> Iterator[Diagnostic]:
    for _, kernel, plan in _pairs(network, schedule):
        if min(plan.tile_rows, plan.tile_cols) < 1:
            yield _schedule_error(f"tiles of {plan.tile_rows} x {plan.tile_cols} pixels", kernel.name)
        slots = (plan.input_slots, plan.psum_slots, plan.output_slots)
        if min(slots) < 1:
            yield _schedule_error(f"buffers of {', '.join(map(str, slots))} slots", kernel.name)
        if plan.result_space != "output" and not isinstance(kernel, Softmax | Norm):
            yield _schedule_error(f"results of a {kernel.kind} in the {plan.result_space} buffer", kernel.name)


def _job_is_sane(job: Job, cores: int) -> bool:
    """Cores of the chip, and counts that may be multiplied."""
    numbers = [job.rounds, job.unit_cols, *(n for strip in job.strips for n in (strip.col, strip.cols))]
    inside = 0 <= job.first_core < job.last_core <= cores
    return inside and job.rounds >= 1 and max(map(abs, numbers)) < MOST_COLUMNS


def _share(kernel: Kernel, job: Job, place: str) -> Iterator[Diagnostic]:
    """Only what has weights that stay is shared out; every part lies in the picture."""
    if not isinstance(kernel, MatMul) or job.weights != "resident":
        yield _schedule_error(f"a share of the pixels of a {kernel.kind} with {job.weights} weights", place)
        return
    height, width = kernel.read.shape[:2]
    for part in job.share:
        inside = 0 <= part.first_row <= part.last_row <= height and 0 <= part.first_col <= part.last_col <= width
        if not inside or (part.count == 0 and len(job.share) > 1):
            rows, cols = f"{part.first_row}..{part.last_row - 1}", f"{part.first_col}..{part.last_col - 1}"
            yield _schedule_error(f"computes rows {rows}, columns {cols} of {height} x {width} pixels", place)


def _jobs(network: Network, schedule: Schedule, cores: int) -> Iterator[Diagnostic]:
    pixels = max((k.pixels for k in network.kernels if isinstance(k, MatMul)), default=1)
    for _, kernel, plan in _pairs(network, schedule):
        for i, job in enumerate(plan.jobs):
            place = f"{kernel.name}.jobs[{i}]"
            if not 0 <= job.first_core < job.last_core <= cores:
                yield _schedule_error(f"runs on cores {job.first_core}..{job.last_core - 1} of {cores}", place)
            elif not _job_is_sane(job, cores):
                yield _schedule_error(f"{job.rounds} rounds of {job.unit_cols} columns", place)
            if (job.weights != "none") != isinstance(kernel, MatMul):
                yield _schedule_error(f"weights are {job.weights!r} for a {kernel.kind}", place)
            ring = job.weights == "cycled" or (job.weights == "resident" and job.turns > 1)
            if job.turns < 1 or job.chunk < 0 or (ring and job.chunk < 1):
                yield _schedule_error(f"{job.turns} turns of {job.chunk} blocks", place)
            if job.copies > pixels or job.chunk > MOST_COLUMNS:
                yield _schedule_error(
                    f"{job.copies} copies side by side, no kernel has more than {pixels} pixels", place
                )
            if job.share:
                yield from _share(kernel, job, place)


def _width(kernel: Kernel, network: Network) -> int | None:
    """Columns that the jobs of a kernel share among them; None where its output is no tensor of the network."""
    match kernel:
        case MatMul():
            return kernel.matrix.groups * kernel.matrix.cols
        case Pool():
            return kernel.read.shape[-1]
        case Softmax() | Norm() | Lookup():
            return kernel.read.shape[0]
        case BatchMatMul():
            return kernel.a.map.shape[0] * kernel.a.map.shape[1]
        case Host():
            return 1
        case Elementwise() | Move():
            return next((prod(t.shape) for t in network.tensors if t.name == kernel.y), None)


def _columns(network: Network, schedule: Schedule, cores: int) -> Iterator[Diagnostic]:
    """Every column is computed exactly once: unit u of a job computes its strips `u * unit_cols` columns on."""
    for _, kernel, plan in _pairs(network, schedule):
        width = _width(kernel, network)
        if width is None:
            yield _schedule_error("writes what is no tensor of the network", kernel.name)
            continue
        if not all(_job_is_sane(job, cores) for job in plan.jobs):
            continue
        asked = sum(job.units * max(1, len(job.strips)) for job in plan.jobs)
        if isinstance(kernel, MatMul) and any(job.share for job in plan.jobs):
            yield from _pixels(kernel, plan, width)
            continue
        if asked > width:
            yield _schedule_error(f"{asked} strips for {width} columns", kernel.name)
            continue
        firsts, lasts = _spans(plan)
        if firsts.size and (firsts.min() < 0 or lasts.max() > width or (lasts <= firsts).any()):
            wrong = int(np.flatnonzero((firsts < 0) | (lasts > width) | (lasts <= firsts))[0])
            span = f"columns {firsts[wrong]}..{lasts[wrong] - 1}"
            yield _schedule_error(f"computes {span} of {width}", kernel.name)
            continue
        edges = np.bincount(firsts, minlength=width + 1) - np.bincount(lasts, minlength=width + 1)
        times = np.cumsum(edges)[:width]
        for what, bad in (("never", times == 0), ("more than once", times > 1)):
            if bad.any():
                first = int(np.flatnonzero(bad)[0])
                yield _schedule_error(f"{int(bad.sum())} columns are computed {what}, first {first}", kernel.name)


def _pixels(kernel: MatMul, plan: KernelSchedule, width: int) -> Iterator[Diagnostic]:
    """Every pixel of every column is computed exactly once, where jobs share the pixels among them."""
    height, across = kernel.read.shape[:2]
    if height * across > MOST_PIXELS or any(job.units > 1 for job in plan.jobs):
        yield _schedule_error(f"shares {height} x {across} pixels out to jobs of several units", kernel.name)
        return
    parts = [job.parts(height, across) for job in plan.jobs]
    corners = [n for share in parts for p in share for n in (p.first_row, p.last_row - height, p.first_col)]
    if max(map(abs, corners)) > max(height, across):
        return  # said of the job
    spans = [(strip.col, strip.col + strip.cols, i) for i, job in enumerate(plan.jobs) for strip in job.strips]
    edges = sorted({0, width, *(edge for first, last, _ in spans for edge in (first, last))})
    if edges[0] < 0 or edges[-1] > width or any(first >= last for first, last, _ in spans):
        yield _schedule_error(f"computes columns {edges[0]}..{edges[-1] - 1} of {width}", kernel.name)
        return
    first_of: dict[tuple[int, ...], tuple[int, int]] = {}
    for first, last in pairwise(edges):
        first_of.setdefault(tuple(i for start, end, i in spans if start <= first and last <= end), (first, last))
    for jobs, (first, last) in first_of.items():
        times = np.zeros((height, across), np.int32)
        for part in (part for i in jobs for part in parts[i]):
            times[part.first_row : part.last_row, part.first_col : part.last_col] += 1
        for what, bad in (("never", times == 0), ("more than once", times > 1)):
            if bad.any():
                row, col = (int(place[0]) for place in np.nonzero(bad))
                where = f"first row {row}, column {col}"
                yield _schedule_error(
                    f"{int(bad.sum())} pixels of columns {first}..{last - 1} are computed {what}, {where}", kernel.name
                )


def _spans(plan: KernelSchedule) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """First column of every strip in every unit of every job, and the column after its last."""
    firsts: list[npt.NDArray[np.int64]] = [np.zeros(0, np.int64)]
    lasts: list[npt.NDArray[np.int64]] = [np.zeros(0, np.int64)]
    for job in plan.jobs:
        shift = np.arange(job.units, dtype=np.int64) * job.unit_cols
        for strip in job.strips:
            firsts.append(shift + strip.col)
            lasts.append(shift + strip.col + strip.cols)
    return np.concatenate(firsts), np.concatenate(lasts)


def _strips(network: Network, schedule: Schedule, cores: int) -> Iterator[Diagnostic]:
    """The pieces of a strip hold all rows that its columns need, once; units move by whole groups or softmax rows."""
    for _, kernel, plan in _pairs(network, schedule):
        for i, job in enumerate(plan.jobs):
            if not _job_is_sane(job, cores):
                continue
            place = f"{kernel.name}.jobs[{i}]"
            if isinstance(kernel, MatMul) and _cuts_groups(kernel, job):
                yield _schedule_error(f"units of {job.unit_cols} columns cut groups of {kernel.matrix.cols}", place)
            for strip in job.strips:
                if isinstance(kernel, MatMul):
                    yield from _rows(kernel, strip, place)
                elif strip.pieces:
                    yield _schedule_error(f"{len(strip.pieces)} blocks for a {kernel.kind}", place)
                if isinstance(kernel, BatchMatMul):
                    m = kernel.a.map.shape[1]
                    if strip.col // m != (strip.col + strip.cols - 1) // m or (job.units > 1 and job.unit_cols % m):
                        yield _schedule_error(f"rows {strip.col} + {strip.cols} are of two products of {m}", place)


def _cuts_groups(kernel: MatMul, job: Job) -> bool:
    """Units of a block-diagonal matrix move down as they move right, which is right for whole groups only."""
    return kernel.matrix.groups > 1 and job.units > 1 and job.unit_cols % kernel.matrix.cols != 0


def _rows(kernel: MatMul, strip: Strip, place: str) -> Iterator[Diagnostic]:
    matrix = kernel.matrix
    first, last = strip.col // matrix.cols, (strip.col + strip.cols - 1) // matrix.cols
    top, bottom = first * matrix.rows, (last + 1) * matrix.rows
    for piece in strip.pieces:
        block = piece.block
        if block.matrix != matrix.name:
            yield _schedule_error(f"a block of {block.matrix!r} for the matrix {matrix.name!r}", place)
        if (block.col_offset, block.cols) != (strip.col, strip.cols):
            span = f"columns {block.col_offset} + {block.cols}"
            yield _schedule_error(f"a block has {span}, its strip {strip.col} + {strip.cols}", place)
    spans = sorted((p.block.row_offset, p.block.row_offset + p.block.rows) for p in strip.pieces)
    at = spans[0][0] if spans else bottom
    whole = bool(spans) and 0 <= at <= top
    for start, end in spans:
        whole = whole and start == at and end > start
        at = end
    if not whole or not bottom <= at <= matrix.groups * matrix.rows:
        got = ", ".join(f"{start}..{end - 1}" for start, end in spans[:4]) or "none"
        wanted = f"{top}..{bottom - 1}"
        yield _schedule_error(f"column {strip.col} needs rows {wanted} once, its blocks have {got}", place)


def _tensors(network: Network, schedule: Schedule, sizes: Mapping[str, int]) -> Iterator[Diagnostic]:
    """One place per tensor, as large as the tensor, inside a memory."""
    tensors = {tensor.name: tensor for tensor in network.tensors}
    seen: set[str] = set()
    for home in schedule.tensors:
        if home.tensor not in tensors:
            yield _tensor_error("is no tensor of the network", home.tensor)
            continue
        if home.tensor in seen:
            yield _tensor_error("has two places", home.tensor)
        seen.add(home.tensor)
        wanted = tensors[home.tensor].size_bytes
        if home.bytes != wanted:
            yield _tensor_error(f"has room for {home.bytes} bytes and takes {wanted}", home.tensor)
        if (home.memory == CONSTANT) != bool(tensors[home.tensor].constant):
            yield _tensor_error(f"lies in {home.memory!r}", home.tensor)
        elif home.memory not in sizes:
            yield _tensor_error(f"lies in {home.memory!r}; memories are {', '.join(sizes)}", home.tensor)
        elif home.address < 0 or home.address + home.bytes > sizes[home.memory]:
            span = f"bytes {home.address}..{home.address + home.bytes - 1}"
            yield _tensor_error(f"lies at {span} of {home.memory!r}, which has {sizes[home.memory]}", home.tensor)
    for name in tensors:
        if name not in seen:
            yield _tensor_error("has no place in any memory", name)


def _lifetimes(network: Network, schedule: Schedule) -> Iterator[Diagnostic]:
    """A tensor lives from its writer (-1: the host) to its last reader (the number of kernels: the host)."""
    steps = len(network.kernels)
    births = {port.tensor: -1 for port in network.ports if port.direction == "input"}
    births |= {tensor.name: -1 for tensor in network.tensors if tensor.constant}
    for step, kernel in enumerate(network.kernels):
        for name in outputs_of(kernel):
            births[name] = min(births.get(name, step), _first_written(network, step, kernel))
    deaths = dict(births)
    for step, kernel in enumerate(network.kernels):
        repeat = network.repeat_of(step)
        for name in inputs_of(kernel):  # what was made before a repetition is read again in its last pass
            again = repeat is not None and births.get(name, -1) < repeat.first
            deaths[name] = max(deaths.get(name, step), repeat.last if repeat is not None and again else step)
        for name in outputs_of(kernel):
            again = repeat is not None and (name in repeat.carried or births.get(name, step) < step)
            deaths[name] = max(deaths.get(name, step), repeat.last if repeat is not None and again else step)
    deaths |= {port.tensor: steps for port in network.ports if port.direction == "output"}
    for home in schedule.tensors:
        lives = f"lives from step {home.from_step} to {home.to_step}"
        if not -1 <= home.from_step <= home.to_step <= steps:
            yield _tensor_error(f"{lives}, the steps are -1..{steps}", home.tensor)
            continue
        birth, death = births.get(home.tensor), deaths.get(home.tensor)
        if birth is None:
            yield _tensor_error("is written by nothing", home.tensor)
        elif home.from_step > birth:
            yield _tensor_error(f"{lives}, but is written at {birth}", home.tensor)
        if death is not None and home.to_step < death:
            yield _tensor_error(f"{lives}, but is read at {death}", home.tensor)


def _first_written(network: Network, step: int, kernel: Kernel) -> int:
    """The step from which a result must keep its place: what is filled over many passes, from the first of them."""
    repeat = network.repeat_of(step)
    fills = isinstance(kernel, Move) and any(part.write_step for part in kernel.parts)
    return repeat.first if repeat is not None and fills else step


def _memories(schedule: Schedule, sizes: Mapping[str, int]) -> Iterator[Diagnostic]:
    """What the schedule says it takes of a memory holds all tensors there and is no more than there is."""
    for memory, taken in sorted(schedule.memory_bytes.items()):
        if taken > sizes.get(memory, 0):
            yield _schedule_error(f"takes {taken} of {sizes.get(memory, 0)} bytes", f"memory_bytes.{memory}")
    for home in schedule.tensors:
        taken = schedule.memory_bytes.get(home.memory, 0)
        if home.memory in sizes and home.address + home.bytes > taken:
            end = home.address + home.bytes
            yield _tensor_error(f"ends at byte {end} of {home.memory!r}, of which {taken} are taken", home.tensor)


def _shared_bytes(homes: tuple[TensorResidency, ...]) -> Iterator[Diagnostic]:
    """Pairs of tensors that have bytes in common at a step."""
    sane = [h for h in homes if max(map(abs, (h.address, h.bytes, h.from_step, h.to_step))) < LARGEST]
    if not sane:
        return
    names = {name: i for i, name in enumerate(sorted({home.memory for home in sane}))}
    table = np.array(
        [(names[h.memory], h.address, h.address + h.bytes, h.from_step, h.to_step) for h in sane], np.int64
    )
    memory, start, end, first, last = table.T
    for i, home in enumerate(sane):
        later = slice(i + 1, None)
        touch = (memory[later] == memory[i]) & (start[later] < end[i]) & (start[i] < end[later])
        touch &= (first[later] <= last[i]) & (first[i] <= last[later])
        for j in np.flatnonzero(touch).tolist():
            other = sane[i + 1 + j]
            low, high = max(home.address, other.address), min(home.address + home.bytes, other.address + other.bytes)
            when = f"steps {max(home.from_step, other.from_step)}..{min(home.to_step, other.to_step)}"
            bytes_ = f"bytes {low}..{high - 1} of {home.memory!r}"
            yield _tensor_error(f"shares {bytes_} with {other.tensor!r} at {when}", home.tensor)


def _stream(network: Network, schedule: Schedule) -> Iterator[Diagnostic]:
    """A pipeline of kernels: it holds what it says in its frames and behind them, and no kernel begins too early."""
    stream = schedule.stream
    assert stream is not None, "asked only for a stream"
    if not 1 <= stream.window <= stream.inputs or stream.inputs < 2:
        yield _schedule_error(f"{stream.window} of {stream.inputs} inputs are on their way at once", "stream")
    carried = [port.name for port in network.ports if port.state]
    hosts = [kernel.name for kernel in network.kernels if isinstance(kernel, Host)]
    if not schedule.resident or network.repeats or carried or hosts:
        yield _schedule_error("is a stream of a network whose inputs cannot follow one another", "stream")
    yield from _frames(network, schedule)
    if len(stream.after) != len(network.kernels):
        yield _schedule_error(f"orders {len(stream.after)} of {len(network.kernels)} kernels", "stream.after")
        return
    ordered: list[set[int]] = []
    needed = _needed(network, schedule)
    for number, (kernel, before) in enumerate(zip(network.kernels, stream.after, strict=True)):
        if any(not 0 <= other < number for other in before):
            yield _schedule_error(f"waits for kernels {', '.join(map(str, before))} before {number}", kernel.name)
            return
        ordered.append({*before, *(far for near in before for far in ordered[near])})
        for other in sorted(needed[number] - ordered[number]):
            yield _schedule_error(f"does not wait for {network.kernels[other].name!r}", kernel.name)


def _frames(network: Network, schedule: Schedule) -> Iterator[Diagnostic]:
    """Ports have a place per input behind all frames, everything else lies inside the first frame."""
    stream = schedule.stream
    assert stream is not None, "asked only for a stream"
    ports = {port.tensor for port in network.ports}
    taken: list[tuple[str, int, int, str]] = []
    for home in schedule.tensors:
        if home.memory == CONSTANT:
            continue
        frame = stream.frame_bytes.get(home.memory, 0)
        if home.tensor not in ports:
            if home.address + home.bytes > frame:
                yield _tensor_error(f"ends behind its frame of {frame} bytes", home.tensor)
            continue
        end = home.address + home.bytes * stream.inputs
        if home.address < frame * stream.window:
            yield _tensor_error(f"lies in one of {stream.window} frames of {frame} bytes", home.tensor)
        if end > schedule.memory_bytes.get(home.memory, 0):
            yield _tensor_error(f"needs room for {stream.inputs} inputs up to byte {end}", home.tensor)
        taken.append((home.memory, home.address, end, home.tensor))
    for (memory, _, end, one), (other_memory, start, _, other) in pairwise(sorted(taken)):
        if memory == other_memory and start < end:
            yield _tensor_error(f"shares bytes of {memory!r} with {other!r} in a stream", one)


def _needed(network: Network, schedule: Schedule) -> list[set[int]]:
    """For every kernel those that have to be done before: makers of its inputs, and users of the bytes it writes."""
    users: dict[str, set[int]] = {}
    makers: dict[str, int] = {}
    for number, kernel in enumerate(network.kernels):
        for name in (*inputs_of(kernel), *outputs_of(kernel)):
            users.setdefault(name, set()).add(number)
        makers |= dict.fromkeys(outputs_of(kernel), number)
    spans = {h.tensor: (h.memory, h.address, h.address + h.bytes) for h in schedule.tensors}
    found: list[set[int]] = []
    for number, kernel in enumerate(network.kernels):
        before = {makers[name] for name in inputs_of(kernel) if name in makers}
        for name in outputs_of(kernel):
            memory, start, end = spans.get(name, ("", 0, 0))
            for other, (place, first, last) in spans.items():
                if place == memory and first < end and start < last:
                    before |= users.get(other, set())
        found.append({other for other in before if other < number})
    return found

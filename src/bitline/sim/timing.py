"""Time and energy of a decoded program on a chip: the `Trace`."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import numpy.typing as npt

from bitline.core.interrupts import uninterrupted
from bitline.ir.program import (
    Cores,
    Dma,
    End,
    Fill,
    HostCall,
    Instruction,
    Loop,
    Mvm,
    Post,
    Program,
    Queue,
    Recv,
    Send,
    Take,
    Vector,
    Wait,
    WriteWeights,
    executions,
    stream_length,
    with_stream_length,
)
from bitline.ir.trace import KernelCost, Span, Trace
from bitline.sim.machine import matching_ends, stuck
from bitline.target.costs import instruction_cost, issue_ps
from bitline.target.schema import Chip

MAX_LEVELS = 16
PS_PER_NS = 1000
FILLING, MEASURED = 16, 8
"""Inputs at least, before an interval is measured and while it is."""


def _row(chip: Chip, program: Program, instruction: Instruction, kernel: int, mate: int) -> list[int]:
    from bitline.sim import events

    kind, args, address = {
        Loop: (events.LOOP, (getattr(instruction, "count", 0), 0), None),
        Cores: (events.CORES, (getattr(instruction, "first", 0), getattr(instruction, "last", 0)), None),
        End: (events.END, (0, 0), None),
        Wait: (events.WAIT, (getattr(instruction, "token", 0), 0), None),
        Post: (events.POST, (getattr(instruction, "token", 0), 0), None),
        Send: (events.SEND, (getattr(instruction, "channel", 0), 0), getattr(instruction, "peer", None)),
        Recv: (events.RECV, (getattr(instruction, "channel", 0), 0), getattr(instruction, "peer", None)),
        Dma: (events.SERIAL, (0, 0), None),
        Fill: (events.SERIAL, (0, 0), None),
        Vector: (events.SERIAL, (0, 0), None),
        Take: (events.SERIAL, (0, 0), None),
        HostCall: (events.SERIAL, (0, 0), None),
        WriteWeights: (events.WRITE, (0, 0), getattr(instruction, "array", None)),
        Mvm: (events.MVM, (0, 0), getattr(instruction, "array", None)),
    }[type(instruction)]
    cost = instruction_cost(chip, program, instruction)
    port = -1 if cost.port_space is None else cost.port_space
    place = (address.base, address.phase, address.modulus) if address else (0, 0, 0)
    strides = list(address.strides) if address else []
    padded = strides + [0] * (MAX_LEVELS - len(strides))
    return [kind, *args, mate, cost.duration_ps, port, cost.port_ps, *place, kernel, *padded]


def _table(
    chip: Chip, program: Program, queues: tuple[Queue, ...], kernels: int
) -> tuple[npt.NDArray[np.int64], list[int]]:
    rows: list[list[int]] = []
    starts = [0]
    for queue in queues:
        mates = {end: begin for begin, end in matching_ends(queue).items()}
        mates |= {begin: end for end, begin in mates.items()}
        origin = len(rows)
        for place, (instruction, kernel) in enumerate(zip(queue.code, queue.kernels, strict=True)):
            slot = kernel if kernel >= 0 else kernels
            rows.append(_row(chip, program, instruction, slot, origin + mates.get(place, 0)))
        starts.append(len(rows))
    return np.array(rows, np.int64).reshape(len(rows), -1), starts


def _simulate(
    chip: Chip, program: Program, queues: tuple[Queue, ...], kernels: int
) -> tuple[int, int, tuple[Span, ...]]:
    from bitline.sim import events

    if not any(queue.code for queue in queues):
        return 0, 0, ()
    code, starts = _table(chip, program, queues, kernels)
    cores, count = program.cores, len(queues)
    with uninterrupted():
        finish, spans, instructions, ended = events.simulate(
            code,
            np.tile(np.array(starts[:-1], np.int64), cores),
            np.tile(np.array(starts[1:], np.int64), cores),
            np.repeat(np.arange(cores, dtype=np.int64), count),
            cores,
            max(1, len(program.tokens)),
            max(1, len(program.channels)),
            len(program.spaces),
            program.arrays_per_core,
            issue_ps(chip),
            round(chip.noc.message_ns.value * PS_PER_NS),
            chip.array.write_overlaps_compute.value,
            kernels,
        )
    if not ended:
        raise stuck("all units wait for one another")
    found = [
        Span(
            kernel=kernel if kernel < kernels else -1,
            core=queue // count,
            unit=queues[queue % count].unit,
            start_ps=int(spans[queue, kernel, 0]),
            end_ps=int(spans[queue, kernel, 1]),
            busy_ps=int(spans[queue, kernel, 2]),
            instructions=int(spans[queue, kernel, 3]),
        )
        for kernel in range(kernels + 1)
        for queue in range(cores * count)
        if spans[queue, kernel, 3]
    ]
    return int(finish), int(instructions), tuple(found)


def _run_bytes(program: Program, runs: int) -> int:
    return sum(length for _, length in program.runs[runs])


def kernel_costs(chip: Chip, program: Program, queues: tuple[Queue, ...], kernels: int) -> tuple[KernelCost, ...]:
    """What every kernel executes and spends, from trip counts alone; the last entry is for no kernel (-1)."""
    totals: list[dict[str, int]] = [defaultdict(int) for _ in range(kernels + 1)]
    energy: list[dict[str, int]] = [defaultdict(int) for _ in range(kernels + 1)]
    for queue in queues:
        for place, times in executions(queue, program.cores):
            instruction, kernel = queue.code[place], queue.kernels[place]
            slot = kernel if kernel >= 0 else kernels
            total = totals[slot]
            total["instructions"] += times
            energy[slot][queue.unit] += times * instruction_cost(chip, program, instruction).energy_fj
            match instruction:
                case Mvm():
                    total["mvms"] += times
                case WriteWeights():
                    total["weight_writes"] += times
                case Dma():
                    total["dma_transactions"] += times
                    total["dma_bytes"] += times * _run_bytes(program, instruction.src.runs)
                case _:
                    pass
    return tuple(
        KernelCost(
            kernel=slot if slot < kernels else -1,
            mvms=totals[slot]["mvms"],
            weight_writes=totals[slot]["weight_writes"],
            dma_transactions=totals[slot]["dma_transactions"],
            dma_bytes=totals[slot]["dma_bytes"],
            instructions=totals[slot]["instructions"],
            energy_fj=sum(energy[slot].values()),
            energy_by_unit_fj=dict(sorted(energy[slot].items())),
        )
        for slot in range(kernels + 1)
    )


def trace(chip: Chip, program: Program, kernels: int, window: int = 1) -> Trace:
    """Time and energy of one inference, and of loading resident weights before the first; of a stream also the
    interval between results once the pipeline is full, with `window` inputs on their way.

    Leakage counts for as long as an inference takes, in a stream for the interval: 1 mW for 1 ps is 1 fJ.
    """
    one = with_stream_length(program, 1)
    setup_ps, _, _ = _simulate(chip, program, program.setup, kernels)
    latency_ps, instructions, spans = _simulate(chip, one, one.main, kernels)
    interval_ps = interval(chip, program, kernels, window) if stream_length(program) > 1 else latency_ps
    costs = kernel_costs(chip, one, one.main, kernels)
    setup = kernel_costs(chip, program, program.setup, kernels)
    leakage_fj = round(chip.control.leakage_mw.value * interval_ps)
    return Trace(
        latency_ps=latency_ps,
        interval_ps=interval_ps,
        setup_ps=setup_ps,
        energy_fj=sum(cost.energy_fj for cost in costs) + leakage_fj,
        setup_energy_fj=sum(cost.energy_fj for cost in setup),
        instructions=instructions,
        spans=spans,
        costs=costs,
    )


def interval(chip: Chip, program: Program, kernels: int, window: int) -> int:
    """Picoseconds from one result to the next in a long stream, however many inputs the program itself takes: after the
    first `FILLING`, the average over as many as fill the pipeline once or more, since what enters together leaves
    together."""
    first, more = (-(-count // window) * window for count in (FILLING, MEASURED))
    times = [
        _simulate(chip, longer, longer.main, kernels)[0]
        for longer in (with_stream_length(program, count) for count in (first, first + more))
    ]
    return round((times[1] - times[0]) / more)

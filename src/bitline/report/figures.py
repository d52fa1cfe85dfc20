"""Every number that `--json` and the summary show, computed from the nouns in one place. Keys are part of the
contract."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from bitline.ir.kernels import Kernel, MatMul, Move, Network, dynamic_macs, macs
from bitline.ir.program import (
    Dma,
    Program,
    WriteWeights,
    executions,
    static_instructions,
    with_stream_length,
)
from bitline.ir.residency import BlockResidency
from bitline.ir.schedule import Schedule
from bitline.ir.trace import Trace
from bitline.pack.bounds import lower_bound
from bitline.report.hosts import host_rows, wide_tensors
from bitline.report.names import kernel_of, matrix_users
from bitline.target.schema import Chip

Json = str | int | float | bool | None | list["Json"] | dict[str, "Json"]

PS_PER_US = 1_000_000
PS_PER_S = 1e12
FJ_PER_UJ = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Updates:
    """Array writes per inference of one class of layers: done, without reuse, and the least possible."""

    done: int
    default: int
    floor: int


def node_of(network: Network) -> dict[str, str]:
    """Matrix name -> ONNX node."""
    return {k.matrix.name: k.nodes[0] for k in network.kernels if isinstance(k, MatMul)}


def block_rows(network: Network, blocks: Sequence[BlockResidency], arrays_per_core: int) -> list[Json]:
    """The contest's table: one object per block; `core_id` numbers arrays over all cores."""
    nodes = node_of(network)
    return [
        {
            "core_id": b.region.core * arrays_per_core + b.region.array,
            "index": b.index,
            "w_row_start": b.region.w_row_start,
            "w_col_start": b.region.w_col_start,
            "rows": b.block.rows,
            "cols": b.block.cols,
            "node": nodes[b.block.matrix],
            "row_offset": b.block.row_offset,
            "col_offset": b.block.col_offset,
        }
        for b in blocks
    ]


def weight_updates(
    network: Network, schedule: Schedule, blocks: Sequence[BlockResidency], chip: Chip
) -> tuple[Updates, Updates]:
    """(convolutions of one group, fully connected layers).

    Default: every output is finished before the next, so a column of R row blocks that does not fit the X arrays of a
    core is written again for each of the P pixels: C_t*R if R <= X, else C_t*P*R. Floor: every block once, C_t*R;
    nothing where the whole network stays resident.
    """
    loads: dict[int, int] = {}
    users = matrix_users(network)
    for b in blocks:
        kernel = kernel_of(b, users)
        loads[kernel] = loads.get(kernel, 0) + b.loads
    rows, cols, fits = chip.array.rows.value, chip.array.cols.value, chip.array.per_core.value
    totals = {"conv": [0, 0, 0], "fc": [0, 0, 0]}
    for number, kernel in enumerate(network.kernels):
        if not isinstance(kernel, MatMul) or kernel.matrix.groups > 1:
            continue
        first = users[kernel.matrix.name][0] == number
        height, width, _ = kernel.read.shape
        stack, across = -(-kernel.matrix.rows // rows), -(-kernel.matrix.cols // cols)
        once = 0 if schedule.resident else stack * across
        floor = once if first else 0
        default = once if stack <= fits else stack * across * height * width
        total = totals["fc" if height * width == 1 else "conv"]
        for i, value in enumerate((loads.get(number, 0), default, floor)):
            total[i] += value
    conv, fc = (Updates(done=t[0], default=t[1], floor=t[2]) for t in (totals["conv"], totals["fc"]))
    return conv, fc


def cuts(blocks: Sequence[BlockResidency]) -> tuple[int, int]:
    """(row cuts, column cuts) of all matrices: edges between neighbouring blocks of one matrix."""
    strips: dict[tuple[str, int], set[int]] = {}
    for b in blocks:
        strips.setdefault((b.block.matrix, b.block.col_offset), set()).add(b.block.row_offset)
    stacked: dict[tuple[str, int], int] = {}
    for (matrix, _), rows in strips.items():
        stacked[matrix, min(rows)] = stacked.get((matrix, min(rows)), 0) + 1
    return sum(len(rows) - 1 for rows in strips.values()), sum(count - 1 for count in stacked.values())


def busiest_array(network: Network, blocks: Sequence[BlockResidency], copies: Sequence[int] = ()) -> int:
    """MVMs per inference of the array that fires most: its blocks fire one after another, once per output pixel, of
    which `copies` of a kernel's weights (none given: one) take a share each."""
    users: dict[str, list[tuple[int, int]]] = {}
    for step, k in enumerate(network.kernels):
        if isinstance(k, MatMul):
            share = -(-k.pixels // (copies[step] if copies else 1))
            users.setdefault(k.matrix.name, []).append((step, network.passes(step) * share))
    load: dict[tuple[int, int], int] = {}
    for b in blocks:
        place = (b.region.core, b.region.array)
        fires = sum(pixels for step, pixels in users[b.block.matrix] if b.from_step <= step <= b.to_step)
        load[place] = load.get(place, 0) + fires
    return max(load.values(), default=0)


def dma_counts(program: Program) -> tuple[int, int, int]:
    """(transactions, rectangles, bytes to and from DRAM) of one inference.

    A rectangle is one DMA instruction; a transaction is one run of neighbouring bytes outside the cores. Weights come
    from DRAM.
    """
    transactions = rectangles = dram = 0
    outside = {i for i, s in enumerate(program.spaces) if not s.per_core and not s.constant}
    dram_space = program.space("dram")
    for queue in program.main:
        for place, times in executions(queue, program.cores):
            instruction = queue.code[place]
            if isinstance(instruction, WriteWeights):
                dram += times * instruction.rows * instruction.cols
            if not isinstance(instruction, Dma):
                continue
            rectangles += times
            for operand in (instruction.src, instruction.dst):
                runs = program.runs[operand.runs]
                if operand.space in outside:
                    transactions += times * len(runs)
                if operand.space == dram_space:
                    dram += times * sum(length for _, length in runs)
    return transactions, rectangles, dram


def default_transactions(network: Network) -> int:
    """Window by window: each output pixel fetches its rows of neighbouring taps on its own, once per layer."""
    total = 0
    for number, kernel in enumerate(network.kernels):
        if isinstance(kernel, MatMul):
            height, width, _ = kernel.read.shape
            lines = len({*_tap_lines(kernel)})
            total += network.passes(number) * height * width * lines
    return total


def _tap_lines(kernel: MatMul) -> Iterable[int]:
    from bitline.ir.boxes import read_taps

    return read_taps(kernel.read).rows.tolist()


def utilisation(network: Network, blocks: Sequence[BlockResidency], chip: Chip) -> float:
    """Weights of the network over the cells of the arrays that hold them, all loads of an inference together."""
    matrices = {k.matrix.name: k.matrix for k in network.kernels if isinstance(k, MatMul)}
    copies = {(b.block.matrix, b.block.copy) for b in blocks}
    used = sum(matrices[name].groups * matrices[name].rows * matrices[name].cols for name, _ in copies)
    steps = {(b.region.core, b.region.array, b.from_step, b.round) for b in blocks}
    cells = len(steps) * chip.array.rows.value * chip.array.cols.value
    return used / cells if cells else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Wear:
    """Writes of cells in one inference. `most` is of the cell that is written most often; `lifetime` is how many
    inferences it survives, None where nothing is written or the target states no endurance."""

    mean: float
    most: int
    lifetime: int | None


def wear(blocks: Sequence[BlockResidency], chip: Chip) -> Wear:
    """Mean over all cells of the arrays that hold blocks, and the worst cell; lifetime = endurance / worst."""
    shape = (chip.array.rows.value, chip.array.cols.value)
    arrays = {(b.region.core, b.region.array) for b in blocks}
    written: dict[tuple[int, int], list[BlockResidency]] = {}
    for b in blocks:
        if b.loads:
            written.setdefault((b.region.core, b.region.array), []).append(b)
    most = total = 0
    for inside in written.values():
        counts = np.zeros(shape, np.int64)
        for b in inside:
            row, col = b.region.w_row_start, b.region.w_col_start
            counts[row : row + b.block.rows, col : col + b.block.cols] += b.loads
        most, total = max(most, int(counts.max())), total + int(counts.sum())
    endurance = chip.array.endurance_writes
    return Wear(
        mean=total / (len(arrays) * shape[0] * shape[1]) if arrays else 0.0,
        most=most,
        lifetime=endurance.value // most if endurance is not None and most else None,
    )


def high_half(kernel: Kernel, network: Network) -> bool:
    """Whether a kernel computes the high half of a layer that reads 16 bits: its MACs are those of the low half."""
    return (
        isinstance(kernel, MatMul)
        and network.tensor(kernel.y).dtype == "s32"
        and network.tensor(kernel.x).zero_point != 0
    )


def compile_figures(
    network: Network,
    schedule: Schedule,
    blocks: Sequence[BlockResidency],
    program: Program,
    trace: Trace,
    chip: Chip,
    model_macs: int,
) -> dict[str, Json]:
    """The keys of `bitline compile --json` that do not depend on the clock; `model_macs` counts on the ONNX graph;
    `macs_on_vector` are products of activations by activations, `macs_on_host` those inside host kernels."""
    hosts = host_rows(network, trace)
    conv, fc = weight_updates(network, schedule, blocks, chip)
    transactions, rectangles, dram = dma_counts(with_stream_length(program, 1))
    arrays = {(b.region.core, b.region.array) for b in blocks}
    fires = sum(c.mvms for c in trace.costs)
    writes = sum(c.weight_writes for c in trace.costs)
    latency_us = trace.latency_ps / PS_PER_US
    on_arrays = sum(
        network.passes(number) * macs(k)
        for number, k in enumerate(network.kernels)
        if isinstance(k, MatMul) and not high_half(k, network)
    )
    worn = wear(blocks, chip)
    rows = [(b.block.rows, b.block.cols) for b in blocks]
    bound = lower_bound(rows, chip.array.rows.value, chip.array.cols.value)[0] if rows else 0
    row_cuts, col_cuts = cuts(blocks)
    return {
        "arrays_used": len(arrays),
        "lower_bound": bound,
        "proof": "bound" if schedule.resident and bound == len(arrays) else "none",
        "row_cuts": row_cuts,
        "col_cuts": col_cuts,
        "interval": busiest_array(network, blocks, [plan.copies for plan in schedule.kernels]),
        "arrays_available": chip.cores.value * chip.array.per_core.value,
        "pieces": len(blocks),
        "mvm_fires": fires,
        "segments": len(schedule.segments),
        "resident": schedule.resident,
        "weight_updates": conv.done,
        "weight_updates_default": conv.default,
        "weight_updates_floor": conv.floor,
        "fc_weight_updates": fc.done,
        "fc_weight_updates_default": fc.default,
        "fc_weight_updates_floor": fc.floor,
        "array_writes": writes,
        "dma_transactions": transactions,
        "dma_transactions_default": default_transactions(network),
        "dma_rectangles": rectangles,
        "dram_bytes": dram,
        "instructions_static": static_instructions(program),
        "instructions_executed": trace.instructions,
        "cycles": round(trace.latency_ps / 1000 / chip.control.issue_ns.value),
        "latency_us": latency_us,
        "interval_us": trace.interval_ps / PS_PER_US,
        "samples_per_s": PS_PER_S / trace.interval_ps if trace.interval_ps else 0.0,
        "stream_inputs": schedule.stream.inputs if schedule.stream else 1,
        "stream_window": schedule.window,
        "setup_us": trace.setup_ps / PS_PER_US,
        "energy_uj": trace.energy_fj / FJ_PER_UJ,
        "setup_energy_uj": trace.setup_energy_fj / FJ_PER_UJ,
        "macs": model_macs,
        "macs_on_arrays": on_arrays,
        "macs_on_vector": sum(network.passes(number) * dynamic_macs(k) for number, k in enumerate(network.kernels)),
        "macs_on_host": sum(row.macs for row in hosts),
        "host_kernels": len(hosts),
        "host_us": sum(row.time_us for row in hosts),
        "host_time_share": sum(row.time_share for row in hosts),
        "host": [
            {"kernel": r.kernel, "nodes": list(r.nodes), "why": r.why, "macs": r.macs, "time_us": r.time_us}
            for r in hosts
        ],
        "tensors_of_16_bits": list(wide_tensors(network)),
        "moves": sum(isinstance(k, Move) for k in network.kernels),
        "writes_per_cell": worn.mean,
        "writes_per_cell_max": worn.most,
        "lifetime_inferences": worn.lifetime,
        "utilisation": utilisation(network, blocks, chip),
        "kernels": len(network.kernels),
        **({"layers": copied} if (copied := _copied_layers(network, schedule)) else {}),
    }


def _copied_layers(network: Network, schedule: Schedule) -> list[Json]:
    """Layers with weights, where any of them lies in the arrays more than once: how often, the arrays of all copies,
    output pixels, and how often each copy fires."""
    if all(plan.copies == 1 for plan in schedule.kernels):
        return []
    return [
        {
            "name": kernel.name,
            "copies": plan.copies,
            "arrays": sum(len(job.pieces) * job.copies for job in plan.jobs),
            "pixels": kernel.pixels,
            "fires": -(-kernel.pixels // plan.copies),
        }
        for kernel, plan in zip(network.kernels, schedule.kernels, strict=True)
        if isinstance(kernel, MatMul)
    ]

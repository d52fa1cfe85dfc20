"""One kernel explained: where its weights lie and why, what binds its time, who waits for whom, what it spends."""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from bitline.core.diagnostics import refuse
from bitline.ir.kernels import MatMul, Network
from bitline.ir.residency import BlockResidency
from bitline.ir.schedule import Job, KernelSchedule, Schedule
from bitline.ir.trace import Trace
from bitline.report.figures import wear
from bitline.report.layers import BUSY_ENOUGH, UnitShare, layer_table, unit_order, unit_shares
from bitline.report.names import node_label, printable, unit_label
from bitline.target.schema import Chip

GUESSES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Blocks of the kernel in one array."""

    core: int
    array: int
    blocks: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Energy:
    """Energy of one unit on this kernel in one inference."""

    unit: str
    nanojoules: float
    share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """One kernel in one inference; times in us, shares 0 to 1.

    `weights` is how they reach the arrays: none | resident | held | cycled (see `ir.schedule.Job`). `critical` is the
    unit that was busy for the largest part of the working time, None where nothing worked; `others` are the busiest
    of each remaining unit of its core. `waits` says in words who waits for whom.
    """

    kernel: int
    name: str
    kind: str
    nodes: tuple[str, ...]
    weights: str
    segment: int
    segments: int
    places: tuple[Place, ...]
    blocks: int
    loads: int
    why: tuple[str, ...]
    tile: tuple[int, int]
    tiles: int
    start_us: float
    end_us: float
    duration_us: float
    time_share: float
    critical: UnitShare | None
    others: tuple[UnitShare, ...]
    waits: str
    energy_nj: float
    energy_share: float
    energy: tuple[Energy, ...]
    writes_per_cell: int
    lifetime_inferences: int | None


def find_kernel(network: Network, layer: str, place: str) -> int:
    """The kernel that came from the ONNX node `layer`, or is called so itself.

    Raises `Refusal` (BL0101) with the names that are near, or those that the text is part of.
    """
    for number, kernel in enumerate(network.kernels):
        if layer == kernel.name or layer in kernel.nodes:
            return number
    label = {name: node_label(kernel) for kernel in network.kernels for name in (*kernel.nodes, kernel.name)}
    inside = [name for name in label if layer and layer.lower() in name.lower()]
    similar = inside or difflib.get_close_matches(layer, list(label), n=2 * GUESSES, cutoff=0.5)
    near = list(dict.fromkeys(label[name] for name in similar))[:GUESSES]
    first = ", ".join(printable(node_label(kernel)) for kernel in network.kernels[:GUESSES])
    raise refuse(
        "BL0101",
        f"no layer {layer!r}",
        place=place,
        help=f"did you mean {' or '.join(printable(n) for n in near)}?"
        if near
        else f"layers are {first}, ... ({len(network.kernels)} in all; see layers in the report)",
    )


def explain_kernel(
    network: Network, schedule: Schedule, blocks: Sequence[BlockResidency], trace: Trace, chip: Chip, number: int
) -> Explained:
    """What the nouns of a package say of kernel `number`."""
    kernel, plan = network.kernels[number], schedule.kernels[number]
    row = layer_table(network, blocks, trace, chip)[number]
    mine = _blocks_of(kernel.matrix.name, number, blocks) if isinstance(kernel, MatMul) else ()
    worn = wear(mine, chip)
    shares = unit_shares([span for span in trace.spans if span.kernel == number])
    critical = shares[0] if shares else None
    others = tuple(s for s in shares[1:] if critical is not None and s.core == critical.core)
    weights = next((job.weights for job in plan.jobs if job.weights != "none"), "none")
    tiles = _tiles(kernel.read.shape[:2] if isinstance(kernel, MatMul) else None, plan)
    return Explained(
        kernel=number,
        name=kernel.name,
        kind=kernel.kind,
        nodes=kernel.nodes,
        weights=weights,
        segment=plan.segment,
        segments=len(schedule.segments),
        places=_places(mine),
        blocks=len(mine),
        loads=sum(b.loads for b in mine),
        why=_why(network, schedule, plan, chip, weights, tiles),
        tile=(plan.tile_rows, plan.tile_cols),
        tiles=tiles,
        start_us=row.start_us,
        end_us=row.end_us,
        duration_us=row.duration_us,
        time_share=row.time_share,
        critical=critical,
        others=others,
        waits=_waits(critical, others, plan),
        energy_nj=row.energy_nj,
        energy_share=row.energy_share,
        energy=tuple(
            Energy(unit=unit, nanojoules=nj, share=nj / row.energy_nj if row.energy_nj else 0.0)
            for unit, nj in sorted(row.energy_by_unit_nj, key=lambda pair: (-pair[1], unit_order(pair[0])))
        ),
        writes_per_cell=worn.most,
        lifetime_inferences=worn.lifetime,
    )


def _blocks_of(matrix: str, number: int, blocks: Sequence[BlockResidency]) -> tuple[BlockResidency, ...]:
    return tuple(b for b in blocks if b.block.matrix == matrix and b.from_step <= number <= b.to_step)


def _places(blocks: Sequence[BlockResidency]) -> tuple[Place, ...]:
    counted: dict[tuple[int, int], int] = defaultdict(int)
    for b in blocks:
        counted[b.region.core, b.region.array] += 1
    return tuple(Place(core=core, array=array, blocks=counted[core, array]) for core, array in sorted(counted))


def _tiles(pixels: tuple[int, ...] | None, plan: KernelSchedule) -> int:
    """Tiles of output pixels of a matrix product; 0 for other kernels, whose work is cut by their jobs."""
    if pixels is None:
        return 0
    return -(-pixels[0] // plan.tile_rows) * -(-pixels[1] // plan.tile_cols)


def _why(
    network: Network, schedule: Schedule, plan: KernelSchedule, chip: Chip, weights: str, tiles: int
) -> tuple[str, ...]:
    """Reasons, in words, for where the weights lie and for the tile."""
    found: list[str] = []
    arrays, per_core = chip.cores.value * chip.array.per_core.value, chip.array.per_core.value
    segment = schedule.segments[plan.segment]
    job = next((job for job in plan.jobs if job.weights != "none"), None)
    match weights:
        case "resident" if plan.copies > 1:
            found.append(
                f"{plan.copies:,} copies of its weights lie in arrays of their own on "
                f"{counted(len(plan.cores), 'core')}, and each computes a share of the output pixels"
            )
        case "resident" if schedule.resident:
            found.append(f"all weights of the network fit the {arrays:,} arrays together, so none is written again")
        case "resident":
            found.append(
                f"segments are the longest runs of layers that fit the {arrays:,} arrays together; this one holds "
                f"{_span(network, segment.first, segment.last)} and is written once per inference"
            )
        case "held" if job is not None:
            found.append(
                f"its blocks do not fit the {arrays:,} arrays with one column of blocks on one core; each core holds "
                f"{len(job.pieces)} of them at a time, lets all pixels pass, and takes the next ({_rounds(plan)})"
            )
        case "cycled" if job is not None:
            found.append(
                f"{len(job.pieces)} blocks add up to the same sums, but a core has {per_core} arrays: they pass "
                f"through {job.chunk} at a time, and all of them again for each of {counted(tiles, 'tile')}"
            )
        case _:
            found.append("no weights: the vector unit or the copying engines do the work")
    if isinstance(network.kernels[plan.kernel], MatMul):
        tile = f"{plan.tile_rows} x {plan.tile_cols} pixels"
        whole = f"one tile of {tile} is the whole output"
        if any(job.chunk for job in plan.jobs if job.weights == "resident") or any(job.share for job in plan.jobs):
            found.append(f"tiles of {tile}, {plan.psum_slots} of them at once, so that all copies of a core can fire")
        else:
            bound = _tile_bound(plan, chip)
            found.append(whole if tiles == 1 else f"a tile of {tile} is the largest that {bound} holds")
    return tuple(found)


def counted(number: int, word: str) -> str:
    """`1 tile`, `2 tiles`."""
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def _rounds(plan: KernelSchedule) -> str:
    return counted(sum(job.rounds for job in plan.jobs), "round")


def _span(network: Network, first: int, last: int) -> str:
    names = [printable(node_label(network.kernels[k])) for k in (first, last)]
    return names[0] if first == last else f"{names[0]} to {names[1]}"


def _tile_bound(plan: KernelSchedule, chip: Chip) -> str:
    """The buffer that a tile fills most."""
    pixels = plan.tile_rows * plan.tile_cols
    cols = max(job.cols for job in plan.jobs)
    memory = chip.memory
    psum = pixels * cols * 4 * plan.psum_slots / memory.psum_bytes.value
    output = pixels * cols * plan.output_slots / memory.output_bytes.value
    if max(psum, output) < BUSY_ENOUGH:
        return "memory.input_bytes"
    return "memory.psum_bytes" if psum >= output else "memory.output_bytes"


def _waits(critical: UnitShare | None, others: Sequence[UnitShare], plan: KernelSchedule) -> str:
    """Who waits for whom: the busiest unit, the next, and the buffers that let only one of two units work."""
    if critical is None:
        return "nothing to wait for: no unit works for this layer"
    single = [f"{buffer} ({one} and {other} take turns)" for buffer, slots, one, other in _turns(plan) if slots == 1]
    buffers = f"; one slot only in {', '.join(single)}" if single else ""
    name, share = unit_label(critical.unit), critical.share
    if share >= BUSY_ENOUGH:
        follows = f"; {unit_label(others[0].unit)}, the next, is busy {100 * others[0].share:.0f} %" if others else ""
        return f"the others wait for {name}{follows}{buffers}"
    if not others:
        return f"{name} alone works, {100 * share:.0f} % of the time; the rest is waiting for other layers and cores"
    return (
        f"no unit works for half of the time: {name} ({100 * share:.0f} %) and {unit_label(others[0].unit)} "
        f"({100 * others[0].share:.0f} %) wait for one another, or for other cores and layers{buffers}"
    )


def _turns(plan: KernelSchedule) -> tuple[tuple[str, int, str, str], ...]:
    if any(_computes(job) for job in plan.jobs):
        return (
            ("the input buffer", plan.input_slots, "dma in", "mvm"),
            ("the partial-sum buffer", plan.psum_slots, "mvm", "vector"),
            ("the output buffer", plan.output_slots, "vector", "dma out"),
        )
    results = {"output": "the output buffer", "psum": "the partial-sum buffer", "input": "the rest of the input buffer"}
    return (
        ("the input buffer", plan.input_slots, "dma in", "vector"),
        (results[plan.result_space], plan.output_slots, "vector", "dma out"),
    )


def _computes(job: Job) -> bool:
    return job.weights != "none"

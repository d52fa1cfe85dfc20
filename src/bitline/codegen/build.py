"""Schedule -> `Program` with the contents of its constant memories: cells of every block, parameters, tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bitline.codegen.context import ARRIVE, GO, ITEM, LEFT, TOKENS, Context, Placed
from bitline.codegen.emit import TABLES, Group, Tables, emit_queues
from bitline.codegen.matmul import PARAMETER_BYTES, setup_nest
from bitline.codegen.nest import closing_nest, kernel_nest, work_of
from bitline.codegen.pipeline import Pipeline
from bitline.codegen.units import TURN
from bitline.ir.kernels import (
    NUMPY,
    BatchMatMul,
    Constants,
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
from bitline.ir.loops import Nest, Statement
from bitline.ir.program import Call, Program, ProgramPort, Space
from bitline.ir.residency import Block, TensorResidency
from bitline.ir.schedule import Job, KernelSchedule, Schedule, unit_block
from bitline.numerics.arrays import encode_cells

ALIGNMENT = 8
Images = tuple[tuple[tuple[int, int], ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What the program has to know of the chip."""

    cores: int
    arrays_per_core: int
    array_rows: int
    array_cols: int
    input_bytes: int
    psum_bytes: int
    output_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """The program, its constant memories by name, and the loop nest of every kernel."""

    program: Program
    constants: dict[str, bytes]
    nests: tuple[Nest, ...]


def job_blocks(kernel: MatMul, job: Job) -> list[list[Block]]:
    """The blocks of every unit of a job, unit after unit."""
    rows = kernel.matrix.rows if kernel.matrix.groups > 1 else 0
    return [
        [unit_block(piece, job, unit, rows, kernel.matrix.cols) for piece in job.pieces] for unit in range(job.units)
    ]


def block_cells(kernel: MatMul, matrix: npt.NDArray[np.generic], block: Block) -> npt.NDArray[np.uint8]:
    """Cells of a block of a block-diagonal matrix [groups, rows, cols]; between the groups weight 0."""
    groups, rows, cols = matrix.shape
    weights = np.zeros((block.rows, block.cols), np.int64)
    for group in range(block.row_offset // rows, min(groups, -(-(block.row_offset + block.rows) // rows))):
        top, left = group * rows, group * cols
        r0, r1 = max(top, block.row_offset), min(top + rows, block.row_offset + block.rows)
        c0, c1 = max(left, block.col_offset), min(left + cols, block.col_offset + block.cols)
        if r0 < r1 and c0 < c1:
            part = matrix[group, r0 - top : r1 - top, c0 - left : c1 - left]
            weights[r0 - block.row_offset : r1 - block.row_offset, c0 - block.col_offset : c1 - block.col_offset] = part
    return encode_cells(weights, kernel.math.weight_offset)


class _Builder:
    def __init__(self, network: Network, schedule: Schedule, constants: Constants) -> None:
        self.network, self.schedule, self.constants = network, schedule, constants
        self.cells: list[bytes] = []
        self.cell_bytes = 0
        self.parameters = bytearray()
        self.tables = bytearray()
        self.shared: dict[tuple[str, int], Images] = {}

    def images(self, kernel: Kernel, plan: KernelSchedule) -> Images:
        """Lay out the cells of all units of all jobs; (address in unit 0, step per unit) of each piece."""
        if not isinstance(kernel, MatMul):
            return tuple(() for _ in plan.jobs)
        if plan.matrix_copy in self.shared:  # the first kernel that uses the copy writes it
            return self.shared[plan.matrix_copy]
        matrix = self.constants[kernel.matrix.name]
        found: list[tuple[tuple[int, int], ...]] = []
        known: dict[tuple[Block, ...], tuple[tuple[int, int], ...]] = {}
        for job in plan.jobs:
            alike = job.originals
            if alike in known:  # copies on another core: the cells are there
                found.append(known[alike])
                continue
            start = self.cell_bytes
            sizes = [piece.block.rows * piece.block.cols for piece in job.pieces]
            unit_bytes = sum(sizes)
            for blocks in job_blocks(kernel, job):
                for block in blocks:
                    self.cells.append(block_cells(kernel, matrix, block).tobytes())
                self.cell_bytes += unit_bytes
            places = np.cumsum([0, *sizes])[:-1]
            found.append(tuple((start + int(place), unit_bytes) for place in places))
            if job.weights == "resident":
                known[alike] = found[-1]
        self.shared[plan.matrix_copy] = tuple(found)
        return tuple(found)

    def parameter_base(self, kernel: Kernel) -> tuple[int, int]:
        """Store what a kernel needs besides its weights; (its address in `const`, of a look-up in `tables`; bytes)."""
        match kernel:
            case MatMul():
                x = self.network.tensor(kernel.x)
                parameters = self.constants[kernel.post.parameters].astype(np.int64)
                sums = self.constants[kernel.matrix.name].astype(np.int64).sum(axis=1).reshape(-1)
                stored = parameters.copy()
                stored[:, 0] -= (x.zero_point + kernel.math.input_offset) * sums
                data = stored.astype(np.int32).tobytes()
                assert len(data) == len(parameters) * PARAMETER_BYTES
            case Elementwise():
                words = "int32" if kernel.op == "curve" else NUMPY[self.network.tensor(kernel.y).dtype]
                data = self.constants[kernel.table].astype(words).tobytes() if kernel.table else b""
            case Softmax():
                data = self.constants[kernel.table].astype(np.int32).tobytes()
            case Norm():
                data = self.constants[kernel.table].astype(np.int64).tobytes()
            case Lookup():
                data = self.constants[kernel.table].astype(NUMPY[self.network.tensor(kernel.y).dtype]).tobytes()
                return self._append(self.tables, data), len(data)
            case Pool() | Move() | BatchMatMul() | Host():
                data = b""
        return self._append(self.parameters, data), len(data)

    def _append(self, memory: bytearray, data: bytes) -> int:
        base = len(memory)
        memory += data + bytes(-len(data) % ALIGNMENT)
        return base

    def constant_tensors(self) -> None:
        """Store the tensors that never change, where the schedule says."""
        for tensor in self.network.tensors:
            if tensor.constant:
                home = next(h for h in self.schedule.tensors if h.tensor == tensor.name)
                assert home.memory == TABLES, home
                data = self.constants[tensor.constant].astype(NUMPY[tensor.dtype]).tobytes()
                self.tables += bytes(max(0, home.address + len(data) - len(self.tables)))
                self.tables[home.address : home.address + len(data)] = data
        self.tables += bytes(-len(self.tables) % ALIGNMENT)

    def contexts(self) -> list[Context]:
        network, schedule = self.network, self.schedule
        homes = {home.tensor: home for home in schedule.tensors}
        opened: set[int] = set()
        found: list[Context] = []
        calls = 0
        self.constant_tensors()
        for kernel, plan in zip(network.kernels, schedule.kernels, strict=True):
            shares = isinstance(kernel, MatMul) and plan.matrix_copy in self.shared
            resident = any(job.weights == "resident" for job in plan.jobs)
            loads = resident and not schedule.resident and not shares
            opens = loads and plan.segment not in opened
            if opens:
                opened.add(plan.segment)

            def placed(name: str) -> Placed:
                return _placed(network, schedule, homes[name])

            base, size = self.parameter_base(kernel)
            found.append(
                Context(
                    schedule=plan,
                    reads=tuple(placed(name) for name in inputs_of(kernel)),
                    all_writes=tuple(placed(name) for name in outputs_of(kernel)),
                    parameters=base,
                    parameter_bytes=size,
                    table_rows=len(self.constants[kernel.table]) if isinstance(kernel, Lookup) else 0,
                    call=calls,
                    images=self.images(kernel, plan),
                    loads_in_setup=schedule.resident and not shares,
                    loads_in_main=loads,
                    opens_segment=opens,
                )
            )
            calls += isinstance(kernel, Host)
        return found


def _placed(network: Network, schedule: Schedule, home: TensorResidency) -> Placed:
    """Where a tensor lies; in a stream, how far on for every input."""
    tensor, stream = network.tensor(home.tensor), schedule.stream
    if stream is None or tensor.constant:
        return Placed(tensor=tensor, home=home)
    if home.tensor in {port.tensor for port in network.ports}:
        return Placed(tensor=tensor, home=home, item_bytes=home.bytes)
    frame = stream.frame_bytes[home.memory]
    return Placed(tensor=tensor, home=home, item_bytes=frame, ring_bytes=frame * stream.window)


def _main_groups(network: Network, schedule: Schedule, contexts: Sequence[Context], cores: int) -> list[Group]:
    """Nests of all kernels: one after another, or as a pipeline."""
    numbered = list(enumerate(zip(network.kernels, contexts, strict=True)))
    last = len(numbered) - 1
    if schedule.stream is not None and numbered:
        pipeline = Pipeline(schedule, schedule.stream)
        nests = tuple((i, pipeline.around(i, work_of(kernel, context))) for i, (kernel, context) in numbered)
        return [
            Group(nests=((0, pipeline.opening()),)),
            Group(nests=nests, var=ITEM, count=schedule.stream.inputs, whole=True),
            Group(nests=((last, pipeline.closing()),)),
        ]
    open_end = network.passes(last) > 1 if network.kernels else False
    groups = _groups(
        network,
        [
            kernel_nest(kernel, context, cores=cores, first=i == 0, last=i == last and not open_end)
            for i, (kernel, context) in numbered
        ],
    )
    if open_end:
        groups.append(Group(nests=((last, closing_nest(cores)),)))
    return groups


def _nests(groups: Sequence[Group], kernels: int) -> tuple[Nest, ...]:
    """The nest of every kernel, with what its group does around it."""
    found: list[list[Statement]] = [[] for _ in range(kernels)]
    for group in groups:
        for number, nest in group.nests:
            found[number] += nest
    return tuple(map(tuple, found))


def _groups(network: Network, nests: Sequence[Nest]) -> list[Group]:
    """Nests of kernels one after another, those of a repetition inside a loop."""
    found: list[Group] = []
    number = 0
    while number < len(nests):
        repeat = network.repeat_of(number)
        last = repeat.last if repeat else number
        inside = tuple((i, nests[i]) for i in range(number, last + 1))
        found.append(Group(nests=inside, var=TURN, count=repeat.count) if repeat else Group(nests=inside))
        number = last + 1
    return found


def host_calls(network: Network) -> tuple[Call, ...]:
    """What the program says of every subgraph for the host."""
    size = {tensor.name: tensor.size_bytes for tensor in network.tensors}
    return tuple(
        Call(
            name=kernel.name,
            takes=tuple(size[name] for name in kernel.xs),
            gives=tuple(size[name] for name in kernel.ys),
            macs=kernel.macs,
        )
        for kernel in network.kernels
        if isinstance(kernel, Host)
    )


def build_program(network: Network, schedule: Schedule, constants: Constants, machine: Machine) -> Built:
    """Nests of all kernels, split into queues; memories as large as they are used or as the chip has them."""
    builder = _Builder(network, schedule, constants)
    contexts = builder.contexts()
    groups = _main_groups(network, schedule, contexts, machine.cores)
    setup = [
        (i, setup_nest(kernel, context))
        for i, (kernel, context) in enumerate(zip(network.kernels, contexts, strict=True))
        if context.loads_in_setup
    ]
    used = schedule.memory_bytes
    content = {
        "weights": b"".join(builder.cells),
        "const": bytes(builder.parameters),
        TABLES: bytes(builder.tables),
    }

    def shared(name: str, size: int, constant: bool = False) -> Space:
        return Space(name=name, bytes=size, per_core=False, constant=constant)

    def local(name: str, size: int) -> Space:
        return Space(name=name, bytes=size, per_core=True, constant=False)

    spaces = (
        shared("dram", used.get("dram", 0)),
        shared("shared", used.get("shared", 0)),
        shared("weights", len(content["weights"]), constant=True),
        shared("const", len(content["const"]), constant=True),
        shared(TABLES, len(content[TABLES]), constant=True),
        local("input", machine.input_bytes),
        local("psum", machine.psum_bytes),
        local("output", machine.output_bytes),
    )
    channels = (ARRIVE, GO) if schedule.stream is None else (ARRIVE, GO, LEFT)
    tables = Tables(cores=machine.cores, spaces=spaces, tokens=TOKENS, channels=channels)
    main = emit_queues(groups, tables)
    prologue = emit_queues([Group(nests=tuple(setup))], tables)
    homes = {home.tensor: home for home in schedule.tensors}
    program = Program(
        cores=machine.cores,
        arrays_per_core=machine.arrays_per_core,
        array_rows=machine.array_rows,
        array_cols=machine.array_cols,
        spaces=spaces,
        tokens=TOKENS,
        channels=channels,
        runs=tuple(tables.runs),
        maths=tuple(tables.maths),
        posts=tuple(tables.posts),
        calls=host_calls(network),
        ports=tuple(
            ProgramPort(
                name=port.name,
                direction=port.direction,
                tensor=port.tensor,
                space=tables.space(homes[port.tensor].memory),
                address=homes[port.tensor].address,
                bytes=homes[port.tensor].bytes * (schedule.stream.inputs if schedule.stream else 1),
            )
            for port in network.ports
        ),
        setup=tuple(queue for queue in prologue if queue.code),
        main=main,
    )
    return Built(program=program, constants=content, nests=_nests(groups, len(network.kernels)))

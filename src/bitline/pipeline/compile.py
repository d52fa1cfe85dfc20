"""The one place that knows the order of the stages; hands values from one to another and decides nothing itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper

from bitline.codegen.build import Built, Machine, build_program
from bitline.engines.ort import Session
from bitline.graph.model import Model
from bitline.graph.passes import simplify
from bitline.graph.read import read_model
from bitline.graph.shapes import check_not_empty
from bitline.ir.kernels import ArrayMath, MatMul, Network
from bitline.ir.program import with_stream_length
from bitline.ir.trace import Trace
from bitline.isa import binary
from bitline.lower.golden import golden_model
from bitline.lower.kernels import Lowered, lower
from bitline.pipeline.copies import deal_budget
from bitline.place.cores import pack_segment
from bitline.place.cuts import ColumnStrip, cut_matrix
from bitline.quant.options import QuantOptions
from bitline.quant.ptq import is_quantized, quantize
from bitline.schedule.plan import Planned, plan
from bitline.schedule.stream import MOST_WITH_COPIES, check_streams
from bitline.schedule.tiling import Buffers, StripPlan
from bitline.sim import timing
from bitline.target.arrays import array_math
from bitline.target.schema import Chip

Array = npt.NDArray[np.generic]


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantised:
    """A QDQ model, and what was done to get it."""

    model: Model
    steps: tuple[str, ...]
    sqnr_db: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiled:
    """Everything that compilation makes, before it is written to a package."""

    quantised: Quantised
    chip: Chip
    lowered: Lowered
    planned: Planned
    built: Built
    program: bytes
    trace: Trace
    golden: onnx.ModelProto


def load(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> Model:
    """Gate and simplification."""
    model = simplify(read_model(path, shapes=shapes))
    check_not_empty(model.proto, model.place())
    return model


def quantise(model: Model, samples: Mapping[str, Array] | None, options: QuantOptions) -> Quantised:
    """The model as QDQ; one that is QDQ already is taken as it is. Raises `Refusal` (BL0101) without samples."""
    if is_quantized(model):
        return Quantised(model=model, steps=("the model is quantised already and taken as it is",), sqnr_db=None)
    from bitline.core.diagnostics import refuse

    if samples is None:
        raise refuse(
            "BL0101",
            "a float model needs calibration data",
            place=model.place(),
            help="give samples with --calib, or `--calib random:32` where only shapes matter",
        )
    result = quantize(model, samples, options)
    return Quantised(model=result.model, steps=result.steps, sqnr_db=result.sqnr_db)


def evaluate_unary(
    node: onnx.NodeProto,
    values: npt.NDArray[np.float32],
    initializers: Mapping[str, onnx.TensorProto],
    opsets: Sequence[onnx.OperatorSetIdProto],
) -> npt.NDArray[np.float32]:
    """One operator of one tensor on a vector, by ONNX Runtime."""
    (name,) = [i for i in node.input if i and i not in initializers]
    info = helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, list(values.shape))
    out = helper.make_tensor_value_info(node.output[0], onnx.TensorProto.FLOAT, None)
    used = [initializers[i] for i in node.input if i in initializers]
    graph = helper.make_graph([node], "unary", [info], [out], used)
    model = helper.make_model(graph, opset_imports=list(opsets))
    model.ir_version = 8
    result = Session(model, optimise=False, place=node.name).run({name: values})
    return result[node.output[0]]


def to_kernels(model: Model, chip: Chip, most_groups: int | None = None) -> Lowered:
    """Kernels of a QDQ model for the arrays of a chip. `most_groups`: of a grouped convolution in one block."""
    initializers = {t.name: t for t in model.proto.graph.initializer}

    def make_math(rows: int, cols: int, groups: int, signed: bool) -> ArrayMath:
        return array_math(chip, rows=rows, cols=cols, groups=groups, signed_input=signed, most_groups=most_groups)

    def unary(node: onnx.NodeProto, values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return evaluate_unary(node, values, initializers, model.proto.opset_import)

    return lower(model.proto, model.path.name, make_math=make_math, unary=unary)


def with_states(lowered: Lowered, states: Sequence[tuple[str, str]]) -> Lowered:
    """The same kernels; outputs that feed an input at the next step say so."""
    feeds = dict(states)
    ports = tuple(
        replace(port, state=feeds[port.name]) if port.direction == "output" and port.name in feeds else port
        for port in lowered.network.ports
    )
    return replace(lowered, network=replace(lowered.network, ports=ports))


def buffers(chip: Chip, model: str) -> Buffers:
    """The buffers of one core."""
    memory = chip.memory
    return Buffers(
        model=model,
        input_bytes=memory.input_bytes.value,
        psum_bytes=memory.psum_bytes.value,
        output_bytes=memory.output_bytes.value,
        arrays=chip.array.per_core.value,
        cores=chip.cores.value,
    )


def matrix_strips(network: Network, chip: Chip) -> dict[int, tuple[ColumnStrip, ...]]:
    """The cut matrices, by kernel."""
    rows, cols = chip.array.rows.value, chip.array.cols.value
    return {
        number: cut_matrix(kernel.matrix, kernel.math, rows, cols)
        for number, kernel in enumerate(network.kernels)
        if isinstance(kernel, MatMul)
    }


def make_plan(
    network: Network,
    chip: Chip,
    stream: int = 1,
    stretches: bool = False,
    budget: int | None = None,
    far: int = 0,
) -> Planned:
    """Placement and schedule; the packer answers the schedule's questions. `stream`: inputs of one run; `stretches`:
    every core holds neighbouring kernels, where kernels are otherwise spread over all cores. `budget`: arrays for
    copies of the weights; `stretches` then leaves cores to kernels without weights. `far`: inputs that are to be on
    their way, even if tensors move to a memory further away."""
    strips = matrix_strips(network, chip)
    matrices = {number: network.weights_of(number) for number in strips}
    fires = {k: kernel.pixels for k, kernel in enumerate(network.kernels) if isinstance(kernel, MatMul)}
    known: dict[tuple[int, ...], dict[int, tuple[StripPlan, ...]] | None] = {}

    def pack(kernels: Sequence[int]) -> dict[int, tuple[StripPlan, ...]] | None:
        key = tuple(kernels)
        if key not in known:
            known[key] = _packed(strips, {k: matrices[k] for k in key}, chip, fires if stretches else {})
        return known[key]

    plain = {
        number: tuple(StripPlan(col=s.col, cols=s.cols, blocks=s.blocks) for s in found)
        for number, found in strips.items()
    }
    capacities = {"shared": chip.memory.shared_bytes.value, "dram": chip.memory.dram_bytes.value}
    shares = None
    if budget is not None:
        if stream > 1:
            check_streams(network, resident=True)
        shares = deal_budget(network, strips, chip, budget, stream=stream > 1, apart=stretches)
    return plan(network, plain, pack, buffers(chip, network.name), capacities, stream, shares, far)


def _packed(
    strips: dict[int, tuple[ColumnStrip, ...]],
    matrices: Mapping[int, tuple[str, int] | None],
    chip: Chip,
    fires: Mapping[int, int],
) -> dict[int, tuple[StripPlan, ...]] | None:
    """Every matrix once: kernels that share one find it in the same places."""
    first: dict[tuple[str, int] | None, int] = {}
    for kernel, matrix in matrices.items():
        first.setdefault(matrix, kernel)
    order = [kernel for kernel, matrix in matrices.items() if first[matrix] == kernel]
    placement = pack_segment(
        [strips[k] for k in order],
        cores=chip.cores.value,
        arrays=chip.array.per_core.value,
        rows=chip.array.rows.value,
        cols=chip.array.cols.value,
        fires=[sum(fires[k] for k in matrices if matrices[k] == matrices[n]) for n in order] if fires else None,
    )
    if placement is None:
        return None
    places = {
        number: tuple(
            StripPlan(
                col=strip.col,
                cols=strip.cols,
                blocks=strip.blocks,
                core=core,
                places=tuple((p.array, p.w_row_start, p.w_col_start) for p in places),
            )
            for strip, core, places in zip(strips[number], placement.core_of[i], placement.places[i], strict=True)
        )
        for i, number in enumerate(order)
    }
    return {kernel: places[first[matrix]] for kernel, matrix in matrices.items()}


def make_program(lowered: Lowered, planned: Planned, chip: Chip) -> Built:
    """Nests and queues."""
    memory, array = chip.memory, chip.array
    machine = Machine(
        cores=chip.cores.value,
        arrays_per_core=array.per_core.value,
        array_rows=array.rows.value,
        array_cols=array.cols.value,
        input_bytes=memory.input_bytes.value,
        psum_bytes=memory.psum_bytes.value,
        output_bytes=memory.output_bytes.value,
    )
    return build_program(lowered.network, planned.schedule, lowered.constants, machine)


def plan_and_program(lowered: Lowered, chip: Chip, stream: int, budget: int | None = None) -> tuple[Planned, Built]:
    """Schedule and program; for a stream of inputs those of two ways to deal out the weights that take them faster.
    `budget`: arrays for copies of the weights. Where too few inputs fit the near memory to keep those busy, tensors
    move to one further away if that is faster."""
    kernels = len(lowered.network.kernels)

    def made(stretches: bool, far: int = 0) -> tuple[Planned, Built]:
        planned = make_plan(lowered.network, chip, stream, stretches, budget, far)
        return planned, make_program(lowered, planned, chip)

    def interval(way: tuple[Planned, Built]) -> int:
        planned, built = way
        return timing.interval(chip, built.program, kernels, planned.schedule.window)

    if stream == 1:
        return made(False)
    ways = {stretches: made(stretches) for stretches in (True, False)}
    best = min(ways, key=lambda way: interval(ways[way]))
    planned, built = ways[best]
    wanted = min(stream, MOST_WITH_COPIES, _inputs_wanted(chip, built, kernels)) if budget is not None else 1
    if wanted <= planned.schedule.window:
        return planned, built
    return min((planned, built), made(best, wanted), key=interval)


def _inputs_wanted(chip: Chip, built: Built, kernels: int) -> int:
    """Inputs that have to be on their way so that the busiest unit of any core never waits for one."""
    busy: Counter[tuple[int, str]] = Counter()
    trace = timing.trace(chip, with_stream_length(built.program, 1), kernels)
    for span in trace.spans:
        busy[span.core, span.unit] += span.busy_ps
    return -(-trace.latency_ps // max(1, *busy.values())) + 1


def compile_model(
    model: Model,
    samples: Mapping[str, Array] | None,
    chip: Chip,
    options: QuantOptions,
    stream: int = 1,
    budget: int | None = None,
    most_groups: int | None = None,
) -> Compiled:
    """All stages; nothing is checked yet. `stream`: inputs that one run takes as a pipeline; `budget`: arrays for
    copies of the weights; `most_groups`: of a grouped convolution in one block. Raises `Refusal`."""
    quantised = quantise(model, samples, options)
    lowered = with_states(to_kernels(quantised.model, chip, most_groups), options.states)
    planned, built = plan_and_program(lowered, chip, stream, budget)
    program = binary.encode(built.program)
    trace = timing.trace(chip, built.program, len(lowered.network.kernels), planned.schedule.window)
    return Compiled(
        quantised=quantised,
        chip=chip,
        lowered=lowered,
        planned=planned,
        built=built,
        program=program,
        trace=trace,
        golden=golden_model(lowered.network, lowered.constants),
    )

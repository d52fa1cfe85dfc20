"""Copies of layers in programs: proved free of races, the same numbers as with every weight once, by all engines."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt
import onnx
import pytest

from bitline import pipeline
from bitline.core.diagnostics import Refusal
from bitline.graph.model import Model
from bitline.ir.kernels import MatMul
from bitline.ir.program import Mvm, executions
from bitline.isa import binary
from bitline.pipeline.compile import plan_and_program
from bitline.place.duplication import shortest_interval
from bitline.quant.options import QuantOptions
from bitline.sim import timing
from bitline.verify.program import verify_program
from bitline.verify.residency import Geometry, verify_residency
from bitline.verify.schedule import verify_schedule
from tests.codegen.test_pipeline import STREAM, ran, wrong
from tests.graph.build import parsed
from tests.lower.engines import Artefacts, build, differences, stored_inputs
from tests.lower.random_networks import random_network
from tests.lower.test_random_networks import arrays
from tests.lower.test_random_networks import quantised as quantised_random
from tests.verify.brute_force import judge
from tests.verify.compiled import quantised_mnist
from tests.verify.mutants import deletions

SMALL = "sram-dcim"
MANY = (*arrays(32, 8, 24, 5), "array.group_rows=32")
"""Five cores of 24 arrays, so that copies lie side by side on a core and on several cores."""


def structure(made: Artefacts) -> list[str]:
    """What the checks of residency and schedule say."""
    chip, network = made.chip, made.network
    geometry = Geometry(
        cores=chip.cores.value,
        arrays_per_core=chip.array.per_core.value,
        array_rows=chip.array.rows.value,
        array_cols=chip.array.cols.value,
    )
    tables = len(made.built.constants["tables"])
    sizes = {"shared": chip.memory.shared_bytes.value, "dram": chip.memory.dram_bytes.value, "tables": tables}
    constants, planned = made.lowered.constants, made.planned
    errors = verify_residency(network, constants, planned.blocks, made.built.constants["weights"], geometry)
    errors += verify_schedule(network, planned.schedule, sizes, chip.cores.value)
    return [str(error) for error in errors]


def copies(made: Artefacts) -> list[int]:
    """Of every kernel with weights."""
    plans = zip(made.network.kernels, made.planned.schedule.kernels, strict=True)
    return [plan.copies for kernel, plan in plans if isinstance(kernel, MatMul)]


def used(made: Artefacts) -> int:
    return len({(b.region.core, b.region.array) for b in made.planned.blocks})


def compiled(signature: str, body: str, weights: dict[str, tuple[int, ...]]) -> Model:
    constants: dict[str, npt.NDArray[np.generic]] = {
        name: np.random.default_rng(ord(name)).normal(0, 0.3, shape).astype(np.float32)
        for name, shape in weights.items()
    }
    proto = parsed(signature, body, constants, opset=17)
    shape = [d.dim_value for d in proto.graph.input[0].type.tensor_type.shape.dim]
    samples: dict[str, npt.NDArray[np.generic]] = {
        proto.graph.input[0].name: np.random.default_rng(1).normal(0, 1, (4 * shape[0], *shape[1:])).astype(np.float32)
    }
    with TemporaryDirectory() as folder:
        path = Path(folder) / "net.onnx"
        onnx.save(proto, path)
        model = pipeline.load(path, {})
    return pipeline.quantise(model, samples, QuantOptions(method="minmax")).model


NETWORKS: dict[str, tuple[str, str, dict[str, tuple[int, ...]]]] = {
    "odd pixels, more copies than rows": (
        "float[1,3,7,5] x) => (float[1,4,1,1] y",
        "a = Conv<pads = [1, 1, 1, 1]>(x, w) r = Relu(a) b = Conv<strides = [2, 2]>(r, v) y = GlobalAveragePool(b)",
        {"w": (6, 3, 3, 3), "v": (4, 6, 3, 3)},
    ),
    "a single row": (
        "float[1,2,1,23] x) => (float[1,20,1,23] y",
        "a = Conv<pads = [0, 1, 0, 1]>(x, w) r = Relu(a) y = Conv(r, v)",
        {"w": (9, 2, 1, 3), "v": (20, 9, 1, 1)},
    ),
    "depthwise and grouped": (
        "float[1,6,6,6] x) => (float[1,12,4,4] y",
        "a = Conv<pads = [1, 1, 1, 1], group = 6>(x, w) r = Relu(a) y = Conv<group = 3>(r, v)",
        {"w": (6, 1, 3, 3), "v": (12, 2, 3, 3)},
    ),
    "shared weights": (
        "float[5,16] x) => (float[5,16] y",
        "a = MatMul(x, w) r = Relu(a) b = MatMul(r, w) s = Relu(b) y = MatMul(s, v)",
        {"w": (16, 16), "v": (16, 16)},
    ),
    "one layer": ("float[1,2,1,7] x) => (float[1,4,1,7] y", "y = Conv(x, w)", {"w": (4, 2, 1, 1)}),
    "one pixel": (
        "float[1,40] x) => (float[1,7] y",
        "a = MatMul(x, w) r = Relu(a) y = MatMul(r, v)",
        {"w": (40, 30), "v": (30, 7)},
    ),
}


@cache
def network(name: str) -> Model:
    return compiled(*NETWORKS[name])


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("budget", [26, 61, 120])
def test_copies_give_the_same_numbers(name: str, budget: int) -> None:
    """One inference, by all engines: the simulators, the reference and golden."""
    made = build(network(name), SMALL, MANY, budget=budget)
    assert structure(made) == []
    assert used(made) <= budget
    assert differences(made, budget) == []


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(("budget", "apart"), [(61, True), (120, False)])
def test_a_stream_with_copies_gives_the_same_numbers_as_one_by_one(name: str, budget: int, apart: bool) -> None:
    made = build(network(name), SMALL, MANY, budget=budget, stream=STREAM, stretches=apart)
    assert structure(made) == []
    assert used(made) <= budget
    assert wrong(made, build(network(name), SMALL, MANY), budget) == []


def test_networks_are_what_their_names_say() -> None:
    """With many arrays: more copies than rows, copies on one core and on several, no copy that has nothing to do."""
    odd = build(network("odd pixels, more copies than rows"), SMALL, MANY, budget=120, stream=STREAM)
    assert copies(odd)[0] > odd.network.kernels[0].read.shape[0] if isinstance(odd.network.kernels[0], MatMul) else 0
    jobs = odd.planned.schedule.kernels[0].jobs
    assert len({job.first_core for job in jobs}) > 1
    assert max(job.copies for job in jobs) > 1
    assert any(len(job.share) > 1 for job in jobs), "shares that begin and end inside rows"
    assert copies(build(network("one pixel"), SMALL, MANY, budget=120)) == [1, 1]
    shared = build(network("shared weights"), SMALL, MANY, budget=120, stream=STREAM)
    assert shared.planned.schedule.kernels[0].matrix_copy == shared.planned.schedule.kernels[1].matrix_copy
    assert copies(shared)[:2] == [5, 5]
    depthwise = build(network("depthwise and grouped"), SMALL, MANY, budget=120, stream=STREAM)
    assert min(copies(depthwise)) > 1


@pytest.mark.parametrize("seed", range(12))
def test_random_networks_with_copies(seed: int) -> None:
    model = quantised_random(random_network(seed), seed)
    stream = STREAM if seed % 2 else 1
    try:
        made = build(model, SMALL, (*arrays(32, 16, 40, 6),), stream=stream, stretches=seed % 4 == 1, budget=240)
    except Refusal as refusal:
        pytest.skip(f"refused: {refusal.diagnostics[0].message}")
    assert structure(made) == []
    if stream > 1:
        assert wrong(made, build(model, SMALL, (*arrays(32, 16, 40, 6),)), seed) == []
    else:
        assert differences(made, seed) == []


def test_every_copy_fires_its_share() -> None:
    """Of q pixels and d copies none fires more than ceil(q / d) times, and all together once per pixel and block."""
    made = build(network("odd pixels, more copies than rows"), SMALL, MANY, budget=120, stream=STREAM)
    (queue,) = [queue for queue in made.built.program.main if queue.unit == "mvm"]
    fired = sum(
        times for place, times in executions(queue, made.built.program.cores) if isinstance(queue.code[place], Mvm)
    )
    wanted = 0
    for kernel, plan in zip(made.network.kernels, made.planned.schedule.kernels, strict=True):
        if not isinstance(kernel, MatMul):
            continue
        blocks = sum(len(job.pieces) * job.copies for job in plan.jobs) // plan.copies
        wanted += blocks * kernel.pixels * STREAM
        for job in plan.jobs:
            pixels = sum(part.count for part in job.parts(*kernel.read.shape[:2]))
            assert -(-pixels // job.copies) <= -(-kernel.pixels // plan.copies)
    assert fired == wanted


def test_brute_force_finds_nothing_wrong_and_every_signal_is_needed() -> None:
    chip = (*arrays(32, 16, 2, 2), "array.group_rows=32", "memory.output_bytes=16")
    made = build(network("one layer"), SMALL, chip, budget=3, stream=2, stretches=True)
    program = made.built.program
    assert [job.copies for job in made.planned.schedule.kernels[0].jobs] == [2, 1]
    assert judge(program).wrong == set()
    assert verify_program(binary.encode(program)).errors == ()
    verdicts = [
        (name, bool(verify_program(binary.encode(spoilt)).errors), bool(judge(spoilt).wrong))
        for name, spoilt in deletions(program)
    ]
    assert len(verdicts) >= 40
    assert [name for name, rejected, wrong_ in verdicts if rejected != wrong_] == []
    assert [name for name, rejected, _ in verdicts if not rejected] == []


def test_the_interval_falls_with_the_copies() -> None:
    """MNIST on ISAAC: as short as the slowest layer with its copies, and a little for its first and last tile."""
    model, intervals = quantised_mnist(), list[float]()
    for budget in (None, 60, 200):
        made = build(model, "isaac", stream=24, stretches=True, budget=budget)
        window = made.planned.schedule.window
        spent = timing.interval(made.chip, made.built.program, len(made.network.kernels), window)
        slowest = max(
            -(-kernel.pixels // plan.copies)
            for kernel, plan in zip(made.network.kernels, made.planned.schedule.kernels, strict=True)
            if isinstance(kernel, MatMul)
        )
        mvm_ps = 1_000_000  # of 128 rows
        assert spent >= slowest * mvm_ps
        assert budget is None or spent <= 1.1 * slowest * mvm_ps + 2_000_000
        intervals.append(spent)
    assert intervals[0] > 3 * intervals[1] > 12 * intervals[2]


def test_tensors_move_away_where_inputs_would_wait_for_room() -> None:
    """The near memory holds few frames: with tensors further away more inputs are on their way, and results come
    sooner."""
    small = ("memory.shared_bytes=40000",)
    near = build(quantised_mnist(), "isaac", small, stream=STREAM, stretches=True, budget=200)
    planned, built = plan_and_program(near.lowered, near.chip, STREAM, 200)
    kernels = len(near.network.kernels)
    windows = [of.schedule.window for of in (near.planned, planned)]
    assert windows[0] < windows[1] <= STREAM
    intervals = [
        timing.interval(near.chip, program, kernels, window)
        for program, window in zip((near.built.program, built.program), windows, strict=True)
    ]
    assert intervals[1] < 0.9 * intervals[0]
    moved = Artefacts(chip=near.chip, lowered=near.lowered, planned=planned, built=built)
    assert structure(moved) == []
    assert verify_program(binary.encode(built.program)).errors == ()
    inputs = stored_inputs(near.network, 3, samples=STREAM + 2)
    outputs = ran(moved, inputs).outputs
    for name, values in ran(build(quantised_mnist(), "isaac"), inputs).outputs.items():
        assert np.array_equal(values, outputs[name])


def test_copies_that_do_not_fit_the_cores_give_way_to_fewer() -> None:
    """Cores of three arrays, and a layer whose copies take two: some arrays are left over on every core."""
    chip = (*arrays(32, 8, 3, 8), "array.group_rows=32")
    model = network("odd pixels, more copies than rows")
    ideal = shortest_interval([1, 2], [35, 6], 24)
    made = build(model, SMALL, chip, stream=STREAM, stretches=False, budget=24)
    assert ideal is not None
    assert [kernel.pixels for kernel in made.network.kernels if isinstance(kernel, MatMul)] == [35, 6]
    assert structure(made) == []
    assert (used(made), ideal.arrays) == (16, 24), (
        "18 + 2 x 3 arrays leave none on any core: the next best is 12 + 2 x 2"
    )
    assert wrong(made, build(model, SMALL, chip), 2) == []

"""Programs of pipelines: proved free of races, the same numbers as one input at a time, and every signal needed."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from bitline.core.diagnostics import Refusal
from bitline.ir.program import (
    NO_KERNEL,
    Instruction,
    Loop,
    Queue,
    Recv,
    Send,
    stream_length,
    with_stream_length,
)
from bitline.ir.schedule import neighbours
from bitline.isa import binary
from bitline.numerics.stored import to_bytes
from bitline.sim import timing
from bitline.sim.runner import Ran, Runner
from bitline.target.load import load_target
from bitline.verify.network import verify_network
from bitline.verify.program import verify_program
from tests.lower.engines import Artefacts, build, stored_inputs
from tests.lower.random_networks import random_network
from tests.lower.test_random_networks import arrays, quantised
from tests.verify.brute_force import judge
from tests.verify.compiled import quantised_mnist, streamed_mnist, streamed_tiny
from tests.verify.mutants import deletions

CHIPS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("isaac", ()),
    ("reram-tile", ()),
    ("sram-dcim", (*arrays(32, 8, 9, 7),)),
    ("reram-tile", (*arrays(16, 16, 24, 3), "memory.shared_bytes=2048")),
)
SEEDS = range(48)
STREAM = 5


def ran(made: Artefacts, inputs: dict[str, np.ndarray], *, step: bool = False) -> Ran:
    network = made.network
    runner = Runner(binary.decode(binary.encode(made.built.program)), made.built.constants, made.host.functions)
    data = {name: to_bytes(values, network.tensor(name)) for name, values in inputs.items()}
    return runner.step(data) if step else runner.run(data)


def wrong(made: Artefacts, alone: Artefacts, seed: int) -> list[str]:
    """What the checks and the simulators say against a stream: 7 samples in two streams, where the last is not full."""
    errors = [*verify_network(made.network, made.lowered.constants)]
    errors += verify_program(binary.encode(made.built.program)).errors
    if errors:
        return [str(error) for error in errors]
    inputs = stored_inputs(made.network, seed, samples=STREAM + 2)
    together, single = ran(made, inputs), ran(alone, inputs)
    found = [name for name, values in single.outputs.items() if not np.array_equal(values, together.outputs[name])]
    first = {name: values[:STREAM] for name, values in inputs.items()}
    stepped = ran(made, first, step=True)
    found += [
        f"{name} step by step"
        for name, values in single.outputs.items()
        if not np.array_equal(values[:STREAM], stepped.outputs[name])
    ]
    return found


@pytest.mark.parametrize("seed", SEEDS)
def test_a_random_network_gives_the_same_numbers_as_a_pipeline(seed: int) -> None:
    target, overrides = CHIPS[seed % len(CHIPS)]
    try:
        model = quantised(random_network(seed), seed)
        alone = build(model, target, overrides)
        made = build(model, target, overrides, stream=STREAM, stretches=seed % 3 > 0)
    except Refusal as refusal:
        pytest.skip(f"refused: {refusal.diagnostics[0].message}")
    assert wrong(made, alone, seed) == []


@pytest.mark.parametrize("target", ["isaac", "puma"])
@pytest.mark.parametrize("stretches", [True, False])
def test_mnist_gives_the_same_numbers_as_a_pipeline(target: str, stretches: bool) -> None:
    model = quantised_mnist()
    made = build(model, target, stream=STREAM, stretches=stretches)
    assert wrong(made, build(model, target), 1) == []


def test_brute_force_finds_nothing_wrong_with_a_pipeline() -> None:
    program = streamed_tiny().built.program
    assert program.cores == 3
    kinds = {type(i) for queue in program.main for i in queue.code}
    assert {Send, Recv} <= kinds
    assert judge(program).wrong == set()
    assert verify_program(binary.encode(program)).errors == ()


def test_a_pipeline_without_one_signal_is_rejected_as_by_brute_force() -> None:
    program = streamed_tiny().built.program
    verdicts = [
        (name, bool(verify_program(binary.encode(spoilt)).errors), bool(judge(spoilt).wrong))
        for name, spoilt in deletions(program)
    ]
    assert len(verdicts) >= 60
    assert [name for name, rejected, wrong_ in verdicts if rejected != wrong_] == []
    assert [name for name, rejected, _ in verdicts if not rejected] == []


def test_frames_that_are_taken_too_early_are_a_race() -> None:
    """Frames are opened once more than there are: an input writes over what another one still reads."""
    program = build(quantised_mnist(), "isaac", stream=12, stretches=True).built.program
    assert verify_program(binary.encode(program)).errors == ()
    spoilt = replace(program, main=tuple(_opened_wider(queue) for queue in program.main))
    assert spoilt != program
    errors = verify_program(binary.encode(spoilt)).errors
    assert any("no token orders the two" in error.message for error in errors), errors


def _opened_wider(queue: Queue) -> Queue:
    """Loops before and behind the one over the inputs, which open and close frames, with one more pass."""
    inside = False
    code: list[Instruction] = []
    for instruction, kernel in zip(queue.code, queue.kernels, strict=True):
        whole = kernel == NO_KERNEL
        if isinstance(instruction, Loop) and not inside and not whole:
            code.append(replace(instruction, count=instruction.count + 1))
        else:
            code.append(instruction)
        inside = not inside if whole else inside
    return replace(queue, code=tuple(code))


# -- time --------------------------------------------------------------------------------------------------------------


def test_the_interval_is_that_of_the_busiest_unit() -> None:
    """MNIST on ISAAC, kernels on cores of their own: no result comes sooner than the busiest unit can, and hardly
    later."""
    made = streamed_mnist("isaac")
    trace = timing.trace(load_target("isaac"), made.built.program, len(made.network.kernels), made.schedule.window)
    busy: Counter[tuple[int, str]] = Counter()
    for span in trace.spans:
        busy[span.core, span.unit] += span.busy_ps
    assert max(busy.values()) <= trace.interval_ps < 1.01 * max(busy.values())
    assert trace.interval_ps < 0.7 * trace.latency_ps


def test_the_length_of_a_stream_can_be_changed() -> None:
    program = streamed_tiny().built.program
    assert stream_length(program) == 5
    assert stream_length(with_stream_length(program, 1)) == 1
    assert with_stream_length(program, 5) == program
    assert stream_length(build(quantised_mnist(), "isaac").built.program) == 1


def test_a_longer_stream_takes_as_much_longer() -> None:
    """The interval is the time that one more input costs, whatever the length."""
    made = streamed_mnist("isaac")
    chip, kernels = load_target("isaac"), len(made.network.kernels)
    times = [
        timing.trace(chip, made.built.program, kernels, 3).interval_ps,
        timing.interval(chip, with_stream_length(made.built.program, 40), kernels, 3),
    ]
    assert times[0] == times[1]


@pytest.mark.parametrize(
    ("cores", "runs"), [([], []), ([4], [range(4, 5)]), ([5, 1, 2, 2, 7, 6], [range(1, 3), range(5, 8)])]
)
def test_runs_of_neighbouring_cores(cores: list[int], runs: list[range]) -> None:
    assert neighbours(cores) == runs

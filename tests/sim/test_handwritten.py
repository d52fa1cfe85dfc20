"""The hand-written layer: three ways to its numbers agree, and its time is explained by its MVMs."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt
import pytest

from bitline.ir.program import Mvm, WriteWeights, static_instructions
from bitline.ir.trace import Trace
from bitline.isa import binary
from bitline.sim import timing
from bitline.sim.runner import Runner
from bitline.target.costs import instruction_cost
from bitline.target.load import load_target
from bitline.verify.program import verify_program
from tests.sim.handwritten import IN, OUT, SIZE, Layer, conv_layer, plain_convolution

STATIC, EXECUTED = 76, 63_040
MVMS = SIZE * SIZE * 18 * 4
WRITES = SIZE * 18 * 4


@cache
def layer() -> Layer:
    return conv_layer()


@cache
def trace() -> Trace:
    return timing.trace(load_target("reram-tile"), layer().program, kernels=1)


def images(samples: int) -> npt.NDArray[np.uint8]:
    rng = np.random.default_rng(1)
    found = rng.integers(0, 256, (samples, SIZE, SIZE, IN)).astype(np.uint8)
    found[-1] = rng.choice(np.array([0, 255], np.uint8), found[-1].shape)
    return found


def test_execute_equals_the_plain_convolution() -> None:
    x = images(3)
    ran = Runner(layer().program, layer().constants).run({"x": x.reshape(3, -1)})
    wanted = np.stack([plain_convolution(layer(), image) for image in x])
    assert np.array_equal(ran.outputs["y"].reshape(3, SIZE, SIZE, OUT), wanted)
    assert ran.clipped == 0


def test_step_equals_the_plain_convolution() -> None:
    x = images(1)
    ran = Runner(layer().program, layer().constants).step({"x": x.reshape(1, -1)})
    assert np.array_equal(ran.outputs["y"].reshape(SIZE, SIZE, OUT), plain_convolution(layer(), x[0]))
    assert ran.instructions == EXECUTED


def test_the_verifier_finds_nothing_and_counts_the_same() -> None:
    proof = verify_program(binary.encode(layer().program))
    assert not proof.errors
    assert proof.executed == EXECUTED


def test_instruction_counts() -> None:
    assert static_instructions(layer().program) == STATIC
    assert trace().instructions == EXECUTED
    assert sum(cost.instructions for cost in trace().costs) == EXECUTED
    assert trace().costs[0].mvms == MVMS


def duration_ps(kind: type[Mvm | WriteWeights]) -> int:
    """How long one instruction of a kind occupies its array."""
    program = layer().program
    instruction = next(i for queue in program.main for i in queue.code if isinstance(i, kind))
    return instruction_cost(load_target("reram-tile"), program, instruction).duration_ps


def test_latency_lies_close_above_the_bounds_of_its_arrays() -> None:
    """A core fires 1/4 of the MVMs on 9 arrays at most, and writes weights one block after another."""
    assert trace().costs[0].weight_writes == WRITES
    mvm_bound, write_bound = MVMS // 4 // 9 * duration_ps(Mvm), WRITES // 4 * duration_ps(WriteWeights)
    assert mvm_bound < write_bound < trace().latency_ps < 1.05 * write_bound


def test_busy_time_fits_into_the_latency() -> None:
    for span in trace().spans:
        assert 0 <= span.start_ps <= span.end_ps <= trace().latency_ps
        if span.unit != "mvm":  # several arrays at once
            assert span.busy_ps <= span.end_ps - span.start_ps


@pytest.mark.parametrize("slower", ["array.step_ns=100", "dma.bytes_per_ns=0.5", "noc.message_ns=100000"])
def test_a_slower_part_never_makes_the_program_faster(slower: str) -> None:
    assert (
        timing.trace(load_target("reram-tile", (slower,)), layer().program, kernels=1).latency_ps > trace().latency_ps
    )

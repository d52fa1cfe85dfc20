"""Batches of sections equal the oracle that runs one instruction after another, in every byte of every memory."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitline.ir.program import PostOp, Program
from bitline.numerics import vector
from bitline.sim import execute, step
from bitline.sim.machine import Machine, power_up
from tests.sim.random_programs import HOST, random_program

SEEDS_PER_CASE = 20


def started(program: Program, constants: dict[str, bytes], seed: int) -> Machine:
    """A machine with random memories and arrays, so that every byte read matters."""
    machine = power_up(program, constants, 1, HOST)
    rng = np.random.default_rng(seed)
    for memory, space in zip(machine.memories, program.spaces, strict=True):
        if not space.constant:
            memory[:] = rng.integers(0, 256, memory.shape)
    machine.arrays[:] = rng.integers(0, 256, machine.arrays.shape)
    return machine


@pytest.mark.parametrize("case", range(12))
def test_execute_equals_step_in_all_memories(case: int) -> None:
    for seed in range(case * SEEDS_PER_CASE, (case + 1) * SEEDS_PER_CASE):
        program, constants = random_program(seed)
        batched, single = (started(program, constants, seed) for _ in range(2))
        execute.run(batched, program.main)
        step.run(single, program.main)
        for space, got, wanted in zip(program.spaces, batched.memories, single.memories, strict=True):
            assert np.array_equal(got, wanted), f"seed {seed}: memory {space.name}"
        assert np.array_equal(batched.arrays, single.arrays), f"seed {seed}: arrays"
        counted = [(m.executed, m.conversions, m.clipped) for m in (batched, single)]
        assert counted[0] == counted[1], f"seed {seed}"


words = st.integers(-(2**31), 2**31 - 1)


@given(
    sums=st.lists(st.one_of(words, st.integers(-(2**20), 2**20)), min_size=1, max_size=12),
    columns=st.lists(
        st.tuples(words | st.integers(-5000, 5000), st.integers(0, 1 << 24), st.integers(0, 62)), min_size=1, max_size=3
    ),
    signed=st.booleans(),
    zero=st.integers(-128, 255),
)
def test_fast_requantisation_is_the_reference(
    sums: list[int], columns: list[tuple[int, int, int]], signed: bool, zero: int
) -> None:
    low, high = (-128, 127) if signed else (0, 255)
    post = PostOp(op="requantise", types=("s32",), y="s8" if signed else "u8", zero_y=zero, low=low, high=high)
    parameters = np.array(columns, np.int64)
    acc = np.array(sums * len(columns), np.int64)
    fast = execute.fast_requantise(post, acc.astype(np.int32), parameters.astype(np.int32).view(np.uint8).reshape(-1))
    slow = vector.requantise_columns(acc.reshape(-1, len(columns)), parameters, zero, low, high)
    assert np.array_equal(fast, slow.reshape(-1))

"""Running one program on many samples: queues are cut into sections once, resident weights are written once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bitline.ir.program import Program
from bitline.sim import execute, step
from bitline.sim.machine import HostFunction, power_up, put_inputs, take_outputs

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """Stored outputs [samples, bytes] by tensor, and what the converters did."""

    outputs: dict[str, Bytes]
    instructions: int
    conversions: int
    clipped: int


class Runner:
    """A simulated chip with its program and constant memories."""

    def __init__(self, program: Program, constants: Mapping[str, bytes], host: Sequence[HostFunction] = ()) -> None:
        self.program, self.constants, self.host = program, dict(constants), tuple(host)
        self._executor = execute.Executor(power_up(program, self.constants, 1, self.host))
        execute.run(self._executor.machine, program.setup, self._executor)

    def run(self, inputs: Mapping[str, Bytes]) -> Ran:
        """Stored inputs [samples, bytes] by tensor, all samples at once; one sample where there are no inputs."""
        samples = next((len(values) for values in inputs.values()), 1)
        machine = power_up(self.program, self.constants, samples, self.host)
        machine.arrays = self._executor.machine.arrays
        self._executor.machine = machine
        put_inputs(machine, dict(inputs))
        execute.run(machine, self.program.main, self._executor)
        return Ran(
            outputs=take_outputs(machine),
            instructions=machine.executed,
            conversions=machine.conversions,
            clipped=machine.clipped,
        )

    def step(self, inputs: Mapping[str, Bytes]) -> Ran:
        """One sample, instruction by instruction: slow, and what `run` has to equal."""
        machine = power_up(self.program, self.constants, 1, self.host)
        put_inputs(machine, dict(inputs))
        step.run(machine, self.program.setup)
        before = machine.executed
        step.run(machine, self.program.main)
        return Ran(
            outputs=take_outputs(machine),
            instructions=machine.executed - before,
            conversions=machine.conversions,
            clipped=machine.clipped,
        )

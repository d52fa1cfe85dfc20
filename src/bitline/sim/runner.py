"""Running one program on many samples: queues are cut into sections once, resident weights are written once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bitline.ir.program import Program, stream_length
from bitline.sim import execute, step
from bitline.sim.machine import HostFunction, Machine, power_up, put_inputs, take_outputs

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

    @property
    def stream(self) -> int:
        """How many samples one run of the program takes."""
        return stream_length(self.program)

    def run(self, inputs: Mapping[str, Bytes]) -> Ran:
        """Stored inputs [samples, bytes] by tensor, all samples at once; one sample where there are no inputs."""
        samples = _count(inputs)
        machine = power_up(self.program, self.constants, -(-samples // self.stream), self.host)
        machine.arrays = self._executor.machine.arrays
        self._executor.machine = machine
        put_inputs(machine, in_streams(inputs, self.stream))
        execute.run(machine, self.program.main, self._executor)
        return self._ran(machine, samples, machine.executed)

    def step(self, inputs: Mapping[str, Bytes]) -> Ran:
        """One run, of one sample or of one stream, instruction by instruction: slow, and what `run` has to equal."""
        machine = power_up(self.program, self.constants, 1, self.host)
        put_inputs(machine, in_streams(inputs, self.stream))
        step.run(machine, self.program.setup)
        before = machine.executed
        step.run(machine, self.program.main)
        return self._ran(machine, _count(inputs), machine.executed - before)

    def _ran(self, machine: Machine, samples: int, executed: int) -> Ran:
        outputs = take_outputs(machine)
        return Ran(
            outputs={name: data.reshape(len(data) * self.stream, -1)[:samples] for name, data in outputs.items()},
            instructions=executed,
            conversions=machine.conversions,
            clipped=machine.clipped,
        )


def _count(inputs: Mapping[str, Bytes]) -> int:
    return next((len(values) for values in inputs.values()), 1)


def in_streams(inputs: Mapping[str, Bytes], length: int) -> dict[str, Bytes]:
    """[samples, bytes] -> [runs, length * bytes]; where samples are missing, the last one is taken again."""
    missing = -_count(inputs) % length
    return {
        name: np.concatenate([values, np.repeat(values[-1:], missing, axis=0)]).reshape(-1, length * values.shape[1])
        for name, values in inputs.items()
    }

"""Host kernels, run by ONNX Runtime, unoptimised: for the reference on arrays, for the simulator on stored bytes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt

from bitline.engines.ort import Session
from bitline.ir.kernels import NUMPY, Constants, Host, Network
from bitline.sim.machine import HostFunction

Array = npt.NDArray[np.generic]
Bytes = npt.NDArray[np.uint8]


class HostKernels:
    """The subgraphs of a network, each loaded once, when it is first needed."""

    def __init__(self, network: Network, constants: Constants) -> None:
        self.network, self.constants = network, constants
        self.sessions: dict[str, Session] = {}

    def run(self, kernel: Host, inputs: Sequence[Array]) -> list[Array]:
        """Stored outputs from stored inputs, each [H, W, C]."""
        session = self.sessions.get(kernel.name)
        if session is None:
            model = self.constants[kernel.model].astype(np.uint8).tobytes()
            session = self.sessions[kernel.name] = Session(model, optimise=False, place=kernel.name)
        feeds: dict[str, Array] = {}
        for (name, (dtype, shape)), value in zip(session.inputs.items(), inputs, strict=True):
            feeds[name] = np.ascontiguousarray(value.astype(dtype)).reshape(shape)
        values = session.run(feeds)
        return [
            made.astype(NUMPY[self.network.tensor(y).dtype]).reshape(self.network.tensor(y).shape)
            for y, made in zip(kernel.ys, values.values(), strict=True)
        ]

    @cached_property
    def functions(self) -> tuple[HostFunction, ...]:
        """For the simulator, in the order of `Program.calls`."""
        return tuple(self._function(kernel) for kernel in self.network.kernels if isinstance(kernel, Host))

    def _function(self, kernel: Host) -> HostFunction:
        tensors = [self.network.tensor(name) for name in kernel.xs]

        def call(data: Bytes) -> Bytes:
            inputs: list[Array] = []
            at = 0
            for tensor in tensors:
                raw = np.ascontiguousarray(data[at : at + tensor.size_bytes])
                inputs.append(raw.view(NUMPY[tensor.dtype]).reshape(tensor.shape))
                at += tensor.size_bytes
            return np.concatenate(
                [np.ascontiguousarray(v).reshape(-1).view(np.uint8) for v in self.run(kernel, inputs)]
            )

        return call

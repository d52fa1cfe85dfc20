"""Host kernels, run by ONNX Runtime, unoptimised: for the reference on arrays, for the simulator on stored bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt
import onnx

from bitline.core.diagnostics import Refusal, refuse
from bitline.engines.ort import Session, run_model
from bitline.ir.kernels import NUMPY, Constants, Host, Network
from bitline.lower.host import HIGH, LOW, RESULT, ROW
from bitline.sim.machine import HostFunction

Array = npt.NDArray[np.generic]
Bytes = npt.NDArray[np.uint8]


class HostKernels:
    """The subgraphs of a network, each loaded once, when it is first needed."""

    def __init__(self, network: Network, constants: Constants) -> None:
        self.network, self.constants = network, constants
        self.sessions: dict[str, Session] = {}

    def run(self, kernel: Host, inputs: Sequence[Array]) -> list[Array]:
        """Stored outputs from stored inputs, each [H, W, C]. Raises `Refusal`: integers beyond their limits (BL0105),
        whatever else ONNX Runtime ends at (BL0202)."""
        session = self.sessions.get(kernel.name)
        if session is None:
            model = self.constants[kernel.model].astype(np.uint8).tobytes()
            session = self.sessions[kernel.name] = Session(model, optimise=False, place=kernel.name)
        feeds: dict[str, Array] = {}
        for (name, (dtype, shape)), value in zip(session.inputs.items(), inputs, strict=True):
            feeds[name] = np.ascontiguousarray(value.astype(dtype)).reshape(shape)
        try:
            values = session.run(feeds)
        except Refusal:
            self._check_limits(kernel, feeds)
            raise
        return [
            made.astype(NUMPY[self.network.tensor(y).dtype]).reshape(self.network.tensor(y).shape)
            for y, made in zip(kernel.ys, values.values(), strict=True)
        ]

    def _check_limits(self, kernel: Host, feeds: Mapping[str, Array]) -> None:
        """Raise `Refusal` (BL0105) where the subgraph ends because of integers beyond their limits."""
        model = onnx.load_model_from_string(self.constants[kernel.model].astype(np.uint8).tobytes())
        name = model.graph.output[0].name.removesuffix(RESULT)
        limits = {t.name: t for t in model.graph.initializer if t.name in (f"{name}{LOW}", f"{name}{HIGH}")}
        places = [node.name for node in model.graph.node]
        if len(limits) < 2 or f"{name}{ROW}" not in places:
            return
        kind = limits[f"{name}{LOW}"].data_type
        del model.graph.node[places.index(f"{name}{ROW}") + 1 :]
        del model.graph.output[:]
        model.graph.output.append(onnx.helper.make_tensor_value_info(f"{name}{ROW}", kind, None))
        row = run_model(model, feeds, optimise=False, place=kernel.name)[f"{name}{ROW}"]
        low, high = (int(onnx.numpy_helper.to_array(limits[f"{name}{end}"])) for end in (LOW, HIGH))
        if int(row.min()) < low or int(row.max()) > high:
            raise refuse(
                "BL0105",
                f"tensor {name!r} holds {int(row.min())}..{int(row.max())}; the chip takes {low}..{high}",
                place=kernel.name,
                help="give inputs that keep it within that range, or compute it outside of the network",
            ) from None

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

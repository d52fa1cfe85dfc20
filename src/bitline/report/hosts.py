"""What the host does, why, and what it costs; and which tensors quantisation gave 16 bits."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Final

from bitline.ir.kernels import Host, Network
from bitline.ir.trace import Trace

PS_PER_US: Final = 1_000_000
HOST_UNIT: Final = "host"


@dataclass(frozen=True, slots=True, kw_only=True)
class HostRow:
    """A kernel that the host runs. `time_us` is the host's, `time_share` (0 to 1) of the whole inference."""

    kernel: int
    nodes: tuple[str, ...]
    why: str
    macs: int
    time_us: float
    time_share: float


def host_rows(network: Network, trace: Trace) -> tuple[HostRow, ...]:
    """All host kernels, in the order of the network."""
    busy: dict[int, int] = defaultdict(int)
    for span in trace.spans:
        if span.unit == HOST_UNIT:
            busy[span.kernel] += span.busy_ps
    return tuple(
        HostRow(
            kernel=place,
            nodes=kernel.nodes,
            why=kernel.why,
            macs=network.passes(place) * kernel.macs,
            time_us=busy[place] / PS_PER_US,
            time_share=busy[place] / trace.latency_ps if trace.latency_ps else 0.0,
        )
        for place, kernel in enumerate(network.kernels)
        if isinstance(kernel, Host)
    )


def wide_tensors(network: Network) -> tuple[str, ...]:
    """ONNX tensors of 16 bits that stand for reals."""
    return tuple(t.onnx for t in network.tensors if t.dtype == "s16" and t.onnx and not t.constant)

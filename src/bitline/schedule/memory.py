"""Addresses of tensors: each lives from its writer to its last reader; first the largest, at the lowest free
address."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from bitline.core.diagnostics import Diagnostic, Refusal
from bitline.ir.kernels import Host, Move, Network, inputs_of, outputs_of
from bitline.ir.residency import TensorResidency

ALIGNMENT = 64
HOST_MEMORY = "dram"
"""What the host can reach."""
MOST_NAMED = 20
"""Tensors without room; the largest are named."""
CONSTANT_MEMORY = "tables"
"""Filled before the first inference and never written."""


def lifetimes(network: Network) -> dict[str, tuple[int, int]]:
    """(first step, last step) of every tensor; the host writes before step 0 and reads after the last."""
    lives: dict[str, tuple[int, int]] = {}
    for port in network.ports:
        if port.direction == "input":
            lives[port.tensor] = (-1, -1)
    lives |= {tensor.name: (-1, len(network.kernels)) for tensor in network.tensors if tensor.constant}
    for step, kernel in enumerate(network.kernels):
        repeat = network.repeat_of(step)
        first, last = (repeat.first, repeat.last) if repeat else (step, step)
        for name in inputs_of(kernel):  # what comes from outside a repetition is read again in its last pass
            outside = lives[name][0] < first
            lives[name] = (lives[name][0], max(lives[name][1], last if outside else step))
        fills = isinstance(kernel, Move) and any(part.write_step for part in kernel.parts)
        for name in outputs_of(kernel):
            if name in lives:  # carried: written again
                lives[name] = (lives[name][0], last)
            else:
                lives[name] = (first, last) if fills else (step, step)
    for port in network.ports:
        if port.direction == "output":
            lives[port.tensor] = (lives[port.tensor][0], len(network.kernels))
    return lives


def constant_homes(network: Network) -> list[TensorResidency]:
    """Tensors that never change, one after another in the memory of tables."""
    homes: list[TensorResidency] = []
    address = 0
    for tensor in network.tensors:
        if not tensor.constant:
            continue
        homes.append(
            TensorResidency(
                tensor=tensor.name,
                memory=CONSTANT_MEMORY,
                address=address,
                bytes=tensor.size_bytes,
                from_step=-1,
                to_step=len(network.kernels),
            )
        )
        address += -(-tensor.size_bytes // ALIGNMENT) * ALIGNMENT
    return homes


def place_tensors(
    network: Network, capacities: Mapping[str, int], apart: Collection[str] = ()
) -> tuple[tuple[TensorResidency, ...], dict[str, int]]:
    """(residencies, bytes used per memory) of all tensors but those `apart`; `capacities` in order of preference.
    Raises `Refusal` (BL0401)."""
    lives = lifetimes(network)
    placed = constant_homes(network)
    homeless: list[Diagnostic] = []
    handed = {n for k in network.kernels if isinstance(k, Host) for n in (*inputs_of(k), *outputs_of(k))}
    order = sorted(network.tensors, key=lambda t: (-t.size_bytes, lives[t.name], t.name))
    for tensor in order:
        if tensor.constant or tensor.name in apart:
            continue
        first, last = lives[tensor.name]
        for memory, capacity in capacities.items():
            if memory != HOST_MEMORY and tensor.name in handed:
                continue
            taken = sorted(
                (p.address, p.address + p.bytes)
                for p in placed
                if p.memory == memory and p.from_step <= last and first <= p.to_step
            )
            address = 0
            for start, end in taken:
                if address + tensor.size_bytes <= start:
                    break
                address = max(address, -(-end // ALIGNMENT) * ALIGNMENT)
            if address + tensor.size_bytes <= capacity:
                placed.append(
                    TensorResidency(
                        tensor=tensor.name,
                        memory=memory,
                        address=address,
                        bytes=tensor.size_bytes,
                        from_step=first,
                        to_step=last,
                    )
                )
                break
        else:
            name = tensor.onnx or tensor.name
            homeless.append(
                Diagnostic(
                    code="BL0401",
                    message=f"tensor {name!r} needs {tensor.size_bytes:,} bytes: no room in {', '.join(capacities)}",
                    place=f"{network.name}:{name}",
                    help="use a smaller input, or a target with more memory (`--set memory.dram_bytes=...`)",
                )
            )
    if homeless:
        raise Refusal(homeless[:MOST_NAMED])
    used = {
        m: max((p.address + p.bytes for p in placed if p.memory == m), default=0)
        for m in (*capacities, CONSTANT_MEMORY)
    }
    return tuple(sorted(placed, key=lambda p: (p.from_step, p.tensor))), used

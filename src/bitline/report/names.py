"""How kernels, blocks and units are called wherever a person reads."""

from __future__ import annotations

from bitline.core.escape import printable
from bitline.ir.kernels import Kernel, MatMul, Network
from bitline.ir.residency import BlockResidency

__all__ = ["NO_KERNEL", "kernel_of", "matrix_users", "node_label", "printable", "unit_label"]

NO_KERNEL = -1


def node_label(kernel: Kernel) -> str:
    """The ONNX node that a kernel stands for: the first it came from, else its own name."""
    return kernel.nodes[0] if kernel.nodes else kernel.name


def unit_label(unit: str) -> str:
    """A unit in words: `dma_in` -> `dma in`."""
    return unit.replace("_", " ")


def matrix_users(network: Network) -> dict[str, tuple[int, ...]]:
    """Places of the kernels that multiply by each matrix (more than one where weights are tied)."""
    users: dict[str, tuple[int, ...]] = {}
    for place, kernel in enumerate(network.kernels):
        if isinstance(kernel, MatMul):
            users[kernel.matrix.name] = (*users.get(kernel.matrix.name, ()), place)
    return users


def kernel_of(block: BlockResidency, users: dict[str, tuple[int, ...]]) -> int:
    """The first kernel that uses `block` while it lies there; `NO_KERNEL` where nothing uses its matrix."""
    places = users.get(block.block.matrix, ())
    inside = (place for place in places if block.from_step <= place <= block.to_step)
    return next(inside, places[0] if places else NO_KERNEL)

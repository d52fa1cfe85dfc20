"""Between what a user holds and what a chip stores: float tensors of ONNX shape, integers of stored shape."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bitline.core.diagnostics import refuse
from bitline.ir.kernels import LIMITS, NUMPY, Port, Tensor

Ints = npt.NDArray[np.int64]
Array = npt.NDArray[np.generic]


def quantise_real(values: Array, tensor: Tensor) -> Ints:
    """As QuantizeLinear: round half to even of values / scale in float32, zero point, saturation."""
    low, high = LIMITS[tensor.dtype]
    steps = np.rint(values.astype(np.float32) / np.float32(tensor.scale))
    return np.clip(steps.astype(np.float64) + tensor.zero_point, low, high).astype(np.int64)


def dequantise(values: Array, tensor: Tensor) -> npt.NDArray[np.float32]:
    """As DequantizeLinear: (q - zero_point) * scale in float32."""
    return (values.astype(np.int64) - tensor.zero_point).astype(np.float32) * np.float32(tensor.scale)


def to_stored(values: Array, port: Port, tensor: Tensor) -> Array:
    """Samples [n, elements of port.shape] in any shape -> [n, H, W, C] as the tensor is stored, integers unless it is
    float. Raises `Refusal` (BL0105) for integers that the chip cannot store, or compute with."""
    if not port.real and not _float(tensor):
        _check_range(values, port, tensor)
    taken = quantise_real(values, tensor) if port.real else values.astype(NUMPY["f32" if _float(tensor) else "s64"])
    if port.clamp is not None:
        taken = np.clip(taken, *port.clamp)
    flat = taken.reshape(len(values), -1)
    stored = np.zeros((len(values), int(np.prod(tensor.shape))), flat.dtype)
    stored[:, port.view.evaluate().reshape(-1)] = flat
    return stored.reshape(len(values), *tensor.shape)


def _float(tensor: Tensor) -> bool:
    return tensor.dtype == "f32"


def _check_range(values: Array, port: Port, tensor: Tensor) -> None:
    low, high = port.limits or LIMITS[tensor.dtype]
    if values.size and not (low <= int(values.min()) and int(values.max()) <= high):
        raise refuse(
            "BL0105",
            f"input {port.name!r} holds {int(values.min())}..{int(values.max())}; the chip takes {low}..{high}",
            place=port.name,
            help="give numbers within that range",
        )


def from_stored(stored: Array, port: Port, tensor: Tensor) -> Array:
    """Stored [n, H, W, C] -> samples stacked on the first axis, dequantised if the port is real, in the user's type."""
    flat = stored.reshape(len(stored), -1)[:, port.view.evaluate().reshape(-1)]
    shaped = flat.reshape(len(stored), *sample_shape(port.shape))
    return dequantise(shaped, tensor) if port.real else shaped.astype(port.dtype)


def sample_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The axes of one sample: samples are stacked on the first axis where it is 1, else on one more before it."""
    return shape[1:] if shape and shape[0] == 1 else shape


def to_bytes(stored: Array, tensor: Tensor) -> npt.NDArray[np.uint8]:
    """[n, H, W, C] -> [n, bytes] as the tensor is stored."""
    return np.ascontiguousarray(stored.reshape(len(stored), -1).astype(NUMPY[tensor.dtype])).view(np.uint8)


def from_bytes(data: npt.NDArray[np.uint8], tensor: Tensor) -> Array:
    """[n, bytes] -> [n, H, W, C], integers as int64."""
    typed = np.ascontiguousarray(data).view(NUMPY[tensor.dtype]).reshape(len(data), *tensor.shape)
    return typed if _float(tensor) else typed.astype(np.int64)

"""Between what a user holds and what a chip stores: float tensors of ONNX shape, integers of stored shape."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bitline.ir.kernels import LIMITS, Port, Tensor

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


def to_stored(values: Array, port: Port, tensor: Tensor) -> Ints:
    """Samples [n, *port.shape[1:]] -> integers [n, H, W, C] as the tensor is stored."""
    integers = quantise_real(values, tensor) if port.real else values.astype(np.int64)
    if port.clamp is not None:
        integers = np.clip(integers, *port.clamp)
    flat = integers.reshape(len(values), -1)
    stored = np.zeros((len(values), int(np.prod(tensor.shape))), np.int64)
    stored[:, port.view.evaluate().reshape(-1)] = flat
    return stored.reshape(len(values), *tensor.shape)


def from_stored(stored: Array, port: Port, tensor: Tensor) -> Array:
    """Integers [n, H, W, C] -> samples [n, *port.shape[1:]], dequantised if the port is real."""
    flat = stored.reshape(len(stored), -1)[:, port.view.evaluate().reshape(-1)]
    shaped = flat.reshape(len(stored), *port.shape[1:])
    return dequantise(shaped, tensor) if port.real else shaped


def to_bytes(stored: Array) -> npt.NDArray[np.uint8]:
    """[n, H, W, C] integers -> [n, bytes] of an 8-bit tensor."""
    return (stored.reshape(len(stored), -1).astype(np.int64) & 0xFF).astype(np.uint8)


def from_bytes(data: npt.NDArray[np.uint8], tensor: Tensor) -> Ints:
    """[n, bytes] -> [n, H, W, C] integers."""
    typed = np.ascontiguousarray(data).view(np.int8) if tensor.dtype == "s8" else data
    return typed.astype(np.int64).reshape(len(data), *tensor.shape)

"""What the vector unit computes from the bytes of its operands, over any leading axes: [..., bytes] -> [..., bytes]."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from bitline.ir.kernels import LIMITS, NUMPY, Dtype, NormFormat
from bitline.ir.program import PostOp
from bitline.numerics import elementwise, norm, vector

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]


def integers(data: Bytes, dtype: Dtype) -> Ints:
    """Stored bytes [..., n] as numbers [..., n / width]."""
    return np.ascontiguousarray(data).view(NUMPY[dtype]).astype(np.int64)


def stored(values: Ints, dtype: Dtype) -> Bytes:
    """Numbers as stored bytes; they fit."""
    return np.ascontiguousarray(values.astype(NUMPY[dtype])).view(np.uint8)


def spread(values: Ints, times: int, elements: int) -> Ints:
    """Every element `times` times on end, and then again from the start, to `elements` of them."""
    if values.shape[-1] == elements:
        return values
    long = np.repeat(values, times, axis=-1) if times > 1 else values
    again = elements // long.shape[-1]
    return np.tile(long, again) if again > 1 else long


def vector_step(post: PostOp, operands: Sequence[Bytes], parameters: Bytes, out_bytes: int) -> Bytes:
    """One vector instruction. Operands [..., bytes]; parameters [bytes] are the same for all."""
    elements = out_bytes // np.dtype(NUMPY[post.y]).itemsize
    x = [integers(data, dtype) for data, dtype in zip(operands, post.types, strict=True)]
    if post.op in ("requantise", "max", "mean", "softmax", "norm", "matmul"):
        return stored(_whole(post, x, parameters, elements), post.y)
    x = [spread(values, times, elements) for values, times in zip(x, post.spreads, strict=True)]
    n = [values - zero for values, zero in zip(x, post.zeros, strict=True)]
    return stored(_element_by_element(post, x, n, parameters), post.y)


def _element_by_element(post: PostOp, x: Sequence[Ints], n: Sequence[Ints], parameters: Bytes) -> Ints:
    m, shift = post.mantissas, post.shift
    match post.op:
        case "sum":
            result = elementwise.weighted_sum(n, m, post.bias, shift)
        case "product":
            result = elementwise.product(n[0], n[1], m[0], shift)
        case "quotient":
            result = elementwise.quotient(n[0], n[1], m[0], shift)
        case "largest" | "smallest":
            result = elementwise.extreme(n, m, shift, largest=post.op == "largest")
        case "prelu":
            result = elementwise.prelu(n[0], n[1], m, shift)
        case "select":
            result = elementwise.select(x[0], n[1], n[2], m, shift)
        case "equal":
            return (x[0] == x[1]).astype(np.int64)
        case "modulo":
            return elementwise.modulo(x[0], x[1])
        case "table":
            return vector.look_up(x[0], integers(parameters, post.y), LIMITS[post.types[0]][0])
        case "length":
            result = elementwise.length(n[0], n[1], m, shift)
        case "curve":
            result = elementwise.curve(x[0], integers(parameters, "s32"))
        case _:
            raise AssertionError(f"{post.op} is not computed element by element")
    return np.clip(result + post.zero_y, post.low, post.high)


def _whole(post: PostOp, x: Sequence[Ints], parameters: Bytes, elements: int) -> Ints:
    """Operations in which elements meet: [..., elements]."""
    low, high, lead = post.low, post.high, x[0].shape[:-1]
    match post.op:
        case "requantise":
            columns = integers(parameters, "s32").reshape(-1, 3)
            result = vector.requantise_columns(x[0].reshape(*lead, -1, len(columns)), columns, post.zero_y, low, high)
        case "max":
            result = np.clip(x[0].reshape(*lead, -1, elements).max(axis=-2), low, high)
        case "mean":
            total = (x[0].reshape(*lead, -1, elements) - post.zeros[0]).sum(axis=-2)
            result = vector.mean(total, post.mantissas[0], post.shift, post.zero_y, low, high)
        case "softmax":
            rows, table = x[0].reshape(*lead, -1, post.inner), integers(parameters, "s32")
            result = vector.softmax(rows, table, post.mantissas[0], post.shift, post.zero_y, low, high)
        case "norm":
            rows, table = x[0].reshape(*lead, -1, post.inner), integers(parameters, "s64").reshape(-1, 2)
            deviation_bits, normal_bits = post.fractions
            form = NormFormat(
                epsilon=post.bias, deviation_bits=deviation_bits, normal_bits=normal_bits, shift=post.shift
            )
            result = norm.layer_norm(rows, table, form, post.zero_y, low, high)
        case "matmul":
            a, b = ((values - zero).reshape(*lead, -1, post.inner) for values, zero in zip(x, post.zeros, strict=True))
            result = vector.matmul(a, b, post.mantissas[0], post.shift, post.zero_y, low, high)
        case _:
            raise AssertionError(f"{post.op} is computed element by element")
    return result.reshape(*lead, elements)

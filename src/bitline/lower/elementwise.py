"""Operators element by element -> `Elementwise`: one rounding, all scales as integers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import onnx

from bitline.core.diagnostics import Refusal
from bitline.graph.lengths import length_at
from bitline.ir import index_map
from bitline.ir.index_map import IndexMap
from bitline.ir.kernels import LIMITS, Elementwise, Operator, Read, Tensor
from bitline.lower.qdq import Value
from bitline.lower.state import Ints, Lowering, Scalar, Target, Unfit, name_of
from bitline.lower.stored import stored_view
from bitline.numerics.elementwise import BITS_16, CURVE_FRACTION_BITS, curve
from bitline.numerics.rounding import MAX_SHIFT, fixed_point

MANTISSA_BITS = 30
TERM_BITS = 51
"""Three terms and a bias below it stay below 2^53."""
FEWEST_BITS = 8
"""Of the largest mantissa."""
LENGTH_BITS = 51
"""The two squares together stay below 2^52."""
PARTIAL_SUM_BITS = 30
"""Of a sum of some of many tensors, which is stored in 32."""
MOST_OPERANDS = 3
"""Of one sum or comparison; more are combined step by step."""
QUOTIENT_BITS = 60
FEWEST_SEGMENTS_BITS = 10


def reach(tensor: Tensor) -> int:
    """The largest |x - zero point|."""
    low, high = LIMITS[tensor.dtype]
    return max(high - tensor.zero_point, tensor.zero_point - low)


def common_scale(
    node: onnx.NodeProto, factors: Sequence[float], reaches: Sequence[int], bits: int = TERM_BITS
) -> tuple[list[int], int]:
    """(mantissas, shift) with factor ~ mantissa / 2^shift, the shift as large as keeps every mantissa within 30 bits
    and every mantissa * reach below 2^bits. Raises `Unfit`."""
    largest = max((abs(f) for f in factors), default=0.0)
    if largest == 0.0:
        return [0] * len(factors), 0
    if not math.isfinite(largest):
        raise Unfit(node, "a scale is not finite", "quantise the model again")
    rooms = [
        min(MANTISSA_BITS, bits - r.bit_length()) - math.frexp(f)[1] for f, r in zip(factors, reaches, strict=True)
    ]
    shift = min([MAX_SHIFT, *(room for room, factor in zip(rooms, factors, strict=True) if factor)])
    if shift < 0 or shift + math.frexp(largest)[1] < FEWEST_BITS:
        raise Unfit(node, "its output scale is too far below that of its input", "quantise the model again")
    return [round(math.ldexp(f, shift)) for f in factors], shift


def result_layout(state: Lowering, target: Target, values: Sequence[Value]) -> tuple[tuple[int, int, int], IndexMap]:
    """Where the result lies: as the first operand of its shape does, else row by row."""
    for value in values:
        if value.view.shape == target.shape and index_map.covers(value.view):
            return state.tensor(value).shape, value.view
    return stored_view(target.shape, "rows")


def add_elementwise(
    state: Lowering,
    target: Target,
    op: Operator,
    operands: Sequence[tuple[Value, int]],
    *,
    bias: int = 0,
    shift: int = 0,
    table: str = "",
) -> None:
    """The kernel; operands are broadcast to the shape of the result."""
    stored, view = result_layout(state, target, [value for value, _ in operands])
    y = state.finish(target, stored, view)
    reads = tuple(
        Read(x=value.tensor, map=index_map.broadcast(value.view, target.shape), mantissa=mantissa)
        for value, mantissa in operands
    )
    kernel = Elementwise(
        name=state.free(target.name),
        nodes=target.nodes,
        op=op,
        reads=reads,
        y=y.name,
        write=view,
        low=target.low,
        high=target.high,
        bias=bias,
        shift=shift,
        table=table,
    )
    state.kernels.append(kernel)


def rescale(state: Lowering, node: onnx.NodeProto, target: Target, value: Value, factor: float = 1.0) -> None:
    """y = value * factor on another grid; nothing at all where the numbers stay."""
    x = state.tensor(value)
    low, high = LIMITS[target.y.dtype]
    same = (x.dtype, x.zero_point, x.scale, factor) == (target.y.dtype, target.y.zero_point, target.y.scale, 1.0)
    if same and (target.low, target.high) == (low, high):
        state.quantised[target.y.name] = value
        return
    if x.dtype in ("u8", "s8"):
        codes = np.arange(LIMITS[x.dtype][0], LIMITS[x.dtype][1] + 1)
        steps = np.rint((codes - x.zero_point) * x.scale * factor / target.y.scale)
        add_table(state, target, value, np.clip(steps + target.y.zero_point, target.low, target.high).astype(np.int64))
        return
    (mantissa,), shift = common_scale(node, [x.scale * factor / target.y.scale], [reach(x)])
    add_elementwise(state, target, "sum", [(value, mantissa)], shift=shift)


def add_table(state: Lowering, target: Target, value: Value, table: Ints) -> None:
    name = state.free(f"{target.y.name}.table")
    state.constants[name] = table
    add_elementwise(state, target, "table", [(value, 0)], table=name)


def add_curve(state: Lowering, node: onnx.NodeProto, target: Target, value: Value, exact: Ints) -> None:
    """A function of 16 bits: as few knots as leave no output more than one step from `exact`, its 65,536 values."""
    codes = np.arange(1 << BITS_16) - (1 << (BITS_16 - 1))
    y = target.y
    knots = exact
    for bits in range(FEWEST_SEGMENTS_BITS, BITS_16 + 1):
        places = np.minimum(np.arange((1 << bits) + 1) << (BITS_16 - bits), (1 << BITS_16) - 1)
        knots = (exact[places] - y.zero_point) << CURVE_FRACTION_BITS
        got = np.clip(curve(codes, knots) + y.zero_point, target.low, target.high)
        if np.abs(got - exact).max() <= 1:
            break
    name = state.free(f"{y.name}.curve")
    state.constants[name] = knots
    add_elementwise(state, target, "curve", [(value, 0)], table=name)


def lower_unary(state: Lowering, node: onnx.NodeProto, target: Target) -> None:
    """Any operator of one tensor of 8 or 16 bits, element by element, as a table or a curve -> `Elementwise`.

    Every value that its input can have goes through the operator in ONNX Runtime at compile time.
    """
    place = next(i for i, name in enumerate(node.input) if name in state.values)
    value = state.dynamic(node, place)
    x, y = state.tensor(value), target.y
    if value.view.shape != target.shape:
        raise Unfit(node, "its output has another shape than its input")
    if x.dtype == "s32":
        raise Unfit(node, "it is no function of 8 or 16 bits")
    smallest, largest = LIMITS[x.dtype]
    reals = ((np.arange(smallest, largest + 1) - x.zero_point) * x.scale).astype(np.float32)
    result = element_wise(state, node, reals)
    if result is None:
        raise Unfit(node, "it is not computed element by element")
    steps = np.nan_to_num(np.rint(result.astype(np.float64) / y.scale), nan=-np.inf, posinf=np.inf, neginf=-np.inf)
    exact = np.clip(steps + y.zero_point, target.low, target.high).astype(np.int64)
    if x.dtype == "s16":
        add_curve(state, node, target, value, exact)
    else:
        add_table(state, target, value, exact)


def element_wise(
    state: Lowering, node: onnx.NodeProto, reals: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32] | None:
    """The operator on every real; None where a result depends on its place or on other elements (LogSoftmax)."""
    even = np.where(np.arange(reals.size) % 2 == 0, reals, reals[0])
    try:
        result, backwards, half = (state.unary(node, values) for values in (reals, reals[::-1].copy(), even))
    except Refusal:
        return None
    if not result.shape == backwards.shape == half.shape == reals.shape:
        return None
    alone = np.array_equal(result[::-1], backwards, equal_nan=True)
    return result if alone and np.array_equal(result[::2], half[::2], equal_nan=True) else None


def lower_root(state: Lowering, node: onnx.NodeProto, target: Target) -> None:
    """Of a^2 + b^2: the length of a vector of two, its squares not rounded; else of one value -> `Elementwise`."""
    found = length_at(node, state.graph.producer, state.graph.initializers.get)
    if node.input[0] in state.values or found is None:
        lower_unary(state, node, target)
        return
    a, b = (state.values.get(name) for name in (found.a, found.b))
    if a is None or b is None:
        raise Unfit(node, "the two values whose squares it adds are not quantised")
    factors = [(state.tensor(v).scale / target.y.scale) ** 2 for v in (a, b)]
    reaches = [reach(state.tensor(v)) ** 2 for v in (a, b)]
    mantissas, shift = common_scale(node, factors, reaches, LENGTH_BITS)
    if shift < 2:  # half a step has to be at least one unit of the root
        raise Unfit(node, "its output scale is too far below that of its input", "quantise the model again")
    if shift % 2:  # the root halves it
        mantissas, shift = [(mantissa + 1) >> 1 for mantissa in mantissas], shift - 1
    add_elementwise(state, target, "length", [(a, mantissas[0]), (b, mantissas[1])], shift=shift // 2)


def _operands(state: Lowering, node: onnx.NodeProto) -> list[Value | Scalar]:
    return [state.operand(node, place) for place in range(len(node.input))]


def lower_sum(state: Lowering, node: onnx.NodeProto, target: Target) -> None:
    """Tensors that broadcast, and numbers, which go into the bias; one rounding -> `Elementwise`. Of more than three
    tensors a partial sum has 30 bits."""
    signs = [-1.0 if node.op_type == "Sub" and place else 1.0 for place in range(len(node.input))]
    values: list[Value] = []
    factors: list[float] = []
    number = 0.0
    for sign, operand in zip(signs, _operands(state, node), strict=True):
        if isinstance(operand, Scalar):
            number += sign * operand.real
            continue
        values.append(operand)
        factors.append(sign * state.tensor(operand).scale / target.y.scale)
    if not values:
        raise Unfit(node, "all of its operands are constants")
    while len(values) > MOST_OPERANDS:
        value, factor = _partial_sum(state, node, target, values[:MOST_OPERANDS], factors[:MOST_OPERANDS])
        values, factors = [value, *values[MOST_OPERANDS:]], [factor, *factors[MOST_OPERANDS:]]
    if number == 0.0 and len(values) == 1 and factors[0] > 0 and values[0].view.shape == target.shape:
        rescale(state, node, target, values[0])
        return
    mantissas, shift = common_scale(node, factors, [reach(state.tensor(v)) for v in values], TERM_BITS - 1)
    bias = int(np.clip(np.rint(math.ldexp(number / target.y.scale, shift)), -(2.0**TERM_BITS), 2.0**TERM_BITS))
    add_elementwise(state, target, "sum", list(zip(values, mantissas, strict=True)), bias=bias, shift=shift)


def _partial_sum(
    state: Lowering, node: onnx.NodeProto, target: Target, values: Sequence[Value], factors: Sequence[float]
) -> tuple[Value, float]:
    """The sum of some operands, and its factor: a power of two, so that nothing is rounded but the sum."""
    reaches = [reach(state.tensor(v)) for v in values]
    most = sum(abs(factor) * r for factor, r in zip(factors, reaches, strict=True))
    finer = PARTIAL_SUM_BITS - math.frexp(most)[1]
    scale = math.ldexp(target.y.scale, -finer)
    mantissas, shift = common_scale(node, [math.ldexp(f, finer) for f in factors], reaches, TERM_BITS - 1)
    y = replace(target.y, name=state.free(f"{target.y.name}.sum"), dtype="s32", scale=scale, zero_point=0, onnx="")
    low, high = LIMITS["s32"]
    part = replace(target, y=y, low=low, high=high)
    add_elementwise(state, part, "sum", list(zip(values, mantissas, strict=True)), shift=shift)
    return state.quantised.pop(y.name), math.ldexp(1.0, -finer)


def lower_product(state: Lowering, node: onnx.NodeProto, target: Target) -> None:
    """Two tensors that broadcast, or a tensor and a number; one rounding -> `Elementwise`."""
    a, b = _operands(state, node)
    if isinstance(a, Scalar):
        a, b = b, a
    if isinstance(a, Scalar):
        raise Unfit(node, "all of its operands are constants")
    if isinstance(b, Scalar):
        _scaled(state, node, target, a, b.real)
        return
    x, z = state.tensor(a), state.tensor(b)
    both = reach(x) * reach(z)
    (mantissa,), shift = common_scale(node, [x.scale * z.scale / target.y.scale], [both])
    add_elementwise(state, target, "product", [(a, mantissa), (b, 0)], shift=shift)


def _scaled(state: Lowering, node: onnx.NodeProto, target: Target, value: Value, factor: float) -> None:
    """A tensor times a number, perhaps broadcast."""
    if not math.isfinite(factor):
        raise Unfit(node, "its factor is not finite")
    if value.view.shape == target.shape:
        rescale(state, node, target, value, factor)
        return
    x = state.tensor(value)
    (mantissa,), shift = common_scale(node, [x.scale * factor / target.y.scale], [reach(x)])
    add_elementwise(state, target, "sum", [(value, mantissa)], shift=shift)


def lower_quotient(state: Lowering, node: onnx.NodeProto, target: Target) -> None:
    """Two tensors that broadcast, or one by a number; half away from zero, x / 0 saturates -> `Elementwise`."""
    a, b = _operands(state, node)
    if isinstance(b, Scalar):
        if isinstance(a, Scalar) or b.real == 0.0:
            raise Unfit(node, "it divides a constant, or by 0")
        _scaled(state, node, target, a, 1.0 / b.real)
        return
    if isinstance(a, Scalar):
        a = state.scalar_tensor(a.real)
    x, z = state.tensor(a), state.tensor(b)
    factor = x.scale / z.scale / target.y.scale
    wide = min(MANTISSA_BITS, QUOTIENT_BITS - reach(x).bit_length())
    room = QUOTIENT_BITS - reach(z).bit_length()
    if not 0 < factor < 2.0**wide:
        raise Unfit(node, "its output scale is too far below that of its input", "quantise the model again")
    mantissa, shift = fixed_point(factor, wide)
    while shift > room:
        mantissa, shift = (mantissa + 1) >> 1, shift - 1
    add_elementwise(state, target, "quotient", [(a, mantissa), (b, 0)], shift=shift)


def lower_extreme(state: Lowering, node: onnx.NodeProto, target: Target) -> None:
    """Tensors that broadcast; a number becomes a limit of the result -> `Elementwise`, several for more than three."""
    largest = node.op_type == "Max"
    low, high = target.low, target.high
    values: list[Value] = []
    for operand in _operands(state, node):
        if isinstance(operand, Value):
            values.append(operand)
            continue
        step = np.rint(np.clip(operand.real / target.y.scale, -(2.0**40), 2.0**40)) + target.y.zero_point
        limit = int(np.clip(step, target.low, target.high))
        low, high = (max(low, limit), high) if largest else (low, min(high, limit))
    if not values:
        raise Unfit(node, "all of its operands are constants")
    bounded = replace(target, low=low, high=max(low, high))
    op: Operator = "largest" if largest else "smallest"
    while len(values) > MOST_OPERANDS:  # rounding is monotone: on the grid of the result nothing is lost
        y = replace(target.y, name=state.free(f"{target.y.name}.{op}"), onnx="")
        _add_extreme(state, node, replace(bounded, y=y), op, values[:MOST_OPERANDS])
        values = [state.quantised.pop(y.name), *values[MOST_OPERANDS:]]
    _add_extreme(state, node, bounded, op, values)


def _add_extreme(state: Lowering, node: onnx.NodeProto, target: Target, op: Operator, values: Sequence[Value]) -> None:
    factors = [state.tensor(v).scale / target.y.scale for v in values]
    mantissas, shift = common_scale(node, factors, [reach(state.tensor(v)) for v in values])
    add_elementwise(state, target, op, list(zip(values, mantissas, strict=True)), shift=shift)


def lower_prelu(state: Lowering, node: onnx.NodeProto, target: Target) -> None:
    """Slopes constant or computed, broadcast -> `Elementwise`."""
    value, slope = state.dynamic(node, 0), state.operand(node, 1)
    if isinstance(slope, Scalar):
        slope = state.scalar_tensor(slope.real)
    x, s = state.tensor(value), state.tensor(slope)
    positive = x.scale / target.y.scale
    factors, reaches = [positive, positive * s.scale], [reach(x), reach(x) * reach(s)]
    mantissas, shift = common_scale(node, factors, reaches)
    add_elementwise(state, target, "prelu", [(value, mantissas[0]), (slope, mantissas[1])], shift=shift)


def lower_select(state: Lowering, node: onnx.NodeProto, target: Target) -> None:
    """By a condition computed from the input; numbers beyond the result's range go to its ends -> `Elementwise`."""
    condition = state.operand(node, 0)
    if isinstance(condition, Scalar):
        raise Unfit(node, "its condition is a constant")
    low, high = target.reals()
    branches: list[Value] = []
    for place in (1, 2):
        operand = state.operand(node, place)
        if isinstance(operand, Scalar):
            operand = state.scalar_tensor(float(np.clip(operand.real, low, high)))
        branches.append(operand)
    factors = [state.tensor(v).scale / target.y.scale for v in branches]
    mantissas, shift = common_scale(node, factors, [reach(state.tensor(v)) for v in branches])
    operands = [(condition, 0), (branches[0], mantissas[0]), (branches[1], mantissas[1])]
    add_elementwise(state, target, "select", operands, shift=shift)


def origin_of(node: onnx.NodeProto) -> tuple[str, ...]:
    """The names that a kernel made for one node carries."""
    return (name_of(node),)

"""LayerNorm written in plain operators becomes LayerNormalization (opset 17; an older model is raised).

    m = ReduceMean(x); d = Sub(x, m); v = ReduceMean(Pow(d, 2))
    y = Add(Mul(Div(d, Sqrt(Add(v, eps))), gamma), beta)           -->   y = LayerNormalization(x, gamma, beta)
    s = Mul(Reciprocal(Sqrt(Add(v, eps))), gamma)
    y = Add(Mul(x, s), Sub(beta, Mul(m, s)))                       -->   y = LayerNormalization(x, gamma, beta)

The square may be Mul(d, d), the root Pow(v, 1/2), its inverse a factor in place of the division; the deviation may be
computed twice, gamma and beta may each be missing, and gamma that is missing becomes ones. The means run over the last
axis or the last few. Anything else stays, and `near_layernorms` says why.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import onnx

from bitline.core.diagnostics import NoMatch
from bitline.graph.model import Array, Wiring, attribute, copied
from bitline.graph.passes.drop_dead import drop_dead
from bitline.graph.passes.match import (
    constant_operand,
    fused_name,
    made_by,
    reduced_axes,
    scalar,
)
from bitline.graph.passes.raise_opset import raise_opset


@dataclass(frozen=True, slots=True, kw_only=True)
class _Deviation:
    """sqrt(mean((x - mean)^2) + epsilon) over the last `axes` axes."""

    x: str
    mean: str
    axes: int
    epsilon: float
    sqrt: onnx.NodeProto


@dataclass(frozen=True, slots=True, kw_only=True)
class _LayerNorm:
    deviation: _Deviation
    last: onnx.NodeProto
    gamma: Array | None = None
    beta: Array | None = None


def fuse_layernorm(model: onnx.ModelProto) -> onnx.ModelProto:
    if not any(isinstance(found, _LayerNorm) for found in _candidates(Wiring(model.graph))):
        return copied(model)
    fused = raise_opset(model, 17)
    if isinstance(fused, NoMatch):
        return copied(model)
    wiring = Wiring(fused.graph)
    for found in _candidates(wiring):
        if isinstance(found, _LayerNorm):
            _write(wiring, found)
    return drop_dead(fused)


def near_layernorms(model: onnx.ModelProto) -> tuple[NoMatch, ...]:
    """What looks like a LayerNorm and is left alone, each with the reason."""
    found = _candidates(Wiring(model.graph))
    misses = [candidate for candidate in found if isinstance(candidate, NoMatch)]
    if any(isinstance(candidate, _LayerNorm) for candidate in found):
        raised = raise_opset(model, 17)
        misses += [raised] if isinstance(raised, NoMatch) else []
    return tuple(misses)


def _candidates(wiring: Wiring) -> list[_LayerNorm | NoMatch]:
    found: list[_LayerNorm | NoMatch] = []
    for node in wiring.graph.node:
        candidate = None
        if node.op_type == "Div":
            candidate = _divided(node, wiring)
        elif node.op_type == "Mul":
            candidate = _multiplied(node, wiring)
        elif node.op_type == "Add":
            candidate = _scaled_first(node, wiring)
        if candidate is not None:
            found.append(candidate)
    return found


def _divided(div: onnx.NodeProto, wiring: Wiring) -> _LayerNorm | NoMatch | None:
    """The first form; None where the divisor is no square root of a mean at all."""
    deviation = None if div.input[0] in wiring.constants else _deviation(div.input[1], wiring)
    if not isinstance(deviation, _Deviation):
        return deviation
    numerator = made_by(wiring, div.input[0], "Sub")
    if numerator is None or not _deviates(numerator, deviation, wiring):
        return NoMatch(why=f"{div.name}: what is divided is not the deviation from the same mean")
    return _with_lines(_LayerNorm(deviation=deviation, last=div), wiring)


def _multiplied(mul: onnx.NodeProto, wiring: Wiring) -> _LayerNorm | None:
    """The first form with the inverse of the root as a factor."""
    for numerator_name, inverse_name in (tuple(mul.input), tuple(reversed(mul.input))):
        numerator, deviation = made_by(wiring, numerator_name, "Sub"), _inverse(inverse_name, wiring)
        if numerator is not None and isinstance(deviation, _Deviation) and _deviates(numerator, deviation, wiring):
            return _with_lines(_LayerNorm(deviation=deviation, last=mul), wiring)
    return None


def _inverse(name: str, wiring: Wiring) -> _Deviation | NoMatch | None:
    """The deviation whose inverse `name` is."""
    node = made_by(wiring, name, "Pow", "Reciprocal", "Div")
    if node is None:
        return None
    match node.op_type:
        case "Reciprocal":
            return _deviation(node.input[0], wiring)
        case "Div":
            return _deviation(node.input[1], wiring) if scalar(wiring, node.input[0]) == 1.0 else None
        case _:
            return _root_of_mean(node, wiring) if scalar(wiring, node.input[1]) == -0.5 else None


def _deviation(name: str, wiring: Wiring) -> _Deviation | NoMatch | None:
    """What `name` is the root of; None where it is no root of a mean."""
    node = made_by(wiring, name, "Sqrt", "Pow")
    if node is None or (node.op_type == "Pow" and scalar(wiring, node.input[1]) != 0.5):
        return None
    return _root_of_mean(node, wiring)


def _root_of_mean(sqrt: onnx.NodeProto, wiring: Wiring) -> _Deviation | NoMatch | None:
    inner, epsilon = sqrt.input[0], 0.0
    add = made_by(wiring, inner, "Add")
    if add is not None:
        operands = constant_operand(add, wiring)
        if operands is None or operands[1].size != 1:
            return None
        inner, epsilon = operands[0], float(operands[1].reshape(-1)[0])
    variance = made_by(wiring, inner, "ReduceMean")
    if variance is None:
        return None
    deviation = _squared(variance.input[0], wiring)
    if deviation is None:
        return NoMatch(why=f"{sqrt.name}: the mean is not one of squares of x - mean(x)")
    mean = made_by(wiring, deviation.input[1], "ReduceMean")
    if mean is None or mean.input[0] != deviation.input[0]:
        return NoMatch(why=f"{sqrt.name}: what is subtracted is not the mean of the same tensor")
    axes, shape = reduced_axes(mean, wiring), wiring.shape(deviation.input[0])
    if axes is None or shape is None or axes != reduced_axes(variance, wiring):
        return NoMatch(why=f"{sqrt.name}: the two means run over different or unknown axes")
    if not axes or axes != tuple(range(len(shape) - len(axes), len(shape))):
        return NoMatch(why=f"{sqrt.name}: the means run over axes {list(axes)} of {len(shape)}, not the last ones")
    if not all(attribute(node, "keepdims", 1) for node in (mean, variance)):
        return NoMatch(why=f"{sqrt.name}: a mean drops its axes")
    return _Deviation(x=deviation.input[0], mean=deviation.input[1], axes=len(axes), epsilon=epsilon, sqrt=sqrt)


def _squared(name: str, wiring: Wiring) -> onnx.NodeProto | None:
    """The Sub whose square `name` is."""
    square = made_by(wiring, name, "Pow", "Mul")
    if square is None:
        return None
    is_square = scalar(wiring, square.input[1]) == 2.0 if square.op_type == "Pow" else len(set(square.input)) == 1
    return made_by(wiring, square.input[0], "Sub") if is_square else None


def _deviates(sub: onnx.NodeProto, deviation: _Deviation, wiring: Wiring) -> bool:
    """Whether `sub` is x - mean(x) of this deviation; exporters compute the mean twice at times."""
    if sub.input[0] != deviation.x:
        return False
    return sub.input[1] == deviation.mean or _same_mean(sub.input[1], deviation.mean, wiring)


def _same_mean(left: str, right: str, wiring: Wiring) -> bool:
    one, other = made_by(wiring, left, "ReduceMean"), made_by(wiring, right, "ReduceMean")
    if one is None or other is None or one.input[0] != other.input[0]:
        return False
    kept = all(attribute(node, "keepdims", 1) for node in (one, other))
    return kept and reduced_axes(one, wiring) == reduced_axes(other, wiring)


def _with_lines(norm: _LayerNorm, wiring: Wiring) -> _LayerNorm:
    return _with_line(_with_line(norm, "Mul", wiring), "Add", wiring)


def _with_line(norm: _LayerNorm, op_type: str, wiring: Wiring) -> _LayerNorm:
    """The norm with the Mul by gamma or the Add of beta that alone reads it, if there is one."""
    reader = wiring.only_reader(norm.last.output[0])
    operands = constant_operand(reader, wiring) if reader is not None and reader.op_type == op_type else None
    value = None if operands is None else _over_axes(operands[1], norm.deviation, wiring)
    if reader is None or value is None:
        return norm
    return replace(norm, last=reader, gamma=value) if op_type == "Mul" else replace(norm, last=reader, beta=value)


def _over_axes(value: Array, deviation: _Deviation, wiring: Wiring) -> Array | None:
    """A constant as one value for each element of the normalised axes; None where it varies over others."""
    shape = wiring.shape(deviation.x)
    assert shape is not None
    outer, inner = value.shape[: -deviation.axes], shape[-deviation.axes :]
    if any(size != 1 for size in outer) or value.ndim > len(shape):
        return None
    own = value.reshape(value.shape[len(outer) :])
    if any(size not in (1, whole) for size, whole in zip(own.shape[::-1], inner[::-1], strict=False)):
        return None
    return np.ascontiguousarray(np.broadcast_to(own, inner))


def _scaled_first(add: onnx.NodeProto, wiring: Wiring) -> _LayerNorm | NoMatch | None:
    """The second form, as TensorFlow's batch normalisation ends up: x * s + (beta - mean * s)."""
    for scaled_name, rest_name in (tuple(add.input), tuple(reversed(add.input))):
        scaled, rest = made_by(wiring, scaled_name, "Mul"), made_by(wiring, rest_name, "Sub")
        if scaled is None or rest is None or rest.input[0] not in wiring.constants:
            continue
        shift = made_by(wiring, rest.input[1], "Mul")
        shared = set(scaled.input) & set(shift.input) if shift is not None else set[str]()
        if shift is None or len(shared) != 1:
            continue
        factor = shared.pop()
        x = next((name for name in scaled.input if name != factor), factor)
        mean = next((name for name in shift.input if name != factor), factor)
        gamma, inverse_name = None, factor
        product = made_by(wiring, factor, "Mul")
        if product is not None:
            operands = constant_operand(product, wiring)
            if operands is None:
                continue
            inverse_name, gamma = operands
        deviation = _inverse(inverse_name, wiring)
        if not isinstance(deviation, _Deviation):
            return deviation
        beta = wiring.array(rest.input[0])
        assert beta is not None
        lines = [None if value is None else _over_axes(value, deviation, wiring) for value in (gamma, beta)]
        if x != deviation.x or not (mean == deviation.mean or _same_mean(mean, deviation.mean, wiring)):
            return NoMatch(why=f"{add.name}: what is scaled is not the tensor whose mean is taken")
        if lines[1] is None or (gamma is not None and lines[0] is None):
            return NoMatch(why=f"{add.name}: gamma or beta varies over axes that are not normalised")
        return _LayerNorm(deviation=deviation, last=add, gamma=lines[0], beta=lines[1])
    return None


def _write(wiring: Wiring, norm: _LayerNorm) -> None:
    deviation = norm.deviation
    shape = wiring.shape(deviation.x)
    assert shape is not None
    mean = wiring.producer[deviation.mean]
    name = wiring.fresh_node(fused_name([mean, deviation.sqrt, norm.last], "LayerNormalization"))
    dtype = onnx.helper.tensor_dtype_to_np_dtype(wiring.elem_type(deviation.x))
    gamma = np.ones(shape[-deviation.axes :]) if norm.gamma is None else norm.gamma
    inputs = [deviation.x]
    for suffix, value in (("gamma", gamma), ("beta", norm.beta)):
        if value is not None:
            inputs.append(wiring.fresh(f"{name}.{suffix}"))
            wiring.put(inputs[-1], value.astype(dtype))
    norm.last.CopyFrom(
        onnx.helper.make_node(
            "LayerNormalization",
            inputs,
            [norm.last.output[0]],
            name=name,
            axis=-deviation.axes,
            epsilon=deviation.epsilon,
        )
    )

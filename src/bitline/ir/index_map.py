"""Which element of a tensor an operand touches.

An `IndexMap` takes a logical index to the coordinates of a stored tensor. Every logical dimension is split into
mixed-radix digits (outermost first); every coordinate of the source is an affine function of all digits:

    coordinate[a] = offset[a] + sum_d coefficient[a][d] * digit[d]

An index whose coordinates leave the source is padding. Reshape, transpose, slice, flatten, im2col and pooling windows
are such maps; they compose without moving data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import numpy.typing as npt

from bitline.core.diagnostics import NoMatch


@dataclass(frozen=True, slots=True, kw_only=True)
class Coordinate:
    """One source coordinate: `offset + sum coefficients[d] * digit[d]` over all digits of the map."""

    offset: int
    coefficients: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexMap:
    """`source` is the stored shape (row-major), `dims[i]` the digit extents of logical dimension i."""

    source: tuple[int, ...]
    dims: tuple[tuple[int, ...], ...]
    coordinates: tuple[Coordinate, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """The logical shape."""
        return tuple(prod(digits) for digits in self.dims)

    @property
    def digits(self) -> tuple[int, ...]:
        """All digit extents, outermost first."""
        return tuple(extent for dim in self.dims for extent in dim)

    def check(self) -> None:
        """Raise ValueError where the parts do not belong together."""
        if len(self.coordinates) != len(self.source):
            raise ValueError(f"{len(self.coordinates)} coordinates for {len(self.source)} source axes")
        for coordinate in self.coordinates:
            if len(coordinate.coefficients) != len(self.digits):
                raise ValueError(f"{len(coordinate.coefficients)} coefficients for {len(self.digits)} digits")
        if any(extent < 1 for extent in self.digits + self.source):
            raise ValueError(f"extents must be positive: {self.dims} from {self.source}")

    def __str__(self) -> str:
        names = [f"i{i}" if len(dim) == 1 else f"i{i}.{j}" for i, dim in enumerate(self.dims) for j in range(len(dim))]
        parts: list[str] = []
        for coordinate in self.coordinates:
            terms = [n if c == 1 else f"{c}{n}" for n, c in zip(names, coordinate.coefficients, strict=True) if c]
            if coordinate.offset or not terms:
                terms.append(str(coordinate.offset))
            parts.append("+".join(terms))
        return f"{'x'.join(map(str, self.shape))} <- [{', '.join(parts)}] of {'x'.join(map(str, self.source))}"

    def flat_strides(self) -> tuple[int, ...]:
        """Row-major element strides of the source."""
        return tuple(prod(self.source[axis + 1 :]) for axis in range(len(self.source)))

    def digit_strides(self) -> tuple[int, ...]:
        """How far one step of each digit moves in the flat source."""
        strides = self.flat_strides()
        return tuple(
            sum(c.coefficients[d] * s for c, s in zip(self.coordinates, strides, strict=True))
            for d in range(len(self.digits))
        )

    def coordinate_values(self, axis: int, digits: Sequence[int] | None = None) -> npt.NDArray[np.int64]:
        """Coordinate `axis` over the chosen digits (all by default), the others at 0, as an array of those extents."""
        chosen = range(len(self.digits)) if digits is None else digits
        coordinate = self.coordinates[axis]
        value = np.full((1,) * len(chosen), coordinate.offset, np.int64)
        for place, digit in enumerate(chosen):
            steps = np.arange(self.digits[digit], dtype=np.int64) * coordinate.coefficients[digit]
            value = value + steps.reshape([-1 if i == place else 1 for i in range(len(chosen))])
        return np.broadcast_to(value, [self.digits[d] for d in chosen])

    def evaluate(self) -> npt.NDArray[np.int64]:
        """Flat source index of every logical element, -1 for padding; shape `self.shape`."""
        flat = np.zeros(self.digits, np.int64)
        inside = np.ones(self.digits, np.bool_)
        for axis, stride in enumerate(self.flat_strides()):
            value = self.coordinate_values(axis)
            inside &= (value >= 0) & (value < self.source[axis])
            flat += value * stride
        return np.where(inside, flat, -1).reshape(self.shape)


def identity(shape: Sequence[int]) -> IndexMap:
    """Every element where it lies."""
    rank = len(shape)
    return IndexMap(
        source=tuple(shape),
        dims=tuple((extent,) for extent in shape),
        coordinates=tuple(
            Coordinate(offset=0, coefficients=tuple(int(i == axis) for i in range(rank))) for axis in range(rank)
        ),
    )


def _with_digits(view: IndexMap, order: Sequence[int], dims: tuple[tuple[int, ...], ...]) -> IndexMap:
    return IndexMap(
        source=view.source,
        dims=dims,
        coordinates=tuple(
            Coordinate(offset=c.offset, coefficients=tuple(c.coefficients[d] for d in order)) for c in view.coordinates
        ),
    )


def digits_of(view: IndexMap, dim: int) -> range:
    """Places of the digits of logical dimension `dim` among all digits."""
    start = sum(len(digits) for digits in view.dims[:dim])
    return range(start, start + len(view.dims[dim]))


def transpose(view: IndexMap, order: Sequence[int]) -> IndexMap:
    """Logical dimension i of the result is dimension order[i] of `view`."""
    digits = [d for dim in order for d in digits_of(view, dim)]
    return _with_digits(view, digits, tuple(view.dims[dim] for dim in order))


def reshape(view: IndexMap, shape: Sequence[int]) -> IndexMap | NoMatch:
    """The same elements in row-major order under another logical shape; digits are split where they must be."""
    moving = [d for d, extent in enumerate(view.digits) if extent > 1]  # the others would part digits that continue
    every = _digit_vectors(view)
    extents, vectors = [view.digits[d] for d in moving], [every[d] for d in moving]
    dims: list[tuple[int, ...]] = []
    out_extents: list[int] = []
    out_vectors: list[tuple[int, ...]] = []
    place = 0
    for target in shape:
        taken: list[int] = []
        need = target
        while need > 1:
            extent, vector = extents[place], vectors[place]
            if need % extent == 0:
                taken.append(extent)
                out_vectors.append(vector)
                need //= extent
                place += 1
            elif extent % need == 0:
                rest = extent // need
                taken.append(need)
                out_vectors.append(tuple(rest * v for v in vector))
                extents[place] = rest
                need = 1
            elif place + 1 < len(extents) and tuple(extents[place + 1] * v for v in vectors[place + 1]) == vector:
                extents[place + 1] *= extent
                place += 1
            else:
                return NoMatch(why=f"digits {view.digits} do not split into {tuple(shape)}")
        if not taken:
            taken.append(1)
            out_vectors.append((0,) * len(view.source))
        out_extents += taken
        dims.append(tuple(taken))
    return IndexMap(
        source=view.source,
        dims=tuple(dims),
        coordinates=tuple(
            Coordinate(offset=c.offset, coefficients=tuple(v[axis] for v in out_vectors))
            for axis, c in enumerate(view.coordinates)
        ),
    )


def _digit_vectors(view: IndexMap) -> list[tuple[int, ...]]:
    return [tuple(c.coefficients[d] for c in view.coordinates) for d in range(len(view.digits))]


def merge_digits(view: IndexMap) -> IndexMap:
    """The same map with neighbouring digits of a dimension joined where one continues the other."""
    vectors = _digit_vectors(view)
    dims: list[tuple[int, ...]] = []
    kept: list[tuple[int, ...]] = []
    for dim in range(len(view.dims)):
        extents: list[int] = []
        moves: list[tuple[int, ...]] = []
        for digit in digits_of(view, dim):
            extent, vector = view.digits[digit], vectors[digit]
            if extent == 1:
                continue
            if moves and moves[-1] == tuple(extent * v for v in vector):
                extents[-1] *= extent
                moves[-1] = vector
            else:
                extents.append(extent)
                moves.append(vector)
        if not extents:
            extents, moves = [1], [(0,) * len(view.source)]
        dims.append(tuple(extents))
        kept += moves
    return IndexMap(
        source=view.source,
        dims=tuple(dims),
        coordinates=tuple(
            Coordinate(offset=c.offset, coefficients=tuple(v[axis] for v in kept))
            for axis, c in enumerate(view.coordinates)
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """How a sliding window walks one axis: `in = stride * out + dilation * tap - pad_before`."""

    out: int
    taps: int
    stride: int
    dilation: int
    pad_before: int


def windows(view: IndexMap, axes: Sequence[int], slides: Sequence[Window]) -> IndexMap | NoMatch:
    """im2col: dimensions (out of each window), (taps of each window), then the axes of `view` that do not slide.

    A padded axis must be a whole source axis, as only then leaving the source means padding.
    """
    vectors = _digit_vectors(view)
    still = [dim for dim in range(len(view.dims)) if dim not in axes]
    outs: list[tuple[int, ...]] = []
    taps: list[tuple[int, ...]] = []
    offsets = [c.offset for c in view.coordinates]
    used: set[int] = set()
    for dim, slide in zip(axes, slides, strict=True):
        moving = [d for d in digits_of(view, dim) if view.digits[d] > 1]
        if len(moving) > 1:
            return NoMatch(why=f"the window slides over dimension {dim}, which is made of {len(moving)} parts")
        step = vectors[moving[0]] if moving else (0,) * len(view.source)
        extent = view.shape[dim]
        reach = slide.stride * (slide.out - 1) + slide.dilation * (slide.taps - 1) - slide.pad_before
        if not moving:  # a dimension of one element slides along a stored axis of one element, in order
            free = next((a for a, s in enumerate(view.source) if s == 1 and a not in used), None)
            if free is not None:
                used.add(free)
                step = tuple(int(a == free) for a in range(len(view.source)))
        if slide.pad_before or reach >= extent:
            if not any(step):
                return NoMatch(why=f"dimension {dim} is padded but has no stored axis of its own")
            axis = step.index(1) if sorted(step) == [0] * (len(step) - 1) + [1] else None
            if axis is None or view.source[axis] != extent or offsets[axis] != 0:
                return NoMatch(why=f"dimension {dim} is padded but is only a part of what is stored")
        outs.append(tuple(slide.stride * s for s in step))
        taps.append(tuple(slide.dilation * s for s in step))
        offsets = [o - slide.pad_before * s for o, s in zip(offsets, step, strict=True)]
    dims = [(s.out,) for s in slides] + [(s.taps,) for s in slides] + [view.dims[dim] for dim in still]
    kept = outs + taps + [vectors[d] for dim in still for d in digits_of(view, dim)]
    return IndexMap(
        source=view.source,
        dims=tuple(dims),
        coordinates=tuple(
            Coordinate(offset=offset, coefficients=tuple(v[axis] for v in kept)) for axis, offset in enumerate(offsets)
        ),
    )


def join_dims(view: IndexMap, groups: Sequence[Sequence[int]]) -> IndexMap:
    """Dimension i of the result runs over the dimensions groups[i] of `view`, the first one outermost."""
    order = [d for group in groups for dim in group for d in digits_of(view, dim)]
    dims = tuple(tuple(extent for dim in group for extent in view.dims[dim]) or (1,) for group in groups)
    missing = [i for i, group in enumerate(groups) if not group]
    assert not missing, f"empty groups {missing}"
    return _with_digits(view, order, dims)


def lead(view: IndexMap, count: int) -> IndexMap:
    """The same map with `count` dimensions of extent 1 in front."""
    return IndexMap(
        source=view.source,
        dims=(*(((1,),) * count), *view.dims),
        coordinates=tuple(
            Coordinate(offset=c.offset, coefficients=((0,) * count + c.coefficients)) for c in view.coordinates
        ),
    )


def _replace_digits(view: IndexMap, dim: int, digits: list[tuple[int, tuple[int, ...]]], offset: list[int]) -> IndexMap:
    """The same map with other (extent, move) digits for one dimension, and other offsets."""
    vectors = _digit_vectors(view)
    kept: list[tuple[int, ...]] = []
    dims: list[tuple[int, ...]] = []
    for place, extents in enumerate(view.dims):
        if place == dim:
            dims.append(tuple(extent for extent, _ in digits))
            kept += [move for _, move in digits]
        else:
            dims.append(extents)
            kept += [vectors[d] for d in digits_of(view, place)]
    return IndexMap(
        source=view.source,
        dims=tuple(dims),
        coordinates=tuple(
            Coordinate(offset=offset[axis], coefficients=tuple(v[axis] for v in kept))
            for axis in range(len(view.source))
        ),
    )


def take_slice(view: IndexMap, dim: int, start: int, count: int, step: int = 1) -> IndexMap | NoMatch:
    """Indices start, start + step, ... of one dimension; the step may be negative or 0 (one index again and again)."""
    merged = merge_digits(view)
    moving = [d for d in digits_of(merged, dim) if merged.digits[d] > 1]
    if start == 0 and step == 1 and count == view.shape[dim]:
        return view
    if len(moving) > 1:
        split = _split_slice(merged, dim, start, count, step)
        return split if split is not None else NoMatch(why=f"a slice of dimension {dim}, which has {len(moving)} parts")
    vector = _digit_vectors(merged)[moving[0]] if moving else (0,) * len(view.source)
    offset = [c.offset + v * start for c, v in zip(view.coordinates, vector, strict=True)]
    return _replace_digits(merged, dim, [(count, tuple(step * v for v in vector))], offset)


def _split_slice(view: IndexMap, dim: int, start: int, count: int, step: int) -> IndexMap | None:
    """A slice that keeps whole inner digits, or a single index."""
    digits = list(digits_of(view, dim))
    vectors = _digit_vectors(view)
    offset = [c.offset for c in view.coordinates]
    inner = prod(view.digits[d] for d in digits[1:])
    if count == 1:
        rest = start
        for d in reversed(digits):
            rest, place = divmod(rest, view.digits[d])
            offset = [o + place * v for o, v in zip(offset, vectors[d], strict=True)]
        return _replace_digits(view, dim, [(1, (0,) * len(view.source))], offset)
    if step != 1 or start % inner or count % inner:
        return None
    offset = [o + start // inner * v for o, v in zip(offset, vectors[digits[0]], strict=True)]
    kept = [(count // inner, vectors[digits[0]]), *((view.digits[d], vectors[d]) for d in digits[1:])]
    return _replace_digits(view, dim, kept, offset)


def broadcast(view: IndexMap, shape: Sequence[int]) -> IndexMap:
    """As numpy broadcasts: axes of one element are repeated, missing ones added in front."""
    out = lead(view, len(shape) - len(view.dims))
    for dim, extent in enumerate(shape):
        if out.shape[dim] != extent:
            assert out.shape[dim] == 1, (view.shape, shape)
            still = (0,) * len(view.source)
            out = _replace_digits(out, dim, [(extent, still)], [c.offset for c in out.coordinates])
    return out


def repeated(view: IndexMap, dim: int, times: int, *, inner: bool) -> IndexMap:
    """One dimension `times` over: each index on end (`inner`), or the whole again and again."""
    vectors = _digit_vectors(view)
    own = [(view.digits[d], vectors[d]) for d in digits_of(view, dim)]
    more = (times, (0,) * len(view.source))
    return _replace_digits(view, dim, [*own, more] if inner else [more, *own], [c.offset for c in view.coordinates])


def covers(view: IndexMap) -> bool:
    """Whether the map reaches every element of its source exactly once."""
    size = prod(view.source)
    if prod(view.digits) != size:
        return False
    places = view.evaluate().reshape(-1)
    return bool(places.min() >= 0 and (np.bincount(places, minlength=size) == 1).all())

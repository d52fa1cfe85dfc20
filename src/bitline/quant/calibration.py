"""Samples as quantisation and running take them: checked against the model's inputs, one batch after another.

Where they come from is the business of `bitline.data`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bitline.core.diagnostics import Diagnostic, Refusal
from bitline.graph.model import Model, dtype_of, shape_of

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """`feeds[input]` holds all samples, stacked on axis 0; `remark` says where they come from and what was done."""

    feeds: Mapping[str, Array]
    labels: npt.NDArray[np.int64] | None = None
    remark: str = ""


def checked(
    feeds: Mapping[str, Array], model: Model, *, place: str = "", finite: Collection[str] | None = None
) -> dict[str, Array]:
    """The feeds in the types of the model's inputs. Raises `Refusal` (BL0105) with all that do not fit.

    `finite` names the inputs in which NaN and infinity mean nothing, those that are quantised; None: all of them.
    """
    found: list[Diagnostic] = []
    fitting: dict[str, Array] = {}

    def wrong(message: str) -> None:
        hint = ", ".join(f"{v.name} {dtype_of(v.type.tensor_type.elem_type)} {_shape_text(v)}" for v in model.inputs)
        found.append(Diagnostic(code="BL0105", message=message, place=place, help=f"inputs of the model: {hint}"))

    counts: dict[str, int] = {}
    for value in model.inputs:
        shape, dtype = shape_of(value), dtype_of(value.type.tensor_type.elem_type)
        assert shape is not None, "the gate gives every input a static shape"
        given = feeds.get(value.name)
        if given is None:
            wrong(f"no data for input {value.name!r}")
            continue
        per_sample = _per_sample(given.shape, shape)
        if per_sample is None:
            wrong(f"input {value.name!r} is {_shape_text(value)}, given {list(given.shape)}")
        elif given.dtype != dtype and not _widens(given.dtype, dtype):
            wrong(f"input {value.name!r} is {dtype}, given {given.dtype}")
        elif _not_finite(given, stored := _cast(given, dtype), demanded=finite is None or value.name in finite):
            wrong(f"the data for input {value.name!r} hold NaN or infinite values")
        else:
            fitting[value.name] = stored
            counts[value.name] = len(given) // per_sample
    for name in sorted(set(feeds) - {value.name for value in model.inputs}):
        wrong(f"the model has no input {name!r}")
    if len(set(counts.values())) > 1:
        wrong("different numbers of samples: " + ", ".join(f"{name} {count}" for name, count in counts.items()))
    if counts and not all(counts.values()):
        wrong("no samples")
    if found:
        raise Refusal(found)
    return fitting


def batches(feeds: Mapping[str, Array], model: Model) -> Iterator[dict[str, Array]]:
    """What one run of the model takes, sample after sample. `feeds` went through `checked`."""
    shapes = {value.name: shape_of(value) or () for value in model.inputs}
    for index in range(sample_count(feeds, model)):
        batch: dict[str, Array] = {}
        for name, shape in shapes.items():
            step = _per_sample(feeds[name].shape, shape)
            assert step is not None
            batch[name] = feeds[name][index * step : (index + 1) * step].reshape(shape)
        yield batch


def sample_count(feeds: Mapping[str, Array], model: Model) -> int:
    """How often the model runs over these feeds."""
    for value in model.inputs:
        per_sample = _per_sample(feeds[value.name].shape, shape_of(value) or ())
        assert per_sample is not None
        return len(feeds[value.name]) // per_sample
    return 1


def _per_sample(given: tuple[int, ...], shape: tuple[int, ...]) -> int | None:
    """Entries of axis 0 that one run takes: the model's own batch, or 1 where the stack adds an axis; None: no fit."""
    if len(given) == len(shape) and given[1:] == shape[1:] and shape and shape[0] and given[0] % shape[0] == 0:
        return shape[0]
    return 1 if given[1:] == shape and given else None


def _shape_text(value: Any) -> str:
    shape = shape_of(value) or ()
    return f"[n, {', '.join(map(str, shape[1:]))}]" if shape[:1] == (1,) else f"{list(shape)}"


def _cast(given: Array, dtype: np.dtype[Any]) -> Array:
    """`given` as `dtype`; a number beyond its range becomes infinite."""
    with np.errstate(over="ignore"):
        return given.astype(dtype, copy=False)


def _not_finite(given: Array, stored: Array, *, demanded: bool) -> bool:
    """Whether numbers became infinite, or are not finite where they have to be."""
    if stored.dtype.kind in "OSUbiu":  # text and whole numbers
        return False
    lost = ~np.isfinite(stored)
    return bool(np.any(lost if demanded else lost & np.isfinite(given)))


def _widens(given: np.dtype[Any], wanted: np.dtype[Any]) -> bool:
    """Whether a user means the same by both: float64 for float32, int32 for int64; never uint8 images for float."""
    if given.kind == "f" and wanted.kind == "f":
        return True
    return given.kind in "iub" and wanted.kind in "iu" and given.itemsize <= wanted.itemsize

"""Samples from a file or a generator, brought into the form the model's inputs ask for.

DATA                              becomes
file.npz with the input names     those arrays, samples stacked on axis 0; `y`, if there, is the labels
file.npz with x uint8, NHWC       x / 255, minus mean, divided by std, transposed to NCHW
file.npz with x of the input's    x as it is
  own type, or file.npy
random:N                          N seeded samples: standard normal; integers uniform below the table they
                                  index, else 0 or 1
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from bitline.core.diagnostics import Diagnostic, Refusal, refuse
from bitline.graph.model import Model, Wiring, attribute, dtype_of, shape_of

Array = npt.NDArray[Any]

SEED: Final = 0
MOST_RANDOM_SAMPLES: Final = 100_000

UNREADABLE: Final = (
    *(OSError, ValueError, EOFError, KeyError, MemoryError, OverflowError, zipfile.BadZipFile, zlib.error),
    *(NotImplementedError, RuntimeError),  # zipfile: other compression, encryption
)
"""What numpy raises for damaged .npy and .npz files."""

_FORMS: Final = "a .npz with the model's input names or with x (and y), a .npy, or random:N"


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocess:
    """What happens to uint8 images: `(x / 255 - mean) / std`, one value per channel or one for all."""

    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """`feeds[input]` holds all samples, stacked on axis 0; `remark` says where they come from and what was done."""

    feeds: Mapping[str, Array]
    labels: npt.NDArray[np.int64] | None = None
    remark: str = ""


def parse_preprocess(text: str) -> Preprocess:
    """`mean=0.485,0.456,0.406 std=0.229,0.224,0.225`. Raises `Refusal` (BL0101)."""
    values: dict[str, tuple[float, ...]] = {}
    understood = True
    for part in text.split():
        key, _, items = part.partition("=")
        try:
            values[key] = tuple(float(item) for item in items.split(","))
        except ValueError:
            understood = False
    made = Preprocess(mean=values.get("mean", (0.0,)), std=values.get("std", (1.0,)))
    understood = understood and bool(values) and set(values) <= {"mean", "std"}
    if not understood or not np.all(np.isfinite(made.mean + made.std)) or 0.0 in made.std:
        raise refuse(
            "BL0101",
            f"--preprocess {text!r} is not understood",
            help="write it as `mean=0.485,0.456,0.406 std=0.229,0.224,0.225`, std not 0",
        )
    return made


def load_data(spec: str, model: Model, preprocess: Preprocess | None = None, limit: int | None = None) -> Samples:
    """The first `limit` samples that `spec` names. Raises `Refusal`: BL0206 unreadable, BL0105 unfit for the model."""
    if limit is not None and limit < 1:
        raise refuse("BL0101", f"--limit {limit}", help="ask for at least one sample")
    if spec.startswith("random:"):
        return _random(spec, model, limit)
    arrays = _read(Path(spec))
    labels: npt.NDArray[np.int64] | None = None
    names = [value.name for value in model.inputs]
    done = ""
    if "x" in arrays and "x" not in names and len(names) == 1:
        x, done = _prepared(arrays["x"][:limit], model, preprocess, spec)
        feeds = {names[0]: x}
    elif preprocess is not None:
        raise refuse(
            "BL0101", "--preprocess needs images under the key `x`", place=spec, help="rename the array to `x`"
        )
    else:
        feeds = {name: arrays[name][:limit] for name in names if name in arrays}
    if "y" in arrays and "y" not in names:
        labels = _labels(arrays["y"][:limit], spec)
    feeds = checked(feeds, model, place=spec)
    count = sample_count(feeds, model)
    if labels is not None and len(labels) != count:
        raise refuse("BL0105", f"{count} samples, but {len(labels)} labels in `y`", place=spec, help="give one each")
    return Samples(feeds=feeds, labels=labels, remark=f"{count} samples of {Path(spec).name}{done}")


def checked(feeds: Mapping[str, Array], model: Model, *, place: str = "") -> dict[str, Array]:
    """The feeds in the types of the model's inputs. Raises `Refusal` (BL0105) with all that do not fit."""
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
        elif (stored := _cast(given, dtype)).dtype.kind == "f" and not np.all(np.isfinite(stored)):
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


def _widens(given: np.dtype[Any], wanted: np.dtype[Any]) -> bool:
    """Whether a user means the same by both: float64 for float32, int32 for int64; never uint8 images for float."""
    if given.kind == "f" and wanted.kind == "f":
        return True
    return given.kind in "iub" and wanted.kind in "iu" and given.itemsize <= wanted.itemsize


def _read(path: Path) -> dict[str, Array]:
    try:
        with path.open("rb") as stream:  # numpy itself leaves a damaged archive open
            loaded = np.load(stream, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                return {"x": loaded}
            return {name: loaded[name] for name in loaded.files}
    except UNREADABLE as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else re.sub(r"\s+", " ", str(error))
        if "allow_pickle" in why:
            why = "not an array file, or one with pickled objects, which are never loaded"
        raise refuse("BL0206", f"cannot be read: {why}", place=str(path), help=f"give {_FORMS}") from None


def _labels(y: Array, place: str) -> npt.NDArray[np.int64]:
    if y.ndim != 1 or y.dtype.kind not in "iu":
        raise refuse(
            "BL0105", f"labels `y` are {y.dtype} {list(y.shape)}", place=place, help="give integers, one a sample"
        )
    return y.astype(np.int64)


def _prepared(x: Array, model: Model, preprocess: Preprocess | None, place: str) -> tuple[Array, str]:
    """`x` in the layout of the model's one input, and what was done to it, in words."""
    (value,) = model.inputs
    shape, dtype = shape_of(value) or (), dtype_of(value.type.tensor_type.elem_type)
    if x.dtype != np.uint8 or dtype.kind != "f":
        if preprocess is not None:
            raise refuse(
                "BL0101", f"--preprocess is for uint8 images; `x` is {x.dtype}", place=place, help="leave it out"
            )
        return x, ""
    if len(shape) != 4 or x.ndim != 4 or (x.shape[3], *x.shape[1:3]) != shape[1:]:
        raise refuse(
            "BL0105",
            f"images `x` are {list(x.shape)} (NHWC); input {value.name!r} is {list(shape)} (NCHW)",
            place=place,
            help="scale or crop the images to the model's size",
        )
    rule = preprocess or Preprocess()
    for name, values in (("mean", rule.mean), ("std", rule.std)):
        if len(values) not in (1, shape[1]):
            raise refuse(
                "BL0101",
                f"--preprocess gives {len(values)} values of {name} for {shape[1]} channels",
                help="give one value, or one for each channel",
            )
    scaled = x.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)
    mean, std = (np.asarray(values, np.float32).reshape(1, -1, 1, 1) for values in (rule.mean, rule.std))
    done = "" if preprocess is not None else " without --preprocess: x / 255 only"
    return ((scaled - mean) / std).astype(dtype), f", uint8 images{done}"


def _random(spec: str, model: Model, limit: int | None) -> Samples:
    text = spec.removeprefix("random:")
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= MOST_RANDOM_SAMPLES:
        raise refuse("BL0101", f"{spec!r} is not understood", help=f"write random:N, N from 1 to {MOST_RANDOM_SAMPLES}")
    count = min(int(text), limit or MOST_RANDOM_SAMPLES)
    rng = np.random.Generator(np.random.Philox(SEED))
    feeds: dict[str, Array] = {}
    for value in model.inputs:
        shape, dtype = shape_of(value) or (), dtype_of(value.type.tensor_type.elem_type)
        full = (count * shape[0], *shape[1:]) if shape else (count,)
        if dtype.kind == "f":
            feeds[value.name] = rng.standard_normal(full).astype(dtype)
        else:
            feeds[value.name] = rng.integers(0, _table_rows(model, value.name), full).astype(dtype)
    return Samples(feeds=feeds, remark=f"{count} random samples, seed {SEED}: only shapes mean something")


def _table_rows(model: Model, name: str) -> int:
    """Rows of the smallest constant table that this integer input indexes; 2 where there is none."""
    wiring = Wiring(model.proto.graph)
    tables = [
        (wiring.shape(node.input[0]) or (2,))[attribute(node, "axis", 0)]
        for node in wiring.readers[name]
        if node.op_type == "Gather" and node.input[1] == name and node.input[0] in wiring.constants
    ]
    return min(tables, default=2)

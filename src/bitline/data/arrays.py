""".npz and .npy files, and streams of numbers cut into frames."""

from __future__ import annotations

import re
import zipfile
import zlib
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from bitline.core.diagnostics import refuse
from bitline.graph.model import Model, dtype_of, shape_of

Array = npt.NDArray[Any]

UNREADABLE: Final = (
    *(OSError, ValueError, EOFError, KeyError, MemoryError, OverflowError, zipfile.BadZipFile, zlib.error),
    *(NotImplementedError, RuntimeError),  # zipfile: other compression, encryption
)
"""What numpy raises for damaged .npy and .npz files."""

FORMS: Final = (
    "a .npz with the model's input names or with x (and y), a .npy, a .txt of token ids, images (.png, .jpg, .bmp), "
    "a folder or glob of them, or random:N"
)
PCM_RANGE: Final = 32768.0
"""int16 sound to -1 .. 1, as sound libraries read it."""


def read_arrays(path: Path) -> dict[str, Array]:
    """All arrays of a file; that of an .npy is called `x`. Raises `Refusal` (BL0206)."""
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
        raise refuse("BL0206", f"cannot be read: {why}", place=str(path), help=f"give {FORMS}") from None


def as_labels(y: Array, place: str) -> npt.NDArray[np.int64]:
    """`y` as class numbers. Raises `Refusal` (BL0105)."""
    if y.ndim != 1 or y.dtype.kind not in "iu":
        raise refuse(
            "BL0105", f"labels `y` are {y.dtype} {list(y.shape)}", place=place, help="give integers, one a sample"
        )
    return y.astype(np.int64)


def stacked(x: Array, shape: tuple[int, ...]) -> Array:
    """One sample without its first axis, or with all of the model's, as a stack of one; everything else as it is."""
    return x[None] if shape[:1] == (1,) and x.shape == shape[1:] else x


def framed(
    x: Array, model: Model, name: str, hop: int | None, limit: int | None, place: str
) -> tuple[Array, str] | None:
    """A stream of numbers as overlapping frames of the input's length, the last filled up with zeros, and what was done
    in words; None where `x` is no stream for this input. Raises `Refusal` (BL0101) where `hop` makes no sense."""
    (value,) = (v for v in model.inputs if v.name == name)
    shape, dtype = shape_of(value) or (), dtype_of(value.type.tensor_type.elem_type)
    length = shape[-1] if shape else 0
    streams = x.ndim == 1 and x.size > 0 and length > 0 and set(shape[:-1]) <= {1} and x.dtype.kind in "fiu"
    if hop is None and (not streams or x.shape == shape[1:]):
        return None
    if not streams:
        raise refuse(
            "BL0101",
            f"--hop cuts a stream into frames; the data are {list(x.shape)}, input {name!r} is {list(shape)}",
            place=place,
            help="give a one-dimensional .npy for an input of shape [1, length], or leave --hop out",
        )
    step = hop or length
    if step > length:
        help = f"give at most {length}, or cut the stream yourself"
        raise refuse("BL0101", f"--hop {step} would leave numbers out: frames have {length}", place=place, help=help)
    count = max(1, -(-(x.size - length + step) // step))
    taken = count if limit is None else min(count, limit)
    missing = max(0, (count - 1) * step + length - x.size)
    starts = np.arange(taken) * step
    whole = np.concatenate([x, np.zeros(missing, x.dtype)]) if missing else x
    frames = whole[starts[:, None] + np.arange(length)]
    said = f"{x.size:,} numbers in frames of {length}, {step} apart"
    if missing and taken == count:
        said += f", {missing} zeros at the end"
    if frames.dtype == np.int16 and dtype.kind == "f":
        frames = (frames / np.float32(PCM_RANGE)).astype(dtype)
        said += f", int16 divided by {PCM_RANGE:g}"
    return frames.reshape(taken, *shape[1:]), said

"""Lines of token ids. One line is one sequence, cut or padded to the model's length.

Which input gets what is read from its name, as all exporters of transformers name them: `..._ids` the ids,
`...mask...` 1 for ids and 0 for padding, `token_type_ids`, `segment_ids` 0, `position_ids` 0, 1, 2, ...
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from bitline.core.diagnostics import Diagnostic, Refusal, refuse
from bitline.data.random import table_rows
from bitline.graph.model import Model, dtype_of, shape_of

Array = npt.NDArray[Any]

PADDING: Final = 0
_HELP: Final = "write whole numbers from 0, with spaces or commas between them, one sequence a line, as UTF-8"

Fill = Callable[[npt.NDArray[np.int64], npt.NDArray[np.int64]], npt.NDArray[np.int64]]
"""(ids, counts of real ones as [n, 1]) -> the values of an input, all [n, length]."""


def read_ids(path: Path, limit: int | None) -> list[list[int]]:
    """Sequences of a text file; empty lines count for nothing. Raises `Refusal` (BL0206) with every bad line."""
    found: list[Diagnostic] = []
    sequences: list[list[int]] = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else "it is no UTF-8 text"
        raise refuse("BL0206", f"cannot be read: {why}", place=str(path), help=_HELP) from None
    for number, line in enumerate(lines, start=1):
        words = line.replace(",", " ").split()
        wrong = [word for word in words if not (word.isascii() and word.isdigit() and len(word) <= 18)]
        if wrong:
            message = f"{wrong[0][:40]!r} is no token id"
            found.append(Diagnostic(code="BL0206", message=message, place=f"{path}:{number}", help=_HELP))
        elif words and (limit is None or len(sequences) < limit):
            sequences.append([int(word) for word in words])
    if not found and not sequences:
        raise refuse("BL0206", "no token ids in the file", place=str(path), help=_HELP)
    if found:
        raise Refusal(found)
    return sequences


def filled(
    model: Model, sequences: Sequence[Sequence[int]], *, place: str, without: frozenset[str]
) -> dict[str, Array]:
    """Every input of the model from sequences of ids. Raises `Refusal` (BL0105) with all that does not fit."""
    found: list[Diagnostic] = []
    inputs = [value for value in model.inputs if value.name not in without]
    lone = len(inputs) == 1
    feeds: dict[str, Array] = {}

    def wrong(message: str, help: str) -> None:
        found.append(Diagnostic(code="BL0105", message=message, place=place, help=help))

    for value in inputs:
        shape, dtype = shape_of(value) or (), dtype_of(value.type.tensor_type.elem_type)
        fill = _fill("input_ids" if lone else value.name)
        if (
            fill is None
            or len(shape) not in (1, 2)
            or shape[:-1] not in ((), (1,))
            or (lone and dtype.kind not in "iu")
        ):
            wrong(
                f"nobody knows what token ids mean for input {value.name!r}, {dtype} {list(shape)}",
                "text fills inputs of shape [1, length] with names like input_ids, attention_mask; give an .npz",
            )
            continue
        length = int(np.prod(shape))
        ids = np.full((len(sequences), length), PADDING, np.int64)
        counts = np.array([[min(len(sequence), length)] for sequence in sequences], np.int64)
        for row, sequence in zip(ids, sequences, strict=True):
            row[: min(len(sequence), length)] = sequence[:length]
        if fill is _ids and (rows := table_rows(model, value.name)) is not None and ids.max() >= rows:
            line = int(np.argmax(ids.max(axis=1) >= rows))
            wrong(
                f"sequence {line + 1} holds the id {ids[line].max()}, the table of {value.name!r} has {rows} rows",
                "use the tokenizer that the model was trained with",
            )
        values = fill(ids, counts)
        feeds[value.name] = (values if len(shape) == 2 else values[:, None, :].reshape(-1, length)).astype(dtype)
    if not found and not any(_fill("input_ids" if lone else name) is _ids for name in feeds):
        wrong("no input of the model takes token ids", "give an .npz with one array for each input")
    if found:
        raise Refusal(found)
    return feeds


def lengths_in_words(sequences: Sequence[Sequence[int]], length: int) -> str:
    """How many sequences were cut or padded."""
    cut = sum(len(s) > length for s in sequences)
    padded = sum(len(s) < length for s in sequences)
    return f"{length} ids each; {cut} cut, {padded} padded with {PADDING}"


def _ids(ids: npt.NDArray[np.int64], counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    del counts
    return ids


def _mask(ids: npt.NDArray[np.int64], counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return (np.arange(ids.shape[1]) < counts).astype(np.int64)


def _zeros(ids: npt.NDArray[np.int64], counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    del counts
    return np.zeros_like(ids)


def _positions(ids: npt.NDArray[np.int64], counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    del counts
    return np.broadcast_to(np.arange(ids.shape[1]), ids.shape)


def _fill(name: str) -> Fill | None:
    """What an input of this name gets."""
    low = name.lower()
    for part, fill in (
        ("mask", _mask),
        ("type", _zeros),
        ("segment", _zeros),
        ("position", _positions),
        ("ids", _ids),
        ("token", _ids),
    ):
        if part in low:
            return fill
    return None

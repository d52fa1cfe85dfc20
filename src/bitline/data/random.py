"""`random:N`: seeded samples where only shapes matter."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from bitline.core.diagnostics import refuse
from bitline.graph.model import Model, Wiring, attribute, dtype_of, shape_of

Array = npt.NDArray[Any]

SEED: Final = 0
MOST_RANDOM_SAMPLES: Final = 100_000


def random_count(spec: str) -> int:
    """N of `random:N`. Raises `Refusal` (BL0101)."""
    text = spec.removeprefix("random:")
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= MOST_RANDOM_SAMPLES:
        raise refuse("BL0101", f"{spec!r} is not understood", help=f"write random:N, N from 1 to {MOST_RANDOM_SAMPLES}")
    return int(text)


def random_feeds(model: Model, count: int) -> dict[str, Array]:
    """Standard normal numbers; integers uniform below the table they index, else 0 or 1."""
    rng = np.random.Generator(np.random.Philox(SEED))
    feeds: dict[str, Array] = {}
    for value in model.inputs:
        shape, dtype = shape_of(value) or (), dtype_of(value.type.tensor_type.elem_type)
        full = (count * shape[0], *shape[1:]) if shape else (count,)
        if dtype.kind == "f":
            feeds[value.name] = rng.standard_normal(full).astype(dtype)
        else:
            feeds[value.name] = rng.integers(0, table_rows(model, value.name) or 2, full).astype(dtype)
    return feeds


def table_rows(model: Model, name: str) -> int | None:
    """Rows of the smallest constant table that this integer input indexes; None where there is none."""
    wiring = Wiring(model.proto.graph)
    tables = [
        (wiring.shape(node.input[0]) or (2,))[attribute(node, "axis", 0)]
        for node in wiring.readers[name]
        if node.op_type == "Gather" and node.input[1] == name and node.input[0] in wiring.constants
    ]
    return min(tables, default=None)

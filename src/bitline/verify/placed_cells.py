"""Where blocks lie in arrays: inside, on usable cells, alone there, with bias rows of their own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from bitline.core.diagnostics import Diagnostic
from bitline.ir.placement import ArrayShape, Occupied, PlacedBlock
from bitline.verify.touching import touching


def finding(place: str, message: str) -> Diagnostic:
    """A finding about a placement; `place` is a matrix, or the part of the file."""
    return Diagnostic(code="BL0501", message=message, place=place, help="place the networks again")


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """A block or occupied cells: what it is called, whose it is, and where it lies. It has rows and columns, no number
    is negative."""

    name: str
    owner: str
    what: PlacedBlock | Occupied

    @property
    def bottom(self) -> int:
        return self.what.w_row_start + self.what.rows

    @property
    def right(self) -> int:
        return self.what.w_col_start + self.what.cols

    @property
    def bias_end(self) -> int:
        return self.what.bias_start + self.what.bias_rows

    @property
    def where(self) -> str:
        top, left = self.what.w_row_start, self.what.w_col_start
        return f"rows {top}..{self.bottom - 1}, columns {left}..{self.right - 1}"


def place_errors(items: Sequence[Placed], shape: ArrayShape) -> Iterator[Diagnostic]:
    """Blocks that leave their array."""
    for item in items:
        if item.bottom > shape.rows or item.right > shape.cols:
            size = f"{shape.rows} x {shape.cols}"
            yield finding(item.owner, f"{item.name} leaves array {item.what.array}: {item.where} of {size}")


def unusable_errors(items: Sequence[Placed], shape: ArrayShape) -> Iterator[Diagnostic]:
    """Blocks across an edge or on blocked cells."""
    boxes = np.array([(i.what.w_row_start, i.what.w_col_start, i.bottom, i.right) for i in items], np.int64)
    top, left, bottom, right = boxes.reshape(-1, 4).T
    for edge in sorted({*shape.edges}):
        for k in np.flatnonzero((top < edge) & (edge < bottom)).tolist():
            yield finding(items[k].owner, f"{items[k].name} crosses row {edge} of its array: {items[k].where}")
    for r0, c0, r1, c1 in shape.blocked:
        for k in np.flatnonzero((top < r1) & (r0 < bottom) & (left < c1) & (c0 < right)).tolist():
            cells = f"rows {r0}..{r1 - 1}, columns {c0}..{c1 - 1}"
            yield finding(items[k].owner, f"{items[k].name} has {items[k].where}, where {cells} are blocked")


def overlap_errors(items: Sequence[Placed]) -> Iterator[Diagnostic]:
    """Pairs that share cells of an array."""
    for one, other in _sharing(items, "cells"):
        yield finding(one.owner, f"{one.name} overlaps {_named(other)} in array {one.what.array}: {one.where}")


def bias_errors(items: Sequence[Placed], shape: ArrayShape) -> Iterator[Diagnostic]:
    """Bias rows that an array does not have, or that two blocks above one another have in a column."""
    for item in items:
        if item.bias_end > shape.bias_rows:
            rows = f"{item.what.bias_start}..{item.bias_end - 1}"
            yield finding(item.owner, f"{item.name} has bias rows {rows}, an array has {shape.bias_rows}")
    for one, other in _sharing([item for item in items if item.what.bias_rows], "bias"):
        rows = f"{one.what.bias_start}..{one.bias_end - 1}"
        at = f"bias rows {rows}, columns {one.what.w_col_start}..{one.right - 1} of array {one.what.array}"
        yield finding(one.owner, f"{one.name} has {at}, of which {_named(other)} has some")


def gap_errors(items: Sequence[Placed]) -> Iterator[Diagnostic]:
    """Arrays are numbered from 0 without a gap."""
    first = {item.what.array: item for item in reversed(items)}
    before = -1
    for array in sorted(first):
        if array != before + 1:
            yield finding(first[array].owner, f"{first[array].name} lies in array {array}, but nothing in {before + 1}")
        before = array


def _named(item: Placed) -> str:
    return f"{item.name} of {item.owner!r}"


def _sharing(items: Sequence[Placed], space: Literal["cells", "bias"]) -> Iterator[tuple[Placed, Placed]]:
    """Pairs with common cells, or with a common bias row in a common column."""
    arrays = np.array([item.what.array for item in items], np.int64)
    rows = [(i.what.w_row_start, i.bottom) if space == "cells" else (i.what.bias_start, i.bias_end) for i in items]
    boxes = [(r[0], i.what.w_col_start, r[1], i.right) for i, r in zip(items, rows, strict=True)]
    for i, j in touching(arrays, np.array(boxes, np.int64).reshape(-1, 4)):
        yield items[i], items[j]

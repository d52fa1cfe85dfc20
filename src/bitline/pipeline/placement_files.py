"""Placements made earlier, from our JSON, the contest's CSV or a WTM2101 `layers.txt`. Readers trust nothing."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bitline.core.canonical import from_json
from bitline.core.diagnostics import Diagnostic, Refusal, refuse
from bitline.ir.placement import ArrayShape, Occupied, Placement

MOST_BYTES: Final = 64 << 20
LARGEST: Final = 1 << 30
FINDINGS: Final = 20
AGAIN: Final = "place the networks again"


@dataclass(frozen=True, slots=True, kw_only=True)
class Earlier:
    """A block that lies there already: its place, and which part of which node's weights it is, as far as the file
    says. `where`: the line of the file, or the block in it. `matrix`, `weights`: number and name of its matrix in the
    file, for a node may have several."""

    place: Occupied
    where: str
    index: int | None = None
    node: str = ""
    network: str = ""
    matrix: int = 0
    weights: str = ""
    copy: int = 0
    row_offset: int | None = None
    col_offset: int | None = None


def read_text(path: Path) -> str:
    """A file of a placement. Raises `Refusal` (BL0201, BL0205)."""
    try:
        if path.is_dir():
            raise refuse("BL0201", "it is a folder", place=str(path), help="name a .json, .csv or .txt file")
        if path.stat().st_size > MOST_BYTES:
            raise refuse("BL0205", "the file is too large for a placement", place=str(path), help="name another file")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        why = error.strerror or "cannot be read"
        raise refuse("BL0201", f"cannot read it: {why}", place=str(path), help="name a file that exists") from None
    except UnicodeDecodeError:
        raise refuse("BL0205", "the file is no text", place=str(path), help="name a .json, .csv or .txt file") from None


def read_placement(path: Path) -> Placement:
    """What `bitline place -o NAME.json` wrote. Raises `Refusal` (BL0201, BL0205)."""
    return from_json(Placement, read_text(path), place=str(path), again=AGAIN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lying:
    """The blocks of an earlier placement. `placement`: all of it, where the file is the .json that `place` writes."""

    file: str
    earlier: tuple[Earlier, ...]
    placement: Placement | None = None


def read_earlier(path: Path, shape: ArrayShape, target: str) -> Lying:
    """An earlier placement in arrays of `shape` of chip `target`, by the ending of its name. Every block that says its
    size lies in its array.

    Raises `Refusal` (BL0101, BL0201, BL0205)."""
    placement, first_col = None, 0
    match "" if path.is_dir() else path.suffix.lower():
        case ".json":
            placement = read_placement(path)
            _same_arrays(placement, shape, target, str(path))
            earlier = _of_placement(placement, str(path))
        case ".csv":
            earlier = _of_csv(read_text(path), str(path))
        case ".txt":
            first_col = shape.reserved_cols
            earlier = _of_layers(read_text(path), shape, str(path))
        case _ if path.is_dir():
            raise refuse("BL0101", "it is a folder", place=str(path), help="name the .json, .csv or layers.txt in it")
        case _:
            raise refuse(
                "BL0101",
                f"{path.name!r} is no placement",
                place=str(path),
                help="give the .json or .csv that `bitline place -o` writes, or a layers.txt",
            )
    refuse_misplaced([e for e in earlier if e.index is None], shape, first_col)
    return Lying(file=str(path), earlier=earlier, placement=placement)


def _same_arrays(placement: Placement, shape: ArrayShape, target: str, file: str) -> None:
    """Raise `Refusal` (BL0205) where the arrays of a file are others than those of a chip; bad columns may differ."""
    there = placement.shape
    if (there.rows, there.cols, there.edges, there.bias_rows) != (shape.rows, shape.cols, shape.edges, shape.bias_rows):
        raise refuse(
            "BL0205",
            f"it is for arrays of {_in_words(there)} ({placement.target}), those of {target} have {_in_words(shape)}",
            place=file,
            help="take the chip that it was made for, or place its networks again for this one",
        )


def _in_words(shape: ArrayShape) -> str:
    words = [f"{shown(shape.rows)} x {shown(shape.cols)} weights"]
    words += [f"an edge at row {shown(edge)}" for edge in shape.edges[:4]]
    words += [f"{shown(shape.bias_rows)} bias rows"] if shape.bias_rows else []
    return ", ".join(words)


def refuse_misplaced(earlier: Sequence[Earlier], shape: ArrayShape, first_col: int = 0) -> None:
    """Raise `Refusal` (BL0205) with all blocks that do not lie on usable cells of an array. `first_col`: what the file
    calls the first column that may be used."""
    found = [(e.where, fault) for e in earlier for fault in _faults(e.place, shape, first_col)]
    if found:
        help = "take the file of a placement in such arrays, or correct it"
        raise Refusal([Diagnostic(code="BL0205", message=m, place=w, help=help) for w, m in found[:FINDINGS]])


def _faults(place: Occupied, shape: ArrayShape, first_col: int) -> Iterator[str]:
    """What is wrong with the place of a block, in the terms of the file."""
    if not 0 <= place.array <= LARGEST:
        yield f"array {shown(place.array)}, expected 0..{LARGEST}"
    top, left = place.w_row_start, place.w_col_start
    inside = True
    for noun, start, size, first, count in (
        ("rows", top, place.rows, 0, shape.rows),
        ("columns", left + first_col, place.cols, first_col, shape.cols),
    ):
        if first <= start < start + size <= first + count:
            continue
        inside = False
        why = " end before they start" if size < 1 else f", but those of an array are {first}..{first + count - 1}"
        yield _span(noun, start, size) + why
    if place.bias_rows < 0 or not 0 <= place.bias_start <= place.bias_start + place.bias_rows <= shape.bias_rows:
        there = f"those of an array are 0..{shape.bias_rows - 1}" if shape.bias_rows else "an array has none"
        yield f"{_span('bias rows', place.bias_start, place.bias_rows)}, but {there}"
    if inside:
        bottom, right = top + place.rows, left + place.cols
        yield from (
            f"{_span('rows', top, place.rows)} cross row {edge}, where an array ends and the next begins"
            for edge in shape.edges
            if top < edge < bottom
        )
        yield from (
            f"{_span('columns', left + first_col, place.cols)}, of which {first_col + c0}..{first_col + c1 - 1} are bad"
            for r0, c0, r1, c1 in shape.blocked
            if top < r1 and r0 < bottom and left < c1 and c0 < right
        )


def _span(noun: str, start: int, size: int) -> str:
    return f"{noun} {shown(start)}..{shown(start + size - 1)}"


def shown(value: int) -> str:
    """A number of any length, for people."""
    return (
        str(value)
        if abs(value) <= 2 * LARGEST
        else f"{'-' if value < 0 else ''}2^{abs(value).bit_length() - 1} or more"
    )


def _of_placement(placement: Placement, file: str) -> tuple[Earlier, ...]:
    found: list[Earlier] = []
    for number, block in enumerate(placement.blocks):
        where = f"{file}: block {number}"
        if not 0 <= block.matrix < len(placement.matrices):
            there = len(placement.matrices)
            message = f"it is of matrix {shown(block.matrix)}, there are {there}"
            raise refuse("BL0205", message, place=where, help=AGAIN)
        matrix = placement.matrices[block.matrix]
        node = matrix.nodes[0] if matrix.nodes else ""
        place = Occupied(
            name=f"{matrix.network}: {node}",
            array=block.array,
            w_row_start=block.w_row_start,
            w_col_start=block.w_col_start,
            rows=block.rows,
            cols=block.cols,
            bias_start=block.bias_start,
            bias_rows=block.bias_rows,
        )
        found.append(
            Earlier(
                place=place,
                where=where,
                node=node,
                network=matrix.network,
                matrix=block.matrix,
                weights=matrix.matrix.name,
                copy=block.copy,
                row_offset=block.row_offset,
                col_offset=block.col_offset,
            )
        )
    taken = (Earlier(place=o, where=f"{file}: occupied {number}") for number, o in enumerate(placement.occupied))
    return (*found, *taken)


def _of_csv(text: str, place: str) -> tuple[Earlier, ...]:
    reader = csv.DictReader(io.StringIO(text))
    columns = reader.fieldnames or ()
    sized = "rows" in columns and "cols" in columns
    needed = ("core_id", "w_row_start", "w_col_start", *(() if sized else ("index",)))
    missing = [name for name in needed if name not in columns]
    if missing:
        raise refuse(
            "BL0205",
            f"the table has no column {missing[0]!r}",
            place=place,
            help="it needs core_id, w_row_start, w_col_start, and rows and cols, or index where the cut is the same",
        )
    return tuple(_of_row(row, sized, f"{place}:{line}") for line, row in enumerate(reader, 2))


def _of_row(row: Mapping[str, str | None], sized: bool, where: str) -> Earlier:
    def number(key: str, default: str = "") -> int:
        return _number(row.get(key) or default, where, key)

    known = all((row.get(key) or "") != "" for key in ("node", "row_offset", "col_offset"))
    node = (row.get("node") or "").removeprefix("'")
    return Earlier(
        place=Occupied(
            name=node or where.rpartition("/")[2],
            array=number("core_id"),
            w_row_start=number("w_row_start"),
            w_col_start=number("w_col_start"),
            rows=number("rows") if sized else 0,
            cols=number("cols") if sized else 0,
            bias_start=number("bias_start", "0"),
            bias_rows=number("bias_rows", "0"),
        ),
        where=where,
        index=None if sized else number("index"),
        node=node,
        network=(row.get("network") or "").removeprefix("'"),
        copy=number("copy", "0"),
        row_offset=number("row_offset") if known else None,
        col_offset=number("col_offset") if known else None,
    )


def _of_layers(text: str, shape: ArrayShape, place: str) -> tuple[Earlier, ...]:
    found: list[Earlier] = []
    for line, row in enumerate(text.splitlines(), 1):
        if not row.strip():
            continue
        parts = row.replace(",", " ").split()
        names = ("col_s", "col_e", "row_s", "row_e", "bias_s", "bias_e")
        if len(parts) < len(names):
            raise refuse(
                "BL0205",
                f"{len(parts)} numbers instead of col_s, col_e, row_s, row_e, bias_s, bias_e, G",
                place=f"{place}:{line}",
                help="give a layers.txt of the WTM2101",
            )
        values = [_number(part, f"{place}:{line}", name) for part, name in zip(parts, names, strict=False)]
        col, col_end, row_start, row_end, bias, bias_end = values
        found.append(
            Earlier(
                place=Occupied(
                    name=f"line {line}",
                    array=0,
                    w_row_start=row_start,
                    w_col_start=col - shape.reserved_cols,
                    rows=row_end - row_start + 1,
                    cols=col_end - col + 1,
                    bias_start=bias if bias <= bias_end else 0,
                    bias_rows=max(0, bias_end - bias + 1),
                ),
                where=f"{place}:{line}",
            )
        )
    return tuple(found)


def _number(text: str, place: str, key: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = LARGEST + 1
    if not -LARGEST <= value <= LARGEST:
        raise refuse("BL0205", f"{key} is {text[:40]!r}", place=place, help="give a whole number")
    return value

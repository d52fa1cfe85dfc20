"""Placements made earlier, from our JSON, the contest's CSV or a WTM2101 `layers.txt`. Readers trust nothing."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from bitline.core.canonical import from_json
from bitline.core.diagnostics import refuse
from bitline.ir.placement import ArrayShape, Occupied, PlacedMatrix, Placement
from bitline.place.blocks import CutBlock, CutMatrices
from bitline.place.free import Kept, all_weights
from bitline.place.solve import Fixed

MOST_BYTES: Final = 64 << 20
LARGEST: Final = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Earlier:
    """A block that lies there already: where, and which part of which node's weights it is, as far as the file says.
    `matrix`: its number in the file, for a node may have several."""

    place: Occupied
    index: int | None = None
    node: str = ""
    network: str = ""
    matrix: int = 0
    copy: int = 0
    row_offset: int | None = None
    col_offset: int | None = None


def read_text(path: Path) -> str:
    """A file of a placement. Raises `Refusal` (BL0201, BL0205)."""
    try:
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
    return from_json(Placement, read_text(path), place=str(path))


def read_earlier(path: Path, shape: ArrayShape) -> tuple[Earlier, ...]:
    """The blocks of an earlier placement, by the ending of its name. Raises `Refusal` (BL0101, BL0201, BL0205)."""
    match path.suffix.lower():
        case ".json":
            return _of_placement(read_placement(path))
        case ".csv":
            return _of_csv(read_text(path), str(path))
        case ".txt":
            return _of_layers(read_text(path), shape, str(path))
        case _:
            raise refuse(
                "BL0101",
                f"{path.name!r} is no placement",
                place=str(path),
                help="give the .json or .csv that `bitline place -o` writes, or a layers.txt",
            )


def _of_placement(placement: Placement) -> tuple[Earlier, ...]:
    found: list[Earlier] = []
    for block in placement.blocks:
        if not 0 <= block.matrix < len(placement.matrices):
            raise refuse("BL0205", f"a block of matrix {block.matrix}", place=placement.target, help="verify the file")
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
                node=node,
                network=matrix.network,
                matrix=block.matrix,
                copy=block.copy,
                row_offset=block.row_offset,
                col_offset=block.col_offset,
            )
        )
    return (*found, *(Earlier(place=o) for o in placement.occupied))


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
                    bias_start=bias,
                    bias_rows=max(0, bias_end - bias + 1),
                )
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


Part = tuple[str, str, int, int | None, int | None, int, int]
"""Network, node, copy, row and column offset, rows, columns."""


def known_again(cut: CutMatrices, matrices: Sequence[PlacedMatrix], earlier: Sequence[Earlier], file: str) -> Fixed:
    """Which of the earlier blocks are blocks of these networks: same node, part and size; or the same number, where the
    file says no sizes; or, where it names no nodes, all of them in the same order with the same sizes.

    Raises `Refusal` (BL0205) for a number that the cut does not have."""
    if any(e.index is not None for e in earlier):
        return _by_number(cut, earlier, file)
    sizes = [(b.rows, b.cols) for b in cut.blocks]
    nameless = all(e.row_offset is None for e in earlier)
    if earlier and nameless and sizes == [(e.place.rows, e.place.cols) for e in earlier]:
        return Fixed(blocks=dict(enumerate(e.place for e in earlier)), occupied=())
    keys: dict[Part, Occupied] = {}
    rest: list[Occupied] = []
    for e in earlier:
        key = (e.network, e.node, e.copy, e.row_offset, e.col_offset, e.place.rows, e.place.cols)
        if e.row_offset is None or key in keys:
            rest.append(e.place)
        else:
            keys[key] = e.place
    found: dict[int, Occupied] = {}
    for number, block in enumerate(cut.blocks):
        matrix = matrices[block.matrix]
        part = (block.copy, block.row_offset, block.col_offset, block.rows, block.cols)
        for network in (matrix.network, ""):
            key = (network, matrix.nodes[0] if matrix.nodes else "", *part)
            if key in keys:
                found[number] = keys.pop(key)
                break
    return Fixed(blocks=found, occupied=(*rest, *keys.values()))


def _by_number(cut: CutMatrices, earlier: Sequence[Earlier], file: str) -> Fixed:
    found: dict[int, Occupied] = {}
    for e in earlier:
        if e.index is None or not 0 <= e.index < len(cut.blocks) or e.index in found:
            raise refuse(
                "BL0205",
                f"block {e.index} is none of the {len(cut.blocks)} of this cut, or stands there twice",
                place=file,
                help="cut as that file was cut (--cuts, --depthwise-group), or give rows and cols in it",
            )
        block = cut.blocks[e.index]
        found[e.index] = replace(e.place, rows=block.rows, cols=block.cols, bias_rows=block.bias_rows)
    return Fixed(blocks=found, occupied=())


def kept_whole(matrices: Sequence[PlacedMatrix], earlier: Sequence[Earlier], file: str) -> Kept:
    """Which copies of these matrices lie there with all their weights: their blocks stay as they were cut. What belongs
    to others, or is but a part of a matrix, is cells that are taken.

    Raises `Refusal` (BL0205) for a file that numbers the blocks of a fixed cut."""
    if any(e.index is not None for e in earlier):
        raise refuse(
            "BL0205",
            "the table has numbers of blocks but no sizes, and free cuts number none",
            place=file,
            help="give rows and cols in it",
        )
    owners: dict[tuple[str, str, int], dict[int, list[Earlier]]] = {}
    rest: list[Occupied] = []
    for e in earlier:
        if e.row_offset is None or e.col_offset is None:
            rest.append(e.place)
        else:
            owners.setdefault((e.network, e.node, e.copy), {}).setdefault(e.matrix, []).append(e)
    kept: list[tuple[CutBlock, Occupied]] = []
    for number, matrix in enumerate(matrices):
        node = matrix.nodes[0] if matrix.nodes else ""
        for copy in range(matrix.copies):
            found = owners.get((matrix.network, node, copy)) or owners.get(("", node, copy), {})
            for own, parts in found.items():
                blocks = [_block(number, matrix, e) for e in parts]
                if all_weights(matrix, blocks):
                    kept += zip(blocks, (e.place for e in parts), strict=True)
                    del found[own]
                    break
    rest += [e.place for found in owners.values() for parts in found.values() for e in parts]
    return Kept(blocks=tuple(kept), occupied=tuple(rest))


def _block(number: int, matrix: PlacedMatrix, earlier: Earlier) -> CutBlock:
    assert earlier.row_offset is not None
    assert earlier.col_offset is not None
    return CutBlock(
        matrix=number,
        copy=earlier.copy,
        row_offset=earlier.row_offset,
        col_offset=earlier.col_offset,
        rows=earlier.place.rows,
        cols=earlier.place.cols,
        bias_rows=earlier.place.bias_rows,
        load=matrix.fires,
    )

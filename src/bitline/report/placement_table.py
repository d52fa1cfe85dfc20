"""The blocks of a placement as tables that others read: JSON rows, the contest's CSV, the WTM2101's `layers.txt`."""

from __future__ import annotations

import csv
import io

from bitline.core.escape import cell
from bitline.ir.placement import PlacedBlock, PlacedMatrix, Placement
from bitline.report.figures import Json

CONTEST = ("core_id", "index", "w_row_start", "w_col_start", "rows", "cols", "node", "row_offset", "col_offset")
"""What others rely on; the columns after them are ours."""


def block_table(placement: Placement) -> list[Json]:
    """One row per block in dependency order. `core_id` is the array."""
    return [_row(i, block, placement.matrices[block.matrix]) for i, block in enumerate(placement.blocks)]


def _row(index: int, block: PlacedBlock, matrix: PlacedMatrix) -> dict[str, Json]:
    return {
        "core_id": block.array,
        "index": index,
        "w_row_start": block.w_row_start,
        "w_col_start": block.w_col_start,
        "rows": block.rows,
        "cols": block.cols,
        "node": matrix.nodes[0] if matrix.nodes else "",
        "row_offset": block.row_offset,
        "col_offset": block.col_offset,
        "network": matrix.network,
        "copy": block.copy,
        "bias_start": block.bias_start,
        "bias_rows": block.bias_rows,
    }


def block_csv(placement: Placement) -> str:
    """The same rows as CSV; names are escaped for spreadsheets (`core.escape.cell`)."""
    out = io.StringIO()
    header: list[str] = [*CONTEST, "network", "copy", "bias_start", "bias_rows"]
    writer = csv.DictWriter(out, header, lineterminator="\n")
    writer.writeheader()
    for i, block in enumerate(placement.blocks):
        row = _row(i, block, placement.matrices[block.matrix])
        writer.writerow({key: cell(value) if isinstance(value, str) else value for key, value in row.items()})
    return out.getvalue()


def layers_txt(placement: Placement) -> str:
    """`col_s, col_e, row_s, row_e, bias_s, bias_e, G` of every block, ends included, columns counted with the reserved
    ones (the form of the WTM2101's placement files). No bias: an interval that ends before it starts. One array only.
    """
    assert placement.certificate.arrays_used <= 1, "the form knows one array"
    lines: list[str] = []
    for block in placement.blocks:
        col = placement.shape.reserved_cols + block.w_col_start
        numbers = (
            *(col, col + block.cols - 1),
            *(block.w_row_start, block.w_row_start + block.rows - 1),
            *(block.bias_start, block.bias_start + block.bias_rows - 1),
            placement.matrices[block.matrix].gain,
        )
        lines.append(", ".join(map(str, numbers)) + "\n")
    return "".join(lines)

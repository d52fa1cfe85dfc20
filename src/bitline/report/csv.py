"""The placement as a table that a spreadsheet or a chip team's loader reads."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from bitline.core.escape import cell
from bitline.ir.kernels import Network
from bitline.ir.residency import BlockResidency
from bitline.report.names import NO_KERNEL, kernel_of, matrix_users, node_label

HEADER = (
    *("core_id", "index", "w_row_start", "w_col_start", "rows", "cols", "node", "row_offset", "col_offset"),
    *("array", "matrix", "copy", "from_step", "to_step", "round", "loads", "cells_at"),
)
"""The first nine columns are a fixed form that others read; ours follow."""


def placement_csv(blocks: Sequence[BlockResidency], network: Network) -> str:
    """One line per block in dependency order, under `HEADER`. `node` is the ONNX node that uses the block first.
    Names are escaped for spreadsheets (`core.escape.cell`).

    `cells_at` is where the cells of the block begin in `arrays.bin`.
    """
    users = matrix_users(network)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(HEADER)
    order = sorted(blocks, key=lambda b: (b.index, b.round, b.region.core, b.region.array, b.from_step))
    for b in order:
        place = kernel_of(b, users)
        node = "" if place == NO_KERNEL else node_label(network.kernels[place])
        block, region = b.block, b.region
        writer.writerow(
            (
                *(region.core, b.index, region.w_row_start, region.w_col_start, block.rows, block.cols),
                *(cell(node), block.row_offset, block.col_offset),
                *(region.array, cell(block.matrix), block.copy, b.from_step, b.to_step, b.round, b.loads, b.cells_at),
            )
        )
    return out.getvalue()

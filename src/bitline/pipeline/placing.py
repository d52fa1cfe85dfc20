"""`bitline place`: all matrices of some networks in as few arrays as possible, the number of arrays unlimited."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence

from bitline.ir.kernels import Kernel, MatMul, Network
from bitline.ir.residency import Block
from bitline.pack.bounds import lower_bound
from bitline.pack.rectangles import pack
from bitline.pipeline.compile import matrix_strips
from bitline.report.figures import Json
from bitline.target.schema import Chip


def _pixels(kernel: Kernel) -> int:
    return kernel.pixels if isinstance(kernel, MatMul) else 0


def place_networks(networks: Sequence[Network], chip: Chip) -> dict[str, Json]:
    """Keys of `bitline place --json`. `interval`: MVMs of the busiest array, blocks of an array firing one after
    another."""
    started = time.perf_counter()
    rows, cols = chip.array.rows.value, chip.array.cols.value
    blocks: list[tuple[Block, str, int]] = []
    row_cuts = col_cuts = 0
    for network in networks:
        strips = matrix_strips(network, chip)
        matrices: dict[str, list[int]] = defaultdict(list)
        for number in strips:
            kernel = network.kernels[number]
            assert isinstance(kernel, MatMul)
            matrices[kernel.matrix.name].append(number)
        for users in matrices.values():  # layers with the same weights find them in one place
            kernel, found = network.kernels[users[0]], strips[users[0]]
            assert isinstance(kernel, MatMul)
            pixels = sum(_pixels(network.kernels[user]) for user in users)
            bundles = -(-kernel.matrix.groups // kernel.math.bundle)
            col_cuts += len(found) - bundles
            for strip in found:
                row_cuts += len(strip.blocks) - 1
                blocks += [(block, kernel.nodes[0], pixels) for block in strip.blocks]
    pieces = [(b.rows, b.cols) for b, _, _ in blocks]
    packing = pack(pieces, rows=rows, cols=cols)
    assert packing is not None, "the number of arrays is unlimited"
    bound, which = lower_bound(pieces, rows, cols)
    load: dict[int, int] = defaultdict(int)
    for array, (_, _, pixels) in zip(packing.bin_of, blocks, strict=True):
        load[array] += pixels
    area = sum(b.rows * b.cols for b, _, _ in blocks)
    table: list[Json] = [
        {
            "core_id": packing.bin_of[i],
            "index": i,
            "w_row_start": packing.row_start[i],
            "w_col_start": packing.col_start[i],
            "rows": block.rows,
            "cols": block.cols,
            "node": node,
            "row_offset": block.row_offset,
            "col_offset": block.col_offset,
        }
        for i, (block, node, _) in enumerate(blocks)
    ]
    fires = sum(pixels for _, _, pixels in blocks)
    interval = max(load.values(), default=0)
    point: dict[str, Json] = {"arrays_used": packing.bins, "mvm_fires": fires, "interval": interval}
    return {
        **point,
        "lower_bound": bound,
        "bound": which,
        "proof": "bound" if bound == packing.bins else "none",
        "utilisation": area / (packing.bins * rows * cols) if packing.bins else 0.0,
        "pieces": len(blocks),
        "row_cuts": row_cuts,
        "col_cuts": col_cuts,
        "pareto": [point],
        "blocks": table,
        "seconds": time.perf_counter() - started,
    }

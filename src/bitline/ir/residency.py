"""What lies where, from when to when: weights in arrays, tensors in memories. One noun for both."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A part of a matrix, in rows and columns of the whole block-diagonal matrix (groups * rows by groups * cols)."""

    matrix: str
    copy: int
    row_offset: int
    col_offset: int
    rows: int
    cols: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrayRegion:
    """Top-left corner of a block in an array; `core` and `array` count from 0."""

    core: int
    array: int
    w_row_start: int
    w_col_start: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockResidency:
    """`block` lies in `region` while kernels from_step..to_step (inclusive) run; `index` is the place in dependency
    order.

    Streamed weights pass through the same region one after another inside one step: `round` counts them, blocks of
    different rounds of a step never lie there together. `loads` is how often the block is written per inference; 0
    means once, before the first inference. `cells_at` is the address of its cells, row-major, in `arrays.bin`.
    """

    block: Block
    region: ArrayRegion
    index: int
    from_step: int
    to_step: int
    round: int
    loads: int
    cells_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorResidency:
    """`tensor` lies at [address, address + bytes) of `memory` from kernel from_step to to_step (inclusive).

    The host writes inputs before step 0 and reads outputs after the last step: from_step -1, to_step = number of
    kernels.
    """

    tensor: str
    memory: str
    address: int
    bytes: int
    from_step: int
    to_step: int

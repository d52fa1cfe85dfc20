"""How the kernels run on a chip: tiles, which core computes which columns, how weights reach the arrays, segments."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Literal

from bitline.core.canonical import SPARSE
from bitline.ir.residency import Block, TensorResidency

ResultSpace = Literal["output", "psum", "input"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A block and where it lies in its array. In a streamed job `array` counts within one turn of the ring."""

    block: Block
    array: int
    w_row_start: int
    w_col_start: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Strip:
    """Output columns col..col+cols-1 with all blocks above one another; the partial sums of a strip stay on one
    core."""

    col: int
    cols: int
    pieces: tuple[Piece, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pixels:
    """Output pixels of rows first_row..last_row-1 in columns first_col..last_col-1 of the picture."""

    first_row: int
    last_row: int
    first_col: int
    last_col: int

    @property
    def rows(self) -> int:
        return self.last_row - self.first_row

    @property
    def cols(self) -> int:
        return self.last_col - self.first_col

    @property
    def count(self) -> int:
        return self.rows * self.cols


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Work of cores first_core..last_core-1, `rounds` times. The strips are those of the first core in round 0;

    unit u = round * (last_core - first_core) + (core - first_core) computes the same strips `u * unit_cols` columns on.
    weights: none (vector kernels) | resident | held (written once a round) | cycled (written again for every tile,
    `chunk` blocks at a time, as they do not fit together). `turns`: how many rounds or chunks the arrays hold at once.

    A resident job may hold `turns` copies of its pieces, each `chunk` arrays behind the one before and numbered from
    the copy of the pieces on; its pixels go round them. `share`: the pixels that it computes, one part after another;
    empty: all.
    """

    first_core: int
    last_core: int
    rounds: int
    unit_cols: int
    strips: tuple[Strip, ...]
    weights: Literal["none", "resident", "held", "cycled"]
    chunk: int
    turns: int
    share: tuple[Pixels, ...] = field(default=(), metadata=SPARSE)

    @property
    def copies(self) -> int:
        """Copies of its pieces that lie in the arrays of a core and fire side by side."""
        return self.turns if self.weights == "resident" else 1

    @property
    def cols(self) -> int:
        """Columns of one unit."""
        return sum(strip.cols for strip in self.strips)

    @property
    def cores(self) -> int:
        return self.last_core - self.first_core

    @property
    def units(self) -> int:
        return self.cores * self.rounds

    @property
    def pieces(self) -> tuple[Piece, ...]:
        """All pieces of one unit, strip after strip."""
        return tuple(piece for strip in self.strips for piece in strip.pieces)

    @property
    def originals(self) -> tuple[Block, ...]:
        """The blocks of its pieces without the number of their copy: equal for jobs that hold copies of the same."""
        return tuple(replace(piece.block, copy=0) for piece in self.pieces)

    @property
    def chunks(self) -> int:
        """In how many parts the pieces of a unit pass through the arrays."""
        return -(-len(self.pieces) // self.chunk) if self.chunk else 1

    def parts(self, height: int, width: int) -> tuple[Pixels, ...]:
        """The pixels that it computes of a picture of height x width."""
        return self.share or (Pixels(first_row=0, last_row=height, first_col=0, last_col=width),)


def neighbours(cores: Iterable[int]) -> list[range]:
    """Runs of neighbouring cores."""
    found: list[range] = []
    for core in sorted(set(cores)):
        if found and found[-1].stop == core:
            found[-1] = range(found[-1].start, core + 1)
        else:
            found.append(range(core, core + 1))
    return found


def unit_block(piece: Piece, job: Job, unit: int, groups_rows: int, groups_cols: int) -> Block:
    """The block of `piece` in a unit of the job. A block-diagonal matrix (group of groups_rows x groups_cols) moves

    down as it moves right; a plain one, given as groups_rows = 0, only right.
    """
    block = piece.block
    cols = unit * job.unit_cols
    return Block(
        matrix=block.matrix,
        copy=block.copy,
        row_offset=block.row_offset + (cols // groups_cols * groups_rows if groups_rows else 0),
        col_offset=block.col_offset + cols,
        rows=block.rows,
        cols=block.cols,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelSchedule:
    """One kernel: tiles of tile_rows x tile_cols output pixels, slots of each buffer, and the jobs one after
    another. `result_space`: the buffer that results wait in; a row too wide for the output buffer may wait in that of
    the partial sums, which nothing else needs at the time, or behind the operands in that of the inputs."""

    kernel: int
    segment: int
    tile_rows: int
    tile_cols: int
    input_slots: int
    psum_slots: int
    output_slots: int
    jobs: tuple[Job, ...]
    result_space: ResultSpace = "output"

    @property
    def cores(self) -> tuple[int, ...]:
        """The cores that do any of it, in order."""
        return tuple(sorted({core for job in self.jobs for core in range(job.first_core, job.last_core)}))

    @property
    def copies(self) -> int:
        """How often its weights lie in the arrays at once, each copy for a share of the pixels."""
        first = self.jobs[0].strips[0].col
        return sum(job.copies for job in self.jobs if job.strips[0].col == first) if self.jobs[0].pieces else 1

    @property
    def matrix_copy(self) -> tuple[str, int]:
        """(matrix, copy) of a kernel with weights: kernels with the same one share the blocks in the arrays."""
        block = self.jobs[0].pieces[0].block
        return block.matrix, block.copy


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """Kernels first..last (inclusive) whose resident blocks lie in the arrays together."""

    first: int
    last: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """`inputs` inferences of one run, at most `window` of them on their way at once, as a pipeline of kernels.

    Input i has frame i mod window: frame f of a memory begins at f * frame_bytes, and tensors lie in it as their homes
    say. Ports lie behind the frames, one place per input side by side. A kernel waits for those in `after`.
    """

    inputs: int
    window: int
    frame_bytes: dict[str, int]
    after: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """`resident`: one segment holds everything, so weights are written once, before the first inference."""

    segments: tuple[Segment, ...]
    resident: bool
    kernels: tuple[KernelSchedule, ...]
    tensors: tuple[TensorResidency, ...]
    memory_bytes: dict[str, int]
    stream: Stream | None = None

    @property
    def window(self) -> int:
        """Inputs that are on their way at once."""
        return self.stream.window if self.stream else 1

"""The machine program: one queue per unit, shared by all cores; hardware loops; counted tokens.

**Execution.** Every core runs the same queues; the core number is stride level 0, the k-th enclosing `Loop` is level k.
A unit runs its queue in order. Units of one core are ordered against one another only by tokens: `Post` adds one to a
counter when all earlier instructions of its queue have finished, `Wait` blocks until it can take one. Cores are ordered
by messages: `Send` is taken by the matching `Recv` of the peer, first in, first out. `Cores` opens a region that only
some cores run. No trip count and no address depends on data.

**Addresses** count bytes (arrays: array numbers): `base + (phase + sum stride[level] * counter[level]) mod modulus`, or
without the modulus where it is 0. An operand touches `runs` of bytes at fixed offsets from there, the modulus included.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from bitline.ir.kernels import Dtype, Operator

Unit = Literal["dma_in", "dma_out", "write", "mvm", "vector", "host"]
UNITS: tuple[Unit, ...] = ("dma_in", "write", "mvm", "vector", "dma_out", "host")

Runs = tuple[tuple[int, int], ...]
"""(offset, length) in bytes, in the order in which the bytes are taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """`base + (phase + sum strides[level] * counter[level]) mod modulus`; strides start at level 0, the core."""

    base: int
    strides: tuple[int, ...] = ()
    phase: int = 0
    modulus: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Operand:
    """Bytes of a memory: `space` is a place in `Program.spaces`, `runs` one in `Program.runs`."""

    space: int
    address: Address
    runs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Loop:
    """Run what follows, up to the matching `End`, `count` times."""

    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Cores:
    """What follows, up to the matching `End`, is run by cores first..last-1 only. Adds no stride level."""

    first: int
    last: int


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """Closes a `Loop` or `Cores`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Take one from a token of this core."""

    token: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Post:
    """Add one to a token of this core once all earlier instructions of this queue have finished."""

    token: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Send:
    """Tell core (this + peer) mod cores, once all earlier instructions of this queue have finished."""

    peer: Address
    channel: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Recv:
    """Wait for one message on `channel` from core (this + peer) mod cores."""

    peer: Address
    channel: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Dma:
    """Copy the bytes of `src`, in run order, to the bytes of `dst`."""

    src: Operand
    dst: Operand


@dataclass(frozen=True, slots=True, kw_only=True)
class Fill:
    """Set every byte of `dst` to `value` (0..255)."""

    dst: Operand
    value: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteWeights:
    """Write rows x cols cells (row-major bytes of `src`) into an array at (row, col)."""

    array: Address
    row: int
    col: int
    rows: int
    cols: int
    src: Operand


@dataclass(frozen=True, slots=True, kw_only=True)
class Mvm:
    """Drive rows row.. with the bytes of `src`, convert columns col..col+cols-1, put int32 sums into `dst`.

    `overwrite` is a bit mask of loop levels: the sums replace what `dst` holds when the counters of all its levels
    are 0 (an empty mask: always), else they are added. -1: always added. `math` is a place in `Program.maths`.
    """

    array: Address
    row: int
    col: int
    cols: int
    src: Operand
    dst: Operand
    overwrite: int
    math: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Vector:
    """One step of the vector unit; `post` is a place in `Program.posts` and says which, and with what constants.

    An operand shorter than the result is spread: each element is used `spreads` times on end, and the whole then again
    from its start. `parameters`:
    requantise: int32 bias, mantissa, shift per column of the int32 sums `a`. table: 256 entries in the type of `dst`.
    curve: 2^k + 1 int32. softmax: 256 or 512 int32, rows of `inner`. norm: int64 gain and offset per column, rows of
    `inner`. max, mean: none, `a` holds the taps one after another. matmul: none, `a` holds rows and `b` columns of
    `inner` elements. The others are `ir.kernels.Operator`.
    """

    post: int
    dst: Operand
    a: Operand
    b: Operand | None
    c: Operand | None
    parameters: Operand | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Take:
    """Copy rows chosen by data: `src` holds int32 row numbers; row r is the `row_bytes` bytes from `base + r *
    row_bytes` of the constant memory `space`. A number below 0 counts from the end of the `rows` rows; one outside is
    brought to the nearest row, so that no address depends on data beyond the table.
    """

    space: int
    base: int
    rows: int
    row_bytes: int
    src: Operand
    dst: Operand


@dataclass(frozen=True, slots=True, kw_only=True)
class HostCall:
    """ONNX Runtime runs `Program.calls[call]` on the bytes of `src`, its inputs one after another, into `dst`."""

    call: int
    src: Operand
    dst: Operand


Instruction = (
    Loop | Cores | End | Wait | Post | Send | Recv | Dma | Fill | WriteWeights | Mvm | Vector | Take | HostCall
)


VectorOp = Operator | Literal["requantise", "max", "mean", "softmax", "norm", "matmul"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PostOp:
    """Constants of a `Vector` instruction: `types`, `zeros`, `mantissas`, `spreads` of its operands a, b, c, as many as
    it has. `fractions` of norm: `deviation_bits` and `normal_bits` of a `kernels.NormFormat`, whose `epsilon` is here
    `bias`. Fields that an operation has no use for are 0.
    """

    op: VectorOp
    types: tuple[Dtype, ...]
    y: Dtype
    zeros: tuple[int, ...] = ()
    mantissas: tuple[int, ...] = ()
    spreads: tuple[int, ...] = ()
    fractions: tuple[int, ...] = ()
    zero_y: int = 0
    bias: int = 0
    shift: int = 0
    low: int = 0
    high: int = 0
    inner: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A subgraph for the host: its name, sizes of inputs and outputs in bytes, and the work for its cost."""

    name: str
    takes: tuple[int, ...]
    gives: tuple[int, ...]
    macs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MathOp:
    """Constants of an `Mvm` instruction; the formula is in `kernels.ArrayMath`."""

    group_rows: int
    slices: int
    cell_bits: int
    weight_offset: int
    input_bits: int
    input_offset: int
    adc_bits: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """A memory. `per_core`: every core has one of its own. `constant`: filled before the program, never written."""

    name: str
    bytes: int
    per_core: bool
    constant: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A counter per core, 0 at the start and at the end; posted by one unit and waited for by one other."""

    name: str
    poster: Unit
    waiter: Unit


NO_KERNEL = -1
"""Whom the loop over a stream of inputs stands for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """The instructions of one unit; `kernels[i]` says for which kernel instruction i stands (-1: none)."""

    unit: Unit
    code: tuple[Instruction, ...]
    kernels: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramPort:
    """Where the host puts an input, or finds an output, as stored bytes."""

    name: str
    direction: Literal["input", "output"]
    tensor: str
    space: int
    address: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """`setup` runs once (weights that stay), `main` once per inference."""

    cores: int
    arrays_per_core: int
    array_rows: int
    array_cols: int
    spaces: tuple[Space, ...]
    tokens: tuple[Token, ...]
    channels: tuple[str, ...]
    runs: tuple[Runs, ...]
    maths: tuple[MathOp, ...]
    posts: tuple[PostOp, ...]
    calls: tuple[Call, ...]
    ports: tuple[ProgramPort, ...]
    setup: tuple[Queue, ...]
    main: tuple[Queue, ...]

    def space(self, name: str) -> int:
        """The place of a memory by its name."""
        return next(i for i, space in enumerate(self.spaces) if space.name == name)


def executions(queue: Queue, cores: int) -> Iterator[tuple[int, int]]:
    """(place, times executed over all cores) of every instruction but `Loop`, `Cores` and `End`."""
    stack: list[tuple[int, int, int]] = []
    times, first, last = 1, 0, cores
    for place, instruction in enumerate(queue.code):
        match instruction:
            case Loop():
                stack.append((times, first, last))
                times *= instruction.count
            case Cores():
                stack.append((times, first, last))
                first, last = max(first, instruction.first), min(last, instruction.last)
            case End():
                times, first, last = stack.pop()
            case _:
                yield place, times * max(0, last - first)


def stream_length(program: Program) -> int:
    """How many inputs one run takes."""
    loops = [
        instruction.count
        for queue in program.main
        for instruction, kernel in zip(queue.code, queue.kernels, strict=True)
        if isinstance(instruction, Loop) and kernel == NO_KERNEL
    ]
    return max(loops, default=1)


def with_stream_length(program: Program, inputs: int) -> Program:
    """The program of a stream for another number of inputs."""

    def changed(queue: Queue) -> Queue:
        code = tuple(
            replace(instruction, count=inputs) if isinstance(instruction, Loop) and kernel == NO_KERNEL else instruction
            for instruction, kernel in zip(queue.code, queue.kernels, strict=True)
        )
        return replace(queue, code=code)

    return replace(program, main=tuple(map(changed, program.main)))


def static_instructions(program: Program) -> int:
    """Instructions stored in the main queues, loop marks included."""
    return sum(len(queue.code) for queue in program.main)

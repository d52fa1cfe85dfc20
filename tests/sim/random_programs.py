"""Random programs of one core or two, straight from `ir.program`: every queue is on its own, as no token orders two.

Memories are small, so that loops meet their own traces: rings that wrap, accumulation chains that hit the same sums,
copies that overlap, arrays chosen by stride. Nothing here is a sensible program; every engine must run it alike.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from bitline.ir.kernels import BYTES as BYTES_OF
from bitline.ir.program import (
    UNITS,
    Address,
    Call,
    Cores,
    Dma,
    End,
    Fill,
    HostCall,
    Instruction,
    Loop,
    MathOp,
    Mvm,
    Operand,
    Post,
    PostOp,
    Program,
    Queue,
    Recv,
    Runs,
    Send,
    Space,
    Take,
    Token,
    Unit,
    Vector,
    Wait,
    WriteWeights,
)

BYTES = 160
ROWS, COLS, ARRAYS = 6, 5, 4
LOCAL, PSUM, SHARED, CONST = range(4)
SPACES = (
    Space(name="local", bytes=BYTES, per_core=True, constant=False),
    Space(name="psum", bytes=BYTES, per_core=True, constant=False),
    Space(name="dram", bytes=BYTES, per_core=False, constant=False),
    Space(name="const", bytes=1100, per_core=False, constant=True),
)
MATHS = (
    MathOp(group_rows=6, slices=4, cell_bits=2, weight_offset=128, input_bits=8, input_offset=0, adc_bits=8),
    MathOp(group_rows=6, slices=1, cell_bits=8, weight_offset=0, input_bits=8, input_offset=0, adc_bits=0),
    MathOp(group_rows=4, slices=4, cell_bits=2, weight_offset=128, input_bits=8, input_offset=0, adc_bits=3),
    MathOp(group_rows=3, slices=2, cell_bits=4, weight_offset=128, input_bits=8, input_offset=128, adc_bits=5),
    MathOp(group_rows=6, slices=1, cell_bits=8, weight_offset=0, input_bits=8, input_offset=128, adc_bits=0),
)
POSTS = (
    PostOp(op="requantise", types=("s32",), y="u8", zero_y=3, low=0, high=255),
    PostOp(op="requantise", types=("s32",), y="s8", zero_y=-7, low=-100, high=90),
    PostOp(op="sum", types=("u8", "u8"), y="u8", zeros=(5, 9), zero_y=2, mantissas=(3 << 20, 5 << 19), spreads=(1, 1),
           shift=22, low=0, high=255),
    PostOp(op="sum", types=("s8", "s8"), y="s8", zeros=(-5, 9), zero_y=2, mantissas=(3 << 20, 5 << 19), spreads=(1, 1),
           shift=22, low=-128, high=60),
    PostOp(op="table", types=("u8",), y="u8", zeros=(0,), mantissas=(0,), spreads=(1,)),
    PostOp(op="table", types=("s8",), y="s8", zeros=(0,), mantissas=(0,), spreads=(1,)),
    PostOp(op="max", types=("s8",), y="s8", low=-128, high=100),
    PostOp(op="mean", types=("u8",), y="u8", zeros=(20,), zero_y=20, mantissas=(0xAAAAAB,), shift=25, high=255),
    PostOp(op="softmax", types=("u8",), y="u8", mantissas=(1 << 24,), shift=16, high=255, inner=2),
    PostOp(op="product", types=("s8", "u8"), y="s16", zeros=(3, 7), mantissas=(5 << 20, 0), spreads=(1, 1), shift=21,
           low=-30000, high=32767),
    PostOp(op="select", types=("u8", "s8", "s16"), y="s8", zeros=(0, 4, 0), mantissas=(0, 3 << 18, 1 << 12),
           spreads=(1, 1, 1), shift=20, low=-128, high=127),
    PostOp(op="largest", types=("u8", "s16"), y="u8", zeros=(9, -3), mantissas=(3 << 18, 7 << 10), spreads=(1, 1),
           zero_y=11, shift=20, low=3, high=255),
    PostOp(op="quotient", types=("s8", "u8"), y="s8", zeros=(1, 20), mantissas=(9 << 18, 0), spreads=(1, 1), zero_y=-3,
           shift=20, low=-128, high=127),
    PostOp(op="prelu", types=("s8", "s8"), y="u8", zeros=(-4, 2), mantissas=(1 << 20, 3 << 14), spreads=(1, 1),
           zero_y=100, shift=20, low=0, high=255),
    PostOp(op="modulo", types=("s8", "u8"), y="s16", zeros=(0, 0), mantissas=(0, 0), spreads=(1, 1)),
    PostOp(op="equal", types=("u8", "s8"), y="u8", zeros=(0, 0), mantissas=(0, 0), spreads=(1, 1)),
    PostOp(op="matmul", types=("u8", "s8"), y="s16", zeros=(7, -2), mantissas=(1 << 10,), shift=6, low=-32768,
           high=32767, inner=3),
    PostOp(op="norm", types=("s8",), y="s16", bias=77, fractions=(10, 27), shift=40, low=-32768, high=32767, inner=2),
    PostOp(op="length", types=("s8", "u8"), y="u8", zeros=(-3, 7), mantissas=(9 << 20, 3 << 21), spreads=(1, 1),
           zero_y=1, shift=12, low=0, high=255),
    PostOp(op="curve", types=("s16",), y="s16", zeros=(0,), mantissas=(0,), spreads=(1,), low=-32768, high=32767),
)  # fmt: skip
CALLS = (
    Call(name="reverse", takes=(5, 3), gives=(8,), macs=0),
    Call(name="sums", takes=(6,), gives=(2, 2), macs=12),
)


def reverse(data: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    return data[::-1].copy()


def sums(data: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    return np.cumsum(data.astype(np.int64)).astype(np.uint8)[2:]


HOST = (reverse, sums)
"""What the host does in each call: cheap, and every byte counts."""


@dataclass
class Drawn:
    """Instructions under construction, with the tables that they point into."""

    rng: np.random.Generator
    counts: list[int] = field(default_factory=list[int])
    code: list[Instruction] = field(default_factory=list[Instruction])
    runs: list[Runs] = field(default_factory=list[Runs])

    def draw(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high + 1))

    def chance(self, share: float) -> bool:
        return bool(self.rng.random() < share)

    def table_of(self, parts: Runs) -> int:
        if parts not in self.runs:
            self.runs.append(parts)
        return self.runs.index(parts)

    def pieces(self, size: int) -> Runs:
        """`size` bytes as one run or several, apart, touching or one over the other, in any order."""
        if size < 2 or self.chance(0.6):
            return ((self.draw(0, 3), size),)
        cut = self.draw(1, size - 1)
        first, second = (0, cut), (self.draw(0, cut + 3), size - cut)
        return (second, first) if self.chance(0.3) else (first, second)

    def operand(self, space: int, size: int, *, unit: int = 1) -> Operand:
        """`size` bytes that stay inside `space` whatever the counters; offsets and strides are multiples of `unit`."""
        runs = self.pieces(size) if unit == 1 else ((0, size),)
        extent = max(offset + length for offset, length in runs)
        limit = SPACES[space].bytes
        steps = (0, 0, 1, 2, 3, size // unit, -1)
        strides = tuple(unit * int(self.rng.choice(steps)) for _ in (0, *self.counts))
        table = self.table_of(runs)
        if self.chance(0.35):
            modulus = unit * self.draw(1, limit // unit)
            base = unit * self.draw(0, (limit - modulus) // unit)
            address = Address(base=base, strides=strides, phase=unit * self.draw(-4, 40), modulus=modulus)
            return Operand(space=space, address=address, runs=table)
        moves = [stride * (count - 1) for stride, count in zip(strides, (2, *self.counts), strict=True)]
        low, high = sum(min(m, 0) for m in moves), sum(max(m, 0) for m in moves)
        if high - low + extent > limit:
            strides, low, high = (), 0, 0
        start = -(low // unit) * unit + unit * self.draw(0, (limit - extent - high + low) // unit)
        phase = unit * self.draw(-2, 2)
        return Operand(space=space, address=Address(base=start - phase, strides=strides, phase=phase), runs=table)

    def array(self) -> Address:
        strides = tuple(int(self.rng.choice((0, 1, 2, -1))) for _ in (0, *self.counts))
        return Address(base=0, strides=strides, phase=self.draw(0, 5), modulus=ARRAYS)

    def moving(self, unit: Unit) -> Instruction:
        local = int(self.rng.choice((LOCAL, PSUM, SHARED)))
        other = int(self.rng.choice((LOCAL, local, SHARED, CONST)))
        match unit:
            case "write":
                row, col = self.draw(0, 3), self.draw(0, 2)
                rows, cols = self.draw(1, ROWS - row), self.draw(1, COLS - col)
                src = self.operand(CONST, rows * cols)
                return WriteWeights(array=self.array(), row=row, col=col, rows=rows, cols=cols, src=src)
            case "mvm":
                row, col = self.draw(0, 3), self.draw(0, 2)
                cols = self.draw(1, COLS - col)
                levels = (1 << len(self.counts) + 1) - 1
                overwrite = int(self.rng.choice((-1, 0, self.draw(0, levels) & ~1)))
                return Mvm(
                    array=self.array(), row=row, col=col, cols=cols, src=self.operand(LOCAL, self.draw(1, ROWS - row)),
                    dst=self.operand(PSUM, 4 * cols, unit=4), overwrite=overwrite, math=self.draw(0, len(MATHS) - 1),
                )  # fmt: skip
            case "vector":
                return self.vector(local, other)
            case "host":
                call = self.draw(0, len(CALLS) - 1)
                takes, gives = sum(CALLS[call].takes), sum(CALLS[call].gives)
                return HostCall(call=call, src=self.operand(other, takes), dst=self.operand(local, gives))
            case _:
                if unit == "dma_out" and self.chance(0.35):
                    return self.take(local)
                if self.chance(0.25):
                    return Fill(dst=self.operand(local, self.draw(1, 12)), value=self.draw(0, 255))
                size = self.draw(1, 12)
                return Dma(src=self.operand(other, size), dst=self.operand(local, size))

    def take(self, local: int) -> Instruction:
        """Row numbers are whatever the memory holds; a Fill just before often makes them small or negative."""
        rows, size, count = self.draw(1, 5), self.draw(1, 4), self.draw(1, 3)
        base = self.draw(0, SPACES[CONST].bytes - rows * size)
        src = self.operand(local, 4 * count, unit=4)
        if self.chance(0.6):
            self.code.append(Fill(dst=src, value=int(self.rng.choice((0, 0, 255)))))
            first = replace(src, runs=self.table_of(((0, 1),)))
            self.code.append(Fill(dst=first, value=self.draw(0, 6)))
        dst = self.operand(local, count * size)
        return Take(space=CONST, base=base, rows=rows, row_bytes=size, src=src, dst=dst)

    def vector(self, local: int, other: int) -> Instruction:
        post = self.draw(0, len(POSTS) - 1)
        step = POSTS[post]
        if (step.spreads and len(step.types) > 1) or step.op in ("matmul", "norm", "curve"):
            return self.wide_vector(post, local, other)
        op, out = step.op, self.draw(1, 6)
        out = 2 * out if op == "softmax" else out
        size = {"requantise": 4 * out, "max": 3 * out, "mean": 3 * out}.get(op, out)
        if op == "requantise":
            a, columns = self.operand(PSUM, size, unit=4), out if self.chance(0.5) else 1
        else:
            a, columns = self.operand(other, size), 0
        words = {"requantise": 12 * columns, "table": 256, "softmax": 1024}.get(op, 0)
        parameters = self.operand(CONST, words, unit=12 if op == "requantise" else 4) if words else None
        return Vector(post=post, dst=self.operand(local, out), a=a, b=None, c=None, parameters=parameters)

    def wide_vector(self, post: int, local: int, other: int) -> Instruction:
        """Operands of any width, whole or used over and over."""
        step = POSTS[post]
        rows = self.draw(1, 3)
        elements = {"matmul": rows * 2, "norm": 2 * rows}.get(step.op, 2 * rows)
        counts = [elements // (self.draw(1, 2) if step.spreads and len(step.types) > 1 else 1) for _ in step.types]
        if step.op == "matmul":
            counts = [rows * step.inner, 2 * step.inner]
        operands = [
            self.operand(other if i == 0 else local, count * BYTES_OF[dtype])
            for i, (count, dtype) in enumerate(zip(counts, step.types, strict=True))
        ]
        words = {"norm": 16 * step.inner, "curve": 4 * 17}.get(step.op, 0)
        b, c = (*operands[1:], None, None)[:2]
        return Vector(
            post=post,
            dst=self.operand(local, elements * BYTES_OF[step.y]),
            a=operands[0],
            b=b,
            c=c,
            parameters=self.operand(CONST, words, unit=8) if words else None,
        )

    def nest(self, unit: Unit, depth: int) -> None:
        """A few instructions and loops."""
        for _ in range(self.draw(1, 3)):
            if depth < 3 and self.chance(0.55):
                count = self.draw(1, 4)
                self.code.append(Loop(count=count))
                self.counts.append(count)
                self.nest(unit, depth + 1)
                self.counts.pop()
                self.code.append(End())
            else:
                self.code.append(self.moving(unit))


def parameters(rng: np.random.Generator) -> bytes:
    """A constant memory whose words serve as bias, mantissa and shift, as weights and as table entries."""
    words = rng.integers(1, 1 << 24, 275)
    words[2::3] = rng.integers(10, 45, words[2::3].size)
    return words.astype(np.int32).tobytes()


def random_program(seed: int) -> tuple[Program, dict[str, bytes]]:
    """Units run one after another (each waits for a token of the one before), the cores too (by messages)."""
    rng = np.random.default_rng(seed)
    drawn = Drawn(rng=rng)
    cores = drawn.draw(1, 2)
    order: list[Unit] = [*UNITS, "mvm", "vector"]
    order = order[: drawn.draw(3, len(order))]
    parts: dict[Unit, list[Instruction]] = {unit: [] for unit in UNITS}
    tokens: list[Token] = []
    before: Unit | None = None
    for unit in order:
        if before is not None:
            parts[before].append(Post(token=len(tokens)))
            parts[unit].append(Wait(token=len(tokens)))
            tokens.append(Token(name=f"t{len(tokens)}", poster=before, waiter=unit))
        drawn.code = parts[unit]
        drawn.nest(unit, 0)
        before = unit
    if cores == 2:  # core 1 starts when core 0 has finished: only then may both touch the shared memory
        gate: list[Instruction] = [Cores(first=1, last=2), Recv(peer=Address(base=1), channel=0), End()]
        parts[order[0]] = [*gate, *parts[order[0]]]
        assert before is not None
        parts[before] += [Cores(first=0, last=1), Send(peer=Address(base=1), channel=0), End()]
    program = Program(
        cores=cores,
        arrays_per_core=ARRAYS,
        array_rows=ROWS,
        array_cols=COLS,
        spaces=SPACES,
        tokens=tuple(tokens),
        channels=("done",),
        runs=tuple(drawn.runs),
        maths=MATHS,
        posts=POSTS,
        calls=CALLS,
        ports=(),
        setup=(),
        main=tuple(Queue(unit=u, code=tuple(parts[u]), kernels=(0,) * len(parts[u])) for u in UNITS),
    )
    return program, {"const": parameters(rng)}

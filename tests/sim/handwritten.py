"""One double-buffered convolution written by hand: 28x28, 128 -> 256, 3x3, pad 1, on 4 cores of 9 arrays of 64x64.

Core c computes output channels 64c..64c+63, one output row at a time. Its 18 blocks of 64 rows do not fit into 9
arrays: they pass through three slots of three arrays each, the next slot being written while another one computes.
Input rows, partial sums and outputs have two slots each. Nothing here uses the code generator.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bitline.ir.program import (
    UNITS,
    Address,
    Dma,
    End,
    Fill,
    Instruction,
    Loop,
    MathOp,
    Mvm,
    Operand,
    Post,
    PostOp,
    Program,
    ProgramPort,
    Queue,
    Recv,
    Runs,
    Send,
    Space,
    Token,
    Vector,
    Wait,
    WriteWeights,
)

SIZE, IN, OUT, CORES = 28, 128, 256, 4
LINE = (SIZE + 2) * IN  # one padded row in the input buffer
BOX = 3 * LINE
PSUM = SIZE * 64 * 4
ROW = SIZE * 64
DRAM, WEIGHTS, CONST, INPUT, SUMS, OUTPUT = range(6)
IN_FREE, IN_FULL, W_FREE, W_FULL, SUM_FREE, SUM_FULL, OUT_FREE, OUT_FULL = range(8)
ZERO_X = 7


@dataclass(frozen=True)
class Layer:
    """The program with its constant memories, and the data that a plain convolution needs."""

    program: Program
    constants: dict[str, bytes]
    weights: npt.NDArray[np.int8]
    parameters: npt.NDArray[np.int32]
    zero_y: int


def conv_layer(seed: int = 0) -> Layer:
    """The layer with random weights [1152, 256], rows ordered (kh, kw, channel)."""
    rng = np.random.default_rng(seed)
    weights = rng.integers(-127, 128, (9 * IN, OUT)).astype(np.int8)
    parameters = np.stack(
        [rng.integers(-5000, 5000, OUT), rng.integers(1 << 23, 1 << 24, OUT), np.full(OUT, 37)], axis=1
    ).astype(np.int32)
    zero = weights.astype(np.int64).sum(axis=0) * ZERO_X
    stored = parameters.copy()
    stored[:, 0] -= zero.astype(np.int32)
    blocks = (weights.astype(np.int16) + 128).astype(np.uint8).reshape(18, 64, 4, 64).transpose(2, 0, 1, 3)
    runs: list[Runs] = []

    def run(*parts: tuple[int, int]) -> int:
        if parts not in runs:
            runs.append(parts)
        return runs.index(parts)

    def at(space: int, base: int, strides: tuple[int, ...], what: int, phase: int = 0, modulus: int = 0) -> Operand:
        address = Address(base=base, strides=strides, phase=phase, modulus=modulus)
        return Operand(space=space, address=address, runs=what)

    whole, inner = run((0, SIZE * IN)), SIZE * IN
    sides = [(r * LINE + s, IN) for r in range(3) for s in (0, LINE - IN)]
    everything = {
        "top": [(0, LINE), *sides[2:]],
        "middle": sides,
        "bottom": [*sides[:4], (2 * LINE, LINE)],
    }
    lines = {"top": (1, 2), "middle": (0, 1, 2), "bottom": (0, 1)}

    def load(kind: str, row: int, looped: bool) -> list[Instruction]:
        """Fill the border of one box and copy its rows; `row` is the output row of the first box."""
        step = (0, BOX) if looped else (0,)
        first = max(row - 1, 0)
        src = tuple((i * inner, inner) for i in range(len(lines[kind])))
        dst = tuple((r * LINE + IN, inner) for r in lines[kind])
        return [
            Wait(token=IN_FREE),
            Fill(dst=at(INPUT, 0, step, run(*everything[kind]), row * BOX, 2 * BOX), value=ZERO_X),
            Dma(
                src=at(DRAM, first * inner, (0, inner) if looped else (0,), run(*src)),
                dst=at(INPUT, 0, step, run(*dst), row * BOX, 2 * BOX),
            ),
            Post(token=IN_FULL),
        ]

    assert run((0, inner)) == whole
    dma_in: list[Instruction] = [
        *load("top", 0, False),
        Loop(count=SIZE - 2),
        *load("middle", 1, True),
        End(),
        *load("bottom", SIZE - 1, False),
        Wait(token=IN_FREE),
        Wait(token=IN_FREE),
    ]
    write: list[Instruction] = [
        Loop(count=SIZE),
        Loop(count=6),
        Wait(token=W_FREE),
        Loop(count=3),
        WriteWeights(
            array=Address(base=0, strides=(0, 18, 3, 1), modulus=9),
            row=0,
            col=0,
            rows=64,
            cols=64,
            src=at(WEIGHTS, 0, (18 * 4096, 0, 3 * 4096, 4096), run((0, 4096))),
        ),
        End(),
        Post(token=W_FULL),
        End(),
        End(),
        Wait(token=W_FREE),
        Wait(token=W_FREE),
        Wait(token=W_FREE),
    ]
    mvm: list[Instruction] = [
        Post(token=IN_FREE),
        Post(token=IN_FREE),
        Post(token=W_FREE),
        Post(token=W_FREE),
        Post(token=W_FREE),
        Loop(count=SIZE),
        Wait(token=IN_FULL),
        Wait(token=SUM_FREE),
        Loop(count=3),
        Loop(count=2),
        Wait(token=W_FULL),
        Loop(count=SIZE),
    ]
    for i in range(3):
        mvm.append(
            Mvm(
                array=Address(base=0, strides=(0, 18, 6, 3), phase=i, modulus=9),
                row=0,
                col=0,
                cols=64,
                src=at(INPUT, 0, (0, BOX, LINE, 192, IN), run((0, 64)), i * 64, 2 * BOX),
                dst=at(SUMS, 0, (0, PSUM, 0, 0, 256), run((0, 256)), 0, 2 * PSUM),
                overwrite=0b1100 if i == 0 else -1,
                math=0,
            )
        )
    mvm += [End(), Post(token=W_FREE), End(), End(), Post(token=SUM_FULL), Post(token=IN_FREE), End()]
    mvm += [Wait(token=SUM_FREE), Wait(token=SUM_FREE)]
    vector: list[Instruction] = [
        Post(token=SUM_FREE),
        Post(token=SUM_FREE),
        Loop(count=SIZE),
        Wait(token=SUM_FULL),
        Wait(token=OUT_FREE),
        Vector(
            post=0,
            dst=at(OUTPUT, 0, (0, ROW), run((0, ROW)), 0, 2 * ROW),
            a=at(SUMS, 0, (0, PSUM), run((0, PSUM)), 0, 2 * PSUM),
            b=None,
            c=None,
            parameters=at(CONST, 0, (64 * 12,), run((0, 64 * 12))),
        ),
        Post(token=SUM_FREE),
        Post(token=OUT_FULL),
        End(),
        Wait(token=OUT_FREE),
        Wait(token=OUT_FREE),
    ]
    out_base = SIZE * SIZE * IN
    dma_out: list[Instruction] = [
        Post(token=OUT_FREE),
        Post(token=OUT_FREE),
        Loop(count=SIZE),
        Wait(token=OUT_FULL),
        Dma(
            src=at(OUTPUT, 0, (0, ROW), run((0, ROW)), 0, 2 * ROW),
            dst=at(DRAM, out_base, (64, SIZE * OUT), run(*((x * OUT, 64) for x in range(SIZE)))),
        ),
        Post(token=OUT_FREE),
        End(),
        Loop(count=CORES - 1),  # everybody hears that everybody is done
        Send(peer=Address(base=1, strides=(0, 1)), channel=0),
        End(),
        Loop(count=CORES - 1),
        Recv(peer=Address(base=1, strides=(0, 1)), channel=0),
        End(),
    ]
    zero_y = 12
    program = Program(
        cores=CORES,
        arrays_per_core=9,
        array_rows=64,
        array_cols=64,
        spaces=(
            Space(name="dram", bytes=out_base + SIZE * SIZE * OUT, per_core=False, constant=False),
            Space(name="weights", bytes=blocks.size, per_core=False, constant=True),
            Space(name="const", bytes=stored.nbytes, per_core=False, constant=True),
            Space(name="input", bytes=2 * BOX, per_core=True, constant=False),
            Space(name="psum", bytes=2 * PSUM, per_core=True, constant=False),
            Space(name="output", bytes=2 * ROW, per_core=True, constant=False),
        ),
        tokens=(
            Token(name="input_free", poster="mvm", waiter="dma_in"),
            Token(name="input_full", poster="dma_in", waiter="mvm"),
            Token(name="weights_free", poster="mvm", waiter="write"),
            Token(name="weights_full", poster="write", waiter="mvm"),
            Token(name="psum_free", poster="vector", waiter="mvm"),
            Token(name="psum_full", poster="mvm", waiter="vector"),
            Token(name="output_free", poster="dma_out", waiter="vector"),
            Token(name="output_full", poster="vector", waiter="dma_out"),
        ),
        channels=("done",),
        runs=tuple(runs),
        maths=(
            MathOp(group_rows=64, slices=4, cell_bits=2, weight_offset=128, input_bits=8, input_offset=0, adc_bits=8),
        ),
        posts=(PostOp(op="requantise", types=("s32",), y="u8", zero_y=zero_y, low=0, high=255),),
        calls=(),
        ports=(
            ProgramPort(name="x", direction="input", tensor="x", space=DRAM, address=0, bytes=out_base),
            ProgramPort(
                name="y", direction="output", tensor="y", space=DRAM, address=out_base, bytes=SIZE * SIZE * OUT
            ),
        ),
        setup=(),
        main=tuple(
            Queue(unit=unit, code=tuple(code), kernels=(0,) * len(code))
            for unit, code in zip(UNITS, (dma_in, write, mvm, vector, dma_out, []), strict=True)
            if code
        ),
    )
    constants = {"weights": blocks.tobytes(), "const": stored.tobytes()}
    return Layer(program=program, constants=constants, weights=weights, parameters=parameters, zero_y=zero_y)


def plain_convolution(layer: Layer, x: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The same layer without any machine: x [28, 28, 128] -> [28, 28, 256]."""
    padded = np.full((SIZE + 2, SIZE + 2, IN), ZERO_X, np.float64)
    padded[1:-1, 1:-1] = x
    columns = np.concatenate([padded[i : i + SIZE, j : j + SIZE] for i in range(3) for j in range(3)], axis=-1)
    acc = (columns - ZERO_X).reshape(-1, 9 * IN) @ layer.weights.astype(np.float64) + layer.parameters[:, 0]
    scaled = np.rint(acc * np.ldexp(layer.parameters[:, 1].astype(np.float64), -layer.parameters[:, 2]))
    return np.clip(scaled + layer.zero_y, 0, 255).astype(np.uint8).reshape(SIZE, SIZE, OUT)

"""The verifier's own decoder: `program.bin` straight into tables of integers. Shares only `isa.table` with the
encoder."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from bitline.core.diagnostics import Refusal, refuse
from bitline.isa.table import BY_OPCODE, MAGIC

I64 = npt.NDArray[np.int64]

LONGEST_VARINT: Final = 70
"""Bits after which a number cannot be one of ours."""
MAX_LEVELS: Final = 16
"""Stride levels that a hardware loop nest may have, the core included."""

MOST_CORES: Final = 1024
MOST_LINES: Final = 1 << 15
"""Rows and columns of an array."""

WIDTHS: Final = {"u8": 1, "s8": 1, "s16": 2, "s32": 4, "s64": 8, "f32": 4}
"""Bytes of an element."""

END, LOOP, CORES, WAIT, POST, SEND, RECV, DMA, FILL, WRITE, MVM, VECTOR, HOST, TAKE = range(14)

# Columns of the operand table, then the strides.
O_SPACE, O_BASE, O_PHASE, O_MODULUS, O_RUNS, O_STRIDES = range(6)
# Columns of the instruction table.
OP, ARG0, ARG1, DST, SRC0, SRC1, SRC2, SRC3, ARRAY, ROW, COL, ROWS, COLS, OVERWRITE, MATE = range(15)


@dataclass(frozen=True, slots=True, kw_only=True)
class FlatSpace:
    """A memory as the header states it."""

    name: str
    bytes: int
    per_core: bool
    constant: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class FlatPost:
    """What the sizes of a vector instruction's operands depend on: bytes of an element of each operand and of the
    result, and how often an element is used."""

    op: str
    widths: tuple[int, ...]
    width: int
    spreads: tuple[int, ...]
    inner: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FlatProgram:
    """Instructions of all queues, one after another: queue q of a phase is rows starts[q]..starts[q+1]-1."""

    cores: int
    arrays: int
    array_rows: int
    array_cols: int
    spaces: tuple[FlatSpace, ...]
    tokens: tuple[tuple[str, str, str], ...]
    channels: int
    ports: tuple[tuple[str, int, int, int], ...]
    phases: tuple[tuple[str, tuple[str, ...], I64], ...]
    code: I64
    operands: I64
    run_starts: I64
    runs: I64
    math_count: int
    posts: tuple[FlatPost, ...]
    calls: tuple[tuple[int, int], ...]


class _Bytes:
    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def byte(self) -> int:
        self.at += 1
        return self.data[self.at - 1]

    def varint(self) -> int:
        raw = shift = 0
        while (byte := self.byte()) & 0x80:
            raw |= (byte & 0x7F) << shift
            shift += 7
            if shift > LONGEST_VARINT:
                raise ValueError("a number is too long")
        raw |= byte << shift
        return -((raw + 1) // 2) if raw % 2 else raw // 2

    def slice(self, count: int) -> bytes:
        if count < 0 or self.at + count > len(self.data):
            raise IndexError
        self.at += count
        return self.data[self.at - count : self.at]


def _address(stream: _Bytes) -> list[int]:
    base, phase, modulus, levels = (stream.varint() for _ in range(4))
    if not 0 <= levels <= MAX_LEVELS:
        raise ValueError(f"{levels} stride levels, at most {MAX_LEVELS}")
    strides = [stream.varint() for _ in range(levels)]
    return [base, phase, modulus, 0, *strides, *[0] * (MAX_LEVELS - levels)]


def _operand(stream: _Bytes, table: list[list[int]]) -> int:
    space = stream.varint()
    if space < 0:
        raise ValueError(f"an operand in memory {space}")
    base, phase, modulus, _, *strides = _address(stream)
    table.append([space, base, phase, modulus, stream.varint(), *strides])
    return len(table) - 1


def _instruction(stream: _Bytes, operands: list[list[int]]) -> list[int]:
    form = BY_OPCODE[stream.byte()]
    row = [form.opcode, 0, 0, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, -1]
    plain = {
        "count": ARG0,
        "first": ARG0,
        "last": ARG1,
        "token": ARG0,
        "channel": ARG0,
        "value": ARG0,
        "math": ARG0,
        "post": ARG0,
        "call": ARG0,
        "space": ARG0,
        "base": ARG1,
        "row_bytes": COLS,
    }
    plain |= {"row": ROW, "col": COL, "rows": ROWS, "cols": COLS, "overwrite": OVERWRITE}
    places = {"src": SRC0, "a": SRC0, "b": SRC1, "c": SRC2, "parameters": SRC3, "dst": DST}
    for name, kind in form.fields:
        if kind == "int":
            row[plain[name]] = stream.varint()
        elif kind == "address":
            base, phase, modulus, runs, *strides = _address(stream)
            operands.append([-1, base, phase, modulus, runs, *strides])
            row[ARRAY] = len(operands) - 1
        elif kind == "operand" or stream.byte():
            row[places[name]] = _operand(stream, operands)
    return row


def _post(post: dict[str, object]) -> FlatPost:
    spreads, inner, types = post["spreads"], post["inner"], post["types"]
    if not isinstance(spreads, list) or not isinstance(types, list) or type(inner) is not int or inner < 0:
        raise ValueError("a vector operation is damaged")
    times = [entry for entry in spreads if type(entry) is int and entry >= 1]  # pyright: ignore[reportUnknownVariableType]
    if len(times) < len(spreads):  # pyright: ignore[reportUnknownArgumentType]
        raise ValueError("an operand is used less than once")
    return FlatPost(
        op=str(post["op"]),
        widths=tuple(WIDTHS[str(entry)] for entry in types),  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
        width=WIDTHS[str(post["y"])],
        spreads=tuple(times),
        inner=inner,
    )


def _total(sizes: list[int]) -> int:
    if any(type(size) is not int or size < 0 for size in sizes):
        raise ValueError("a host call is damaged")
    return sum(sizes)


def _match_ends(code: list[list[int]], first: int) -> None:
    stack: list[int] = []
    for place in range(first, len(code)):
        if code[place][OP] in (LOOP, CORES):
            stack.append(place)
        elif code[place][OP] == END:
            if not stack:
                raise ValueError("an `end` without a loop")
            begin = stack.pop()
            code[begin][MATE], code[place][MATE] = place, begin
    if stack:
        raise ValueError("a loop without an `end`")


def flatten(data: bytes) -> FlatProgram:
    """Tables of a program. Raises `Refusal` (BL0503) where the bytes are none."""
    try:
        return _flatten(data)
    except (IndexError, KeyError, ValueError, TypeError, RecursionError, OverflowError) as error:
        if isinstance(error, Refusal):
            raise
        raise refuse(
            "BL0503", f"not a program: {error}", place="program.bin", help="compile the package again"
        ) from None


def _flatten(data: bytes) -> FlatProgram:
    stream = _Bytes(data)
    if stream.slice(len(MAGIC)) != MAGIC:
        raise ValueError("wrong first bytes")
    header = json.loads(stream.slice(stream.varint()))
    code: list[list[int]] = []
    operands: list[list[int]] = []
    phases: list[tuple[str, tuple[str, ...], I64]] = []
    for phase in ("setup", "main"):
        units: list[str] = []
        starts = [len(code)]
        for _ in range(stream.varint()):
            units.append(stream.slice(stream.varint()).decode())
            first = len(code)
            for _ in range(stream.varint()):
                code.append(_instruction(stream, operands))
                stream.varint()
            _match_ends(code, first)
            starts.append(len(code))
        phases.append((phase, tuple(units), np.array(starts, np.int64)))
    if stream.at != len(data):
        raise ValueError("bytes after the end")
    runs = [pair for entry in header["runs"] for pair in entry]
    most = {"cores": MOST_CORES, "arrays_per_core": 1 << 40, "array_rows": MOST_LINES, "array_cols": MOST_LINES}
    for key, limit in most.items():
        if type(header[key]) is not int or not 1 <= header[key] <= limit:
            raise ValueError(f"{header[key]} {key}, expected 1..{limit}")
    for space in header["spaces"]:
        if type(space["bytes"]) is not int or not 0 <= space["bytes"] <= 1 << 40:
            raise ValueError(f"memory {space['name']!r} of {space['bytes']} bytes")
    return FlatProgram(
        cores=header["cores"],
        arrays=header["arrays_per_core"],
        array_rows=header["array_rows"],
        array_cols=header["array_cols"],
        spaces=tuple(FlatSpace(**space) for space in header["spaces"]),
        tokens=tuple((t["name"], t["poster"], t["waiter"]) for t in header["tokens"]),
        channels=len(header["channels"]),
        ports=tuple((p["direction"], p["space"], p["address"], p["bytes"]) for p in header["ports"]),
        phases=tuple(phases),
        code=np.array(code, np.int64).reshape(-1, MATE + 1),
        operands=np.array(operands, np.int64).reshape(-1, O_STRIDES + MAX_LEVELS),
        run_starts=np.cumsum([0, *(len(entry) for entry in header["runs"])]).astype(np.int64),
        runs=np.array(runs, np.int64).reshape(-1, 2),
        math_count=len(header["maths"]),
        posts=tuple(_post(post) for post in header["posts"]),
        calls=tuple((_total(call["takes"]), _total(call["gives"])) for call in header["calls"]),
    )

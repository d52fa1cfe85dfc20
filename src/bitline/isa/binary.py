"""Programs as bytes: magic, a canonical JSON header (memories, tokens, tables, ports), then the queues.

Integers are zigzag varints (as in Protocol Buffers: 7 bits a byte, lowest first, sign in the lowest bit).
"""

from __future__ import annotations

from dataclasses import replace
from typing import cast

from bitline.core.canonical import from_json, to_json
from bitline.core.diagnostics import refuse
from bitline.ir.program import Address, Instruction, Operand, Program, Queue
from bitline.isa.table import BY_NOUN, BY_OPCODE, MAGIC


def _put(out: bytearray, value: int) -> None:
    rest = value * 2 if value >= 0 else -value * 2 - 1
    while rest >= 0x80:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    out.append(rest)


def _put_address(out: bytearray, address: Address) -> None:
    for value in (address.base, address.phase, address.modulus, len(address.strides), *address.strides):
        _put(out, value)


def _put_operand(out: bytearray, operand: Operand) -> None:
    _put(out, operand.space)
    _put_address(out, operand.address)
    _put(out, operand.runs)


def _put_instruction(out: bytearray, instruction: Instruction) -> None:
    form = BY_NOUN[type(instruction)]
    out.append(form.opcode)
    for name, kind in form.fields:
        value = cast("int | Address | Operand | None", getattr(instruction, name))
        match value:
            case None:
                out.append(0)
            case Operand():
                if kind == "optional":
                    out.append(1)
                _put_operand(out, value)
            case Address():
                _put_address(out, value)
            case int():
                _put(out, value)


def encode(program: Program) -> bytes:
    """The bytes of `program.bin`."""
    header = to_json(replace(program, setup=(), main=())).encode()
    out = bytearray(MAGIC)
    _put(out, len(header))
    out += header
    for queues in (program.setup, program.main):
        _put(out, len(queues))
        for queue in queues:
            unit = queue.unit.encode()
            _put(out, len(unit))
            out += unit
            _put(out, len(queue.code))
            for instruction, kernel in zip(queue.code, queue.kernels, strict=True):
                _put_instruction(out, instruction)
                _put(out, kernel)
    return bytes(out)


class _Reader:
    """A place in a byte string that trusts nothing."""

    def __init__(self, data: bytes, place: str) -> None:
        self.data, self.at, self.place = data, 0, place

    def fail(self, why: str) -> Exception:
        return refuse(
            "BL0205",
            f"byte {self.at}: {why}",
            place=self.place,
            help="the program was altered; compile the package again",
        )

    def take(self, count: int) -> bytes:
        if count < 0 or self.at + count > len(self.data):
            raise self.fail("the file ends too early")
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self) -> int:
        value = shift = 0
        while True:
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value >> 1 if value & 1 == 0 else -((value + 1) >> 1)
            if shift > 70:
                raise self.fail("a number is too long")

    def address(self) -> Address:
        base, phase, modulus, levels = (self.number() for _ in range(4))
        if not 0 <= levels <= 64:
            raise self.fail(f"{levels} stride levels")
        return Address(base=base, phase=phase, modulus=modulus, strides=tuple(self.number() for _ in range(levels)))

    def operand(self) -> Operand:
        space = self.number()
        address = self.address()
        return Operand(space=space, address=address, runs=self.number())

    def instruction(self) -> Instruction:
        opcode = self.take(1)[0]
        if opcode not in BY_OPCODE:
            raise self.fail(f"no instruction has opcode {opcode}")
        form = BY_OPCODE[opcode]
        values: dict[str, int | Address | Operand | None] = {}
        for name, kind in form.fields:
            match kind:
                case "int":
                    values[name] = self.number()
                case "address":
                    values[name] = self.address()
                case "operand":
                    values[name] = self.operand()
                case "optional":
                    values[name] = self.operand() if self.take(1)[0] else None
        return form.noun(**values)  # type: ignore[arg-type]  # the table names every field of the noun

    def queues(self) -> tuple[Queue, ...]:
        queues: list[Queue] = []
        for _ in range(self.number()):
            unit = self.take(self.number()).decode(errors="replace")
            count = self.number()
            code: list[Instruction] = []
            kernels: list[int] = []
            for _ in range(count):
                code.append(self.instruction())
                kernels.append(self.number())
            queues.append(Queue(unit=unit, code=tuple(code), kernels=tuple(kernels)))  # type: ignore[arg-type]
        return tuple(queues)


def decode(data: bytes, *, place: str = "program.bin") -> Program:
    """The program that `encode` wrote. Raises `Refusal` (BL0205) for anything else."""
    reader = _Reader(data, place)
    if reader.take(len(MAGIC)) != MAGIC:
        raise reader.fail("this is no bitline program of a known version")
    header = from_json(Program, reader.take(reader.number()), place=place)
    setup, main = reader.queues(), reader.queues()
    if reader.at != len(data):
        raise reader.fail("more follows after the end of the program")
    return replace(header, setup=setup, main=main)

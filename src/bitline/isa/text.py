"""Programs as text: one instruction a line, loops indented. `assemble(disassemble(p)) == p`.

mvm array=0+(2)%8[0,1] row=0 col=0 cols=64 src=input@0[0,128]:3 dst=psum@0[0,256]:4 overwrite=-1 math=0   ; 5
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import cast

from bitline.core.canonical import from_json, to_json
from bitline.core.diagnostics import Refusal, refuse
from bitline.ir.program import Address, Cores, End, Instruction, Loop, Operand, Program, Queue
from bitline.isa.table import BY_MNEMONIC, BY_NOUN

_ADDRESS = re.compile(r"(-?\d+)(?:\+\((-?\d+)\)%(\d+))?(?:\[([-\d,]*)\])?")
_OPERAND = re.compile(r"([a-z_]+)@([^:]+):(\d+)")


def _address_text(address: Address) -> str:
    ring = f"+({address.phase})%{address.modulus}" if address.modulus or address.phase else ""
    strides = f"[{','.join(map(str, address.strides))}]" if address.strides else ""
    return f"{address.base}{ring}{strides}"


def _field_text(program: Program, value: int | Address | Operand | None) -> str:
    match value:
        case None:
            return "none"
        case Operand():
            return f"{program.spaces[value.space].name}@{_address_text(value.address)}:{value.runs}"
        case Address():
            return _address_text(value)
        case int():
            return str(value)


def disassemble(program: Program) -> str:
    """The text of `program.asm`: the header as one JSON comment line, then the queues."""
    lines = [f"; header {to_json(replace(program, setup=(), main=())).strip()}"]
    for phase, queues in (("setup", program.setup), ("main", program.main)):
        for queue in queues:
            lines.append(f"{phase} {queue.unit}:")
            depth = 1
            for instruction, kernel in zip(queue.code, queue.kernels, strict=True):
                form = BY_NOUN[type(instruction)]
                depth -= isinstance(instruction, End)
                fields = " ".join(
                    f"{name}={_field_text(program, cast('int | Address | Operand | None', getattr(instruction, name)))}"
                    for name, _ in form.fields
                )
                lines.append(f"{'  ' * depth}{form.mnemonic}{' ' if fields else ''}{fields}  ; {kernel}")
                depth += isinstance(instruction, Loop | Cores)
    return "\n".join(lines) + "\n"


def _parse_address(text: str) -> Address:
    match = _ADDRESS.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no address")
    base, phase, modulus, strides = match.groups()
    return Address(
        base=int(base),
        phase=int(phase or 0),
        modulus=int(modulus or 0),
        strides=tuple(int(s) for s in strides.split(",")) if strides else (),
    )


def _parse_field(names: dict[str, int], kind: str, text: str) -> int | Address | Operand | None:
    if kind == "int":
        return int(text)
    if kind == "address":
        return _parse_address(text)
    if text == "none":
        return None
    match = _OPERAND.fullmatch(text)
    if match is None or match[1] not in names:
        raise ValueError(f"{text!r} is no operand")
    return Operand(space=names[match[1]], address=_parse_address(match[2]), runs=int(match[3]))


def _parse_line(names: dict[str, int], line: str) -> tuple[Instruction, int]:
    body, _, kernel = line.partition(";")
    mnemonic, *words = body.split()
    form = BY_MNEMONIC[mnemonic]
    given = dict(word.split("=", 1) for word in words)
    values = {name: _parse_field(names, kind, given[name]) for name, kind in form.fields}
    return form.noun(**values), int(kernel)  # type: ignore[arg-type]  # the table names every field of the noun


def assemble(text: str, *, place: str = "program.asm") -> Program:
    """The program that `disassemble` printed. Raises `Refusal` (BL0205) naming the line that is none."""
    first, *lines = text.splitlines() or [""]
    header = from_json(Program, first.removeprefix("; header "), place=f"{place}:1")
    names = {space.name: i for i, space in enumerate(header.spaces)}
    phases: dict[str, list[tuple[str, list[tuple[Instruction, int]]]]] = {"setup": [], "main": []}
    lines_of_queue: list[tuple[Instruction, int]] = []
    for number, line in enumerate(lines, 2):
        try:
            if line.endswith(":"):
                phase, unit = line[:-1].split()
                lines_of_queue = []
                phases[phase].append((unit, lines_of_queue))
            elif not phases["setup"] and not phases["main"]:
                raise ValueError("it belongs to no queue")
            else:
                lines_of_queue.append(_parse_line(names, line))
        except (ValueError, KeyError, IndexError, Refusal) as error:
            raise refuse(
                "BL0205", f"not an instruction: {line.strip()!r} ({error})", place=f"{place}:{number}"
            ) from None
    setup, main = (
        tuple(
            Queue(unit=unit, code=tuple(i for i, _ in code), kernels=tuple(k for _, k in code))  # type: ignore[arg-type]
            for unit, code in phases[phase]
        )
        for phase in ("setup", "main")
    )
    return replace(header, setup=setup, main=main)

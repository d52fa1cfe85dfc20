"""The one table of instructions: opcode, mnemonic, noun and the kind of every field, in the order in which they are
stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from bitline.ir.program import (
    Cores,
    Dma,
    End,
    Fill,
    HostCall,
    Instruction,
    Loop,
    Mvm,
    Post,
    Recv,
    Send,
    Take,
    Vector,
    Wait,
    WriteWeights,
)

FieldKind = Literal["int", "address", "operand", "optional"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """How one instruction is stored."""

    opcode: int
    mnemonic: str
    noun: type[Instruction]
    fields: tuple[tuple[str, FieldKind], ...]


TABLE: Final[tuple[Format, ...]] = (
    Format(opcode=0, mnemonic="end", noun=End, fields=()),
    Format(opcode=1, mnemonic="loop", noun=Loop, fields=(("count", "int"),)),
    Format(opcode=2, mnemonic="cores", noun=Cores, fields=(("first", "int"), ("last", "int"))),
    Format(opcode=3, mnemonic="wait", noun=Wait, fields=(("token", "int"),)),
    Format(opcode=4, mnemonic="post", noun=Post, fields=(("token", "int"),)),
    Format(opcode=5, mnemonic="send", noun=Send, fields=(("peer", "address"), ("channel", "int"))),
    Format(opcode=6, mnemonic="recv", noun=Recv, fields=(("peer", "address"), ("channel", "int"))),
    Format(opcode=7, mnemonic="dma", noun=Dma, fields=(("src", "operand"), ("dst", "operand"))),
    Format(opcode=8, mnemonic="fill", noun=Fill, fields=(("dst", "operand"), ("value", "int"))),
    Format(
        opcode=9,
        mnemonic="write_weights",
        noun=WriteWeights,
        fields=(
            ("array", "address"),
            ("row", "int"),
            ("col", "int"),
            ("rows", "int"),
            ("cols", "int"),
            ("src", "operand"),
        ),
    ),
    Format(
        opcode=10,
        mnemonic="mvm",
        noun=Mvm,
        fields=(
            ("array", "address"),
            ("row", "int"),
            ("col", "int"),
            ("cols", "int"),
            ("src", "operand"),
            ("dst", "operand"),
            ("overwrite", "int"),
            ("math", "int"),
        ),
    ),
    Format(
        opcode=11,
        mnemonic="vector",
        noun=Vector,
        fields=(
            ("post", "int"),
            ("dst", "operand"),
            ("a", "operand"),
            ("b", "optional"),
            ("c", "optional"),
            ("parameters", "optional"),
        ),
    ),
    Format(
        opcode=12, mnemonic="host_call", noun=HostCall, fields=(("call", "int"), ("src", "operand"), ("dst", "operand"))
    ),
    Format(
        opcode=13,
        mnemonic="take",
        noun=Take,
        fields=(
            ("space", "int"),
            ("base", "int"),
            ("rows", "int"),
            ("row_bytes", "int"),
            ("src", "operand"),
            ("dst", "operand"),
        ),
    ),
)

BY_OPCODE: Final = {form.opcode: form for form in TABLE}
BY_MNEMONIC: Final = {form.mnemonic: form for form in TABLE}
BY_NOUN: Final = {form.noun: form for form in TABLE}

MAGIC: Final = b"BITLINE\x02"
"""First bytes of a program; the last is the version of the format."""

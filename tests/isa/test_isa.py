"""Bytes and text of a program: what is written is read back, what is altered is refused or read, never a crash."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitline.core.diagnostics import Refusal
from bitline.ir.program import Address, Loop, Program, Queue
from bitline.isa import binary, text
from bitline.isa.table import MAGIC, TABLE
from bitline.verify import flat
from tests.isa.programs import programs
from tests.sim.handwritten import conv_layer

T = TypeVar("T")


@cache
def written() -> Program:
    return conv_layer().program


@given(program=programs)
def test_what_is_encoded_is_decoded(program: Program) -> None:
    data = binary.encode(program)
    assert binary.decode(data) == program
    assert binary.encode(binary.decode(data)) == data


@given(program=programs)
def test_what_is_disassembled_is_assembled(program: Program) -> None:
    assert text.assemble(text.disassemble(program)) == program


def test_the_handwritten_program_survives_both() -> None:
    assert binary.decode(binary.encode(written())) == written()
    assert text.assemble(text.disassemble(written())) == written()


@given(program=programs)
def test_the_verifiers_decoder_sees_the_same_program(program: Program) -> None:
    tables = flat.flatten(binary.encode(program))
    assert (tables.cores, tables.arrays) == (program.cores, program.arrays_per_core)
    instructions = [i for queues in (program.setup, program.main) for queue in queues for i in queue.code]
    opcodes = {form.noun: form.opcode for form in TABLE}
    assert tables.code[:, flat.OP].tolist() == [opcodes[type(i)] for i in instructions]
    for row, instruction in zip(tables.code.tolist(), instructions, strict=True):
        form = next(form for form in TABLE if form.noun is type(instruction))
        for name, kind in form.fields:
            value = getattr(instruction, name)
            match kind:
                case "int":
                    assert value in row
                case "address":
                    assert address_row(tables, row[flat.ARRAY]) == flattened(value)
                case _:
                    column = COLUMNS[name]
                    if value is None:
                        assert row[column] == -1
                        continue
                    operand = tables.operands[row[column]]
                    assert (operand[flat.O_SPACE], operand[flat.O_RUNS]) == (value.space, value.runs)
                    assert address_row(tables, row[column]) == flattened(value.address)


COLUMNS = {
    "src": flat.SRC0, "a": flat.SRC0, "b": flat.SRC1, "c": flat.SRC2, "parameters": flat.SRC3, "dst": flat.DST,
}  # fmt: skip


def address_row(tables: flat.FlatProgram, place: int) -> list[int]:
    operand = tables.operands[place]
    columns = [flat.O_BASE, flat.O_PHASE, flat.O_MODULUS, *range(flat.O_STRIDES, flat.O_STRIDES + flat.MAX_LEVELS)]
    return operand[columns].tolist()


def flattened(address: object) -> list[int]:
    assert isinstance(address, Address)
    strides = [*address.strides, *[0] * (flat.MAX_LEVELS - len(address.strides))]
    return [address.base, address.phase, address.modulus, *strides]


changes_of_bytes = st.tuples(
    st.integers(0, 1 << 16), st.sampled_from(["set", "insert", "drop", "cut"]), st.binary(min_size=1, max_size=3)
)
mutations = st.lists(changes_of_bytes, min_size=1, max_size=4)


def mutated(data: bytes, changes: list[tuple[int, str, bytes]]) -> bytes:
    for at, how, new in changes:
        place = at % (len(data) + 1)
        match how:
            case "set":
                data = data[:place] + new + data[place + len(new) :]
            case "insert":
                data = data[:place] + new + data[place:]
            case "drop":
                data = data[:place] + data[place + len(new) :]
            case _:
                data = data[:place]
    return data


def outcome(read: Callable[[], T]) -> T | Refusal:
    """What was read, or why it was refused; any other exception is a failure."""
    try:
        return read()
    except Refusal as refusal:
        return refusal


@given(program=programs, changes=mutations)
def test_altered_bytes_are_refused_or_read(program: Program, changes: list[tuple[int, str, bytes]]) -> None:
    data = mutated(binary.encode(program), changes)
    found = outcome(lambda: binary.decode(data))
    if isinstance(found, Program):
        assert binary.decode(binary.encode(found)) == found
    else:
        assert found.diagnostics[0].code == "BL0205"
    seen = outcome(lambda: flat.flatten(data))
    assert not isinstance(seen, Refusal) or seen.diagnostics[0].code == "BL0503"


@given(changes=mutations)
def test_altered_bytes_of_a_real_program(changes: list[tuple[int, str, bytes]]) -> None:
    data = binary.encode(written())
    start = len(MAGIC) + 2 + data[len(MAGIC) + 2 :].index(b"\n") + 1  # most of the file is its header
    altered = data[:start] + mutated(data[start:], changes)
    for found in (outcome(lambda: binary.decode(altered)), outcome(lambda: flat.flatten(altered))):
        assert not isinstance(found, Refusal) or found.diagnostics[0].help


@given(program=programs, changes=mutations)
def test_altered_text_is_refused_or_read(program: Program, changes: list[tuple[int, str, bytes]]) -> None:
    altered = mutated(text.disassemble(program).encode(), changes).decode(errors="replace")
    found = outcome(lambda: text.assemble(altered))
    if isinstance(found, Refusal):
        assert found.diagnostics[0].code == "BL0205"
        assert "program.asm:" in found.diagnostics[0].place


@given(value=st.integers(-(2**62), 2**62))
def test_integers_of_any_size(value: int) -> None:
    queue = Queue(unit="mvm", code=(Loop(count=value),), kernels=(value,))
    program = replace(written(), setup=(), main=(queue,))
    assert binary.decode(binary.encode(program)) == program


def test_endless_numbers_are_refused() -> None:
    for data in (b"", MAGIC, MAGIC[:-1] + b"\x02", MAGIC + b"\xff" * 64, MAGIC + b"\x02{}"):
        with pytest.raises(Refusal):
            binary.decode(data)


def test_opcodes_and_mnemonics_are_told_apart() -> None:
    assert len({form.opcode for form in TABLE}) == len({form.mnemonic for form in TABLE}) == len(TABLE)

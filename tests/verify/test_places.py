"""Proves that the strips of a memory are what the race check takes them for: covered whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from random import Random

import pytest

from bitline.ir.program import Operand, Program
from bitline.isa import binary
from bitline.verify import flat
from bitline.verify.places import Strips, strips
from tests.verify.brute_force import expand, offset
from tests.verify.compiled import TINY_CHIPS, mixed, tiny
from tests.verify.mutants import one_operand_off

MUTANTS = 60


def pieces(program: Program) -> Iterator[tuple[int, int, int]]:
    """(memory, first byte, end) of everything that lies in one go and that any instruction of any core touches."""
    for queue in (*program.setup, *program.main):
        for core in range(program.cores):
            for instance in expand(queue, core):
                for field in fields(instance.instruction):
                    operand = getattr(instance.instruction, field.name)
                    if isinstance(operand, Operand):
                        yield from operand_pieces(program, operand, instance.counters)


def operand_pieces(program: Program, operand: Operand, counters: tuple[int, ...]) -> Iterator[tuple[int, int, int]]:
    address = operand.address
    start = offset(address, counters)
    for first, length in program.runs[operand.runs]:
        at, end = start + first, start + first + length
        while at < end:
            wrapped = at % address.modulus if address.modulus else at
            part = min(end - at, address.modulus - wrapped) if address.modulus else end - at
            yield operand.space, address.base + wrapped, address.base + wrapped + part
            at += part


def torn(program: Program) -> list[tuple[int, int, int]]:
    """Pieces inside a memory that begin or end within a strip."""
    found = strips(flat.flatten(binary.encode(program)))
    edges = [set(cut.starts.tolist()) for cut in found]
    return [
        (space, first, end)
        for space, first, end in set(pieces(program))
        if not program.spaces[space].constant and first >= 0 and end <= program.spaces[space].bytes
        if not (first in edges[space] and end in edges[space] and adds_up(found[space], first, end))
    ]


def adds_up(cut: Strips, first: int, end: int) -> bool:
    inside = cut.between(first, end)
    return (cut.starts[inside.start], cut.starts[inside.stop]) == (first, end)


@pytest.mark.parametrize("chip", TINY_CHIPS)
def test_no_access_of_a_compiled_program_tears_a_strip(chip: str) -> None:
    program = tiny(chip).built.program
    assert torn(program) == []
    found = strips(flat.flatten(binary.encode(program)))
    for space, cut in zip(program.spaces, found, strict=True):
        assert (cut.starts[0], cut.starts[-1]) == (0, space.bytes)
        assert space.constant or cut.count < space.bytes or space.bytes <= 1, "strips are wider than a byte"


def test_no_access_tears_a_strip_where_addresses_are_odd() -> None:
    random = Random(3)
    programs = [one_operand_off(random.choice([mixed(), tiny("cycled")]).built.program, random) for _ in range(MUTANTS)]
    assert [torn(program) for program in programs] == [[]] * MUTANTS


def test_a_memory_that_nobody_touches_is_one_strip() -> None:
    program = flat.flatten(binary.encode(tiny("resident").built.program))
    (dram,) = [cut for space, cut in zip(program.spaces, strips(program), strict=True) if space.name == "weights"]
    assert dram.count <= 1

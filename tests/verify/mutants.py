"""Seeded small mistakes in programs: a token forgotten, moved or paired wrongly, a number in an operand off."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from random import Random

from bitline.ir.program import (
    Address,
    Dma,
    Fill,
    HostCall,
    Instruction,
    Mvm,
    Operand,
    Post,
    Program,
    Queue,
    Recv,
    Send,
    Take,
    Vector,
    Wait,
    WriteWeights,
    executions,
)

SIGNALS = (Wait, Post, Send, Recv)
WORK = (Dma, Fill, WriteWeights, Mvm, Vector, Take, HostCall)
Phase = tuple[Queue, ...]


def without(queue: Queue, place: int) -> Queue:
    """The queue with one instruction less."""
    return replace(
        queue,
        code=(*queue.code[:place], *queue.code[place + 1 :]),
        kernels=(*queue.kernels[:place], *queue.kernels[place + 1 :]),
    )


def changed(phase: Phase, number: int, queue: Queue) -> Phase:
    return (*phase[:number], queue, *phase[number + 1 :])


def with_instruction(queue: Queue, place: int, instruction: Instruction) -> Queue:
    return replace(queue, code=(*queue.code[:place], instruction, *queue.code[place + 1 :]))


def places(phase: Phase, kinds: tuple[type[Instruction], ...]) -> list[tuple[int, int]]:
    """(queue, place) of all instructions of these kinds."""
    return [(q, i) for q, queue in enumerate(phase) for i, ins in enumerate(queue.code) if isinstance(ins, kinds)]


def deletions(program: Program) -> list[tuple[str, Program]]:
    """The program without one of its signals, for each in turn."""
    found: list[tuple[str, Program]] = []
    for number, place in places(program.main, SIGNALS):
        queue = program.main[number]
        name = f"{queue.unit}[{place}] {type(queue.code[place]).__name__}"
        found.append((name, replace(program, main=changed(program.main, number, without(queue, place)))))
    return found


def one_signal_less(program: Program, random: Random) -> Program:
    number, place = random.choice(places(program.main, SIGNALS))
    return replace(program, main=changed(program.main, number, without(program.main[number], place)))


def one_pair_less(program: Program, random: Random) -> Program:
    """A post and a wait of one token that run equally often: the counts still add up."""
    times = [dict(executions(queue, program.cores)) for queue in program.main]
    pairs = [
        ((q, i), (r, j))
        for q, i in places(program.main, (Post,))
        for r, j in places(program.main, (Wait,))
        if _token(program.main[q].code[i]) == _token(program.main[r].code[j]) and times[q][i] == times[r][j]
    ]
    (q, i), (r, j) = random.choice(pairs)
    main = changed(program.main, q, without(program.main[q], i))
    return replace(program, main=changed(main, r, without(main[r], j)))


def _token(instruction: Instruction) -> int:
    assert isinstance(instruction, Post | Wait)
    return instruction.token


def one_signal_moved(program: Program, random: Random) -> Program:
    """A post or send one instruction earlier, a wait or receive one later: past something that moves or computes."""
    movable: list[tuple[int, int, int]] = []
    for q, i in places(program.main, SIGNALS):
        code = program.main[q].code
        other = i - 1 if isinstance(code[i], Post | Send) else i + 1
        if 0 <= other < len(code) and isinstance(code[other], WORK):
            movable.append((q, i, other))
    q, i, other = random.choice(movable)
    queue = program.main[q]
    swapped = with_instruction(with_instruction(queue, i, queue.code[other]), other, queue.code[i])
    return replace(program, main=changed(program.main, q, swapped))


def _off(number: int, random: Random) -> int:
    """Another number near `number`."""
    return random.choice([number + 1, number - 1, number + 4, number - 4, 0, 2 * number, number + 64, number // 2])


def _address(address: Address, random: Random) -> Address:
    match random.choice(["base", "phase", "modulus", "stride"]):
        case "base":
            return replace(address, base=_off(address.base, random))
        case "phase":
            return replace(address, phase=_off(address.phase, random))
        case "modulus":
            return replace(address, modulus=max(0, _off(address.modulus, random)))
        case _:
            strides = list(address.strides) or [0]
            level = random.randrange(len(strides))
            strides[level] = _off(strides[level], random)
            return replace(address, strides=tuple(strides))


def _operand(operand: Operand, program: Program, random: Random) -> Operand:
    match random.choice(["address", "address", "address", "run", "space"]):
        case "run":
            return replace(operand, runs=random.randrange(len(program.runs)))
        case "space":
            return replace(operand, space=random.randrange(len(program.spaces)))
        case _:
            return replace(operand, address=_address(operand.address, random))


def one_operand_off(program: Program, random: Random) -> Program:
    """One number of one address, run or memory of an instruction, in `setup` or `main`."""
    in_setup = bool(program.setup) and random.random() < 0.1
    phase = program.setup if in_setup else program.main
    number, place = random.choice([(q, i) for q, i in places(phase, (*WORK, Send, Recv)) if _named(phase[q].code[i])])
    instruction = phase[number].code[place]
    name = random.choice(_named(instruction))
    value: object = getattr(instruction, name)
    if isinstance(value, Operand):
        changes: dict[str, object] = {name: _operand(value, program, random)}
    elif isinstance(value, Address):
        changes = {name: _address(value, random)}
    else:
        assert isinstance(value, int)
        changes = {name: _off(value, random)}
    queue = with_instruction(phase[number], place, replace(instruction, **changes))  # type: ignore[arg-type]
    spoilt = changed(phase, number, queue)
    return replace(program, setup=spoilt) if in_setup else replace(program, main=spoilt)


_NUMBERS = {"row", "col", "overwrite", "row_bytes", "space"}


def _named(instruction: Instruction) -> list[str]:
    """Fields of an instruction that may be spoilt."""
    names: Sequence[str] = [f.name for f in fields(instruction)]
    return [n for n in names if n in _NUMBERS or isinstance(getattr(instruction, n), Operand | Address)]


Mutation = Callable[[Program, Random], Program]
MUTATIONS: dict[str, Mutation] = {
    "signal less": one_signal_less,
    "pair less": one_pair_less,
    "signal moved": one_signal_moved,
    "operand off": one_operand_off,
}

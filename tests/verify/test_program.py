"""Proves that compiled programs pass, that no forgotten signal does, and that the verdict is that of brute force."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from random import Random

import pytest

from bitline.core.diagnostics import Refusal
from bitline.ir.program import (
    Address,
    Dma,
    Fill,
    Instruction,
    Post,
    Program,
    Queue,
    Recv,
    Send,
    Unit,
    Vector,
    Wait,
    WriteWeights,
    executions,
)
from bitline.isa import binary
from bitline.verify.program import verify_program
from tests.sim.handwritten import conv_layer
from tests.verify.brute_force import judge
from tests.verify.compiled import TARGETS, TINY_CHIPS, mnist, tiny
from tests.verify.mutants import MUTATIONS, changed, deletions, places, with_instruction

HANDWRITTEN = conv_layer().program
PER_MUTATION = 40


def findings(program: Program) -> list[str]:
    """`place: message` of all findings."""
    errors = verify_program(binary.encode(program)).errors
    assert {error.code for error in errors} <= {"BL0503"}
    return [f"{error.place}: {error.message}" for error in errors]


def executed(program: Program) -> int:
    return sum(times for queue in program.main for _, times in executions(queue, program.cores))


def test_the_handwritten_convolution_passes() -> None:
    proof = verify_program(binary.encode(HANDWRITTEN))
    assert proof.errors == ()
    assert proof.executed == executed(HANDWRITTEN)


@pytest.mark.parametrize("target", TARGETS)
def test_mnist_passes(target: str) -> None:
    program = mnist(target).built.program
    proof = verify_program(binary.encode(program))
    assert proof.errors == ()
    assert proof.executed == executed(program)


def test_the_handwritten_convolution_has_40_signals() -> None:
    assert len(deletions(HANDWRITTEN)) == 40


@pytest.mark.parametrize(("name", "program"), deletions(HANDWRITTEN), ids=[name for name, _ in deletions(HANDWRITTEN)])
def test_without_one_signal(name: str, program: Program) -> None:
    assert findings(program), name


@pytest.mark.parametrize("target", TARGETS)
def test_mnist_without_one_signal(target: str) -> None:
    """60 of all signals, drawn with a seed."""
    spoilt = Random(target).sample(deletions(mnist(target).built.program), 60)
    assert [name for name, program in spoilt if not findings(program)] == []


# -- against brute force -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chip", TINY_CHIPS)
def test_brute_force_finds_nothing_wrong_with_a_compiled_program(chip: str) -> None:
    program = tiny(chip).built.program
    verdict = judge(program)
    assert verdict.wrong == set()
    assert verdict.instances >= 400
    assert findings(program) == []


def test_the_tiny_programs_do_what_there_is_to_do() -> None:
    """Setup, weights that are written again, rings, messages: every kind of instruction that can race."""
    programs = [tiny(chip).built.program for chip in TINY_CHIPS]
    kinds = {type(instruction) for p in programs for queue in p.main for instruction in queue.code}
    assert {Wait, Post, Send, Recv, Dma, Fill, WriteWeights, Vector} <= kinds
    assert [bool(program.setup) for program in programs] == [False, True, False]
    weights = [job.weights for chip in TINY_CHIPS for plan in tiny(chip).schedule.kernels for job in plan.jobs]
    assert set(weights) == {"none", "resident", "held", "cycled"}


def test_the_verdict_on_every_mutant_is_that_of_brute_force() -> None:
    """A rejected mutant really is wrong, an accepted one really harmless: ordered, in bounds, read after written."""
    counts: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    for chip in TINY_CHIPS:
        program = tiny(chip).built.program
        for kind, mutate in MUTATIONS.items():
            for seed in range(PER_MUTATION):
                mutant = mutate(program, Random(f"{chip} {kind} {seed}"))
                if mutant == program:
                    continue
                found, verdict = findings(mutant), judge(mutant)
                assert bool(found) == bool(verdict.wrong), (chip, kind, seed, found, verdict.wrong)
                counts["rejected" if found else "accepted"] += 1
                reasons.update(verdict.wrong)
    assert counts["rejected"] + counts["accepted"] >= 400, counts
    assert counts["rejected"] >= 0.6 * counts.total(), counts
    assert counts["accepted"] >= 50, "harmless ones test the other direction"
    assert {"race", "unwritten", "outside", "sizes", "stuck", "unbalanced"} <= set(reasons), reasons


# -- one defect at a time ----------------------------------------------------------------------------------------------


def inserted(program: Program, unit: Unit, place: int, *instructions: Instruction) -> Program:
    """The program with more instructions in a main queue; a negative place counts from behind the last."""
    number = next(i for i, queue in enumerate(program.main) if queue.unit == unit)
    queue = program.main[number]
    at = place if place >= 0 else len(queue.code) + 1 + place
    kernels = (*queue.kernels[:at], *[-1] * len(instructions), *queue.kernels[at:])
    longer = replace(queue, code=(*queue.code[:at], *instructions, *queue.code[at:]), kernels=kernels)
    return replace(program, main=changed(program.main, number, longer))


def respelled(program: Program, kind: type[Instruction], number: int, **fields: object) -> Program:
    """Fields of the `number`-th instruction of a kind replaced."""
    queue, place = places(program.main, (kind,))[number]
    spoilt = replace(program.main[queue].code[place], **fields)  # type: ignore[arg-type]
    return replace(program, main=changed(program.main, queue, with_instruction(program.main[queue], place, spoilt)))


def test_the_setup_has_to_last_for_the_next_inference() -> None:
    """Arrays are rewritten after their last use: this inference is right, the next one is not."""
    program = tiny("resident").built.program
    token = next(i for i, token in enumerate(program.tokens) if token.name == "weights_free")
    (writer,) = [queue for queue in program.setup if queue.unit == "write"]
    write = next(ins for ins in writer.code if isinstance(ins, WriteWeights))
    spoilt = inserted(inserted(program, "mvm", -1, Post(token=token)), "write", -1, Wait(token=token), write)
    assert judge(spoilt).wrong == {"setup overwritten"}
    assert any("replaces what the next inference needs from the setup" in line for line in findings(spoilt))


def test_two_units_may_not_send_on_one_channel() -> None:
    """Which of the two messages comes first would depend on timing."""
    send, recv = Send(peer=Address(base=1), channel=0), Recv(peer=Address(base=3), channel=0)
    spoilt = inserted(inserted(HANDWRITTEN, "dma_in", -1, send), "dma_out", -1, recv)
    assert findings(spoilt) == ["program.bin:main: dma_in and dma_out send on channel 0"]


def test_two_units_may_not_receive_on_one_channel() -> None:
    send, recv = Send(peer=Address(base=1), channel=0), Recv(peer=Address(base=3), channel=0)
    spoilt = inserted(inserted(HANDWRITTEN, "dma_out", -1, send), "dma_in", -1, recv)
    assert findings(spoilt) == ["program.bin:main: dma_in and dma_out receive on channel 0"]


def test_a_memory_before_the_first() -> None:
    first = next(ins for ins in HANDWRITTEN.main[0].code if isinstance(ins, Dma))
    spoilt = respelled(HANDWRITTEN, Dma, 0, src=replace(first.src, space=-1))
    with pytest.raises(Refusal, match="an operand in memory -1"):
        findings(spoilt)


def test_a_unit_that_no_core_has() -> None:
    queue: Queue = replace(HANDWRITTEN.main[0], unit="gpu")  # type: ignore[arg-type]
    spoilt = replace(HANDWRITTEN, main=(queue, *HANDWRITTEN.main[1:]))
    assert findings(spoilt) == ["program.bin:main: no unit 'gpu'"]


@pytest.mark.parametrize("field", ["cores", "arrays_per_core", "array_rows", "array_cols"])
@pytest.mark.parametrize("number", [0, -1, 1 << 41])
def test_a_chip_of_no_size(field: str, number: int) -> None:
    with pytest.raises(Refusal, match=f"not a program: {number} {field}, expected 1.."):
        findings(replace(HANDWRITTEN, **{field: number}))  # type: ignore[arg-type]


@pytest.mark.parametrize("number", [-1, 1 << 41])
def test_a_memory_of_no_size(number: int) -> None:
    first, *others = HANDWRITTEN.spaces
    with pytest.raises(Refusal, match=f"memory 'dram' of {number} bytes"):
        findings(replace(HANDWRITTEN, spaces=(replace(first, bytes=number), *others)))


def test_more_arrays_than_can_be_watched() -> None:
    with pytest.raises(Refusal, match="places to watch"):
        findings(replace(HANDWRITTEN, arrays_per_core=1 << 30))


def test_addresses_that_64_bits_cannot_hold() -> None:
    """-2^63 - 2^63 is 0 in 64 bits, which is no address of this program."""
    fill = next(ins for ins in HANDWRITTEN.main[0].code if isinstance(ins, Fill))
    far = replace(fill.dst, address=Address(base=-(1 << 63), phase=-(1 << 63)))
    (line,) = findings(respelled(HANDWRITTEN, Fill, 0, dst=far))
    assert f"numbers up to {1 << 63}" in line


def test_cells_of_no_rows() -> None:
    """-64 x -64 are as many cells as 64 x 64."""
    spoilt = respelled(HANDWRITTEN, WriteWeights, 0, rows=-64, cols=-64)
    assert any("writes -64 x -64 cells" in line for line in findings(spoilt))


def test_a_vector_operation_whose_operands_do_not_fit() -> None:
    vector = next(ins for ins in HANDWRITTEN.main[3].code if isinstance(ins, Vector))
    assert vector.parameters is not None
    spoilt = respelled(HANDWRITTEN, Vector, 0, parameters=replace(vector.parameters, runs=vector.dst.runs))
    assert any("`requantise` of 7168, 0, 1792 bytes gives 1792" in line for line in findings(spoilt))


@pytest.mark.parametrize("end", [0, 7, 8, 9, 200, -1])
def test_a_cut_file(end: int) -> None:
    with pytest.raises(Refusal, match="not a program"):
        verify_program(binary.encode(HANDWRITTEN)[:end])

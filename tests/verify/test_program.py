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
    End,
    Fill,
    HostCall,
    Instruction,
    Loop,
    Post,
    Program,
    Queue,
    Recv,
    Send,
    Take,
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
from tests.verify.compiled import TARGETS, TINY_CHIPS, mixed, mnist, tiny
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


def test_brute_force_finds_nothing_wrong_with_look_ups_and_calls_of_the_host() -> None:
    program = mixed().built.program
    kinds = {type(instruction) for queue in program.main for instruction in queue.code}
    assert {Take, HostCall, Vector} <= kinds
    assert {post.op for post in program.posts} >= {"select", "norm", "matmul", "curve"}
    assert any(i.c for queue in program.main for i in queue.code if isinstance(i, Vector)), "three operands"
    assert judge(program).wrong == set()
    assert findings(program) == []


def test_the_verdict_on_mutants_with_look_ups_and_calls_is_that_of_brute_force() -> None:
    program = mixed().built.program
    counts: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    for kind, mutate in MUTATIONS.items():
        for seed in range(PER_MUTATION):
            mutant = mutate(program, Random(f"mixed {kind} {seed}"))
            if mutant == program:
                continue
            found, verdict = findings(mutant), judge(mutant)
            assert bool(found) == bool(verdict.wrong), (kind, seed, found, verdict.wrong)
            counts["rejected" if found else "accepted"] += 1
            reasons.update(verdict.wrong)
    assert counts["rejected"] >= 0.5 * counts.total() >= 70, counts
    assert {"race", "unwritten", "outside", "sizes", "stuck"} <= set(reasons), reasons


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
    assert any("`requantise` of 7168, 0, 0, 1792 bytes gives 1792" in line for line in findings(spoilt))


def mixed_with(kind: type[Instruction], number: int = 0, **fields: object) -> list[str]:
    return findings(respelled(mixed().built.program, kind, number, **fields))


def test_a_table_outside_its_memory() -> None:
    program = mixed().built.program
    take = next(i for queue in program.main for i in queue.code if isinstance(i, Take))
    size = program.spaces[take.space].bytes
    wrong = "takes rows of a table that lies in no constant memory"
    for fields in ({"base": size}, {"base": -8}, {"rows": size}, {"rows": 0}, {"row_bytes": 0}, {"space": 99}):
        assert any(wrong in line for line in mixed_with(Take, **fields)), fields
    dram = program.space("dram")
    assert any(wrong in line for line in mixed_with(Take, space=dram, base=0)), "a memory that is written"
    assert any("other rows than it has numbers" in line for line in mixed_with(Take, row_bytes=take.row_bytes - 1))


def test_a_call_of_the_host_with_other_sizes_or_in_a_loop() -> None:
    program = mixed().built.program
    number = next(i for i, queue in enumerate(program.main) if queue.unit == "host")
    queue = program.main[number]
    place = next(i for i, ins in enumerate(queue.code) if isinstance(ins, HostCall))
    call = queue.code[place]
    assert isinstance(call, HostCall)
    assert any("no host call 7" in line for line in mixed_with(HostCall, call=7))
    assert any("a host call takes" in line for line in mixed_with(HostCall, dst=replace(call.dst, runs=call.src.runs)))
    other = replace(program.calls[0], gives=(1,))
    assert any("a host call takes" in line for line in findings(replace(program, calls=(other, *program.calls[1:]))))
    code = (*queue.code[:place], Loop(count=1), call, End(), *queue.code[place + 1 :])
    looped = replace(queue, code=code, kernels=(-1,) * len(code))
    spoilt = replace(program, main=changed(program.main, number, looped))
    assert any("a host call inside a loop" in line for line in findings(spoilt))
    assert "call in a loop" in judge(spoilt).wrong


@pytest.mark.parametrize(("op", "change"), [
    ("select", {"spreads": (5, 1, 1)}), ("select", {"types": ("u8", "s8")}), ("select", {"y": "s32"}),
    ("norm", {"inner": 5}), ("norm", {"inner": 0}), ("matmul", {"inner": 4}), ("curve", {"types": ("s8",)}),
    ("curve", {"op": "table"}), ("norm", {"op": "softmax"}), ("matmul", {"op": "product"}),
], ids=str)  # fmt: skip
def test_a_vector_operation_with_other_constants(op: str, change: dict[str, object]) -> None:
    """Spreads, widths and rows that the operands' sizes do not allow."""
    program = mixed().built.program
    place = next(i for i, post in enumerate(program.posts) if post.op == op)
    spoilt = replace(program.posts[place], **change)  # type: ignore[arg-type]
    posts = (*program.posts[:place], spoilt, *program.posts[place + 1 :])
    changed_program = replace(program, posts=posts)
    assert any("bytes gives" in line for line in findings(changed_program)), change
    if spoilt.inner or op == "select":
        assert "sizes" in judge(changed_program).wrong


def test_an_element_that_is_used_less_than_once() -> None:
    program = mixed().built.program
    place = next(i for i, post in enumerate(program.posts) if post.op == "select")
    posts = list(program.posts)
    posts[place] = replace(posts[place], spreads=(1, 0, 1))
    with pytest.raises(Refusal, match="used less than once"):
        findings(replace(program, posts=tuple(posts)))


def test_parameters_that_are_overwritten_while_they_are_read() -> None:
    """Tables may lie in any memory; then their reads count like those of operands."""
    program = mixed().built.program
    vector = next(i for queue in program.main for i in queue.code if isinstance(i, Vector) and i.parameters is not None)
    assert vector.parameters is not None
    dram = replace(vector.parameters, space=program.space("dram"), address=Address(base=0))
    number = [i for q in program.main for i in q.code if isinstance(i, Vector)].index(vector)
    spoilt = respelled(program, Vector, number, parameters=dram)
    assert bool(findings(spoilt)) == bool(judge(spoilt).wrong)
    assert findings(spoilt)


@pytest.mark.parametrize("end", [0, 7, 8, 9, 200, -1])
def test_a_cut_file(end: int) -> None:
    with pytest.raises(Refusal, match="not a program"):
        verify_program(binary.encode(HANDWRITTEN)[:end])


# -- signals on their way ----------------------------------------------------------------------------------------------


def with_signals(count: int) -> Program:
    """`input_full` posted `count` times more before anybody waits for it, then taken as often."""
    program = HANDWRITTEN
    token = next(i for i, token in enumerate(program.tokens) if token.name == "input_full")
    owner, waiter = program.tokens[token].poster, program.tokens[token].waiter
    posted = inserted(program, owner, -1, *[Post(token=token)] * count)
    return inserted(posted, waiter, -1, *[Wait(token=token)] * count)


def test_many_signals_on_their_way() -> None:
    """More than there is room for at first, and no more than a counter holds."""
    assert findings(with_signals(200)) == []


def test_more_signals_than_a_counter_holds() -> None:
    assert any("counter runs over" in line for line in findings(with_signals(300)))

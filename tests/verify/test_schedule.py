"""Proves that a schedule passes as compiled, and that no spoilt copy of it does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from bitline import pipeline
from bitline.ir.kernels import Network, inputs_of, outputs_of
from bitline.ir.residency import TensorResidency
from bitline.ir.schedule import Job, Piece, Schedule, Segment, Strip
from bitline.isa import binary
from bitline.lower.kernels import Lowered
from bitline.schedule.plan import Planned
from bitline.target.load import load_target
from bitline.verify.program import verify_program
from bitline.verify.schedule import FINDINGS, verify_schedule
from tests.verify.compiled import TARGETS, TINY_CHIPS, Artefacts, mnist, streamed_branches, streamed_mnist, tiny

Spoil = Callable[[Schedule], Schedule]


def findings(made: Artefacts, schedule: Schedule, network: Network | None = None) -> list[str]:
    """`place: message` of all findings."""
    checked = made.network if network is None else network
    found = verify_schedule(checked, schedule, made.memory_sizes, made.geometry.cores)
    assert {error.code for error in found} <= {"BL0502"}
    assert len(found) <= FINDINGS
    return [f"{error.place}: {error.message}" for error in found]


@pytest.mark.parametrize("target", TARGETS)
def test_mnist_passes(target: str) -> None:
    made = mnist(target)
    assert findings(made, made.schedule) == []


@pytest.mark.parametrize("chip", TINY_CHIPS)
def test_the_tiny_network_passes(chip: str) -> None:
    made = tiny(chip)
    assert findings(made, made.schedule) == []


# -- spoilt copies: kernels 0..9 of MNIST are conv, conv, pool, conv, pool, conv, conv, add, dense, dense --------------


def kernel(number: int, **fields: int | str) -> Spoil:
    """Set fields of the schedule of one kernel."""

    def spoil(schedule: Schedule) -> Schedule:
        kernels = list(schedule.kernels)
        kernels[number] = replace(kernels[number], **fields)
        return replace(schedule, kernels=tuple(kernels))

    return spoil


def job(number: int, change: Callable[[Job], Job]) -> Spoil:
    """Change the first job of one kernel."""

    def spoil(schedule: Schedule) -> Schedule:
        kernels = list(schedule.kernels)
        first, *others = kernels[number].jobs
        kernels[number] = replace(kernels[number], jobs=(change(first), *others))
        return replace(schedule, kernels=tuple(kernels))

    return spoil


def strip(number: int, change: Callable[[Strip], Strip]) -> Spoil:
    """Change the first strip of the first job of one kernel."""
    return job(number, lambda j: replace(j, strips=(change(j.strips[0]), *j.strips[1:])))


def piece(number: int, change: Callable[[Piece], Piece]) -> Spoil:
    """Change the first piece of one kernel."""
    return strip(number, lambda s: replace(s, pieces=(change(s.pieces[0]), *s.pieces[1:])))


def block(number: int, **fields: int) -> Spoil:
    return piece(number, lambda p: replace(p, block=replace(p.block, **fields)))


def tensor(name: str, change: Callable[[TensorResidency], TensorResidency]) -> Spoil:
    """Change the place of the tensor whose name begins with `name`."""

    def spoil(schedule: Schedule) -> Schedule:
        assert sum(home.tensor.startswith(name) for home in schedule.tensors) == 1
        homes = tuple(change(home) if home.tensor.startswith(name) else home for home in schedule.tensors)
        return replace(schedule, tensors=homes)

    return spoil


def home(name: str, **fields: int) -> Spoil:
    return tensor(name, lambda found: replace(found, **fields))


def segments(*spans: tuple[int, int]) -> Spoil:
    return lambda schedule: replace(schedule, segments=tuple(Segment(first=a, last=b) for a, b in spans))


SPOILT: dict[str, tuple[Spoil, str]] = {
    "a kernel short": (lambda s: replace(s, kernels=s.kernels[:-1]), "9 kernels are scheduled, the network has 10"),
    "two kernels swapped": (
        lambda s: replace(s, kernels=(s.kernels[1], s.kernels[0], *s.kernels[2:])),
        "/conv1/Conv: number 1 stands at place 0",
    ),
    "gap between segments": (segments((0, 5), (7, 7), (8, 8), (9, 9)), "holds kernels 7..7, expected to start at 6"),
    "segments overlap": (
        segments((0, 6), (6, 7), (8, 8), (9, 9)),
        "segments[1]: holds kernels 6..7, expected to start at 7",
    ),
    "an empty segment": (segments((0, 5), (6, 5), (6, 7), (8, 9)), "segments[1]: holds kernels 6..5"),
    "last kernel in no segment": (segments((0, 5), (6, 7), (8, 8)), "segments: end at kernel 8, the last is 9"),
    "kernel in another segment": (kernel(6, segment=0), "is in segment 0, which holds kernels 0..5"),
    "no such segment": (kernel(6, segment=4), "is in segment 4 of 4"),
    "resident without being so": (lambda s: replace(s, resident=True), "with 4 segments and 1 streamed jobs"),
    "columns missing": (strip(2, lambda s: replace(s, cols=7)), "4 columns are computed never, first 7"),
    "columns twice": (job(2, lambda j: replace(j, unit_cols=7)), "3 columns are computed more than once, first 7"),
    "columns beyond the last": (job(2, lambda j: replace(j, unit_cols=9)), "computes columns 27..34 of 32"),
    "columns before the first": (strip(2, lambda s: replace(s, col=-1)), "computes columns -1..6 of 32"),
    "no columns": (strip(3, lambda s: replace(s, cols=0)), "computes columns 0..-1 of 64"),
    "a job missing": (lambda s: kernel_without_jobs(s, 3), "64 columns are computed never, first 0"),
    "too many units": (job(7, lambda j: replace(j, rounds=10_000)), "40003 strips for 3136 columns"),
    "no such core": (job(2, lambda j: replace(j, last_core=5)), "runs on cores 0..4 of 4"),
    "negative core": (job(0, lambda j: replace(j, first_core=-1)), "runs on cores -1..0 of 4"),
    "no core": (job(0, lambda j: replace(j, first_core=1)), "runs on cores 1..0 of 4"),
    "no rounds": (job(2, lambda j: replace(j, rounds=0)), "0 rounds of 8 columns"),
    "columns beyond all measure": (job(2, lambda j: replace(j, unit_cols=1 << 70)), f"of {1 << 70} columns"),
    "no weights for a convolution": (job(0, lambda j: replace(j, weights="none")), "weights are 'none' for a MatMul"),
    "weights for a pool": (job(2, lambda j: replace(j, weights="held")), "weights are 'held' for a Pool"),
    "no turns": (job(8, lambda j: replace(j, turns=0)), "0 turns of 4 blocks"),
    "no chunk": (job(8, lambda j: replace(j, chunk=0)), "2 turns of 0 blocks"),
    "a block missing": (strip(1, lambda s: replace(s, pieces=s.pieces[1:])), "column 0 needs rows 0..287 once"),
    "a block twice": (strip(1, lambda s: replace(s, pieces=(s.pieces[0], *s.pieces))), "its blocks have 0..63, 0..63"),
    "no block": (strip(0, lambda s: replace(s, pieces=())), "needs rows 0..8 once, its blocks have none"),
    "rows of a block": (block(1, rows=63), "its blocks have 0..62, 64..127"),
    "columns of a block": (block(1, cols=31), "a block has columns 0 + 31, its strip 0 + 32"),
    "block beside its strip": (block(1, col_offset=1), "a block has columns 1 + 32, its strip 0 + 32"),
    "block of another matrix": (
        piece(1, lambda p: replace(p, block=replace(p.block, matrix="other"))),
        "a block of 'other' for the matrix '/conv2/Conv.weights'",
    ),
    "tiles of no rows": (kernel(3, tile_rows=0), "/conv3/Conv: tiles of 0 x 14 pixels"),
    "tiles of no columns": (kernel(3, tile_cols=-1), "tiles of 1 x -1 pixels"),
    "no slots": (kernel(3, psum_slots=0), "buffers of 2, 0, 2 slots"),
    "results in another buffer": (
        kernel(3, result_space="psum"),
        "/conv3/Conv: results of a MatMul in the psum buffer",
    ),
    "tensor without a place": (lambda s: replace(s, tensors=s.tensors[1:]), "input_q: has no place in any memory"),
    "tensor in two places": (lambda s: replace(s, tensors=(*s.tensors, s.tensors[0])), "input_q: has two places"),
    "unknown tensor": (
        tensor("input_q", lambda t: replace(t, tensor="ghost")),
        "memory.json:ghost: is no tensor of the network",
    ),
    "tensor too small": (home("input_q", bytes=783), "has room for 783 bytes and takes 784"),
    "no such memory": (
        tensor("input_q", lambda t: replace(t, memory="flash")),
        "lies in 'flash'; memories are shared, dram",
    ),
    "outside the memory": (home("input_q", address=65_536 - 783), "bytes 64753..65536 of 'shared', which has 65536"),
    "negative address": (home("input_q", address=-1), "bytes -1..782 of 'shared'"),
    "dead before its last reader": (home("/pool_1", to_step=6), "lives from step 4 to 6, but is read at 7"),
    "input comes too late": (home("input_q", from_step=0), "lives from step 0 to 0, but is written at -1"),
    "output leaves too early": (home("logits_q", to_step=9), "lives from step 9 to 9, but is read at 10"),
    "born after its writer": (home("/Relu_1_", from_step=2), "lives from step 2 to 2, but is written at 1"),
    "steps that do not exist": (home("logits_q", to_step=11), "lives from step 9 to 11, the steps are -1..10"),
    "bytes of another tensor": (home("input_q", address=25_087), "shares bytes 25087..25087 of 'shared'"),
    "written while read": (home("/Relu_1_", address=12_544), "with '/Relu_1_output_0_q' at steps 1..1"),
    "lives into the next": (home("/Relu_output_0_q", to_step=3), "with '/Relu_2_output_0_q' at steps 3..3"),
    "beyond what is taken": (
        lambda s: replace(s, memory_bytes={"shared": 50_175, "dram": 0}),
        "ends at byte 50176 of 'shared', of which 50175 are taken",
    ),
    "more taken than there is": (
        lambda s: replace(s, memory_bytes={"shared": 65_537, "dram": 0}),
        "memory_bytes.shared: takes 65537 of 65536 bytes",
    ),
}


def kernel_without_jobs(schedule: Schedule, number: int) -> Schedule:
    kernels = list(schedule.kernels)
    kernels[number] = replace(kernels[number], jobs=())
    return replace(schedule, kernels=tuple(kernels))


@pytest.mark.parametrize(("spoil", "words"), SPOILT.values(), ids=SPOILT)
def test_a_spoilt_schedule_is_refused(spoil: Spoil, words: str) -> None:
    made = mnist("reram-tile")
    found = findings(made, spoil(made.schedule))
    assert any(words in line for line in found), found


def test_kernels_out_of_order() -> None:
    made = mnist("sram-dcim")
    first, second, *others = made.network.kernels
    found = findings(made, made.schedule, replace(made.network, kernels=(second, first, *others)))
    assert any("/conv2/Conv: reads '/Relu_output_0_q', which nothing wrote before it" in line for line in found)


def test_a_tensor_written_twice() -> None:
    made = mnist("sram-dcim")
    first = made.network.kernels[0]
    again = replace(made.network, kernels=(first, first, *made.network.kernels[2:]))
    found = findings(made, made.schedule, again)
    assert any("/conv1/Conv: writes '/Relu_output_0_q', which is written already" in line for line in found)


def test_units_move_by_whole_groups() -> None:
    """Units of 3 columns are three whole groups of one column, but one and a half of two columns."""
    made = tiny("segments")
    spoil = job(1, lambda j: replace(j, first_core=0, last_core=2, unit_cols=3))
    assert not any("cut groups" in line for line in findings(made, spoil(made.schedule)))
    depthwise = made.network.kernels[1]
    assert depthwise.kind == "MatMul"
    wider = replace(depthwise, matrix=replace(depthwise.matrix, groups=3, cols=2))
    network = replace(made.network, kernels=(made.network.kernels[0], wider, *made.network.kernels[2:]))
    found = findings(made, spoil(made.schedule), network)
    assert any("depthwise.jobs[0]: units of 3 columns cut groups of 2" in line for line in found), found


# -- streams: kernels 0..9 as above, one after another, on cores of their own ------------------------------------------


def stream(**fields: object) -> Spoil:
    def spoil(schedule: Schedule) -> Schedule:
        assert schedule.stream is not None
        return replace(schedule, stream=replace(schedule.stream, **fields))  # type: ignore[arg-type]

    return spoil


def waits(number: int, *before: int) -> Spoil:
    """Kernel `number` waits for these."""

    def spoil(schedule: Schedule) -> Schedule:
        assert schedule.stream is not None
        after = list(schedule.stream.after)
        after[number] = before
        return stream(after=tuple(after))(schedule)

    return spoil


SPOILT_STREAMS: dict[str, tuple[Spoil, str]] = {
    "more on their way than there are": (stream(window=4), "stream: 4 of 3 inputs are on their way at once"),
    "none on its way": (stream(window=0), "stream: 0 of 3 inputs are on their way at once"),
    "a stream of one": (stream(inputs=1, window=1), "stream: 1 of 1 inputs"),
    "weights that do not stay": (
        lambda s: replace(s, resident=False),
        "stream: is a stream of a network whose inputs cannot follow one another",
    ),
    "a kernel short": (lambda s: stream(after=s.stream.after[1:])(s) if s.stream else s, "orders 9 of 10 kernels"),
    "does not wait for its input": (waits(3, 1), "/conv3/Conv: does not wait for '/pool/MaxPool'"),
    "waits for nothing": (waits(1), "/conv2/Conv: does not wait for '/conv1/Conv'"),
    "waits for a later one": (waits(3, 2, 5), "/conv3/Conv: waits for kernels 2, 5 before 3"),
    "waits for itself": (waits(3, 3), "/conv3/Conv: waits for kernels 3 before 3"),
    "smaller frames": (
        stream(frame_bytes={"shared": 50_048, "dram": 0}),
        "ends behind its frame of 50048 bytes",
    ),
    "no frames": (stream(frame_bytes={}), "ends behind its frame of 0 bytes"),
    "wider frames": (
        stream(frame_bytes={"shared": 50_176, "dram": 64}),
        "input_q: lies in one of 3 frames of 64 bytes",
    ),
    "a port beside another": (home("logits_q", address=64), "shares bytes of 'dram' with 'logits_q' in a stream"),
    "ports without room": (home("logits_q", address=1 << 20), "logits_q: needs room for 3 inputs up to byte"),
}


@pytest.mark.parametrize(("spoil", "words"), SPOILT_STREAMS.values(), ids=SPOILT_STREAMS)
def test_a_spoilt_stream_is_refused(spoil: Spoil, words: str) -> None:
    made = streamed_mnist("isaac")
    assert findings(made, made.schedule) == []
    found = findings(made, spoil(made.schedule))
    assert any(words in line for line in found), found


def test_a_writer_that_does_not_wait_for_the_readers_of_its_bytes() -> None:
    """In two branches kernels wait for some whose results they do not read, only because of shared bytes."""
    made = streamed_branches()
    network, stream_ = made.network, made.schedule.stream
    assert stream_ is not None
    assert findings(made, made.schedule) == []
    makers = {name: number for number, k in enumerate(network.kernels) for name in outputs_of(k)}
    found: list[str] = []
    for number, before in enumerate(stream_.after):
        needed = {makers[name] for name in inputs_of(network.kernels[number]) if name in makers}
        for other in sorted(set(before) - needed):
            left = tuple(k for k in before if k != other)
            words = f"does not wait for {network.kernels[other].name!r}"
            found += [line for line in findings(made, waits(number, *left)(made.schedule)) if words in line]
    assert found


def test_without_the_wait_for_shared_bytes_the_program_races() -> None:
    """The same in the program: each wait that only shared bytes ask for, left out, is a race."""
    made = streamed_branches()
    network, stream_ = made.network, made.schedule.stream
    assert stream_ is not None
    chip = load_target("isaac")
    makers = {name: number for number, k in enumerate(network.kernels) for name in outputs_of(k)}
    tried = 0
    for number, before in enumerate(stream_.after):
        needed = {makers[name] for name in inputs_of(network.kernels[number]) if name in makers}
        for other in sorted(set(before) - needed):
            spoilt = waits(number, *(k for k in before if k != other))(made.schedule)
            lowered = Lowered(network=network, constants=made.constants)
            built = pipeline.make_program(lowered, Planned(schedule=spoilt, blocks=made.blocks), chip)
            errors = verify_program(binary.encode(built.program)).errors
            assert any("no token orders the two" in error.message for error in errors), (number, other)
            tried += 1
    assert tried

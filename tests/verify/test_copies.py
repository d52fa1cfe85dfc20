"""Spoilt copies of layers: shares of pixels, places and cells that are not what they say, each found and named."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitline import api, package
from bitline.core.canonical import to_json
from bitline.ir.program import Instruction, Loop, Queue, WriteWeights
from bitline.ir.residency import BlockResidency
from bitline.ir.schedule import Job, KernelSchedule, Pixels, Schedule
from bitline.isa import binary
from bitline.pipeline.contents import Contents, Placement
from bitline.schedule.shares import pixels_between
from bitline.verify.program import verify_program
from bitline.verify.residency import Geometry, verify_residency
from bitline.verify.schedule import verify_schedule
from tests.codegen.test_copies import MANY, NETWORKS, SMALL, network
from tests.lower.engines import Artefacts, build

ODD = "odd pixels, more copies than rows"
"""Kernel 0: 35 pixels of 7 rows; it lies on several cores, several times on each."""


@cache
def made(budget: int = 120) -> Artefacts:
    return build(network(ODD), SMALL, MANY, stream=4, budget=budget)


def schedule_errors(schedule: Schedule) -> list[str]:
    memory = made().chip.memory
    sizes = {"shared": memory.shared_bytes.value, "dram": memory.dram_bytes.value, "tables": 0}
    return [f"{e.place}: {e.message}" for e in verify_schedule(made().network, schedule, sizes, 5)]


def with_jobs(change: Callable[[list[Job]], None]) -> Schedule:
    """Change the jobs of the first kernel."""
    schedule = made().planned.schedule
    jobs = list(schedule.kernels[0].jobs)
    change(jobs)
    first: KernelSchedule = replace(schedule.kernels[0], jobs=tuple(jobs))
    return replace(schedule, kernels=(first, *schedule.kernels[1:]))


def shared_out(number: int, *share: Pixels) -> Callable[[list[Job]], None]:
    def change(jobs: list[Job]) -> None:
        jobs[number] = replace(jobs[number], share=share)

    return change


def pixels(rows: tuple[int, int], cols: tuple[int, int]) -> Pixels:
    return Pixels(first_row=rows[0], last_row=rows[1], first_col=cols[0], last_col=cols[1])


def dropped(jobs: list[Job]) -> None:
    del jobs[1]


def twice(jobs: list[Job]) -> None:
    jobs.append(jobs[1])


def less(jobs: list[Job]) -> None:
    """The first share without its last pixel."""
    last = jobs[0].share[-1]
    jobs[0] = replace(jobs[0], share=(*jobs[0].share[:-1], replace(last, last_col=last.last_col - 1)))


def more(jobs: list[Job]) -> None:
    """The last share with a pixel that the first one computes."""
    jobs[-1] = replace(jobs[-1], share=(*jobs[-1].share, pixels((0, 1), (0, 1))))


def all_of_it(jobs: list[Job]) -> None:
    jobs[0] = replace(jobs[0], share=())


def copied(**fields: int) -> Callable[[list[Job]], None]:
    def change(jobs: list[Job]) -> None:
        jobs[0] = replace(jobs[0], **fields)

    return change


SPOILT: dict[str, tuple[Callable[[list[Job]], None], str]] = {
    "a share missing": (dropped, "pixels of columns 0..5 are computed never"),
    "a share twice": (twice, "pixels of columns 0..5 are computed more than once"),
    "a pixel never": (less, "1 pixels of columns 0..5 are computed never"),
    "a pixel twice": (more, "1 pixels of columns 0..5 are computed more than once, first row 0, column 0"),
    "all pixels": (all_of_it, "are computed more than once"),
    "below the picture": (shared_out(0, pixels((5, 8), (0, 5))), "computes rows 5..7, columns 0..4 of 7 x 5 pixels"),
    "above it": (shared_out(0, pixels((-1, 2), (0, 5))), "computes rows -1..1"),
    "right of it": (shared_out(0, pixels((0, 1), (0, 1 << 50))), "of 7 x 5 pixels"),
    "backwards": (shared_out(0, pixels((3, 2), (0, 5))), "computes rows 3..1"),
    "an empty part": (shared_out(0, pixels((0, 1), (0, 5)), pixels((2, 2), (0, 5))), "computes rows 2..1"),
    "more copies than pixels": (copied(turns=1 << 40), "copies side by side, no kernel has more than 35 pixels"),
    "copies in one place": (copied(turns=3, chunk=0), "3 turns of 0 blocks"),
    "several units": (copied(rounds=2), "to jobs of several units"),
}


def test_the_schedule_passes() -> None:
    assert schedule_errors(made().planned.schedule) == []
    assert len(made().planned.schedule.kernels[0].jobs) > 2


@pytest.mark.parametrize("name", SPOILT)
def test_a_spoilt_share_is_named(name: str) -> None:
    change, words = SPOILT[name]
    errors = schedule_errors(with_jobs(change))
    assert any(words in error for error in errors), errors


@given(data=st.data())
def test_shares_are_judged_as_by_painting(data: st.DataObject) -> None:
    """Any few rectangles against counting pixel by pixel."""
    span = st.tuples(st.integers(0, 7), st.integers(0, 7)).map(lambda ends: (min(ends), max(ends)))
    jobs = list(made().planned.schedule.kernels[0].jobs[:3])
    counts = np.zeros((7, 5), int)
    for i, job in enumerate(jobs):
        rows, cols = data.draw(span), data.draw(span.map(lambda s: (min(s[0], 5), min(s[1], 5))))
        cut = pixels(rows if rows[1] > rows[0] else (0, 7), cols if cols[1] > cols[0] else (0, 5))
        jobs[i] = replace(job, share=(cut,))
        for row, col in product(range(cut.first_row, cut.last_row), range(cut.first_col, cut.last_col)):
            counts[row, col] += 1

    def change(found: list[Job]) -> None:
        found[:] = jobs

    errors = schedule_errors(with_jobs(change))
    assert any("computed never" in error for error in errors) == bool((counts == 0).any())
    assert any("more than once" in error for error in errors) == bool((counts > 1).any())


@given(st.integers(1, 9), st.integers(1, 9), st.data())
def test_stretches_of_pixels_are_rectangles_of_the_same_pixels(height: int, width: int, data: st.DataObject) -> None:
    first = data.draw(st.integers(0, height * width))
    last = data.draw(st.integers(first, height * width))
    found = [
        row * width + col
        for part in pixels_between(first, last, width)
        for row, col in product(range(part.first_row, part.last_row), range(part.first_col, part.last_col))
    ]
    assert found == list(range(first, last))
    assert len(pixels_between(first, last, width)) <= 3


# -- where copies lie --------------------------------------------------------------------------------------------------


def residency_errors(blocks: Sequence[BlockResidency], cells: bytes = b"") -> list[str]:
    at = made()
    geometry = Geometry(cores=5, arrays_per_core=24, array_rows=32, array_cols=8)
    stored = cells or at.built.constants["weights"]
    return [e.message for e in verify_residency(at.network, at.lowered.constants, blocks, stored, geometry)]


def renumbered(blocks: Sequence[BlockResidency]) -> list[BlockResidency]:
    return [replace(item, index=i) for i, item in enumerate(blocks)]


def test_a_copy_that_lacks_a_block_is_named() -> None:
    blocks = made().planned.blocks
    of = [b for b in blocks if b.block.matrix == blocks[0].block.matrix]
    assert len({b.block.copy for b in of}) > 7
    assert residency_errors(blocks) == []
    some = next(i for i, b in enumerate(blocks) if b.block == replace(of[0].block, copy=5))
    errors = residency_errors(renumbered([*blocks[:some], *blocks[some + 1 :]]))
    assert any("expected them numbered from 0" in e or "of copy 5" in e for e in errors), errors


def test_two_copies_in_one_place_are_named() -> None:
    blocks = list(made().planned.blocks)
    blocks[1] = replace(blocks[1], region=blocks[0].region)
    assert any("overlaps" in e for e in residency_errors(blocks))


def test_wrong_cells_of_one_copy_are_named() -> None:
    """A copy that takes the cells of another block, and cells that only look like those of a copy."""
    blocks = list(made().planned.blocks)
    other = next(b for b in blocks if b.block.matrix != blocks[0].block.matrix)
    spoilt = [blocks[0], replace(blocks[1], cells_at=other.cells_at), *blocks[2:]]
    errors = residency_errors(spoilt)
    assert any("wrong cells" in e for e in errors), errors
    assert any("which block" in e for e in errors), "cells of two different blocks"


# -- the program -------------------------------------------------------------------------------------------------------


def test_a_copy_that_nobody_writes_is_found() -> None:
    """The loop over copies one pass short: the last copy of some job is fired without weights."""
    program = made().built.program
    assert verify_program(binary.encode(program)).errors == ()
    spoilt = replace(program, setup=tuple(_one_copy_less(queue) for queue in program.setup))
    assert spoilt != program
    errors = verify_program(binary.encode(spoilt)).errors
    assert any("written" in error.message for error in errors), errors


def _one_copy_less(queue: Queue) -> Queue:
    code: list[Instruction] = list(queue.code)
    for place, (one, following) in enumerate(zip(queue.code, queue.code[1:], strict=False)):
        if isinstance(one, Loop) and isinstance(following, WriteWeights):
            code[place] = replace(one, count=one.count - 1)
            break
    return replace(queue, code=tuple(code))


# -- the package -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package with copies."""
    assert ODD in NETWORKS
    folder = tmp_path_factory.mktemp("copies") / "package"
    api.compile(network(ODD), target=SMALL, overrides=MANY, stream=4, array_budget=120, output=folder)
    return folder


def test_a_package_with_copies_verifies(packed: Path) -> None:
    made = api.open_package(packed)
    assert made.verify().ok
    figures = json.loads((packed / "summary.json").read_text())
    assert figures["arrays_used"] <= 120
    assert [layer["copies"] > 1 for layer in figures["layers"]] == [True, True]
    assert made.figures() == figures
    assert "share" in json.dumps(json.loads((packed / "schedule.json").read_text()))


def test_a_package_that_lists_a_copy_less_is_rejected(packed: Path) -> None:
    """The last copy of a matrix, gone from placement.json alone: every other copy is whole."""
    manifest, files = package.read_package(packed)
    blocks = Contents(manifest, files).blocks
    last = blocks[-1].block
    kept = [b for b in blocks if (b.block.matrix, b.block.copy) != (last.matrix, last.copy)]
    assert len(kept) < len(blocks)
    assert last.copy > 0
    for listed, fine in ((blocks, True), (kept, False)):
        changed = {**files, "placement.json": to_json(Placement(blocks=tuple(listed))).encode()}
        checked = api.Package(Contents(replace(manifest, files=package.hashes(changed)), changed)).verify()
        assert checked.ok == fine

"""Loops over units of work: written out again they are the units, in order; spreads and runs are the elements."""

from __future__ import annotations

from itertools import product

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bitline.codegen.units import Nested, Span, Work, fold, over_cores, runs_of, spread_of, unit_loops
from bitline.ir.loops import Access, Affine, Do, For, On, Set, Statement
from bitline.schedule.tiling import column_jobs

Ints = np.ndarray[tuple[int, ...], np.dtype[np.int64]]


def work(label: int, starts: list[int], size: int) -> Work:
    return Work(label=(label,), spans=tuple(Span(start=8 * start, runs=((0, size),)) for start in starts))


works = st.builds(
    work,
    label=st.integers(0, 1),
    starts=st.lists(st.integers(0, 3), min_size=2, max_size=2),
    size=st.sampled_from([4, 4, 4, 8]),
)


@st.composite
def regular(draw: st.DrawFn) -> list[Work]:
    """Units in two nested progressions, as maps give them, with a few that do not fit."""
    outer, inner = draw(st.integers(1, 4)), draw(st.integers(1, 5))
    steps = [draw(st.tuples(st.integers(-9, 9), st.integers(-9, 9))) for _ in range(2)]
    found = [
        Work(label=(), spans=tuple(Span(start=100 + i * o + j * n, runs=((0, 2),)) for o, n in steps))
        for i in range(outer)
        for j in range(inner)
    ]
    for _ in range(draw(st.integers(0, 2))):
        found.insert(draw(st.integers(0, len(found))), Work(label=(), spans=(Span(start=7, runs=((0, 2),)),) * 2))
    return found


def written_out(items: list[Nested], core: int = 0) -> list[tuple[int, tuple[object, ...], tuple[int, ...]]]:
    """(number, shape, starts) of every unit of nested loops, in the order in which they run."""
    found: list[tuple[int, tuple[object, ...], tuple[int, ...]]] = []
    for item in items:
        for counters in product(*(range(passes) for passes, _ in item.loops)):
            moved = [
                start
                + core * item.cores[s]
                + sum(c * steps[s] for c, (_, steps) in zip(counters, item.loops, strict=True))
                for s, start in enumerate(item.starts)
            ]
            number = item.first + sum(c * dict(item.sequence).get(f"u{level}", 0) for level, c in enumerate(counters))
            found.append((number, item.work.shape, tuple(moved)))
    return found


def plain(units: list[Work]) -> list[tuple[int, tuple[object, ...], tuple[int, ...]]]:
    return [(i, unit.shape, tuple(span.start for span in unit.spans)) for i, unit in enumerate(units)]


@given(units=st.lists(works, min_size=1, max_size=14) | regular(), loops=st.integers(0, 4))
def test_loops_written_out_are_the_units_in_order(units: list[Work], loops: int) -> None:
    folded = fold(units, loops)
    assert written_out(folded) == plain(units)
    assert sum(item.count for item in folded) == len(units)
    assert all(len(item.loops) <= loops for item in folded)


@given(outer=st.integers(2, 5), inner=st.integers(2, 5), steps=st.tuples(*[st.integers(1, 50)] * 2))
def test_two_progressions_become_one_nest(outer: int, inner: int, steps: tuple[int, int]) -> None:
    far = steps[0] + inner * steps[1]
    units = [
        Work(label=(), spans=(Span(start=i * far + j * steps[1], runs=((0, 1),)),))
        for i in range(outer)
        for j in range(inner)
    ]
    (item,) = fold(units)
    assert item.count == outer * inner
    assert written_out([item]) == plain(units)


@given(units=regular(), cores=st.integers(1, 4), step=st.integers(-5, 5), odd=st.booleans())
def test_cores_share_code_where_a_step_tells_them_apart(units: list[Work], cores: int, step: int, odd: bool) -> None:
    def moved(core: int, by: int) -> list[Work]:
        return [
            Work(label=u.label, spans=tuple(Span(start=s.start + core * by, runs=s.runs) for s in u.spans))
            for u in units
        ]

    lists = [moved(core, step) for core in range(cores)]
    if odd and cores > 2:
        lists[-1] = moved(cores, step + 1)
    joined = over_cores([fold(each) for each in lists])
    if joined is None:
        assert odd
        return
    for core, each in enumerate(lists):
        assert written_out(joined, core) == plain(each)


@given(st.lists(st.lists(works, min_size=1, max_size=4), min_size=1, max_size=3))
def test_cores_with_other_work_never_share(lists: list[list[Work]]) -> None:
    """Whatever the lists: other lengths, other labels, other numbers of operands."""
    lists[-1] = [*lists[-1], Work(label=(9,), spans=(Span(start=0, runs=((0, 1),)),))]
    joined = over_cores([fold(each) for each in lists])
    assert joined is None or len({len(each) for each in lists}) == 1
    if joined is not None:
        for core, each in enumerate(lists):
            assert written_out(joined, core) == plain(each)


def touched(statements: list[Statement] | tuple[Statement, ...], core: int, counters: dict[str, int]) -> list[int]:
    """Addresses of all `Set` that a core executes, in order."""
    found: list[int] = []
    for statement in statements:
        match statement:
            case On():
                found += touched(statement.body, core, counters) if statement.first <= core < statement.last else []
            case For():
                for turn in range(statement.count):
                    found += touched(statement.body, core, counters | {statement.var: turn})
            case Do(action=Set(dst=dst)):
                found.append(dst.at.base + sum(counters[var] * stride for var, stride in dst.at.terms))
            case _:
                raise AssertionError(statement)
    return found


@given(
    places=st.lists(st.integers(0, 6), min_size=1, max_size=40),
    even=st.booleans(),
    width=st.integers(1, 5),
    cores=st.integers(1, 4),
)
def test_units_of_a_job_are_dealt_out_to_its_cores(places: list[int], even: bool, width: int, cores: int) -> None:
    """Unit u on core u mod cores, round after round: every element once, in order."""
    table = np.arange(len(places)) * 8 if even else np.array(places) * 100
    expected: list[list[int]] = [[] for _ in range(cores)]
    got: list[list[int]] = [[] for _ in range(cores)]
    for job in column_jobs(len(places), width, cores):
        parts: list[list[Work]] = []
        for unit in range(job.units):
            first = job.strips[0].col + unit * job.unit_cols
            parts.append([
                Work(label=(), spans=(Span(start=int(v), runs=((0, 1),)),)) for v in table[first : first + job.cols]
            ])  # fmt: skip
            expected[job.first_core + unit % job.cores] += [int(v) for v in table[first : first + job.cols]]

        def body(item: Nested, first_core: int = job.first_core) -> list[Statement]:
            at = Affine(base=item.starts[0] - item.cores[0] * first_core, terms=item.terms(0))
            access = Access(space="dram", at=at, runs=((0, 1),))
            return [Do(unit="dma_out", action=Set(dst=access, value=0))]

        statements = unit_loops(job, lambda unit, parts=parts: parts[unit], body)
        for core in range(cores):
            got[core] += touched(statements, core, {"core": core})
    assert got == expected


# -- elements ----------------------------------------------------------------------------------------------------------


def bytes_of(span: Span) -> list[int]:
    return [span.start + offset + i for offset, length in span.runs for i in range(length)]


@given(
    elements=st.lists(st.integers(0, 30), min_size=1, max_size=30),
    width=st.sampled_from([1, 2, 4]),
    origin=st.integers(0, 64),
)
def test_runs_are_the_bytes_of_the_elements_in_order(elements: list[int], width: int, origin: int) -> None:
    span = runs_of(np.array(elements), width, origin)
    assert bytes_of(span) == [origin + width * e + i for e in elements for i in range(width)]
    assert span.bytes == width * len(elements)
    ends = [offset + length for offset, length in span.runs[:-1]]
    assert all(end != start for end, (start, _) in zip(ends, span.runs[1:], strict=True)), "neighbours are one run"


@given(
    few=st.lists(st.integers(0, 9), min_size=1, max_size=8),
    times=st.integers(1, 4),
    again=st.integers(1, 4),
)
def test_what_is_spread_is_what_was_there(few: list[int], times: int, again: int) -> None:
    elements = np.tile(np.repeat(np.array(few), times), again)
    found, kept = spread_of(elements)
    long = np.repeat(kept, found)
    assert elements.size % long.size == 0
    assert np.array_equal(np.tile(long, elements.size // long.size), elements)


@given(first=st.integers(0, 9), count=st.integers(2, 9), times=st.integers(1, 4), again=st.integers(1, 4))
def test_a_broadcast_operand_is_kept_once(first: int, count: int, times: int, again: int) -> None:
    elements = np.tile(np.repeat(np.arange(first, first + count), times), again)
    found, kept = spread_of(elements)
    assert (found, kept.tolist()) == (times, list(range(first, first + count)))


@given(values=st.lists(st.integers(0, 3), min_size=1, max_size=24))
def test_any_elements_come_back(values: list[int]) -> None:
    times, few = spread_of(np.array(values))
    long = np.repeat(few, times)
    assert np.array_equal(np.tile(long, len(values) // long.size), values)

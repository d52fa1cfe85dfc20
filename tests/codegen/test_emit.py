"""From nests to queues: a nest interpreted as it is written does what the emitted queues do, address by address."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from bitline.codegen.emit import Group, Tables, emit_queues, join_runs
from bitline.ir.loops import Access, Affine, Copy, Do, For, On, Statement
from bitline.ir.program import Cores, Dma, End, Loop, Operand, Queue, Runs, Space, executions

CORES = 3
SPACES = (
    Space(name="dram", bytes=1 << 20, per_core=False, constant=False),
    Space(name="input", bytes=1 << 10, per_core=True, constant=False),
)
Touched = tuple[str, tuple[int, ...]]


@given(runs=st.lists(st.tuples(st.integers(0, 20), st.integers(0, 5)), max_size=6).map(tuple))
def test_joined_runs_name_the_same_bytes(runs: Runs) -> None:
    joined = join_runs(runs)
    assert [o + i for o, n in joined for i in range(n)] == [o + i for o, n in runs for i in range(n)]
    assert all(sum(one) != other[0] for one, other in pairwise(joined))


def accesses(variables: tuple[str, ...]) -> st.SearchStrategy[Access]:
    terms = st.lists(st.tuples(st.sampled_from(("core", *variables)), st.integers(-3, 9)), max_size=4).map(tuple)
    affine = st.builds(
        Affine, base=st.integers(0, 50), terms=terms, phase=st.integers(0, 9), modulus=st.sampled_from([0, 7, 64])
    )
    return st.builds(
        Access, space=st.sampled_from(["dram", "input"]), at=affine, runs=st.just(((0, 2), (2, 1), (5, 1)))
    )


@st.composite
def nests(draw: st.DrawFn, variables: tuple[str, ...] = ()) -> tuple[Statement, ...]:
    """Loops, core regions and copies of both DMA units; inner variables have names of their own."""
    found: list[Statement] = []
    for _ in range(draw(st.integers(1, 3))):
        kind = draw(st.sampled_from(["for", "on", "do", "do"])) if len(variables) < 3 else "do"
        match kind:
            case "for":
                var = f"v{len(variables)}"
                body = draw(nests((*variables, var)))
                found.append(For(var=var, count=draw(st.integers(0, 3)), body=body))
            case "on":
                first = draw(st.integers(0, CORES - 1))
                last = draw(st.integers(first + 1, CORES))
                found.append(On(first=first, last=last, body=draw(nests(variables))))
            case _:
                copy = Copy(src=draw(accesses(variables)), dst=draw(accesses(variables)))
                found.append(Do(unit=draw(st.sampled_from(["dma_in", "dma_out"])), action=copy))
    return tuple(found)


def as_written(nest: tuple[Statement, ...], unit: str, values: dict[str, int]) -> Iterator[tuple[Touched, Touched]]:
    """(source, target) of every copy that `unit` makes on core values["core"]."""
    for statement in nest:
        match statement:
            case For():
                for count in range(statement.count):
                    yield from as_written(statement.body, unit, values | {statement.var: count})
            case On():
                if statement.first <= values["core"] < statement.last:
                    yield from as_written(statement.body, unit, values)
            case Do():
                if statement.unit == unit and isinstance(statement.action, Copy):
                    yield touched(statement.action.src, values), touched(statement.action.dst, values)


def touched(access: Access, values: dict[str, int]) -> Touched:
    at = access.at
    start = at.phase + sum(stride * values[var] for var, stride in at.terms)
    places = [start + o + i for o, n in access.runs for i in range(n)]
    return access.space, tuple(at.base + (p % at.modulus if at.modulus else p) for p in places)


def as_emitted(queue: Queue, tables: Tables, core: int) -> Iterator[tuple[Touched, Touched]]:
    """The same of a queue."""
    runs = {number: run for run, number in tables.runs.items()}

    def operand(one: Operand, counters: list[int]) -> Touched:
        address = one.address
        start = address.phase + sum(s * c for s, c in zip(address.strides, counters, strict=False))
        places = [start + o + i for o, n in runs[one.runs] for i in range(n)]
        where = tuple(address.base + (p % address.modulus if address.modulus else p) for p in places)
        return SPACES[one.space].name, where

    def block(place: int, counters: list[int], skip: bool) -> Iterator[tuple[Touched, Touched] | int]:
        while place < len(queue.code):
            instruction = queue.code[place]
            match instruction:
                case End():
                    yield place
                    return
                case Loop() | Cores():
                    inside = isinstance(instruction, Loop) or instruction.first <= core < instruction.last
                    passes = instruction.count if isinstance(instruction, Loop) else 1
                    end = place
                    for count in range(passes):
                        deeper = [*counters, count] if isinstance(instruction, Loop) else counters
                        for found in block(place + 1, deeper, skip or not inside):
                            if isinstance(found, int):
                                end = found
                            else:
                                yield found
                    place = end
                case Dma():
                    if not skip:
                        yield operand(instruction.src, counters), operand(instruction.dst, counters)
                case _:
                    raise AssertionError(instruction)
            place += 1

    for found in block(0, [core], False):
        if not isinstance(found, int):
            yield found


@given(before=nests(), nest=nests(("turn",)), count=st.integers(2, 3))
def test_a_group_is_repeated_by_one_loop_around_its_nests(
    before: tuple[Statement, ...], nest: tuple[Statement, ...], count: int
) -> None:
    """Kernels 1 and 2 one after another in every pass, kernel 0 once before."""
    tables = Tables(cores=CORES, spaces=SPACES, tokens=(), channels=())
    groups = [Group(nests=((0, before),)), Group(nests=((1, nest), (2, nest)), var="turn", count=count)]
    repeated = For(var="turn", count=count, body=(*nest, *nest))
    for queue in emit_queues(groups, tables):
        assert set(queue.kernels) <= {0, 1, 2}
        for core in range(CORES):
            wanted = list(as_written((*before, repeated), queue.unit, {"core": core}))
            assert list(as_emitted(queue, tables, core)) == wanted


@given(nest=nests())
def test_queues_do_what_the_nest_says(nest: tuple[Statement, ...]) -> None:
    tables = Tables(cores=CORES, spaces=SPACES, tokens=(), channels=())
    for queue in emit_queues([Group(nests=((5, nest),))], tables):
        assert set(queue.kernels) <= {5}
        assert all(i.count > 1 for i in queue.code if isinstance(i, Loop))
        total = 0
        for core in range(CORES):
            wanted = list(as_written(nest, queue.unit, {"core": core}))
            assert list(as_emitted(queue, tables, core)) == wanted
            total += len(wanted)
        assert sum(times for _, times in executions(queue, CORES)) == total

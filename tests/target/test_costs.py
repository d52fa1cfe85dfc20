"""Costs are the roll-ups of their sources, and each formula counts what it says it counts."""

from __future__ import annotations

from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitline.ir.program import (
    Address,
    Call,
    Cores,
    Dma,
    End,
    Fill,
    HostCall,
    Instruction,
    Loop,
    MathOp,
    Mvm,
    Operand,
    Post,
    PostOp,
    Program,
    Recv,
    Runs,
    Send,
    Space,
    Take,
    Vector,
    Wait,
    WriteWeights,
)
from bitline.target.arrays import array_math
from bitline.target.costs import Cost, instruction_cost, issue_ps
from bitline.target.load import load_target
from bitline.target.schema import Chip

RERAM, SRAM = load_target("reram-tile"), load_target("sram-dcim")
SPACES = ("dram", "shared", "weights", "const", "tables", "input", "psum", "output")
ZERO = Address(base=0)
TABLE = PostOp(op="table", types=("u8",), y="u8")


def program(
    chip: Chip,
    runs: tuple[Runs, ...],
    post: PostOp = TABLE,
    call: Call | None = None,
    spaces: tuple[str, ...] = SPACES,
) -> Program:
    """A program of no instructions with the memories of the machine, one `MathOp` of the chip and one `PostOp`."""
    math = array_math(chip, rows=1, cols=1, groups=1, signed_input=False)
    return Program(
        cores=chip.cores.value,
        arrays_per_core=chip.array.per_core.value,
        array_rows=chip.array.rows.value,
        array_cols=chip.array.cols.value,
        spaces=tuple(
            Space(name=name, bytes=1 << 20, per_core=name in ("input", "psum", "output"), constant=False)
            for name in spaces
        ),
        tokens=(),
        channels=(),
        runs=runs,
        maths=(
            MathOp(
                group_rows=math.group_rows,
                slices=math.slices,
                cell_bits=math.cell_bits,
                weight_offset=math.weight_offset,
                input_bits=math.input_bits,
                input_offset=math.input_offset,
                adc_bits=math.adc_bits,
            ),
        ),
        posts=(post,),
        calls=(call,) if call else (),
        ports=(),
        setup=(),
        main=(),
    )


def at(space: str, runs: int = 0) -> Operand:
    return Operand(space=SPACES.index(space), address=ZERO, runs=runs)


def mvm(chip: Chip, rows: int, cols: int, overwrite: int = 0) -> Cost:
    made = program(chip, (((0, rows),), ((0, 4 * cols),)))
    instruction = Mvm(
        array=ZERO, row=0, col=0, cols=cols, src=at("input"), dst=at("psum", 1), overwrite=overwrite, math=0
    )
    return instruction_cost(chip, made, instruction)


def write(chip: Chip, rows: int, cols: int, spaces: tuple[str, ...] = SPACES) -> Cost:
    src = Operand(space=spaces.index("weights"), address=ZERO, runs=0)
    instruction = WriteWeights(array=ZERO, row=0, col=0, rows=rows, cols=cols, src=src)
    return instruction_cost(chip, program(chip, (((0, rows * cols),),), spaces=spaces), instruction)


def dma(chip: Chip, src: str, dst: str, *runs: Runs) -> Cost:
    return instruction_cost(chip, program(chip, runs), Dma(src=at(src), dst=at(dst, len(runs) - 1)))


def test_reram_mvm_takes_500_ns_and_3_8_nj() -> None:
    cost = mvm(RERAM, 64, 64)
    assert cost.duration_ps == 500_000
    assert cost.energy_fj == pytest.approx(3.8e6, rel=0.05)
    assert (cost.port_space, cost.port_ps) == (None, 0)


def test_reram_mvm_energy_is_mostly_conversions() -> None:
    """4 slices x 8 bits x 64 columns at 1.56 pJ: 84 % of the whole."""
    assert 64 * 4 * 8 * 1560 / mvm(RERAM, 64, 64).energy_fj == pytest.approx(0.84, abs=0.03)


def test_reram_array_write_takes_5_5_us_and_21_nj() -> None:
    cost = write(RERAM, 64, 64)
    fetch_fj = 64 * 64 * 90_600
    assert cost.duration_ps == pytest.approx(5.5e6, rel=0.02)
    assert cost.energy_fj - fetch_fj == pytest.approx(21e6, rel=0.02)
    assert (cost.port_space, cost.port_ps) == (SPACES.index("dram"), 640_000)


def test_reram_write_is_as_long_as_11_mvms() -> None:
    assert write(RERAM, 64, 64).duration_ps / mvm(RERAM, 64, 64).duration_ps == pytest.approx(11, rel=0.01)


def test_sram_mvm_takes_36_ns_and_its_gates() -> None:
    cost = mvm(SRAM, 256, 256)
    array_fj = 8 * (256 * 256 * 32.9 + 256 * 1.7 + 256 * 122.4)
    assert cost.duration_ps == 36_000
    assert cost.energy_fj == pytest.approx(array_fj + (256 + 4 * 256) * 6200)


def test_sram_array_write_waits_for_dram() -> None:
    """256 rows take 512 ns to write, 65 536 bytes 5120 ns to fetch."""
    cost = write(SRAM, 256, 256)
    assert cost.duration_ps == 20_000 + 5_120_000
    assert cost.port_ps == 5_120_000


def test_weights_are_their_own_port_where_there_is_no_dram() -> None:
    assert write(SRAM, 2, 2, spaces=("input", "weights")).port_space == 1


@pytest.mark.parametrize("rows", [1, 63, 64, 65, 128, 500])
def test_each_row_group_takes_a_pass(rows: int) -> None:
    assert mvm(RERAM, rows, 8).duration_ps == ceil(rows / 64) * 500_000


def test_adding_to_sums_reads_them_first() -> None:
    more = mvm(RERAM, 64, 64, overwrite=-1).energy_fj - mvm(RERAM, 64, 64).energy_fj
    assert more == pytest.approx(256 * 285, abs=1)
    assert mvm(RERAM, 64, 64, overwrite=2) == mvm(RERAM, 64, 64, overwrite=-1)


def test_dma_is_as_slow_as_its_slowest_part() -> None:
    run: Runs = ((0, 640),)
    assert dma(RERAM, "dram", "input", run).duration_ps == 29_000 + 100_000
    assert dma(RERAM, "shared", "input", run).duration_ps == 29_000 + 40_000
    assert dma(RERAM, "input", "output", run).duration_ps == 29_000 + 40_000
    assert dma(RERAM, "shared", "dram", run).duration_ps == 29_000 + 100_000


def test_dma_occupies_the_first_memory_outside_the_core() -> None:
    run: Runs = ((0, 640),)
    assert dma(RERAM, "dram", "shared", run).port_space == SPACES.index("dram")
    assert dma(RERAM, "output", "shared", run).port_space == SPACES.index("shared")
    assert dma(RERAM, "output", "shared", run).port_ps == 40_000
    assert dma(RERAM, "input", "output", run).port_space is None


def test_dma_energy_counts_both_memories() -> None:
    assert dma(RERAM, "dram", "input", ((0, 100),)).energy_fj == 100 * 90_600 + 100 * 285


def test_runs_that_follow_one_another_are_one() -> None:
    whole, adjacent, apart = ((0, 32),), ((0, 16), (16, 16)), ((0, 16), (20, 16))
    assert dma(RERAM, "shared", "input", adjacent, whole) == dma(RERAM, "shared", "input", whole, whole)
    broken = dma(RERAM, "shared", "input", apart, whole)
    assert broken.duration_ps == dma(RERAM, "shared", "input", whole, whole).duration_ps + 1000
    assert dma(RERAM, "shared", "input", whole, apart).duration_ps == broken.duration_ps
    assert broken.port_ps == 3000


def test_fill_has_no_set_up() -> None:
    made = program(RERAM, (((0, 160),),))
    local = instruction_cost(RERAM, made, Fill(dst=at("input"), value=0))
    assert (local.duration_ps, local.port_space, local.energy_fj) == (10_000, None, 160 * 285)
    assert instruction_cost(RERAM, made, Fill(dst=at("shared"), value=0)).port_space == SPACES.index("shared")


def vector(post: PostOp, sizes: tuple[int, ...], parameters: int = 0) -> Cost:
    """`sizes`: bytes of the result and of every operand."""
    made = program(RERAM, (*(((0, size),) for size in sizes), ((0, parameters),)), post)
    a, b, c = (*(at("input", i) for i in range(1, len(sizes))), None, None)[:3]
    assert a is not None
    constants = at("const", len(sizes)) if parameters else None
    instruction = Vector(post=0, dst=at("output"), a=a, b=b, c=c, parameters=constants)
    return instruction_cost(RERAM, made, instruction)


@pytest.mark.parametrize(
    ("post", "sizes", "elements"),
    [
        (PostOp(op="requantise", types=("s32",), y="s8"), (64, 256), 64),
        (PostOp(op="sum", types=("s8", "s8"), y="s8"), (64, 64, 64), 64),
        (PostOp(op="sum", types=("s16", "s8"), y="s16"), (128, 128, 8), 64),
        (PostOp(op="select", types=("u8", "s8", "s32"), y="s16"), (128, 64, 1, 256), 64),
        (PostOp(op="max", types=("s8",), y="s8"), (16, 9 * 16), 144),
        (PostOp(op="norm", types=("s16",), y="s8", inner=32), (32, 64), 32),
        (TABLE, (32, 32), 32),
    ],
    ids=["requantise", "sum", "spread", "select", "max", "norm", "table"],
)
def test_vector_counts_elements_whatever_their_width(post: PostOp, sizes: tuple[int, ...], elements: int) -> None:
    cost = vector(post, sizes)
    assert cost.duration_ps == 4000 + elements * 1000 / 16
    assert cost.energy_fj == pytest.approx(elements * 1707 + sum(sizes) * 285, abs=1)


def test_a_product_of_two_activations_counts_its_multiplications() -> None:
    post = PostOp(op="matmul", types=("s8", "s8"), y="s8", inner=40)
    cost = vector(post, (6 * 5, 6 * 40, 5 * 40))
    assert cost.duration_ps == 4000 + 6 * 5 * 40 * 1000 / 16
    assert cost.energy_fj == pytest.approx(6 * 5 * 40 * 1707 + (30 + 240 + 200) * 285, abs=1)


def test_vector_parameters_cost_energy_and_no_port() -> None:
    plain, with_table = vector(TABLE, (32, 32)), vector(TABLE, (32, 32), parameters=256)
    assert with_table.duration_ps == plain.duration_ps
    assert with_table.port_space is None
    assert with_table.energy_fj - plain.energy_fj == 256 * 285


def take(rows: int, row_bytes: int) -> Cost:
    made = program(RERAM, (((0, 4 * rows),), ((0, rows * row_bytes),)))
    table = SPACES.index("tables")
    instruction = Take(space=table, base=0, rows=99, row_bytes=row_bytes, src=at("shared"), dst=at("shared", 1))
    return instruction_cost(RERAM, made, instruction)


def test_taking_rows_is_a_dma_of_as_many_pieces_outside_the_chip() -> None:
    pieces: Runs = tuple((2 * 64 * i, 64) for i in range(8))
    copied = dma(RERAM, "tables", "shared", pieces, ((0, 8 * 64),))
    taken = take(8, 64)
    assert (taken.duration_ps, taken.port_ps, taken.port_space) == (copied.duration_ps, copied.port_ps, 0)
    numbers = round(RERAM.memory.shared_energy_pj_per_byte.value * 8 * 4 * 1000)
    assert taken.energy_fj == pytest.approx(copied.energy_fj + numbers, abs=1)
    assert take(8, 1).duration_ps > take(1, 8).duration_ps, "rows apart cost more than one"


def host(macs: int, takes: int, gives: int) -> Cost:
    call = Call(name="topk", takes=(takes,), gives=(gives,), macs=macs)
    made = program(RERAM, (((0, takes),), ((0, gives),)), call=call)
    return instruction_cost(RERAM, made, HostCall(call=0, src=at("dram"), dst=at("dram", 1)))


def test_a_host_call_is_a_roofline() -> None:
    idle, moving, computing = host(0, 1, 1), host(0, 60_000, 40_000), host(10**7, 60_000, 40_000)
    assert idle.duration_ps == 10_000_200
    assert moving.duration_ps == 10_000_000 + 100_000 * 1000 // 10
    assert computing.duration_ps == 10_000_000 + 10**7 * 1000 // 16
    assert host(16 * 10_000, 60_000, 40_000).duration_ps == moving.duration_ps, "as long to compute as to move"
    assert computing.energy_fj - moving.energy_fj == 10**7 * 300_000
    assert moving.port_space == SPACES.index("dram")


def test_control_costs_its_issue_and_no_energy() -> None:
    made = program(RERAM, ())
    marks: tuple[Instruction, ...] = (
        Loop(count=2),
        Cores(first=0, last=1),
        End(),
        Wait(token=0),
        Post(token=0),
        Send(peer=ZERO, channel=0),
    )
    idle = Cost(duration_ps=issue_ps(RERAM), port_space=None, port_ps=0, energy_fj=0)
    assert {instruction_cost(RERAM, made, mark) for mark in marks} == {idle}
    assert instruction_cost(RERAM, made, Recv(peer=ZERO, channel=0)).duration_ps == 29_000


def test_an_unknown_memory_is_our_bug() -> None:
    made = program(RERAM, (((0, 1),),), spaces=("scratch",))
    with pytest.raises(AssertionError, match="scratch"):
        instruction_cost(RERAM, made, Fill(dst=Operand(space=0, address=ZERO, runs=0), value=0))


@given(
    chip=st.sampled_from((RERAM, SRAM)),
    src=st.sampled_from(SPACES),
    dst=st.sampled_from(SPACES),
    lengths=st.lists(st.integers(1, 5000), min_size=1, max_size=8),
    gap=st.integers(0, 3),
)
def test_no_port_is_busy_longer_than_its_transaction(
    chip: Chip, src: str, dst: str, lengths: list[int], gap: int
) -> None:
    """And a transaction in two halves never costs less than the whole, in time or energy."""
    runs = tuple((sum(lengths[:i]) + gap * i, length) for i, length in enumerate(lengths))
    cost = dma(chip, src, dst, runs)
    assert 0 <= cost.port_ps <= cost.duration_ps
    assert (cost.port_space is None) == (cost.port_ps == 0)
    if len(runs) > 1:
        halves = dma(chip, src, dst, runs[:1]), dma(chip, src, dst, runs[1:])
        assert sum(half.duration_ps for half in halves) >= cost.duration_ps - 1
        assert sum(half.energy_fj for half in halves) == pytest.approx(cost.energy_fj, abs=2)

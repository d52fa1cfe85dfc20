"""Programs drawn by hypothesis: every instruction with any field, sensible or not."""

from __future__ import annotations

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
    ProgramPort,
    Queue,
    Recv,
    Send,
    Space,
    Take,
    Token,
    Vector,
    Wait,
    WriteWeights,
)

SPACES = ("dram", "weights", "input", "psum")
numbers = st.integers(-(2**40), 2**40) | st.integers(-70, 70)
counts = st.integers(0, 2**31)
addresses = st.builds(
    Address,
    base=numbers,
    strides=st.lists(numbers, max_size=5).map(tuple),
    phase=numbers,
    modulus=st.integers(0, 2**31),
)
operands = st.builds(Operand, space=st.integers(0, len(SPACES) - 1), address=addresses, runs=st.integers(0, 1))
optional = st.none() | operands
moving: st.SearchStrategy[Instruction] = st.one_of(
    st.builds(Wait, token=counts),
    st.builds(Post, token=counts),
    st.builds(Send, peer=addresses, channel=counts),
    st.builds(Recv, peer=addresses, channel=counts),
    st.builds(Dma, src=operands, dst=operands),
    st.builds(Fill, dst=operands, value=counts),
    st.builds(WriteWeights, array=addresses, row=counts, col=counts, rows=counts, cols=counts, src=operands),
    st.builds(
        Mvm,
        array=addresses,
        row=counts,
        col=counts,
        cols=counts,
        src=operands,
        dst=operands,
        overwrite=st.integers(-1, 255),
        math=counts,
    ),
    st.builds(Vector, post=counts, dst=operands, a=operands, b=optional, c=optional, parameters=optional),
    st.builds(Take, space=counts, base=counts, rows=counts, row_bytes=counts, src=operands, dst=operands),
    st.builds(HostCall, call=counts, src=operands, dst=operands),
)
openings: st.SearchStrategy[Instruction] = st.builds(Loop, count=counts) | st.builds(Cores, first=counts, last=counts)


@st.composite
def codes(draw: st.DrawFn, depth: int = 0) -> tuple[Instruction, ...]:
    """Balanced code."""
    found: list[Instruction] = []
    for _ in range(draw(st.integers(0, 4))):
        if depth < 3 and draw(st.booleans()):
            found += [draw(openings), *draw(codes(depth + 1)), End()]
        else:
            found.append(draw(moving))
    return tuple(found)


@st.composite
def queues(draw: st.DrawFn) -> tuple[Queue, ...]:
    """One queue per chosen unit."""
    units = draw(
        st.lists(st.sampled_from(["dma_in", "write", "mvm", "vector", "dma_out", "host"]), unique=True, max_size=3)
    )
    found: list[Queue] = []
    for unit in units:
        code = draw(codes())
        kernels = draw(st.lists(st.integers(-1, 300), min_size=len(code), max_size=len(code)))
        found.append(Queue(unit=unit, code=code, kernels=tuple(kernels)))  # pyright: ignore[reportArgumentType]
    return tuple(found)


programs = st.builds(
    Program,
    cores=st.integers(1, 64),
    arrays_per_core=st.integers(1, 64),
    array_rows=st.integers(1, 512),
    array_cols=st.integers(1, 512),
    spaces=st.just(tuple(Space(name=n, bytes=64, per_core=i > 1, constant=i == 1) for i, n in enumerate(SPACES))),
    tokens=st.just((Token(name="full", poster="dma_in", waiter="mvm"),)),
    channels=st.just(("barrier",)),
    runs=st.just((((0, 4),), ((0, 1), (8, 2)))),
    maths=st.just(
        (MathOp(group_rows=8, slices=4, cell_bits=2, weight_offset=128, input_bits=8, input_offset=0, adc_bits=8),)
    ),
    posts=st.just((PostOp(op="max", types=("u8",), y="u8", high=255),)),
    calls=st.just((Call(name="topk", takes=(4, 8), gives=(2,), macs=0),)),
    ports=st.just((ProgramPort(name="x", direction="input", tensor="x_q", space=0, address=0, bytes=16),)),
    setup=queues(),
    main=queues(),
)

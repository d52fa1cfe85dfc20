"""Networks, placements and traces made by hand: nothing here was compiled, every number is chosen."""

from __future__ import annotations

from bitline.ir.index_map import IndexMap, identity
from bitline.ir.kernels import (
    ArrayMath,
    Elementwise,
    Kernel,
    MatMul,
    Matrix,
    Network,
    Pool,
    Read,
    Requantise,
    Scale,
    Tensor,
)
from bitline.ir.program import UNITS
from bitline.ir.residency import ArrayRegion, Block, BlockResidency
from bitline.ir.trace import KernelCost, Span, Trace
from bitline.report.facts import Facts
from bitline.target.load import load_target
from bitline.target.schema import Chip

HOSTILE = "<script>alert(1)</script>"
PS = 1_000_000

MATH = ArrayMath(
    group_rows=64, bundle=1, weight_bits=8, cell_bits=2, weight_offset=128, input_bits=8, input_offset=0, adc_bits=8
)


def chip(cores: int = 2, arrays: int = 2, rows: int = 64, cols: int = 64) -> Chip:
    options = {"cores": cores, "array.per_core": arrays, "array.rows": rows, "array.cols": cols}
    return load_target("reram-tile", [f"{key}={value}" for key, value in options.items()])


def matmul(name: str, node: str, x: str, y: str, matrix: Matrix, pixels: int) -> MatMul:
    read = identity((pixels, 1, matrix.groups * matrix.rows))
    write = identity((pixels, 1, matrix.groups * matrix.cols))
    post = Requantise(parameters=f"{name}.post", zero_point=0, low=0, high=255)
    nodes = (node, f"{node}/Relu") if node else ()
    return MatMul(name=name, nodes=nodes, x=x, y=y, matrix=matrix, read=read, write=write, post=post, math=MATH)


def tensor(name: str) -> Tensor:
    return Tensor(name=name, shape=(4, 1, 8), dtype="u8", scale=0.5, zero_point=0, onnx=name, view=identity((4, 1, 8)))


def network(first_node: str = "/conv1/Conv") -> Network:
    """conv1 (resident, 10 pixels of 32 x 16), conv2 (streamed, 5 pixels of 128 x 64), an Add and a mean."""
    whole: IndexMap = identity((1, 1, 1, 8))
    kernels: tuple[Kernel, ...] = (
        matmul("conv1", first_node, "x", "a", Matrix(name="w1", groups=1, rows=32, cols=16), 10),
        matmul("conv2", "/conv2/Conv", "a", "b", Matrix(name="w2", groups=1, rows=128, cols=64), 5),
        Elementwise(
            name="add",
            nodes=("/Add",),
            op="sum",
            reads=tuple(Read(x=x, map=identity((4, 1, 8)), mantissa=1) for x in "ab"),
            y="c",
            write=identity((4, 1, 8)),
            low=0,
            high=255,
            shift=1,
        ),
        Pool(
            name="mean",
            nodes=("/GlobalAveragePool",),
            op="mean",
            x="c",
            y="d",
            read=whole,
            write=identity((1, 1, 8)),
            scales=(Scale(mantissa=1, shift=0),),
            divide_by_valid=False,
            low=0,
            high=255,
        ),
    )
    return Network(name="synthetic", tensors=tuple(tensor(t) for t in "xabcd"), kernels=kernels, ports=())


def residency(
    matrix: str,
    *,
    place: tuple[int, int, int, int],
    offset: tuple[int, int],
    size: tuple[int, int],
    index: int,
    steps: tuple[int, int],
    turn: int = 0,
    loads: int = 0,
) -> BlockResidency:
    """`place` is (core, array, row, column)."""
    core, array, row, col = place
    return BlockResidency(
        block=Block(matrix=matrix, copy=0, row_offset=offset[0], col_offset=offset[1], rows=size[0], cols=size[1]),
        region=ArrayRegion(core=core, array=array, w_row_start=row, w_col_start=col),
        index=index,
        from_step=steps[0],
        to_step=steps[1],
        round=turn,
        loads=loads,
        cells_at=4096 * index,
    )


def blocks() -> tuple[BlockResidency, ...]:
    """w1 stays in core 0 array 0; w2 passes in two rounds through array 1 of core 0."""
    return (
        residency("w1", place=(0, 0, 8, 4), offset=(0, 0), size=(32, 16), index=0, steps=(0, 3)),
        residency("w2", place=(0, 1, 0, 0), offset=(0, 0), size=(64, 64), index=1, steps=(1, 1), loads=1),
        residency("w2", place=(0, 1, 0, 0), offset=(64, 0), size=(64, 64), index=2, steps=(1, 1), turn=1, loads=1),
    )


def span(kernel: int, unit: str, start: int, end: int, busy: int, core: int = 0, instructions: int = 3) -> Span:
    return Span(
        kernel=kernel, core=core, unit=unit, start_ps=start, end_ps=end, busy_ps=busy, instructions=instructions
    )


def cost(kernel: int, energy: dict[str, int], *, mvms: int = 0, writes: int = 0, dma_bytes: int = 0) -> KernelCost:
    return KernelCost(
        kernel=kernel,
        mvms=mvms,
        weight_writes=writes,
        dma_transactions=1,
        dma_bytes=dma_bytes,
        instructions=3,
        energy_fj=sum(energy.values()),
        energy_by_unit_fj=energy,
    )


def trace() -> Trace:
    """10 us, 100 nJ of which 8 nJ at rest. conv1 is bound by mvm, conv2 by writing, the Add waits."""
    return Trace(
        latency_ps=10 * PS,
        interval_ps=10 * PS,
        setup_ps=PS,
        energy_fj=100 * PS,
        setup_energy_fj=7,
        instructions=99,
        spans=(
            span(0, "dma_in", 0, PS // 2, PS // 2),
            span(0, "mvm", PS // 4, 2 * PS, 1_400_000),
            span(1, "write", 2 * PS, 6 * PS, 3_600_000),
            span(1, "mvm", 3 * PS, 6 * PS, 9 * PS // 2, core=1),
            span(2, "vector", 6 * PS, 9 * PS, 600_000),
            span(-1, "dma_out", 9 * PS, 10 * PS, PS),
        ),
        costs=(
            cost(0, {"mvm": 10 * PS, "dma_in": 2 * PS}, mvms=10, dma_bytes=320),
            cost(1, {"mvm": 20 * PS, "write": 50 * PS}, mvms=10, writes=2, dma_bytes=8192),
            cost(2, {"vector": 10 * PS}),
            cost(3, {}),
            cost(-1, {}),
        ),
    )


def facts(values: int = 5, title: str = "ResNet-8 on reram-tile") -> Facts:
    summary = tuple((f"value {i}", f"{i} us", f"explanation of {i}") for i in range(values))
    return Facts(title=title, model="resnet8.onnx", target="reram-tile", version="0.1.0", summary=summary)


def large(
    layers: int = 100, cores: int = 16, arrays: int = 4, blocks_in_all: int = 5000
) -> tuple[Network, tuple[BlockResidency, ...], Trace, Chip]:
    """Many layers, arrays and blocks; the first third of the blocks stays, the others pass through in rounds."""
    per_layer = blocks_in_all // layers
    kernels = tuple(
        matmul(
            f"k{i}",
            f"/backbone/stage{i // 10}/block{i % 10}/conv/Conv",
            "x" if i == 0 else f"t{i - 1}",
            f"t{i}",
            Matrix(name=f"w{i}", groups=1, rows=16 * per_layer, cols=16),
            7 + i,
        )
        for i in range(layers)
    )
    placed: list[BlockResidency] = []
    for i in range(layers):
        stays = i < layers // 3
        for j in range(per_layer):
            n = i * per_layer + j
            where = n if stays else j % 32
            slot = where // (cores * arrays)
            array = where % (cores * arrays)
            place = (array // arrays, array % arrays, 16 * (slot % 8), 16 * (slot // 8) + (0 if stays else 64))
            placed.append(
                residency(
                    f"w{i}",
                    place=place,
                    offset=(16 * j, 0),
                    size=(16 if j % 3 else 13, 16 if j % 5 else 9),
                    index=n,
                    steps=(0, layers - 1) if stays else (i, i),
                    turn=0 if stays else j // 32,
                    loads=0 if stays else 1,
                )
            )
    spans = tuple(
        span(i, unit, (10 * i + u) * PS, (10 * i + 8 + u) * PS, (1 + (3 * i + 2 * u + c) % 8) * PS, core=c)
        for i in range(layers)
        for c in range(cores)
        for u, unit in enumerate(UNITS)
    )
    costs = tuple(
        cost(i, {"mvm": (1 + i % 7) * PS, "write": i % 5 * PS, "dma_in": PS}, mvms=per_layer * (7 + i), writes=i)
        for i in range(layers)
    )
    timed = Trace(
        latency_ps=(10 * layers + 4) * PS,
        interval_ps=(10 * layers + 4) * PS,
        setup_ps=0,
        energy_fj=sum(c.energy_fj for c in costs) + 40 * PS,
        setup_energy_fj=0,
        instructions=layers * 30,
        spans=spans,
        costs=costs,
    )
    tensors = (tensor("x"), *(tensor(f"t{i}") for i in range(layers)))
    net = Network(name="large", tensors=tensors, kernels=kernels, ports=())
    return net, tuple(placed), timed, chip(cores, arrays, 128, 128)

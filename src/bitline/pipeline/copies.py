"""A budget of arrays spent on copies of layers: how many of each, and where they lie."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from bitline.core.diagnostics import refuse
from bitline.ir.kernels import MatMul, Network
from bitline.place.cuts import ColumnStrip
from bitline.place.duplication import Copies, copies, lowest_latency, shortest_interval
from bitline.place.shares import Held, deal_evenly, deal_pipeline
from bitline.schedule.shares import SharePlan
from bitline.schedule.tiling import PIXELS_WANTED, StripPlan
from bitline.target.schema import Chip


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layer:
    """A matrix, the kernels that share its copies, its blocks, the pixels of all those kernels, and of the largest."""

    matrix: str
    kernels: tuple[int, ...]
    strips: tuple[ColumnStrip, ...]
    arrays: int
    fires: int
    most: int


def _layers(network: Network, strips: Mapping[int, tuple[ColumnStrip, ...]]) -> list[_Layer]:
    users: dict[tuple[str, int] | None, list[int]] = {}
    for number in sorted(strips):
        users.setdefault(network.weights_of(number), []).append(number)
    found: list[_Layer] = []
    for numbers in users.values():
        kernel = network.kernels[numbers[0]]
        assert isinstance(kernel, MatMul), kernel
        found.append(
            _Layer(
                matrix=kernel.matrix.name,
                kernels=tuple(numbers),
                strips=strips[numbers[0]],
                arrays=sum(len(strip.blocks) for strip in strips[numbers[0]]),
                fires=sum(_pixels(network, number) for number in numbers),
                most=max(_pixels(network, number) for number in numbers),
            )
        )
    return found


def _pixels(network: Network, number: int) -> int:
    kernel = network.kernels[number]
    assert isinstance(kernel, MatMul), kernel
    return kernel.pixels


def deal_budget(
    network: Network,
    strips: Mapping[int, tuple[ColumnStrip, ...]],
    chip: Chip,
    budget: int,
    *,
    stream: bool,
    apart: bool,
) -> dict[int, tuple[SharePlan, ...]]:
    """The copies of every kernel with weights, of at most `budget` arrays: for the shortest interval of a stream, or
    the lowest latency of one inference. Every block has an array of its own, since an array fires one at a time.

    `apart`: leave a core to each kernel without weights, where that many are left. Where the best copies do not fit the
    cores, since those of a layer leave arrays over, the best of a smaller budget are taken. Raises `Refusal` (BL0101).
    """
    layers = _layers(network, strips)
    arrays, fires = [layer.arrays for layer in layers], [layer.fires for layer in layers]
    cores, each = chip.cores.value, chip.array.per_core.value
    if budget > cores * each:
        raise refuse(
            "BL0101",
            f"a budget of {budget:,} arrays, but {chip.name} has {cores:,} cores x {each:,} = {cores * each:,}",
            place=network.name,
            help=f"give at most `--array-budget {cores * each}`, or take more: `--set cores={-(-budget // each)}`",
        )
    search = shortest_interval if stream else lowest_latency

    def choose(most: int) -> Copies | None:
        """Copies under a budget; of a layer no more than it has pixels at a time, whoever shares it."""
        found = search(arrays, fires, most)
        few = [min(n, layer.most) for n, layer in zip(found.of, layers, strict=True)] if found else []
        return copies(arrays, fires, few) if found else None

    chosen = choose(budget)
    if chosen is None:
        least = sum(arrays)
        more = f"give `--array-budget {least}` or more"
        if least > cores * each:
            more = f"take more cores (`--set cores={-(-least // each)} --array-budget {least}`)"
        raise refuse(
            "BL0101",
            f"one copy of every layer takes {least:,} arrays, a block in each; the budget has {budget:,}",
            place=network.name,
            help=f"{more}, or leave it out: then blocks share arrays",
        )
    spared = len(network.kernels) - len(strips)
    few = cores - spared if apart and stream and spared < cores else cores
    sums = max(1, chip.memory.psum_bytes.value // (2 * 4 * PIXELS_WANTED))
    matrices = [layer.strips for layer in layers]

    def deal(of: Sequence[int]) -> tuple[tuple[Held, ...], ...] | None:
        if not stream:
            return deal_evenly(matrices, copies=of, cores=cores, arrays=each, most_cols=sums)
        found = deal_pipeline(matrices, copies=of, fires=fires, cores=few, arrays=each, most_cols=sums)
        if found is None and few < cores:
            found = deal_pipeline(matrices, copies=of, fires=fires, cores=cores, arrays=each, most_cols=sums)
        return found

    dealt = _largest(chosen, deal, choose)
    if dealt is None:
        raise refuse(
            "BL0101",
            f"blocks that add up to the same sums stay on one core; one copy of every layer does not fit {cores:,} "
            f"cores of {each:,} arrays that way",
            place=network.name,
            help="take more cores or more arrays per core (`--set cores=...`, `--set array.per_core=...`), or leave "
            "--array-budget out: then blocks share arrays",
        )
    return _share_plans(layers, *dealt)


def _largest(
    chosen: Copies,
    deal: Callable[[Sequence[int]], tuple[tuple[Held, ...], ...] | None],
    choose: Callable[[int], Copies | None],
) -> tuple[Copies, tuple[tuple[Held, ...], ...]] | None:
    """The first copies that fit the cores, of budgets a hundredth smaller each."""
    found: Copies | None = chosen
    while found is not None:
        dealt = deal(found.of)
        if dealt is not None:
            return found, dealt
        found = choose(min(found.arrays - 1, found.arrays * 99 // 100))
    return None


def _share_plans(
    layers: Sequence[_Layer], chosen: Copies, dealt: Sequence[Sequence[Held]]
) -> dict[int, tuple[SharePlan, ...]]:
    before: Counter[str] = Counter()
    found: dict[int, tuple[SharePlan, ...]] = {}
    for layer, count, held in zip(layers, chosen.of, dealt, strict=True):
        first = before[layer.matrix]
        shares = tuple(_share_plan(layer, one, first, count) for one in held)
        before[layer.matrix] += count
        found |= dict.fromkeys(layer.kernels, shares)
    return found


def _share_plan(layer: _Layer, held: Held, before: int, count: int) -> SharePlan:
    """`before`: copies of the same matrix that other layers have."""
    array = held.first_array
    strips: list[StripPlan] = []
    for strip in layer.strips[held.first_strip : held.last_strip]:
        blocks = tuple(replace(block, copy=before + held.first_copy) for block in strip.blocks)
        places = tuple((array + i, 0, 0) for i in range(len(blocks)))
        strips.append(StripPlan(col=strip.col, cols=strip.cols, blocks=blocks, core=held.core, places=places))
        array += len(blocks)
    return SharePlan(
        core=held.core,
        strips=tuple(strips),
        copies=held.copies,
        arrays=held.arrays,
        first=held.first_copy,
        of=count,
    )

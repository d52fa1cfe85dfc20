"""Streams: what waits for what, frames of memory, which core holds what, and networks that cannot be a pipeline."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from random import Random

import pytest

from bitline.core.diagnostics import Refusal
from bitline.ir.kernels import inputs_of, outputs_of
from bitline.ir.residency import Block, TensorResidency
from bitline.place.cores import pack_segment
from bitline.place.cuts import ColumnStrip
from bitline.schedule.stream import check_streams, dependencies, longest_run
from tests.lower.engines import build
from tests.lower.random_networks import random_network
from tests.lower.test_random_networks import quantised
from tests.verify.compiled import (
    Artefacts,
    mnist,
    quantised_mnist,
    quantised_tiny,
    streamed_branches,
    streamed_mnist,
    streamed_tiny,
)

TARGET = "isaac"


@pytest.mark.parametrize("made", [streamed_mnist(TARGET), streamed_branches()], ids=["chain", "branches"])
def test_every_reader_waits_for_the_maker_and_every_writer_for_the_readers(made: Artefacts) -> None:
    """By brute force over pairs: of two kernels that touch a byte, one of them writing it, the later one waits."""
    network, stream = made.network, made.schedule.stream
    assert stream is not None
    home = {h.tensor: h for h in made.schedule.tensors}
    spans = {name: {(h.memory, h.address + b) for b in range(0, h.bytes, 64)} for name, h in home.items()}
    before: list[set[int]] = []
    for near in stream.after:
        before.append({*near, *(far for other in near for far in before[other])})
    conflicts = 0
    for early, late in product(range(len(network.kernels)), repeat=2):
        if early >= late:
            continue
        one, other = network.kernels[early], network.kernels[late]
        written = [spans[n] for n in outputs_of(one)], [spans[n] for n in outputs_of(other)]
        read = [spans[n] for n in inputs_of(one)], [spans[n] for n in inputs_of(other)]
        pairs = [*product(written[0], read[1]), *product(read[0], written[1]), *product(written[0], written[1])]
        if any(a & b for a, b in pairs):
            conflicts += 1
            assert early in before[late], (one.name, other.name)
    assert conflicts >= len(network.kernels) - 1


def test_nothing_is_waited_for_twice() -> None:
    """No kernel waits for one that another one it waits for has waited for."""
    stream = streamed_mnist("isaac").schedule.stream
    assert stream is not None
    before: list[set[int]] = []
    for near in stream.after:
        far = {k for other in near for k in before[other]}
        assert not far & set(near)
        before.append(far | set(near))


def test_where_no_bytes_are_shared_only_inputs_are_waited_for() -> None:
    made = mnist("isaac")
    address = 0
    apart: list[TensorResidency] = []
    for home in made.schedule.tensors:
        apart.append(replace(home, address=address))
        address += home.bytes
    writer = {n: k for k, kernel in enumerate(made.network.kernels) for n in outputs_of(kernel)}
    for number, before in enumerate(dependencies(made.network, apart)):
        assert set(before) <= {writer[n] for n in inputs_of(made.network.kernels[number]) if n in writer}


def test_frames_hold_everything_but_the_ports() -> None:
    made = streamed_tiny()
    stream = made.schedule.stream
    assert stream is not None
    ports = {port.tensor for port in made.network.ports}
    assert stream.window == 5
    for home in made.schedule.tensors:
        frame = stream.frame_bytes[home.memory]
        if home.tensor in ports:
            assert home.address >= frame * stream.window
            assert home.address + home.bytes * stream.inputs <= made.schedule.memory_bytes[home.memory]
        else:
            assert home.address + home.bytes <= frame


def test_fewer_frames_where_there_is_little_room() -> None:
    """Without a frame in which everything lies where it lies for one input, none is moved further away for a few."""
    few = build(quantised_mnist(), "isaac", ("memory.shared_bytes=40000",), stream=8)
    many = build(quantised_mnist(), "isaac", stream=8)
    windows = [made.planned.schedule.stream.window for made in (few, many) if made.planned.schedule.stream]
    assert windows[1] == 8
    assert 2 <= windows[0] < 8


def test_no_room_for_the_inputs() -> None:
    with pytest.raises(Refusal) as refused:
        build(quantised_mnist(), "isaac", ("memory.dram_bytes=4096", "memory.shared_bytes=65536"), stream=64)
    (found,) = refused.value.diagnostics
    assert found.code == "BL0401"
    assert "64 inputs" in found.message
    assert found.help


def test_weights_that_do_not_stay_are_no_pipeline() -> None:
    with pytest.raises(Refusal) as refused:
        build(quantised_tiny(), "reram-tile", ("array.per_core=1", "array.rows=8", "array.cols=8"), stream=4)
    (found,) = refused.value.diagnostics
    assert found.code == "BL0101"
    assert "do not all stay" in found.message


def test_a_network_that_computes_nothing_is_no_pipeline() -> None:
    nothing = replace(mnist("isaac").network, kernels=())
    with pytest.raises(Refusal, match="it computes nothing"):
        check_streams(nothing, resident=False)


@pytest.mark.parametrize(
    ("cores", "run"),
    [((3,), range(3, 4)), ((0, 1, 5, 6, 7, 9), range(5, 8)), ((0, 2, 4), range(1)), ((1, 2, 4, 5), range(1, 3))],
)
def test_the_longest_run_of_cores(cores: tuple[int, ...], run: range) -> None:
    assert longest_run(cores) == run


# -- stretches ---------------------------------------------------------------------------------------------------------


def strips(kernel: int, count: int, rows: int, cols: int) -> list[ColumnStrip]:
    return [
        ColumnStrip(
            col=i * cols,
            cols=cols,
            blocks=(Block(matrix=str(kernel), copy=0, row_offset=0, col_offset=i * cols, rows=rows, cols=cols),),
        )
        for i in range(count)
    ]


def most_fires(core_of: tuple[tuple[int, ...], ...], fires: list[int]) -> int:
    load: dict[int, int] = {}
    for kernel, cores in enumerate(core_of):
        for core in cores:
            load[core] = load.get(core, 0) + fires[kernel]
    return max(load.values())


@pytest.mark.parametrize("seed", range(40))
def test_stretches_are_as_even_as_any(seed: int) -> None:
    """Against all ways to cut the strips, in the order of the network, into as many stretches as there are cores."""
    random = Random(seed)
    counts = [random.randint(1, 3) for _ in range(random.randint(1, 4))]
    fires = [random.randint(1, 50) for _ in counts]
    cores = random.randint(1, 4)
    kernels = [strips(k, count, 8, 8) for k, count in enumerate(counts)]
    found = pack_segment(kernels, cores=cores, arrays=8, rows=16, cols=16, fires=fires)
    assert found is not None
    flat = [core for dealt in found.core_of for core in dealt]
    assert flat == sorted(flat), "a core has one stretch"
    times = [fires[k] for k, count in enumerate(counts) for _ in range(count)]
    best = min(
        max(sum(t for t, core in zip(times, cut, strict=True) if core == c) for c in range(cores))
        for cut in product(range(cores), repeat=len(times))
        if list(cut) == sorted(cut)
    )
    assert most_fires(found.core_of, fires) == best


def test_stretches_that_do_not_fit_are_dealt_as_ever() -> None:
    """A core has room for one strip: three strips of two kernels on three cores."""
    kernels = [strips(0, 2, 16, 16), strips(1, 1, 16, 16)]
    found = pack_segment(kernels, cores=3, arrays=1, rows=16, cols=16, fires=[5, 1])
    assert found is not None
    assert sorted(core for dealt in found.core_of for core in dealt) == [0, 1, 2]


def test_random_networks_keep_their_order() -> None:
    """Kernels in a pipeline only wait for earlier ones, and the first ones for none."""
    seen = 0
    for seed in range(12):
        try:
            made = build(quantised(random_network(seed), seed), "isaac", stream=3, stretches=True)
        except Refusal:
            continue
        stream = made.planned.schedule.stream
        assert stream is not None
        seen += 1
        for number, before in enumerate(stream.after):
            assert all(other < number for other in before)
        assert not stream.after or stream.after[0] == ()
    assert seen >= 8

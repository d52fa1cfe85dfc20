"""What the host does stands in figures, headline and page with its reason; so do tensors of 16 bits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from bitline import api
from bitline.ir.index_map import identity
from bitline.ir.kernels import Host, Network, Tensor
from bitline.ir.trace import Span, Trace
from bitline.pipeline.contents import headline
from bitline.quant.options import QuantOptions
from bitline.report.hosts import HostRow, host_rows, wide_tensors


def numbers(*shape: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.random.default_rng(sum(shape)).normal(0, 0.5, shape).astype(np.float32)


def model(name: str = "power") -> onnx.ModelProto:
    """A layer, a product of activations, a Pow whose exponent is an input."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"], name="layer"),
        helper.make_node("Transpose", ["h"], ["t"], name="turned", perm=[1, 0]),
        helper.make_node("MatMul", ["h", "t"], ["p"], name="product"),
        helper.make_node("Abs", ["p"], ["a"], name="size"),
        helper.make_node("Pow", ["a", "e"], ["y"], name=name),
    ]
    graph = helper.make_graph(
        nodes,
        "mixed",
        [helper.make_tensor_value_info(i, TensorProto.FLOAT, [8, 8]) for i in ("x", "e")],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [8, 8])],
        [numpy_helper.from_array(numbers(8, 8), "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def package(folder: Path, proto: onnx.ModelProto) -> api.Package:
    path = folder / "mixed.onnx"
    onnx.save(proto, path)
    feeds = {"x": numbers(2, 8, 8), "e": np.ones((2, 8, 8), np.float32)}
    return api.compile(path, target="sram-dcim", calib=feeds, options=QuantOptions(method="minmax"))


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> api.Package:
    return package(tmp_path_factory.mktemp("hosts"), model())


def test_figures_tell_apart_arrays_vector_units_and_host(mixed: api.Package) -> None:
    figures = mixed.figures()
    assert figures["macs_on_arrays"] == 8 * 8 * 8
    assert figures["macs_on_vector"] == 8 * 8 * 8
    assert figures["macs_on_host"] == 0
    assert figures["macs"] == 2 * 8 * 8 * 8
    assert figures["host_kernels"] == 1
    (row,) = figures["host"] if isinstance(figures["host"], list) else []
    assert isinstance(row, dict)
    assert row["nodes"] == ["power"]
    assert "Pow 'power': its result is float on no grid" in str(row["why"])


def test_time_on_the_host_is_that_of_its_unit(mixed: api.Package) -> None:
    figures = mixed.figures()
    call_us = mixed.contents.chip.host.call_ns.value / 1000
    assert isinstance(figures["host_us"], float)
    assert figures["host_us"] >= call_us
    assert figures["host_time_share"] == pytest.approx(figures["host_us"] / float(str(figures["latency_us"])))


def test_headline_and_page_say_it(mixed: api.Package) -> None:
    text = headline(mixed.contents)
    assert "1 kernel, 0 % of MACs" in text
    assert "50 % on arrays, 50 % vector" in text
    page = mixed.report()
    assert '<section id="host">' in page
    assert "Pow &#39;power&#39;: its result is float on no grid of integers" in page
    assert "in float, exponent no constant number: 1 Pow" in page  # what quantisation did
    assert "All activations have 8 bits." in page


def test_a_network_without_host_kernels_says_so(tmp_path: Path) -> None:
    proto = model()
    del proto.graph.node[-1], proto.graph.input[-1]
    proto.graph.node[-1].output[0] = "y"
    path = tmp_path / "plain.onnx"
    onnx.save(proto, path)
    made = api.compile(path, target="sram-dcim", calib={"x": numbers(2, 8, 8)}, options=QuantOptions(method="minmax"))
    assert made.figures()["host"] == []
    assert made.figures()["host_us"] == 0
    assert "none: the chip does everything" in headline(made.contents)
    assert "Nothing runs on the host" in made.report()


def test_names_of_nodes_are_text_in_the_page(tmp_path: Path) -> None:
    page = package(tmp_path, model("<script>alert(1)</script>")).report()
    assert "<script>alert(1)" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_the_package_of_such_a_network_verifies(mixed: api.Package) -> None:
    """The page and the figures come out the same again."""
    assert mixed.verify().errors == ()


def tensor(name: str, dtype: str, *, constant: str = "") -> Tensor:
    shape = (1, 1, 4)
    plain = Tensor(name=name, shape=shape, dtype="u8", scale=1.0, zero_point=0, onnx=name, view=identity(shape))
    return replace(plain, dtype="s16" if dtype == "s16" else "u8", constant=constant)


def test_wide_tensors_are_activations_of_16_bits() -> None:
    tensors = (tensor("a", "u8"), tensor("b", "s16"), tensor("c", "s16", constant="c"), tensor("d", "s16"))
    assert wide_tensors(Network(name="n", tensors=tensors, kernels=(), ports=())) == ("b", "d")


def test_rows_add_up_the_busy_time_of_the_host_only() -> None:
    kernel = Host(name="k", nodes=("n",), xs=("a",), ys=("b",), model="m", macs=7, why="because")
    network = Network(name="n", tensors=(tensor("a", "u8"), tensor("b", "u8")), kernels=(kernel,), ports=())
    spans = tuple(
        Span(kernel=0, core=0, unit=unit, start_ps=0, end_ps=9_000_000, busy_ps=busy, instructions=1)
        for unit, busy in (("host", 2_000_000), ("dma_in", 5_000_000))
    )
    trace = Trace(
        latency_ps=10_000_000,
        interval_ps=10_000_000,
        setup_ps=0,
        energy_fj=0,
        setup_energy_fj=0,
        instructions=2,
        spans=spans,
        costs=(),
    )
    assert host_rows(network, trace) == (
        HostRow(kernel=0, nodes=("n",), why="because", macs=7, time_us=2.0, time_share=0.2),
    )

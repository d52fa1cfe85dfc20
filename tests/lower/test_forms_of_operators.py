"""Forms of operators that real exports use beside the common ones: they run on the chip and say what ONNX says."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from bitline import api
from bitline.core.diagnostics import Refusal
from bitline.engines.ort import Session, run_model
from bitline.graph import shapes
from bitline.ir.kernels import Host, Move
from bitline.quant.options import QuantOptions
from tests.graph.build import parsed

Array = npt.NDArray[Any]
FAST = QuantOptions(method="minmax")
FEW = settings(max_examples=12)


def compiled(proto: onnx.ModelProto, folder: Path, calib: Mapping[str, Array]) -> api.Package:
    path = folder / "form.onnx"
    onnx.save(shapes.inferred(proto), path)
    return api.compile(path, target="sram-dcim", calib=calib, options=FAST)


def hosts(package: api.Package) -> list[str]:
    return [kernel.why for kernel in package.contents.network.kernels if isinstance(kernel, Host)]


def agrees(package: api.Package, feeds: Mapping[str, Array]) -> api.RunResult:
    """A run whose simulator, reference and `golden.onnx` are equal bit for bit."""
    ran = package.run(feeds, check_samples=1)
    assert ran.checked is not None
    for agreement in (ran.checked.exact.against_reference, ran.checked.exact.against_golden):
        assert agreement.equal == agreement.values
    return ran


def normal(*shape: int, seed: int = 0) -> npt.NDArray[np.float32]:
    return np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32)


class TestConstantIndices:
    """GatherElements, GatherND, ScatterND by constants are copies: exact but for the rounding of the input."""

    def moved(self, proto: onnx.ModelProto, folder: Path, feeds: Mapping[str, Array]) -> None:
        package = compiled(proto, folder, feeds)
        assert hosts(package) == []
        ran = agrees(package, feeds)
        one = {name: value[0] for name, value in feeds.items()}
        (name,) = ran.outputs
        wanted = run_model(proto, one, optimise=False)[name]
        step = max(float(np.ptp(np.append(value, 0))) for value in one.values()) / 255
        assert np.abs(ran.outputs[name].reshape(wanted.shape) - wanted).max() <= 0.51 * step

    @FEW
    @given(axis=st.integers(-2, 1), seed=st.integers(0, 99))
    def test_gather_elements(self, tmp_path_factory: pytest.TempPathFactory, axis: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        extent = (4, 5)[axis]
        indices = rng.integers(-extent, extent, (3, 2))
        proto = parsed("float[4,5] x) => (float[3,2] y", f"y = GatherElements <axis = {axis}> (x, i)", {"i": indices})
        self.moved(proto, tmp_path_factory.mktemp("g"), {"x": normal(1, 4, 5, seed=seed)})

    @pytest.mark.parametrize(("batch", "shape"), [(0, (3, 2)), (0, (2, 1)), (0, (4, 3)), (1, (2, 2)), (1, (2, 3, 1))])
    def test_gather_nd(self, tmp_path: Path, batch: int, shape: tuple[int, ...]) -> None:
        data = normal(2, 3, 4)
        extents = data.shape[batch : batch + shape[-1]]
        rng = np.random.default_rng(1)
        indices = np.stack([rng.integers(-n, n, shape[:-1]) for n in extents], axis=-1)
        node = helper.make_node("GatherND", ["x", "i"], ["y"], batch_dims=batch)
        graph = helper.make_graph(
            [node],
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, data.shape)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
            [numpy_helper.from_array(indices, "i")],
        )
        proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        self.moved(proto, tmp_path, {"x": data[None]})

    @FEW
    @given(depth=st.integers(1, 2), count=st.integers(1, 4), seed=st.integers(0, 99))
    def test_scatter_nd(self, tmp_path_factory: pytest.TempPathFactory, depth: int, count: int, seed: int) -> None:
        """Places differ from one another: which of two equal ones wins is not defined."""
        rng = np.random.default_rng(seed)
        flat = rng.permutation((4, 20)[depth - 1])[:count]
        indices = np.stack(np.unravel_index(flat, (4, 5)[:depth]), axis=-1)
        updates = (count, *(4, 5, 3)[depth:])
        proto = parsed(
            f"float[4,5,3] x, float[{','.join(map(str, updates))}] u) => (float[4,5,3] y",
            "y = ScatterND(x, i, u)",
            {"i": indices},
        )
        feeds = {"x": normal(1, 4, 5, 3, seed=seed), "u": normal(1, *updates, seed=seed + 1)}
        folder = tmp_path_factory.mktemp("s")
        package = compiled(proto, folder, feeds)
        assert hosts(package) == []
        ran = agrees(package, feeds)
        wanted = run_model(proto, {name: v[0] for name, v in feeds.items()}, optimise=False)["y"]
        assert np.abs(ran.outputs["y"].reshape(wanted.shape) - wanted).max() <= 3 * 8 / 255

    def test_a_number_scattered_over_a_mask(self, tmp_path: Path) -> None:
        """As window masks of Swin are written: constants into activations."""
        proto = parsed(
            "float[6,4] x) => (float[6,4] y",
            "r = Relu(x) y = ScatterND(r, i, u)",
            {"i": np.array([[0], [5]]), "u": np.full((2, 4), 0.5, np.float32)},
        )
        package = compiled(proto, tmp_path, {"x": normal(1, 6, 4)})
        assert hosts(package) == []
        out = agrees(package, {"x": normal(1, 6, 4)}).outputs["y"].reshape(6, 4)
        assert np.abs(out[[0, 5]].astype(np.float64) - 0.5).max() < 0.02

    def test_indices_that_depend_on_data_go_to_the_host(self, tmp_path: Path) -> None:
        proto = parsed("float[4,5] x, int64[4,5] i) => (float[4,5] y", "r = Relu(x) y = GatherElements(r, i)")
        feeds = {"x": normal(1, 4, 5), "i": np.ones((1, 4, 5), np.int64)}
        package = compiled(proto, tmp_path, feeds)
        assert "its indices depend on the input" in hosts(package)[0]

    def test_sums_into_places_go_to_the_host(self, tmp_path: Path) -> None:
        proto = parsed(
            "float[4,5] x, float[1,5] u) => (float[4,5] y",
            'r = Relu(x) y = ScatterND <reduction = "add"> (r, i, u)',
            {"i": np.array([[1]])},
        )
        package = compiled(proto, tmp_path, {"x": normal(1, 4, 5), "u": normal(1, 1, 5)})
        assert "it combines values by add" in hosts(package)[0]


@pytest.mark.parametrize(
    ("spatial", "groups", "dilation", "stride", "pad"),
    [
        (1, 1, 1, 2, 0),
        (1, 2, 1, 3, 1),
        (2, 1, 2, 1, 0),
        (2, 2, 1, 2, 1),
        (2, 1, 3, 2, 1),
        (2, 4, 2, 3, 0),
        (1, 1, 2, 2, 1),
    ],
)
def test_transposed_convolutions_of_every_form_run_on_arrays(
    tmp_path: Path, spatial: int, groups: int, dilation: int, stride: int, pad: int
) -> None:
    """One axis, groups, dilations, and strides that share a divisor with them or not."""
    node = helper.make_node(
        "ConvTranspose",
        ["x", "w", "b"],
        ["y"],
        group=groups,
        dilations=[dilation] * spatial,
        strides=[stride] * spatial,
        pads=[pad] * 2 * spatial,
    )
    size = [5, 4][:spatial]
    graph = helper.make_graph(
        [node],
        "transposed",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4, *size])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [
            numpy_helper.from_array(normal(4, 8 // groups, *[3] * spatial, seed=1), "w"),
            numpy_helper.from_array(normal(8, seed=2), "b"),
        ],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    feeds = {"x": normal(1, 4, *size, seed=3)}
    package = compiled(proto, tmp_path, feeds)
    assert hosts(package) == []
    ran = agrees(package, feeds)
    wanted = run_model(proto, feeds, optimise=False)["y"]
    error = ran.outputs["y"].reshape(wanted.shape) - wanted
    assert np.abs(error).max() < 0.03 * np.abs(wanted).max()


@pytest.mark.parametrize(
    "attributes",
    [
        "axes = [2, 3]> (x, , , n)",
        "axes = [3, 2]> (x, , , n)",
        'axes = [2, 3], keep_aspect_ratio_policy = "not_larger"> (x, , , n)',
        'axes = [2, 3], keep_aspect_ratio_policy = "not_smaller"> (x, , , n)',
        'axes = [2], coordinate_transformation_mode = "asymmetric", nearest_mode = "floor"> (x, , s)',
    ],
)
def test_nearest_resize_takes_axes_and_policies(tmp_path: Path, attributes: str) -> None:
    one = attributes.startswith("axes = [2],")
    shape = "float[1,2,a,b] y"
    proto = parsed(
        f"float[1,2,3,4] x) => ({shape}",
        f'y = Resize <mode = "nearest", {attributes}',
        {"s": np.array([2], np.float32)} if one else {"n": np.array([6, 7])},
        opset=18,
    )
    feeds = {"x": normal(1, 2, 3, 4)}
    package = compiled(proto, tmp_path, feeds)
    assert hosts(package) == []
    wanted = run_model(proto, feeds, optimise=False)["y"]
    error = agrees(package, feeds).outputs["y"].reshape(wanted.shape) - wanted
    assert np.abs(error).max() < 0.02


class TestIntegers:
    """Numbers that stand for themselves: exact, or left to the host where the chip would not wrap around."""

    @pytest.mark.parametrize("operator", ["Max", "Min"])
    @pytest.mark.parametrize("kind", ["int8", "int32", "int64"])
    def test_extremes_run_on_the_chip(self, tmp_path: Path, operator: str, kind: str) -> None:
        proto = parsed(f"{kind}[8] a, {kind}[8] b) => ({kind}[8] y", f"y = {operator}(a, b)")
        rng = np.random.default_rng(0)
        feeds = {name: rng.integers(-100, 100, (1, 8)).astype(kind) for name in "ab"}
        package = compiled(proto, tmp_path, feeds)
        assert hosts(package) == []
        function = np.maximum if operator == "Max" else np.minimum
        out = agrees(package, feeds).outputs["y"]
        assert np.array_equal(out.reshape(8), function(feeds["a"][0], feeds["b"][0]))

    def test_sums_of_8_bits_wrap_around_as_in_onnx(self, tmp_path: Path) -> None:
        proto = parsed("int8[2] a, int8[2] b) => (int8[2] y", "y = Add(a, b)")
        feeds = {"a": np.array([[100, 1]], np.int8), "b": np.array([[100, 2]], np.int8)}
        package = compiled(proto, tmp_path, feeds)
        assert agrees(package, feeds).outputs["y"].reshape(2).tolist() == [-56, 3]
        assert len(hosts(package)) == 1

    def test_division_on_the_host_is_tested_without_zeros(self, tmp_path: Path) -> None:
        """Golden inputs are 1 where the host divides: ONNX Runtime ends at an integer 0."""
        proto = parsed("int64[4] a, int64[4] b) => (int64[4] y", "y = Div(a, b)")
        feeds = {"a": np.array([[7, -7, 9, 0]]), "b": np.array([[2, 2, -3, 5]])}
        package = compiled(proto, tmp_path, feeds)
        assert agrees(package, feeds).outputs["y"].reshape(4).tolist() == [3, -3, -3, 0]
        assert package.verify().errors == ()


class TestPorts:
    """What a network takes and gives may be integers of a grid, constants, or inputs under another shape."""

    def test_an_output_of_integers(self, tmp_path: Path) -> None:
        proto = parsed(
            "float[1,4] x) => (uint8[1,4] y",
            "y = QuantizeLinear(x, s, z)",
            {"s": np.array(0.1, np.float32), "z": np.array(7, np.uint8)},
        )
        package = compiled(proto, tmp_path, {})
        values = np.array([[0.0, 0.05, -3.0, 25.0]], np.float32)
        assert hosts(package) == []
        assert agrees(package, {"x": values}).outputs["y"].reshape(4).tolist() == [7, 7, 0, 255]

    def test_an_input_of_integers(self, tmp_path: Path) -> None:
        parameters = {"s": np.array(0.5, np.float32), "z": np.array(3, np.int8)}
        constants = parameters | {"t": np.array(0.25, np.float32), "o": np.array(0, np.uint8)}
        proto = parsed(
            "int8[1,4] x) => (float[1,4] y",
            "r = DequantizeLinear(x, s, z) p = Relu(r) q = QuantizeLinear(p, t, o) y = DequantizeLinear(q, t, o)",
            constants,
        )
        package = compiled(proto, tmp_path, {})
        assert hosts(package) == []
        values = np.array([[3, 4, -128, 127]], np.int8)
        assert agrees(package, {"x": values}).outputs["y"].reshape(4).tolist() == [0.0, 0.5, 0.0, 62.0]

    def test_scales_per_channel_on_activations_go_to_the_host(self, tmp_path: Path) -> None:
        proto = parsed(
            "float[1,3] x) => (uint8[1,3] y",
            "y = QuantizeLinear <axis = 1> (x, s, z)",
            {"s": np.array([0.1, 0.2, 0.4], np.float32), "z": np.zeros(3, np.uint8)},
        )
        package = compiled(proto, tmp_path, {})
        assert len(hosts(package)) == 1
        out = agrees(package, {"x": np.ones((1, 3), np.float32)}).outputs["y"]
        assert out.reshape(3).tolist() == [10, 5, 2]

    @pytest.mark.parametrize("body", ["y = Reshape(x, n)", "y = Identity(x)", "y = Reshape(x, n) z = Relu(x)"])
    def test_an_output_that_is_an_input(self, tmp_path: Path, body: str) -> None:
        second = ", float[2,3] z" if "z" in body else ""
        shape = "2,3" if "Identity" in body else "3,2"
        constants = {"n": np.array([3, 2])} if "Reshape" in body else {}
        proto = parsed(f"float[2,3] x) => (float[{shape}] y{second}", body, constants)
        feeds = {"x": normal(1, 2, 3)}
        package = compiled(proto, tmp_path, feeds)
        out = agrees(package, feeds).outputs["y"]
        assert np.abs(out.reshape(-1).astype(np.float64) - feeds["x"].reshape(-1)).max() < 0.02
        assert package.verify().errors == ()

    def test_results_that_depend_on_no_input(self, tmp_path: Path) -> None:
        proto = parsed(
            "float[2,3] x) => (float[2,3] y, float[2] c", "y = Relu(x) c = Add(a, b)", {"a": normal(2), "b": normal(2)}
        )
        feeds = {"x": normal(1, 2, 3)}
        package = compiled(proto, tmp_path, feeds)
        out = agrees(package, feeds).outputs["c"]
        assert np.array_equal(out.reshape(2), 2 * normal(2))
        assert package.verify().errors == ()

    def test_a_network_without_inputs(self, tmp_path: Path) -> None:
        graph = helper.make_graph(
            [helper.make_node("Constant", [], ["y"], value=numpy_helper.from_array(normal(3)))],
            "constant",
            [],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [3])],
        )
        proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        package = compiled(proto, tmp_path, {})
        assert np.array_equal(package.run({}).outputs["y"].reshape(3), normal(3))
        assert package.verify().errors == ()


class TestNotFinite:
    """NaN and infinity are data where nothing is quantised, and a mistake where something is."""

    def test_they_pass_through_the_host(self, tmp_path: Path) -> None:
        proto = parsed("float[4] x) => (double[4] y", "y = Cast <to = 11> (x)")
        feeds = {"x": np.array([[np.nan, np.inf, -np.inf, 1.5]], np.float32)}
        package = compiled(proto, tmp_path, feeds)
        out = agrees(package, feeds).outputs["y"].reshape(4)
        assert np.array_equal(out, feeds["x"][0].astype(np.float64), equal_nan=True)

    def test_a_number_beyond_the_type_of_the_input_is_refused(self, tmp_path: Path) -> None:
        proto = parsed("float[1] x) => (double[1] y", "y = Cast <to = 11> (x)")
        package = compiled(proto, tmp_path, {"x": np.ones((1, 1), np.float32)})
        with pytest.raises(Refusal, match="NaN or infinite"):
            package.run({"x": np.array([[1e300]])})

    def test_quantised_inputs_refuse_them(self, tmp_path: Path) -> None:
        proto = parsed("float[4] x) => (float[4] y", "y = Relu(x)")
        package = compiled(proto, tmp_path, {"x": normal(1, 4)})
        bad = {"x": np.array([[np.nan, 0, 0, 0]], np.float32)}
        with pytest.raises(Refusal, match="NaN or infinite"):
            package.run(bad)
        with pytest.raises(Refusal, match="NaN or infinite"):
            compiled(proto, tmp_path, bad)


def test_an_optimiser_that_makes_what_it_then_refuses_is_not_asked_for_more(tmp_path: Path) -> None:
    """ONNX Runtime 1.31 makes QLinearAveragePool of a dilated AveragePool and does not load it."""
    proto = parsed(
        "float[1,1,4,4] x) => (float[1,1,2,2] y",
        "a = QuantizeLinear(x, s, z) b = DequantizeLinear(a, s, z) "
        "c = AveragePool <kernel_shape = [2, 2], dilations = [2, 2]> (b) "
        "d = QuantizeLinear(c, s, z) y = DequantizeLinear(d, s, z)",
        {"s": np.array(0.05, np.float32), "z": np.array(128, np.uint8)},
        opset=19,
    )
    feeds = {"x": normal(1, 1, 4, 4)}
    plain, optimised = (Session(proto, optimise=optimise).run(feeds)["y"] for optimise in (False, True))
    assert np.abs(plain - optimised).max() <= 0.051
    package = compiled(proto, tmp_path, {})
    assert hosts(package) == []
    assert package.verify().errors == ()


def test_copies_of_single_elements_are_limited(tmp_path: Path) -> None:
    """A permutation of thousands of elements would be as many instructions: the host does it."""
    count = 10_000
    indices = np.random.default_rng(0).permutation(count)[None]
    proto = parsed(
        f"float[1,{count}] x) => (float[1,{count}] y",
        "r = Relu(x) y = GatherElements <axis = 1> (r, i)",
        {"i": indices},
    )
    package = compiled(proto, tmp_path, {"x": normal(1, count)})
    assert "more than 4096 stretches" in hosts(package)[0]
    assert not any(isinstance(k, Move) and len(k.parts) > 4096 for k in package.contents.network.kernels)

"""The QDQ model means what the docstrings say, runs optimised or not, and stays close to the float model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitline.core.diagnostics import Refusal
from bitline.data.grammar import parse_preprocess
from bitline.data.load import load_data
from bitline.engines.ort import Session, expose, run_model
from bitline.graph.model import Model
from bitline.graph.passes import simplify
from bitline.graph.read import read_model
from bitline.quant.calibration import batches
from bitline.quant.options import Granularity, Method, QuantOptions
from bitline.quant.ptq import QuantResult, is_quantized, quantize
from bitline.quant.score import SQNR_CAP_DB
from tests.graph.build import as_model, constants, lines, networks, parsed

RNG = np.random.default_rng(0)
W = RNG.standard_normal((2, 3, 1, 1)).astype(np.float32)
B = np.array([0.5, -0.25], np.float32)
SAMPLES = {"x": RNG.standard_normal((16, 3, 4, 4)).astype(np.float32)}


def conv_relu_pool() -> Model:
    proto = parsed(
        "float[1,3,4,4] x) => (float[1,2,2,2] y",
        "c = Conv(x, w, b) r = Relu(c) y = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(r)",
        {"w": W, "b": B},
    )
    for node, name in zip(proto.graph.node, ("conv1", "relu1", "pool1"), strict=True):
        node.name = name
    return as_model(proto)


def quantised(model: Model, **options: object) -> QuantResult:
    return quantize(model, SAMPLES, QuantOptions(**options))  # pyright: ignore[reportArgumentType]


def test_the_graph_word_for_word() -> None:
    result = quantised(conv_relu_pool())
    assert lines(result.model.proto) == [
        "x_q = QuantizeLinear(x, x_scale, x_zero_point)",
        "x_dq = DequantizeLinear(x_q, x_scale, x_zero_point)",
        "w_dq = DequantizeLinear(w_q, w_scale, w_zero_point) axis=0",
        "b_dq = DequantizeLinear(b_q, b_scale, b_zero_point) axis=0",
        "c = Conv(x_dq, w_dq, b_dq)",
        "r = Relu(c)",
        "r_q = QuantizeLinear(r, r_scale, r_zero_point)",
        "r_dq = DequantizeLinear(r_q, r_scale, r_zero_point)",
        "y_f = MaxPool(r_dq) kernel_shape=[2, 2] strides=[2, 2]",
        "y_q = QuantizeLinear(y_f, r_scale, r_zero_point)",
        "y = DequantizeLinear(y_q, r_scale, r_zero_point)",
    ]
    names = [node.name for node in result.model.proto.graph.node]
    assert [name for name in names if "Linear" not in name] == ["conv1", "relu1", "pool1"]
    assert len(set(names)) == len(names)


def test_integers_and_scales() -> None:
    values = constants(quantised(conv_relu_pool(), method="minmax").model.proto)
    assert {
        name: str(values[name].dtype) for name in ("w_q", "b_q", "x_zero_point", "w_zero_point", "b_zero_point")
    } == {
        "w_q": "int8",
        "b_q": "int32",
        "x_zero_point": "uint8",
        "w_zero_point": "int8",
        "b_zero_point": "int32",
    }
    np.testing.assert_array_equal(np.abs(values["w_q"].reshape(2, 3).astype(int)).max(axis=1), [127, 127])
    np.testing.assert_array_equal(values["w_scale"], (np.abs(W).max(axis=(1, 2, 3)) / 127.0).astype(np.float32))
    np.testing.assert_array_equal(values["b_scale"], values["x_scale"] * values["w_scale"])
    np.testing.assert_array_equal(values["b_q"], np.rint(B / values["b_scale"].astype(np.float64)))
    x = SAMPLES["x"]
    assert values["x_scale"] == np.float32((float(x.max()) - float(x.min())) / 255)
    assert values["r_zero_point"] == 0
    assert not {"w", "b"} & set(values), "the float weights are gone"


def test_per_tensor_weights_have_one_scale() -> None:
    values = constants(quantised(conv_relu_pool(), granularity="tensor").model.proto)
    assert values["w_scale"].shape == values["b_scale"].shape == values["w_zero_point"].shape == ()
    assert np.abs(values["w_q"].astype(int)).max() == 127


@pytest.mark.parametrize("bits", [2, 4, 7])
def test_narrow_weights_and_activations_stay_narrow(bits: int) -> None:
    result = quantised(conv_relu_pool(), weight_bits=bits, activation_bits=bits)
    assert np.abs(constants(result.model.proto)["w_q"].astype(int)).max() == 2 ** (bits - 1) - 1
    wild = {"x": 100 * SAMPLES["x"][:1]}
    for optimise in (False, True):
        inner = run_model(expose(result.model.proto, ["x_q", "r_q", "y_q"]), wild, optimise=optimise)
        assert all(inner[name].max() == 2**bits - 1 for name in ("x_q", "r_q", "y_q"))
    assert "x_c = Clip(x, x_low, x_high)" in lines(result.model.proto)


def test_softmax_represents_one_exactly() -> None:
    model = as_model(parsed("float[1,3,4,4] x) => (float[1,3,4,4] y", "y = Softmax<axis = 1>(x)"))
    result = quantised(model)
    values = constants(result.model.proto)
    assert (values["y_scale"], values["y_zero_point"]) == (np.float32(1 / 255), 0)


def test_moves_keep_the_scale_and_means_get_their_own() -> None:
    body = (
        "a = Transpose<perm = [0, 2, 3, 1]>(x) b = Flatten(a) c = Reshape(b, s) d = Unsqueeze(c, one) "
        "e = Squeeze(d, one) y = GlobalAveragePool(e)"
    )
    model = as_model(
        parsed(
            "float[1,3,4,4] x) => (float[1,4,1,1] y",
            body,
            {"s": np.array([1, 4, 4, 3], np.int64), "one": np.array([1], np.int64)},
        )
    )
    proto = quantised(model).model.proto
    scales = {node.output[0]: node.input[1] for node in proto.graph.node if node.op_type == "QuantizeLinear"}
    assert scales == dict.fromkeys(["x_q", "a_q", "b_q", "c_q", "d_q", "e_q"], "x_scale") | {"y_q": "y_scale"}


def test_a_constant_addend_is_uint8_with_a_grid_of_its_own() -> None:
    model = as_model(parsed("float[1,3,4,4] x) => (float[1,3,4,4] y", "y = Add(x, k)", {"k": W[:1] * 3}))
    result = quantised(model)
    values = constants(result.model.proto)
    assert values["k_q"].dtype == np.uint8
    back = (values["k_q"].astype(np.float64) - values["k_zero_point"]) * values["k_scale"]
    np.testing.assert_allclose(back, W[:1] * 3, atol=float(values["k_scale"]))
    assert "k_dq = DequantizeLinear(k_q, k_scale, k_zero_point)" in lines(result.model.proto)


def test_tied_weights_are_stored_once() -> None:
    square = RNG.standard_normal((3, 3, 1, 1)).astype(np.float32)
    body = "a = Conv(x, w, b) y = Conv(a, w, b)"
    model = as_model(parsed("float[1,3,4,4] x) => (float[1,3,4,4] y", body, {"w": square, "b": np.ones(3, np.float32)}))
    model.proto.graph.node[0].name, model.proto.graph.node[1].name = "one", "two"
    proto = quantised(model).model.proto
    values = constants(proto)
    assert [name for name in values if values[name].dtype == np.int8 and values[name].ndim == 4] == ["w_q"]
    assert {"one.b_q", "two.b_q"} <= set(values), "the bias depends on the input scale: one for each reader"


def test_names_of_the_user_are_left_to_the_user() -> None:
    model = as_model(
        parsed("float[1,3,4,4] x) => (float[1,3,4,4] y", "x_q = Relu(x) x_scale = Relu(x_q) y = Relu(x_scale)")
    )
    proto = quantised(model).model.proto
    onnx.checker.check_model(proto, full_check=True)
    assert lines(proto)[0] == "x_q_1 = QuantizeLinear(x, x_scale_1, x_zero_point)"


def test_an_output_that_is_read_inside_too() -> None:
    model = as_model(
        parsed("float[1,3,4,4] x) => (float[1,2,4,4] a, float[1,2,4,4] y", "a = Conv(x, w) y = Relu(a)", {"w": W})
    )
    proto = quantised(model).model.proto
    assert [value.name for value in proto.graph.output] == ["a", "y"]
    assert "y_f = Relu(a)" in lines(proto)


@given(networks(("conv", "relu", "clip", "pad", "average", "max", "residual", "norm")), st.data())
def test_quantised_networks_run_and_stay_close(proto: onnx.ModelProto, data: st.DataObject) -> None:
    granularity: Granularity = data.draw(st.sampled_from(("channel", "tensor")))
    method: Method = data.draw(st.sampled_from(("best", "minmax")))
    model = simplify(as_model(proto))
    samples = load_data("random:4", model)
    result = quantize(model, samples.feeds, QuantOptions(granularity=granularity, method=method))
    onnx.checker.check_model(result.model.proto, full_check=True)
    plain, optimised = (Session(result.model.proto, optimise=flag) for flag in (False, True))
    for batch in batches(samples.feeds, model):
        (slow,), (fast,) = plain.run(batch).values(), optimised.run(batch).values()
        assert slow.shape == fast.shape
        assert np.isfinite(slow).all()
    assert result.sqnr_db > 10 or result.sqnr_db == -SQNR_CAP_DB, "close, unless the float outputs are all 0"


@given(networks(("conv", "relu", "average", "residual")))
def test_the_same_input_gives_the_same_bytes(proto: onnx.ModelProto) -> None:
    model = simplify(as_model(proto))
    samples = load_data("random:2", model)
    once, twice = quantize(model, samples.feeds), quantize(model, samples.feeds)
    assert once.steps == twice.steps
    assert once.model.proto.SerializeToString() == twice.model.proto.SerializeToString()


def test_best_is_never_worse_than_its_rivals() -> None:
    outlier = {"x": SAMPLES["x"].copy()}
    outlier["x"][0, 0, 0, 0] = 1e4
    model = conv_relu_pool()
    figures = {
        method: quantize(model, outlier, QuantOptions(method=method, percentile=99.9)).sqnr_db
        for method in ("best", "minmax", "percentile")
    }
    assert figures["best"] >= max(figures.values())


def test_a_quantised_model_is_not_quantised_again() -> None:
    model = conv_relu_pool()
    result = quantised(model)
    assert not is_quantized(model)
    assert is_quantized(result.model)
    with pytest.raises(Refusal) as refusal:
        quantised(result.model)
    assert refusal.value.diagnostics[0].code == "BL0101"


def test_all_wrong_options_are_named() -> None:
    wrong = {"weight_bits": 1, "activation_bits": 9, "granularity": "row", "method": "guess", "percentile": 50.0}
    wrong |= {"residual_bits": 12, "residual_threshold_db": 1e6, "unary_bits": 4}
    with pytest.raises(Refusal) as refusal:
        quantised(conv_relu_pool(), **wrong)
    assert [d.code for d in refusal.value.diagnostics] == ["BL0101"] * 8
    said = " ".join(d.message for d in refusal.value.diagnostics)
    assert all(f"{option} is {wrong[option]!r}" in said for option in ("residual_bits", "unary_bits", "percentile"))


def test_samples_that_do_not_fit() -> None:
    with pytest.raises(Refusal) as refusal:
        quantize(conv_relu_pool(), {"x": SAMPLES["x"][:, :2]})
    assert "input 'x' is [n, 3, 4, 4], given [16, 2, 4, 4]" in refusal.value.diagnostics[0].message


def test_resnet20_keeps_its_accuracy(shared: Path) -> None:
    """W8A8 within one point of float on 1000 test images (notes: peers lose nothing at 8 bits)."""
    model = simplify(read_model(shared / "models" / "resnet20_cifar10.onnx"))
    rule = parse_preprocess("mean=0.485,0.456,0.406 std=0.229,0.224,0.225")
    data = shared / "data" / "cifar10"
    result = quantize(model, load_data(str(data / "calib_1024.npz"), model, rule, 256).feeds)
    assert result.sqnr_db > 30
    test = load_data(str(data / "test_5000.npz"), model, rule, 1000)
    assert test.labels is not None
    right: list[int] = []
    for each in (model, result.model):
        session = Session(each.proto, optimise=True)
        classes = [session.run(batch)["logits"].argmax() for batch in batches(test.feeds, model)]
        right.append(int((np.array(classes) == test.labels).sum()))
    assert abs(right[0] - right[1]) <= 10, right

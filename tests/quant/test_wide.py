"""Where 16 bits are taken, who still reads 8, and what this is worth."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from bitline.engines.ort import Session
from bitline.graph.model import Model, Wiring, set_constant
from bitline.graph.passes.name_nodes import name_nodes
from bitline.quant.options import QuantOptions
from bitline.quant.ptq import QuantResult, quantize
from bitline.quant.steps import plan_steps
from bitline.quant.wide import Widths, cell_state, lengths, narrow_reads, residual_path, root_sums, wide_softmax
from tests.graph.build import as_model, constants, lines, parsed

RNG = np.random.default_rng(0)


def named(signature: str, body: str, values: dict[str, np.ndarray] | None = None, opset: int = 17) -> Model:
    return as_model(name_nodes(parsed(signature, body, values, opset=opset)))


def weights(*shape: int) -> np.ndarray:
    return (RNG.standard_normal(shape) / np.sqrt(shape[0])).astype(np.float32)


POST = (
    "a = MatMul(x, w) b = Add(a, k) c = Add(b, x) n = LayerNormalization(c, g, h) d = Gemm(n, v) "
    "e = Add(d, n) m = LayerNormalization(e, g, h) y = MatMul(m, u)"
)
PRE = (
    "n = LayerNormalization(x, g, h) a = MatMul(n, w) b = Mul(a, k) c = Add(x, b) m = LayerNormalization(c, g, h) "
    "d = MatMul(m, v) r = Relu(d) e = Add(c, r) o = LayerNormalization(e, g, h) y = MatMul(o, u)"
)


def transformer(body: str) -> Model:
    values = {"w": weights(8, 8), "v": weights(8, 8), "u": weights(8, 3), "k": weights(8), "h": weights(8)}
    values["g"] = np.exp(RNG.standard_normal(8)).astype(np.float32)
    return named("float[6,8] x) => (float[6,3] y", body, values)


def test_the_path_of_a_post_norm_transformer() -> None:
    plan = plan_steps(transformer(POST))
    assert residual_path(plan) == {"a", "b", "c", "x", "d", "e", "n"}
    assert narrow_reads(plan, Widths(tensors=frozenset(residual_path(plan)), unary_bits=8)) == {
        ("MatMul_a", "x"),
        ("Gemm_d", "n"),
    }


def test_the_path_of_a_pre_norm_transformer() -> None:
    plan = plan_steps(transformer(PRE))
    assert residual_path(plan) == {"x", "a", "b", "c", "r", "e"}
    assert narrow_reads(plan, Widths(tensors=frozenset(residual_path(plan)), unary_bits=8)) == frozenset()


def test_no_norm_no_path() -> None:
    plan = plan_steps(named("float[6,8] x) => (float[6,8] y", "a = MatMul(x, w) y = Add(a, x)", {"w": weights(8, 8)}))
    assert residual_path(plan) == frozenset()
    assert cell_state(plan) == frozenset()


def dtypes(result: QuantResult) -> dict[str, str]:
    values = constants(result.model.proto)
    return {
        node.input[0]: str(values[node.input[2]].dtype)
        for node in result.model.proto.graph.node
        if node.op_type == "QuantizeLinear"
    }


def test_the_residual_path_word_for_word() -> None:
    model = named(
        "float[6,8] x) => (float[6,8] y",
        "n = LayerNormalization(x, g) d = MatMul(n, w) e = Add(d, n) y = LayerNormalization(e, g)",
        {"g": np.ones(8, np.float32), "w": weights(8, 8)},
    )
    samples = {"x": RNG.standard_normal((4, 6, 8)).astype(np.float32)}
    result = quantize(model, samples, QuantOptions(residual_bits=16, method="minmax"))
    assert lines(result.model.proto)[2:] == [
        "n = LayerNormalization(x_dq, g)",
        "n_q = QuantizeLinear(n, n_scale, n_zero_point)",
        "n_dq = DequantizeLinear(n_q, n_scale, n_zero_point)",
        "n_q8 = QuantizeLinear(n_dq, n_scale8, n_zero_point8)",
        "n_dq8 = DequantizeLinear(n_q8, n_scale8, n_zero_point8)",
        "w_dq = DequantizeLinear(w_q, w_scale, w_zero_point) axis=1",
        "d = MatMul(n_dq8, w_dq)",
        "d_q = QuantizeLinear(d, d_scale, d_zero_point)",
        "d_dq = DequantizeLinear(d_q, d_scale, d_zero_point)",
        "e = Add(d_dq, n_dq)",
        "e_q = QuantizeLinear(e, e_scale, e_zero_point)",
        "e_dq = DequantizeLinear(e_q, e_scale, e_zero_point)",
        "y_f = LayerNormalization(e_dq, g)",
        "y_q = QuantizeLinear(y_f, y_scale, y_zero_point)",
        "y = DequantizeLinear(y_q, y_scale, y_zero_point)",
    ]
    wide = {"n": "int16", "d": "int16", "e": "int16", "x": "uint8", "y_f": "uint8", "n_dq": "uint8"}
    assert dtypes(result) == wide
    values = constants(result.model.proto)
    assert not any(values[f"{name}_zero_point"] for name in "nde")
    (version,) = {entry.version for entry in result.model.proto.opset_import}
    assert (version, result.model.proto.ir_version) == (21, 10)
    onnx.checker.check_model(result.model.proto, full_check=True)


def test_a_constant_added_to_a_wide_tensor_is_wide() -> None:
    model = transformer(POST)
    samples = {"x": RNG.standard_normal((4, 6, 8)).astype(np.float32)}
    values = constants(quantize(model, samples, QuantOptions(residual_bits=16)).model.proto)
    assert values["k_q"].dtype == np.int16
    assert np.abs(values["k_q"].astype(int)).max() == 32767


def outlier(body: str) -> tuple[Model, dict[str, np.ndarray]]:
    """Trained post-norm transformers have a channel far above the others, which gamma makes small again."""
    model = transformer(body)
    gamma = np.full(8, 30, np.float32)
    gamma[0] = 0.01
    set_constant(model.proto.graph, "g", gamma)
    x = RNG.standard_normal((8, 6, 8)).astype(np.float32)
    x[..., 0] += 50
    return model, {"x": x}


def test_auto_takes_sixteen_bits_where_eight_are_too_few_and_says_so() -> None:
    model, samples = outlier(POST)
    figures = {bits: quantize(model, samples, QuantOptions(residual_bits=bits)).sqnr_db for bits in (8, 16)}
    assert figures[16] > figures[8] + 3
    above = QuantOptions(residual_threshold_db=figures[8] + 1)
    result = quantize(model, samples, above)
    assert result.sqnr_db == figures[16]
    said = f"in 16 bits: {figures[16]:.1f} dB at the outputs with 16, {figures[8]:.1f} dB with 8"
    assert any(said in step for step in result.steps)


def test_auto_keeps_eight_bits_and_the_opset_where_they_do() -> None:
    model, samples = outlier(POST)
    plain = quantize(model, samples, QuantOptions(residual_bits=8))
    result = quantize(model, samples, QuantOptions(residual_threshold_db=plain.sqnr_db - 1))
    assert result.model.proto == plain.model.proto
    assert [entry.version for entry in result.model.proto.opset_import] == [17]


def test_eight_bits_stay_where_sixteen_gain_little() -> None:
    """Weights of 2 bits make the noise here."""
    samples = {"x": RNG.standard_normal((4, 6, 8)).astype(np.float32)}
    result = quantize(transformer(POST), samples, QuantOptions(residual_threshold_db=200, weight_bits=2))
    assert set(dtypes(result).values()) == {"uint8"}
    assert any("tensors in 8 bits" in step for step in result.steps)


def test_a_long_softmax_keeps_its_mass() -> None:
    """Flat attention over 1024 keys: 1/1024 is a quarter of the step 1/255, and 32 steps of 1/32767."""
    body = "s = MatMul(q, k) p = Softmax(s) y = MatMul(p, v)"
    model = named("float[2,4] q, float[4,1024] k, float[1024,3] v) => (float[2,3] y", body)
    plan = plan_steps(model)
    assert wide_softmax(Wiring(model.proto.graph), plan) == {"p"}
    assert narrow_reads(plan, Widths(tensors=frozenset({"p"}), unary_bits=8)) == frozenset(), (
        "the product takes the 16 bits as they are"
    )
    feeds = {name: RNG.uniform(0, 0.1, (2, *shape)).astype(np.float32) for name, shape in
             (("q", (2, 4)), ("k", (4, 1024)), ("v", (1024, 3)))}  # fmt: skip
    result = quantize(model, feeds)
    assert result.sqnr_db > 35
    assert any("1 Softmax over more than 128 elements in 16 bits" in step for step in result.steps)
    values = constants(result.model.proto)
    assert (values["p_scale"], values["p_zero_point"].dtype) == (np.float32(1 / 32767), np.int16)
    exposed = onnx.ModelProto.FromString(result.model.proto.SerializeToString())
    exposed.graph.output.append(onnx.ValueInfoProto(name="p_dq"))
    one = {name: value[0] for name, value in feeds.items()}
    sums = Session(exposed, optimise=False).run(one)["p_dq"].sum(axis=-1)
    np.testing.assert_allclose(sums, 1, atol=0.01)


@pytest.mark.parametrize("width", [128, 129])
def test_the_longest_softmax_in_eight_bits(width: int) -> None:
    model = named(f"float[2,{width}] x) => (float[2,{width}] y", "y = Softmax(x)")
    result = quantize(model, {"x": RNG.standard_normal((2, 2, width)).astype(np.float32)})
    assert dtypes(result)["y_f"] == ("uint8" if width == 128 else "int16")


LSTM = (
    "a = Gemm(x, w) b = Gemm(h, v) s = Add(a, b) t, g = Split<axis = 1>(s, cut) u = Sigmoid(t) "
    "i, o, f = Split<axis = 1>(u, thirds) kept = Mul(f, c) tanh = Tanh(g) fresh = Mul(i, tanh) d = Add(kept, fresh) "
    "e = Tanh(d) k = Mul(o, e) y = Concat<axis = 0>(k, d)"
)
GRU = (
    "a = Gemm(x, w) b = Gemm(h, v) s = Add(a, b) t, g = Split<axis = 1>(s, cut) z = Sigmoid(t) n = Tanh(g) "
    "e = Sub(h, n) k = Mul(z, e) y = Add(n, k)"
)


def test_the_state_of_an_lstm() -> None:
    values = {"w": weights(3, 16), "v": weights(4, 16)}
    values |= {"cut": np.array([12, 4], np.int64), "thirds": np.array([4, 4, 4], np.int64)}
    model = named("float[1,3] x, float[1,4] h, float[1,4] c) => (float[2,4] y", LSTM, values)
    plan = plan_steps(model)
    wide = cell_state(plan)
    assert wide == {"c", "d", "kept", "fresh", "y", "s", "a", "b"}
    assert narrow_reads(plan, Widths(tensors=frozenset(wide), unary_bits=8)) == {
        ("Sigmoid_u", "t"),
        ("Tanh_tanh", "g"),
        ("Tanh_e", "d"),
    }
    assert narrow_reads(plan, Widths(tensors=frozenset(wide), unary_bits=16)) == frozenset()


def test_the_state_of_a_gru() -> None:
    values = {"w": weights(3, 8), "v": weights(4, 8), "cut": np.array([4, 4], np.int64)}
    plan = plan_steps(named("float[1,3] x, float[1,4] h) => (float[1,4] y", GRU, values))
    wide = cell_state(plan)
    assert wide == {"y", "k", "e", "h", "s", "a", "b"}
    assert narrow_reads(plan, Widths(tensors=frozenset(wide), unary_bits=8)) == {
        ("Gemm_b", "h"),
        ("Sigmoid_z", "t"),
        ("Tanh_n", "g"),
    }
    one_minus = GRU[: GRU.index("e =")] + "r = Sub(one, z) k = Mul(r, n) e = Mul(z, h) y = Add(k, e)"
    values["one"] = np.array(1, np.float32)
    plan = plan_steps(named("float[1,3] x, float[1,4] h) => (float[1,4] y", one_minus, values))
    assert cell_state(plan) == {"y", "k", "e", "h", "s", "a", "b"}


def test_gates_without_a_state_are_no_cell() -> None:
    """Two SiLU branches that meet: nothing is carried."""
    body = "a = Relu(x) b = Sigmoid(a) c = Mul(a, b) d = Tanh(x) e = Sigmoid(d) f = Mul(d, e) y = Add(c, f)"
    assert cell_state(plan_steps(named("float[1,4] x) => (float[1,4] y", body))) == frozenset()


def test_a_carried_cell_stays_close_over_many_frames() -> None:
    """300 frames with a forget gate near 1: the error of an 8-bit state would add up."""
    values = {"w": weights(3, 16), "v": weights(4, 16)}
    values |= {"cut": np.array([12, 4], np.int64), "thirds": np.array([4, 4, 4], np.int64)}
    values["k0"] = np.concatenate((np.zeros(8), np.full(4, 4.0), np.zeros(4))).astype(np.float32)
    body = LSTM.replace("b = Gemm(h, v)", "b = Gemm(h, v, k0)")
    model = named("float[1,3] x, float[1,4] h, float[1,4] c) => (float[2,4] y", body, values)
    x = RNG.standard_normal((300, 3)).astype(np.float32)

    def stream(session: Session) -> np.ndarray:
        state, states = np.zeros((2, 4), np.float32), [np.zeros((2, 4), np.float32)]
        for frame in x:
            state = session.run({"x": frame[None], "h": state[:1], "c": state[1:]})["y"]
            states.append(state)
        return np.array(states)

    wanted = stream(Session(model.proto, optimise=False))
    feeds = {"x": x, "h": wanted[:-1, 0], "c": wanted[:-1, 1]}
    result = quantize(model, feeds)
    assert any("tensors of recurrent cells in 16 bits" in step for step in result.steps)
    got = stream(Session(result.model.proto, optimise=False))
    assert 10 * np.log10((wanted**2).sum() / ((wanted - got) ** 2).sum()) > 18


ENERGY = "a = Mul(x, x) b = ReduceMean<axes = [1]>(a) y = Sqrt(b)"


def test_sums_of_squares() -> None:
    model = named("float[4,8] x) => (float[4,1] y", ENERGY)
    plan = plan_steps(model)
    assert root_sums(plan) == {"a", "b"}
    assert narrow_reads(plan, Widths(tensors=root_sums(plan), unary_bits=16)) == frozenset()
    assert narrow_reads(plan, Widths(tensors=root_sums(plan), unary_bits=8)) == {("Sqrt_y", "b")}
    spread = (np.exp(RNG.uniform(-5, 0, (64, 4, 1))) * np.ones((1, 4, 8))).astype(np.float32)
    figures = {bits: quantize(model, {"x": spread}, QuantOptions(unary_bits=bits)) for bits in (8, 16)}
    quiet = np.full((4, 8), 0.05, np.float32)
    got = {bits: Session(made.model.proto, optimise=False).run({"x": quiet})["y"] for bits, made in figures.items()}
    assert np.abs(got[8] - 0.05).max() > 0.01, "8 bits take what is quiet for silence"
    assert np.abs(got[16] - 0.05).max() < 0.005
    assert dtypes(figures[16]) == dict.fromkeys("ab", "int16") | dict.fromkeys(("x", "y_f"), "uint8")


MAGNITUDE = "a, b = Split<axis = 0>(x, cut) c = Pow(a, two) d = Mul(b, b) e = Add(c, d) y = Sqrt(e)"


def test_a_magnitude_is_one_step_in_sixteen_bits() -> None:
    """Over five decades the squares cover ten: neither 8 nor 16 bits would hold them."""
    values = {"cut": np.array([2, 2], np.int64), "two": np.array(2, np.float32)}
    model = named("float[4,8] x) => (float[2,8] y", MAGNITUDE, values)
    plan = plan_steps(model)
    (step,) = (step for step in plan.steps if step.op_type == "Sqrt")
    assert (step.inputs, step.inner) == (("a", "b"), ("Pow_c", "Mul_d", "Add_e"))
    assert lengths(plan) == {"x", "y"}
    assert root_sums(plan) == frozenset()
    spread = np.exp(RNG.uniform(-8, 0, (32, 4, 8))).astype(np.float32)
    result = quantize(model, {"x": spread})
    assert "2 tensors of magnitudes sqrt(a^2 + b^2) in 16 bits" in result.steps
    assert dtypes(result) == dict.fromkeys(("x", "a", "b", "y_f"), "int16"), "nothing rounds the squares"
    quiet = np.full((4, 8), 1e-3, np.float32)
    got = Session(result.model.proto, optimise=False).run({"x": quiet})["y"]
    np.testing.assert_allclose(got, 1e-3 * np.sqrt(2), rtol=0.03)


def test_squares_that_are_read_elsewhere_stay_steps_of_their_own() -> None:
    values = {"cut": np.array([2, 2], np.int64), "two": np.array(2, np.float32)}
    signature = "float[4,8] x) => (float[2,8] y, float[2,8] c"
    plan = plan_steps(named(signature, MAGNITUDE, values))
    assert not any(step.inner for step in plan.steps)
    assert root_sums(plan) == {"c", "d", "e"}


def test_a_product_of_two_is_no_square() -> None:
    plan = plan_steps(named("float[4] x, float[4] z) => (float[4] y", "a = Mul(x, z) b = Abs(a) y = Sqrt(b)"))
    assert root_sums(plan) == frozenset()


def test_a_model_that_cannot_be_raised_stays_in_eight_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    def gives_up(model: Model) -> None:
        return None

    monkeypatch.setattr("bitline.quant.prepare.with_int16", gives_up)
    model = named("float[2,200] x) => (float[2,200] y", "y = Softmax(x)")
    result = quantize(model, {"x": RNG.standard_normal((2, 2, 200)).astype(np.float32)})
    assert set(dtypes(result).values()) == {"uint8"}
    assert "no 16-bit activations: the model cannot be raised to opset 21" in result.steps

"""All passes together, on drawn networks and on real ones."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given

from bitline.core.diagnostics import Refusal
from bitline.graph.passes import PASSES, near_misses, simplify
from bitline.graph.read import read_model
from tests.graph.build import as_model, assert_same_function, networks, parsed


@given(networks())
def test_the_function_stays(proto: onnx.ModelProto) -> None:
    after = simplify(as_model(proto)).proto
    assert_same_function(proto, after, tolerance=5e-3)
    left = {node.op_type for node in after.graph.node} if len(after.graph.node) > 1 else set[str]()
    assert not left & {"BatchNormalization", "Dropout", "Identity", "Shape", "Constant"}


@given(networks())
def test_a_second_time_changes_nothing(proto: onnx.ModelProto) -> None:
    once = simplify(as_model(proto))
    twice = simplify(once)
    assert twice.proto.SerializeToString(deterministic=True) == once.proto.SerializeToString(deterministic=True)


def test_every_tensor_has_a_static_shape_afterwards() -> None:
    model = simplify(
        as_model(
            parsed(
                "float[2,3] x) => (float[a] y",
                "s = Size(x) n = Constant<value_ints = [1]>() t = Reshape(s, n) y = Reshape(x, t)",
            )
        )
    )
    (output,) = model.outputs
    assert [dim.dim_value for dim in output.type.tensor_type.shape.dim] == [6]


def test_a_pass_can_be_left_out() -> None:
    body = "s = Size(x) f = Cast<to = 1>(s) y = Add(x, f)"
    model = as_model(parsed("float[2,3] x) => (float[2,3] y", body))
    assert len(simplify(model, disable=["fold_constants"]).proto.graph.node) == 3
    assert len(simplify(model).proto.graph.node) == 1


def test_an_unknown_pass_is_refused_with_the_known_ones() -> None:
    model = as_model(parsed("float[2,3] x) => (float[2,3] y", "y = Relu(x)"))
    with pytest.raises(Refusal) as refusal:
        simplify(model, disable=["fold_everything"])
    (diagnostic,) = refusal.value.diagnostics
    assert diagnostic.code == "BL0101"
    assert all(name in diagnostic.help for name in PASSES)


def test_resnet20_keeps_only_its_layers(shared: Path) -> None:
    model = read_model(shared / "models" / "resnet20_cifar10.onnx")
    after = simplify(model)
    assert Counter(node.op_type for node in after.proto.graph.node) == {
        "Conv": 21,
        "Relu": 19,
        "Add": 9,
        "GlobalAveragePool": 1,
        "Reshape": 1,
        "Gemm": 1,
    }
    assert {node.name for node in after.proto.graph.node} <= {node.name for node in model.proto.graph.node}
    assert_same_function(model.proto, after.proto, tolerance=1e-4)


def transformer_block() -> onnx.ModelProto:
    """One block as exporters write it: decomposed LayerNorm and GELU, attention of 2 heads, a residual."""
    rng = np.random.default_rng(0)

    def weight(*shape: int) -> np.ndarray:
        return (rng.standard_normal(shape) * 0.3).astype(np.float32)

    qkv = " ".join(
        f"{n}m = MatMul(norm, w{n}) {n}a = Add({n}m, b{n}) {n}r = Reshape({n}a, heads) "
        f"{n} = Transpose<perm = [{order}]>({n}r)"
        for n, order in (("q", "0, 2, 1, 3"), ("k", "0, 2, 3, 1"), ("v", "0, 2, 1, 3"))
    )
    body = f"""
        m = ReduceMean<axes = [-1]>(x) d = Sub(x, m) p = Pow(d, two) v0 = ReduceMean<axes = [-1]>(p)
        e = Add(v0, eps) s = Sqrt(e) n = Div(d, s) g = Mul(n, gamma) norm = Add(g, beta)
        {qkv}
        scores = MatMul(q, k) scaled = Div(scores, root) soft = Softmax<axis = -1>(scaled) o = MatMul(soft, v)
        back = Transpose<perm = [0, 2, 1, 3]>(o) joined = Reshape(back, flat) om = MatMul(joined, wo) oa = Add(bo, om)
        res = Add(x, oa) h = MatMul(res, w1) ha = Add(h, b1)
        t = Div(ha, root2) f = Erf(t) f1 = Add(f, one) f2 = Mul(ha, f1) act = Mul(f2, half)
        z = MatMul(act, w2) za = Add(z, b2) y = Add(res, za)"""
    values = {f"w{n}": weight(8, 8) for n in "qkvo"} | {f"b{n}": weight(8) for n in "qkvo"}
    values |= {"w1": weight(8, 16), "b1": weight(16), "w2": weight(16, 8), "b2": weight(8)}
    values |= {"gamma": weight(8), "beta": weight(8)}
    numbers = {"two": 2, "eps": 1e-5, "root": 2, "root2": 1.4142135, "one": 1, "half": 0.5}
    values |= {name: np.array(value, np.float32) for name, value in numbers.items()}
    values |= {"heads": np.array([1, 5, 2, 4]), "flat": np.array([1, 5, 8])}
    return parsed("float[1,5,8] x) => (float[1,5,8] y", body.replace("\n", " "), values, opset=13)


def test_a_transformer_block() -> None:
    before = as_model(transformer_block())
    after = simplify(before)
    counts = Counter(node.op_type for node in after.proto.graph.node)
    assert counts.pop("Reshape") <= 10
    assert counts == {
        "LayerNormalization": 1,
        "Gemm": 6,
        "MatMul": 2,
        "Transpose": 4,
        "Softmax": 1,
        "Gelu": 1,
        "Add": 2,
    }
    assert_same_function(before.proto, after.proto, tolerance=1e-4)
    assert near_misses(after) == ()
    assert simplify(after).proto == after.proto


def test_near_misses_of_every_pattern_are_told() -> None:
    before = as_model(
        parsed(
            "float[2,4] x) => (float[2,4] y, float[2,4] z, float[2,4] u",
            "y = Erf(x) a = Add(x, one) z = Clip(a, zero, one) m = ReduceMean<axes = [0]>(x) d = Sub(x, m) "
            "p = Mul(d, d) v = ReduceMean<axes = [0]>(p) s = Sqrt(v) u = Div(d, s)",
            {"one": np.array(1, np.float32), "zero": np.array(0, np.float32)},
        )
    )
    told = [miss.why for miss in near_misses(simplify(before))]
    assert [why.split(":")[0] for why in told] == ["Sqrt_s", "Erf_y", "Clip_z"]


@pytest.mark.parametrize("name", sorted(PASSES))
def test_every_pass_can_be_left_out(name: str) -> None:
    before = as_model(transformer_block())
    after = simplify(before, disable=[name])
    assert_same_function(before.proto, after.proto, tolerance=1e-4)


def test_names_are_unique_and_the_same_every_time() -> None:
    after = [simplify(as_model(transformer_block())).proto for _ in range(2)]
    names = [node.name for node in after[0].graph.node]
    assert all(names)
    assert len(set(names)) == len(names)
    assert after[0].SerializeToString(deterministic=True) == after[1].SerializeToString(deterministic=True)


def test_a_recurrent_network_has_layers_only() -> None:
    """Two steps of a streaming network: its state goes in and out as one tensor, as in DTLN."""
    rng = np.random.default_rng(0)
    body = (
        "hs = Gather<axis = 1>(state, zero) cs = Gather<axis = 1>(state, one) h0 = Unsqueeze(hs, axis0) "
        "c0 = Unsqueeze(cs, axis0) seq, h, c = LSTM<hidden_size = 3>(x, w, r, b, , h0, c0) "
        "hq = Squeeze(h, axis0) cq = Squeeze(c, axis0) hn = Unsqueeze(hq, axis1) cn = Unsqueeze(cq, axis1) "
        "out = Concat<axis = 1>(hn, cn) flat = Squeeze(seq, axis1) y = Sigmoid(flat)"
    )
    values = {
        "w": rng.standard_normal((1, 12, 4)).astype(np.float32),
        "r": rng.standard_normal((1, 12, 3)).astype(np.float32),
        "b": rng.standard_normal((1, 24)).astype(np.float32),
        "zero": np.array(0),
        "one": np.array(1),
        "axis0": np.array([0]),
        "axis1": np.array([1]),
    }
    before = as_model(parsed("float[1,1,4] x, float[1,2,3] state) => (float[1,1,3] y, float[1,2,3] out", body, values))
    after = simplify(before)
    kinds = {node.op_type for node in after.proto.graph.node}
    assert kinds == {"Gemm", "MatMul", "Add", "Mul", "Split", "Sigmoid", "Tanh", "Slice", "Reshape", "Concat"}
    assert_same_function(before.proto, after.proto)


def test_a_factor_between_a_product_and_its_bias() -> None:
    """The factor goes into the weights first, and only then the bias is next to the product."""
    rng = np.random.default_rng(0)
    values = {"w": rng.standard_normal((4, 3)), "k": np.array(0.5), "b": rng.standard_normal(3)}
    before = as_model(
        parsed(
            "float[2,4] x) => (float[2,3] y",
            "t = MatMul(x, w) s = Mul(t, k) y = Add(s, b)",
            {name: value.astype(np.float32) for name, value in values.items()},
        )
    )
    after = simplify(before)
    assert [node.op_type for node in after.proto.graph.node] == ["Gemm"]
    assert_same_function(before.proto, after.proto)


def test_a_sum_of_one_leaves_nothing() -> None:
    before = as_model(parsed("float[2,4] x) => (float[2,4] y", "a = Sum(x) b = Relu(a) c = Max(b) y = Exp(c)"))
    after = simplify(before)
    assert [node.op_type for node in after.proto.graph.node] == ["Relu", "Exp"]
    assert_same_function(before.proto, after.proto, tolerance=0)

"""Static shapes of every tensor: through constants, branches that are never taken, and branches that agree."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given

from bitline.core.diagnostics import Refusal
from bitline.graph import shapes
from bitline.graph.model import Wiring
from tests.graph.build import lines, networks, parsed


def shapes_of(proto: onnx.ModelProto) -> dict[str, tuple[int, ...] | None]:
    wiring = Wiring(proto.graph)
    return {name: wiring.shape(name) for name in wiring.producer if name}


def test_a_reshape_to_a_computed_target() -> None:
    before = parsed(
        "float[2,3,4] x) => (float[a,b] y",
        "s = Shape(x) n = Gather<axis = 0>(s, zero) t = Concat<axis = 0>(n, rest) r = Reshape(x, t) y = Relu(r)",
        {"zero": np.array([0]), "rest": np.array([-1])},
    )
    after = shapes.with_shapes(before)
    assert lines(after) == lines(before)
    assert shapes_of(after) == {"s": (3,), "n": (1,), "t": (2,), "r": (2, 12), "y": (2, 12)}


def test_tensors_before_an_identity_have_their_shape_too() -> None:
    """Softmax of opset 11 becomes Flatten, Softmax, Reshape to the Shape from before, and Paddle adds an Identity."""
    before = parsed(
        "float[1,6] x) => (float[a,b] y",
        "t = Relu(x) s = Shape(t) f = Flatten(t) m = Softmax<axis = -1>(f) r = Reshape(m, s) y = Identity(r)",
    )
    assert shapes_of(shapes.with_shapes(before))["r"] == (1, 6)


def test_results_that_only_folded_nodes_read() -> None:
    before = parsed(
        "float[2,3] x) => (float[2,3] y",
        "s = Shape(x) z = ConstantOfShape(s) e = Exp(z) u = Mul(e, e) y = Add(x, u)",
    )
    assert all(shape is not None for shape in shapes_of(shapes.with_shapes(before)).values())


BRANCHES = (
    "<then_branch = t () => (float[k,l] p) {{ s = Shape(x) p = Reshape(x, {0}) }}, "
    "else_branch = e () => (float[m,n] q) {{ q = Transpose(x) }}>"
)


def test_an_if_whose_branches_agree() -> None:
    before = parsed(
        "bool c, float[2,3] x) => (float[a,b] y",
        f"z = If (c) {BRANCHES.format('target')} y = Relu(z)",
        {"target": np.array([3, -1])},
    )
    after = shapes.with_shapes(before)
    assert shapes_of(after) == {"z": (3, 2), "y": (3, 2)}
    assert lines(after) == lines(before)


def test_an_if_whose_branches_differ_is_refused() -> None:
    before = parsed(
        "bool c, float[2,3] x) => (float[a,b] y",
        f"z = If (c) {BRANCHES.format('target')} y = Relu(z)",
        {"target": np.array([1, -1])},
    )
    after = shapes.with_shapes(before)
    assert shapes_of(after) == {"z": None, "y": None}
    with pytest.raises(Refusal) as refusal:
        shapes.check_static(after, place="net.onnx", tensor_bytes=2**20)
    assert {diagnostic.code for diagnostic in refusal.value.diagnostics} == {"BL0303"}


def test_a_branch_that_cannot_run_does_not_count() -> None:
    """The other branch holds a layer for inputs of another length."""
    before = parsed(
        "bool c, float[2,3] x) => (float[a,b] y",
        "z = If (c) <then_branch = t () => (float[k,l] p) { s = Shape(x) p = Reshape(x, s) }, "
        "else_branch = e () => (float[m,n] q) { s2 = Shape(x) x2 = Reshape(x, s2) q = MatMul(x2, w) }> y = Relu(z)",
        {"w": np.ones((4, 5), np.float32)},
    )
    assert shapes_of(shapes.with_shapes(before)) == {"z": (2, 3), "y": (2, 3)}


def test_ifs_one_after_another() -> None:
    second = (
        "<then_branch = t2 () => (float[k2,l2] p2) { s2 = Shape(z) p2 = Reshape(z, s2) }, "
        "else_branch = e2 () => (float[m2,n2] q2) { q2 = Relu(z) }>"
    )
    before = parsed(
        "bool c, float[2,3] x) => (float[a,b] y",
        f"z = If (c) {BRANCHES.format('target')} y = If (c) {second}",
        {"target": np.array([3, 2])},
    )
    assert shapes_of(shapes.with_shapes(before)) == {"z": (3, 2), "y": (3, 2)}


def test_an_if_whose_condition_follows_from_the_shape() -> None:
    """Only the branch that is taken counts, whatever the other would give."""
    before = parsed(
        "float[2,3] x) => (float[a,b] y",
        "s = Shape(x) n = Gather<axis = 0>(s, zero) c = Equal(n, two) "
        f"z = If (c) {BRANCHES.format('target').replace('s = ', 's2 = ')} y = Relu(z)",
        {"zero": np.array(0), "two": np.array(2), "target": np.array([6, 1])},
    )
    assert shapes_of(shapes.with_shapes(before))["z"] == (6, 1)


def test_large_weights_do_not_go_through_inference() -> None:
    weight = np.ones((300, 300), np.float32)
    before = parsed("float[2,300] x) => (float[a,b] y", "t = MatMul(x, w) y = Relu(t)", {"w": weight})
    after = shapes.with_shapes(before)
    assert shapes_of(after) == {"t": (2, 300), "y": (2, 300)}
    assert [value.name for value in after.graph.input] == ["x"]
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(after.graph.initializer[0]), weight)


def test_a_contradiction_with_the_weights_is_an_error() -> None:
    before = parsed("float[2,300] x) => (float[2,300] y", "y = MatMul(x, w)", {"w": np.ones((300, 300), np.float32)})
    before.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 299
    with pytest.raises(shapes.ERRORS):
        shapes.with_shapes(before)


@given(networks())
def test_nothing_but_shapes_changes(proto: onnx.ModelProto) -> None:
    after = shapes.with_shapes(proto)
    assert lines(after) == lines(proto)
    assert after.graph.initializer == proto.graph.initializer
    assert all(shape is not None for shape in shapes_of(after).values())
    assert shapes_of(shapes.grown(after)) == shapes_of(after)

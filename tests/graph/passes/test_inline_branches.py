"""The branch that is always taken becomes part of the graph, under names that are free there."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from bitline.graph.passes.fold_constants import fold_constants
from bitline.graph.passes.inline_branches import inline_branches
from tests.graph.build import assert_same_function, lines, parsed

X = "float[1,3] x) => (float[1,3] y"
BOTH = (
    "<then_branch = t () => (float[1,3] p) { a = Exp(x) p = Relu(a) }, "
    "else_branch = e () => (float[1,3] q) { a = Neg(x) q = Abs(a) }>"
)


@pytest.mark.parametrize(
    ("taken", "nodes"), [(True, ["a = Exp(x)", "y = Relu(a)"]), (False, ["a = Neg(x)", "y = Abs(a)"])]
)
def test_the_branch_that_is_taken(taken: bool, nodes: list[str]) -> None:
    before = parsed(X, f"y = If (c) {BOTH}", {"c": np.array(taken)})
    after = inline_branches(before)
    assert lines(after) == nodes
    assert_same_function(before, after, tolerance=0)


def test_a_condition_that_depends_on_the_input_stays() -> None:
    before = parsed("bool c, float[1,3] x) => (float[1,3] y", f"y = If (c) {BOTH}")
    assert lines(inline_branches(before)) == lines(before)


def test_two_branches_may_use_the_same_names() -> None:
    before = parsed(
        X, f"z = If (c) {BOTH} n = Neg(z) u = If (c) {BOTH.replace('(x)', '(n)')} y = Add(z, u)", {"c": np.array(True)}
    )
    for node, name in zip(before.graph.node, ("first", "turn", "second", "sum"), strict=True):
        node.name = name
    for index in (0, 2):
        branch = before.graph.node[index].attribute[0].g
        branch.node[0].name, branch.node[1].name = "turn", f"relu{index}"
    after = inline_branches(before)
    wanted = ["a = Exp(x)", "z = Relu(a)", "n = Neg(z)", "second/a = Exp(n)", "u = Relu(second/a)", "y = Add(z, u)"]
    assert lines(after) == wanted
    names = [node.name for node in after.graph.node]
    assert names == ["first/turn", "relu0", "turn", "second/turn", "relu2", "sum"]
    assert_same_function(before, after, tolerance=0)


def test_constants_of_the_branch_come_along() -> None:
    before = parsed(X, f"y = If (c) {BOTH}", {"c": np.array(True), "k": np.ones(3, np.float32)})
    branch = before.graph.node[0].attribute[0].g
    branch.initializer.append(onnx.numpy_helper.from_array(np.full(3, 2, np.float32), "k2"))
    branch.node[1].CopyFrom(onnx.helper.make_node("Mul", ["a", "k2"], ["p"]))
    after = inline_branches(before)
    assert lines(after) == ["a = Exp(x)", "y = Mul(a, k2)"]
    assert_same_function(before, after, tolerance=0)


def test_outputs_that_come_from_outside_the_branch_or_twice() -> None:
    before = parsed(
        "float[1,3] x) => (float[1,3] y, float[1,3] z, float[1,3] u",
        "y, z, u = If (c) <then_branch = t () => (float[1,3] p, float[1,3] p2, float[1,3] x2) "
        "{ p = Exp(x) p2 = Identity(p) x2 = Identity(x) }, "
        "else_branch = e () => (float[1,3] q, float[1,3] r, float[1,3] s) { q = Neg(x) r = Neg(x) s = Neg(x) }>",
        {"c": np.array(True)},
    )
    branch = before.graph.node[0].attribute[0].g
    del branch.node[1:]
    branch.output[1].name = "p"
    branch.output[2].name = "x"
    after = inline_branches(before)
    assert lines(after) == ["y = Exp(x)", "z = Identity(p)", "u = Identity(x)"] or lines(after) == [
        "y = Exp(x)",
        "z = Identity(y)",
        "u = Identity(x)",
    ]
    onnx.checker.check_model(after, full_check=True)


def test_branches_within_branches_go_one_after_another() -> None:
    inner = (
        "<then_branch = t2 () => (float[1,3] p2) { p2 = Exp(b) }, "
        "else_branch = e2 () => (float[1,3] q2) { q2 = Neg(b) }>"
    )
    before = parsed(
        X,
        f"y = If (c) <then_branch = t () => (float[1,3] p) {{ b = Relu(x) d = Not(c) p = If (d) {inner} }}, "
        "else_branch = e () => (float[1,3] q) { q = Abs(x) }>",
        {"c": np.array(True)},
    )
    after = fold_constants(before)
    assert lines(after) == ["b = Relu(x)", "y = Neg(b)"]
    assert_same_function(before, after, tolerance=0)


def test_a_condition_on_the_shape_is_a_constant() -> None:
    """As torch.jit writes `if x.size(0) == 1`."""
    before = parsed(
        X,
        "s = Shape(x) n = Gather<axis = 0>(s, zero) c = Equal(n, one) y = If (c) " + BOTH,
        {"zero": np.array(0, np.int64), "one": np.array(1, np.int64)},
    )
    after = fold_constants(before)
    assert lines(after) == ["a = Exp(x)", "y = Relu(a)"]
    assert_same_function(before, after, tolerance=0)

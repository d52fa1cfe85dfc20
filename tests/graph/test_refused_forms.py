"""Forms that ONNX Runtime runs, but that no engine could vouch for, are refused by name; their sound kin are not."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from bitline.core.diagnostics import Refusal
from bitline.graph.passes import simplify
from bitline.graph.refused_forms import RANDOM, check_forms
from bitline.graph.shapes import check_not_empty
from tests.graph.build import as_model, parsed

ONES = np.ones(3, np.float32)
STATISTICS = {"s": ONES, "b": ONES, "m": ONES, "v": ONES}


def refused(proto: onnx.ModelProto) -> list[str]:
    try:
        check_forms(proto.graph, "net.onnx")
    except Refusal as refusal:
        return [d.message for d in refusal.diagnostics if d.code == "BL0302" and d.help]
    return []


@pytest.mark.parametrize("operator", ["RandomNormalLike", "RandomUniformLike", "Bernoulli"])
def test_random_operators(operator: str) -> None:
    (message,) = refused(parsed("float[3] x) => (float[3] y", f"r = {operator}(x) y = Add(x, r)"))
    assert message == f"{operator} gives another result at every run"
    assert operator in RANDOM


def test_dropout_that_drops() -> None:
    body = "y = Dropout(x, r, t)"
    constants = {"r": np.array(0.5, np.float32), "t": np.array(True)}
    (message,) = refused(parsed("float[3] x) => (float[3] y", body, constants))
    assert "drops at random" in message
    still = parsed("float[3] x) => (float[3] y", body, constants | {"t": np.array(False)})
    assert refused(still) == []
    assert refused(parsed("float[3] x) => (float[3] y", "y = Dropout(x)")) == []


def test_batch_normalization_in_training() -> None:
    """ONNX Runtime 1.31 hands the running mean of one run to the next: two runs differ."""
    body = "y, rm, rv = BatchNormalization <training_mode = 1> (x, s, b, m, v)"
    (message,) = refused(parsed("float[2,3,4] x) => (float[2,3,4] y, float[3] rm, float[3] rv", body, STATISTICS))
    assert "changes its own statistics" in message
    assert (
        refused(parsed("float[2,3,4] x) => (float[2,3,4] y", "y = BatchNormalization(x, s, b, m, v)", STATISTICS)) == []
    )


@pytest.mark.parametrize(
    ("scale", "mode", "found"),
    [(0.6, "align_corners", True), (0.5, "align_corners", False), (0.6, "half_pixel", False)],
)
def test_resize_to_a_part_of_an_element(scale: float, mode: str, found: bool) -> None:
    size = int(4 * scale)
    proto = parsed(
        f"float[1,1,4,4] x) => (float[1,1,{size},4] y",
        f'y = Resize <mode = "linear", coordinate_transformation_mode = "{mode}"> (x, , s)',
        {"s": np.array([1, 1, scale, 1], np.float32)},
    )
    messages = refused(proto)
    assert bool(messages) is found
    assert not found or "scales axis 2 to no whole number" in messages[0]


def test_what_subgraphs_hold_is_found_and_all_is_named_at_once() -> None:
    proto = parsed(
        "bool c, float[3] x) => (float[3] y",
        "n = RandomNormalLike(x) a = Add(n, x) y = If (c) <then_branch = t () => (float[3] p) { p = Bernoulli(a) }, "
        "else_branch = e () => (float[3] q) { q = Relu(a) }>",
    )
    assert [message.split()[0] for message in refused(proto)] == ["RandomNormalLike", "Bernoulli"]


def test_empty_tensors_are_refused_after_shape_arithmetic_is_gone() -> None:
    """An empty Slice of a shape folds away; one of data has nothing for a chip."""
    start, end = np.array([2]), np.array([2])
    folded = parsed(
        "float[2,3] x) => (float[2,3] y",
        "s = Shape(x) e = Slice(s, a, b) t = Concat <axis = 0> (s, e) y = Reshape(x, t)",
        {"a": start, "b": end},
    )
    assert [node.op_type for node in simplify(as_model(folded)).proto.graph.node] in ([], ["Identity"], ["Reshape"])
    data = parsed("float[4,3] x) => (float[0,3] y", "y = Slice(x, a, b)", {"a": start, "b": end})
    with pytest.raises(Refusal) as refusal:
        check_not_empty(simplify(as_model(data)).proto, "net.onnx")
    (found,) = refusal.value.diagnostics
    assert found.code == "BL0302"
    assert "'y' [0, 3], made by Slice, is empty" in found.message

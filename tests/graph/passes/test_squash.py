"""What moves values ends in few forms, what changes nothing goes; each rule with its near misses."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitline.graph.passes.squash import squash
from tests.graph.build import assert_same_function, constants, lines, networks, parsed, random_feeds

Array = np.ndarray[Any, Any]


def integers(*values: int) -> Array:
    return np.array(values, np.int64)


def squashed(before: onnx.ModelProto, *op_types: str) -> onnx.ModelProto:
    after = squash(before)
    assert [node.op_type for node in after.graph.node] == list(op_types), lines(after)
    assert_same_function(before, after, tolerance=1e-6)
    assert squash(after) == after
    return after


def test_reshapes_in_a_row() -> None:
    before = parsed(
        "float[2,3,4] x) => (float[24] y",
        "a = Flatten<axis = 2>(x) b = Unsqueeze(a, one) c = Squeeze(b, one) d = Reshape(c, n) y = Reshape(d, all)",
        {"one": integers(1), "n": integers(4, 6), "all": integers(-1)},
    )
    after = squashed(before, "Reshape")
    assert list(after.graph.node[0].input) == ["x", "y.shape"]
    np.testing.assert_array_equal(constants(after)["y.shape"], [24])


def test_a_reshape_alone_keeps_its_target() -> None:
    before = parsed("float[2,3,4] x) => (float[2,12] y", "y = Reshape(x, n)", {"n": integers(0, -1)})
    assert lines(squash(before)) == lines(before)


def test_reshapes_back_to_the_start_go() -> None:
    before = parsed(
        "float[2,3] x) => (float[2,3] y",
        "r = Relu(x) a = Reshape(r, n) b = Reshape(a, m) y = Exp(b)",
        {"n": integers(6), "m": integers(2, 3)},
    )
    squashed(before, "Relu", "Exp")


def test_a_reshape_between_stays_for_its_other_reader() -> None:
    before = parsed(
        "float[2,3] x) => (float[3,2] y, float[6] z",
        "a = Reshape(x, n) z = Relu(a) y = Reshape(a, m)",
        {"n": integers(6), "m": integers(3, 2)},
    )
    after = squashed(before, "Reshape", "Relu", "Reshape")
    assert after.graph.node[2].input[0] == "x"


@pytest.mark.parametrize(
    ("first", "second", "op_types"),
    [
        ([0, 2, 1], [0, 2, 1], ["Relu", "Exp"]),
        ([1, 0, 2], [0, 2, 1], ["Relu", "Transpose", "Exp"]),
        ([1, 2, 0], [1, 2, 0], ["Relu", "Transpose", "Exp"]),
    ],
)
def test_transposes_compose(first: list[int], second: list[int], op_types: list[str]) -> None:
    body = f"r = Relu(x) a = Transpose<perm = {first}>(r) b = Transpose<perm = {second}>(a) y = Exp(b)"
    squashed(parsed("float[2,3,4] x) => (float[a,b,c] y", body), *op_types)


def test_a_transpose_without_perm_turns_all_axes_around() -> None:
    before = parsed("float[2,3,4] x) => (float[2,3,4] y", "a = Transpose(x) b = Transpose(a) y = Relu(b)")
    squashed(before, "Relu")


def test_a_transpose_that_moves_only_axes_of_1_is_a_reshape() -> None:
    before = parsed("float[1,8,1,4] x) => (float[8,1,4,1] y", "y = Transpose<perm = [1, 0, 3, 2]>(x)")
    squashed(before, "Reshape")
    other = parsed("float[2,8,1] x) => (float[8,2,1] y", "y = Transpose<perm = [1, 0, 2]>(x)")
    squashed(other, "Transpose")


@pytest.mark.parametrize("op_type", ["ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd"])
@pytest.mark.parametrize("keep", [0, 1])
def test_a_reduction_over_axes_of_1_is_a_reshape(op_type: str, keep: int) -> None:
    before = parsed("float[2,1,3,1] x) => (float[a] y", f"y = {op_type}<axes = [1, 3], keepdims = {keep}>(x)")
    squashed(before, "Identity" if keep else "Reshape")
    other = parsed("float[2,1,3] x) => (float[a] y", f"y = {op_type}<axes = [1, 2], keepdims = {keep}>(x)")
    squashed(other, op_type)


@pytest.mark.parametrize(
    ("indices", "op_types"),
    [
        (np.array(2), ["Slice", "Reshape"]),
        (np.array(-1), ["Slice", "Reshape"]),
        (np.array([2]), ["Slice"]),
        (np.array([1, 2, 3]), ["Slice"]),
        (np.array([0, 2, 4]), ["Slice"]),
        (np.array([-2, -1]), ["Slice"]),
        (np.array([4, 3, 2]), ["Slice"]),
        (np.array([2, 1, 0]), ["Slice"]),
        (np.array([4, 2, 0]), ["Slice"]),
        (np.array([[1, 2], [3, 4]]), ["Slice", "Reshape"]),
        (np.array([0, 1, 3]), ["Gather"]),
        (np.array([1, 1]), ["Gather"]),
        (np.array([[4, 3], [2, 0]]), ["Gather"]),
    ],
)
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_gather(indices: Array, op_types: list[str], axis: int) -> None:
    before = parsed(
        "float[5,5,5] x) => (float[a] y", f"y = Gather<axis = {axis}>(x, i)", {"i": indices.astype(np.int64)}
    )
    squashed(before, *op_types)


def test_a_gather_of_everything_goes() -> None:
    before = parsed("float[3,2] x) => (float[3,2] y", "a = Gather(x, i) y = Relu(a)", {"i": integers(0, 1, 2)})
    squashed(before, "Relu")


def test_a_gather_from_an_axis_of_1_is_a_reshape() -> None:
    before = parsed("float[1,8] x) => (float[8] y", "y = Gather(x, i)", {"i": np.array(0, np.int64)})
    squashed(before, "Reshape")


def test_a_gather_from_a_table_and_by_an_input_stay() -> None:
    table = parsed("int64[4] x) => (float[4,2] y", "y = Gather(t, x)", {"t": np.ones((9, 2), np.float32)})
    assert lines(squash(table)) == lines(table)


def test_an_index_outside_is_left_for_the_engine_to_refuse() -> None:
    before = parsed("float[3,2] x) => (float[2] y", "y = Gather(x, i)", {"i": np.array(5, np.int64)})
    assert lines(squash(before)) == lines(before)


@pytest.mark.parametrize(
    ("body", "left"),
    [
        ("Mul(r, ones)", 0),
        ("Mul(ones, r)", 0),
        ("Div(r, ones)", 0),
        ("Div(ones, r)", 1),
        ("Add(r, zeros)", 0),
        ("Sub(r, zeros)", 0),
        ("Sub(zeros, r)", 1),
        ("Pow(r, ones)", 0),
        ("Pow(ones, r)", 1),
        ("Mul(r, zeros)", 1),
        ("Mul(r, half)", 1),
        ("Cast<to = 1>(r)", 0),
        ("Clip(r)", 0),
        ("Clip(r, half)", 1),
        ("Expand(r, shape)", 0),
        ("Tile(r, single)", 0),
        ("Tile(r, double)", 1),
        ("Concat<axis = 0>(r)", 0),
        ("Concat<axis = 0>(r, r)", 1),
        ("Transpose<perm = [0, 1]>(r)", 0),
        ("Slice(r, first, far, first)", 0),
        ("Slice(r, back, start, first, minus)", 1),
        ("Pad(r, nothing)", 0),
        ("Pad(r, shift)", 1),  # the shape stays, the values move
        ("Where(yes, r, half)", 0),
        ("Where(no, half, r)", 0),
        ("Where(mixed, r, half)", 1),
        ("Relu(r)", 0),
        ("LeakyRelu(r)", 1),
    ],
)
def test_what_changes_nothing(body: str, left: int) -> None:
    values: dict[str, Array] = {
        "ones": np.ones(3, np.float32),
        "zeros": np.zeros((), np.float32),
        "half": np.array(0.5, np.float32),
        "shape": integers(2, 3),
        "single": integers(1, 1),
        "double": integers(1, 2),
        "first": integers(0),
        "far": integers(2**63 - 1),
        "back": integers(-1),
        "start": integers(-(2**63)),
        "minus": integers(-1),
        "nothing": integers(0, 0, 0, 0),
        "shift": integers(0, 1, 0, -1),
        "yes": np.array([True]),
        "no": np.array(False),
        "mixed": np.array([True, False, True]),
    }
    before = parsed("float[2,3] x) => (float[a,b] y", f"r = Relu(x) t = {body} y = Exp(t)", values)
    assert len(squash(before).graph.node) == 2 + left, lines(squash(before))
    assert_same_function(before, squash(before), tolerance=1e-6)


@pytest.mark.parametrize(
    ("inner", "left"), [("Sigmoid(x)", 1), ("Clip(x, low)", 1), ("Clip(x, below)", 2), ("Tanh(x)", 2)]
)
def test_relu_of_what_is_never_negative(inner: str, left: int) -> None:
    values = {"low": np.array(0.5, np.float32), "below": np.array(-0.5, np.float32)}
    before = parsed("float[2,3] x) => (float[2,3] y", f"a = {inner} y = Relu(a)", values)
    assert len(squash(before).graph.node) == left
    assert_same_function(before, squash(before), tolerance=0)


@pytest.mark.parametrize(
    ("node", "left"),
    [
        ("MaxPool<kernel_shape = [1, 1]>(x)", 0),
        ("AveragePool<kernel_shape = [1, 1], strides = [2, 2]>(x)", 1),
        ("MaxPool<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(x)", 1),
        ("GlobalAveragePool(x)", 1),
        ("Resize(x, , scales)", 0),
        ('Resize<mode = "linear", coordinate_transformation_mode = "asymmetric">(x, , scales)', 0),
        ('Resize<mode = "cubic">(x, , scales)', 1),
        ("Resize(x, , twice)", 1),
    ],
)
def test_pools_and_resizes(node: str, left: int) -> None:
    values = {"scales": np.ones(4, np.float32), "twice": np.array([1, 1, 2, 2], np.float32)}
    before = parsed("float[1,2,4,4] x) => (float[a] y", f"t = {node} y = Exp(t)", values)
    assert len(squash(before).graph.node) == 1 + left
    assert_same_function(before, squash(before), tolerance=1e-6)


def test_a_global_pool_of_one_pixel_goes() -> None:
    squashed(parsed("float[1,2,1,1] x) => (float[1,2,1,1] y", "t = GlobalAveragePool(x) y = Exp(t)"), "Exp")


@pytest.mark.parametrize(
    ("first", "second", "casts"),
    [
        ("bool", "float", 1),
        ("int32", "int64", 1),
        ("float", "int32", 2),  # drops the fraction
        ("int64", "int32", 2),  # may wrap
        ("int64", "double", 2),  # 53 bits of 64
    ],
)
def test_casts_that_lose_nothing_in_between(first: str, second: str, casts: int) -> None:
    types = {"bool": 9, "float": 1, "int32": 6, "int64": 7, "double": 11}
    before = parsed(f"{first}[2,3] x) => (float16[2,3] y", f"a = Cast<to = {types[second]}>(x) y = Cast<to = 10>(a)")
    assert Counter(node.op_type for node in squash(before).graph.node)["Cast"] == casts
    assert_same_function(before, squash(before), tolerance=0)


def test_a_neutral_operator_that_also_repeats_becomes_an_expand() -> None:
    before = parsed(
        "float[1,3] x) => (float[2,3] y",
        "t = Mul(x, ones) y = Concat<axis = 0>(t)",
        {"ones": np.ones((2, 1), np.float32)},
    )
    squashed(before, "Expand")
    masks = parsed("bool[1,3] x) => (bool[2,3] y", "y = And(yes, x)", {"yes": np.ones((2, 1), np.bool_)})
    squashed(masks, "Expand")


def test_an_expand_that_its_reader_does_itself_goes() -> None:
    before = parsed(
        "float[1,3] x, float[2,3] z) => (float[2,3] y", "e = Expand(x, n) y = Mul(e, z)", {"n": integers(2, 3)}
    )
    squashed(before, "Mul")
    needed = parsed(
        "float[1,3] x, float[1,3] z) => (float[2,3] y", "e = Expand(x, n) y = Mul(e, z)", {"n": integers(2, 3)}
    )
    squashed(needed, "Expand", "Mul")


def test_a_mask_is_computed_before_it_is_repeated() -> None:
    """The mask of attention as transformers export it: And with the positions, Expand, Where, Add to the scores."""
    before = parsed(
        "bool[1,1,1,4] mask, float[1,2,4,4] scores) => (float[1,2,4,4] y",
        "a = And(positions, mask) e = Expand(a, n) w = Where(e, zero, low) s = Add(scores, w) "
        "y = Softmax<axis = -1>(s)",
        {
            "positions": np.ones((1, 1, 4, 1), np.bool_),
            "n": integers(1, 1, 4, 4),
            "zero": np.array(0, np.float32),
            "low": np.array(-1e9, np.float32),
        },
    )
    squashed(before, "Where", "Add", "Softmax")


def test_positions_that_are_not_all_allowed_stay() -> None:
    before = parsed(
        "bool[1,1,1,4] mask) => (bool[1,1,4,4] y",
        "y = And(positions, mask)",
        {"positions": np.tril(np.ones((1, 1, 4, 4), np.bool_))},
    )
    squashed(before, "And")


def test_an_identity_of_the_input_is_the_last_to_stay() -> None:
    before = parsed("float[2,3] x) => (float[2,3] y", "y = Mul(x, one)", {"one": np.array(1, np.float32)})
    squashed(before, "Identity")


def test_empty_tensors_are_left_alone() -> None:
    before = parsed("float[0,3,2] x) => (float[6,0] y", "a = Flatten(x) y = Transpose<perm = [1, 0]>(a)")
    assert lines(squash(before)) == lines(before)


@st.composite
def moves(draw: st.DrawFn) -> onnx.ModelProto:
    """A chain of 1 to 7 operators that move values or change nothing, on 24 elements."""
    shape = [2, 3, 4]
    values: dict[str, Array] = {}
    body, last = "", "x"
    for index in range(draw(st.integers(1, 7))):
        kind = draw(
            st.sampled_from(["reshape", "transpose", "unsqueeze", "flatten", "gather", "neutral", "relu", "slice"])
        )
        name = f"t{index}"
        match kind:
            case "reshape":
                shape = draw(
                    st.permutations([*[size for size in shape if size > 1], *draw(st.sampled_from([[], [1]]))])
                )
                shape = shape or [1]
                values[f"{name}n"] = integers(*shape)
                body += f"{name} = Reshape({last}, {name}n) "
            case "transpose":
                order = draw(st.permutations(range(len(shape))))
                shape = [shape[axis] for axis in order]
                body += f"{name} = Transpose<perm = {list(order)}>({last}) "
            case "unsqueeze":
                axis = draw(st.integers(0, len(shape)))
                shape = [*shape[:axis], 1, *shape[axis:]]
                values[f"{name}n"] = integers(axis)
                body += f"{name} = Unsqueeze({last}, {name}n) "
            case "flatten":
                axis = draw(st.integers(0, len(shape)))
                shape = [int(np.prod(shape[:axis])), int(np.prod(shape[axis:]))]
                body += f"{name} = Flatten<axis = {axis}>({last}) "
            case "gather" if len(shape) > 1:
                axis = draw(st.integers(0, len(shape) - 1))
                values[f"{name}n"] = np.array(draw(st.integers(-shape[axis], shape[axis] - 1)), np.int64)
                shape = [*shape[:axis], *shape[axis + 1 :]]
                body += f"{name} = Gather<axis = {axis}>({last}, {name}n) "
            case "slice":
                axis = draw(st.integers(0, len(shape) - 1))
                end = draw(st.integers(1, shape[axis]))
                values |= {f"{name}{k}": integers(v) for k, v in (("s", 0), ("e", end), ("a", axis))}
                shape = [*shape[:axis], end, *shape[axis + 1 :]]
                body += f"{name} = Slice({last}, {name}s, {name}e, {name}a) "
            case "neutral":
                values[f"{name}n"] = np.ones(draw(st.sampled_from([(), (1,)])), np.float32)
                body += f"{name} = Mul({last}, {name}n) "
            case _:
                body += f"{name} = Relu({last}) "
        last = name
    return parsed("float[2,3,4] x) => (float[a] y", f"{body} y = Identity({last})", values)


@given(moves())
def test_chains_of_moves_keep_their_function(proto: onnx.ModelProto) -> None:
    after = squash(proto)
    assert_same_function(proto, after, tolerance=0)
    assert squash(after) == after
    kinds = Counter(node.op_type for node in after.graph.node)
    assert not {"Flatten", "Unsqueeze", "Squeeze", "Gather", "Mul"} & set(kinds)
    assert random_feeds(proto).keys() == random_feeds(after).keys()


@given(networks())
def test_networks_keep_their_function(proto: onnx.ModelProto) -> None:
    after = squash(proto)
    assert_same_function(proto, after, tolerance=1e-6)
    assert squash(after) == after

"""The gate: good files come through with static shapes, every other file is refused with a code, never a traceback."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from bitline.core.diagnostics import Diagnostic, Refusal
from bitline.graph.model import Model, Wiring
from bitline.graph.read import Limits, read_model
from tests.graph.build import parsed

ONE = np.ones((1, 3), np.float32)
PADS = np.array([0, 0, 0, 6], np.int64)


def saved(folder: Path, proto: onnx.ModelProto, name: str = "net.onnx") -> Path:
    path = folder / name
    path.write_bytes(proto.SerializeToString())
    return path


def small() -> onnx.ModelProto:
    return parsed("float[1,3] x) => (float[1,3] y", "a = Add(x, w) y = Relu(a)", {"w": ONE})


def with_input_shape(*dims: int | str) -> onnx.ModelProto:
    proto = small()
    for value in (*proto.graph.input, *proto.graph.output):
        value.CopyFrom(helper.make_tensor_value_info(value.name, onnx.TensorProto.FLOAT, dims))
    del proto.graph.value_info[:]
    return proto


def refused(path: Path, **options: object) -> tuple[Diagnostic, ...]:
    with pytest.raises(Refusal) as refusal:
        read_model(path, **options)  # pyright: ignore[reportArgumentType]
    assert all(diagnostic.message for diagnostic in refusal.value.diagnostics)
    assert all(diagnostic.help for diagnostic in refusal.value.diagnostics)
    return refusal.value.diagnostics


def test_a_good_file(tmp_path: Path) -> None:
    model = read_model(saved(tmp_path, small()))
    assert isinstance(model, Model)
    assert (model.name, model.path, model.remarks) == ("net", tmp_path / "net.onnx", ())
    wiring = Wiring(model.proto.graph)
    assert [wiring.shape(name) for name in ("x", "w", "a", "y")] == [(1, 3)] * 4


def test_an_open_first_axis_becomes_one_and_this_is_said(tmp_path: Path) -> None:
    model = read_model(saved(tmp_path, with_input_shape("N", 3)))
    assert model.remarks == ("open axis 0 of 'x' became 1",)
    assert Wiring(model.proto.graph).shape("y") == (1, 3)


def test_other_open_axes_are_refused_all_at_once(tmp_path: Path) -> None:
    proto = parsed("float[N,C] x, float[1,C] z) => (float[N,C] y", "y = Add(x, z)")
    first, second = refused(saved(tmp_path, proto))
    assert first.code == second.code == "BL0303"
    assert "'x' has open axes: 0 (N), 1 (C)" in first.message
    assert "--shape x=1,N" in first.help
    assert "'z' has open axes: 1 (C)" in second.message


def test_shapes_close_any_axis(tmp_path: Path) -> None:
    model = read_model(saved(tmp_path, with_input_shape("N", 3)), shapes={"x": (5, 3)})
    assert Wiring(model.proto.graph).shape("y") == (5, 3)
    assert model.remarks == ()


@pytest.mark.parametrize(
    ("shapes", "said"),
    [
        ({"q": (1, 3)}, "'q', which is no input"),
        ({"x": (1, 3, 1)}, "has 3 axes, the input has 2"),
        ({"x": (1, 4)}, "fixes axis 1 to 3"),
        ({"x": (0, 3)}, "sizes start at 1"),
    ],
)
def test_shapes_that_contradict_the_file(tmp_path: Path, shapes: dict[str, tuple[int, ...]], said: str) -> None:
    (diagnostic,) = refused(saved(tmp_path, with_input_shape("N", 3)), shapes=shapes)
    assert diagnostic.code == "BL0101"
    assert said in diagnostic.message


def test_a_negative_size_of_an_input_leaves_the_axis_open(tmp_path: Path) -> None:
    """PaddlePaddle writes -1 for the batch."""
    assert read_model(saved(tmp_path, with_input_shape(-1, 3))).remarks == ("open axis 0 of 'x' became 1",)
    model = read_model(saved(tmp_path, with_input_shape(-1, 3)), shapes={"x": (5, 3)})
    assert Wiring(model.proto.graph).shape("y") == (5, 3)
    proto = parsed("float[1,C] x) => (float[1,C] y", "y = Relu(x)")
    proto.graph.input[0].type.tensor_type.shape.dim[1].dim_value = -1
    (diagnostic,) = refused(saved(tmp_path, proto))
    assert diagnostic.code == "BL0303"


def test_shape_arithmetic_is_seen_through(tmp_path: Path) -> None:
    proto = parsed(
        "float[N,4] x) => (float[a,b] y",
        "s = Shape(x) n = Size(x) t = ConstantOfShape(s) u = Add(t, x) one = Constant<value_ints = [1]>() "
        "m = Reshape(n, one) y = Reshape(u, m)",
    )
    proto.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["L"]))
    model = read_model(saved(tmp_path, proto))
    assert Wiring(model.proto.graph).shape("y") == (4,)
    assert len(model.proto.graph.node) == 7


def test_shapes_that_depend_on_data_are_refused_with_their_node(tmp_path: Path) -> None:
    proto = parsed("float[4] x) => (int64[1,n] y", "y = NonZero(x)")
    proto.graph.node[0].name = "find"
    (diagnostic,) = refused(saved(tmp_path, proto))
    assert (diagnostic.code, diagnostic.place) == ("BL0303", "net.onnx:find")


def test_files_that_are_not_there(tmp_path: Path) -> None:
    for path in (tmp_path / "none.onnx", tmp_path):
        (diagnostic,) = refused(path)
        assert (diagnostic.code, diagnostic.place) == ("BL0201", str(path))


def test_an_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "empty.onnx"
    path.touch()
    assert "empty" in refused(path)[0].message


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        (Limits(model_bytes=10), "the limit is 10"),
        (Limits(nodes=1), "nodes: 2 or more; the limit is 1"),
        (Limits(fields=9), "fields of the file: 10 or more; the limit is 9"),
        (Limits(name_length=0), "length of the name that begins"),
        (Limits(stored_bytes=11), "bytes of the tensor 'w' [1, 3]: 12; the limit is 11"),
        (Limits(tensor_bytes=35), "would take 36 bytes"),
    ],
)
def test_budgets(tmp_path: Path, limits: Limits, said: str) -> None:
    proto = parsed("float[1,3] x) => (float[1,9] y", "a = Add(x, w) p = Pad(a, n) y = Relu(p)", {"w": ONE, "n": PADS})
    diagnostic = refused(saved(tmp_path, proto), limits=limits)[0]
    assert diagnostic.code == "BL0203"
    assert said in diagnostic.message


def nested(depth: int) -> onnx.ModelProto:
    node = helper.make_node("Relu", ["x"], ["y0"])
    for level in range(depth):
        info = [helper.make_tensor_value_info(f"y{level}", onnx.TensorProto.FLOAT, [1, 3])]
        branches = [helper.make_graph([node], f"g{level}", [], info) for _ in range(2)]
        node = helper.make_node("If", ["c"], [f"y{level + 1}"], then_branch=branches[0], else_branch=branches[1])
    graph = helper.make_graph(
        [node],
        "g",
        [
            helper.make_tensor_value_info("c", onnx.TensorProto.BOOL, []),
            helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 3]),
        ],
        [helper.make_tensor_value_info(f"y{depth}", onnx.TensorProto.FLOAT, [1, 3])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_nested_subgraphs_have_a_budget(tmp_path: Path) -> None:
    assert read_model(saved(tmp_path, nested(2))).name == "net"
    said = " ".join(d.message for d in refused(saved(tmp_path, nested(4)), limits=Limits(nesting=3, subgraphs=20)))
    assert "nesting of subgraphs: 4" in said
    assert "subgraphs: " in said


def test_a_huge_tensor_is_refused_before_anything_allocates_it(tmp_path: Path) -> None:
    proto = parsed(
        "float[1] x) => (float[a] y", "z = ConstantOfShape(n) y = Add(x, z)", {"n": np.array([2**38], np.int64)}
    )
    assert {d.code for d in refused(saved(tmp_path, proto))} == {"BL0203"}


def broken(change: Callable[[onnx.ModelProto], object]) -> onnx.ModelProto:
    proto = small()
    change(proto)
    return proto


BROKEN: dict[str, Callable[[onnx.ModelProto], object]] = {
    "cycle": lambda p: p.graph.node[0].input.__setitem__(0, "y"),
    "dangling input": lambda p: p.graph.node[0].input.__setitem__(0, "nowhere"),
    "duplicate output": lambda p: p.graph.node[1].output.__setitem__(0, "a"),
    "initializer too short": lambda p: setattr(p.graph.initializer[0], "raw_data", b"\0" * 4),
    "negative size": lambda p: p.graph.initializer[0].dims.__setitem__(0, -1),
    "no opset": lambda p: p.opset_import.pop(),
    "wrong type": lambda p: setattr(p.graph.initializer[0], "data_type", onnx.TensorProto.INT64),
    "shapes that do not broadcast": lambda p: p.graph.initializer[0].CopyFrom(
        numpy_helper.from_array(np.ones((1, 7), np.float32), "w")
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_invalid_models(tmp_path: Path, what: str) -> None:
    diagnostics = refused(saved(tmp_path, broken(BROKEN[what])))
    assert diagnostics[0].code == "BL0202"
    assert diagnostics[0].place.split(":")[0] == "net.onnx"


@pytest.mark.parametrize(
    ("operator", "help"), [("Frobnicate", "export with standard operators only"), ("Gelu", "export with a newer opset")]
)
def test_unknown_operators_are_unsupported_not_damaged(tmp_path: Path, operator: str, help: str) -> None:
    (found,) = refused(saved(tmp_path, broken(lambda p: setattr(p.graph.node[0], "op_type", operator))))
    assert (found.code, found.help) == ("BL0301", help)
    assert operator in found.message


def test_operators_that_onnx_does_not_define(tmp_path: Path) -> None:
    proto = small()
    proto.opset_import.append(helper.make_opsetid("com.example", 1))
    for node in proto.graph.node:
        node.domain, node.name = "com.example", f"my_{node.op_type}"
    first, second = refused(saved(tmp_path, proto))
    assert (first.code, first.place) == ("BL0301", "net.onnx:my_Add")
    assert second.place == "net.onnx:my_Relu"


def test_values_that_are_not_finite_are_refused_all_at_once(tmp_path: Path) -> None:
    proto = parsed(
        "float[1,3] x) => (float[1,3] y",
        "a = Add(x, v) y = Add(a, w)",
        {"v": np.array([1, np.nan, 2], np.float32), "w": np.array([np.inf, -np.inf, 0], np.float32)},
    )
    first, second = refused(saved(tmp_path, proto))
    assert first.code == second.code == "BL0204"
    assert "'v' holds 1 NaN" in first.message
    assert "'w' holds 2 NaN" in second.message


def external(folder: Path, location: str) -> Path:
    proto = small()
    tensor = proto.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    tensor.external_data.add(key="length", value="12")
    return saved(folder, proto)


def test_external_data_come_inside(tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(ONE.tobytes())
    path = external(tmp_path, "w.bin")
    model = read_model(path)
    (tensor,) = model.proto.graph.initializer
    np.testing.assert_array_equal(numpy_helper.to_array(tensor), ONE)
    assert tensor.data_location == onnx.TensorProto.DEFAULT
    assert "external data: 12; the limit is 11" in refused(path, limits=Limits(external_bytes=11))[0].message
    assert "memory for 11 is free" in refused(path, limits=Limits(held_bytes=11))[0].message


def test_external_data_stay_in_the_folder(tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    outside = tmp_path / "w.bin"
    outside.write_bytes(ONE.tobytes())
    (inside / "link.bin").symlink_to(outside)
    for location in ("../w.bin", str(outside), "link.bin", "missing.bin"):
        assert refused(external(inside, location))[0].code == "BL0202"


def test_old_opsets_are_raised_and_default_inputs_become_constants(tmp_path: Path) -> None:
    proto = parsed("float[1,3] x, float[1,3] w) => (float[1,3] y", "a = Add(x, w) y = Relu(a)", {"w": ONE})
    proto.opset_import[0].version = 9
    model = read_model(saved(tmp_path, proto))
    assert [value.name for value in model.inputs] == ["x"]
    assert model.proto.opset_import[0].version == 13
    assert model.remarks == ("1 inputs with a default value became constants", "opset 9 became 13")


def test_ir_version_3_without_default_inputs_can_take_constants(tmp_path: Path) -> None:
    """Below version 4 every constant has to be an input as well, and quantising adds constants."""
    proto = parsed("float[1,3] x) => (float[1,3] y", "y = Relu(x)")
    proto.ir_version = 3
    assert read_model(saved(tmp_path, proto)).proto.ir_version == 4


def test_an_empty_input_is_refused(tmp_path: Path) -> None:
    proto = parsed("float[1,0] x) => (float[1,0] y", "y = Relu(x)")
    (diagnostic,) = refused(saved(tmp_path, proto))
    assert (diagnostic.code, diagnostic.message) == ("BL0302", "input 'x' has an axis of size 0")


def test_an_opset_of_the_future(tmp_path: Path) -> None:
    proto = small()
    proto.opset_import[0].version = 999
    assert "opset 999 is newer" in refused(saved(tmp_path, proto))[0].message


def test_local_functions_are_inlined(tmp_path: Path) -> None:
    text = """<ir_version: 8, opset_import: ["" : 17, "mine" : 1]>
        g (float[1,3] x) => (float[1,3] y) { y = mine.twice(x) }
        <domain: "mine", opset_import: ["" : 17]> twice (a) => (b) { b = Add(a, a) }"""
    model = read_model(saved(tmp_path, onnx.parser.parse_model(text)))
    assert [node.op_type for node in model.proto.graph.node] == ["Add"]


@given(st.binary(min_size=1, max_size=200))
def test_any_bytes_are_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    folder = tmp_path_factory.mktemp("bytes")
    path = folder / "net.onnx"
    path.write_bytes(data)
    assert refused(path)[0].code in ("BL0202", "BL0301", "BL0302", "BL0303")
    shutil.rmtree(folder)


@given(st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=8))
def test_damaged_models_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, damage: list[tuple[int, int]]
) -> None:
    data = bytearray(small().SerializeToString())
    for position, value in damage:
        data[position % len(data)] = value
    folder = tmp_path_factory.mktemp("damaged")
    path = folder / "net.onnx"
    path.write_bytes(data)
    with suppress(Refusal):
        assert read_model(path).name == "net"
    shutil.rmtree(folder)

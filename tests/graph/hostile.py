"""Files that are broken or mean harm: each maker writes one into a folder and returns what is to be read."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

Make = Callable[[Path], Path]
Array = npt.NDArray[np.generic]

ONE = np.ones((1, 3), np.float32)
INFO = helper.make_tensor_value_info
FLOAT = TensorProto.FLOAT


def net(
    nodes: Sequence[onnx.NodeProto] | None = None,
    weights: dict[str, Array] | None = None,
    *,
    x: Sequence[int | str] = (1, 3),
    y: Sequence[int | str] = (1, 3),
    opset: int = 17,
) -> onnx.ModelProto:
    """A network from `x` to `y`; an Add and a Relu where no nodes are given."""
    made = nodes or [node("Add", ["x", "w"], ["a"]), node("Relu", ["a"], ["y"])]
    constants = {"w": ONE} if weights is None else weights
    graph = helper.make_graph(
        made,
        "g",
        [INFO("x", FLOAT, x)],
        [INFO("y", FLOAT, y)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def node(kind: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: object) -> onnx.NodeProto:
    """A node that is named after its operator."""
    made = helper.make_node(kind, inputs, outputs, name=f"the_{kind}")
    made.attribute.extend(helper.make_attribute(key, value) for key, value in attributes.items())
    return made


def written(data: bytes | onnx.ModelProto) -> Make:
    """The file itself."""

    def make(folder: Path) -> Path:
        path = folder / "net.onnx"
        path.write_bytes(data if isinstance(data, bytes) else data.SerializeToString())
        return path

    return make


def changed(change: Callable[[onnx.ModelProto], object]) -> Make:
    """A sound network with one thing changed."""

    def make(folder: Path) -> Path:
        proto = net()
        change(proto)
        return written(proto)(folder)

    return make


def weight(**fields: object) -> Make:
    """A sound network whose weight says something else about itself; None takes a field away."""

    def change(proto: onnx.ModelProto) -> None:
        tensor = proto.graph.initializer[0]
        for name, value in fields.items():
            tensor.ClearField(name)  # type: ignore[arg-type]  # a name of a field
            if isinstance(value, list):
                getattr(tensor, name).extend(value)
            elif value is not None:
                setattr(tensor, name, value)

    return changed(change)


def bomb(kind: str, size: int, **more: Array) -> Make:
    """A node that would make `size` elements out of a few bytes."""
    constants: dict[str, Array] = {"n": np.array([size], np.int64), "one": np.ones(1, np.float32), **more}
    operands = {
        "ConstantOfShape": ["n"],
        "Expand": ["one", "n"],
        "Tile": ["one", "n"],
        "Range": ["zero", "end", "step"],
        "Pad": ["one", "pads"],
        "Resize": ["image", "", "", "sizes"],
    }[kind]
    nodes = [node(kind, operands, ["z"])]
    kept = {name: constants[name] for name in operands if name}
    if kind == "Range":
        nodes.append(node("Cast", ["z"], ["f"], to=FLOAT))
    nodes.append(node("ReduceSum", ["f" if kind == "Range" else "z"], ["s"], keepdims=0))
    nodes.append(node("Add", ["x", "s"], ["y"]))
    return written(net(nodes, kept))


def conv(*, kernel: tuple[int, ...] = (4, 3, 3, 3), **attributes: object) -> Make:
    """A convolution over `x` [1, 3, 8, 8]."""
    made = [node("Conv", ["x", "w"], ["y"], **attributes)]
    return written(net(made, {"w": np.zeros(kernel, np.float32)}, x=(1, 3, 8, 8), y="abcd"))


def branches(inner: Sequence[onnx.NodeProto], output: str) -> list[onnx.GraphProto]:
    """Two equal branches for an If."""
    return [helper.make_graph(inner, "branch", [], [INFO(output, FLOAT, (1, 3))]) for _ in range(2)]


def nested(depth: int, count: int = 1) -> Make:
    """`count` nodes If, each of `depth` levels."""
    body = [helper.make_node("Relu", ["x"], ["y0"])]
    for level in range(depth):
        then, otherwise = branches(body, f"y{level}")
        body = [helper.make_node("If", ["c"], [f"y{level + 1}"], then_branch=then, else_branch=otherwise)]
    nodes = [helper.make_node("Identity", ["yes"], ["c"])]
    for number in range(count):
        top = onnx.NodeProto.FromString(body[0].SerializeToString())
        top.output[0] = "y" if number == 0 else f"other{number}"
        nodes.append(top)
    return written(net(nodes, {"yes": np.array(True)}))


def loop(turns: int | None) -> Make:
    """A Loop of so many turns, or of a number that is an input."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Relu", ["state"], ["next"])],
        "body",
        [INFO("i", TensorProto.INT64, []), INFO("go", TensorProto.BOOL, []), INFO("state", FLOAT, (1, 3))],
        [INFO("on", TensorProto.BOOL, []), INFO("next", FLOAT, (1, 3))],
    )
    made = [node("Loop", ["m", "", "x"], ["y"], body=body)]
    proto = net(made, {} if turns is None else {"m": np.array(turns, np.int64)})
    if turns is None:
        proto.graph.input.append(INFO("m", TensorProto.INT64, []))
    return written(proto)


def functions(calls: Sequence[Sequence[int]], used: int = 0) -> Make:
    """Function number i adds its argument to itself and then calls the functions `calls[i]` one after the other."""
    proto = net([helper.make_node(f"f{used}", ["x"], ["y"], domain="mine")], {})
    proto.opset_import.append(helper.make_opsetid("mine", 1))
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("mine", 1)]
    for number, called in enumerate(calls):
        nodes = [helper.make_node("Add", ["a", "a"], ["t0"])]
        nodes += [helper.make_node(f"f{c}", [f"t{i}"], [f"t{i + 1}"], domain="mine") for i, c in enumerate(called)]
        nodes.append(helper.make_node("Relu", [f"t{len(called)}"], ["b"]))
        proto.functions.append(helper.make_function("mine", f"f{number}", ["a"], ["b"], nodes, imports))
    return written(proto)


def renamed(name: str | bytes) -> Make:
    """The tensor between the two nodes has this name (bytes: of the length of `filler`, put into the file)."""

    def change(proto: onnx.ModelProto) -> None:
        text = name if isinstance(name, str) else "Q" * len(name)
        proto.graph.node[0].output[0] = proto.graph.node[1].input[0] = text

    def make(folder: Path) -> Path:
        path = changed(change)(folder)
        if isinstance(name, bytes):
            path.write_bytes(path.read_bytes().replace(b"Q" * len(name), name))
        return path

    return make


def operator(kind: str, domain: str = "", name: str = "odd") -> Make:
    """A sound network with another operator in front."""

    def change(proto: onnx.ModelProto) -> None:
        proto.graph.node[0].CopyFrom(helper.make_node(kind, ["x", "w"], ["a"], name, domain=domain))
        if domain:
            proto.opset_import.append(helper.make_opsetid(domain, 1))

    return changed(change)


def strings(folder: Path) -> Path:
    """Text goes in, text comes out."""
    proto = net([node("Identity", ["x"], ["y"])], {})
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.elem_type = TensorProto.STRING
    return written(proto)(folder)


def sparse(folder: Path) -> Path:
    """A weight of which only the values that are not zero stand in the file."""
    proto = net()
    del proto.graph.initializer[:]
    values = numpy_helper.from_array(np.ones(1, np.float32), "w")
    indices = numpy_helper.from_array(np.zeros(1, np.int64), "w_indices")
    proto.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [1, 3]))
    return written(proto)(folder)


def sequence_input(folder: Path) -> Path:
    """An input that is a sequence of tensors."""
    proto = net([node("SequenceAt", ["x", "i"], ["y"])], {"i": np.array(0, np.int64)})
    proto.graph.input[0].CopyFrom(helper.make_tensor_sequence_value_info("x", FLOAT, [1, 3]))
    return written(proto)(folder)


def many_empty_nodes(folder: Path) -> Path:
    """20 MB that would become 2 GB of objects."""
    return written(_field(7, _field(1, b"") * 10_000_000))(folder)


def many_empty_inputs(folder: Path) -> Path:
    """One node with ten million inputs."""
    return written(_field(7, _field(1, _field(1, b"") * 10_000_000)))(folder)


def announced_too_long(folder: Path) -> Path:
    """A graph of 2^60 bytes is announced."""
    return written(b"\x3a" + _varint(2**60) + b"\x0a")(folder)


def deep_groups(folder: Path) -> Path:
    """Types within types, 5,000 deep: sequence of sequence of ..."""
    type_of = b""
    for _ in range(5_000):
        type_of = _field(4, _field(1, type_of))
    return written(_field(7, _field(11, _field(1, b"x") + _field(2, type_of))))(folder)


def sparse_file(folder: Path) -> Path:
    """3 GiB of nothing, which take no place on the disk."""
    path = folder / "net.onnx"
    with path.open("wb") as stream:
        stream.truncate(3 * 2**30)
    return path


def zeros(folder: Path) -> Path:
    """1.5 GiB of nothing."""
    path = folder / "net.onnx"
    with path.open("wb") as stream:
        stream.truncate(3 * 2**29)
    return path


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*out, value))


def _field(number: int, data: bytes) -> bytes:
    return bytes([number << 3 | 2]) + _varint(len(data)) + data


def zipped(folder: Path) -> Path:
    """A PyTorch archive looks like this."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}q\x00.")
    return written(out.getvalue())(folder)


class _Runs:
    """Unpickled, it would leave a file behind."""

    def __init__(self, place: str) -> None:
        self.place = place

    def __reduce__(self) -> tuple[object, ...]:
        return (os.mkdir, (self.place,))


def pickled(folder: Path) -> Path:
    """A pickle that would make a folder `owned` beside itself."""
    return written(pickle.dumps(_Runs(str(folder / "owned"))))(folder)


def folder_for_file(folder: Path) -> Path:
    """A folder with the name of a model."""
    (folder / "net.onnx").mkdir()
    return folder / "net.onnx"


def fifo(folder: Path) -> Path:
    """Reading it would wait for ever."""
    os.mkfifo(folder / "net.onnx")
    return folder / "net.onnx"


def device(_: Path) -> Path:
    """It never ends."""
    return Path("/dev/zero")


def external(location: str, prepare: Callable[[Path], object] | None = None, **keys: str | None) -> Make:
    """A weight that lies in a file; `keys` are set beside offset 0 and length 12, or taken away (None)."""

    def make(folder: Path) -> Path:
        inside = folder / "inside"
        inside.mkdir()
        (folder / "outside.bin").write_bytes(ONE.tobytes())
        (inside / "w.bin").write_bytes(ONE.tobytes())
        if prepare is not None:
            prepare(inside)
        proto = net()
        tensor = proto.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        entries = {"location": location or None, "offset": "0", "length": "12", **keys}
        for key, value in entries.items():
            if value is not None:
                tensor.external_data.add(key=key, value=value)
        return written(proto)(inside)

    return make


def external_twice(folder: Path) -> Path:
    """Two locations for one tensor."""
    path = external("w.bin")(folder)
    proto = onnx.ModelProto.FromString(path.read_bytes())
    proto.graph.initializer[0].external_data.add(key="location", value="../outside.bin")
    return written(proto)(path.parent)


def external_and_inside(folder: Path) -> Path:
    """The data are there, and a file is named as well."""
    proto = net()
    proto.graph.initializer[0].external_data.add(key="location", value="../outside.bin")
    return written(proto)(folder)


def external_in_attribute(folder: Path) -> Path:
    """The value of a Constant lies outside."""
    made = net([node("Constant", [], ["c"], value=numpy_helper.from_array(ONE)), node("Add", ["x", "c"], ["y"])], {})
    value = made.graph.node[0].attribute[0].t
    value.ClearField("raw_data")
    value.data_location = TensorProto.EXTERNAL
    value.external_data.add(key="location", value="../outside.bin")
    (folder / "inside").mkdir()
    (folder / "outside.bin").write_bytes(ONE.tobytes())
    return written(made)(folder / "inside")


def external_shared(count: int, mebibytes: int) -> Make:
    """One sparse file that `count` tensors name: little on the disk, much in memory."""

    def make(folder: Path) -> Path:
        elements = mebibytes * 2**18
        with (folder / "w.bin").open("wb") as stream:
            stream.truncate(elements * 4)
        proto = net([node("Relu", ["x"], ["y"])], {})
        for number in range(count):
            tensor = proto.graph.initializer.add(name=f"w{number}", dims=[elements], data_type=FLOAT)
            tensor.data_location = TensorProto.EXTERNAL
            tensor.external_data.add(key="location", value="w.bin")
        return written(proto)(folder)

    return make

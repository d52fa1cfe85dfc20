"""Broken and hostile files: each is refused with its code, in a message that says what and where, quickly and cheaply.

Every file is read in a forked process of its own with a clock and a limit of memory, so that a hang, a crash of
native code or a bomb shows as what it is.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from bitline.core.diagnostics import Diagnostic, Refusal
from bitline.graph.external import EARLY_BYTES_TOTAL
from bitline.graph.read import Limits, read_model
from tests.forked import Outcome, run_forked
from tests.graph import hostile as h

SECONDS = 2.0
MEMORY = 900 << 20  # a process that has only imported bitline takes 90 MB: together below 1 GB
KILL_AFTER = 60.0
BIG = 2**38
SOAK = os.environ.get("BITLINE_HYPOTHESIS") == "soak"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A file, the code of the refusal, and words of its message or place."""

    make: h.Make
    code: str
    says: tuple[str, ...]


def case(make: h.Make, code: str, *says: str) -> Case:
    return Case(make=make, code=code, says=says)


def with_sockets(folder: Path) -> Path:
    """A socket under the name of a model."""
    path = folder / "net.onnx"
    here = Path.cwd()
    os.chdir(folder)  # the name of a socket may have 107 characters
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("net.onnx")
    os.chdir(here)
    return path


TABLE: dict[str, Case] = {
    # no model at all
    "nothing": case(h.written(b""), "BL0202", "empty"),
    "text": case(h.written(b"hello, world\n" * 50), "BL0202", "damaged"),
    "json": case(h.written(b'{"irVersion": 8}'), "BL0202", "damaged"),
    "one byte": case(h.written(b"\x3a"), "BL0202", "damaged"),
    "truncated": case(h.written(h.net().SerializeToString()[:-7]), "BL0202", "damaged"),
    "wrong magic": case(h.written(b"\x89PNG\r\n\x1a\n" + h.net().SerializeToString()), "BL0202", "ir_version"),
    "a zip archive": case(h.zipped, "BL0202", "damaged"),
    "a pickle": case(h.pickled, "BL0202", "damaged"),
    "a folder": case(h.folder_for_file, "BL0201", "a folder"),
    "a FIFO": case(h.fifo, "BL0201", "not a plain file"),
    "a device": case(h.device, "BL0201", "not a plain file"),
    "a socket": case(with_sockets, "BL0201", "not a plain file"),
    "no file": case(lambda folder: folder / "net.onnx", "BL0201", "No such file"),
    "a name with NUL": case(lambda folder: folder / "a\0b.onnx", "BL0201", "null byte"),
    "3 GiB of zeros": case(h.sparse_file, "BL0203", "3221225472 bytes"),
    "1.5 GiB of zeros": case(h.zeros, "BL0202", "no field begins at byte 0"),
    "a graph without nodes": case(h.written(b"\x08\x08\x3a\x00\x42\x02\x10\x11"), "BL0202", "name"),
    # more than is bearable
    "ten million empty nodes": case(h.many_empty_nodes, "BL0203", "nodes: 1000001"),
    "ten million empty inputs": case(h.many_empty_inputs, "BL0203", "fields of the file"),
    "2^60 bytes announced": case(h.announced_too_long, "BL0202", f"{2**60} bytes are announced"),
    "types within types": case(h.deep_groups, "BL0202", "damaged"),
    "If nested 12 deep": case(h.nested(12), "BL0203", "nesting of subgraphs: "),
    "1,001 subgraphs": case(h.nested(1, 501), "BL0203", "subgraphs: 1001"),
    "a Loop of 2^40 turns": case(h.loop(2**40), "BL0203", f"turns of a Loop: {2**40}", "Loop"),
    "a Loop that an input counts": case(h.loop(None), "BL0302", "number of turns is no constant", "Loop"),
    "a name of 5 MB": case(h.renamed("n" * 5_000_000), "BL0203", "begins 'nnnnn", "5000000"),
    "ConstantOfShape": case(h.bomb("ConstantOfShape", BIG), "BL0203", f"[{BIG}]", "the_ConstantOfShape"),
    "Expand": case(h.bomb("Expand", BIG), "BL0203", f"[{BIG}]", "the_Expand"),
    "Tile": case(h.bomb("Tile", BIG), "BL0203", f"[{BIG}]", "the_Tile"),
    "Pad": case(h.bomb("Pad", 0, pads=np.array([0, BIG], np.int64)), "BL0203", f"[{BIG + 1}]", "the_Pad"),
    "Range": case(
        h.bomb("Range", 0, zero=np.array(0), end=np.array(BIG), step=np.array(1)), "BL0203", f"[{BIG}]", "the_Range"
    ),
    "Range by steps of 2^-40": case(
        h.bomb("Range", 0, zero=np.array(0.0), end=np.array(1.0), step=np.array(2.0**-40)), "BL0203", f"[{2**40}]"
    ),
    "Resize": case(
        h.bomb("Resize", 0, image=np.ones((1, 1, 1, 1), np.float32), sizes=np.array([1, 1, BIG, 1])), "BL0203", f"{BIG}"
    ),
    # functions
    "a function that calls itself": case(h.functions([[0]]), "BL0202", "'f0' calls itself"),
    "two functions that call each other": case(h.functions([[1], [0]]), "BL0202", "calls itself"),
    "an unused function that calls itself": case(h.functions([[], [1]]), "BL0202", "'f1' calls itself"),
    "functions that grow to 2^40 nodes": case(
        h.functions([[i + 1, i + 1] for i in range(40)] + [[]]), "BL0203", "with all functions put in"
    ),
    "300 functions within one another": case(
        h.functions([[i + 1] for i in range(300)] + [[]]), "BL0203", "functions within functions"
    ),
    "300 functions, the innermost first": case(
        h.functions([[]] + [[i] for i in range(300)], used=300), "BL0203", "functions within functions"
    ),
    # graphs that contradict themselves
    "a cycle": case(h.changed(lambda p: p.graph.node[0].input.__setitem__(0, "y")), "BL0202", "topologically"),
    "a dangling input": case(h.changed(lambda p: p.graph.node[0].input.__setitem__(0, "gone")), "BL0202", "gone"),
    "an output twice": case(h.changed(lambda p: p.graph.node[1].output.__setitem__(0, "a")), "BL0202", "'a'"),
    "an output that nothing makes": case(h.changed(lambda p: p.graph.node.pop()), "BL0202", "y"),
    "no graph": case(h.changed(lambda p: p.ClearField("graph")), "BL0202", "graph"),
    "an unknown operator": case(h.operator("Frobnicate"), "BL0301", "Frobnicate", "net.onnx:odd"),
    "an unknown domain": case(h.operator("Thing", domain="acme"), "BL0301", "acme", "net.onnx:odd"),
    "a missing input": case(h.changed(lambda p: p.graph.node[0].input.pop()), "BL0202", "the_Add"),
    "an attribute of the wrong type": case(
        h.written(h.net([h.node("LeakyRelu", ["x"], ["y"], alpha="no number")], {})), "BL0202", "alpha"
    ),
    "an attribute twice": case(
        h.written(h.net([h.node("Flatten", ["x"], ["y"], axis=1), h.node("Relu", ["x"], ["y"])], {})), "BL0202", "y"
    ),
    "opset 999": case(h.changed(lambda p: setattr(p.opset_import[0], "version", 999)), "BL0302", "opset 999"),
    "opset -1": case(h.changed(lambda p: setattr(p.opset_import[0], "version", -1)), "BL0301", "opset -1"),
    "no opset": case(h.changed(lambda p: p.opset_import.pop()), "BL0202", "opset_import"),
    "no IR version": case(h.changed(lambda p: p.ClearField("ir_version")), "BL0202", "ir_version"),
    "channels that do not fit": case(h.conv(kernel=(4, 5, 3, 3)), "BL0202", "Conv"),
    "a stride of 0": case(h.conv(strides=[0, 0]), "BL0202", "Conv"),
    "a stride of -1": case(h.conv(strides=[-1, 1]), "BL0202", "Conv"),
    "a kernel of 0": case(h.conv(kernel=(4, 3, 0, 0)), "BL0202", "Conv"),
    "a dilation of 0": case(h.conv(dilations=[0, 1]), "BL0202", "Conv"),
    "0 groups": case(h.conv(group=0), "BL0202", "Conv"),
    "pads of -2^62": case(h.conv(pads=[-(2**62)] * 4), "BL0202", "Conv"),
    "pads of 2^62": case(h.conv(pads=[2**62] * 4), "BL0202", "Conv"),
    "a Reshape to too many": case(
        h.written(h.net([h.node("Reshape", ["x", "s"], ["y"])], {"s": np.array([2, 9])}, y="ab")), "BL0202", "Reshape"
    ),
    # tensors that contradict themselves
    "a negative size": case(h.weight(dims=[-1, 3]), "BL0202", "negative size", "net.onnx:w"),
    "a huge size": case(h.weight(dims=[2**62, 2**62]), "BL0203", str(2**126), "'w'"),
    "4 GiB without data": case(h.weight(dims=[2**30], raw_data=None), "BL0203", str(2**32), "'w'"),
    "1 GiB without data": case(h.weight(dims=[2**28], raw_data=None), "BL0202", "w"),
    "data too short": case(h.weight(raw_data=b"\0" * 4), "BL0202", "needs 12 bytes and holds 4"),
    "data too long": case(h.weight(raw_data=b"\0" * 40), "BL0202", "needs 12 bytes and holds 40"),
    "an unknown element type": case(h.weight(data_type=77), "BL0202", "unknown element type 77"),
    "no element type": case(h.weight(data_type=0), "BL0202", "unknown element type 0"),
    "data of two kinds": case(h.weight(float_data=[1.0, 2.0, 3.0]), "BL0202", "w"),
    "NaN": case(h.written(h.net(weights={"w": np.full((1, 3), np.nan, np.float32)})), "BL0204", "'w' holds 3 NaN"),
    "infinity": case(h.written(h.net(weights={"w": np.full((1, 3), np.inf, np.float32)})), "BL0204", "'w' holds 3"),
    "strings": case(h.strings, "BL0302", "'x' holds strings"),
    "a sparse weight": case(h.sparse, "BL0302", "sparse initializers"),
    "a sequence": case(h.sequence_input, "BL0302", "'x' is not a tensor"),
    # names
    "a name with NUL in it": case(h.renamed("a\0b"), "BL0202", "NUL"),
    "a name that is no UTF-8": case(h.renamed(b"\xff\xfe\xfd"), "BL0202", "UTF-8"),
    "a name that moves the cursor": case(
        h.operator("Frobnicate", name="\x1b[2J\x1b]0;owned\x07"), "BL0301", "Frobnicate"
    ),
    # data in other files
    "data: an absolute path": case(h.external("/etc/passwd"), "BL0202", "no path relative", "net.onnx:w"),
    "data: the folder above": case(h.external("../outside.bin"), "BL0202", "leads out of", "net.onnx:w"),
    "data: a way round": case(h.external("a/../../outside.bin"), "BL0202", "leads out of"),
    "data: backslashes": case(h.external("..\\outside.bin"), "BL0202", "no path relative"),
    "data: a link": case(
        h.external("link.bin", lambda f: (f / "link.bin").symlink_to("../outside.bin")), "BL0202", "symbolic link"
    ),
    "data: a link to a file of the folder": case(
        h.external("link.bin", lambda f: (f / "link.bin").symlink_to("w.bin")), "BL0202", "symbolic link"
    ),
    "data: a linked folder": case(
        h.external("out/outside.bin", lambda f: (f / "out").symlink_to("..")), "BL0202", "'out' in", "symbolic link"
    ),
    "data: a hard link": case(
        h.external("hard.bin", lambda f: (f / "hard.bin").hardlink_to(f.parent / "outside.bin")), "BL0202", "hard link"
    ),
    "data: missing": case(h.external("gone.bin"), "BL0202", "'gone.bin' cannot be read"),
    "data: a folder": case(h.external("sub", lambda f: (f / "sub").mkdir()), "BL0202", "not a plain file"),
    "data: a FIFO": case(h.external("pipe", lambda f: os.mkfifo(f / "pipe")), "BL0202", "not a plain file"),
    "data: a device": case(
        h.external("zero", lambda f: os.mknod(f / "zero", 0o020666, os.makedev(1, 5)))
        if os.geteuid() == 0
        else h.external("/dev/zero"),
        "BL0202",
        "plain file" if os.geteuid() == 0 else "no path relative",
    ),
    "data: a path through a file": case(h.external("w.bin/w.bin"), "BL0202", "cannot be read"),
    "data: a short file": case(
        h.external("w.bin", lambda f: (f / "w.bin").write_bytes(b"\0" * 4)), "BL0202", "bytes 0 to 12", "which has 4"
    ),
    "data: a huge length": case(h.external("w.bin", length=str(2**62)), "BL0202", str(2**62)),
    "data: a length that does not fit": case(h.external("w.bin", length="8"), "BL0202", "8 bytes", "needs 12"),
    "data: a huge offset": case(h.external("w.bin", offset=str(2**62)), "BL0202", str(2**62)),
    "data: a negative offset": case(h.external("w.bin", offset="-1"), "BL0202", "'-1' is no number"),
    "data: a negative length": case(h.external("w.bin", length="-12"), "BL0202", "'-12' is no number"),
    "data: a length in words": case(h.external("w.bin", length="1_2"), "BL0202", "'1_2' is no number"),
    "data: Arabic digits": case(h.external("w.bin", offset="\u0660"), "BL0202", "is no number"),
    "data: an odd key": case(h.external("w.bin", __class__="x"), "BL0202", "'__class__' is no key"),
    "data: no location": case(h.external(""), "BL0202", "names no file"),
    "data: a location that is the folder": case(h.external("./"), "BL0202", "names no file"),
    "data: a location with NUL": case(h.external("w.bin\0.txt"), "BL0202", "control characters"),
    "data: a location of 5 MB": case(h.external("w" * 5_000_000), "BL0202", "wwww", "cannot be read"),
    "data: two locations": case(h.external_twice, "BL0202", "'location' stands there 2 times"),
    "data: inside and outside": case(h.external_and_inside, "BL0202", "names a file as well"),
    "data: of a Constant": case(h.external_in_attribute, "BL0202", "leads out of"),
    "data: 2 TiB of one sparse file": case(h.external_shared(2048, 1024), "BL0203", "bytes of external data"),
}


def read(path: Path, limits: Limits) -> tuple[Diagnostic, ...] | str:
    """What the gate says; `str` where it lets the file through."""
    try:
        return f"{read_model(path, limits=limits).name} was let through"
    except Refusal as refusal:
        return refusal.diagnostics


def judged(make: h.Make, folder: Path, limits: Limits = Limits()) -> Outcome[tuple[Diagnostic, ...] | str]:
    path = make(folder)
    return run_forked(partial(read, path, limits), seconds=KILL_AFTER, memory_bytes=4 << 30)


@pytest.mark.parametrize("name", TABLE)
def test_is_refused(name: str, tmp_path: Path) -> None:
    expected = TABLE[name]
    outcome = judged(expected.make, tmp_path)
    assert not outcome.late
    assert (outcome.signal, outcome.traceback) == (0, "")
    assert isinstance(outcome.value, tuple), outcome.value
    said = " ".join(f"{d.place} {d.message}" for d in outcome.value)
    assert {d.code for d in outcome.value} == {expected.code}, said
    for words in expected.says:
        assert words in said
    assert all(d.help and len(d.message) < 2_000 for d in outcome.value)
    assert outcome.cpu_seconds < SECONDS  # on a busy machine the clock says more
    assert outcome.grown_bytes < MEMORY
    assert not (tmp_path / "owned").exists()


def test_the_table_is_long_enough() -> None:
    assert len(TABLE) >= 100
    assert {c.code for c in TABLE.values()} == {
        "BL0201",
        "BL0202",
        "BL0203",
        "BL0204",
        "BL0301",
        "BL0302",
    }


@pytest.mark.parametrize(
    "name", ["a\x1b[31m red", "\u202egnp.exe", "=cmd()", "<script>", "\n\r\t", "\U0001f600", "__metadata__"]
)
def test_odd_names_pass(name: str, tmp_path: Path) -> None:
    """They are escaped where they are shown; nothing else is wrong with them."""
    outcome = judged(h.renamed(name), tmp_path)
    assert outcome.value == "net was let through", outcome


def test_every_sound_maker_passes(tmp_path: Path) -> None:
    """What is refused above is refused for the one thing that is wrong with it."""
    sound = {
        "plain": h.changed(lambda p: p),
        "branches": h.nested(8, 1),
        "functions": h.functions([[1], [2], []]),
        "data": h.external("w.bin"),
        "data, without a length": h.external("w.bin", length=None),
        "data, in a folder": h.external("a/w.bin", lambda f: ((f / "a").mkdir(), (f / "w.bin").rename(f / "a/w.bin"))),
        "convolution": h.conv(strides=[1, 1]),
    }
    for name, make in sound.items():
        (tmp_path / name).mkdir()
        outcome = judged(make, tmp_path / name)
        assert outcome.value == "net was let through", (name, outcome)


def test_memory_for_weights_is_asked_for_first(tmp_path: Path) -> None:
    outcome = judged(h.external_shared(4, 256), tmp_path, Limits(held_bytes=2**30 - 1))
    assert isinstance(outcome.value, tuple)
    assert "memory for 1073741823 is free" in outcome.value[0].message
    assert outcome.grown_bytes < 100 << 20


WEIGHTS = [(4, 100), (20, 20)] + ([(22, 100), (110, 20)] if SOAK else [])
"""Tensors and their MiB: those above 64 MiB are read after shapes are known, small ones up to 1 GiB before."""


@pytest.mark.parametrize(("count", "mebibytes"), WEIGHTS)
def test_weights_beside_the_model_are_held_once(count: int, mebibytes: int, tmp_path: Path) -> None:
    """2.2 GiB with BITLINE_HYPOTHESIS=soak: more than one protobuf message can hold."""
    outcome = judged(h.external_shared(count, mebibytes), tmp_path)
    assert outcome.value == "net was let through", outcome
    total = count * mebibytes << 20
    once_more = mebibytes << 20 if mebibytes > 64 else min(total, EARLY_BYTES_TOTAL)
    assert outcome.grown_bytes < total + once_more + (100 << 20)


@pytest.mark.parametrize("elem_type", [TensorProto.UINT4, TensorProto.INT4, TensorProto.BFLOAT16, TensorProto.BOOL])
def test_bytes_of_narrow_types(elem_type: int, tmp_path: Path) -> None:
    """Two values of 4 bits share a byte."""
    proto = h.net([h.node("Relu", ["x"], ["y"])], {}, opset=21)
    proto.ir_version = 10
    proto.graph.initializer.append(helper.make_tensor("w", elem_type, [5], np.ones(5, np.float32).tolist()))
    assert judged(h.written(proto), tmp_path).value == "net was let through"

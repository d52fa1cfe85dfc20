"""Every kind of bad input is refused with code, place and way out, at once, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from tests.cli.invoke import bitline
from tests.cli.models import network, samples, save_npz, with_weight

Make = Callable[[], object]

COMPILE = "compile net.onnx --target reram-tile --calib calib.npz -o out"
EVIL = "evil\x1b[31m%s%n\nerror[BL0901]: fake"


def model(proto: onnx.ModelProto, name: str = "bad.onnx") -> Make:
    """Write a model under a name."""
    return lambda: onnx.save(proto, name)


def data(**arrays: np.typing.NDArray[np.generic]) -> Make:
    """Write `data.npz`."""
    return lambda: save_npz(Path("data.npz"), **arrays)


def archive_byte(place: int, value: int) -> Make:
    """A compressed archive with one byte changed: in both headers of its member, or (-1) within the packed numbers."""

    def write() -> None:
        np.savez_compressed("data.npz", image=samples())
        whole = bytearray(Path("data.npz").read_bytes())
        if place < 0:
            whole[len(whole) // 2] ^= 0xFF
        else:
            whole[place] = whole[whole.index(b"PK\x01\x02") + 2 + place] = value
        Path("data.npz").write_bytes(whole)

    return write


def text(name: str, content: str | bytes) -> Make:
    """Write any file."""
    return lambda: Path(name).write_bytes(content.encode() if isinstance(content, str) else content)


def part(fraction: float) -> Make:
    """The beginning of a sound model."""

    def write() -> None:
        whole = network().SerializeToString()
        Path("bad.onnx").write_bytes(whole[: int(len(whole) * fraction)])

    return write


def with_operator(operator: str, *, domain: str = "", name: str = "odd_node") -> Make:
    """A sound model with one more node between its layers."""
    proto = network(middle=[helper.make_node(operator, ["r"], ["m"], name=name, domain=domain)])
    if domain:
        proto.opset_import.append(helper.make_opsetid(domain, 1))
    return model(proto)


def without_producer() -> Make:
    proto = network()
    proto.graph.node[0].input[1] = "nowhere"
    return model(proto)


def foreign_folder() -> None:
    Path("mine").mkdir()
    Path("mine/precious.txt").write_text("mine")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bad:
    """A line of the table: how to make the bad input, the command, what must be said."""

    argv: str
    make: Make | None = None
    status: int
    code: str
    says: tuple[str, ...]


def bad_model(make: Make, status: int, code: str, *says: str, more: str = "") -> Bad:
    argv = f"compile bad.onnx --target reram-tile --calib random:2 -o out {more}"
    return Bad(argv=argv, make=make, status=status, code=code, says=("bad.onnx", *says))


def bad_data(make: Make, status: int, code: str, *says: str) -> Bad:
    argv = "compile net.onnx --target reram-tile --calib data.npz -o out"
    return Bad(argv=argv, make=make, status=status, code=code, says=("data.npz", *says))


def bad_target(content: str | bytes, code: str, *says: str) -> Bad:
    argv = "compile net.onnx --target chip.yaml --calib calib.npz -o out"
    return Bad(argv=argv, make=text("chip.yaml", content), status=2, code=code, says=("chip.yaml", *says))


def bad_words(words: str, status: int, code: str, *says: str) -> Bad:
    return Bad(argv=words, status=status, code=code, says=says)


def bad_place(place: str, *says: str, make: Make | None = None) -> Bad:
    """The model does not exist either: what is said first shows what was tested first."""
    argv = f"compile absent.onnx --target reram-tile --calib calib.npz -o {place}"
    return Bad(argv=argv, make=make, status=2, code="BL0104", says=says)


NAN, INF = float("nan"), float("inf")
TABLE: dict[str, Bad] = {
    # model files
    "model: missing": bad_words("compile absent.onnx --target reram-tile -o out", 5, "BL0201", "absent.onnx"),
    "model: a folder": bad_model(lambda: Path("bad.onnx").mkdir(), 5, "BL0201", "a folder"),
    "model: a link to nothing": bad_model(lambda: Path("bad.onnx").symlink_to("gone"), 5, "BL0201"),
    "model: empty": bad_model(text("bad.onnx", b""), 5, "BL0202", "empty"),
    "model: truncated": bad_model(part(0.5), 5, "BL0202", "damaged"),
    "model: last byte missing": bad_model(part(0.9999), 5, "BL0202"),
    "model: garbage": bad_model(text("bad.onnx", np.random.default_rng(1).bytes(5000)), 5, "BL0202", "damaged"),
    "model: text": bad_model(text("bad.onnx", "hello\n" * 100), 5, "BL0202"),
    "model: name that is no text": bad_model(
        text("bad.onnx", network().SerializeToString().replace(b"conv1", b"\xff\xfeonv")), 5, "BL0202", "UTF-8"
    ),
    "model: dangling input": bad_model(without_producer(), 5, "BL0202", "nowhere", "conv1"),
    "model: contradicting shapes": bad_model(model(network(features=99)), 5, "BL0202", "dense", "99"),
    "model: NaN weight": bad_model(model(with_weight(network(), "w1", NAN)), 5, "BL0204", "'w1'"),
    "model: infinite weight": bad_model(model(with_weight(network(), "w2", -INF)), 5, "BL0204", "'w2'"),
    "model: weights that overflow": bad_model(model(with_weight(network(), "w1", 3.4e38)), 2, "BL0105", "'r'"),
    "model: unknown operator": bad_model(with_operator("Frobnicate"), 3, "BL0301", "Frobnicate", "odd_node"),
    "model: operator of another domain": bad_model(
        with_operator("Thing", domain="acme"), 3, "BL0301", "acme", "odd_node"
    ),
    "model: operator from a later opset": bad_model(with_operator("Gelu"), 3, "BL0301", "Gelu", "newer opset"),
    "model: control characters in a name": bad_model(
        with_operator("Frobnicate", name=EVIL), 3, "BL0301", "evil\\x1b[31m%s%n\\nerror[BL0901]: fake"
    ),
    "model: a name of 900 letters": bad_model(with_operator("Frobnicate", name="n" * 900), 3, "BL0301", "n" * 900),
    "model: opset from the future": bad_model(model(network(opset=99)), 3, "BL0302", "99"),
    "model: open axes": bad_model(model(network(axes=(1, 2, "H", "W"))), 3, "BL0303", "'image'", "2 (H)", "--shape"),
    # --shape
    "shape: contradicts the file": bad_words(f"{COMPILE} --shape image=1,2,7,7", 2, "BL0101", "axis 2", "net.onnx"),
    "shape: contradicts the network": bad_model(
        model(network(axes=(1, 2, "H", "W"))), 2, "BL0101", "image=1,2,9,9", "dense", more="--shape image=1,2,9,9"
    ),
    "shape: unknown input": bad_words(f"{COMPILE} --shape imag=1,2,6,6", 2, "BL0101", "'imag'", "inputs: image"),
    "shape: number of axes": bad_words(f"{COMPILE} --shape image=1,2,6", 2, "BL0101", "3 axes"),
    "shape: not understood": bad_words(f"{COMPILE} --shape image", 2, "BL0101", "'image'"),
    "shape: zero": bad_words(f"{COMPILE} --shape image=1,0,6,6", 2, "BL0101", "sizes start at 1"),
    "shape: beyond 64 bits": bad_words(f"{COMPILE} --shape image=1,2,6,{10**20}", 2, "BL0101", "image", str(10**20)),
    # data
    "data: none for a float model": bad_words(
        "compile net.onnx --target reram-tile -o out", 2, "BL0101", "net.onnx", "--calib"
    ),
    "data: missing": bad_words("quantize net.onnx --calib absent.npz -o q.onnx", 5, "BL0206", "absent.npz"),
    "data: a folder": bad_data(lambda: Path("data.npz").mkdir(), 5, "BL0206"),
    "data: empty file": bad_data(text("data.npz", b""), 5, "BL0206"),
    "data: damaged archive": bad_data(text("data.npz", b"PK\x03\x04junk"), 5, "BL0206"),
    "data: unknown compression": bad_data(archive_byte(8, 77), 5, "BL0206", "compression"),
    "data: encrypted": bad_data(archive_byte(6, 1), 5, "BL0206", "encrypted"),
    "data: damaged numbers": bad_data(archive_byte(-1, 0), 5, "BL0206"),
    "data: pickled objects": bad_data(data(image=np.array([{}], object)), 5, "BL0206", "pickled"),
    "data: wrong shape": bad_data(data(image=samples()[:, :, :5]), 2, "BL0105", "'image'", "[4, 2, 5, 6]"),
    "data: wrong name": bad_data(data(imag=samples()), 2, "BL0105", "'image'"),
    "data: images for floats": bad_data(data(image=np.zeros((4, 2, 6, 6), np.uint8)), 2, "BL0105", "uint8"),
    "data: words": bad_data(data(image=np.array([["a"]])), 2, "BL0105", "'image'"),
    "data: complex": bad_data(data(image=samples().astype(complex)), 2, "BL0105", "complex128"),
    "data: NaN": bad_data(data(image=samples() * NAN), 2, "BL0105", "'image'", "NaN"),
    "data: beyond float32": bad_data(data(image=samples().astype(float) * 1e300), 2, "BL0105", "infinite"),
    "data: no samples": bad_data(data(image=samples()[:0]), 2, "BL0105", "no samples"),
    "data: images of another size": bad_data(data(x=np.zeros((4, 5, 5, 2), np.uint8)), 2, "BL0105", "[4, 5, 5, 2]"),
    "data: too few labels": Bad(
        argv="quantize net.onnx --calib calib.npz --test data.npz -o q.onnx",
        make=data(image=samples(), y=np.arange(3)),
        status=2,
        code="BL0105",
        says=("data.npz", "3 labels"),
    ),
    "data: labels that are no integers": Bad(
        argv="quantize net.onnx --calib calib.npz --test data.npz -o q.onnx",
        make=data(image=samples(), y=np.arange(4.0)),
        status=2,
        code="BL0105",
        says=("data.npz", "float64"),
    ),
    "data: random:0": bad_words("quantize net.onnx --calib random:0 -o q.onnx", 2, "BL0101", "random:0"),
    "data: preprocess": bad_words(f"{COMPILE} --preprocess mean=a", 2, "BL0101", "mean=a", "'a' is no number"),
    "data: preprocess divides by zero": bad_words(
        f"{COMPILE} --preprocess mean=0 std=0", 2, "BL0101", "std=0", "above 0"
    ),
    "data: preprocess without images": bad_words(f"{COMPILE} --preprocess mean=0", 2, "BL0101", "calib.npz", "`x`"),
    # targets
    "target: a near name": bad_words("targets show rerum-tile", 2, "BL0102", "'rerum-tile'", "did you mean reram-tile"),
    "target: unknown name": bad_words("place net.onnx --target abacus", 2, "BL0102", "'abacus'", "sram-dcim"),
    "target: unknown key": bad_target(
        "extends: reram-tile\narray:\n  rowz: {value: 3, source: x}\n", "BL0103", "array.rowz", ":3:", "rows"
    ),
    "target: unit in a value": bad_target(
        "extends: reram-tile\narray:\n  rows: {value: 64 cells, source: x}\n", "BL0103", "array.rows", "'64 cells'"
    ),
    "target: unit in a key": bad_target(
        "extends: reram-tile\narray:\n  step_us: {value: 3, source: x}\n", "BL0103", "array.step_us", "step_ns"
    ),
    "target: number without source": bad_target("extends: reram-tile\ncores: 3\n", "BL0103", "cores", "source"),
    "target: not YAML": bad_target("extends: reram-tile\narray: [1\n", "BL0103", "YAML"),
    "target: not text": bad_target(b"\xff\xfe\x00", "BL0103", "UTF-8"),
    "target: empty": bad_target("", "BL0103", "mapping"),
    "target: extends itself": bad_target("extends: chip.yaml\n", "BL0103", "circle"),
    "set: misspelt": bad_words(f"{COMPILE} --set array.rwos=3", 2, "BL0101", "'array.rwos'", "array.rows"),
    "set: no value": bad_words(f"{COMPILE} --set array.rows", 2, "BL0101", "array.rows", "="),
    "set: unit": bad_words(f"{COMPILE} --set array.step_ns=3us", 2, "BL0101", "array.step_ns", "'3us'"),
    "set: negative": bad_words(f"{COMPILE} --set cores=-4", 2, "BL0101", "cores", "-4"),
    "set: enormous": bad_words(f"{COMPILE} --set array.rows={10**25}", 2, "BL0101", "array.rows"),
    "set: not a number": bad_words(f"{COMPILE} --set dma.bytes_per_ns=nan", 2, "BL0101", "dma.bytes_per_ns"),
    # does not fit
    "fit: buffers": bad_words(f"{COMPILE} --set memory.input_bytes=1", 4, "BL0401", "conv1", "memory.input_bytes"),
    "fit: shared memory and DRAM": bad_words(
        f"{COMPILE} --set memory.shared_bytes=16 --set memory.dram_bytes=16", 4, "BL0401", "memory.dram_bytes"
    ),
    # options
    "option: bits": bad_words(f"{COMPILE} --weight-bits 9", 2, "BL0101", "--weight-bits", "2 to 8"),
    "option: not a number": bad_words(f"{COMPILE} --weight-bits x", 2, "BL0101", "--weight-bits", "'x'"),
    "option: NaN": bad_words(f"{COMPILE} --percentile nan", 2, "BL0101", "percentile"),
    "option: unknown": bad_words(f"{COMPILE} --frobnicate", 2, "BL0101", "--frobnicate", "bitline compile --help"),
    "option: missing": bad_words("compile net.onnx", 2, "BL0101", "--target"),
    "option: unknown command": bad_words("frobnicate net.onnx", 2, "BL0101", "'frobnicate'"),
    "option: no samples": bad_words("run package random:1 --limit 0", 2, "BL0101", "--limit"),
    # packages
    "package: missing": bad_words("verify absent", 5, "BL0201", "absent"),
    "package: a file": bad_words("run net.onnx random:1", 5, "BL0201", "net.onnx"),
    "package: another folder": Bad(
        argv="report mine", make=foreign_folder, status=5, code="BL0205", says=("mine", "manifest.json")
    ),
    "package: data of another shape": Bad(
        argv="run package data.npz -o out.npz",
        make=data(image=samples()[:, :1]),
        status=2,
        code="BL0105",
        says=("data.npz", "'image'"),
    ),
    "package: one of two data files missing": bad_words(
        "run package calib.npz absent.npz -o out.npz", 5, "BL0206", "absent.npz"
    ),
    # output places
    "output: no parent": bad_place("absent/out", "absent/out"),
    "output: parent is a file": bad_place("net.onnx/out", "net.onnx"),
    "output: a file of yours": bad_place("net.onnx", "net.onnx", "not written by bitline"),
    "output: a folder of yours": bad_place("mine", "mine", "not written by bitline", make=foreign_folder),
    "output: here": bad_place(".", "not written by bitline"),
    "output: a link to nothing": bad_place("link", "link", make=lambda: Path("link").symlink_to("gone")),
    "output: name too long": bad_place("o" * 255, "too long"),
    "output: quantize onto a folder": Bad(
        argv="quantize absent.onnx --calib calib.npz -o mine",
        make=foreign_folder,
        status=2,
        code="BL0104",
        says=("'mine'", "folder"),
    ),
    "output: place without parent": bad_words(
        "place absent.onnx --target reram-tile -o absent/x.csv", 2, "BL0104", "absent/x.csv"
    ),
    "output: run without parent": bad_words("run package random:1 -o absent/x.npz", 2, "BL0104", "absent/x.npz"),
}


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small network, compiled."""
    folder = tmp_path_factory.mktemp("compiled")
    onnx.save(network(), folder / "net.onnx")
    answer = bitline(
        "compile", f"{folder}/net.onnx", "--target", "reram-tile", "--calib", "random:2", "-o", f"{folder}/p"
    )
    assert answer.status == 0, answer.err
    return folder / "p"


def prepare(bad: Bad, package: Path) -> None:
    """A sound model, sound data and whatever is bad, in the current folder."""
    onnx.save(network(), "net.onnx")
    save_npz(Path("calib.npz"), image=samples())
    if "package" in bad.argv.split():
        shutil.copytree(package, "package")
    if bad.make is not None:
        bad.make()


def everything(folder: Path) -> dict[str, bytes]:
    """Names and contents below a folder."""
    return {
        str(entry.relative_to(folder)): entry.read_bytes() if entry.is_file() else b""
        for entry in sorted(folder.rglob("*"))
    }


@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
@pytest.mark.parametrize("kind", TABLE)
def test_bad_input_is_refused(
    kind: str, as_json: bool, tmp_path: Path, package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = TABLE[kind]
    work, temporary = tmp_path / "work", tmp_path / "temporary"
    work.mkdir()
    temporary.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    prepare(bad, package)
    before = everything(work)
    answer = bitline(bad.argv + (" --json" if as_json else ""))
    assert answer.status == bad.status, answer.err
    assert f"error[{bad.code}]" in answer.err
    assert "\n  help: " in answer.err
    for word in bad.says:
        assert word in answer.err
    assert "Traceback" not in answer.err + answer.out
    assert all(c.isprintable() or c == "\n" for c in answer.err)
    if as_json:
        said = json.loads(answer.out)
        assert (said["schema"], bool(said["version"])) == ("bitline.error/1", True)
        assert said["errors"][0]["code"] == bad.code
        assert all(error["message"] and error["help"] for error in said["errors"])
    else:
        assert answer.out == ""
    assert everything(work) == before
    assert everything(temporary) == {}


def test_the_table_covers_many_kinds() -> None:
    assert len(TABLE) >= 20
    assert {bad.argv.split()[0] for bad in TABLE.values()} >= {
        "compile",
        "run",
        "place",
        "quantize",
        "verify",
        "targets",
    }
    assert {bad.status for bad in TABLE.values()} == {2, 3, 4, 5}


def test_a_place_that_refuses_files_is_refused_before_any_work(tmp_path: Path) -> None:
    """A read-only folder; as root, who may write anywhere, /proc, which takes no files from anybody."""
    root = os.geteuid() == 0
    tmp_path.chmod(0o500)
    answer = bitline(
        "compile", "absent.onnx", "--target", "reram-tile", "-o", "/proc/out" if root else f"{tmp_path}/out"
    )
    tmp_path.chmod(0o700)
    assert answer.status == 2
    assert "error[BL0104]: cannot write to folder" in answer.err

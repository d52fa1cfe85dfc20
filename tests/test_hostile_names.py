"""A network whose names would run in a browser, a spreadsheet or a terminal: none of them is obeyed anywhere."""

from __future__ import annotations

import csv
import io
import json
import shlex
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from bitline.core.escape import cell, printable
from tests.cli.invoke import Answer, bitline
from tests.cli.models import network, samples, save_npz

NARROW = "\u202f"  # between the thousands of the report's own numbers
SCRIPT = "<script>alert(1)</script>"
NAMES = {
    "conv1": "=cmd|' /C calc'!A0",
    "relu1": '"><img src=x onerror=alert(1)>',
    "flatten": "+1",
    "dense": f"{SCRIPT}\nb\r\nc\td",
    "w1": "@SUM(1+9)\x1b[2J\x1b]0;owned\x07",
    "w2": "+\u202egnp.exe\u2028\u2029\x85",
    "b1": "__metadata__",
    "b2": "{{ 7*7 }}{% for %}",
    "image": "file",
    "c": "allow_pickle",
    "r": "</script><!--",
    "f": "-1+1;DROP TABLE\x7f",
    "scores": "../../scores\x9b31m",
    "small": "\U0001f600" + "n" * 900,
}


def renamed(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The same network under the names of the table."""
    graph = proto.graph
    for holder in (graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        holder.name = NAMES[holder.name]
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [NAMES[name] for name in names]
    return proto


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("names")
    onnx.save(renamed(network()), folder / "net.onnx")
    save_npz(folder / "calib.npz", x=np.zeros(1))
    (folder / "calib.npz").write_bytes(_archive(NAMES["image"], samples()))
    words = f"compile {folder}/net.onnx --target reram-tile --calib {folder}/calib.npz -o {folder}/package"
    answer = bitline(words)
    assert answer.status == 0, answer.err
    clean(answer)
    return folder


def _archive(name: str, values: np.typing.NDArray[np.float32]) -> bytes:
    from bitline.pipeline.contents import npz_bytes

    return npz_bytes({name: values})


def clean(answer: Answer) -> None:
    assert "Traceback" not in answer.err
    for text in (answer.out, answer.err):
        assert all(c.isprintable() or c == "\n" for c in text)


@pytest.mark.parametrize(
    "words",
    [
        "compile {0}/net.onnx --target reram-tile --calib {0}/calib.npz -o {0}/again",
        "quantize {0}/net.onnx --calib {0}/calib.npz -o {0}/q.onnx",
        "place {0}/net.onnx --target reram-tile",
        "schedule {0}/net.onnx --target reram-tile",
        "verify {0}/package",
        "report {0}/package -o {0}/page.html",
        "run {0}/package {0}/calib.npz --check 2 -o {0}/out.npz",
    ],
)
@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
def test_commands(words: str, as_json: bool, work: Path) -> None:
    answer = bitline(*shlex.split(words.format(work)), *(["--json"] if as_json else []))
    assert answer.status == 0, answer.err
    clean(answer)
    if as_json:
        assert json.loads(answer.out)["version"]
        assert answer.out.isascii()


def test_outputs_keep_their_names(work: Path) -> None:
    assert bitline("run", f"{work}/package", f"{work}/calib.npz", "-o", f"{work}/o.npz").status == 0
    with np.load(work / "o.npz") as archive:
        assert archive.files == [NAMES["scores"]]


def test_text_files_hold_nothing_to_obey(work: Path) -> None:
    seen = 0
    for path in sorted((work / "package").iterdir()):
        if path.suffix in (".json", ".asm", ".csv", ".txt", ".html"):
            seen += 1
            text = path.read_text(encoding="utf-8")
            odd = {c for c in text if not c.isprintable()} - {"\n", NARROW}
            assert not odd, (path.name, odd)
            assert path.suffix == ".html" or text.isascii() or path.suffix in (".csv", ".txt")
    assert seen >= 10


def test_json_gives_the_names_back(work: Path) -> None:
    kernels = json.loads((work / "package/kernels.json").read_text())
    nodes = {name for kernel in kernels["kernels"] for name in kernel["nodes"]}
    assert {NAMES["conv1"], NAMES["dense"]} <= nodes
    trace = json.loads((work / "package/trace.json").read_text())
    assert NAMES["conv1"] in {event["name"] for event in trace["traceEvents"]}


def test_no_cell_is_a_formula(work: Path) -> None:
    text = (work / "package/placement.csv").read_text()
    placed = bitline("place", f"{work}/net.onnx", "--target", "reram-tile", "-o", f"{work}/placed.csv")
    assert placed.status == 0
    for table in (text, (work / "placed.csv").read_text()):
        rows = list(csv.reader(io.StringIO(table)))
        assert len(rows) >= 3
        assert len({len(row) for row in rows}) == 1
        assert not [value for row in rows for value in row if value.startswith(("=", "+", "@", "-", "\t", "\r"))]
    assert "'=cmd|' /C calc'!A0.weights" in text


class _Tags(HTMLParser):
    """Elements of a page and the handlers they carry."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.handlers: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.handlers += [key for key, _ in attrs if key.startswith("on")]


def test_the_page_runs_no_script_but_its_own(work: Path) -> None:
    assert bitline("compile", f"{work}/plain.onnx", "--target", "reram-tile", "-o", f"{work}/x").status == 5
    page = (work / "package/report.html").read_text()
    plain = network()
    onnx.save(plain, work / "plain.onnx")
    words = f"compile {work}/plain.onnx --target reram-tile --calib random:4 -o {work}/plain"
    assert bitline(words).status == 0
    found, expected = _Tags(), _Tags()
    found.feed(page)
    expected.feed((work / "plain/report.html").read_text())
    assert found.tags.count("script") == expected.tags.count("script")
    assert found.tags.count("img") == expected.tags.count("img")
    assert not found.handlers
    assert SCRIPT not in page


@pytest.mark.parametrize("length", [900, 10_000])
def test_long_names(length: int, tmp_path: Path) -> None:
    """900 characters pass, 10,000 are refused in a short message."""
    middle = [helper.make_node("Relu", ["r"], ["m"], name="n" * length)]
    onnx.save(network(middle=middle), tmp_path / "net.onnx")
    answer = bitline(
        "compile", f"{tmp_path}/net.onnx", "--target", "reram-tile", "--calib", "random:2", "-o", f"{tmp_path}/p"
    )
    assert answer.status == (0 if length == 900 else 5), answer.err
    if answer.status:
        assert "error[BL0203]: length of the name that begins 'nnn" in answer.err
        assert len(answer.err) < 500


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("conv1", "conv1"),
        ("/layer1/conv", "/layer1/conv"),
        ("=1+1", "'=1+1"),
        ("  =1+1", "'  =1+1"),
        ("'=1", "''=1"),
        ("-1", "'-1"),
        ("a=b", "a=b"),
        ("\t=1", "\\t=1"),
        ("\x1b[0m", "\\x1b[0m"),
        ("\u202e", "\\u202e"),
        ("caf\u00e9", "caf\u00e9"),
    ],
)
def test_cells(text: str, shown: str) -> None:
    assert cell(text) == shown
    assert printable(shown) == shown

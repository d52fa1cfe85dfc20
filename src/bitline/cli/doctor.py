"""`bitline doctor`: versions, processor, folders, memory and terminal of this machine, each finding with a way out."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Literal

import click

from bitline.cli.answer import answer
from bitline.cli.options import json_option
from bitline.core.machine import free_memory

State = Literal["ok", "note", "broken"]

OLDEST_PYTHON: Final = (3, 11)
LIBRARIES: Final = (
    "numpy",
    "onnx",
    "onnxruntime",
    "numba",
    "pydantic",
    "ruamel.yaml",
    "click",
    "jinja2",
    "safetensors",
)
MIB: Final = 2**20
ROOM: Final = 64 * MIB
"""Below it not even small packages and compiled code find a place."""
COMFORTABLE_DISK: Final = 1024 * MIB
COMFORTABLE_MEMORY: Final = 2048 * MIB
COMPILED: Final = (
    *("bitline.pack.maxrects", "bitline.pack.skyline", "bitline.pack.squeeze", "bitline.pack.knapsack"),
    *("bitline.pack.layout_decode", "bitline.pack.cutting_search", "bitline.pack.spread_decode"),
    *("bitline.sim.events", "bitline.verify.races"),
)
"""The modules that numba compiles at the first use."""
INTEGER_UNITS: Final = ("avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm")
WIDE_UNITS: Final = ("avx2", "avx512f", "asimd", "sve")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at; `help` says what to do where it is not ok."""

    what: str
    state: State
    value: str
    help: str = ""


@click.command("doctor", help="Look at this machine: versions, processor, folders, memory, terminal.")
@json_option
@click.pass_context
def command(context: click.Context, json: bool) -> None:
    found = examine()
    broken = sum(finding.state == "broken" for finding in found)
    text = "\n".join([*_lines(found), f"{broken} broken" if broken else "everything bitline needs is here"])
    values = {"ok": not broken, "findings": [asdict(finding) for finding in found]}
    answer("doctor", values, json=json, text=text)
    if broken:
        context.exit(1)


def examine() -> tuple[Finding, ...]:
    """Everything, in the order in which it matters."""
    return (
        python_version(sys.version_info[:3]),
        *(library(name) for name in LIBRARIES),
        processor(_processor_flags()),
        exact_products(_products_of_onnxruntime),
        folder("working folder", Path.cwd, "work in a folder that you may write to, or name another with -o", "note"),
        folder("temporary folder", lambda: Path(tempfile.gettempdir()), "set TMPDIR to a folder with room"),
        *compiled_code(),
        memory(free_memory()),
        terminal(),
    )


def _lines(found: Sequence[Finding]) -> Iterator[str]:
    width = max(len(finding.what) for finding in found)
    for finding in found:
        mark = {"ok": "ok    ", "note": "note  ", "broken": "BROKEN"}[finding.state]
        yield f"{mark}  {finding.what:<{width}}  {finding.value}"
        if finding.help:
            yield f"{'':8}{'':{width}}  -> {finding.help}"


def python_version(version: tuple[int, ...]) -> Finding:
    """Python itself."""
    value = f"{'.'.join(map(str, version))} ({platform.python_implementation()}, {platform.machine()})"
    if version[:2] < OLDEST_PYTHON:
        wanted = ".".join(map(str, OLDEST_PYTHON))
        return Finding(what="Python", state="broken", value=value, help=f"install Python {wanted} or newer")
    return Finding(what="Python", state="ok", value=value)


def library(name: str, requirements: Sequence[str] | None = None) -> Finding:
    """A library can be imported, and is neither older nor newer than what bitline says it needs."""
    wanted = _wanted(name, _requirements() if requirements is None else requirements)
    again = f"python -m pip install '{name}{wanted}'"
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return Finding(what=name, state="broken", value="not installed", help=again)
    try:
        importlib.import_module(name)
    except (ImportError, OSError, RuntimeError) as error:  # a shared library is missing, or made for another machine
        why = " ".join(str(error).split())[:200]
        return Finding(what=name, state="broken", value=f"{version} cannot be loaded: {why}", help=again)
    if not _satisfies(version, wanted):
        return Finding(what=name, state="broken", value=f"{version}, needed {wanted}", help=again)
    return Finding(what=name, state="ok", value=version)


def _requirements() -> Sequence[str]:
    try:
        return importlib.metadata.requires("bitline") or ()
    except importlib.metadata.PackageNotFoundError:  # run from a folder of sources
        return ()


def _wanted(name: str, requirements: Sequence[str]) -> str:
    """`>=2.1,<3` for numpy; nothing where nothing is asked for."""
    plain = re.sub(r"[-_.]+", "-", name)
    for text in requirements:
        match = re.fullmatch(r"([\w.-]+?)\s*([<>=!~].*)?", text.partition(";")[0].strip())
        if match and "extra" not in text and re.sub(r"[-_.]+", "-", match[1]).lower() == plain:
            return (match[2] or "").replace(" ", "")
    return ""


def _satisfies(version: str, wanted: str) -> bool:
    """Whether a version lies within `>=` and `<`, the two forms that `pyproject.toml` uses."""
    have = _numbers(version)
    for part in filter(None, wanted.split(",")):
        if part.startswith(">=") and have < _numbers(part[2:]):
            return False
        if part.startswith("<") and not part.startswith("<=") and have >= _numbers(part[1:]):
            return False
    return True


def _numbers(version: str) -> tuple[int, ...]:
    found = [int(number) for number in re.findall(r"\d+", version.partition("+")[0])[:4]]
    return (*found, *[0] * (4 - len(found)))


def _processor_flags() -> frozenset[str]:
    """What Linux says of the processor; nothing elsewhere."""
    try:
        text = Path("/proc/cpuinfo").read_text(errors="replace")
    except OSError:
        return frozenset()
    match = re.search(r"^(?:flags|Features)\s*:\s*(.*)$", text, re.MULTILINE)
    return frozenset(match[1].split()) if match else frozenset()


def processor(flags: frozenset[str]) -> Finding:
    """Units that make integer products fast. Without them everything works, more slowly."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    fast, wide = ([name for name in names if name in flags] for names in (INTEGER_UNITS, WIDE_UNITS))
    value = f"{cores} {'core' if cores == 1 else 'cores'}, {', '.join(fast + wide) or 'no wide units known'}"
    if fast or not flags:
        return Finding(what="processor", state="ok", value=value)
    slow = "integer products take longer without VNNI or its like; results are the same if the next line is ok"
    return Finding(what="processor", state="note", value=value, help=slow)


def exact_products(multiply: Callable[[int, int, int], list[int]]) -> Finding:
    """ONNX Runtime's u8 x s8 products are exact.

    On processors with AVX2 and without VNNI its kernels may add pairs of products in 16 bits, which saturate at
    255 * 127 * 2; `golden.onnx` would then differ from the chip.
    """
    what = "u8 x s8 products"
    try:
        wrong = [
            f"{a} x {b} x {depth}: {min(set(found) - {a * b * depth})}, not {a * b * depth}"
            for depth in (2, 64, 257)
            for a, b in ((255, 127), (255, -128), (1, -1))
            if set(found := multiply(a, b, depth)) != {a * b * depth}
        ]
    except (ImportError, OSError, RuntimeError) as error:
        return Finding(what=what, state="broken", value=f"not tested: {error}", help="install onnxruntime again")
    if wrong:
        away = "golden.onnx is not exact here: verify on a processor with VNNI, or with another onnxruntime"
        return Finding(what=what, state="broken", value=wrong[0], help=away)
    return Finding(what=what, state="ok", value="exact in ONNX Runtime")


def _products_of_onnxruntime(a: int, b: int, depth: int) -> list[int]:
    """All sums of a [5, depth] x [depth, 33] product of constant numbers, by MatMulInteger."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    from bitline.engines.ort import run_model

    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["x", "w"], ["y"])],
        "products",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, [5, depth])],
        [helper.make_tensor_value_info("y", TensorProto.INT32, [5, 33])],
        [numpy_helper.from_array(np.full((depth, 33), b, np.int8), "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    feeds = {"x": np.full((5, depth), a, np.uint8)}
    found: list[int] = run_model(model, feeds, optimise=True)["y"].reshape(-1).tolist()
    return found


def folder(what: str, find: Callable[[], Path], help: str, at_worst: State = "broken") -> Finding:
    """A folder takes files and has room; `at_worst` is what it is called where it does not."""
    shown = ""
    try:
        place = find()
        shown = f"{place}: "
        with tempfile.TemporaryFile(dir=place) as stream:
            stream.write(bytes(2**16))
            stream.flush()
            os.fsync(stream.fileno())
        free = shutil.disk_usage(place).free
    except OSError as error:
        return Finding(what=what, state=at_worst, value=f"{shown}{error.strerror}", help=help)
    value = f"{place}, {free // MIB:,} MiB free"
    if free >= COMFORTABLE_DISK:
        return Finding(what=what, state="ok", value=value)
    return Finding(what=what, state=at_worst if free < ROOM else "note", value=value, help=help)


def compiled_code() -> Iterator[Finding]:
    """Where numba keeps what it compiled, and whether it is there: the first compile takes longer otherwise."""
    away = "set NUMBA_CACHE_DIR to a folder that you may write to"
    places: dict[Path, list[bool]] = {}
    try:
        for name in COMPILED:
            module = importlib.import_module(name)
            for function in vars(module).values():
                kept: str | None = getattr(getattr(function, "stats", None), "cache_path", None)
                if kept is not None:
                    present = any(Path(kept).glob(f"{name.rpartition('.')[2]}.{function.__name__}-*.nbi"))
                    places.setdefault(Path(kept), []).append(present)
    except (ImportError, OSError, RuntimeError) as error:  # numba finds no folder at all
        yield Finding(what="compiled code", state="broken", value=" ".join(str(error).split())[:200], help=away)
        return
    for place in sorted(places):
        finding = folder("compiled code", lambda place=place: _made(place), away)
        if finding.state != "ok":
            yield finding
    known = sum(sum(present) for present in places.values())
    count = sum(len(present) for present in places.values())
    here = ", ".join(sorted({str(place.parent if place.name == "__pycache__" else place) for place in places}))
    missing = "the first compile takes some seconds more" if known < count else ""
    state: State = "note" if missing else "ok"
    yield Finding(what="first compile", state=state, value=f"{known} of {count} functions kept in {here}", help=missing)


def _made(place: Path) -> Path:
    place.mkdir(parents=True, exist_ok=True)
    return place


def memory(free: int) -> Finding:
    """Memory that a compile may take."""
    value = f"{free // MIB:,} MiB free"
    if free < COMFORTABLE_MEMORY:
        state: State = "note" if free >= COMFORTABLE_MEMORY // 8 else "broken"
        return Finding(what="memory", state=state, value=value, help="end other programs, or compile smaller networks")
    return Finding(what="memory", state="ok", value=value)


def terminal() -> Finding:
    """Who reads the output."""
    encoding = getattr(sys.stdout, "encoding", None) or "unknown"
    kind = f"{shutil.get_terminal_size().columns} columns" if sys.stdout.isatty() else "not a terminal: no progress bar"
    if encoding.lower().replace("-", "") != "utf8":
        away = "set PYTHONIOENCODING=utf-8, or names beyond ASCII may not be shown"
        return Finding(what="terminal", state="note", value=f"{kind}, {encoding}", help=away)
    return Finding(what="terminal", state="ok", value=f"{kind}, {encoding}")

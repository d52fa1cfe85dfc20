"""A compiled package: a folder of files, each with its hash in `manifest.json`. Readers trust nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from bitline.core.canonical import from_json, sha256, to_json
from bitline.core.diagnostics import Diagnostic, Refusal, refuse
from bitline.core.files import check_folder_writable, clear_leftovers, folder_when_whole

MANIFEST: Final = "manifest.json"
FORMAT: Final = 2
FILES: Final[dict[str, str]] = {
    "array_math.json": "what arrays compute, by matrix: row groups, slices, encoding, converter",
    "arrays.bin": "cells of every block, row by row, in the order in which they are written; what a chip loads",
    "constants.bin": "biases, multipliers and tables of the vector unit, as the program addresses them",
    "golden.npz": "seeded stored inputs (`input:NAME`) and what `golden.onnx` makes of them (`output:NAME`)",
    "golden.onnx": "the arithmetic of the chip as a plain ONNX model of integer operators, for any runtime",
    "kernels.json": "the network after lowering: kernels, tensors, ports, repetitions",
    "loops.txt": "one loop nest for each kernel, to be read",
    "memory.json": "address of every tensor from step to step, bytes used of every memory",
    "model.onnx": "the quantised network (QDQ) that was compiled; runs in ONNX Runtime",
    "placement.csv": "the table of blocks, for spreadsheets and loaders",
    "placement.json": "every block: its part of the matrix, its region of an array, from which step to which",
    "program.asm": "the program as text",
    "program.bin": "the program: one queue per unit, hardware loops, tokens",
    "provenance.json": "which ONNX nodes each kernel comes from, and which instructions belong to it",
    "report.html": "the report, one file without references to others",
    "schedule.json": "segments, tiles, jobs of every kernel",
    "summary.json": "all figures and the table of blocks: `compile --json` without what depends on the clock",
    "tables.bin": "tables whose rows are taken by number: embeddings",
    "target.json": "the chip with every value and its source, `--set` included",
    "trace.json": "when each unit of each core worked for which kernel, for Perfetto or chrome://tracing",
    "weights.safetensors": "all constants of the kernels by name: weights, parameters, tables, subgraphs of the host",
}
"""Files of a package beside its manifest, and what each holds."""
_AGAIN: Final = "compile the package again"


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What the package is: versions, how it was made, the SHA-256 of every other file, and of itself."""

    format: int
    version: str
    model: str
    target: str
    options: dict[str, str]
    steps: tuple[str, ...]
    remarks: tuple[str, ...]
    files: dict[str, str]
    seal: str = ""

    def sealed(self) -> str:
        """The text of `manifest.json`; its `seal` is the SHA-256 of the text with an empty seal."""
        return to_json(replace(self, seal=sha256(to_json(replace(self, seal="")).encode())))


def check_output(place: Path) -> None:
    """Raise `Refusal` (BL0104) unless a package can be written to `place`. Called before any work starts."""
    clear_leftovers(place)
    check_folder_writable(place, marker=MANIFEST)


def write_package(place: Path, contents: Mapping[str, bytes], manifest: Manifest) -> None:
    """Write all files to a new folder at `place`, which appears only when it is whole. Raises `Refusal` (BL0104)."""
    assert set(contents) == set(FILES), set(contents) ^ set(FILES)
    with folder_when_whole(place, marker=MANIFEST) as folder:
        for name in FILES:
            (folder / name).write_bytes(contents[name])
        (folder / MANIFEST).write_text(manifest.sealed(), encoding="utf-8")


def read_package(place: Path) -> tuple[Manifest, dict[str, bytes]]:
    """(manifest, contents) after every file's hash was compared. Raises `Refusal` (BL0201, BL0205) with all that is
    wrong."""
    if not place.is_dir():
        raise refuse(
            "BL0201",
            "there is no package here",
            place=str(place),
            help="give the folder that `bitline compile -o` wrote",
        )
    raw = _bytes_of(place / MANIFEST)
    if raw is None:
        raise refuse(
            "BL0205",
            f"{MANIFEST} is missing",
            place=str(place),
            help=f"give the folder that `bitline compile -o` wrote, or {_AGAIN}",
        )
    manifest = from_json(Manifest, raw, place=f"{place.name}/{MANIFEST}")
    if manifest.format != FORMAT:
        raise refuse(
            "BL0205",
            f"the package has format {manifest.format}, this bitline reads {FORMAT}",
            place=str(place),
            help=_AGAIN,
        )
    if raw != manifest.sealed().encode():
        message = f"{MANIFEST} is not what was compiled: its own SHA-256 is another one"
        raise refuse("BL0205", message, place=f"{place.name}/{MANIFEST}", help=_AGAIN)
    wrong: list[Diagnostic] = []
    contents: dict[str, bytes] = {}
    for name in FILES:
        data = _bytes_of(place / name)
        if data is None or name not in manifest.files:
            wrong.append(
                Diagnostic(code="BL0205", message=f"{name} is missing", place=f"{place.name}/{name}", help=_AGAIN)
            )
        elif sha256(data) != manifest.files[name]:
            message = f"{name} is not what was compiled: its SHA-256 is another one"
            wrong.append(Diagnostic(code="BL0205", message=message, place=f"{place.name}/{name}", help=_AGAIN))
        else:
            contents[name] = data
    if wrong:
        raise Refusal(wrong)
    return manifest, contents


def _bytes_of(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def hashes(contents: Mapping[str, bytes]) -> dict[str, str]:
    """SHA-256 of every file."""
    return {name: sha256(contents[name]) for name in FILES}


def parse(contents: Mapping[str, bytes], name: str) -> object:
    """A JSON file of the package."""
    try:
        return json.loads(contents[name])
    except ValueError as error:
        raise refuse("BL0205", f"{name} is no JSON: {error}", place=name, help=_AGAIN) from None

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
FILES: Final = (
    "array_math.json",
    "arrays.bin",
    "constants.bin",
    "golden.npz",
    "golden.onnx",
    "kernels.json",
    "loops.txt",
    "memory.json",
    "model.onnx",
    "placement.csv",
    "placement.json",
    "program.asm",
    "program.bin",
    "provenance.json",
    "report.html",
    "schedule.json",
    "summary.json",
    "tables.bin",
    "target.json",
    "trace.json",
    "weights.safetensors",
)
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

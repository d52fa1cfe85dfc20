"""What DATA names: single files, found and sorted before anything is read."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from bitline.core.diagnostics import Diagnostic, Refusal
from bitline.data.arrays import FORMS
from bitline.data.images import SUFFIXES
from bitline.data.random import random_count

Kind = Literal["image", "arrays", "text", "random"]

_OTHERS: Final[dict[str, Kind]] = {".npz": "arrays", ".npy": "arrays", ".txt": "text"}
_WILD: Final = frozenset("*?[")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One file, or a generator. `name` is what reports call it; `limit` the most samples it may give."""

    name: str
    kind: Kind
    path: Path
    limit: int | None = None


def find_sources(data: Sequence[str], limit: int | None = None) -> tuple[Source, ...]:
    """The files that DATA arguments name, in their order; those of a folder or glob in the order of their names.

    `limit`: the most samples of every argument. Raises `Refusal` with all that is wrong: BL0101, BL0206.
    """
    found: list[Source] = []
    wrong: list[Diagnostic] = []
    for spec in data:
        try:
            found += _sources(spec, limit)
        except Refusal as refusal:
            wrong += refusal.diagnostics
        except OSError as error:  # names that the system refuses, folders that may not be listed
            message = f"cannot be read: {error.strerror}"
            wrong.append(Diagnostic(code="BL0206", message=message, place=spec, help=f"give {FORMS}"))
    if wrong:
        raise Refusal(wrong)
    return tuple(found)


def _sources(spec: str, limit: int | None) -> list[Source]:
    if spec.startswith("random:"):
        most = random_count(spec)
        return [Source(name=spec, kind="random", path=Path(), limit=min(most, limit or most))]
    path = Path(spec)
    if "\0" in spec:
        raise _missing(spec, "a name with a zero byte", f"give {FORMS}")
    if path.is_dir():
        files = _images_below(path)
        if not files:
            raise _missing(spec, "no images in this folder", f"images end in {', '.join(SUFFIXES)}; or give {FORMS}")
    elif not os.path.lexists(path) and _WILD & set(spec):
        # not Path.glob, which takes no absolute pattern
        names = sorted(glob.glob(spec, recursive=True))  # noqa: PTH207
        files = [Path(name) for name in names if Path(name).is_file()]
        if not files:
            raise _missing(spec, "no file matches", "look at the pattern; in a shell, put it into quotes")
    elif not path.is_file():
        why = "it is no file" if path.exists() else "no such file"
        raise _missing(spec, f"cannot be read: {why}", f"give {FORMS}")
    else:
        files = [path]
    made: list[Source] = []
    for file in files:
        suffix = file.suffix.lower()
        kind = "image" if suffix in SUFFIXES else _OTHERS.get(suffix, "arrays")
        if kind == "image" and limit is not None and len(made) >= limit:
            break
        made.append(Source(name=str(file), kind=kind, path=file, limit=limit))
    return made


def _images_below(folder: Path) -> list[Path]:
    """Images in a folder and its subfolders, hidden ones apart, without following links to folders."""
    found: list[Path] = []
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(place) / n for n in files if Path(n).suffix.lower() in SUFFIXES and not n.startswith(".")]
    return sorted(found)


def _missing(spec: str, message: str, help: str) -> Refusal:
    return Refusal([Diagnostic(code="BL0206", message=message, place=spec, help=help)])

"""Writing results so that a reader sees all of them or none, and finding out first whether they can be written."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from bitline.core.diagnostics import refuse


def check_writable(place: Path) -> None:
    """Raise `Refusal` (BL0104) unless a file can be created or replaced at `place`. Called before any work starts."""
    if place.is_dir():
        raise refuse("BL0104", f"{str(place)!r} is a folder", place=str(place), help="name a file with -o")
    _try_parent(place)


def check_folder_writable(place: Path, *, marker: str) -> None:
    """Raise `Refusal` (BL0104) unless `folder_when_whole(place, marker=marker)` can do its work."""
    _try_parent(place)
    _refuse_foreign(place, marker)


def _try_parent(place: Path) -> None:
    parent = place.absolute().parent
    if not parent.is_dir():
        raise refuse(
            "BL0104", f"folder {str(parent)!r} does not exist", place=str(place), help="create it, or choose another -o"
        )
    try:
        with tempfile.TemporaryDirectory(dir=parent, prefix=_hidden(place, "old")) as folder:
            (Path(folder) / "probe").write_bytes(b"x")
    except OSError as error:
        raise refuse(
            "BL0104",
            f"cannot write to folder {str(parent)!r}: {error.strerror}",
            place=str(place),
            help="choose another name or another folder, one that you may write to, with -o",
        ) from None


def _refuse_foreign(place: Path, marker: str) -> None:
    if place.is_dir() and ((place / marker).is_file() or not any(place.iterdir())):
        return
    if place.exists() or place.is_symlink():
        raise refuse(
            "BL0104",
            f"{str(place)!r} exists and was not written by bitline",
            place=str(place),
            help="choose another -o, or remove it yourself",
        )


def _hidden(place: Path, what: str) -> str:
    """The beginning of a temporary name beside `place`."""
    return f".{place.name}.{what}."


def write_file(place: Path, data: bytes | str) -> None:
    """Replace the file at `place` in one step."""
    raw = data.encode() if isinstance(data, str) else data
    handle, name = tempfile.mkstemp(dir=place.absolute().parent, prefix=_hidden(place, "new"))
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(raw)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.chmod(0o644)
        temporary.replace(place)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def folder_when_whole(place: Path, *, marker: str) -> Generator[Path, None, None]:
    """A temporary folder beside `place` that takes its name only when the block ends without an exception.

    An older folder is replaced only if it holds the file `marker`, so that nobody's other files are lost.
    """
    place = place.absolute()
    _refuse_foreign(place, marker)
    temporary = Path(tempfile.mkdtemp(dir=place.parent, prefix=_hidden(place, "new")))
    old = Path(tempfile.mkdtemp(dir=place.parent, prefix=_hidden(place, "old")))
    former = old / place.name
    try:
        yield temporary
        temporary.chmod(0o755)
        if place.exists():
            place.rename(former)
        temporary.rename(place)
    except BaseException:
        if former.exists() and not place.exists():
            former.rename(place)
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)

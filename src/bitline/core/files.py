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
    """Raise `Refusal` (BL0104) unless `place` can be created or replaced. Called before any work starts."""
    parent = place.absolute().parent
    if not parent.is_dir():
        raise refuse(
            "BL0104", f"folder {str(parent)!r} does not exist", place=str(place), help="create it, or choose another -o"
        )
    try:
        with tempfile.TemporaryFile(dir=parent) as probe:
            probe.write(b"x")
    except OSError as error:
        raise refuse(
            "BL0104",
            f"cannot write to folder {str(parent)!r}: {error.strerror}",
            place=str(place),
            help="choose a folder that you may write to, with -o",
        ) from None


def write_file(place: Path, data: bytes | str) -> None:
    """Replace the file at `place` in one step."""
    raw = data.encode() if isinstance(data, str) else data
    handle, name = tempfile.mkstemp(dir=place.absolute().parent, prefix=f".{place.name}.")
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
    if place.exists() and not (place.is_dir() and ((place / marker).is_file() or not any(place.iterdir()))):
        raise refuse(
            "BL0104",
            f"{place.name!r} exists and was not written by bitline",
            place=str(place),
            help="choose another -o, or remove it yourself",
        )
    temporary = Path(tempfile.mkdtemp(dir=place.parent, prefix=f".{place.name}."))
    try:
        yield temporary
        temporary.chmod(0o755)
        old = Path(tempfile.mkdtemp(dir=place.parent, prefix=f".{place.name}.old."))
        if place.exists():
            place.rename(old / "package")
        temporary.rename(place)
        shutil.rmtree(old, ignore_errors=True)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise

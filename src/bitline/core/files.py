"""Writing results so that a reader sees all of them or none, and finding out first whether they can be written.

What a killed process leaves beside its output place has a hidden name and nobody's lock: the next one clears it away.
"""

from __future__ import annotations

import errno
import fcntl
import glob
import os
import shutil
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from bitline.core.diagnostics import Refusal, refuse
from bitline.core.interrupts import uninterrupted

PROBE_BYTES = 2**16
"""A full disk takes a byte, in the last block of something, but not so many."""
YOUNG_SECONDS = 60.0
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)


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
        with _locked_folder(place, "old") as folder:
            _write_through(folder / "probe", bytes(PROBE_BYTES))
    except OSError as error:
        raise _unwritable(parent, place, error) from None


def _unwritable(folder: Path, place: Path, error: OSError) -> Refusal:
    return refuse(
        "BL0104",
        f"cannot write to folder {str(folder)!r}: {error.strerror}",
        place=str(place),
        help="choose another name or another folder with -o, one that has room and that you may write to",
    )


def _write_through(path: Path, data: bytes) -> None:
    """Some file systems say that they are full only when they must really write."""
    with path.open("wb") as stream:
        _lock(stream.fileno())
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


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
    """Replace the file at `place` in one step. Raises `Refusal` (BL0104) where the disk is full or read-only."""
    raw = data.encode() if isinstance(data, str) else data
    parent = place.absolute().parent
    temporary: Path | None = None
    clear_leftovers(place)
    try:
        with uninterrupted():
            handle, name = tempfile.mkstemp(dir=parent, prefix=_hidden(place, "new"))
            os.close(handle)
            temporary = Path(name)
        _write_through(temporary, raw)
        temporary.chmod(0o644)
        temporary.replace(place)
        _sync(parent)
    except OSError as error:
        raise _unwritable(parent, place, error) from None
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


@contextmanager
def folder_when_whole(place: Path, *, marker: str) -> Generator[Path, None, None]:
    """A temporary folder beside `place` that takes its name only when the block ends without an exception.

    An older folder is replaced only if it holds the file `marker`, so that nobody's other files are lost.
    Raises `Refusal` (BL0104) where the disk is full or read-only.
    """
    place = place.absolute()
    _refuse_foreign(place, marker)
    clear_leftovers(place)
    try:
        with _locked_folder(place, "new") as temporary, _locked_folder(place, "old") as old:
            former = old / place.name
            try:
                yield temporary
                for entry in (*temporary.iterdir(), temporary):
                    _sync(entry)
                temporary.chmod(0o755)
                if place.exists():
                    place.rename(former)
                temporary.rename(place)
                _sync(place.parent)
            except BaseException:
                if former.exists() and not place.exists():
                    former.rename(place)
                raise
    except OSError as error:
        if error.errno in FULL or str(error.filename or "").startswith(str(place.parent)):
            raise _unwritable(place.parent, place, error) from None
        raise  # of something else that the block did


@contextmanager
def _locked_folder(place: Path, what: str) -> Generator[Path, None, None]:
    """A hidden folder beside `place`, locked as long as its process lives, and gone at the end."""
    folder, handle = Path(), -1
    try:
        with uninterrupted():
            folder = Path(tempfile.mkdtemp(dir=place.absolute().parent, prefix=_hidden(place, what)))
            handle = os.open(folder, os.O_RDONLY)
            _lock(handle)
        yield folder
    finally:
        with uninterrupted():
            if folder.name:
                shutil.rmtree(folder, ignore_errors=True)
            if handle >= 0:
                os.close(handle)


def _lock(handle: int) -> bool:
    """Whether this process holds the lock now; file systems without locks say no."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def clear_leftovers(place: Path) -> None:
    """Remove what killed processes left beside `place`: hidden files and folders that nobody has locked.

    A package that one of them had moved aside, and did not live to replace, comes back. Young ones are left alone:
    their process may not have locked them yet.
    """
    place = place.absolute()
    for what in ("old", "new"):
        for entry in sorted(place.parent.glob(f"{glob.escape(_hidden(place, what))}*")):
            with suppress(OSError):
                _clear(entry, place)


def _clear(entry: Path, place: Path) -> None:
    plain = not entry.is_symlink() and (entry.is_dir() or entry.is_file())
    if not plain or time.time() - entry.stat().st_mtime < YOUNG_SECONDS:
        return
    handle = os.open(entry, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        if not _lock(handle):
            return
        former = entry / place.name
        if former.is_dir() and not place.exists():
            former.rename(place)
        if entry.is_dir():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink()
    finally:
        os.close(handle)


def _sync(path: Path) -> None:
    """A power cut after this loses neither names nor contents."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

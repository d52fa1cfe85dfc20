"""A reader sees all of a result or none, and nobody's files are lost."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import tempfile
import time
from pathlib import Path

import pytest

from bitline.core.diagnostics import Refusal
from bitline.core.files import YOUNG_SECONDS, check_writable, clear_leftovers, folder_when_whole, write_file


def code(refusal: pytest.ExceptionInfo[Refusal]) -> str:
    return refusal.value.diagnostics[0].code


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    place = tmp_path / "out.json"
    write_file(place, "old")
    write_file(place, b"new")
    assert place.read_text() == "new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.json"]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    place = tmp_path / "out.json"
    write_file(place, "old")
    with pytest.raises(UnicodeEncodeError):
        write_file(place, "\ud800")
    assert place.read_text() == "old"
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(Refusal, match="directory"):
        write_file(folder, "x")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["folder", "out.json"]


def test_check_writable_comes_before_the_work(tmp_path: Path) -> None:
    check_writable(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(Refusal) as refusal:
        check_writable(tmp_path / "missing" / "out")
    assert code(refusal) == "BL0104"
    (tmp_path / "file").touch()
    with pytest.raises(Refusal) as refusal:
        check_writable(tmp_path / "file" / "out")
    assert code(refusal) == "BL0104"


def test_a_folder_appears_when_whole(tmp_path: Path) -> None:
    place = tmp_path / "package"
    with folder_when_whole(place, marker="manifest.json") as temporary:
        (temporary / "manifest.json").write_text("1")
        assert not place.exists()
    assert [entry.name for entry in place.iterdir()] == ["manifest.json"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["package"]


def test_an_older_package_is_replaced_and_kept_on_failure(tmp_path: Path) -> None:
    place = tmp_path / "package"
    for text in ("1", "2"):
        with folder_when_whole(place, marker="manifest.json") as temporary:
            (temporary / "manifest.json").write_text(text)
    assert (place / "manifest.json").read_text() == "2"

    def interrupted() -> None:
        with folder_when_whole(place, marker="manifest.json") as temporary:
            (temporary / "manifest.json").write_text("3")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert (place / "manifest.json").read_text() == "2"
    assert [entry.name for entry in tmp_path.iterdir()] == ["package"]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_bitline_did_not_write_is_left_alone(tmp_path: Path, kind: str) -> None:
    place = tmp_path / "mine"
    if kind == "file":
        place.write_text("precious")
    else:
        place.mkdir()
        (place / "thesis.txt").write_text("precious")
    with pytest.raises(Refusal) as refusal, folder_when_whole(place, marker="manifest.json"):
        pass
    assert code(refusal) == "BL0104"
    assert (place if kind == "file" else place / "thesis.txt").read_text() == "precious"


def aged(path: Path) -> Path:
    """As if its process had made it long ago."""
    long_ago = time.time() - 2 * YOUNG_SECONDS
    os.utime(path, (long_ago, long_ago))
    return path


def test_what_a_killed_process_left_is_cleared_away(tmp_path: Path) -> None:
    place = tmp_path / "out[1]"  # brackets mean something to glob
    left = [tmp_path / f".{place.name}.new.abc", tmp_path / f".{place.name}.old.abc"]
    for folder in left:
        folder.mkdir()
        (folder / "arrays.bin").write_bytes(b"half")
        aged(folder)
    (tmp_path / f".{place.name}.new.file").write_bytes(b"half")
    aged(tmp_path / f".{place.name}.new.file")
    others = [tmp_path / ".other.new.abc", tmp_path / f"{place.name}.new.abc", tmp_path / f".{place.name}.new.link"]
    others[0].mkdir()
    others[1].mkdir()
    others[2].symlink_to(others[0])
    clear_leftovers(place)
    assert sorted(tmp_path.iterdir()) == sorted(others)


def test_a_package_moved_aside_comes_back(tmp_path: Path) -> None:
    """Its process was killed after it had moved the old package and before the new one took its place."""
    old = tmp_path / ".out.old.abc"
    (old / "out").mkdir(parents=True)
    (old / "out/manifest.json").write_text("1")
    aged(old)
    clear_leftovers(tmp_path / "out")
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out/manifest.json").read_text() == "1"


def test_what_lives_is_left_alone(tmp_path: Path) -> None:
    young, locked = tmp_path / ".out.new.young", tmp_path / ".out.new.locked"
    young.mkdir()
    locked.mkdir()
    aged(locked)
    handle = os.open(locked, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    clear_leftovers(tmp_path / "out")
    assert young.is_dir()
    assert locked.is_dir()
    os.close(handle)
    clear_leftovers(tmp_path / "out")
    assert not locked.exists()


def test_a_folder_being_written_is_locked(tmp_path: Path) -> None:
    with folder_when_whole(tmp_path / "out", marker="manifest.json") as temporary:
        clear_leftovers(tmp_path / "out")
        aged(temporary)
        clear_leftovers(tmp_path / "out")
        assert temporary.is_dir()
        (temporary / "manifest.json").write_text("1")
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]


def test_an_error_of_the_system_while_writing_is_named(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="No space left") as refusal, folder_when_whole(tmp_path / "out", marker="m"):
        raise OSError(28, "No space left on device")
    assert code(refusal) == "BL0104"
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_something_else_stays_what_it_is(tmp_path: Path) -> None:
    """A long block may do more than write here."""
    with pytest.raises(FileNotFoundError), folder_when_whole(tmp_path / "out", marker="m"):
        raise FileNotFoundError(2, "No such file or directory", "/elsewhere/image.png")
    with pytest.raises(Refusal), folder_when_whole(tmp_path / "out", marker="m") as temporary:
        (temporary / "absent" / "file").write_text("x")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("inside", ["os.open", "tempfile.mkdtemp", "tempfile.mkstemp", "shutil.rmtree"])
def test_an_interrupt_in_any_instant_leaves_nothing(
    inside: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C while a hidden file or folder is made or removed takes effect behind that."""
    module, _, name = inside.partition(".")
    library = {"os": os, "tempfile": tempfile, "shutil": shutil}[module]
    original = getattr(library, name)

    def interrupted(*words: object, **options: object) -> object:
        monkeypatch.setattr(library, name, original)
        if name == "rmtree":
            os.kill(os.getpid(), signal.SIGINT)
        done = original(*words, **options)
        os.kill(os.getpid(), signal.SIGINT)
        return done

    handler = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(library, name, interrupted)
    with pytest.raises(KeyboardInterrupt):
        (_a_file if name == "mkstemp" else _a_folder)(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir() if entry.name.startswith(".")] == []
    assert signal.getsignal(signal.SIGINT) is handler


def _a_file(folder: Path) -> None:
    write_file(folder / "file", b"whole")


def _a_folder(folder: Path) -> None:
    with folder_when_whole(folder / "out", marker="marker") as made:
        (made / "marker").write_text("whole")

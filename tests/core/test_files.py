"""A reader sees all of a result or none, and nobody's files are lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from bitline.core.diagnostics import Refusal
from bitline.core.files import check_writable, folder_when_whole, write_file


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
    with pytest.raises(OSError, match="directory"):
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

"""What DATA names: files in a fixed order, or why there are none, before anything is read."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from bitline.core.diagnostics import Refusal
from bitline.data.load import load_data
from bitline.data.sources import find_sources
from tests.data.pictures import picture, said, save, takes


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Images in two folders, and things that are none."""
    place = tmp_path / "photos"
    (place / "sub").mkdir(parents=True)
    (place / ".cache").mkdir()
    for i, name in enumerate(("b.png", "a.jpg", "sub/c.BMP", ".cache/d.png", ".hidden.png")):
        save(place / name, picture(4, 4, seed=i))
    (place / "notes.md").write_text("no image")
    return place


def names(folder: Path, *data: str, limit: int | None = None) -> list[str]:
    return [os.path.relpath(source.name, folder) for source in find_sources(data, limit)]


def test_a_folder_gives_its_images_sorted_and_those_below_it(folder: Path) -> None:
    assert names(folder, str(folder)) == ["a.jpg", "b.png", "sub/c.BMP"]
    assert {source.kind for source in find_sources([str(folder)])} == {"image"}


def test_globs_take_what_matches(folder: Path) -> None:
    assert names(folder, f"{folder}/*.png") == ["b.png"]
    assert names(folder, f"{folder}/**/*.[Bbj]*") == ["a.jpg", "sub/c.BMP"]


def test_a_file_whose_name_looks_like_a_pattern_is_a_file(folder: Path) -> None:
    odd = save(folder / "d[1].png", picture(4, 4))
    assert names(folder, str(odd)) == ["d[1].png"]


def test_the_order_of_arguments_stays_and_limits_count_for_each(folder: Path) -> None:
    given = (str(folder / "b.png"), str(folder))
    assert names(folder, *given) == ["b.png", "a.jpg", "b.png", "sub/c.BMP"]
    assert names(folder, *given, limit=1) == ["b.png", "a.jpg"]
    (random,) = find_sources(["random:5"], 3)
    assert (random.kind, random.limit) == ("random", 3)
    assert find_sources(["random:5"], 9)[0].limit == 5


def test_all_that_is_missing_is_named_at_once(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    bad = {
        str(tmp_path / "none.npz"): "no such file",
        str(tmp_path / "empty"): "no images in this folder",
        str(tmp_path / "*.tif"): "no file matches",
        str(tmp_path / "pipe.png"): "it is no file",
        str(tmp_path / ("n" * 300)): "too long",
        "nul\0.png": "zero byte",
        "random:x": "'random:x' is not understood",
    }
    with pytest.raises(Refusal) as refusal:
        find_sources([str(folder), *bad])
    assert len(refusal.value.diagnostics) == len(bad)
    assert {d.code for d in refusal.value.diagnostics} == {"BL0206", "BL0101"}
    for spec, word in bad.items():
        assert word in said(refusal.value), spec


def test_a_folder_as_calibration_data(folder: Path) -> None:
    samples = load_data(str(folder), takes("1,3,4,4"), limit=2)
    assert samples.feeds["x"].shape == (2, 3, 4, 4)
    np.testing.assert_allclose(samples.feeds["x"][1] * 255, picture(4, 4, seed=0).transpose(2, 0, 1), atol=1e-4)
    assert samples.remark.startswith(f"2 samples of 2 files of {folder}; images become 'x', 4 x 4 RGB, NCHW")


def test_calibration_refuses_a_folder_with_broken_files_and_names_them(folder: Path) -> None:
    (folder / "x.png").write_text("text")
    (folder / "y.png").touch()
    with pytest.raises(Refusal) as refusal:
        load_data(str(folder), takes("1,3,4,4"))
    assert [Path(d.place).name for d in refusal.value.diagnostics] == ["x.png", "y.png"]


def test_several_array_files_are_joined(tmp_path: Path) -> None:
    for i in range(3):
        np.savez(tmp_path / f"{i}.npz", x=np.full((2, 4), i, np.float32), y=np.array([i, i]), allow_pickle=False)
    samples = load_data(f"{tmp_path}/*.npz", takes("1,4"))
    assert samples.feeds["x"][:, 0].tolist() == [0, 0, 1, 1, 2, 2]
    assert samples.labels is not None
    assert samples.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert len(load_data(f"{tmp_path}/*.npz", takes("1,4"), limit=3).feeds["x"]) == 3

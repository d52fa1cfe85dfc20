"""A target written out is read back as the same chip, whole or as what differs from its base."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bitline.core.diagnostics import Refusal
from bitline.target.load import catalog_names, changed, load_target
from bitline.target.schema import KEYS, Chip, entry, meaning
from bitline.target.template import template


def read_back(folder: Path, text: str) -> Chip:
    file = folder / "mine.yaml"
    file.write_text(text, encoding="utf-8")
    return load_target(str(file))


def values(chip: Chip) -> dict[str, object]:
    return {key: entry(chip, key) for key in KEYS}


@pytest.mark.parametrize("name", catalog_names())
def test_a_copy_is_the_same_chip_under_its_own_name(tmp_path: Path, name: str) -> None:
    chip = load_target(name)
    text = template(chip, name="mine", file="mine.yaml", base=name)
    copy = read_back(tmp_path, text)
    assert copy.name == "mine"
    assert copy.description.startswith(f"made from {name}: ")
    assert values(copy) == values(chip)
    assert all(len(line) <= 120 for line in text.splitlines() if line.lstrip().startswith("# "))


@pytest.mark.parametrize("name", catalog_names())
def test_every_key_of_a_copy_is_explained_above_it(name: str) -> None:
    chip = load_target(name)
    lines = template(chip, name="mine", file="f", base=name).splitlines()
    words = " ".join(re.sub(r"^\s*# ?", "", line) for line in lines)
    assert all(meaning(key) in words for key in KEYS if entry(chip, key) is not None)


@pytest.mark.parametrize("name", catalog_names())
def test_an_extension_of_an_equal_chip_holds_comments_only(tmp_path: Path, name: str) -> None:
    chip = load_target(name)
    text = template(chip, name="mine", file="f", base=name, extends=name, under=chip)
    assert [line.split(":")[0] for line in text.splitlines() if line and not line.lstrip().startswith("#")] == [
        "extends",
        "name",
        "description",
    ]
    assert values(read_back(tmp_path, text)) == values(chip)


def test_an_extension_holds_what_differs(tmp_path: Path) -> None:
    under = load_target("reram-tile")
    chip = changed(under, ["memory.psum_bytes=16384", "cores=8"])
    text = template(chip, name="mine", file="f", base="reram-tile", extends="reram-tile", under=under)
    live = [line for line in text.splitlines() if line and not line.lstrip().startswith("#")]
    assert [line.strip().split(":")[0] for line in live] == [
        *("extends", "name", "description", "cores", "memory", "psum_bytes")
    ]
    assert values(read_back(tmp_path, text)) == values(chip)


def test_a_comment_taken_away_sets_the_key(tmp_path: Path) -> None:
    chip = load_target("reram-tile")
    text = template(chip, name="mine", file="f", base="reram-tile", extends="reram-tile", under=chip)
    edited = text.replace("# dma:", "dma:").replace("  # setup_ns: {value: 29.0", "  setup_ns: {value: 30.0")
    assert read_back(tmp_path, edited).dma.setup_ns.value == 30


@pytest.mark.parametrize(
    "hostile", ["a\nb: c", "x\u2028y", 'quote " and \\', "# no comment", "\x07bell", "{a: b}", "''"]
)
def test_hostile_names_stay_names(tmp_path: Path, hostile: str) -> None:
    text = template(load_target("reram-tile"), name=hostile, file=hostile, base=hostile)
    assert read_back(tmp_path, text).name == hostile


@settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(key=st.sampled_from(KEYS), number=st.floats(1e-9, 1e6), whole=st.integers(1, 2**40))
def test_any_value_survives(tmp_path: Path, key: str, number: float, whole: int) -> None:
    base = load_target("wtm2101")
    chips: list[Chip] = []
    for value in (repr(number), str(whole)):
        try:
            chips.append(changed(base, [f"{key}={value}"]))
        except Refusal:
            continue
    for chip in [base, *chips]:
        text = template(chip, name="mine", file="f", base="wtm2101")
        assert values(read_back(tmp_path, text)) == values(chip)

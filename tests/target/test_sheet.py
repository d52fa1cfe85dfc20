"""The data sheet gives every value with its unit, and its source as a footnote; the overview one line per chip."""

from __future__ import annotations

import re

import pytest

from bitline.target.derived import derived
from bitline.target.limits import limits
from bitline.target.load import catalog_names, load_target
from bitline.target.schema import KEYS, entry
from bitline.target.sheet import describe, overview, shown, unit


def flat(text: str) -> str:
    """Without line breaks and indents, so that wrapped sentences are found."""
    return " ".join(text.split())


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("array.step_ns", "ns"),
        ("dma.bytes_per_ns", "bytes/ns"),
        ("vector.elements_per_ns", "elements/ns"),
        ("vector.macs_per_ns", "MACs/ns"),
        ("memory.local_energy_pj_per_byte", "pJ/byte"),
        ("vector.energy_pj_per_element", "pJ/element"),
        ("host.energy_pj_per_mac", "pJ/MAC"),
        ("array.write_cell_energy_pj", "pJ"),
        ("adc.bits", "bit"),
        ("control.leakage_mw", "mW"),
        ("memory.psum_bytes", "bytes"),
        ("cores", ""),
    ],
)
def test_units_come_from_keys(key: str, expected: str) -> None:
    assert unit(key) == expected


@pytest.mark.parametrize("name", catalog_names())
def test_every_value_points_to_its_source(name: str) -> None:
    chip = load_target(name, ["memory.psum_bytes=12345"])
    sheet = describe(chip)
    assert re.search(r"psum_bytes +12,345 bytes +\[\d+\]", sheet)
    notes = dict(re.findall(r"\[(\d+)\] (.*?)(?= \[\d+\]|$)", flat(sheet.partition("Sources (")[2])))
    assert len(set(notes.values())) == len(notes)
    keyed = sheet.partition("\nChip\n")[2].partition("Sources (")[0]
    values = re.findall(r"^  (\w+) .*?\[(\d+)\]", keyed, re.MULTILINE)
    keys = [key for key in KEYS if entry(chip, key) is not None]
    assert [name for name, _ in values] == [key.rpartition(".")[2] for key in keys]
    for key, (_, note) in zip(keys, values, strict=True):
        found = entry(chip, key)
        assert found is not None
        assert notes[note] == flat(found.source)


@pytest.mark.parametrize("name", catalog_names())
def test_figures_formulas_and_limits_are_on_the_sheet(name: str) -> None:
    chip = load_target(name)
    sheet = flat(describe(chip))
    assert all(flat(figure.label) in sheet and f"= {flat(figure.formula)}" in sheet for figure in derived(chip))
    assert all(flat(limit) in sheet for limit in limits(chip))
    assert ("not carried out by programs" in sheet) == bool(limits(chip))


def test_no_line_is_wider_than_a_terminal() -> None:
    assert all(len(line) <= 112 for name in catalog_names() for line in describe(load_target(name)).splitlines())


def test_estimated_values_are_counted() -> None:
    chip = load_target("reram-tile")
    found = [entry(chip, key) for key in KEYS]
    sources = [value.source for value in found if value is not None]
    estimated = sum(source.startswith("estimated") for source in sources)
    assert f"Sources ({estimated} of {len(sources)} values are estimated)" in describe(chip)


def test_sizes_are_given_in_binary_units_as_well() -> None:
    sheet = describe(load_target("reram-tile", ["memory.shared_bytes=1536"]))
    assert "1,073,741,824 bytes (1 GiB)" in sheet
    assert "8,192 bytes (8 KiB)" in sheet
    assert re.search(r"1,536 bytes +\[", sheet)


@pytest.mark.parametrize(
    ("value", "text"), [(True, "yes"), (False, "no"), (1234567, "1,234,567"), (0.25, "0.25"), ("int8", "int8")]
)
def test_values_in_words(value: object, text: str) -> None:
    assert shown(value) == text


def test_overview_has_one_line_per_chip() -> None:
    lines = overview({name: load_target(name) for name in catalog_names()}).splitlines()
    assert [line.split()[0] for line in lines] == ["target", *catalog_names()]
    (tile,) = (line for line in lines if line.startswith("reram-tile"))
    assert re.match(r"reram-tile +4 +36 +64 x 64 +147,456  ReRAM tile", tile)

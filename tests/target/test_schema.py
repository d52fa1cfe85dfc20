"""The catalog is whole and each rule between keys refuses a chip that breaks it."""

from __future__ import annotations

import pytest

from bitline.core.canonical import from_json, to_json
from bitline.core.diagnostics import Refusal
from bitline.target.load import catalog_names, load_target
from bitline.target.schema import CHECKS, KEYS, Chip, entry, meaning
from bitline.target.sheet import describe, unit


@pytest.mark.parametrize("name", catalog_names())
def test_every_catalog_chip_loads_under_its_own_name(name: str) -> None:
    assert load_target(name).name == name


def test_catalog_holds_both_kinds_of_array() -> None:
    assert {load_target(name).adc.bits.value > 0 for name in catalog_names()} == {True, False}


def test_reram_tile_holds_the_published_number_of_weights() -> None:
    chip = load_target("reram-tile")
    per_array = chip.array.rows.value * chip.array.cols.value
    assert chip.cores.value * chip.array.per_core.value * per_array == 147_456


def test_sram_dcim_has_64_arrays() -> None:
    chip = load_target("sram-dcim")
    assert chip.cores.value * chip.array.per_core.value == 64


def test_a_chip_cannot_be_changed_and_survives_json() -> None:
    chip = load_target("reram-tile")
    with pytest.raises(ValueError, match="frozen"):
        chip.name = "other"  # pyright: ignore[reportAttributeAccessIssue]
    assert from_json(Chip, to_json(chip), place="chip.json") == chip


BROKEN = {
    "group_fits_array": ("reram-tile", "array.group_rows=65"),
    "cell_fits_weight": ("reram-tile", "array.cell_bits=9"),
    "weights_are_bytes": ("reram-tile", "array.weight_bits=4"),
    "inputs_are_bytes": ("reram-tile", "array.input_bits=16"),
    "converters_see_unsigned_cells": ("reram-tile", "array.weight_encoding=twos_complement"),
    "digital_has_no_conversions": ("sram-dcim", "adc.energy_fj=3"),
}


@pytest.mark.parametrize(("keys", "check"), CHECKS, ids=[check.__name__ for _, check in CHECKS])
def test_every_rule_refuses_with_its_docstring_and_values(keys: tuple[str, ...], check: object) -> None:
    name, override = BROKEN[getattr(check, "__name__", "")]
    with pytest.raises(Refusal) as caught:
        load_target(name, [override])
    messages = [d.message for d in caught.value.diagnostics]
    found = [message for message in messages if message.startswith(str(check.__doc__))]
    assert len(found) == 1
    assert all(f"{key} = " in found[0] for key in keys)
    assert all(d.code == "BL0101" and d.place == f"--set {override}" for d in caught.value.diagnostics)


@pytest.mark.parametrize("key", KEYS)
def test_every_key_is_explained(key: str) -> None:
    assert meaning(key)


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("array.step_ns", "ns"),
        ("dma.bytes_per_ns", "bytes/ns"),
        ("vector.elements_per_ns", "elements/ns"),
        ("memory.local_energy_pj_per_byte", "pJ/byte"),
        ("vector.energy_pj_per_element", "pJ/element"),
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
def test_data_sheet_gives_every_value_and_source(name: str) -> None:
    chip = load_target(name, ["memory.psum_bytes=12345"])
    sheet = describe(chip)
    assert "12_345 bytes" in sheet
    assert "[set by the user]" in sheet
    for key in KEYS:
        found = entry(chip, key)
        assert found is None or f"[{found.source}]" in sheet

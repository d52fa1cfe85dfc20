"""The catalog is whole and each rule between keys refuses a chip that breaks it."""

from __future__ import annotations

from pathlib import Path

import pytest

from bitline.core.canonical import from_json, to_json
from bitline.core.diagnostics import Refusal
from bitline.target.load import CATALOG, catalog_names, load_target
from bitline.target.schema import CHECKS, KEYS, Chip, Sourced, entry, meaning


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


@pytest.mark.parametrize(
    ("name", "cores", "arrays", "rows", "cols"),
    [
        ("isaac", 42, 4032, 128, 128),  # 168 tiles x 12 units x 8 crossbars / 4 slices
        ("puma", 69, 4416, 128, 128),  # 138 tiles x 16 units x 8 crossbars / 4 slices
        ("pimcomp-128", 144, 9216, 128, 128),
        ("wtm2101", 1, 2, 896, 896),
    ],
)
def test_sizes_of_published_chips(name: str, cores: int, arrays: int, rows: int, cols: int) -> None:
    chip = load_target(name)
    assert (chip.cores.value, chip.cores.value * chip.array.per_core.value) == (cores, arrays)
    assert (chip.array.rows.value, chip.array.cols.value) == (rows, cols)


def test_wtm2101_is_the_advertised_array_less_its_reserved_columns() -> None:
    array = load_target("wtm2101").array
    assert array.reserved_cols is not None
    assert array.bias_rows is not None
    whole = array.per_core.value * array.rows.value * (array.cols.value + array.reserved_cols.value)
    assert (whole, array.bias_rows.value) == (1_835_008, 16)
    assert array.per_core.value * array.rows.value * array.cols.value == 1_605_632


@pytest.mark.parametrize("name", catalog_names())
def test_largest_layers_of_common_networks_keep_their_sums_on_one_core(name: str) -> None:
    """A 3x3 window over 512 channels (ResNet-50) on the chips that are made to hold whole networks."""
    chip = load_target(name)
    if name in ("isaac", "puma", "pimcomp-128", "sram-dcim"):
        assert -(-4608 // chip.array.rows.value) <= chip.array.per_core.value
    assert chip.memory.input_bytes.value >= 2 * 4608
    assert chip.memory.psum_bytes.value >= 2 * 4 * chip.array.cols.value


@pytest.mark.parametrize("name", catalog_names())
def test_every_catalog_chip_prices_its_host_and_dynamic_products(name: str) -> None:
    chip = load_target(name)
    given = (CATALOG / f"{name}.yaml").read_text(encoding="utf-8")
    assert "\nhost:\n" in given
    assert "  macs_per_ns:" in given.partition("\nhost:")[0]
    assert chip.host.macs_per_ns.value > 0
    assert all("estimated" in found.source or "ZigZag" in found.source for found in _values(chip, "host."))


def _values(chip: Chip, start: str) -> list[Sourced[object]]:
    found = (entry(chip, key) for key in KEYS if key.startswith(start))
    return [value for value in found if value is not None]


def test_optional_keys_have_defaults_that_say_so(tmp_path: Path) -> None:
    """A file of the time before `host` still loads."""
    text = (CATALOG / "reram-tile.yaml").read_text(encoding="utf-8").partition("\nhost:")[0]
    lines = [line for line in text.splitlines() if "macs_per_ns" not in line]
    (tmp_path / "old.yaml").write_text("\n".join(lines), encoding="utf-8")
    chip = load_target(str(tmp_path / "old.yaml"))
    assert [found.source[:10] for found in _values(chip, "host.")] == ["estimated:"] * 5
    assert chip.vector.macs_per_ns.source.startswith("estimated:")
    assert (chip.vector.rounding, chip.array.bias_rows) == (None, None)


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
    "flipped_columns_fit": ("isaac", "adc.bits=7"),
    "cells_divide_flipped_weights": ("isaac", "array.cell_bits=3"),
    "converters_are_shared_evenly": ("wtm2101", "array.per_core=3"),
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

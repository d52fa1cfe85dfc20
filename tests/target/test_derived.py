"""Derived figures are what their formulas say, and the roll-ups of the papers behind the chips."""

from __future__ import annotations

import pytest

from bitline.target.derived import Figure, array_count, converter_bits_needed, derived, weight_count
from bitline.target.load import catalog_names, load_target
from bitline.target.schema import Chip


def figures(chip: Chip) -> dict[str, Figure]:
    return {figure.name: figure for figure in derived(chip)}


@pytest.mark.parametrize("name", catalog_names())
def test_every_figure_has_a_name_of_its_own_a_label_and_a_formula(name: str) -> None:
    found = derived(load_target(name))
    assert len({figure.name for figure in found}) == len(found)
    assert all(figure.label and figure.formula and figure.value > 0 for figure in found)


def test_weights_are_those_of_the_tile_paper() -> None:
    chip = load_target("reram-tile")
    assert (array_count(chip), weight_count(chip), figures(chip)["weights"].value) == (36, 147_456, 147_456)


def test_a_product_of_the_reram_tile() -> None:
    """Notes of the tile: 50 ns a bit x (8 + 2) = 500 ns and about 3.8 nJ, 0.93 pJ per multiply-accumulate."""
    found = figures(load_target("reram-tile"))
    assert found["mvm_ns"].value == 500
    joules_per_mac_pj = 2 / found["tops_per_watt"].value
    assert joules_per_mac_pj == pytest.approx(0.93, rel=0.03)


def test_peak_of_the_reram_tile() -> None:
    """36 arrays x 64 x 64 x 2 operations in 500 ns; power = peak / efficiency."""
    found = figures(load_target("reram-tile"))
    assert found["peak_tops"].value == pytest.approx(36 * 64 * 64 * 2 / 500 / 1000)
    assert found["peak_power_w"].value == pytest.approx(found["peak_tops"].value / found["tops_per_watt"].value)


def test_isaac_crossbar_read_is_280_pj() -> None:
    """ISAAC Table I: array 30 + DACs 50 + 128 conversions 200 pJ for one bit of one crossbar; shift and add beside."""
    chip = load_target("isaac")
    shift_add_pj = 128 * chip.adc.shift_add_energy_fj.value / 1000
    found = figures(chip)
    one_pj = 2 * 128 * 128 / found["tops_per_watt"].value
    assert one_pj / 32 == pytest.approx(280 + shift_add_pj, rel=0.01)


def test_pimcomp_product_is_what_its_simulator_measures() -> None:
    """1 mvmul of one array: 1305 ns and 29.6 nJ in pimsim-nn, buffers included there, left out here."""
    found = figures(load_target("pimcomp-128"))
    assert found["mvm_ns"].value == pytest.approx(1305, rel=0.01)
    assert 2 * 128 * 128 / found["tops_per_watt"].value / 1000 == pytest.approx(29.6, rel=0.06)


def test_wtm2101_is_of_the_50_gops_class() -> None:
    assert figures(load_target("wtm2101"))["peak_tops"].value == pytest.approx(0.05, rel=0.15)


def test_writing_is_bound_by_rows_or_by_dram() -> None:
    chip = load_target("reram-tile")
    rows = figures(chip)
    assert rows["write_bytes_per_ns"].value == pytest.approx(4 * 64 / 85.7)
    assert rows["fill_us"].value == pytest.approx(9 * 64 * 85.7 / 1000)
    slow = figures(load_target("reram-tile", ["memory.dram_bytes_per_ns=0.5"]))
    assert slow["write_bytes_per_ns"].value == 0.5
    assert slow["fill_us"].value == pytest.approx(147_456 / 0.5 / 1000)
    assert rows["write_over_mvm"].value == pytest.approx(11, rel=0.01)  # "one crossbar write = 11 MVM of time"
    assert rows["fill_uj"].value == pytest.approx(147_456 * (5.16 + 90.6) / 1e6)


@pytest.mark.parametrize(
    ("name", "overrides", "bits"),
    [
        ("reram-tile", [], 8),  # 64 x 3 = 192
        ("reram-tile", ["array.rows=128", "array.group_rows=128"], 9),  # 384
        ("isaac", [], 8),  # 384 / 2
        ("isaac", ["array.weight_encoding=offset"], 9),
        ("sram-dcim", [], 0),
    ],
)
def test_converter_bits_that_never_clip(name: str, overrides: list[str], bits: int) -> None:
    chip = load_target(name, overrides)
    assert converter_bits_needed(chip) == bits
    assert ("converter_bits_needed" in figures(chip)) == (bits > 0)


def test_a_chip_without_energies_has_no_efficiency() -> None:
    free = ["array.cell_energy_fj=0", "array.row_energy_fj=0", "adc.energy_fj=0", "adc.shift_add_energy_fj=0"]
    found = figures(load_target("reram-tile", free))
    assert (found["tops_per_watt"].value, found["peak_power_w"].value) == (0, 0)


def test_more_rows_than_a_group_take_more_passes() -> None:
    found = figures(load_target("reram-tile", ["array.rows=128"]))
    assert found["mvm_ns"].value == 1000
    assert found["mvm_ns"].formula.startswith("2 row group(s)")

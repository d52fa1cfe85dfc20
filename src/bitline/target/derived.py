"""What the numbers of a target add up to: capacity, peak, efficiency, writing. Every figure carries its formula.

Peaks are of arrays that all fire without pause, so they bound what a program can reach and promise nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from bitline.target.costs import mvm_array_fj, mvm_ns
from bitline.target.schema import Chip

OPS_PER_MAC = 2
NS_PER_US = 1000
PJ_PER_UJ = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One derived number: `name` for programs, `label` for people, and the formula with the values put in."""

    name: str
    label: str
    value: float
    unit: str
    formula: str


def array_count(chip: Chip) -> int:
    """Arrays of all cores."""
    return chip.cores.value * chip.array.per_core.value


def weight_count(chip: Chip) -> int:
    """Weights that all arrays hold together."""
    return array_count(chip) * chip.array.rows.value * chip.array.cols.value


def converter_bits_needed(chip: Chip) -> int:
    """Bits that hold the sum of a whole row group of largest cells under inputs of one bit, as the columns are stored.

    A flipped column holds at most half of that. 0 for digital arrays, which convert nothing.
    """
    array = chip.array
    if chip.adc.bits.value == 0:
        return 0
    largest = array.group_rows.value * ((1 << array.cell_bits.value) - 1)
    return (largest // 2 if array.weight_encoding.value == "flip" else largest).bit_length()


def derived(chip: Chip) -> tuple[Figure, ...]:
    """The figures of a data sheet, in the order in which they are read."""
    array, memory = chip.array, chip.memory
    cores, arrays, weights = chip.cores.value, array_count(chip), weight_count(chip)
    rows, cols, group = array.rows.value, array.cols.value, array.group_rows.value
    slices = -(-array.weight_bits.value // array.cell_bits.value)
    steps = slices * array.input_bits.value
    groups = -(-rows // group)
    one_ns = mvm_ns(chip, rows, group_rows=group, input_bits=array.input_bits.value)
    one_fj = mvm_array_fj(chip, rows, cols, group_rows=group, steps=steps)
    ops = OPS_PER_MAC * rows * cols
    write_ns = array.per_core.value * rows * array.write_row_ns.value
    fetch_ns = weights / memory.dram_bytes_per_ns.value
    write_rate = min(cores * cols / array.write_row_ns.value, memory.dram_bytes_per_ns.value)
    write_pj = array.write_cell_energy_pj.value + memory.dram_energy_pj_per_byte.value
    figures = [
        Figure(
            name="weights",
            label="weights in all",
            value=weights,
            unit="",
            formula=f"{cores:,} cores x {array.per_core.value} arrays x {rows:,} rows x {cols:,} columns",
        ),
        Figure(
            name="mvm_ns",
            label="one product of a whole array",
            value=one_ns,
            unit="ns",
            formula=f"{groups} row group(s) x ({array.input_bits.value} + {array.pipeline_steps.value}) steps "
            f"x {array.step_ns.value:g} ns",
        ),
        Figure(
            name="peak_tops",
            label="peak",
            value=ops * arrays / one_ns / 1000,
            unit="TOPS",
            formula=f"2 x {rows:,} x {cols:,} operations x {arrays:,} arrays / {one_ns:,.4g} ns",
        ),
        Figure(
            name="tops_per_watt",
            label="efficiency of arrays and converters",
            value=ops / one_fj * 1000 if one_fj else 0.0,
            unit="TOPS/W",
            formula=f"2 x {rows:,} x {cols:,} operations / {one_fj / 1e6:,.4g} nJ; buffers, copies and leakage apart",
        ),
        Figure(
            name="peak_power_w",
            label="power of arrays and converters at the peak",
            value=one_fj * arrays / one_ns * 1e-6,
            unit="W",
            formula=f"{arrays:,} arrays x {one_fj / 1e6:,.4g} nJ / {one_ns:,.4g} ns",
        ),
        Figure(
            name="write_bytes_per_ns",
            label="bandwidth of writing weights",
            value=write_rate,
            unit="bytes/ns",
            formula=f"{cores:,} cores x {cols:,} weights / {array.write_row_ns.value:g} ns, "
            f"at most the {memory.dram_bytes_per_ns.value:g} of memory.dram_bytes_per_ns",
        ),
        Figure(
            name="fill_us",
            label="time to fill the chip",
            value=max(write_ns, fetch_ns) / NS_PER_US,
            unit="us",
            formula=f"the longer of {array.per_core.value} arrays x {rows:,} rows x {array.write_row_ns.value:g} ns "
            f"and {weights:,} bytes / {memory.dram_bytes_per_ns.value:g} bytes/ns",
        ),
        Figure(
            name="fill_uj",
            label="energy to fill the chip",
            value=weights * write_pj / PJ_PER_UJ,
            unit="uJ",
            formula=f"{weights:,} weights x ({array.write_cell_energy_pj.value:g} written "
            f"+ {memory.dram_energy_pj_per_byte.value:g} fetched) pJ",
        ),
        Figure(
            name="write_over_mvm",
            label="writing an array, in products of it",
            value=rows * array.write_row_ns.value / one_ns,
            unit="",
            formula=f"{rows:,} rows x {array.write_row_ns.value:g} ns / {one_ns:,.4g} ns: "
            "weights used for fewer pixels take longer to write than to use",
        ),
    ]
    if chip.adc.bits.value:
        flipped = " / 2, flipped" if array.weight_encoding.value == "flip" else ""
        figures.append(
            Figure(
                name="converter_bits_needed",
                label=f"bits that never clip, against {chip.adc.bits.value}",
                value=converter_bits_needed(chip),
                unit="bit",
                formula=f"{group:,} rows x {(1 << array.cell_bits.value) - 1}{flipped}",
            )
        )
    return tuple(figures)

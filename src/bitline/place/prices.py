"""What a cut costs in energy on a chip: the price of a line of it in one firing."""

from __future__ import annotations

from bitline.target.schema import Chip

SUM_BYTES = 4
READ_AND_WRITE = 2


def row_cut_pj(chip: Chip) -> float:
    """A further part below another: one addition per column, with its sum read and written."""
    memory, vector = chip.memory, chip.vector
    return vector.energy_pj_per_element.value + READ_AND_WRITE * SUM_BYTES * memory.local_energy_pj_per_byte.value


def col_cut_pj(chip: Chip) -> float:
    """A further part beside another: one more read of an input per row."""
    return chip.memory.local_energy_pj_per_byte.value * chip.array.input_bits.value / 8

"""What a target states and the compiler does not carry out: said to the user, never left to be found out."""

from __future__ import annotations

from bitline.target.schema import Chip


def limits(chip: Chip) -> tuple[str, ...]:
    """One sentence for each statement of the target that programs do not follow; empty where they follow all."""
    array, rounding = chip.array, chip.vector.rounding
    found: list[str] = []
    if chip.precision.value != "int8":
        found.append(f"precision {chip.precision.value}: programs compute with 8-bit weights and inputs all the same")
    if rounding is not None and rounding.value != "half_even":
        found.append(f"vector.rounding {rounding.value}: programs round once, ties to even, so ties differ by one step")
    if array.bias_rows is not None:
        found.append("array.bias_rows: biases are added by the vector unit, and these rows stay empty")
    if array.shared_converters is not None:
        found.append("array.shared_converters: time and energy take these arrays as independent of one another")
    if array.weight_encoding.value == "flip":
        found.append("array.weight_encoding flip: arrays.bin holds the cells before the write drivers complement them")
    if chip.noc.adder.value:
        found.append("noc.adder: the sums of a column stay on one core and are never added on their way")
    return tuple(found)

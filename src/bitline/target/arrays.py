"""What the arrays of a chip compute for one matrix: the constants of `ir.kernels.ArrayMath`."""

from __future__ import annotations

from bitline.ir.kernels import ArrayMath
from bitline.target.schema import Chip


def array_math(
    chip: Chip, *, rows: int, cols: int, groups: int, signed_input: bool, most_groups: int | None = None
) -> ArrayMath:
    """Arithmetic of a matrix of `groups` diagonal blocks of rows x cols, at most `most_groups` of them in a bundle.

    A bundle shares one row group, so that a block of several groups is converted in one pass. Bundles are as few as can
    be and of even sizes, which waste the fewest cells: 144 groups are 72 and 72, not 113 and 31. Arrays are driven with
    unsigned bits, so signed inputs are driven as x + 128.

    With `flip` (ISAAC, ISCA 2016) the write drivers store a column of cells whose sum exceeds half of the largest as
    its complement c' = max - c, and the sum comes back as max * sum_r x[r] - sum_r x[r] * c'[r]. No column then sums
    to more than half, so a converter of n bits does the work of one of n + 1; a chip on which it could still clip is
    refused (`schema.flipped_columns_fit`). Every sum is thus the exact one, and the cells of a package are those
    before the drivers complement them.
    """
    array = chip.array
    encoding = array.weight_encoding.value
    side_by_side = max(1, min(array.group_rows.value // rows, array.cols.value // cols))
    blocks = -(-groups // min(side_by_side, most_groups or side_by_side))
    return ArrayMath(
        group_rows=array.group_rows.value,
        bundle=-(-groups // blocks),
        weight_bits=array.weight_bits.value,
        cell_bits=array.cell_bits.value,
        weight_offset=1 << (array.weight_bits.value - 1) if encoding != "twos_complement" else 0,
        input_bits=array.input_bits.value,
        input_offset=1 << (array.input_bits.value - 1) if signed_input else 0,
        adc_bits=min(16, chip.adc.bits.value + 1) if encoding == "flip" else chip.adc.bits.value,
    )

"""Cut and placed: every weight in exactly one block, every block on exactly one place, row cuts at group edges."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bitline.ir.kernels import ArrayMath, Matrix
from bitline.place.cores import pack_segment
from bitline.place.cuts import block_rows, cut_matrix

matrices = st.builds(
    Matrix, name=st.just("w"), groups=st.integers(1, 6), rows=st.integers(1, 40), cols=st.integers(1, 24)
)


def array_math(matrix: Matrix, group_rows: int, array_cols: int) -> ArrayMath:
    """Offset-binary arithmetic, as many groups side by side as `target.arrays` would put."""
    bundle = max(1, min(matrix.groups, group_rows // matrix.rows, array_cols // matrix.cols))
    return ArrayMath(
        group_rows=group_rows,
        bundle=bundle,
        weight_bits=8,
        cell_bits=2,
        weight_offset=128,
        input_bits=8,
        input_offset=0,
        adc_bits=8,
    )


@given(matrix=matrices, rows=st.integers(1, 32), share=st.integers(1, 8), cols=st.integers(1, 20))
def test_every_weight_is_cut_once(matrix: Matrix, rows: int, share: int, cols: int) -> None:
    group_rows = max(1, rows // share)
    math = array_math(matrix, group_rows, cols)
    strips = cut_matrix(matrix, math, rows, cols)
    painted = np.zeros((matrix.groups * matrix.rows, matrix.groups * matrix.cols), np.int64)
    for strip in strips:
        assert strip.cols <= cols
        bottom = strip.blocks[0].row_offset
        for block in strip.blocks:
            assert (block.col_offset, block.cols) == (strip.col, strip.cols)
            assert block.row_offset == bottom
            assert block.rows <= rows
            assert (block.row_offset - strip.blocks[0].row_offset) % group_rows == 0
            bottom += block.rows
            painted[block.row_offset : bottom, block.col_offset : block.col_offset + block.cols] += 1
    groups = np.arange(matrix.groups)
    own = np.repeat(np.repeat(groups[:, None] == groups[None], matrix.rows, axis=0), matrix.cols, axis=1)
    assert (painted[own] == 1).all()
    assert painted.max() == 1
    if math.bundle == 1:
        assert (painted[~own] == 0).all()
    assert [strip.col for strip in strips] == np.cumsum([0, *(s.cols for s in strips)])[:-1].tolist()


@given(group_rows=st.integers(1, 64), rows=st.integers(1, 64))
def test_blocks_are_whole_row_groups_where_one_fits(group_rows: int, rows: int) -> None:
    height = block_rows(array_math(Matrix(name="w", groups=1, rows=1, cols=1), group_rows, 1), rows)
    assert 1 <= height <= rows
    assert height % group_rows == 0 if group_rows <= rows else height == rows


@given(
    wanted=st.lists(matrices, min_size=1, max_size=3),
    cores=st.integers(1, 3),
    arrays=st.integers(1, 12),
    rows=st.sampled_from([8, 16]),
    cols=st.sampled_from([4, 16]),
)
def test_placed_blocks_lie_inside_arrays_and_apart(
    wanted: list[Matrix], cores: int, arrays: int, rows: int, cols: int
) -> None:
    cut = [cut_matrix(matrix, array_math(matrix, rows, cols), rows, cols) for matrix in wanted]
    placement = pack_segment(cut, cores=cores, arrays=arrays, rows=rows, cols=cols)
    if placement is None:
        return
    cells = np.zeros((cores, arrays, rows, cols), np.int64)
    for k, strips in enumerate(cut):
        for s, strip in enumerate(strips):
            for block, place in zip(strip.blocks, placement.places[k][s], strict=True):
                row, col = place.w_row_start, place.w_col_start
                assert row + block.rows <= rows
                assert col + block.cols <= cols
                cells[placement.core_of[k][s], place.array, row : row + block.rows, col : col + block.cols] += 1
    assert cells.max() == 1
    assert cells.sum() == sum(b.rows * b.cols for strips in cut for strip in strips for b in strip.blocks)

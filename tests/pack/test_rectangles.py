"""Proves that packings are whole, within their bins, without overlap and above the bound, and pins measured counts."""

from __future__ import annotations

import os
import random
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitline.pack.bounds import lower_bound
from bitline.pack.rectangles import Packing, pack

Pieces = list[tuple[int, int]]


def check(packing: Packing, pieces: Pieces, rows: int, cols: int) -> None:
    """Paint every piece: none out of its bin, no cell painted twice, no bin empty, bins in order of first pieces."""
    painted = np.zeros((packing.bins, rows, cols), dtype=np.int64)
    assert len(packing.bin_of) == len(packing.row_start) == len(packing.col_start) == len(pieces)
    for (height, width), b, r, c in zip(pieces, packing.bin_of, packing.row_start, packing.col_start, strict=True):
        assert 0 <= b < packing.bins
        assert 0 <= r <= rows - height
        assert 0 <= c <= cols - width
        painted[b, r : r + height, c : c + width] += 1
    assert painted.max(initial=0) <= 1
    assert painted.any(axis=(1, 2)).all()
    assert list(dict.fromkeys(packing.bin_of)) == list(range(packing.bins))


def packed(pieces: Pieces, rows: int, cols: int) -> Packing:
    packing = pack(pieces, rows=rows, cols=cols)
    assert packing is not None, "without a limit there is always a bin for every piece"
    return packing


@st.composite
def case(draw: st.DrawFn, largest: int = 40, count: int = 60) -> tuple[Pieces, int, int]:
    rows, cols = draw(st.integers(1, largest)), draw(st.integers(1, largest))
    piece = st.tuples(st.integers(1, rows), st.integers(1, cols))
    return draw(st.lists(piece, max_size=count)), rows, cols


@given(case())
@settings(max_examples=200, deadline=None)
def test_packings_are_sound_and_above_the_bound(given_case: tuple[Pieces, int, int]) -> None:
    pieces, rows, cols = given_case
    packing = packed(pieces, rows, cols)
    check(packing, pieces, rows, cols)
    assert lower_bound(pieces, rows, cols)[0] <= packing.bins <= len(pieces)


@given(case(), st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_the_order_of_the_pieces_does_not_matter(given_case: tuple[Pieces, int, int], shuffle: random.Random) -> None:
    pieces, rows, cols = given_case
    packing = packed(pieces, rows, cols)
    assert packed(pieces, rows, cols) == packing
    shuffled = pieces.copy()
    shuffle.shuffle(shuffled)
    assert packed(shuffled, rows, cols).bins == packing.bins


@given(case(largest=12, count=20), st.integers(0, 20))
@settings(max_examples=100, deadline=None)
def test_a_limit_is_kept_or_refused(given_case: tuple[Pieces, int, int], max_bins: int) -> None:
    pieces, rows, cols = given_case
    free = packed(pieces, rows, cols)
    limited = pack(pieces, rows=rows, cols=cols, max_bins=max_bins)
    assert limited == (free if free.bins <= max_bins else None)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=30), st.integers(1, 9), st.booleans())
@settings(deadline=None)
def test_strips_cut_from_one_bin_go_back_into_one(lengths: list[int], width: int, upright: bool) -> None:
    pieces = [(n, width) if upright else (width, n) for n in lengths]
    rows, cols = (sum(lengths), width) if upright else (width, sum(lengths))
    packing = packed(pieces, rows, cols)
    check(packing, pieces, rows, cols)
    assert packing.bins == 1


@pytest.mark.parametrize(
    ("pieces", "rows", "cols", "expected"),
    [
        ([], 4, 4, Packing(0, (), (), ())),
        ([(4, 4), (4, 4)], 4, 4, Packing(2, (0, 1), (0, 0), (0, 0))),
        ([(4, 4), (1, 1), (4, 4)], 4, 4, Packing(3, (0, 1, 2), (0, 0, 0), (0, 0, 0))),
        ([(2, 3), (2, 3), (4, 1)], 4, 4, Packing(1, (0, 0, 0), (0, 2, 0), (0, 0, 3))),
    ],
    ids=["nothing", "whole bins", "whole bins between", "two rows and a column"],
)
def test_golden(pieces: Pieces, rows: int, cols: int, expected: Packing) -> None:
    assert packed(pieces, rows, cols) == expected


def test_infeasible_limits() -> None:
    assert pack([(3, 3)] * 3, rows=4, cols=4, max_bins=2) is None
    assert pack([(4, 4)], rows=4, cols=4, max_bins=0) is None
    assert pack([], rows=4, cols=4, max_bins=0) == Packing(0, (), (), ())


@pytest.mark.parametrize("piece", [(5, 1), (1, 5), (0, 1), (1, -1)])
def test_a_piece_no_bin_can_hold_is_our_bug(piece: tuple[int, int]) -> None:
    with pytest.raises(AssertionError, match="cut first"):
        pack([(1, 1), piece], rows=4, cols=4)


def cut(matrices: Pieces, rows: int, cols: int) -> Pieces:
    """Full tiles and remainders."""
    return [
        (min(rows, height - r), min(cols, width - c))
        for height, width in matrices
        for r in range(0, height, rows)
        for c in range(0, width, cols)
    ]


RESNET18 = (
    [(147, 64), (64, 128), (128, 256), (256, 512), (512, 1000), (576, 128), (1152, 256), (2304, 512)]
    + [(576, 64)] * 4
    + [(1152, 128)] * 3
    + [(2304, 256)] * 3
    + [(4608, 512)] * 3
)
YOLOV3_TINY = [
    *[(27, 16), (144, 32), (288, 64), (576, 128), (1152, 256), (2304, 512), (4608, 1024)],
    *[(1024, 256), (2304, 512), (512, 255), (256, 128), (3456, 256), (256, 255)],
]


@pytest.mark.parametrize(
    ("matrices", "rows", "cols", "count", "bound", "bins"),
    [
        (RESNET18, 1024, 896, 46, 17, 17),
        (RESNET18, 512, 512, 75, 45, 45),
        (RESNET18, 256, 256, 201, 179, 179),
        (RESNET18, 128, 128, 727, 714, 714),
        (RESNET18, 64, 64, 2855, 2855, 2855),
        (YOLOV3_TINY, 1024, 896, 30, 10, 10),
        (YOLOV3_TINY, 512, 512, 48, 34, 34),
        (YOLOV3_TINY, 256, 256, 142, 135, 136),  # 135 is infeasible by a constraint solver, so 136 is the optimum
        (YOLOV3_TINY, 128, 128, 545, 540, 541),  # likewise
        (YOLOV3_TINY, 64, 64, 2163, 2160, 2160),
    ],
)
def test_networks_cut_at_array_borders(
    matrices: Pieces, rows: int, cols: int, count: int, bound: int, bins: int
) -> None:
    pieces = cut(matrices, rows, cols)
    assert len(pieces) == count
    assert lower_bound(pieces, rows, cols)[0] == bound
    packing = packed(pieces, rows, cols)
    assert packing.bins == bins
    if rows <= 512:
        check(packing, pieces, rows, cols)


def test_fifteen_hundred_pieces_of_many_sizes() -> None:
    """More free rectangles than the kernel starts with room for."""
    draw = random.Random(1)
    pieces = [(draw.randint(1, 60), draw.randint(1, 60)) for _ in range(1500)]
    packing = packed(pieces, 512, 448)
    check(packing, pieces, 512, 448)
    assert packing.bins <= lower_bound(pieces, 512, 448)[0] + 1


def test_the_compiled_kernel_does_what_its_text_says() -> None:
    draw = random.Random(2)
    pieces = [(draw.randint(1, 30), draw.randint(1, 30)) for _ in range(60)]
    program = f"from bitline.pack.rectangles import pack; print(pack({pieces}, rows=40, cols=50))"
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
    answer = subprocess.run(
        [sys.executable, "-c", program], check=True, env=environment, capture_output=True, text=True
    )
    assert answer.stdout.strip() == str(packed(pieces, 40, 50))


def test_numba_loads_only_where_something_is_packed() -> None:
    program = (
        "import sys; from bitline.pack.rectangles import pack; pack([(2, 2)], rows=2, cols=2); "
        "assert 'numba' not in sys.modules; pack([(1, 2)], rows=2, cols=2); assert 'numba' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)

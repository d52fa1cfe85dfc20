"""Proves that a floor plan holds every block once, to scale, inside its canvas, and says what it leaves out."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import bitline.report.html
from bitline.ir.placement import ArrayShape, Occupied, Placement
from bitline.report.floorplan_legend import MOST_LAYERS
from bitline.report.floorplan_marks import DARK, LIGHT, Box, Hatch, Line, Mark, Text, bounds
from bitline.report.floorplan_panel import LEFT, TOP, percent
from bitline.report.floorplan_plan import MOST_PANELS, notes, plan
from bitline.report.floorplan_scene import scene
from bitline.report.floorplan_text import clipped, short_names, text_width
from bitline.report.html.colours import layer_colour
from bitline.report.placement_facts import array_facts
from tests.report.placements import block, empty, guillotine, matrix, placement, wtm2101_like

WIDTHS = st.sampled_from((360.0, 800.0, 1240.0))
LINE = 1200.0


def extent(mark: Mark) -> tuple[float, float, float, float]:
    width = 0.0
    if isinstance(mark, Text):
        width = text_width(f"{mark.text} {mark.tail}" if mark.tail else mark.text, mark.size, bold=mark.bold)
    return bounds(mark, width)


def texts(marks: tuple[Mark, ...]) -> list[str]:
    return [mark.text for mark in marks if isinstance(mark, Text)]


@given(seed=st.integers(0, 10**6), arrays=st.integers(1, 40), width=WIDTHS)
def test_everything_is_inside_the_canvas(seed: int, arrays: int, width: float) -> None:
    picture = scene(guillotine(seed, arrays=arrays), width)
    for mark in picture.marks:
        left, top, right, bottom = extent(mark)
        assert min(left, top) >= -0.01, mark
        assert max(right - picture.width, bottom - picture.height) <= 0.01, mark


@given(seed=st.integers(0, 10**6), arrays=st.integers(1, 12), rows=st.integers(1, 300), cols=st.integers(1, 300))
def test_every_block_is_drawn_once_or_counted(seed: int, arrays: int, rows: int, cols: int) -> None:
    p = guillotine(seed, arrays=arrays, rows=rows, cols=cols)
    found = plan(p, LINE)
    facts = {f.array: f for f in array_facts(p)}
    shown = [array for one in (*found.tiles, *found.panels) for array in one.arrays]
    assert sorted(shown) == sorted(facts)
    assert sum(one.blocks for one in (*found.tiles, *found.panels)) == len(p.blocks)
    for one in found.panels:
        drawn = [mark.block for mark in one.marks if isinstance(mark, Box) and mark.block is not None]
        assert sorted(drawn) == list(facts[one.arrays[0]].blocks)
    drawn = Counter(mark.block for mark in scene(p).marks if isinstance(mark, Box) and mark.block is not None)
    assert set(drawn.values()) <= {1}


@given(seed=st.integers(0, 10**6), rows=st.integers(1, 300), cols=st.integers(1, 300))
def test_blocks_are_to_scale_and_coloured_by_layer(seed: int, rows: int, cols: int) -> None:
    p = guillotine(seed, rows=rows, cols=cols)
    for one in plan(p, LINE).panels:
        ground = next(mark for mark in one.marks if isinstance(mark, Hatch))
        per_row, per_col = ground.height / rows, ground.width / cols
        assert per_row == pytest.approx(per_col) or rows > 3 * cols
        for mark in one.marks:
            if isinstance(mark, Box) and mark.block is not None:
                b = p.blocks[mark.block]
                assert mark.fill == layer_colour(b.matrix)
                assert (mark.x - LEFT, mark.y - TOP) == pytest.approx(
                    (b.w_col_start * per_col, b.w_row_start * per_row)
                )
                assert (mark.width, mark.height) == pytest.approx((b.cols * per_col, b.rows * per_row))


@given(seed=st.integers(0, 10**6), arrays=st.integers(1, 30))
def test_labels_lie_inside_their_blocks(seed: int, arrays: int) -> None:
    p = guillotine(seed, arrays=arrays)
    for one in plan(p, LINE).panels:
        inside: Box | None = None
        for mark in one.marks:
            if isinstance(mark, Box) and mark.block is not None:
                inside = mark
            elif isinstance(mark, Text) and mark.colour == "label":
                assert inside is not None
                left, top, right, bottom = extent(mark)
                assert inside.x <= left < right <= inside.x + inside.width, mark
                assert inside.y <= top < bottom <= inside.y + inside.height, mark
                assert inside.block is not None
                b = p.blocks[inside.block]
                size = f"{b.rows} \N{MULTIPLICATION SIGN} {b.cols}"
                assert mark.text in {size, str(b.matrix)} or mark.text.startswith(f"{b.matrix}  n{b.matrix}")


def test_a_large_block_says_its_layer_and_size_a_tiny_one_nothing() -> None:
    p = placement(
        (matrix("/layer1/layer1.0/conv1/Conv", 60, 64), matrix("/fc/Gemm", 1, 1)),
        (block(0, 0, (0, 0, 60, 64)), block(1, 0, (63, 63, 64, 64))),
    )
    words = texts(plan(p, LINE).panels[0].marks)
    assert "0  layer1.0/conv1" in words
    assert "60 \N{MULTIPLICATION SIGN} 64" in words
    assert not [word for word in words if word.startswith("1 ") or word == "1"]


def test_whole_arrays_are_one_tile_a_layer_and_twins_one_panel() -> None:
    whole = [block(0, n, (0, 0, 64, 64)) for n in range(37)] + [block(1, 37, (0, 0, 64, 64))]
    twins = [block(1, n, (0, 0, 64, 40)) for n in (38, 39, 41)]
    other = [block(0, 40, (0, 0, 64, 40))]
    found = plan(placement((matrix(), matrix("b")), (*whole, *twins, *other)), LINE)
    assert [(one.arrays, one.blocks) for one in found.tiles] == [(tuple(range(37)), 37), ((37,), 1)]
    assert [(one.arrays, one.blocks) for one in found.panels] == [((38, 39, 41), 3), ((40,), 1)]
    assert any("37 arrays" in text for text in texts(found.tiles[0].marks))
    assert "arrays 38, 39, 41" in texts(found.panels[0].marks)
    assert "100 fires each" in texts(found.panels[0].marks)


def test_arrays_that_differ_in_bias_rows_or_in_what_occupies_them_are_no_twins() -> None:
    here = (0, 0, 64, 40)
    shape = ArrayShape(rows=64, cols=64, bias_rows=8)
    blocks = [replace(block(0, n, here), bias_start=start, bias_rows=4) for n, start in enumerate((0, 4, 0, 0))]
    taken = [
        Occupied(name=name, array=n, w_row_start=0, w_col_start=40, rows=9, cols=9) for n, name in ((2, "a"), (3, "b"))
    ]
    found = plan(placement((matrix(),), tuple(blocks), shape=shape, occupied=tuple(taken)), LINE)
    assert [one.arrays for one in found.panels] == [(0,), (1,), (2,), (3,)]


def marked(p: Placement, word: str) -> list[int]:
    found = plan(p, LINE)
    return [array for one in (*found.tiles, *found.panels) if word in texts(one.marks) for array in one.arrays]


@given(seed=st.integers(0, 10**6), arrays=st.integers(2, 12))
def test_the_emptiest_and_the_busiest_are_marked_in_words(seed: int, arrays: int) -> None:
    p = guillotine(seed, arrays=arrays)
    facts = array_facts(p)
    for word, values, best in (
        ("emptiest", {f.array: f.fill for f in facts}, min),
        ("busiest", {f.array: f.load for f in facts}, max),
    ):
        chosen = [array for array, value in values.items() if value == best(values.values())]
        assert marked(p, word) == (chosen if len(chosen) < len(facts) else [])


def many(arrays: int) -> Placement:
    """Arrays that all look different, three blocks each; number 7 is the busiest, the last the emptiest."""
    blocks = [
        block(n % 9, array, (top, 0, top + 1 + (array >> shift) % 10, 64))
        for array in range(arrays)
        for n, (top, shift) in enumerate(((0, 0), (20, 3), (40, 6)), start=array)
    ]
    blocks += [block(9, 7, (60, 0, 64, 64)), block(9, 7, (55, 0, 60, 64))]
    matrices = (*(matrix(f"m{n}", pixels=1) for n in range(9)), matrix("hot", pixels=10**6))
    return placement(matrices, tuple(blocks))


def test_a_thousand_arrays_leave_out_the_fullest_and_say_so() -> None:
    p = many(1000)
    found = plan(p, LINE)
    assert len(found.panels) == MOST_PANELS
    shown = {array for one in found.panels for array in one.arrays}
    left = {f.array for f in found.left_out}
    assert shown | left == set(range(1000))
    assert not shown & left
    assert sum(one.blocks for one in found.panels) + sum(len(f.blocks) for f in found.left_out) == len(p.blocks)
    assert 7 in shown
    assert marked(p, "busiest") == [7]
    assert marked(p, "emptiest")
    drawn = {f.array: f.fill for f in array_facts(p) if f.array in shown - {7}}
    assert max(drawn.values()) <= min(f.fill for f in found.left_out)
    (note,) = notes(found)
    blocks = sum(len(f.blocks) for f in found.left_out)
    lowest = percent(min(f.fill for f in found.left_out))
    thousands = f"{blocks:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")
    assert note == f"{len(left)} more arrays with {thousands} blocks not drawn: the fullest, {lowest} full or more."
    picture = scene(p)
    assert note in " ".join(texts(picture.marks))
    assert picture.height < 6000


def test_a_long_list_of_layers_is_cut_in_words() -> None:
    p = placement(tuple(matrix(f"m{n}") for n in range(MOST_LAYERS + 3)), (block(0, 0, (0, 0, 9, 9)),))
    assert "3 more layers are not in this list." in texts(scene(p).marks)


def test_halves_bias_rows_reserved_and_blocked_cells() -> None:
    p = wtm2101_like()
    (one,) = plan(p, LINE).panels
    hatches = [mark for mark in one.marks if isinstance(mark, Hatch)]
    ground = hatches[0]
    per_row, per_col = ground.height / 1792, ground.width / 1024
    assert [h.pattern for h in hatches] == ["empty", "reserved", "blocked", "empty"]
    assert hatches[1].width == pytest.approx(128 * per_col)
    assert (hatches[2].x, hatches[2].y) == pytest.approx((LEFT + (128 + 740) * per_col, TOP + 700 * per_row))
    assert [mark.y1 for mark in one.marks if isinstance(mark, Line) and mark.dashed] == [
        pytest.approx(TOP + 896 * per_row)
    ]
    strip = hatches[3]
    assert strip.y > TOP + ground.height
    bands = [m for m in one.marks if isinstance(m, Box) and m.tip and m.block is None and m.y >= strip.y]
    assert [band.fill for band in bands] == [layer_colour(n) for n in range(4)]
    for band, b in zip(bands, p.blocks, strict=True):
        assert (band.y - strip.y) / strip.height == pytest.approx(b.bias_start / 16)
        assert band.height / strip.height == pytest.approx(b.bias_rows / 16)
        assert band.x == pytest.approx(LEFT + (128 + b.w_col_start) * per_col)
        assert band.width == pytest.approx(b.cols * per_col)
    taken = [m for m in one.marks if isinstance(m, Box) and m.fill == "taken"]
    assert [(m.width, m.height) for m in taken] == [(pytest.approx(420 * per_col), pytest.approx(180 * per_row))]
    assert "vad" in texts(one.marks)
    key = " ".join(texts(scene(p).marks))
    for words in ("128 reserved columns", "blocked cells", "no block crosses", "16 bias rows", "occupied"):
        assert words in key


def test_blocked_cells_that_stand_over_are_cut_off() -> None:
    p = wtm2101_like()
    over = replace(p, shape=replace(p.shape, blocked=((-5, -5, 9999, 9), (5, 5, 5, 9))))
    ground, *others = (m for m in plan(over, LINE).panels[0].marks if isinstance(m, Hatch))
    blocked = [m for m in others if m.pattern == "blocked"]
    assert [m.height for m in blocked] == [pytest.approx(ground.height)]
    assert (blocked[0].y, blocked[0].width) == pytest.approx((TOP, 9 * ground.width / 1024))


def test_nothing_placed_is_said() -> None:
    words = texts(scene(empty()).marks)
    assert "chip: No arrays: there is nothing to place" in words
    assert "Nothing is placed: these networks have no weights that arrays hold." in words


def test_long_arrays_are_squeezed_and_that_is_said() -> None:
    p = guillotine(1, rows=4096, cols=64)
    found = plan(p, LINE)
    ground = next(mark for mark in found.panels[0].marks if isinstance(mark, Hatch))
    assert ground.height <= 3 * ground.width + 0.01
    assert notes(found) == ("Arrays are drawn shorter than they are: a row takes fewer pixels than a column.",)


@given(st.text(max_size=60), st.floats(0, 300), st.sampled_from((8.5, 11.0, 18.0)))
def test_clipped_texts_fit_and_keep_both_ends(text: str, width: float, size: float) -> None:
    short = clipped(text, width, size)
    assert short == "" or text_width(short, size) <= width
    if len(short) > 9 and "\N{HORIZONTAL ELLIPSIS}" in short and "\N{HORIZONTAL ELLIPSIS}" not in text:
        before, _, after = short.partition("\N{HORIZONTAL ELLIPSIS}")
        whole = clipped(text, 1e9, size)
        assert whole.startswith(before)
        assert whole.endswith(after)


def test_short_names_of_nodes() -> None:
    assert short_names("/layer1/layer1.0/conv1/Conv") == ("layer1.0/conv1", "conv1")
    assert short_names("/fc/Gemm") == ("fc",)
    assert short_names("Conv_12") == ("Conv_12",)
    assert short_names("/encoder/attn/MatMul_1") == ("encoder/attn", "attn")
    assert short_names("") == ("",)
    assert short_names("/") == ("/",)
    assert short_names("a" * 30 + "/" + "b" * 60)[1:] == ("b" * 60, "b" * 7 + "\N{HORIZONTAL ELLIPSIS}" + "b" * 16)


def test_percent_says_100_of_nothing_less() -> None:
    assert [percent(share) for share in (0.0, 0.28571, 0.9999, 1.0)] == ["0.0 %", "28.6 %", "99.9 %", "100 %"]


def test_themes_are_those_of_the_report() -> None:
    style = (Path(bitline.report.html.__file__).parent / "style.css").read_text(encoding="utf-8")
    light, dark = re.findall(r":root\{(.*?)\}", style)[:2]
    for theme, text in ((LIGHT, light), (DARK, dark)):
        roles = dict(pair.split(":") for pair in text.split(";") if pair.startswith("--"))
        for role in set(theme) - {"taken", "label"}:
            given_colour = roles[f"--{role}"]
            assert theme[role] == (given_colour if len(given_colour) == 7 else f"#{given_colour[1:] * 2}")
    assert set(LIGHT) == set(DARK)


BLINDNESS = {
    "protan": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "deutan": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
    "tritan": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900)),
}
"""On linear RGB, from Machado, Oliveira and Fernandes, 'A physiologically-based model' (2009), severity 1."""
LMS = ((0.4122214708, 0.5363325363, 0.0514459929), (0.2119034982, 0.6806995451, 0.1073969566))
LMS_SHORT = (0.0883024619, 0.2817188376, 0.6299787005)
OKLAB = (
    (0.2104542553, 0.7936177850, -0.0040720468),
    (1.9779984951, -2.4285922050, 0.4505937099),
    (0.0259040371, 0.7827717662, -0.8086757660),
)


def times(m: tuple[tuple[float, ...], ...], v: list[float]) -> list[float]:
    return [sum(a * b for a, b in zip(row, v, strict=True)) for row in m]


def seen(colour: str, kind: str) -> list[float]:
    """OKLab of a colour as an eye without one kind of cone sees it."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    left = [min(1.0, max(0.0, c)) for c in times(BLINDNESS[kind], linear)]
    return times(OKLAB, [c ** (1 / 3) for c in times((*LMS, LMS_SHORT), left)])


@pytest.mark.parametrize("kind", BLINDNESS)
def test_neighbouring_layers_differ_for_colour_blind_eyes(kind: str) -> None:
    """0.02 of OKLab is about the least difference that is seen; the number in a block tells layers further apart."""
    colours = [seen(layer_colour(n), kind) for n in range(200)]
    steps = [sum((a - b) ** 2 for a, b in zip(x, y, strict=True)) ** 0.5 for x, y in pairwise(colours)]
    assert min(steps) > 0.02
    assert sorted(steps)[100] > 0.15

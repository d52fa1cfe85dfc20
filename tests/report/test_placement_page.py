"""Proves that the page of a placement holds every array and layer, needs nothing from elsewhere and runs no script."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitline.ir.placement import Placement
from bitline.report.floorplan_marks import Dot, Text, bounds
from bitline.report.floorplan_text import text_width
from bitline.report.pareto_chart import HEIGHT, WIDTH, Point, pareto_chart
from bitline.report.placement_facts import array_facts, layer_facts
from bitline.report.placement_page import MOST_ROWS, placement_page
from tests.report.placements import block, empty, guillotine, matrix, placement, wtm2101_like
from tests.report.test_floorplan_files import HOSTILE, hostile

POINTS: tuple[Point, ...] = (
    (12, 92_369, 50_421, 11),
    (9, 96_923, 52_000, 9),
    (7, 103_293, 60_000, 7),
    (5, 149_108, 90_000, 5),
)


class Page(HTMLParser):
    """Tags with attributes, and the texts of cells of every table by its section."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: dict[str, list[list[str]]] = {}
        self.open: list[str] = []
        self._section = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in {"meta", "br"}:
            self.open.append(tag)
        if tag == "section":
            self._section = dict(attrs).get("id") or ""
        if tag == "tr":
            self.rows.setdefault(self._section, []).append([])
        if tag in {"td", "th"}:
            self.rows[self._section][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if {"td", "th"} & set(self.open):
            self.rows[self._section][-1][-1] += data


def body(p: Placement, section: str, points: Sequence[Point] = ()) -> list[list[str]]:
    return Page(placement_page(p, points)).rows[section][1:]


@settings(max_examples=10)
@given(seed=st.integers(0, 10**6), arrays=st.integers(1, 9))
def test_tables_hold_every_array_and_layer(seed: int, arrays: int) -> None:
    p = guillotine(seed, arrays=arrays)
    rows = body(p, "arrays")
    assert [int(row[0]) for row in rows] == [f.array for f in array_facts(p)]
    for row, facts in zip(rows, array_facts(p), strict=True):
        assert float(row[1].split()[0]) == pytest.approx(100 * facts.fill, abs=0.1)
        assert plain(row[2]) == facts.load
        assert int(row[3]) == len(facts.blocks)
    head, *layers, total = Page(placement_page(p)).rows["matrices"]
    assert len(layers) == len(p.matrices)
    for row, facts, m in zip(layers, layer_facts(p), p.matrices, strict=True):
        assert row[0].split() == [str(facts.number), *m.nodes]
        assert row[2] == ""
        assert [plain(cell) for cell in row[3:]] == [
            *(m.copies, facts.pieces, facts.row_cuts, facts.col_cuts),
            *(m.fires, facts.load),
        ]
    sums = dict(zip(head, total, strict=True))
    assert plain(sums["fires of all"]) == sum(f.load for f in array_facts(p))
    assert plain(sums["pieces"]) == len(p.blocks)
    assert plain(sums["row cuts"]) == sum(f.row_cuts for f in layer_facts(p))


def plain(cell: str) -> int:
    return int(cell.replace("\N{NARROW NO-BREAK SPACE}", ""))


def test_bundles_and_copies_are_shown() -> None:
    p = placement(
        (matrix("dw", 9, 1, groups=64, bundle=7, copies=3), matrix("pw")),
        (block(0, 0, (0, 0, 63, 7)), block(1, 0, (0, 7, 64, 60))),
    )
    p = replace(p, matrices=(p.matrices[0], replace(p.matrices[1], window=(2, 3))))
    first, second, _ = body(p, "matrices")
    assert second[1].endswith(" for 2 \N{MULTIPLICATION SIGN} 3 pixels")
    assert first[1:4] == ["64 groups of 9 \N{MULTIPLICATION SIGN} 1", "7", "3"]
    assert second[2:4] == ["", "1"]


def test_an_earlier_placement_is_counted_apart() -> None:
    assert body(wtm2101_like(), "arrays")[0][3] == "4 + 1 occupied"


@pytest.mark.parametrize("p", [empty(), wtm2101_like(), guillotine(2, arrays=20)], ids=["empty", "wtm", "many"])
def test_nothing_comes_from_elsewhere_and_no_script_runs(p: Placement) -> None:
    text = placement_page(p, POINTS)
    page = Page(text)
    assert page.open == []
    assert not [tag for tag, _ in page.tags if tag in {"script", "img", "link", "iframe", "object"}]
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert all((a.get("href") or "#").startswith("#") for _, a in page.tags)
    assert not re.search(r"url\((?!#)|@import", text)
    policy = next(a["content"] for t, a in page.tags if t == "meta" and a.get("http-equiv"))
    assert policy == "default-src 'none'; style-src 'unsafe-inline'"
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))


def test_the_certificate_is_in_words() -> None:
    p = guillotine(1)
    open_gap = replace(p.certificate, arrays_used=12, lower_bound=11, bound="dff", proof="none")
    assert "12 arrays, at least 11 needed (dff bound): gap 1." in placement_page(replace(p, certificate=open_gap))
    solved = replace(open_gap, proof="solver")
    assert "(an exhaustive search found none)." in placement_page(replace(p, certificate=solved))


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_names_are_text(name: str) -> None:
    text = placement_page(hostile(name), POINTS)
    page = Page(text)
    assert page.open == []
    assert not [tag for tag, _ in page.tags if tag in {"script", "img"}]
    assert not [key for _, attributes in page.tags for key in attributes if key.startswith("on")]
    assert all(c.isprintable() or c in "\n\N{NARROW NO-BREAK SPACE}" for c in text)
    assert len(text) < 200_000


def test_a_table_of_very_many_arrays_is_cut_in_words() -> None:
    blocks = tuple(block(0, n, (0, 0, 64, 64)) for n in range(MOST_ROWS + 5))
    page = placement_page(placement((matrix(),), blocks))
    assert len(Page(page).rows["arrays"]) == 1 + MOST_ROWS
    assert "5 more arrays are not in this table." in page


def test_the_trade_off_is_shown_where_there_is_one() -> None:
    p = guillotine(1)
    loads = [f.load for f in array_facts(p)]
    ours = (p.certificate.arrays_used, sum(loads), max(loads), 1)
    assert "Trade-off" not in placement_page(p)
    assert "the ringed one" not in placement_page(p, POINTS)
    shown = placement_page(p, (*POINTS, ours))
    assert "the ringed one" in shown
    assert shown.count("<circle") == 2 * (len(POINTS) + 1)


def point(p: tuple[int, int, int, int]) -> Point:
    return p[0], p[1], p[2], min(p[0], p[3])


@given(
    st.lists(
        st.tuples(st.integers(1, 3000), st.integers(0, 10**9), st.integers(0, 10**9), st.integers(1, 3000)).map(point),
        min_size=1,
        max_size=12,
    )
)
def test_charts_hold_every_point_and_no_label_lies_on_another(points: list[Point]) -> None:
    for place in (1, 2):
        picture = pareto_chart(points, points[0], "Fires", lambda p, place=place: p[place])
        dots = [m for m in picture.marks if isinstance(m, Dot)]
        assert len(dots) == len(set(points))
        values = sorted({(p[0], p[place], p) for p in points})
        heights = sorted(zip((value for _, value, _ in values), (-d.y for d in dots), strict=True))
        assert [height for _, height in heights] == sorted(height for _, height in heights), "more is higher"
        words = [m for m in picture.marks if isinstance(m, Text)]
        boxes = [bounds(m, text_width(m.text, m.size, bold=m.bold)) for m in words]
        for n, (left, top, right, bottom) in enumerate(boxes):
            assert min(left, top) >= 0
            assert right <= WIDTH
            assert bottom <= HEIGHT
            for other in boxes[:n]:
                apart = left >= other[2] or other[0] >= right or top >= other[3] or other[1] >= bottom
                assert apart, (words[n], other)
        assert {d.fill for d in dots} <= {"accent", "panel"}

"""Proves that the page holds every block, span and number, stays small and stable, and runs no script but its own."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from typing import Any

import pytest

from bitline.ir.program import UNITS
from bitline.report.html import render
from bitline.report.html.colours import layer_colour
from bitline.report.html.columns import COLUMNS, decimals_for, grouped
from bitline.report.html.floorplan import floor_plan, rounds_per_step
from bitline.report.html.timeline import MOST_SPANS, ticks, timeline
from bitline.report.layers import layer_table
from bitline.target.schema import KEYS, entry
from tests.report import synthetic


class Page(HTMLParser):
    """Start tags with their attributes, the texts of scripts, and all visible text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.text: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        (self.scripts if self.cdata_elem == "script" else self.text).append(data)

    def data(self) -> dict[str, Any]:
        return json.loads(self.scripts[0])

    def with_attribute(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for _, attributes in self.tags if name in attributes]


def small(first_node: str = "/conv1/Conv") -> str:
    return render(
        facts=synthetic.facts(),
        network=synthetic.network(first_node),
        blocks=synthetic.blocks(),
        trace=synthetic.trace(),
        chip=synthetic.chip(),
    )


@pytest.fixture(scope="module")
def large() -> tuple[str, Page]:
    network, blocks, trace, chip = synthetic.large()
    text = render(facts=synthetic.facts(), network=network, blocks=blocks, trace=trace, chip=chip)
    return text, Page(text)


def test_headline_and_explanations_are_there() -> None:
    text = Page(small()).text
    for label, value, explanation in synthetic.facts().summary:
        assert label in text
        assert value in text
        assert explanation in text


def test_the_headline_writes_thousands_as_the_tables_do_and_long_values_small() -> None:
    facts = replace(
        synthetic.facts(), summary=(("instructions", "6,940 static, 210,884 executed", ""), ("a", "1,2", ""))
    )
    text = render(
        facts=facts,
        network=synthetic.network(),
        blocks=synthetic.blocks(),
        trace=synthetic.trace(),
        chip=synthetic.chip(),
    )
    space = "\N{NARROW NO-BREAK SPACE}"
    assert f'<span class="value long">6{space}940 static, 210{space}884 executed</span>' in text
    assert '<span class="value">1,2</span>' in text


def test_blocks_are_drawn_to_scale_and_resident_ones_shown_first() -> None:
    plan = floor_plan(synthetic.network(), synthetic.blocks(), synthetic.chip())
    assert [(core.core, [array.array for array in core.arrays]) for core in plan.cores] == [(0, [0, 1]), (1, [])]
    assert [core.spare for core in plan.cores] == [(), (0, 1)], "arrays that nothing ever uses"
    assert "never used:" in "".join(Page(small()).text)
    block = plan.cores[0].arrays[0].blocks[0]
    scale = plan.width / 64
    assert (block.x, block.y) == pytest.approx((4 * scale, 8 * scale), abs=0.01)
    assert (block.width, block.height) == pytest.approx((16 * scale, 32 * scale), abs=0.01)
    classes = [g["class"] for g in Page(small()).with_attribute("data-b")]
    assert classes == ["l0", "l1 off", "l1 off"], "streamed blocks wait for their step"


def test_data_of_a_streamed_block_are_its_residency() -> None:
    data = Page(small()).data()
    assert data["blocks"][2] == [1, 1, 0, 2, 64, 0, 64, 64, 0, 1, 0, 0, 1, 1, 1, 1]
    assert data["matrices"] == ["w1", "w2"]
    assert data["rounds"] == [1, 2, 1, 1]
    assert (data["cells"], data["arrays"]) == (64 * 64, 4)
    assert data["kernels"][1] == ["/conv2/Conv", "MatMul", "/conv2/Conv, /conv2/Conv/Relu"]


def test_rounds_count_streamed_weights_only() -> None:
    stays = replace(synthetic.blocks()[0], round=9)
    assert rounds_per_step([stays], 4) == (1, 1, 1, 1)


def test_bars_have_the_length_of_the_span_and_the_height_of_its_busy_share() -> None:
    rows = timeline(synthetic.trace()).rows
    assert [(row.core, row.unit) for row in rows] == [
        *((0, unit) for unit in ("dma in", "write", "mvm", "vector", "dma out")),
        (1, "mvm"),
    ]
    write, other = rows[1].bars[0], rows[5].bars[0]
    assert (write.x, write.width) == (200_000, 400_000)
    assert write.height == pytest.approx(0.9 * rows[1].height, abs=0.05)
    assert other.height == rows[5].height, "busy for more than the duration is drawn as all of it"


def test_spans_of_the_data_are_those_of_the_bars() -> None:
    page = Page(small())
    units, spans = page.data()["units"], page.data()["spans"]
    assert [units[span[2]] for span in spans] == ["dma in", "write", "mvm", "vector", "dma out", "mvm"]
    assert spans[1] == [1, 0, units.index("write"), 2 * synthetic.PS, 6 * synthetic.PS, 3_600_000, 3]
    bars = page.with_attribute("data-s")
    assert [bar["class"] for bar in bars] == ["l0", "l1", "l0", "l2", "l-1", "l1"]
    assert [bar["data-s"] for bar in bars] == [str(i) for i in range(6)]


def test_the_time_axis_is_in_round_microseconds() -> None:
    marks = ticks(10_000_000)
    assert [mark.text for mark in marks if mark.level == 0] == ["0", "2", "4", "6", "8", "10"]
    assert [mark.percent for mark in marks if mark.level == 0] == [0, 20, 40, 60, 80, 100]
    assert [mark.text for mark in marks if mark.level == 1][:3] == ["0.2", "0.4", "0.6"]
    short = [mark.text for mark in ticks(437_000) if mark.level == 0]
    assert short == [f"{0.05 * i:.2f}" for i in range(9)]


@pytest.mark.parametrize("end", [1, 999, 10**6, 123_456_789, 10**12, 3 * 10**15])
def test_an_axis_has_a_few_marks_whatever_the_time(end: int) -> None:
    marks = ticks(end)
    assert 4 <= sum(mark.level == 0 for mark in marks) <= 13
    assert all(0 <= mark.percent <= 100 for mark in marks)
    assert len(marks) <= 1300


def test_table_cells_equal_the_layer_table() -> None:
    rows = layer_table(synthetic.network(), synthetic.blocks(), synthetic.trace(), synthetic.chip())
    page = Page(small())
    cells = [cell["data-v"] for cell in page.with_attribute("data-v")]
    expected = [column.value(row) for row in rows for column in COLUMNS]
    assert cells == ["-1" if value is None else str(value) for value in expected]
    assert "waiting (vector 20 %)" in page.text
    assert "46\N{NARROW NO-BREAK SPACE}080" in page.text, "the sum of all MACs"


def test_every_column_says_what_it_is() -> None:
    heads = Page(small()).with_attribute("data-column")
    assert [head["title"] for head in heads] == [column.tip for column in COLUMNS]
    assert all(len(column.tip) > 30 for column in COLUMNS)


def test_every_number_of_the_target_has_its_source() -> None:
    text = Page(small()).text
    chip = synthetic.chip()
    for key in KEYS:
        found = entry(chip, key)
        assert (key in text) == (found is not None)
        if found is not None:
            assert found.source in text


def test_names_cannot_break_out() -> None:
    name = f"</script>{synthetic.HOSTILE}\"'&\u2028<!--"
    text = render(
        facts=replace(synthetic.facts(), title=name, model=name, summary=((name, name, name),)),
        network=synthetic.network(name),
        blocks=tuple(replace(b, block=replace(b.block, matrix=b.block.matrix + name)) for b in synthetic.blocks()),
        trace=synthetic.trace(),
        chip=synthetic.chip(),
    )
    plain = Page(small())
    assert synthetic.HOSTILE not in text
    assert text.count("<script") == text.count("</script>") == 2
    page = Page(text)
    extra = Counter(tag for tag, _ in page.tags) - Counter(tag for tag, _ in plain.tags)
    assert not extra, "a name made a tag"
    assert page.data()["kernels"][0][0] == name.replace("\u2028", r"\u2028")
    assert f"</script>{synthetic.HOSTILE}" in "".join(page.text), "shown as it is"


def test_nothing_comes_from_elsewhere_and_only_our_script_may_run() -> None:
    page = Page(small())
    assert {tag for tag, _ in page.tags}.isdisjoint({"link", "img", "iframe", "object", "base", "form", "image", "use"})
    assert not page.with_attribute("src")
    assert all(str(a["href"]).startswith("#") for a in page.with_attribute("href"))
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert "http:" not in small()
    assert "https:" not in small()
    policy = page.with_attribute("http-equiv")[0]["content"] or ""
    ours = base64.b64encode(hashlib.sha256(page.scripts[1].encode()).digest()).decode()
    assert policy == f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{ours}'"


def test_the_same_values_give_the_same_bytes_in_another_process() -> None:
    code = "import sys; from tests.report import test_page; sys.stdout.buffer.write(test_page.small().encode())"
    paths = os.pathsep.join(path for path in sys.path if path)
    environment = {**os.environ, "PYTHONPATH": paths, "PYTHONHASHSEED": "7"}
    other = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True)
    assert other.stdout.decode() == small()


def test_nothing_to_show_is_shown_as_nothing() -> None:
    empty = replace(synthetic.trace(), latency_ps=0, energy_fj=0, spans=(), costs=())
    network = replace(synthetic.network(), kernels=())
    page = Page(render(facts=synthetic.facts(0), network=network, blocks=(), trace=empty, chip=synthetic.chip()))
    assert any("Nothing was timed." in text for text in page.text)
    assert page.data()["blocks"] == []


def test_five_thousand_blocks_stay_below_three_megabytes(large: tuple[str, Page]) -> None:
    text, page = large
    assert len(text.encode()) < 3_000_000
    assert sorted(int(str(g["data-b"])) for g in page.with_attribute("data-b")) == list(range(5000))
    assert len(page.data()["blocks"]) == 5000
    assert len(page.with_attribute("data-s")) == len(page.data()["spans"]) == 100 * 16 * len(UNITS)
    assert sum(tag == "figure" for tag, _ in page.tags) == 64
    assert len(page.with_attribute("data-k")) == 100


def test_a_vast_timeline_shows_whole_cores_and_says_what_is_missing() -> None:
    network, blocks, trace, chip = synthetic.large(layers=100, cores=32, arrays=2)
    bars = timeline(trace)
    assert len(bars.spans) <= MOST_SPANS
    assert bars.undrawn_cores == 32 - len(bars.spans) // (100 * len(UNITS)) > 0
    text = render(facts=synthetic.facts(), network=network, blocks=blocks, trace=trace, chip=chip)
    assert f"{bars.undrawn_cores} more cores are in trace.json" in text


def test_a_vast_chip_is_drawn_without_its_empty_arrays() -> None:
    plan = floor_plan(synthetic.network(), synthetic.blocks(), synthetic.chip(cores=1024, arrays=16))
    assert [(core.core, len(core.arrays)) for core in plan.cores] == [(0, 2)]
    assert plan.undrawn == 1024 * 16 - 2


@pytest.mark.parametrize(("rows", "cols"), [(1024, 16), (16, 1024), (1152, 256), (64, 64)])
@pytest.mark.parametrize(("cores", "arrays"), [(1, 1), (4, 9), (64, 1), (2, 100)])
def test_arrays_of_every_form_can_be_seen(rows: int, cols: int, cores: int, arrays: int) -> None:
    chip = synthetic.chip(cores, arrays, rows, cols)
    blocks = [
        synthetic.residency("w1", place=(c, a, 0, 0), offset=(0, 0), size=(9, 9), index=0, steps=(0, 3))
        for c in range(cores)
        for a in range(arrays)
    ]
    plan = floor_plan(synthetic.network(), blocks, chip)
    assert sum(len(core.arrays) for core in plan.cores) == plan.total == cores * arrays
    assert 25 <= plan.width <= 350
    assert 25 <= plan.height <= 350


def test_colours_are_stable_distinct_and_bright_enough_for_dark_text() -> None:
    colours = [layer_colour(i) for i in range(200)]
    assert colours[:2] == [layer_colour(0), layer_colour(1)]
    assert all(re.fullmatch("#[0-9a-f]{6}", colour) for colour in colours)
    assert len(set(colours)) == 200
    channels = [[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in colours]
    assert min(0.2126 * r + 0.7152 * g + 0.0722 * b for r, g, b in channels) > 110
    steps = [sum(abs(a - b) for a, b in zip(x, y, strict=True)) for x, y in pairwise(channels)]
    assert min(steps) > 60, "neighbours differ"


def test_numbers_are_grouped_and_of_one_precision() -> None:
    assert grouped(1234567.891, 2) == "1\N{NARROW NO-BREAK SPACE}234\N{NARROW NO-BREAK SPACE}567.89"
    assert decimals_for([1, 2]) == 0
    assert decimals_for([0.0]) == 1
    assert decimals_for([1234.5, 0.1]) == 0
    assert decimals_for([12.0, 0.1]) == 2
    assert decimals_for([0.0123]) == 5

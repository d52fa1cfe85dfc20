"""Proves that the SVG and the PNG draw what the scene says, alike in every run, whatever names a model brings."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFont

from bitline.ir.placement import Occupied, Placement
from bitline.report.floorplan_marks import DARK, LIGHT, Box, Hatch, Text
from bitline.report.floorplan_png import floorplan_png
from bitline.report.floorplan_scene import scene
from bitline.report.floorplan_svg import floorplan_svg
from bitline.report.floorplan_text import text_width
from bitline.report.html.colours import layer_colour
from tests.report.placements import empty, guillotine, wtm2101_like

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = (
    "</text><script>alert(1)</script>",
    "]]><!--<![CDATA[",
    "\"'><img src=x onerror=alert(1)>",
    "\x00\x1b[31m\x7f\u202e\ufeff\ufffe\ud800",
    "&amp;&#0;&lol;",
    "x" * 100_000,
    "/".join("ab" for _ in range(30_000)),
    "",
    "url(#empty){}</style>",
)
"""Names that files may bring."""


def hostile(name: str) -> Placement:
    p = guillotine(3, layers=4, name=lambda n: f"{name}{n}" if name else "")
    occupied = Occupied(name=name, array=1, w_row_start=0, w_col_start=0, rows=40, cols=40)
    matrices = tuple(replace(m, network=f"{name}{n % 2}") for n, m in enumerate(p.matrices))
    certificate = replace(p.certificate, bound=name, proof="none")
    return replace(p, target=name, occupied=(occupied,), matrices=matrices, certificate=certificate)


def parsed(p: Placement) -> ElementTree.Element:
    return ElementTree.fromstring(floorplan_svg(p))


def elements(root: ElementTree.Element, tag: str) -> Iterator[ElementTree.Element]:
    """Those that are drawn, not the patterns' parts."""
    return (child for child in root if child.tag == SVG + tag)


def test_svg_has_every_mark_of_the_scene() -> None:
    p = wtm2101_like()
    marks, root = scene(p).marks, parsed(p)
    rects = list(elements(root, "rect"))
    boxes = [m for m in marks if isinstance(m, Box | Hatch)]
    assert len(rects) == len(boxes)
    for rect, box in zip(rects, boxes, strict=True):
        got = [float(rect.get(key, "nan")) for key in ("x", "y", "width", "height")]
        assert got == pytest.approx([box.x, box.y, box.width, box.height], abs=0.006)
        if isinstance(box, Box):
            role = box.fill and not box.fill.startswith("#")
            assert (f"f-{box.fill}" in (rect.get("class") or "").split()) == bool(role)
            assert rect.get("fill", "") == ("" if role else box.fill or "none")
            assert [tip.text for tip in rect] == ([box.tip] if box.tip else [])
        else:
            assert rect.get("fill") == f"url(#{box.pattern})"
    written = [(t.text or "") + "".join(t.itertext())[len(t.text or "") :] for t in elements(root, "text")]
    assert written == [f"{m.text} {m.tail}" if m.tail else m.text for m in marks if isinstance(m, Text)]
    patterns = {element.get("id") for element in root.iter(f"{SVG}pattern")}
    assert patterns == {"empty", "reserved", "blocked"}


def test_svg_rules_every_role_it_uses_in_both_themes() -> None:
    text = floorplan_svg(wtm2101_like())
    style = text[text.index("<style>") : text.index("</style>")]
    light, dark = style.split("@media")
    for used in re.findall(r'class="([^"]*)"', text):
        for name in used.split():
            assert f".{name}{{" in light
            role = name[2:]
            if role in LIGHT and LIGHT[role] != DARK[role]:
                assert f".{name}{{" in dark


def test_tips_say_nodes_part_and_place() -> None:
    tips = [tip.text or "" for tip in parsed(wtm2101_like()).iter(f"{SVG}title")]
    (tip,) = [t for t in dict.fromkeys(tips) if "/gru/R" in t and "rows 0" in t]
    times = "\N{MULTIPLICATION SIGN}"
    assert tip.split("\n") == [
        "3  /gru/R of net.onnx",
        f"rows 0 to 639, columns 0 to 255 of 640 {times} 256, copy 1 of 1",
        "array 0, row 896, column 512, bias rows 8 to 15",
        "fires 100 times an inference",
    ]


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_names_are_text(name: str) -> None:
    p = hostile(name)
    text = floorplan_svg(p)
    root = ElementTree.fromstring(text)
    tags = {element.tag.removeprefix(SVG) for element in root.iter()}
    assert tags <= {"svg", "title", "style", "defs", "pattern", "rect", "path", "line", "text", "tspan"}
    assert not [key for element in root.iter() for key in element.attrib if key.startswith("on")]
    assert not re.search("(?:href|src|@import|url\\((?!#))", re.sub("<(text|title|tspan)[^>]*>[^<]*", "", text))
    assert all(c.isprintable() or c in "\n\N{NARROW NO-BREAK SPACE}" for c in text)
    assert len(text) < 150_000, "names do not make it long"
    assert Image.open(io.BytesIO(floorplan_png(p))).format == "PNG"


@given(st.text(max_size=30))
def test_any_name_gives_valid_xml(name: str) -> None:
    assert parsed(hostile(name)).tag == f"{SVG}svg"


@settings(max_examples=8)
@given(seed=st.integers(0, 10**6), dark=st.booleans())
def test_png_shows_every_block_in_its_colour(seed: int, dark: bool) -> None:
    p = guillotine(seed, arrays=2)
    image = Image.open(io.BytesIO(floorplan_png(p, 500, dark=dark))).convert("RGB")
    picture = scene(p, 500)
    assert image.size == (round(2 * picture.width), round(2 * picture.height))
    drawn = 0
    for mark in picture.marks:
        if isinstance(mark, Box) and mark.block is not None and min(mark.width, mark.height) >= 8:
            colour = layer_colour(p.blocks[mark.block].matrix)
            for x, y in ((mark.x + 2, mark.y + 2), (mark.x + mark.width - 3, mark.y + mark.height - 3)):
                assert image.getpixel((int(2 * x), int(2 * y))) == rgb(colour)
            drawn += 1
    assert drawn
    assert image.getpixel((2, 2)) == rgb((DARK if dark else LIGHT)["panel"])


def rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def test_png_hatches_stay_inside_their_rectangles() -> None:
    """Around an array of nothing but hatches the ground is as if nothing was drawn."""
    p = wtm2101_like()
    image = Image.open(io.BytesIO(floorplan_png(p))).convert("RGB")
    hatches = [m for m in scene(p).marks if isinstance(m, Hatch)]
    ground = max(hatches, key=lambda m: m.width * m.height)
    left, right = int(2 * ground.x) - 3, round(2 * (ground.x + ground.width)) + 12
    for y in range(int(2 * ground.y) + 40, int(2 * (ground.y + ground.height)) - 40, 3):
        if abs(y - 2 * (ground.y + ground.height / 2)) > 20:
            assert image.getpixel((right, y)) == rgb(LIGHT["panel"])
            assert image.getpixel((left, y)) == rgb(LIGHT["panel"])
    inside = {
        image.getpixel((int(2 * ground.x) + 20, y)) for y in range(int(2 * ground.y) + 10, int(2 * ground.y) + 90)
    }
    assert inside == {rgb(LIGHT["panel"]), rgb(LIGHT["hatch"])}, "reserved columns"


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40), st.sampled_from((8, 9, 11, 12, 18)))
def test_widths_are_no_less_than_those_of_the_font(text: str, size: int) -> None:
    font = ImageFont.load_default(2 * size)
    assert font.getlength(text) <= 2 * text_width(text, size) + 1


def test_pictures_are_the_same_in_every_run() -> None:
    script = (
        "import hashlib; from tests.report.placements import guillotine, wtm2101_like;"
        "from bitline.report.floorplan_svg import floorplan_svg;"
        "from bitline.report.floorplan_png import floorplan_png;"
        "from bitline.report.placement_page import placement_page;"
        "ps = (guillotine(5, arrays=9), wtm2101_like());"
        "print([hashlib.sha256(b).hexdigest() for p in ps for b in"
        " (floorplan_svg(p).encode(), floorplan_png(p), placement_page(p).encode())])"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1


@pytest.mark.parametrize("width", [200.0, 360.0, 2000.0])
def test_nothing_and_narrow_or_wide_canvases(width: float) -> None:
    for p in (empty(), guillotine(1), wtm2101_like()):
        root = ElementTree.fromstring(floorplan_svg(p, width))
        assert float(root.get("width", "0")) == width
        assert Image.open(io.BytesIO(floorplan_png(p, width))).width == 2 * width

"""Proves that the console gets few aligned lines, and no control characters of a model's author."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bitline.report.summary import console_summary
from tests.report import synthetic


def test_title_then_aligned_columns() -> None:
    assert console_summary(synthetic.facts(2)).splitlines() == [
        "ResNet-8 on reram-tile",
        "  model    resnet8.onnx",
        "  target   reram-tile",
        "  bitline  0.1.0",
        "  value 0  0 us",
        "  value 1  1 us",
    ]


@pytest.mark.parametrize("values", [0, 10, 11, 12, 40])
def test_never_more_than_fifteen_lines(values: int) -> None:
    lines = console_summary(synthetic.facts(values)).splitlines()
    assert len(lines) == min(15, 4 + values)
    if values <= 11:
        assert "more" not in lines[-1]
    else:
        shown = sum(line.startswith("  value") for line in lines)
        assert lines[-1] == f"  ... {values - shown} more in the HTML report"


def test_terminals_are_not_told_what_to_do() -> None:
    hostile = replace(synthetic.facts(1), title="a\x1b[2Jb\u202ec", model="two\nlines", summary=(("l\r", "v\x07", ""),))
    text = console_summary(hostile)
    assert r"a\x1b[2Jb\u202ec" in text
    assert r"two\nlines" in text
    assert len(text.splitlines()) == 5
    assert all(c.isprintable() or c == "\n" for c in text)

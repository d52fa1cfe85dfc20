"""The progress bar: what it says, that it fits the terminal, and when there is none."""

from __future__ import annotations

import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitline.cli.progress import CLEAR, REDRAW_SECONDS, Bar, bar_line, progress_on_terminal, wants_bar
from bitline.core.progress import SILENT


class Terminal(io.TextIOWrapper):
    """Text written to a terminal of some encoding."""

    def __init__(self, encoding: str = "utf-8") -> None:
        super().__init__(io.BytesIO(), encoding=encoding, write_through=True)

    def isatty(self) -> bool:
        return True

    @property
    def text(self) -> str:
        assert isinstance(self.buffer, io.BytesIO)
        return self.buffer.getvalue().decode(self.encoding)


class Clock:
    """Time that goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_what_a_line_says() -> None:
    assert bar_line("run", 50, 200, 2.0, 60) == f"run {'━' * 7}╸{'─' * 22} 50/200  25.0/s  0:06 left"
    assert bar_line("run", 0, 200, 0.0, 30) == f"run {'─' * 20} 0/200"
    assert bar_line("run", 200, 200, 1.0, 200).startswith(f"run {'━' * 40} 200/200  200.0/s")
    assert bar_line("run", 5, None, 1.0, 80) == "run  5  5.0/s"
    assert bar_line("compiling", 0, None, 1.0, 80) == "compiling ..."
    assert "1:01:40 left" in bar_line("run", 1, 3701, 1.0, 80)
    assert "12,000/s" in bar_line("run", 12_000, 99_999, 1.0, 80)
    assert bar_line("run", 3, 0, 1.0, 80).endswith("3/0  3.0/s")


@given(
    done=st.integers(0, 10**7),
    total=st.none() | st.integers(0, 10**7),
    seconds=st.floats(0, 1e6),
    columns=st.integers(1, 300),
    name=st.text("run ", max_size=30),
)
def test_a_line_never_wraps(done: int, total: int | None, seconds: float, columns: int, name: str) -> None:
    assert len(bar_line(name, done, total, seconds, columns)) <= columns


def test_it_is_redrawn_now_and_then_and_at_the_end() -> None:
    terminal, clock = Terminal(), Clock()
    bar = Bar(terminal, clock)
    bar.stage("run", 1000)
    for _ in range(999):
        clock.now += 0.001
        bar.advance()
    lines = terminal.text.split(CLEAR)[1:]
    assert 5 <= len(lines) <= 0.999 / REDRAW_SECONDS + 2
    bar.advance()
    assert " 1000/1000" in terminal.text.split(CLEAR)[-1]
    bar.clear()
    assert terminal.text.endswith(CLEAR)


def test_a_corrected_total_keeps_what_was_done_and_a_new_stage_does_not() -> None:
    terminal, clock = Terminal(), Clock()
    bar = Bar(terminal, clock)
    bar.stage("run", 10)
    clock.now = 1.0
    bar.advance(5)
    bar.stage("run", 50)
    assert " 5/50  5.0/s" in terminal.text
    bar.stage("check", 2)
    assert " 0/2" in terminal.text.split(CLEAR)[-1]


def test_plain_letters_where_the_terminal_has_no_others() -> None:
    terminal, clock = Terminal("ascii"), Clock()
    bar = Bar(terminal, clock)
    bar.stage("run", 4)
    clock.now = 1.0
    bar.advance(2)
    assert re.search(r"run #+-+ 2/4  2\.0/s  0:01 left", terminal.text)


@pytest.mark.parametrize(
    ("environment", "json", "wanted"),
    [
        ({}, False, True),
        ({"TERM": "xterm-256color"}, False, True),
        ({"NO_COLOR": ""}, False, True),
        ({"NO_COLOR": "1"}, False, False),
        ({"TERM": "dumb"}, False, False),
        ({}, True, False),
    ],
)
def test_when_there_is_a_bar(environment: dict[str, str], json: bool, wanted: bool) -> None:
    assert wants_bar(Terminal(), environment, json=json) is wanted
    assert wants_bar(io.StringIO(), environment, json=json) is False


def test_nobody_watches_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_on_terminal(json=False) as progress:
        assert progress is SILENT
        progress.stage("run", 3)
        progress.advance()
    assert capsys.readouterr() == ("", "")

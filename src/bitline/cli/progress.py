"""A progress bar on a terminal: what is done, how fast, how long it will still take.

One line, redrawn at most ten times a second, and gone without a trace.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Final, TextIO

from bitline.core.progress import SILENT, Progress

REDRAW_SECONDS: Final = 0.1
FULL, EMPTY, PARTS = "━", "─", "╸"
ASCII: Final = str.maketrans({FULL: "#", EMPTY: "-", PARTS: "#"})
CLEAR: Final = "\r\x1b[2K"
MINUTE, HOUR = 60, 3600


def wants_bar(stream: TextIO, environment: Mapping[str, str], *, json: bool) -> bool:
    """Whether a person watches: a terminal that can redraw a line, and nobody asked for plain or machine output."""
    plain = json or environment.get("NO_COLOR") or environment.get("TERM") == "dumb"
    return not plain and stream.isatty()


class Bar:
    """`Progress` drawn on a terminal."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self.stream, self.clock = stream, clock
        self.name, self.total, self.done = "", None, 0
        self.started = self.drawn = clock()
        self.ascii = "utf" not in (stream.encoding or "").lower()

    name: str
    total: int | None

    def stage(self, name: str, total: int | None = None) -> None:
        if name != self.name:
            self.name, self.done, self.started = name, 0, self.clock()
        self.total = total
        self._draw()

    def advance(self, count: int = 1) -> None:
        self.done += count
        if self.clock() - self.drawn >= REDRAW_SECONDS or self.done == self.total:
            self._draw()

    def clear(self) -> None:
        """Take the line away, so that other text can be written."""
        self.stream.write(CLEAR)
        self.stream.flush()

    def _draw(self) -> None:
        self.drawn = self.clock()
        columns = shutil.get_terminal_size().columns
        line = bar_line(self.name, self.done, self.total, self.drawn - self.started, columns - 1)
        self.stream.write(CLEAR + (line.translate(ASCII) if self.ascii else line))
        self.stream.flush()


def bar_line(name: str, done: int, total: int | None, seconds: float, columns: int) -> str:
    """`run ━━━━━╸──── 120/200  36.9/s  0:02 left`, at most `columns` wide; the bar shrinks first."""
    rate = done / seconds if seconds > 0 else 0.0
    speed = f"  {rate:.1f}/s" if 0 < rate < 1000 else f"  {rate:,.0f}/s" if rate else ""
    if total is None:
        return (f"{name}  {done}{speed}" if done else f"{name} ...")[:columns]
    left = f"  {_clock((total - done) / rate)} left" if rate and done < total else ""
    text = f" {done}/{total}{speed}{left}"
    width = min(40, columns - len(name) - len(text) - 1)
    if width < 5:
        return f"{name}{text}"[:columns]
    halves = round(2 * width * min(1.0, done / total)) if total else 2 * width
    bar = FULL * (halves // 2) + PARTS * (halves % 2)
    return f"{name} {bar}{EMPTY * (width - len(bar))}{text}"


def _clock(seconds: float) -> str:
    whole = round(seconds)
    if whole >= HOUR:
        return f"{whole // HOUR}:{whole % HOUR // MINUTE:02}:{whole % MINUTE:02}"
    return f"{whole // MINUTE}:{whole % MINUTE:02}"


@contextmanager
def progress_on_terminal(*, json: bool) -> Generator[Progress, None, None]:
    """A bar on stderr where a person watches, silence elsewhere; the line is gone at the end, however it comes."""
    if not wants_bar(sys.stderr, os.environ, json=json):
        yield SILENT
        return
    bar = Bar(sys.stderr)
    try:
        yield bar
    finally:
        bar.clear()

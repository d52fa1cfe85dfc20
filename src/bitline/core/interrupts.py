"""Ctrl-C at a time when it does no harm."""

from __future__ import annotations

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType


@contextmanager
def uninterrupted() -> Generator[None]:
    """An interrupt that comes meanwhile takes effect at the end.

    For hidden files, so that none is left half made or half removed; and for calls of compiled code: an exception that
    comes up while numba takes the arguments apart ends in a crash of the process.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[tuple[int, FrameType | None]] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: came.append((number, frame)))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL if before is None else before)
        if came and callable(before):
            before(*came[0])


@dataclass(slots=True)
class Notice:
    """Whether an interrupt came."""

    came: bool = False


@contextmanager
def noticed() -> Generator[Notice]:
    """The first interrupt meanwhile is only noted; a second one takes effect.

    For a search that asks now and then, ends early and has an answer all the same. Where interrupts are ignored, or
    outside the main thread, none is noted.
    """
    notice = Notice()
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield notice
        return

    def note(number: int, frame: FrameType | None) -> None:
        if notice.came:
            before(number, frame)
        notice.came = True

    signal.signal(signal.SIGINT, note)
    try:
        yield notice
    finally:
        signal.signal(signal.SIGINT, before)

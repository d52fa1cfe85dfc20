"""Proves that an interrupt waits, is noted or takes effect where it should, and that handlers are put back."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Generator
from types import FrameType

import pytest

from bitline.core.interrupts import noticed, uninterrupted


@pytest.fixture(autouse=True)
def handler() -> Generator[Callable[[int, FrameType | None], None]]:
    """Python's own, whatever a test runner has put there."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield signal.default_int_handler
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    signal.signal(signal.SIGINT, before)


def ctrl_c() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_an_interrupt_waits_for_the_end() -> None:
    done: list[str] = []

    def work() -> None:
        with uninterrupted():
            ctrl_c()
            done.append("all")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["all"]


def test_the_first_is_noted_and_the_second_takes_effect() -> None:
    with noticed() as notice:
        assert not notice.came
        ctrl_c()
        assert notice.came
        with pytest.raises(KeyboardInterrupt):
            ctrl_c()


def test_one_that_waited_is_noted() -> None:
    with noticed() as notice:
        with uninterrupted():
            ctrl_c()
            assert not notice.came
        assert notice.came


def test_where_interrupts_are_ignored_none_is_noted() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with noticed() as notice:
        ctrl_c()
    assert not notice.came
    assert signal.signal(signal.SIGINT, signal.default_int_handler) is signal.SIG_IGN


def test_a_second_thread_leaves_handlers_alone() -> None:
    seen: list[object] = []

    def look() -> None:
        with noticed():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert seen == [signal.default_int_handler]

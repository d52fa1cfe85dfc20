"""Run a function in a forked process with a clock and a limit of memory, and see how it ended."""

from __future__ import annotations

import os
import pickle
import resource
import select
import signal
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome(Generic[T]):
    """`value` is None where there is a `signal` (which ended the process), a `traceback`, or it was `late`.

    `seconds` are those of the clock, `cpu_seconds` those of the process. `grown_bytes` is how far the resident memory
    rose above what the process had when it was forked.
    """

    value: T | None
    traceback: str
    signal: int
    late: bool
    seconds: float
    cpu_seconds: float
    grown_bytes: int


def run_forked(function: Callable[[], T], *, seconds: float, memory_bytes: int) -> Outcome[T]:
    """The value of `function()`, pickled, or how the process ended. Kills it after `seconds`."""
    reads, writes = os.pipe()
    started = time.monotonic()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 and later: threads of the test runner
        child = os.fork()
    if child == 0:
        os.close(reads)
        _child(function, writes, memory_bytes)
    os.close(writes)
    data, late = _read_until(reads, started + seconds)
    took = time.monotonic() - started
    os.close(reads)
    if late:
        os.kill(child, signal.SIGKILL)
    _, status, used = os.wait4(child, 0)
    cpu = used.ru_utime + used.ru_stime
    ended = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    if late or ended or not data:
        failure = "" if late or ended else "it ended without an answer"
        value, grown = None, 0
    else:
        value, failure, grown = pickle.loads(data)
    return Outcome(
        value=value,
        traceback=failure,
        signal=ended,
        late=late,
        seconds=took,
        cpu_seconds=cpu,
        grown_bytes=grown,
    )


def _read_until(handle: int, deadline: float) -> tuple[bytes, bool]:
    """All that is written, and whether the time was over before the end."""
    data = b""
    while True:
        ready, _, _ = select.select([handle], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            return data, True
        piece = os.read(handle, 1 << 16)
        if not piece:
            return data, False
        data += piece


def _resident() -> int:
    with open("/proc/self/statm") as stream:  # noqa: PTH123  # as little as possible happens here
        return int(stream.read().split()[1]) * resource.getpagesize()


def _child(function: Callable[[], object], writes: int, memory_bytes: int) -> None:
    """Never returns: nothing of the test runner may happen twice."""
    try:
        quiet = os.open(os.devnull, os.O_RDWR)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        before = _resident()
        with open("/proc/self/statm") as stream:  # noqa: PTH123
            mapped = int(stream.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (mapped + memory_bytes, mapped + memory_bytes))
        value, failure = None, ""
        try:
            value = function()
        except BaseException:  # noqa: BLE001  # whatever it is, it is the answer
            failure = traceback.format_exc()
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
        with os.fdopen(writes, "wb") as stream:
            stream.write(pickle.dumps((value, failure, grown)))
    finally:
        os._exit(0)

"""`bitline` as a user starts it, without a new process for every call."""

from __future__ import annotations

import io
import shlex
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from unittest.mock import patch

import pytest

from bitline.cli.main import main


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a command left on the terminal, and its exit status."""

    status: int
    out: str
    err: str


def bitline(*words: str) -> Answer:
    """Run one command in this process: `bitline("run", "package", "random:1")`, or one line to be split by a shell."""
    arguments = shlex.split(words[0]) if len(words) == 1 else list(words)
    out, err = io.StringIO(), io.StringIO()
    with (
        patch.object(sys, "argv", ["bitline", *arguments]),
        redirect_stdout(out),
        redirect_stderr(err),
        pytest.raises(SystemExit) as exited,
    ):
        main()
    status = exited.value.code
    assert isinstance(status, int), status
    return Answer(status=status, out=out.getvalue(), err=err.getvalue())

"""What commands print: JSON or text on stdout, diagnostics and progress on stderr."""

from __future__ import annotations

import json as json_module
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import replace

import click

from bitline.core.diagnostics import Diagnostic, Refusal
from bitline.core.version import __version__

BUG = 70


def answer(command: str, values: Mapping[str, object], *, json: bool, text: str) -> None:
    """One JSON object with schema and version, or text."""
    if json:
        click.echo(json_module.dumps({"schema": f"bitline.{command}/1", "version": __version__, **values}, indent=1))
    else:
        click.echo(_plain(text))


def say(text: str, *, quiet: bool = False) -> None:
    """Progress, for people."""
    if not quiet:
        click.echo(_plain(text), err=True)


def _plain(text: str) -> str:
    """Names come from files: no control characters reach the terminal."""
    return "".join(c if c.isprintable() or c == "\n" else f"\\x{ord(c):02x}" for c in text)


def _one_line(text: str) -> str:
    """Nor does a name add lines of its own."""
    return _plain(text).replace("\n", "\\n")


def show_diagnostics(diagnostics: Sequence[Diagnostic]) -> None:
    """All findings on stderr, equal ones counted."""
    shown: dict[Diagnostic, int] = {}
    for d in diagnostics:
        clean = replace(d, message=_one_line(d.message), place=_one_line(d.place), help=_one_line(d.help))
        shown[clean] = shown.get(clean, 0) + 1
    for diagnostic, count in shown.items():
        click.echo(str(diagnostic) + (f"\n  (x{count})" if count > 1 else ""), err=True)


def report_refusal(refusal: Refusal, *, json: bool) -> None:
    """Diagnostics on stderr; with --json also as the one object on stdout."""
    show_diagnostics(refusal.diagnostics)
    if json:
        errors = [{"code": d.code, "message": d.message, "place": d.place, "help": d.help} for d in refusal.diagnostics]
        click.echo(json_module.dumps({"schema": "bitline.error/1", "version": __version__, "errors": errors}, indent=1))


def report_bug(error: BaseException, arguments: Sequence[str]) -> int:
    """Write what happened to a file and say so; no traceback on the screen."""
    text = f"bitline {__version__}\narguments: {list(arguments)}\n\n{''.join(traceback.format_exception(error))}"
    try:
        with tempfile.NamedTemporaryFile("w", prefix="bitline-bug-", suffix=".txt", delete=False) as stream:
            stream.write(text)
        written = stream.name
    except OSError:  # a full disk must not hide the bug
        written = ""
    diagnostic = Diagnostic(
        code="BL0901",
        message=f"bitline has a bug: {type(error).__name__}: {_plain(str(error))[:200]}",
        place=written,
        help="please report it with that file; it holds no weights" if written else "please report it",
    )
    report_refusal(Refusal([diagnostic]), json="--json" in arguments)
    return BUG

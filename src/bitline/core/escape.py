"""Names come from model files: no terminal, browser or spreadsheet may obey them."""

from __future__ import annotations

from typing import Final

_FORMULA: Final = ("=", "+", "-", "@")


def printable(text: str) -> str:
    """`text` with every character that moves a cursor or turns the writing direction shown as an escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text)


def cell(text: str) -> str:
    """`text` for a table: printable, and an apostrophe before what a spreadsheet would compute."""
    shown = printable(text)
    return f"'{shown}" if shown.lstrip(" '").startswith(_FORMULA) else shown

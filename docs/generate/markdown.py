"""Pieces of Markdown: tables, headings, text from docstrings."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of Markdown; bars inside cells are escaped, line ends become spaces. Wide ones scroll on their own."""
    lines = [_row(head), "|" + " --- |" * len(head), *map(_row, rows)]
    return "\n".join(lines) + "\n"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |"


def plain(text: str) -> str:
    """Words that are no markup: a product 2 x_1 * x_2 stays what it is."""
    for sign in "\\*_[]<>":
        text = text.replace(sign, f"\\{sign}")
    return text


def prose(text: str) -> str:
    """Text in which only what stands between backticks is marked."""
    parts = text.split("`")
    return "`".join(part if place % 2 else plain(part) for place, part in enumerate(parts))


def first_paragraph(documented: object) -> str:
    """What a docstring says first, as one line."""
    return " ".join(inspect.cleandoc(getattr(documented, "__doc__", None) or "").split("\n\n")[0].split())


def code(text: str, language: str = "text") -> str:
    """A block of code."""
    return f"```{language}\n{text.rstrip()}\n```\n"


def page(title: str, *parts: str) -> str:
    """A whole page."""
    return "\n".join([f"# {title}\n", *parts])

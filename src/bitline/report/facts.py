"""What a report says first: one noun for the console and the page."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """The headline of a compilation. `summary` holds (label, value with unit, meaning and formula)."""

    title: str
    model: str
    target: str
    version: str
    summary: tuple[tuple[str, str, str], ...]

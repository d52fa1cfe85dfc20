"""What a verification tells: a line for every check."""

from __future__ import annotations

from dataclasses import dataclass

from bitline.core.diagnostics import Diagnostic


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One check: its name, what it looked at, and what it found wrong."""

    name: str
    saw: str
    errors: tuple[Diagnostic, ...]

"""The headline on a console."""

from __future__ import annotations

from bitline.report.facts import Facts
from bitline.report.names import printable

MOST_LINES = 15


def console_summary(facts: Facts) -> str:
    """Title, then label and value in aligned columns; at most 15 lines, the last of which says what was left out."""
    rows = [("model", facts.model), ("target", facts.target), ("bitline", facts.version)]
    rows += [(label, value) for label, value, _ in facts.summary]
    room = MOST_LINES - 1
    left_out = len(rows) - (room - 1) if len(rows) > room else 0
    shown = [(printable(label), printable(value)) for label, value in (rows[: room - 1] if left_out else rows)]
    width = max(len(label) for label, _ in shown)
    lines = [printable(facts.title)] + [f"  {label:<{width}}  {value}" for label, value in shown]
    if left_out:
        lines.append(f"  ... {left_out} more in the HTML report")
    return "\n".join(lines)

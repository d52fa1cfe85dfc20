"""One line of a benchmark: a figure beside its baseline, its target and whether it was met; how people see it."""

from __future__ import annotations

import sys
from collections.abc import Sequence

Row = dict[str, str | float | bool | None]


def row(
    name: str,
    value: float,
    unit: str,
    baseline: str = "",
    baseline_value: float | None = None,
    target: str = "",
    met: bool | None = None,
) -> Row:
    """One line of the table; ratio = value / baseline."""
    ratio = value / baseline_value if baseline_value else None
    return {
        "name": name,
        "value": value,
        "unit": unit,
        "baseline": baseline,
        "baseline_value": baseline_value,
        "ratio": ratio,
        "target": target,
        "met": met,
    }


def show(rows: Sequence[Row]) -> None:
    """The table, for people."""
    for one in rows:
        against = f"  ({one['baseline']} {one['baseline_value']:.6g})" if one["baseline_value"] is not None else ""
        verdict = {True: "met", False: "NOT MET", None: ""}[one["met"]]  # type: ignore[index]
        print(
            f"{one['name']:62} {one['value']:>14.7g} {one['unit']:6}{against}  {one['target']}  {verdict}",
            file=sys.stderr,
        )

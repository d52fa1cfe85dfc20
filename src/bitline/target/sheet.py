"""The data sheet of a chip as a person reads it: value, unit, meaning, source."""

from __future__ import annotations

from typing import Final

from bitline.target.schema import KEYS, Chip, entry, meaning

UNITS: Final[tuple[tuple[str, str], ...]] = (
    ("energy_pj_per_byte", "pJ/byte"),
    ("energy_pj_per_element", "pJ/element"),
    ("elements_per_ns", "elements/ns"),
    ("bytes_per_ns", "bytes/ns"),
    ("_bytes", "bytes"),
    ("_ns", "ns"),
    ("_pj", "pJ"),
    ("_fj", "fJ"),
    ("_mw", "mW"),
    ("bits", "bit"),
)
"""The unit that the end of a key names; the longer end first."""


def unit(key: str) -> str:
    """The unit of a key of the target file, empty for counts and words."""
    return next((name for end, name in UNITS if key.endswith(end)), "")


def describe(chip: Chip) -> str:
    """One line per key, grouped as in the file: `key  value unit  meaning  [source]`; ends with a newline."""
    lines = [f"{chip.name}: {chip.description}"]
    weights = chip.array.per_core.value * chip.array.rows.value * chip.array.cols.value * chip.cores.value
    lines.append(f"{chip.cores.value * chip.array.per_core.value} arrays, {weights:_} weights")
    section = ""
    for key in KEYS:
        found = entry(chip, key)
        if found is None:
            continue
        if key.rpartition(".")[0] != section:
            section = key.rpartition(".")[0]
            lines += ["", section]
        value = f"{_shown(found.value)} {unit(key)}".rstrip()
        lines.append(f"  {key.rpartition('.')[2]:<24} {value:<22} {meaning(key)}  [{found.source}]")
    return "\n".join(lines) + "\n"


def _shown(value: object) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:_}"
        case float():
            return f"{value:g}"
        case _:
            return str(value)

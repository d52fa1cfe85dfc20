"""The data sheet of a chip as a person reads it: what it adds up to, values with units, sources as footnotes."""

from __future__ import annotations

import textwrap
from typing import Final

from bitline.target.derived import Figure, array_count, derived, weight_count
from bitline.target.limits import limits
from bitline.target.schema import KEYS, Chip, entry, meaning

UNITS: Final[tuple[tuple[str, str], ...]] = (
    ("energy_pj_per_byte", "pJ/byte"),
    ("energy_pj_per_element", "pJ/element"),
    ("energy_pj_per_mac", "pJ/MAC"),
    ("elements_per_ns", "elements/ns"),
    ("bytes_per_ns", "bytes/ns"),
    ("macs_per_ns", "MACs/ns"),
    ("_bytes", "bytes"),
    ("_ns", "ns"),
    ("_pj", "pJ"),
    ("_fj", "fJ"),
    ("_mw", "mW"),
    ("bits", "bit"),
)
"""The unit that the end of a key names; the longer end first."""

TITLES: Final[dict[str, str]] = {
    "": "Chip",
    "array": "Arrays (array)",
    "adc": "Converters (adc)",
    "memory": "Memories (memory)",
    "dma": "Copies (dma)",
    "vector": "Vector unit (vector)",
    "noc": "Network between cores (noc)",
    "control": "Control (control)",
    "host": "Processor beside the chip (host)",
}
WIDTH: Final = 112
KIB: Final = 1024


def unit(key: str) -> str:
    """The unit of a key of the target file, empty for counts and words."""
    return next((name for end, name in UNITS if key.endswith(end)), "")


def describe(chip: Chip) -> str:
    """The data sheet: figures with formulas, keys by section as in the file, limits, footnotes; ends with a newline."""
    notes: dict[str, int] = {}
    lines = [chip.name, *_wrapped(chip.description.strip(), "  ")]
    lines += ["", "At a glance", *(line for figure in derived(chip) for line in _figure(figure))]
    section = None
    for key in KEYS:
        found = entry(chip, key)
        if found is None:
            continue
        if key.rpartition(".")[0] != section:
            section = key.rpartition(".")[0]
            lines += ["", TITLES[section]]
        note = notes.setdefault(found.source, len(notes) + 1)
        value = f"{shown(found.value)} {unit(key)}".rstrip() + _binary(key, found.value)
        head = f"  {key.rpartition('.')[2]:<26}{value:<30} [{note}]"
        lines += _wrapped(meaning(key), f"{head:<66}")
    if limits(chip):
        lines += ["", "Stated here, not carried out by programs"]
        lines += [line for limit in limits(chip) for line in _wrapped(limit, "  - ")]
    given = [found.source for key in KEYS if (found := entry(chip, key)) is not None]
    estimated = sum(source.startswith("estimated") for source in given)
    lines += ["", f"Sources ({estimated} of {len(given)} values are estimated)"]
    lines += [line for source, note in notes.items() for line in _wrapped(source, f"  [{note}] ")]
    return "\n".join(lines) + "\n"


def overview(chips: dict[str, Chip]) -> str:
    """One line per chip: name, cores, arrays, size, weights, description."""
    rows = [("target", "cores", "arrays", "rows x cols", "weights", "")]
    for name, chip in chips.items():
        size = f"{chip.array.rows.value} x {chip.array.cols.value}"
        counts = (f"{chip.cores.value:,}", f"{array_count(chip):,}", size, f"{weight_count(chip):,}")
        rows.append((name, *counts, chip.description.strip()))
    widths = [max(len(row[i]) for row in rows) for i in range(5)]
    return "\n".join(
        "  ".join((row[0].ljust(widths[0]), *(row[i].rjust(widths[i]) for i in range(1, 5)), row[5])).rstrip()
        for row in rows
    )


def shown(value: object) -> str:
    """A value in words, thousands apart."""
    match value:
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case float():
            return f"{value:,.6g}"
        case _:
            return str(value)


def _binary(key: str, value: object) -> str:
    """Sizes of memories once more in KiB or MiB, where that is shorter to read."""
    if not key.endswith("_bytes") or not isinstance(value, int) or value < KIB or value % KIB:
        return ""
    power = max(p for p in range(1, 5) if value % KIB**p == 0 or p == 1)
    return f" ({value // KIB**power:,} {('KiB', 'MiB', 'GiB', 'TiB')[power - 1]})"


def _figure(figure: Figure) -> list[str]:
    number = f"{figure.value:,.0f}" if figure.value >= 1000 or not figure.unit else f"{figure.value:.4g}"
    if not figure.unit and figure.value != int(figure.value):
        number = f"{figure.value:.3g}"
    return _wrapped(f"= {figure.formula}", f"  {figure.label:<43}{f'{number} {figure.unit}'.rstrip():<20} ")


def _wrapped(text: str, head: str) -> list[str]:
    """Lines of `text` behind `head`, those that follow indented as far."""
    width = max(WIDTH, len(head) + 40)
    return textwrap.wrap(text, width, initial_indent=head, subsequent_indent=" " * len(head), break_on_hyphens=False)

"""Chip -> the YAML text of a target of one's own: every key with its meaning, its value and its source.

chip, base          -->   every key, as a file that stands on its own
chip, base, short   -->   `extends: base`, the keys that differ from it, all others as comments
"""

from __future__ import annotations

import json
import textwrap

from bitline.target.schema import KEYS, SECTIONS, Chip, Sourced, entry, meaning

WIDTH = 110
OPENING = """\
A target of bitline, made from {base}. Change what you know better, and name where each number comes from.
Compile for it:      bitline compile MODEL --target {file} ...
Look at it:          bitline targets show {file}
Sources are free text: a paper and table, a file, or `estimated: why`."""
SHORT = """\
Keys behind a # are those of {base}; take the # away (and that of the section above) to set one."""


def template(
    chip: Chip, *, name: str, file: str, base: str, extends: str | None = None, under: Chip | None = None
) -> str:
    """The text of a target file called `name`. With `extends` and the chip `under` it, equal keys become comments.

    What `load_target` reads from it equals `chip` but for name and description.
    """
    named = {"base": _printable(base), "file": _printable(file)}
    opening = "\n".join(text.format(**named) for text in ((OPENING, SHORT) if extends else (OPENING,)))
    lines = [f"# {line}" for line in opening.splitlines()]
    if extends:
        lines.append(f"extends: {_quoted(extends)}")
    else:
        lines.append(f"schema_version: {chip.schema_version}")
    lines += [f"name: {_quoted(name)}", f"description: {_quoted(f'made from {chip.name}: {chip.description.strip()}')}"]
    section = ""
    for key in KEYS:
        found = entry(chip, key)
        if found is None:
            continue
        same = under is not None and entry(under, key) == found
        here = key.rpartition(".")[0]
        if here != section:
            section = here
            kept = under is None or any(entry(under, k) != entry(chip, k) for k in KEYS if k.startswith(f"{here}."))
            lines += ["", f"# {meaning_of_section(here)}", f"{here}:" if kept else f"# {here}:"]
        indent = "  " if here else ""
        lines += _comment(meaning(key), indent)
        lines.append(f"{indent}{'# ' if same else ''}{key.rpartition('.')[2]}: {_flow(found)}")
    return "\n".join(lines) + "\n"


def meaning_of_section(section: str) -> str:
    """First line of what a section is."""
    return (SECTIONS[section].__doc__ or "").strip().splitlines()[0]


def _printable(text: str) -> str:
    """A name as it may stand in a comment: no line ends, no control characters."""
    return "".join(c if c.isprintable() else "?" for c in text)


def _comment(text: str, indent: str) -> list[str]:
    head = f"{indent}# "
    return textwrap.wrap(text, WIDTH, initial_indent=head, subsequent_indent=head, break_on_hyphens=False)


def _flow(found: Sourced[object]) -> str:
    value = found.value
    plain = _quoted(value) if isinstance(value, str) else json.dumps(value)
    return f"{{value: {plain}, source: {_quoted(found.source)}}}"


def _quoted(text: str) -> str:
    """A string of YAML; those of JSON are, and none of their characters means anything else inside quotes."""
    return json.dumps(text, ensure_ascii=True)

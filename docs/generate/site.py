"""All generated files, written before Sphinx reads a page."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from bitline.target.load import catalog_names
from docs.generate.chips import catalog_page, chip_page
from docs.generate.chips import keys_page as target_keys_page
from docs.generate.commands import commands_page
from docs.generate.diagnostics import diagnostics_page
from docs.generate.figures import columns_table, keys_page, package_page
from docs.generate.instructions import instructions_page
from docs.generate.operators import operators_page
from docs.generate.pictures import PICTURES

PAGES: Final[dict[str, Callable[[], str]]] = {
    "reference/commands.md": commands_page,
    "reference/target-files.md": target_keys_page,
    "reference/chips.md": catalog_page,
    **{f"reference/chip-{name}.md": partial(chip_page, name) for name in catalog_names()},
    "reference/operators.md": operators_page,
    "reference/diagnostics.md": diagnostics_page,
    "reference/json-keys.md": keys_page,
    "reference/package.md": package_page,
    "reference/instructions.md": instructions_page,
    "generated/columns.md": columns_table,
    **{f"generated/{name}.svg": picture for name, picture in PICTURES.items()},
}
"""Files below `docs` and what makes them; git ignores them."""


def write(root: Path) -> None:
    """Write what changed, so that Sphinx builds again only what has to be."""
    for name, made in PAGES.items():
        file, text = root / name, made()
        file.parent.mkdir(parents=True, exist_ok=True)
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            file.write_text(text, encoding="utf-8")

"""Keys of `--json`, columns of the report, files of a package."""

from __future__ import annotations

from bitline.package import FILES, MANIFEST, Manifest
from bitline.report.glossary import BLOCKS, ERROR, EVERY, FIGURES, GLOSSARY, TABLE, Term
from bitline.report.html.columns import COLUMNS
from docs.generate.markdown import first_paragraph, page, prose, table

SHARED = (*FIGURES, *TABLE)


def keys_page() -> str:
    """Every key of every command."""
    parts: list[str] = []
    for command, terms in GLOSSARY.items():
        figures = set(FIGURES) <= set(terms)
        own = [term for term in terms if not figures or term not in SHARED]
        parts.append(f"## {command}\n")
        if figures:
            parts.append("The [figures of a compiled network](#figures-of-a-compiled-network), and:\n")
        parts.append(_terms(own))
    return page(
        "JSON keys",
        "With `--json` a command prints one object. Units stand in the names. Every figure is computed in one place\n"
        "from the program, the placement and the target file, so that console, report, CSV and JSON cannot disagree.\n",
        _terms(EVERY),
        "Where a command refuses, the object has `schema` `bitline.error/1` and:\n",
        _terms(ERROR),
        "## Figures of a compiled network\n",
        "Printed by `compile`, `report`, `schedule` (but for `blocks`) and `demo`. Times and energies are those of the "
        "chip, from the costs of its [target file](target-files.md) for every instruction that is "
        "[executed](instructions.md).\n",
        _terms(SHARED),
        "## Blocks\n",
        "Of each of the `blocks`; the same columns begin `placement.csv`.\n",
        _terms(BLOCKS),
        *parts,
    )


def _terms(terms: tuple[Term, ...] | list[Term]) -> str:
    return table(["key", "unit", "meaning"], [(f"`{t.key}`", t.unit, prose(t.meaning)) for t in terms])


def columns_table() -> str:
    """The columns of the layer table of the report."""
    return table(["column", "unit", "meaning"], [(c.heading, c.unit, _formula(c.tip)) for c in COLUMNS])


def _formula(tip: str) -> str:
    """A tip of the report as prose: its second line is the formula."""
    meaning, *formula = tip.split("\n")
    if not formula:
        return prose(meaning)
    return " ".join([f"{prose(meaning.removesuffix('.'))}: `{formula[0]}`.", *map(prose, formula[1:])])


def package_page() -> str:
    """The files of a package."""
    manifest = first_paragraph(Manifest).removesuffix(".")
    manifest = manifest[:1].lower() + manifest[1:]
    return page(
        "Files of a package",
        "A package is a folder that appears when it is whole. `bitline verify` compares every file with its hash, "
        "then every artefact with the others. The same inputs, options and version give the same bytes; there is no "
        "clock value in any file.\n",
        table(["file", "holds"], [(f"`{name}`", prose(text)) for name, text in ((MANIFEST, manifest), *FILES.items())]),
        "JSON files are canonical: keys sorted, no spaces, shortest numbers. In `arrays.bin` a weight is one byte: "
        "w + 128 where cells are unsigned, two's complement elsewhere; it is cut into cells of `array.cell_bits` "
        "from the low end.\n",
    )

"""Keys of a target file, and the data sheet of every chip of the catalog."""

from __future__ import annotations

from bitline.target.derived import array_count, derived, weight_count
from bitline.target.limits import limits
from bitline.target.load import catalog_names, load_target
from bitline.target.schema import CHECKS, KEYS, SECTIONS, Chip, entry, meaning
from bitline.target.sheet import TITLES, shown, unit
from bitline.target.template import meaning_of_section
from docs.generate.markdown import page, prose, table

Schema = dict[str, "Schema"] | list["Schema"] | str | int | float | bool | None


def keys_page() -> str:
    """Every key of a target file with unit, range and meaning; what must hold between them."""
    parts: list[str] = []
    section = None
    for key in KEYS:
        here = key.rpartition(".")[0]
        if here == section:
            continue
        section = here
        parts.append(f"## {TITLES[here]}\n")
        if here:
            parts.append(prose(meaning_of_section(here)) + "\n")
        inside = [k for k in KEYS if k.rpartition(".")[0] == here]
        rows = [(f"`{k}`", unit(k), _range(k), prose(meaning(k)) + _optional(k)) for k in inside]
        parts.append(table(["key", "unit", "allowed", "meaning"], rows))
    checks = [
        (", ".join(f"`{key}`" for key in keys), prose(" ".join((rule.__doc__ or "").split()))) for keys, rule in CHECKS
    ]
    return page(
        "Target files",
        "A chip is one YAML file. Every number has its unit in its key, and a source: a paper and table, a file, or "
        "`estimated: why`. [Your own chip](../howto/own-chip.md) shows how to write one; `bitline targets show` "
        "prints any as a data sheet. All mistakes of a file are reported at once, with their lines.\n",
        *parts,
        "## What must hold between keys\n",
        "A file that breaks one of these is refused (BL0103) with the sentence on the right.\n",
        table(["keys", "refused where"], checks),
    )


def _model(key: str) -> Schema:
    section, _, name = key.rpartition(".")
    model = SECTIONS[section] if section else Chip
    schema: dict[str, Schema] = model.model_json_schema()
    fields = schema["properties"]
    assert isinstance(fields, dict), key
    field = fields[name]
    assert isinstance(field, dict), key
    choices = field.get("anyOf")
    reference = field.get("$ref")
    if isinstance(choices, list) and isinstance(choices[0], dict):
        reference = choices[0].get("$ref")
    definitions = schema["$defs"]
    assert isinstance(reference, str), key
    assert isinstance(definitions, dict), key
    sourced = definitions[reference.rpartition("/")[2]]
    assert isinstance(sourced, dict), key
    properties = sourced["properties"]
    assert isinstance(properties, dict), key
    return properties["value"]


def _range(key: str) -> str:
    value = _model(key)
    assert isinstance(value, dict), key
    match value.get("enum"):
        case list() as words:
            return ", ".join(f"`{word}`" for word in words)
        case _:
            pass
    if value.get("type") == "boolean":
        return "`true`, `false`"
    if value.get("type") == "string":
        return f"`{value['const']}`" if "const" in value else "text"
    whole = "whole, " if value.get("type") == "integer" else ""
    low = f"above {value['exclusiveMinimum']}" if "exclusiveMinimum" in value else f"{_short(value.get('minimum'))}"
    return f"{whole}{low} to {_short(value.get('maximum'))}"


def _short(bound: Schema) -> str:
    """2^40 rather than 1,099,511,627,776."""
    if isinstance(bound, int | float) and bound > 10_000:
        whole = int(bound)
        power = whole.bit_length() - 1
        return f"2^{power}" if whole == 1 << power else f"{bound:.0e}".replace("e+0", "e").replace("e+", "e")
    return f"{bound:g}" if isinstance(bound, int | float) else ""


def _optional(key: str) -> str:
    """What holds where the key is left out; nothing for keys that every file gives."""
    section, _, name = key.rpartition(".")
    field = (SECTIONS[section] if section else Chip).model_fields[name]
    if field.is_required():
        return ""
    default = field.get_default(call_default_factory=True)
    return (
        "; optional"
        if default is None
        else f"; optional: {shown(default.value)} where left out, {prose(default.source)}"
    )


def catalog_page() -> str:
    """The chips side by side, and the pages of each."""
    rows: list[tuple[str, ...]] = []
    for name in catalog_names():
        chip = load_target(name)
        array = chip.array
        figures = {figure.name: figure.value for figure in derived(chip)}
        rows.append(
            (
                f"[`{name}`](chip-{name}.md)",
                f"{chip.cores.value:,}",
                f"{array_count(chip):,}",
                f"{array.rows.value} x {array.cols.value}",
                f"{weight_count(chip):,}",
                f"{array.cell_bits.value}",
                f"{chip.adc.bits.value or 'none'}",
                f"{figures['peak_tops']:.3g}",
                f"{figures['tops_per_watt']:.3g}",
            )
        )
    head = ["chip", "cores", "arrays", "rows x columns", "weights", "bits of a cell", "bits of a converter"]
    return page(
        "Chips of the catalog",
        "Peak and efficiency are what the numbers of the file add up to, of arrays that all fire without pause: "
        "bounds, not promises. Each page gives every value with its source.\n",
        table([*head, "peak TOPS", "TOPS/W"], rows),
        "```{toctree}\n:hidden:\n\n" + "\n".join(f"chip-{name}" for name in catalog_names()) + "\n```\n",
    )


def chip_page(name: str) -> str:
    """The data sheet of one chip: figures with formulas, keys, limits, sources."""
    chip = load_target(name)
    parts = [prose(" ".join(chip.description.split())) + ".\n", "## At a glance\n"]
    figures = [
        (prose(f.label), f"{_number(f.value, f.unit)} {f.unit}".strip(), f"= {prose(f.formula)}") for f in derived(chip)
    ]
    parts.append(table(["figure", "value", "formula"], figures))
    stated = limits(chip)
    if stated:
        parts += [
            "## Stated here, not carried out by programs\n",
            "\n".join(f"* {prose(limit)}" for limit in stated) + "\n",
        ]
    estimated = count = 0
    for section in ("", *SECTIONS):
        rows: list[tuple[str, str, str]] = []
        for key in KEYS:
            found = entry(chip, key) if key.rpartition(".")[0] == section else None
            if found is not None:
                rows.append((f"`{key}`", f"{shown(found.value)} {unit(key)}".strip(), prose(found.source)))
                count, estimated = count + 1, estimated + found.source.startswith("estimated")
        parts += [f"## {TITLES[section]}\n", table(["key", "value", "source"], rows)]
    parts.insert(
        1, f"{estimated} of {count} values are estimated; what each key means: [Target files](target-files.md).\n"
    )
    return page(name, *parts)


def _number(value: float, unit: str) -> str:
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}" if unit or value != int(value) else f"{value:.0f}"

"""`bitline targets list | show T | new FILE --from T`"""

from __future__ import annotations

import os
from pathlib import Path

import click

from bitline.cli.answer import answer
from bitline.cli.options import json_option
from bitline.core.diagnostics import refuse

set_option = click.option(
    "--set", "overrides", multiple=True, metavar="KEY.PATH=VALUE", help="Override a value; may repeat."
)


@click.group("targets", help="Chips that bitline knows: their values, units and sources; a file for one of your own.")
def command() -> None:
    """Group of `list`, `show` and `new`."""


@command.command("list", help="The catalog: cores, arrays, size and weights of every chip.")
@json_option
def list_targets(json: bool) -> None:
    from bitline.target.derived import array_count, weight_count
    from bitline.target.load import catalog_names, load_target
    from bitline.target.sheet import overview

    chips = {name: load_target(name) for name in catalog_names()}
    sizes = {
        name: {
            "cores": chip.cores.value,
            "arrays": array_count(chip),
            "rows": chip.array.rows.value,
            "cols": chip.array.cols.value,
            "weights": weight_count(chip),
        }
        for name, chip in chips.items()
    }
    about = {name: chip.description.strip() for name, chip in chips.items()}
    answer("targets", {"targets": about, "sizes": sizes}, json=json, text=overview(chips))


@command.command("show", help="The data sheet of a chip, every number with its source.")
@click.argument("target")
@set_option
@json_option
def show(target: str, overrides: tuple[str, ...], json: bool) -> None:
    from bitline.target.derived import derived
    from bitline.target.limits import limits
    from bitline.target.load import load_target
    from bitline.target.sheet import describe

    chip = load_target(target, overrides)
    values: dict[str, object] = {
        "target": chip.model_dump(mode="json"),
        "derived": {
            f.name: {"value": f.value, "unit": f.unit, "meaning": f.label, "formula": f.formula} for f in derived(chip)
        },
        "limits": list(limits(chip)),
    }
    answer("targets", values, json=json, text=describe(chip).rstrip("\n"))


@command.command("new", help="Write a target file of your own, every key explained. Never overwrites a file.")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--from", "base", required=True, metavar="T", help="A catalog name or a YAML file to start from.")
@click.option("--extends", "short", is_flag=True, help="Inherit from T; write only what differs, the rest as comments.")
@set_option
@json_option
def new(file: Path, base: str, short: bool, overrides: tuple[str, ...], json: bool) -> None:
    from bitline.target.load import catalog_names, load_target
    from bitline.target.template import template

    chip = load_target(base, overrides)
    inherited = base if base in catalog_names() else os.path.relpath(base, file.absolute().parent)
    text = template(
        chip,
        name=file.stem or "mine",
        file=str(file),
        base=base,
        extends=inherited if short else None,
        under=load_target(base) if short else None,
    )
    _create(file, text)
    what = "a target that extends" if short else "a copy of"
    said = f"wrote {file}, {what} {base}\nlook at it: bitline targets show {file}"
    answer("targets", {"file": str(file), "from": base, "extends": short}, json=json, text=said)


def _create(file: Path, text: str) -> None:
    """Write a file that was not there. Raises `Refusal` (BL0104)."""
    try:
        with file.open("x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError:
        raise refuse(
            "BL0104",
            f"{str(file)!r} exists and is not overwritten",
            place=str(file),
            help="name another file, or remove this one yourself",
        ) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise refuse(
            "BL0104",
            f"cannot write {str(file)!r}: {reason}",
            place=str(file),
            help="choose a folder that exists and that you may write to",
        ) from None

"""`bitline targets list | show T`"""

from __future__ import annotations

import click

from bitline.cli.answer import answer
from bitline.cli.options import json_option


@click.group("targets", help="Chips that bitline knows: their values, units and sources.")
def command() -> None:
    """Group of `list` and `show`."""


@command.command("list", help="Names of the catalog.")
@json_option
def list_targets(json: bool) -> None:
    from bitline.target.load import catalog_names, load_target

    chips = {name: load_target(name).description.strip() for name in catalog_names()}
    width = max(len(name) for name in chips)
    text = "\n".join(f"{name:<{width}}  {about}" for name, about in chips.items())
    answer("targets", {"targets": chips}, json=json, text=text)


@command.command("show", help="The data sheet of a chip, every number with its source.")
@click.argument("target")
@click.option("--set", "overrides", multiple=True, metavar="KEY.PATH=VALUE", help="Override a value; may repeat.")
@json_option
def show(target: str, overrides: tuple[str, ...], json: bool) -> None:
    from bitline.target.load import load_target
    from bitline.target.sheet import describe

    chip = load_target(target, overrides)
    answer("targets", {"target": chip.model_dump(mode="json")}, json=json, text=describe(chip))

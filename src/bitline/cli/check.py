"""`bitline check MODEL [--target T]`"""

from __future__ import annotations

import time
from pathlib import Path

import click

from bitline.cli.answer import answer, show_diagnostics
from bitline.cli.options import json_option, model_options, parse_shapes


@click.command("check", help="Before any work: does a model fit, what runs where, what is unsupported.")
@model_options
@click.option("--set", "overrides", multiple=True, metavar="KEY.PATH=VALUE", help="Override a value of the target.")
@click.option(
    "--target", help="A catalog name (see `bitline targets list`) or a YAML file; without it, the model only."
)
@json_option
@click.pass_context
def command(
    context: click.Context,
    model: Path,
    shapes: tuple[str, ...],
    target: str | None,
    overrides: tuple[str, ...],
    json: bool,
) -> None:
    from bitline import api
    from bitline.core.diagnostics import Refusal, refuse
    from bitline.report.outlook import outlook_json, outlook_text

    if overrides and target is None:
        raise refuse("BL0101", "--set without --target", help="name the target whose values it overrides")
    started = time.perf_counter()
    found = api.check_model(model, target=target, overrides=overrides, shapes=parse_shapes(shapes))
    show_diagnostics(found.problems)
    seconds = time.perf_counter() - started
    answer("check", {**outlook_json(found), "seconds": seconds}, json=json, text=outlook_text(found))
    if found.problems:
        context.exit(Refusal(found.problems).exit_code)

"""`bitline explain PACKAGE LAYER`"""

from __future__ import annotations

from pathlib import Path

import click

from bitline.cli.answer import answer
from bitline.cli.options import json_option


@click.command("explain", help="Where a layer lies and why, what binds its time, and what would help it.")
@click.argument("package", type=click.Path(path_type=Path))
@click.argument("layer")
@click.option("--levers/--no-levers", default=True, help="Also price changes of the chip (simulates each once).")
@json_option
def command(package: Path, layer: str, levers: bool, json: bool) -> None:
    from bitline import api
    from bitline.pipeline.explaining import explain
    from bitline.report.explain_text import explanation_json, explanation_text

    found = explain(api.open_package(package).contents, layer, levers=levers)
    values = explanation_json(found.explained, found.levers, found.latency_us)
    answer("explain", values, json=json, text=explanation_text(found.explained, found.levers, found.latency_us))

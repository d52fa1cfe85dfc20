"""`bitline report PACKAGE -o FILE.html`"""

from __future__ import annotations

from pathlib import Path

import click

from bitline.cli.answer import answer
from bitline.cli.options import json_option
from bitline.core.files import check_writable, write_file


@click.command("report", help="Write the HTML report of a package and print its headline.")
@click.argument("package", type=click.Path(path_type=Path))
@click.option(
    "-o", "output", type=click.Path(path_type=Path), help="Where to write the page; else its place is printed."
)
@json_option
def command(package: Path, output: Path | None, json: bool) -> None:
    from bitline import api
    from bitline.pipeline.contents import headline

    if output is not None:
        check_writable(output)
    opened = api.open_package(package)
    place = output or package / "report.html"
    if output is not None:
        write_file(output, opened.report())
    figures = opened.figures() | {"report": str(place)}
    answer("report", figures, json=json, text=f"{headline(opened.contents)}\n  report         {place}")

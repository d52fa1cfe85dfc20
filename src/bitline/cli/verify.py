"""`bitline verify PACKAGE`, or a placement"""

from __future__ import annotations

import time
from pathlib import Path

import click

from bitline.cli.answer import answer, show_diagnostics
from bitline.cli.options import json_option
from bitline.cli.progress import progress_on_terminal


@click.command(
    "verify",
    help="Check every artefact of a package, or a placement (.json of `place`), with code that did not write it.",
)
@click.argument("package", type=click.Path(path_type=Path))
@json_option
@click.pass_context
def command(context: click.Context, package: Path, json: bool) -> None:
    from bitline import api

    started = time.perf_counter()
    if package.suffix.lower() == ".json":
        from bitline.pipeline.placement_files import read_placement
        from bitline.verify.placement import verify_placement

        result = api.Verified(checks=verify_placement(read_placement(package)))
    else:
        with progress_on_terminal(json=json) as progress:
            result = api.open_package(package).verify(progress=progress)
    values: dict[str, object] = {
        "verified": result.ok,
        "checks": [{"name": c.name, "saw": c.saw, "errors": [str(e) for e in c.errors]} for c in result.checks],
        "seconds": time.perf_counter() - started,
    }
    show_diagnostics(result.errors)
    lines = [f"{'FAIL' if c.errors else 'ok':4}  {c.name:26} {c.saw}" for c in result.checks]
    answer("verify", values, json=json, text="\n".join(lines))
    if not result.ok:
        context.exit(1)

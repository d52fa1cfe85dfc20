"""`bitline place MODEL [MODEL...] --target T`"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click

from bitline.cli.answer import answer
from bitline.cli.options import QuantArguments, calibrated, json_option, quant_options, target_options
from bitline.core.escape import cell
from bitline.core.files import check_writable, write_file


@click.command(
    "place", help="Pack the weight matrices into arrays: a table of blocks, a lower bound, no limit of arrays."
)
@click.argument("models", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--shape", "shapes", multiple=True, metavar="NAME=1,3,224,224", help="Fix an input's shape; may repeat.")
@target_options
@quant_options
@click.option(
    "--cuts", type=click.Choice(["full"]), default="full", show_default=True, help="Cut matrices at array borders."
)
@click.option("-o", "output", type=click.Path(path_type=Path), help="Write the table of blocks here, as CSV.")
@json_option
def command(
    models: tuple[Path, ...],
    shapes: tuple[str, ...],
    target: str,
    overrides: tuple[str, ...],
    quant: QuantArguments,
    cuts: str,
    output: Path | None,
    json: bool,
) -> None:
    from bitline.pipeline import quantise, to_kernels
    from bitline.pipeline.placing import place_networks
    from bitline.target.load import load_target

    if output is not None:
        check_writable(output)
    chip = load_target(target, overrides)
    networks = []
    for model in models:
        given = calibrated(model, shapes, replace(quant, method="minmax"), shapes_only=True)
        samples = given.samples.feeds if given.samples else None
        networks.append(to_kernels(quantise(given.model, samples, given.options).model, chip).network)
    values = place_networks(networks, chip)
    rows = values["blocks"]
    assert isinstance(rows, list)
    if output is not None:
        write_file(output, _csv(rows))
    proof = "optimal for this cut" if values["proof"] == "bound" else "no proof that fewer do not suffice"
    text = (
        f"{values['arrays_used']} arrays of {chip.array.rows.value}x{chip.array.cols.value}, "
        f"lower bound {values['lower_bound']}: {proof}\n"
        f"{values['pieces']} blocks, {100 * float(str(values['utilisation'])):.1f} % of the cells used, "
        f"{values['row_cuts']} row cuts, {values['col_cuts']} column cuts\n"
        f"{values['mvm_fires']:,} MVMs per inference, {values['interval']:,} on the busiest array"
    )
    if output is None and not json:
        text += "\n" + _csv(rows).strip()
    answer("place", {**values, "cuts": cuts}, json=json, text=text)


def _csv(rows: Sequence[object]) -> str:
    out = io.StringIO()
    table = [row for row in rows if isinstance(row, dict)]
    writer = csv.DictWriter(out, list(table[0]) if table else ["core_id"], lineterminator="\n")
    writer.writeheader()
    for row in table:
        writer.writerow({key: cell(value) if isinstance(value, str) else value for key, value in row.items()})
    return out.getvalue()

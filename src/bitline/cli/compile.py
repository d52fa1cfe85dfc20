"""`bitline compile MODEL --target T -o PACKAGE`"""

from __future__ import annotations

import resource
import time
from pathlib import Path

import click

from bitline.cli.answer import answer, say
from bitline.cli.options import QuantArguments, calibrated, json_option, model_options, quant_options, target_options
from bitline.cli.progress import progress_on_terminal
from bitline.package import check_output

KIB_PER_MB = 1000


@click.command("compile", help="Compile a float or QDQ model into a package: program, placement, report, proofs.")
@model_options
@target_options
@quant_options
@click.option(
    "--stream",
    type=click.IntRange(1),
    default=1,
    metavar="N",
    help="Inputs that one run takes, kernels working on several at once as a pipeline.",
)
@click.option(
    "--array-budget",
    type=click.IntRange(1),
    metavar="N",
    help="Arrays that copies of the weights may take, so that layers with many pixels compute several at once.",
)
@click.option(
    "--depthwise-group",
    type=click.IntRange(1),
    metavar="N",
    help="Groups of a grouped convolution that share a block: fewer waste fewer cells and fire more often; by default "
    "as many as fit.",
)
@click.option("-o", "output", required=True, type=click.Path(path_type=Path), help="The package folder to write.")
@json_option
def command(
    model: Path,
    shapes: tuple[str, ...],
    target: str,
    overrides: tuple[str, ...],
    quant: QuantArguments,
    stream: int,
    array_budget: int | None,
    depthwise_group: int | None,
    output: Path,
    json: bool,
) -> None:
    from bitline import api
    from bitline.report.figures import Json
    from bitline.target.limits import limits
    from bitline.target.load import load_target

    check_output(output)
    chip = load_target(target, overrides)
    given = calibrated(model, shapes, quant)
    stated = [f"target {chip.name}, {limit}" for limit in limits(chip)]
    for remark in (*given.model.remarks, *([given.samples.remark] if given.samples else []), *stated):
        say(remark, quiet=json)
    started = time.perf_counter()
    with progress_on_terminal(json=json) as progress:
        package = api.compile(
            given.model,
            target=chip,
            calib=given.samples.feeds if given.samples else None,
            options=given.options,
            labels={**given.labels(), **dict(text.split("=", 1) for text in overrides)},
            output=output,
            state=quant.state,
            stream=stream,
            array_budget=array_budget,
            depthwise_group=depthwise_group,
            progress=progress,
        )
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1.024 / KIB_PER_MB
    noted = package.contents.manifest.options
    figures: dict[str, Json] = package.figures() | {
        "compile_seconds": seconds,
        "peak_rss_mb": peak,
        "verified": "structure",
        "sqnr_db": float(noted["sqnr_db"]) if "sqnr_db" in noted else None,
        "package": str(output),
    }
    from bitline.pipeline.contents import headline

    text = f"{headline(package.contents)}\n  package        {output} ({seconds:.1f} s, {peak:,.0f} MB of memory)"
    answer("compile", figures, json=json, text=text)

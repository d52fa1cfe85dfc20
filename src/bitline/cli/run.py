"""`bitline run PACKAGE DATA...`"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from bitline.cli.answer import answer, say
from bitline.cli.options import hop_option, json_option, preprocess_option
from bitline.cli.progress import progress_on_terminal
from bitline.cli.run_output import Output
from bitline.core.diagnostics import Refusal, refuse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bitline.api import RunResult
    from bitline.inference.files import FileResult

INTERRUPTED = 130
DEFAULT_TOP = 5


@click.command(
    "run",
    help="Run a package in the simulator on DATA: images, folders and globs of them, .npz, .npy, .txt of token ids, or "
    "random:N.",
)
@click.argument("package", type=click.Path(path_type=Path))
@click.argument("data", nargs=-1, required=True)
@preprocess_option
@hop_option
@click.option("--limit", type=click.IntRange(min=1), help="Take at most this many samples of each DATA.")
@click.option(
    "--check",
    "check_samples",
    type=click.IntRange(min=0),
    default=1,
    show_default=True,
    help="Samples that also go through reference, golden and ONNX Runtime.",
)
@click.option("--step", is_flag=True, help="Instruction by instruction: slow; for finding faults.")
@click.option("--keep-state", is_flag=True, help="Outputs feed inputs of the next sample, as the package says.")
@click.option(
    "--top",
    type=click.IntRange(min=0),
    help=f"The best classes of each sample [default: {DEFAULT_TOP}]; with --json, puts them into `results`.",
)
@click.option("--labels", type=click.Path(path_type=Path), help="A text file with the name of a class in each line.")
@click.option("--postprocess", metavar="MODULE:FUNCTION", help="A hook that turns outputs into boxes or classes.")
@click.option("--annotate", is_flag=True, help="Images with what was found drawn on them, below -o DIR.")
@click.option(
    "-o",
    "output",
    type=click.Path(path_type=Path),
    help="A folder for results.csv, results.json, outputs.npz; or a file that ends in .npz for the outputs alone.",
)
@json_option
@click.pass_context
def command(
    context: click.Context,
    package: Path,
    data: tuple[str, ...],
    preprocess: str | None,
    hop: int | None,
    limit: int | None,
    check_samples: int,
    step: bool,
    keep_state: bool,
    top: int | None,
    labels: Path | None,
    postprocess: str | None,
    annotate: bool,
    output: Path | None,
    json: bool,
) -> None:
    from bitline import api
    from bitline.cli.run_text import as_text, bad_files_text, figures
    from bitline.inference.classes import scoring
    from bitline.inference.results import bad_files_json, samples_json

    place = Output(output, annotate)
    place.check()
    opened = api.open_package(package)
    scores = None if postprocess else scoring(opened.model)
    if annotate and not postprocess and (scores is None or top == 0):
        help = "name a hook with --postprocess" if scores is None else "leave --top 0 out"
        raise refuse("BL0101", "--annotate has nothing to draw: no classes are asked for or known", help=help)
    with place.opened(), progress_on_terminal(json=json) as progress:
        results: list[FileResult[RunResult]] = []
        coming = opened.run_files(
            data,
            preprocess=preprocess,
            hop=hop,
            limit=limit,
            top=DEFAULT_TOP if top is None else top,
            labels=labels or (),
            postprocess=postprocess,
            keep_state=keep_state,
            check_samples=check_samples,
            step=step,
            progress=progress,
        )
        interrupted = collect(coming, results, place)
        good = [result for result in results if result.samples]
        if not good and interrupted:
            raise KeyboardInterrupt
        if not good:
            raise nothing_ran(results)
        values = figures(good) | {"files": len(results), "bad_files": bad_files_json(results)}
        if scores is not None:
            values["scores"] = str(scores)
        if interrupted:
            values["interrupted"] = True
        place.write(results, values)
    if output is not None:
        values["output"] = str(output)
    if json and top is not None:
        values["results"] = samples_json(good)
    if annotate and not place.drawn:
        say("no image files among DATA: nothing to draw on", quiet=json)
    for remark in dict.fromkeys(text for result in good for text in (result.remark, result.note)):
        say(remark, quiet=json or not remark)
    answer("run", values, json=json, text=as_text(values, good, quiet=output is not None))
    bad = any(result.errors for result in results)
    if bad:
        say(bad_files_text(results))
    if interrupted:
        kept = f"in {output}" if output is not None else "above"
        say(f"interrupted after {len(results)} files; what was done before is {kept}", quiet=json)
        context.exit(INTERRUPTED)
    if bad or values.get("mismatches_vs_reference") or values.get("mismatches_vs_golden"):
        context.exit(1)


def collect(coming: Iterator[FileResult[RunResult]], results: list[FileResult[RunResult]], place: Output) -> bool:
    """All results, in `results` as they come; True where Ctrl-C ended it."""
    try:
        for result in coming:
            place.add(result)
            results.append(result)
    except KeyboardInterrupt:
        return True
    return False


def nothing_ran(results: list[FileResult[RunResult]]) -> Refusal:
    """Why there is no result at all: the faults of all files."""
    faults = [d for result in results for d in result.errors]
    return Refusal(faults) if faults else refuse("BL0105", "no samples in the data", help="give at least one")

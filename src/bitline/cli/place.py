"""`bitline place MODEL [MODEL...] --target T`"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from bitline.cli.answer import answer, say, show_diagnostics
from bitline.cli.options import QuantArguments, calibrated, json_option, quant_options, target_options
from bitline.cli.progress import progress_on_terminal
from bitline.core.diagnostics import refuse
from bitline.core.files import check_writable, write_file

if TYPE_CHECKING:
    from bitline.ir.placement import Rect
    from bitline.pipeline.placing import Placed

FORMS = (".json", ".csv", ".txt", ".svg", ".png", ".html")


@click.command(
    "place", help="Pack the weight matrices into as few arrays as possible, with a lower bound; no limit of arrays."
)
@click.argument("models", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--shape", "shapes", multiple=True, metavar="NAME=1,3,224,224", help="Fix an input's shape; may repeat.")
@target_options
@quant_options
@click.option(
    "--cuts",
    type=click.Choice(["full", "balanced", "free"]),
    default="full",
    show_default=True,
    help="Where matrices are cut: at array borders, into equal parts, or wherever an array has room.",
)
@click.option(
    "--depthwise-group",
    default="max",
    show_default=True,
    metavar="max|auto|N",
    help="Groups of a grouped convolution in one block; auto: layer by layer, the fewest firings for the arrays.",
)
@click.option(
    "--objective",
    type=click.Choice(["arrays", "interval", "latency"]),
    default="arrays",
    show_default=True,
    help="The fewest arrays; and with them, or with all of --array-budget, the shortest interval or lowest latency.",
)
@click.option("--array-budget", type=int, metavar="N", help="Arrays that copies of layers may take.")
@click.option("--windows", is_flag=True, help="Under a budget also lay convolutions out for several pixels at once.")
@click.option("--pareto", is_flag=True, help="Also print the trade-off of arrays, firings and interval.")
@click.option(
    "--time-limit", type=float, metavar="SECONDS", help="Search and prove as long; Ctrl-C keeps the best so far."
)
@click.option("--seed", default=1, show_default=True, help="Of the search.")
@click.option("--bad-cols", metavar="3,17-19", help="Columns of every array that hold nothing.")
@click.option("--bias-rows", type=click.IntRange(min=0), help="Bias rows of every block, where arrays have some.")
@click.option(
    "--fixed",
    type=click.Path(path_type=Path),
    multiple=True,
    help="Blocks that lie there already: .json or .csv of an earlier placement, or a layers.txt.",
)
@click.option(
    "-o",
    "outputs",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Write the placement here, as the name ends: .json .csv .txt (layers.txt) .svg .png .html; may repeat.",
)
@json_option
@click.pass_context
def command(
    context: click.Context,
    models: tuple[Path, ...],
    shapes: tuple[str, ...],
    target: str,
    overrides: tuple[str, ...],
    quant: QuantArguments,
    cuts: Literal["full", "balanced", "free"],
    depthwise_group: str,
    objective: Literal["arrays", "interval", "latency"],
    array_budget: int | None,
    windows: bool,
    pareto: bool,
    time_limit: float | None,
    seed: int,
    bad_cols: str | None,
    bias_rows: int | None,
    fixed: tuple[Path, ...],
    outputs: tuple[Path, ...],
    json: bool,
) -> None:
    from bitline.pipeline import quantise, to_kernels
    from bitline.pipeline.placing import place_networks, placement_values
    from bitline.place.options import PlaceOptions
    from bitline.report.placement_text import placement_text
    from bitline.target.load import load_target

    if len(fixed) > 1:
        help = "name one; place the networks of all together for a file that holds them all"
        raise refuse("BL0101", f"--fixed is given {len(fixed)} times", place=str(fixed[1]), help=help)
    for output in outputs:
        if output.suffix.lower() not in FORMS:
            help = f"end its name with one of {' '.join(FORMS)}"
            raise refuse("BL0101", f"-o {str(output)!r} says no form", place=str(output), help=help)
        check_writable(output)
    chip = load_target(target, overrides)
    options = PlaceOptions(
        cuts=cuts,
        depthwise_group=_group(depthwise_group),
        objective=objective,
        array_budget=array_budget,
        windows=windows,
        time_limit=time_limit,
        seed=seed,
    )
    options.check()
    networks = []
    for model in models:
        given = calibrated(model, shapes, replace(quant, method="minmax"), shapes_only=True)
        samples = given.samples.feeds if given.samples else None
        networks.append(to_kernels(quantise(given.model, samples, given.options).model, chip))
    with progress_on_terminal(json=json) as progress:
        placed = place_networks(
            networks,
            chip,
            options,
            blocked=_columns(bad_cols, chip.array.rows.value, chip.array.cols.value) if bad_cols else (),
            bias_rows=bias_rows,
            fixed=fixed[0] if fixed else None,
            pareto=pareto,
            progress=progress,
        )
    errors = [error for check in placed.checks for error in check.errors]
    show_diagnostics(errors)
    for output, contents in [(output, _writer(output)(placed)) for output in outputs]:
        write_file(output, contents)
        say(f"wrote {output}", quiet=json)
    values = placement_values(placed)
    answer("place", values, json=json, text=placement_text(placed.placement, values))
    if errors or (placed.solved.infeasible is not None and array_budget is not None):
        context.exit(1)


def _group(text: str) -> int | Literal["max", "auto"]:
    if text == "max" or text == "auto":
        return text
    if text.isdecimal():
        return int(text)
    raise refuse("BL0101", f"--depthwise-group {text!r} is not understood", help="give max, auto or a number of groups")


def _columns(text: str, rows: int, cols: int) -> tuple[Rect, ...]:
    """`3,17-19` as blocked rectangles."""
    found: list[Rect] = []
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        if not first.isdecimal() or (last and not last.isdecimal()) or not int(first) <= int(last or first) < cols:
            help = f"give columns of 0..{cols - 1}, as 3,17-19"
            raise refuse("BL0101", f"--bad-cols {text!r} is not understood", help=help)
        found.append((0, int(first), rows, int(last or first) + 1))
    return tuple(found)


def _writer(output: Path) -> Callable[[Placed], str | bytes]:
    """What makes the contents of a file of that name."""
    from bitline.core.canonical import to_json
    from bitline.report.floorplan_png import floorplan_png
    from bitline.report.floorplan_svg import floorplan_svg
    from bitline.report.placement_page import placement_page
    from bitline.report.placement_table import block_csv, layers_txt

    def page(placed: Placed) -> str:
        points = [(p.arrays_used, p.mvm_fires, p.interval, p.lower_bound) for p in placed.points]
        return placement_page(placed.placement, points)

    def layers(placed: Placed) -> str:
        arrays = placed.placement.certificate.arrays_used
        if arrays > 1:
            help = "write .csv or .json, or make them fit one array"
            raise refuse("BL0101", f"a layers.txt tells of one array, these are {arrays}", place=str(output), help=help)
        return layers_txt(placed.placement)

    forms: dict[str, Callable[[Placed], str | bytes]] = {
        ".json": lambda placed: to_json(placed.placement),
        ".csv": lambda placed: block_csv(placed.placement),
        ".txt": layers,
        ".svg": lambda placed: floorplan_svg(placed.placement),
        ".png": lambda placed: floorplan_png(placed.placement),
        ".html": page,
    }
    return forms[output.suffix.lower()]

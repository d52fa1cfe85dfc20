"""`bitline schedule MODEL --target T`"""

from __future__ import annotations

import time
from pathlib import Path

import click

from bitline.cli.answer import answer
from bitline.cli.options import QuantArguments, calibrated, json_option, model_options, quant_options, target_options
from bitline.core.escape import printable


@click.command(
    "schedule", help="When weights are written into arrays, and what that costs; nothing is written to disk."
)
@model_options
@target_options
@quant_options
@json_option
def command(
    model: Path,
    shapes: tuple[str, ...],
    target: str,
    overrides: tuple[str, ...],
    quant: QuantArguments,
    json: bool,
) -> None:
    from bitline.graph.macs import model_macs
    from bitline.pipeline import compile_model
    from bitline.report.figures import compile_figures
    from bitline.report.layers import layer_table
    from bitline.target.load import load_target

    chip = load_target(target, overrides)
    given = calibrated(model, shapes, quant, shapes_only=True)
    started = time.perf_counter()
    compiled = compile_model(given.model, given.samples.feeds if given.samples else None, chip, given.options)
    seconds = time.perf_counter() - started
    network, planned = compiled.lowered.network, compiled.planned
    program, macs = compiled.built.program, model_macs(compiled.quantised.model)
    figures = compile_figures(network, planned.schedule, planned.blocks, program, compiled.trace, chip, macs)
    rows = layer_table(network, planned.blocks, compiled.trace, chip)
    layers = [
        {
            "name": row.name,
            "kind": row.kind,
            "segment": plan.segment,
            "weights": plan.jobs[0].weights,
            "tile_rows": plan.tile_rows,
            "tile_cols": plan.tile_cols,
            "mvms": row.mvms,
            "weight_writes": row.weight_writes,
            "duration_us": row.duration_us,
            "energy_nj": row.energy_nj,
            "bound_by": row.bound_by,
        }
        for row, plan in zip(rows, planned.schedule.kernels, strict=True)
    ]
    lines = [f"{'layer':32} {'weights':9} {'writes':>8} {'mvms':>10} {'us':>11}  bound by"]
    lines += [
        f"{printable(str(one['name']))[:32]:32} {one['weights']:9} {one['weight_writes']:>8} {one['mvms']:>10} "
        f"{one['duration_us']:>11.1f}  {one['bound_by']}"
        for one in layers
    ]
    lines.append(
        f"{figures['array_writes']:,} array writes per inference in {figures['segments']} segments; convolutions "
        f"{figures['weight_updates']:,}, without reuse {figures['weight_updates_default']:,}, "
        f"at least {figures['weight_updates_floor']:,}"
    )
    lines.append(f"latency {figures['latency_us']:,.1f} us, energy {figures['energy_uj']:,.2f} uJ")
    answer("schedule", {**figures, "layers": layers, "seconds": seconds}, json=json, text="\n".join(lines))

"""`bitline quantize MODEL --calib DATA -o OUT.onnx`"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import click

from bitline.cli.answer import answer, say
from bitline.cli.options import QuantArguments, calibrated, json_option, model_options, quant_options
from bitline.core.escape import printable
from bitline.core.files import check_writable, write_file


@click.command("quantize", help="Quantise a float model: a QDQ model that ONNX Runtime runs, and that `compile` takes.")
@model_options
@quant_options
@click.option("-o", "output", required=True, type=click.Path(path_type=Path), help="The QDQ model to write.")
@click.option("--test", metavar="DATA", help="Labelled or plain samples to compare float and quantised on.")
@click.option("--target", help="Accepted for symmetry; ranges do not depend on the chip yet.")
@json_option
def command(
    model: Path,
    shapes: tuple[str, ...],
    quant: QuantArguments,
    output: Path,
    test: str | None,
    target: str | None,
    json: bool,
) -> None:
    from bitline.core.diagnostics import refuse
    from bitline.data.load import load_data
    from bitline.engines.protobuf import serialised
    from bitline.quant.ptq import quantize
    from bitline.quant.streams import recorded
    from bitline.target.load import load_target

    check_writable(output)
    if target:
        load_target(target)
    given = calibrated(model, shapes, quant)
    if given.samples is None:
        raise refuse("BL0101", "the model is quantised already", place=given.model.place(), help="compile it as it is")
    samples = None
    if test:
        carried = frozenset(name for _, name in given.options.states)
        samples = load_data(test, given.model, quant.prepare(), hop=quant.hop, states=carried)
        samples = replace(samples, feeds=recorded(given.model, samples.feeds, given.options.states))
    started = time.perf_counter()
    result = quantize(given.model, given.samples.feeds, given.options)
    seconds = time.perf_counter() - started
    values: dict[str, object] = {
        "weight_bits": quant.weight_bits,
        "activation_bits": quant.activation_bits,
        "granularity": quant.granularity,
        "method": quant.method,
        "sqnr_db": result.sqnr_db,
        "steps": list(result.steps),
        "calibration": given.samples.remark,
        "seconds": seconds,
        "output": str(output),
    }
    if samples is not None:
        from bitline.quant.score import score

        found = score(given.model, result.model, samples)
        values |= {"agree": found.agree}
        if found.top1_reference is not None:
            values |= {"top1_float": found.top1_reference, "top1_quant": found.top1_other}
    write_file(output, serialised(result.model.proto, place=result.model.place()))
    say("\n".join(map(printable, result.steps)), quiet=json)
    lines = [f"{output}: SQNR {result.sqnr_db:.1f} dB on the calibration samples ({given.samples.remark})"]
    if "agree" in values:
        lines.append(f"same prediction on {values['agree']:.2f} % of the test samples")
    if "top1_quant" in values:
        lines.append(f"top-1 {values['top1_float']:.2f} % float, {values['top1_quant']:.2f} % quantised")
    answer("quantize", values, json=json, text="\n".join(lines))

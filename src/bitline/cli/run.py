"""`bitline run PACKAGE DATA...`"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from bitline.cli.answer import answer, say, show_diagnostics
from bitline.cli.options import json_option
from bitline.core.files import check_writable

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from bitline.api import RunResult

PERCENT = 100.0


@click.command(
    "run", help="Run a package on DATA (.npz, .npy or random:N) in the simulator; several files one after another."
)
@click.argument("package", type=click.Path(path_type=Path))
@click.argument("data", nargs=-1, required=True)
@click.option("--preprocess", metavar="'mean=.. std=..'", help="For uint8 images: x/255, minus mean, over std.")
@click.option("--limit", type=click.IntRange(min=1), help="Take at most this many samples of each file.")
@click.option(
    "--check",
    "check_samples",
    type=click.IntRange(min=0),
    default=1,
    show_default=True,
    help="Samples that also go through reference, golden and ONNX Runtime.",
)
@click.option("--step", is_flag=True, help="Instruction by instruction: slow; for finding faults.")
@click.option("-o", "output", type=click.Path(path_type=Path), help="Write outputs here: an .npz.")
@json_option
@click.pass_context
def command(
    context: click.Context,
    package: Path,
    data: tuple[str, ...],
    preprocess: str | None,
    limit: int | None,
    check_samples: int,
    step: bool,
    output: Path | None,
    json: bool,
) -> None:
    import numpy as np

    from bitline import api
    from bitline.quant.calibration import load_data, parse_preprocess

    if output is not None:
        check_writable(output)
    opened = api.open_package(package)
    prepare = parse_preprocess(preprocess) if preprocess else None
    results: list[RunResult] = []
    labels: list[npt.NDArray[np.int64] | None] = []
    for i, spec in enumerate(data):
        samples = load_data(spec, opened.model, prepare, limit)
        say(samples.remark, quiet=json)
        results.append(opened.run(samples.feeds, check_samples=check_samples if i == 0 else 0, step=step))
        labels.append(samples.labels)
    first = results[0].checked
    outputs = {name: np.concatenate([r.outputs[name] for r in results]) for name in results[0].outputs}
    values: dict[str, object] = {
        "samples": sum(r.samples for r in results),
        "simulate_seconds": sum(r.inference_seconds for r in results),
        "preprocess_seconds": sum(r.preprocess_seconds for r in results),
        "inference_seconds": sum(r.inference_seconds for r in results),
        "postprocess_seconds": sum(r.postprocess_seconds for r in results),
        "instructions": sum(r.instructions for r in results),
        "conversions": sum(r.conversions for r in results),
        "clipped_conversions": sum(r.clipped for r in results),
        "checked": 0,
    }
    wrong = 0
    if first is not None:
        exact = first.exact
        off_reference = exact.against_reference.values - exact.against_reference.equal
        off_golden = exact.against_golden.values - exact.against_golden.equal
        wrong = off_reference + off_golden
        values |= {
            "checked": exact.samples,
            "mismatches_vs_reference": off_reference,
            "mismatches_vs_golden": off_golden,
            "teacher_forced_equal": first.teacher_forced.equal_share,
            "teacher_forced_within_one_step": first.teacher_forced.within_one_share,
            "end_to_end_equal": first.end_to_end.equal_share,
            "end_to_end_within_one_step": first.end_to_end.within_one_share,
            "onnxruntime_itself_equal": first.runtime_itself.equal_share,
            "onnxruntime_itself_within_one_step": first.runtime_itself.within_one_share,
            "sqnr_vs_onnxruntime_db": first.sqnr_vs_onnxruntime_db,
            "argmax_agreement": first.argmax_agreement,
        }
    if all(label is not None for label in labels):
        truth = np.concatenate([label for label in labels if label is not None])
        scores = next(iter(outputs.values())).reshape(len(truth), -1)
        values["top1"] = PERCENT * float(np.mean(scores.argmax(axis=1) == truth))
    if output is not None:
        from bitline.core.files import write_file
        from bitline.pipeline.contents import npz_bytes

        write_file(output, npz_bytes(outputs))
        values["output"] = str(output)
    answer("run", values, json=json, text=_text(values))
    if wrong:
        show_diagnostics([])
        context.exit(1)


def _text(values: dict[str, object]) -> str:
    lines = [f"{values['samples']} samples in {values['inference_seconds']:.2f} s"]
    if values["checked"]:
        lines.append(
            f"checked {values['checked']}: {values['mismatches_vs_reference']} values differ from the reference, "
            f"{values['mismatches_vs_golden']} from golden.onnx"
        )
        lines.append(
            f"kernel by kernel against ONNX Runtime: {100 * float(str(values['teacher_forced_equal'])):.4f} % equal, "
            f"{100 * float(str(values['teacher_forced_within_one_step'])):.4f} % within one step"
        )
        lines.append(
            f"end to end: {100 * float(str(values['end_to_end_equal'])):.2f} % equal "
            f"(ONNX Runtime optimised against itself: {100 * float(str(values['onnxruntime_itself_equal'])):.2f} %)"
        )
    if values["clipped_conversions"]:
        lines.append(f"{values['clipped_conversions']:,} of {values['conversions']:,} conversions clipped")
    if "top1" in values:
        lines.append(f"top-1 {values['top1']:.2f} %")
    if "output" in values:
        lines.append(f"outputs in {values['output']}")
    return "\n".join(lines)

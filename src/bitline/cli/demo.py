"""`bitline demo`: a network trained on handwritten digits, from ONNX file to verified program, on 200 digits it never
saw."""

from __future__ import annotations

from pathlib import Path

import click

from bitline.cli.answer import answer, say, show_diagnostics
from bitline.cli.options import json_option
from bitline.package import check_output

PREPROCESS = "mean=0.1307 std=0.3081"


@click.command("demo", help="Compile a small trained network, verify the program and run it on 200 unseen digits.")
@click.option("--target", default="reram-tile", show_default=True, help="A catalog name or a YAML file.")
@click.option(
    "-o",
    "output",
    default="bitline-out/demo",
    show_default=True,
    type=click.Path(path_type=Path),
    help="The package folder to write.",
)
@json_option
@click.pass_context
def command(context: click.Context, target: str, output: Path, json: bool) -> None:
    from bitline import api, examples
    from bitline.data.grammar import parse_preprocess
    from bitline.data.load import load_data
    from bitline.pipeline.contents import headline
    from bitline.quant.score import score

    output.parent.mkdir(parents=True, exist_ok=True)
    check_output(output)
    prepare = parse_preprocess(PREPROCESS)
    model = api.load(examples.path("mnist_cnn.onnx"))
    calibration = load_data(str(examples.path("mnist_calib_64.npz")), model, prepare)
    digits = load_data(str(examples.path("mnist_test_200.npz")), model, prepare)
    assert digits.labels is not None, "the example data have labels"
    say("compiling ...", quiet=json)
    package = api.compile(
        model, target=target, calib=calibration.feeds, labels={"calibration": calibration.remark}, output=output
    )
    say("verifying ...", quiet=json)
    verified = package.verify()
    say("simulating 200 digits ...", quiet=json)
    ran = package.run(digits.feeds, check_samples=3)
    assert ran.checked is not None, "three samples were to be checked"
    exact = ran.checked.exact
    wrong = exact.against_reference.values - exact.against_reference.equal
    wrong += exact.against_golden.values - exact.against_golden.equal
    scores = next(iter(ran.outputs.values())).reshape(ran.samples, -1)
    float_top1 = score(model, package.model, digits).top1_reference
    chip_top1 = 100.0 * float((scores.argmax(axis=1) == digits.labels).mean())
    checks = "all checks passed" if verified.ok else "CHECKS FAILED"
    show_diagnostics(verified.errors)
    lines = [
        headline(package.contents),
        f"  accuracy       {float_top1:.1f} % float, {chip_top1:.1f} % compiled, on {ran.samples} digits",
        f"  exactness      {checks}; {wrong} values differ from reference and golden.onnx",
        f"  report         {output / 'report.html'}",
    ]
    values = package.figures() | {
        "verified": verified.ok,
        "top1_float": float_top1,
        "top1": chip_top1,
        "samples": ran.samples,
        "simulate_seconds": ran.inference_seconds,
        "mismatches_vs_reference": exact.against_reference.values - exact.against_reference.equal,
        "mismatches_vs_golden": exact.against_golden.values - exact.against_golden.equal,
        "report": str(output / "report.html"),
    }
    answer("demo", values, json=json, text="\n".join(lines))
    if not verified.ok or wrong:
        context.exit(1)

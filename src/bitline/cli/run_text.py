"""What `bitline run` says: figures for programs, text for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bitline.api import merge_checked
from bitline.inference.answers import Answer, Classes
from bitline.report.names import printable

if TYPE_CHECKING:
    from bitline.api import RunResult
    from bitline.inference.files import FileResult

PERCENT = 100.0
MOST_LINES = 20
MOST_NAMES = 3


def figures(results: Sequence[FileResult[RunResult]]) -> dict[str, object]:
    """Numbers of all results together, which other programs rely on."""
    runs = [run for result in results for run in result.runs]
    inference = sum(result.inference_seconds for result in results)
    values: dict[str, object] = {
        "samples": sum(result.samples for result in results),
        "simulate_seconds": inference,
        "preprocess_seconds": sum(result.preprocess_seconds for result in results),
        "inference_seconds": inference,
        "postprocess_seconds": sum(result.postprocess_seconds for result in results),
        "instructions": sum(run.instructions for run in runs),
        "conversions": sum(run.conversions for run in runs),
        "clipped_conversions": sum(run.clipped for run in runs),
        "checked": 0,
    }
    checked = merge_checked([run.checked for run in runs if run.checked is not None])
    if checked is not None:
        exact = checked.exact
        values |= {
            "checked": exact.samples,
            "mismatches_vs_reference": exact.against_reference.values - exact.against_reference.equal,
            "mismatches_vs_golden": exact.against_golden.values - exact.against_golden.equal,
            "teacher_forced_equal": checked.teacher_forced.equal_share,
            "teacher_forced_within_one_step": checked.teacher_forced.within_one_share,
            "end_to_end_equal": checked.end_to_end.equal_share,
            "end_to_end_within_one_step": checked.end_to_end.within_one_share,
            "onnxruntime_itself_equal": checked.runtime_itself.equal_share,
            "onnxruntime_itself_within_one_step": checked.runtime_itself.within_one_share,
            "sqnr_vs_onnxruntime_db": checked.sqnr_vs_onnxruntime_db,
            "argmax_agreement": checked.argmax_agreement,
        }
    if (top1 := _top1(results)) is not None:
        values["top1"] = top1
    return values


def _top1(results: Sequence[FileResult[RunResult]]) -> float | None:
    """Percent of samples whose first output is their label, as one whole number, or is largest there; None where a
    sample has no label, and for several whole numbers."""
    hits = samples = 0
    for result in results:
        if result.labels is None:
            return None
        scores = next(iter(result.outputs.values())).reshape(result.samples, -1)
        whole = scores.dtype.kind == "b" or (scores.dtype.kind in "iu" and scores.dtype.itemsize > 2)
        if whole and scores.shape[1] > 1:
            return None
        hits += int(((scores[:, 0] if whole else scores.argmax(axis=1)) == result.labels).sum())
        samples += result.samples
    return PERCENT * hits / samples


def as_text(values: Mapping[str, Any], results: Sequence[FileResult[RunResult]], *, quiet: bool) -> str:
    """What a person reads. `quiet`: without a line for each sample, as a folder of results holds them."""
    lines = [] if quiet else _answer_lines(results)
    total = sum(float(values[f"{part}_seconds"]) for part in ("preprocess", "inference", "postprocess"))
    speed = f", {values['samples'] / total:.1f} a second" if total else ""
    of_files = f" of {values['files']} files" if values["files"] > 1 else ""
    lines.append(
        f"{values['samples']} samples{of_files} in {total:.2f} s{speed}: preprocessing "
        f"{values['preprocess_seconds']:.2f} s, inference {values['inference_seconds']:.2f} s, "
        f"postprocessing {values['postprocess_seconds']:.2f} s"
    )
    if values["checked"]:
        lines.append(
            f"checked {values['checked']}: {values['mismatches_vs_reference']} values differ from the reference, "
            f"{values['mismatches_vs_golden']} from golden.onnx"
        )
        lines.append(
            f"kernel by kernel against ONNX Runtime: {PERCENT * values['teacher_forced_equal']:.4f} % equal, "
            f"{PERCENT * values['teacher_forced_within_one_step']:.4f} % within one step"
        )
        lines.append(
            f"end to end: {PERCENT * values['end_to_end_equal']:.2f} % equal "
            f"(ONNX Runtime optimised against itself: {PERCENT * values['onnxruntime_itself_equal']:.2f} %)"
        )
    if values["clipped_conversions"]:
        lines.append(f"{values['clipped_conversions']:,} of {values['conversions']:,} conversions clipped")
    if "top1" in values:
        lines.append(f"top-1 {values['top1']:.2f} %")
    if "output" in values:
        lines.append(f"results in {values['output']}")
    return "\n".join(lines)


def _answer_lines(results: Sequence[FileResult[RunResult]]) -> list[str]:
    """A line for each of the first samples: its file and what was found."""
    rows: list[tuple[str, str]] = []
    for result in results:
        for sample, found in enumerate(result.answers):
            if found is not None:
                name = Path(result.file).name if result.source.path.name else result.file
                name = name if result.samples == 1 else f"{name} {sample}"
                rows.append((printable(name), printable(_in_words(found))))
    shown = rows[:MOST_LINES]
    width = min(40, max((len(name) for name, _ in shown), default=0))
    lines = [f"{name:{width}}  {said}" for name, said in shown]
    if len(rows) > len(shown):
        lines.append(f"... and {len(rows) - len(shown)} more; `-o DIR` keeps them all")
    return lines


def _in_words(found: Answer) -> str:
    if isinstance(found, Classes):
        return "   ".join(f"{p.title} {PERCENT * p.score:.1f} %" for p in found.best[:MOST_NAMES])
    boxes = found or ()
    named = [f"{b.label} {PERCENT * b.score:.0f} %" for b in sorted(boxes, key=lambda b: -b.score)[:MOST_NAMES]]
    count = "no box" if not boxes else "1 box" if len(boxes) == 1 else f"{len(boxes)} boxes"
    return f"{count}: {'   '.join(named)}" if named else count


def bad_files_text(results: Sequence[FileResult[RunResult]]) -> str:
    """The files that gave nothing and why, one a line."""
    bad = [result for result in results if result.errors]
    lines = [f"{len(bad)} of {len(results)} files gave no result:"]
    for result in bad:
        first, *others = result.errors
        more = f" (and {len(others)} more)" if others else ""
        lines.append(printable(f"  {result.file}: error[{first.code}]: {first.message}{more}"))
    return "\n".join(lines)

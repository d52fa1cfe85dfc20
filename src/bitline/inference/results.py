"""Results as files that other programs read: `results.csv`, `results.json`, `boxes.csv`."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any, Final

from bitline.core.diagnostics import Diagnostic
from bitline.core.escape import cell
from bitline.inference.answers import Box, Classes
from bitline.inference.files import FileResult

Results = Sequence[FileResult[Any]]

BOX_HEADER: Final = ("file", "sample", "x0", "y0", "x1", "y1", "label", "score")
_TIMES: Final = ("preprocess_seconds", "inference_seconds", "postprocess_seconds")


def results_csv(results: Results) -> str:
    """One line a sample: its file, its place in the file, the label it came with, its best classes or number of boxes,
    and times."""
    most = max((len(a.best) for r in results for a in r.answers if isinstance(a, Classes)), default=0)
    boxed = any(isinstance(answer, tuple) for r in results for answer in r.answers)
    labelled = any(r.labels is not None for r in results)
    header = ["file", "sample", *(["truth"] if labelled else []), *(["boxes"] if boxed else [])]
    for rank in range(1, most + 1):
        header += [f"class_{rank}", f"label_{rank}", f"score_{rank}"]
    rows: list[Sequence[object]] = [[*header, *_TIMES]]
    for result in results:
        for sample in range(result.samples):
            answer = result.answers[sample]
            row: list[object] = [cell(result.file), sample]
            row += ([""] if result.labels is None else [int(result.labels[sample])]) if labelled else []
            row += [len(answer) if isinstance(answer, tuple) else ""] if boxed else []
            best = answer.best if isinstance(answer, Classes) else ()
            for p in best:
                row += [p.number, cell(p.label), f"{p.score:.6g}"]
            row += [""] * (3 * (most - len(best)))
            rows.append([*row, *(f"{seconds:.6f}" for seconds in _times(result))])
    return _table(rows)


def boxes_csv(results: Results) -> str:
    """One line a box."""
    rows: list[Sequence[object]] = [BOX_HEADER]
    for result in results:
        for sample, answer in enumerate(result.answers):
            for b in answer if isinstance(answer, tuple) else ():
                corners = (f"{value:.2f}" for value in (b.x0, b.y0, b.x1, b.y1))
                rows.append((cell(result.file), sample, *corners, cell(b.label), f"{b.score:.6g}"))
    return _table(rows)


def samples_json(results: Results) -> list[dict[str, object]]:
    """One object a sample."""
    found: list[dict[str, object]] = []
    for result in results:
        for sample, answer in enumerate(result.answers):
            row: dict[str, object] = {"file": result.file, "sample": sample}
            if result.labels is not None:
                row["truth"] = int(result.labels[sample])
            if isinstance(answer, Classes):
                row["classes"] = [{"class": p.number, "label": p.label, "score": p.score} for p in answer.best]
            elif answer is not None:
                row["boxes"] = [_box(box) for box in answer]
            found.append(row | dict(zip(_TIMES, _times(result), strict=True)))
    return found


def bad_files_json(results: Iterable[FileResult[Any]]) -> list[dict[str, str]]:
    """Every finding about a file that gave no result."""
    return [_finding(result.file, d) for result in results for d in result.errors]


def _finding(file: str, d: Diagnostic) -> dict[str, str]:
    return {"file": file, "code": d.code, "message": d.message, "place": d.place, "help": d.help}


def _times(result: FileResult[Any]) -> tuple[float, float, float]:
    """The times of one sample: those of its file, shared out."""
    n = max(result.samples, 1)
    return result.preprocess_seconds / n, result.inference_seconds / n, result.postprocess_seconds / n


def _box(b: Box) -> dict[str, object]:
    return {"x0": b.x0, "y0": b.y0, "x1": b.x1, "y1": b.y1, "label": b.label, "score": b.score}


def _table(rows: Iterable[Sequence[object]]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue()

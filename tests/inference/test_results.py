"""Results as CSV and JSON: what was found, in the order of the files, and nothing that a spreadsheet would run."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest

from bitline.core.diagnostics import Diagnostic
from bitline.data.sources import Source
from bitline.inference.answers import Answer, Box, Classes, Prediction
from bitline.inference.files import FileResult
from bitline.inference.results import BOX_HEADER, Results, bad_files_json, boxes_csv, cell, results_csv, samples_json


def result(name: str, *answers: Answer, labels: list[int] | None = None) -> FileResult[None]:  # pyright: ignore[reportInvalidTypeArguments]
    return FileResult(
        source=Source(name=name, kind="image", path=Path(name)),
        samples=len(answers),
        outputs={},
        answers=answers,
        labels=None if labels is None else np.array(labels),
        preprocess_seconds=0.5,
        inference_seconds=1.0,
        postprocess_seconds=0.25,
    )


def classes(*pairs: tuple[int, str, float]) -> Classes:
    return Classes(best=tuple(Prediction(number=n, label=label, score=score) for n, label, score in pairs))


BOXES = (
    Box(x0=1, y0=2.5, x1=3, y1=4, label="cat, black", score=0.5),
    Box(x0=0, y0=0, x1=1, y1=1, label="=1+1", score=0.25),
)
RESULTS: Results = [
    result("a.png", classes((3, "cat", 0.75), (1, '=HYPERLINK("http://x")', 0.2))),
    result("@b.png", classes((0, "", 1.0)), classes((2, "-dog", 0.5), (0, "a\nb", -0.1)), labels=[0, 2]),
    result("c.png", BOXES),
    result("d.png", None),
    result("e.png", ()),
]


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_one_line_a_sample() -> None:
    found = rows(results_csv(RESULTS))
    assert [(row["file"], row["sample"]) for row in found] == [
        ("a.png", "0"),
        ("'@b.png", "0"),
        ("'@b.png", "1"),
        ("c.png", "0"),
        ("d.png", "0"),
        ("e.png", "0"),
    ]
    assert [row["truth"] for row in found] == ["", "0", "2", "", "", ""]
    assert [row["boxes"] for row in found] == ["", "", "", "2", "", "0"]
    assert (found[0]["class_1"], found[0]["label_1"], found[0]["score_1"]) == ("3", "cat", "0.75")
    assert (found[1]["class_2"], found[1]["label_2"], found[1]["score_2"]) == ("", "", "")
    assert found[2]["label_2"] == "a\\nb"
    assert (found[2]["inference_seconds"], found[0]["inference_seconds"]) == ("0.500000", "1.000000")


def test_columns_that_nobody_needs_are_left_out() -> None:
    header = results_csv(RESULTS[:1]).splitlines()[0]
    assert header.startswith("file,sample,class_1,label_1,score_1,class_2")
    assert "truth" not in header
    assert "boxes" not in header
    assert results_csv([]).splitlines() == ["file,sample,preprocess_seconds,inference_seconds,postprocess_seconds"]


@pytest.mark.parametrize("text", ["=1", "+1", "-1", "@SUM(A1)", " =1", "\t=1", "\r=1", "a\r=1", "a\n=1"])
def test_no_cell_is_a_formula(text: str) -> None:
    assert cell(text) == (f"'{text}" if text.isprintable() else repr(text)[1:-1])
    hostile = [
        result(text, classes((0, text, -1.0))),
        result(text, (Box(x0=-1, y0=0, x1=1, y1=1, label=text, score=1),)),
    ]
    for row in [*rows(results_csv(hostile)), *rows(boxes_csv(hostile))]:
        for key in ("file", "label", "label_1"):
            assert not row.get(key, "").startswith(("=", "+", "-", "@", "\t", "\r"))


def test_numbers_stay_numbers() -> None:
    assert cell("cat -1") == "cat -1"
    assert rows(results_csv([result("a", classes((0, "", -2.5)))]))[0]["score_1"] == "-2.5"


def test_one_line_a_box() -> None:
    text = boxes_csv(RESULTS)
    assert text.splitlines()[0] == ",".join(BOX_HEADER)
    found = rows(text)
    assert [(row["file"], row["label"]) for row in found] == [("c.png", "cat, black"), ("c.png", "'=1+1")]
    assert (found[0]["y0"], found[0]["score"]) == ("2.50", "0.5")


def test_json_holds_the_same() -> None:
    found = json.loads(json.dumps(samples_json(RESULTS), allow_nan=False))
    assert [row["sample"] for row in found] == [0, 0, 1, 0, 0, 0]
    assert found[0]["classes"][1] == {"class": 1, "label": '=HYPERLINK("http://x")', "score": 0.2}
    assert (found[1]["truth"], "truth" in found[0]) == (0, False)
    assert found[3]["boxes"][0] == {"x0": 1, "y0": 2.5, "x1": 3, "y1": 4, "label": "cat, black", "score": 0.5}
    assert {"classes", "boxes"} & set(found[4]) == set()
    assert found[5]["boxes"] == []


def test_every_finding_about_bad_files() -> None:
    faults = tuple(Diagnostic(code="BL0206", message=text, place="p", help="h") for text in ("one", "two"))
    bad = FileResult(source=RESULTS[0].source, outputs={}, errors=faults)  # pyright: ignore[reportUnknownVariableType]
    assert bad_files_json([*RESULTS, bad]) == [
        {"file": "a.png", "code": "BL0206", "message": text, "place": "p", "help": "h"} for text in ("one", "two")
    ]

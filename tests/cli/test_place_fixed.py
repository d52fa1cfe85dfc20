"""`bitline place --fixed`: what lies there already stays, is packed and cut around, and is checked."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path

import pytest

from tests.cli.invoke import bitline
from tests.cli.placing import SMALL, asked, verified


@pytest.mark.parametrize("form", ["json", "csv", "txt"])
def test_an_earlier_placement_stays(here: Path, form: str) -> None:
    target = "--target wtm2101"
    first = asked(f"g42.onnx {target} -o first.{form}")
    again = asked(f"g42.onnx {target} --fixed first.{form}")
    places = ("core_id", "w_row_start", "w_col_start", "rows", "cols")
    assert [[b[k] for k in places] for b in again["blocks"]] == [[b[k] for k in places] for b in first["blocks"]]
    beside = asked(f"g5.onnx {target} --fixed first.{form} -o both.json")
    assert beside["verified"]
    assert beside["pieces"] == 5
    assert beside["arrays_used"] == 1  # in what 42 blocks of 235 x 123 leave
    assert verified("both.json").status == 0


@pytest.mark.parametrize("form", ["json", "csv", "txt"])
def test_free_cuts_go_around_what_lies_there(here: Path, form: str) -> None:
    target = "--target wtm2101 --cuts free"
    first = asked(f"g42.onnx --target wtm2101 -o lies.{form}")
    beside = asked(f"g9.onnx {target} --fixed lies.{form} -o beside.json")
    assert (beside["arrays_used"], beside["lower_bound"], beside["verified"]) == (1, 1, True)
    assert beside["pieces"] == 9 + beside["row_cuts"] + beside["col_cuts"]
    taken = json.loads(Path("beside.json").read_text())["occupied"]
    assert [(o["w_row_start"], o["rows"], o["cols"]) for o in taken] == [
        (b["w_row_start"], b["rows"], b["cols"]) for b in first["blocks"]
    ]
    assert verified("beside.json").status == 0


@pytest.mark.parametrize("form", ["json", "csv"])
def test_a_free_cutting_stays_and_another_network_fills_it_up(here: Path, form: str) -> None:
    first = asked(f"g5.onnx {SMALL} --cuts free -o five.{form}")
    again = asked(f"g5.onnx {SMALL} --cuts free --fixed five.{form}")
    assert again["blocks"] == first["blocks"]
    assert (again["row_cuts"], again["col_cuts"]) == (first["row_cuts"], first["col_cuts"])
    both = asked(f"g9.onnx g5.onnx dw.onnx {SMALL} --cuts free --fixed five.{form} -o both.json")
    kept = [b for b in both["blocks"] if b["network"] == "g5.onnx"]
    assert [{**b, "index": 0} for b in kept] == [{**b, "index": 0} for b in first["blocks"]]
    assert verified("both.json").status == 0
    assert both["arrays_used"] <= both["lower_bound"] + 1


def test_the_contest_form_needs_no_sizes(here: Path) -> None:
    first = asked(f"g5.onnx {SMALL} -o blocks.csv")
    with Path("blocks.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    names = ("core_id", "index", "w_row_start", "w_col_start")
    Path("bare.csv").write_text("\n".join([",".join(names), *(",".join(r[n] for n in names) for r in reversed(rows))]))
    assert asked(f"g5.onnx {SMALL} --fixed bare.csv")["blocks"] == first["blocks"]
    Path("wrong.csv").write_text("core_id,index,w_row_start,w_col_start\n0,99,0,0\n")
    answer = bitline(f"place g5.onnx {SMALL} --fixed wrong.csv")
    assert answer.status == 5
    assert "block 99" in answer.err


def test_a_fixed_placement_that_overlaps_is_said(here: Path) -> None:
    Path("over.csv").write_text("core_id,index,w_row_start,w_col_start\n" + "\n".join(f"0,{i},0,0" for i in range(5)))
    answer = bitline(f"place g5.onnx {SMALL} --fixed over.csv")
    assert answer.status == 1
    assert "BL0501" in answer.err


def test_part_of_a_matrix_is_taken_cells(here: Path) -> None:
    """A block is missing in the file: its matrix is cut anew, beside what is left of it."""
    blocks = asked(f"g5.onnx {SMALL} --cuts free -o five.csv")["blocks"]
    parts = Counter(block["node"] for block in blocks)
    gone = next(block for block in blocks if parts[block["node"]] > 1)
    lines = Path("five.csv").read_text().splitlines()
    del lines[1 + gone["index"]]
    Path("four.csv").write_text("\n".join(lines))
    found = asked(f"g5.onnx {SMALL} --cuts free --fixed four.csv -o anew.json")
    placement = json.loads(Path("anew.json").read_text())
    assert placement["occupied"]
    assert {o["name"] for o in placement["occupied"]} == {gone["node"]}
    assert found["verified"]
    assert verified("anew.json").status == 0


@pytest.mark.parametrize("cuts", ["full", "free"])
@pytest.mark.parametrize("place", ["0,0,0,5,5,-1,1", "0,0,0,5,5,70,10", "0,-3,2000,5,5,0,1"])
def test_what_lies_nowhere_is_said(here: Path, cuts: str, place: str) -> None:
    head = "core_id,w_row_start,w_col_start,rows,cols,bias_start,bias_rows"
    Path("nowhere.csv").write_text(f"{head}\n{place}\n")
    answer = bitline(f"place g9.onnx --target wtm2101 --cuts {cuts} --fixed nowhere.csv")
    assert answer.status == 1
    assert "BL0501" in answer.err

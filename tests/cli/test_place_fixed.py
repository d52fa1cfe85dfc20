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
@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("0,0,0,5,5,-1,1", "bias rows -1..-1, but those of an array are 0..15"),
        ("0,0,0,5,5,70,10", "bias rows 70..79, but those of an array are 0..15"),
        ("0,-3,0,5,5,0,1", "rows -3..1, but those of an array are 0..1791"),
        ("0,0,890,5,7,0,1", "columns 890..896, but those of an array are 0..895"),
        ("0,0,0,0,5,0,1", "rows 0..-1 end before they start"),
        ("0,890,0,10,5,0,1", "rows 890..899 cross row 896"),
        ("-1,0,0,5,5,0,1", "array -1"),
    ],
)
def test_what_lies_nowhere_is_said(here: Path, cuts: str, place: str, said: str) -> None:
    head = "core_id,w_row_start,w_col_start,rows,cols,bias_start,bias_rows"
    Path("nowhere.csv").write_text(f"{head}\n{place}\n")
    answer = bitline(f"place g9.onnx --target wtm2101 --cuts {cuts} --fixed nowhere.csv")
    assert answer.status == 5
    assert "BL0205" in answer.err
    assert "nowhere.csv:2" in answer.err
    assert said in answer.err


@pytest.mark.parametrize(
    ("target", "line", "said"),
    [
        ("wtm2101", "100, 110, 0, 5, 0, 0, 1", "columns 100..110, but those of an array are 128..1023"),
        ("wtm2101", "1020, 1024, 0, 5, 0, 0, 1", "columns 1020..1024, but those of an array are 128..1023"),
        ("wtm2101", "130, 128, 0, 5, 0, 0, 1", "columns 130..128 end before they start"),
        ("wtm2101", "128, 130, 5, 4, 0, 0, 1", "rows 5..4 end before they start"),
        ("wtm2101", "128, 130, 0, 5, 0, 99, 128", "bias rows 0..99, but those of an array are 0..15"),
        ("wtm2101", "128, 130, 0, 5, -2, 3, 128", "bias rows -2..3, but those of an array are 0..15"),
        ("reram-tile", "0, 5, 0, 5, 0, 99, 128", "bias rows 0..99, but an array has none"),
    ],
)
def test_lines_of_a_layers_txt_are_refused_as_they_stand_there(here: Path, target: str, line: str, said: str) -> None:
    Path("lines.txt").write_text(f"\n{line}\n")
    answer = bitline(f"place g9.onnx --target {target} --fixed lines.txt")
    assert answer.status == 5
    assert "lines.txt:2" in answer.err
    assert said in answer.err
    assert "1099511627775" not in answer.err


def test_a_line_without_bias_may_end_before_it_starts_anywhere(here: Path) -> None:
    Path("lines.txt").write_text("128, 130, 0, 5, 40, 39, 1\n")
    assert asked("g9.onnx --target wtm2101 --fixed lines.txt")["verified"]


@pytest.mark.parametrize("form", ["json", "csv"])
def test_blocks_of_larger_arrays_are_refused(here: Path, form: str) -> None:
    first = asked(f"g5.onnx --target reram-tile -o larger.{form}")
    assert max(block["w_row_start"] + block["rows"] for block in first["blocks"]) > 32
    answer = bitline(f"place g5.onnx --target reram-tile --set array.rows=32 --fixed larger.{form}")
    assert answer.status == 5
    assert "larger.json" in answer.err or "larger.csv:2" in answer.err
    assert ("64 x 64" in answer.err and "32 x 64" in answer.err) or "those of an array are 0..31" in answer.err


def test_blocks_without_sizes_outside_the_array_are_refused(here: Path) -> None:
    Path("far.csv").write_text("core_id,index,w_row_start,w_col_start\n0,0,0,0\n0,1,30,0\n")
    answer = bitline(f"place g5.onnx {SMALL} --fixed far.csv")
    assert answer.status == 5
    assert "far.csv:3" in answer.err
    assert "rows 30..69, but those of an array are 0..63" in answer.err


def test_another_chip_with_the_same_arrays_takes_the_file(here: Path) -> None:
    asked("g5.onnx --target reram-tile -o same.json")
    found = asked(f"g5.onnx {SMALL} --fixed same.json")
    assert found["verified"]
    assert json.loads(Path("same.json").read_text())["target"] == "reram-tile"


def test_blocks_on_bad_columns_are_refused(here: Path) -> None:
    asked(f"g5.onnx {SMALL} -o good.csv")
    answer = bitline(f"place g5.onnx {SMALL} --bad-cols 7 --fixed good.csv")
    assert answer.status == 5
    assert "columns 0..39, of which 7..7 are bad" in answer.err


@pytest.mark.parametrize("change", [{"array": 10**60}, {"w_row_start": 10**60}, {"rows": -(10**60)}, {"bias_rows": -1}])
def test_numbers_beyond_all_measure_are_refused(here: Path, change: dict[str, int]) -> None:
    asked(f"g5.onnx {SMALL} -o wild.json")
    placement = json.loads(Path("wild.json").read_text())
    placement["blocks"][3] |= change
    Path("wild.json").write_text(json.dumps(placement))
    answer = bitline(f"place g5.onnx {SMALL} --fixed wild.json")
    assert answer.status == 5
    assert "wild.json: block 3" in answer.err
    assert len(answer.err) < 1000


def test_a_broken_file_says_what_makes_it_anew(here: Path) -> None:
    asked(f"g5.onnx {SMALL} -o broken.json")
    Path("broken.json").write_text(Path("broken.json").read_text()[:300])
    for words in (f"place g5.onnx {SMALL} --fixed broken.json", "verify broken.json"):
        answer = bitline(words)
        assert answer.status == 5
        assert "place the networks again" in answer.err
        assert "compile" not in answer.err


@pytest.mark.parametrize(
    "words",
    [
        "--objective interval --array-budget 30",
        "--objective latency --array-budget 30 --windows",
        "--depthwise-group 1",
        "--depthwise-group 5 --cuts balanced",
        "--depthwise-group auto --cuts free",
    ],
)
def test_copies_windows_and_groups_are_those_of_the_file(here: Path, words: str) -> None:
    cuts = words[words.index("--cuts") :] if "--cuts" in words else ""
    first = asked(f"dw.onnx g5.onnx {SMALL} {words} -o stated.json")
    assert any(layer["copies"] > 1 or layer["groups"] > layer["depthwise_group"] for layer in first["layers"])
    for other in ("", "--depthwise-group 2", "--depthwise-group auto"):
        again = asked(f"dw.onnx g5.onnx {SMALL} {cuts} {other} --fixed stated.json -o again.json")
        assert again["blocks"] == first["blocks"]
        assert again["layers"] == first["layers"]
        assert json.loads(Path("again.json").read_text())["occupied"] == []
        assert again["verified"]


def test_groups_of_what_does_not_lie_there_are_those_asked_for(here: Path) -> None:
    asked(f"g5.onnx {SMALL} -o stated.json")
    asked(f"dw.onnx {SMALL} --depthwise-group 7 -o seven.json")
    new = asked(f"g5.onnx dw.onnx {SMALL} --depthwise-group 4 --fixed stated.json")["layers"]
    assert [layer["depthwise_group"] for layer in new if layer["groups"] > 1] == [4]
    kept = asked(f"g5.onnx dw.onnx {SMALL} --depthwise-group 4 --fixed seven.json")["layers"]
    assert [layer["depthwise_group"] for layer in kept if layer["groups"] > 1] == [7]


def test_another_matrix_of_that_name_takes_nothing_from_the_file(here: Path) -> None:
    """A network changed its layers: what the file has of it is cells that are taken."""
    asked(f"dw.onnx {SMALL} --depthwise-group 1 -o old.json")
    placement = json.loads(Path("old.json").read_text())
    placement["matrices"][0]["matrix"]["rows"] += 1
    Path("old.json").write_text(json.dumps(placement))
    found = asked(f"dw.onnx {SMALL} --fixed old.json -o new.json")
    assert found["layers"][0]["depthwise_group"] > 1
    assert len(json.loads(Path("new.json").read_text())["occupied"]) == found["layers"][0]["groups"]


def test_more_copies_than_blocks_are_refused(here: Path) -> None:
    asked(f"dw.onnx {SMALL} -o copies.json")
    placement = json.loads(Path("copies.json").read_text())
    placement["matrices"][0]["copies"] = 10**12
    Path("copies.json").write_text(json.dumps(placement))
    answer = bitline(f"place dw.onnx {SMALL} --fixed copies.json")
    assert answer.status == 5
    assert "copies of 'depthwise.weights', but" in answer.err


@pytest.mark.parametrize("form", ["json", "csv"])
@pytest.mark.parametrize("cuts", ["full", "free"])
def test_two_networks_of_one_name_stay_apart(here: Path, form: str, cuts: str) -> None:
    Path("sub").mkdir(exist_ok=True)
    Path("sub/g5.onnx").write_bytes(Path("g9.onnx").read_bytes())
    words = f"g5.onnx sub/g5.onnx g5.onnx {SMALL} --cuts {cuts}"
    first = asked(f"{words} -o twins.{form}")
    assert {block["network"] for block in first["blocks"]} == {"g5.onnx", "g5.onnx (2)", "g5.onnx (3)"}
    again = asked(f"{words} --fixed twins.{form}")
    assert again["blocks"] == first["blocks"]
    assert again["verified"]


@pytest.mark.parametrize("cuts", ["full", "free"])
def test_bias_rows_are_those_of_the_file(here: Path, cuts: str) -> None:
    words = f"g5.onnx --target wtm2101 --cuts {cuts}"
    first = asked(f"{words} --bias-rows 3 -o biased.json -o biased.csv")
    for other in ("", "--bias-rows 0", "--bias-rows 16"):
        again = asked(f"{words} {other} --fixed biased.json")
        assert again["blocks"] == first["blocks"]
        assert again["verified"]
        answer = bitline(f"place {words} {other} --fixed biased.csv")
        assert answer.status == 5
        assert "biased.csv:2" in answer.err
        assert "the block has 3 bias rows, this run gives it" in answer.err
    assert asked(f"{words} --bias-rows 3 --fixed biased.csv")["blocks"] == first["blocks"]

"""`bitline place` as a user meets it: every option, every file, and `verify` of what it wrote."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.invoke import bitline
from tests.cli.placing import SMALL, asked, verified


def test_free_cuts_take_fewer_arrays_and_pass(here: Path) -> None:
    full, free = asked(f"g5.onnx {SMALL}"), asked(f"g5.onnx {SMALL} --cuts free -o free.json")
    assert (full["arrays_used"], full["lower_bound"], full["proof"]) == (5, 5, "bound")
    assert (free["arrays_used"], free["bound"], free["proof"]) == (2, "area", "bound")
    assert full["row_cuts"] == full["col_cuts"] == 0
    assert free["pieces"] == 5 + free["row_cuts"] + free["col_cuts"]
    assert full["verified"]
    assert free["verified"]
    assert verified("free.json").status == 0


def test_balanced_cuts_are_even(here: Path) -> None:
    found = asked(f"wide.onnx {SMALL} --cuts balanced")
    widths = {block["cols"] for block in found["blocks"]}
    assert max(widths) - min(widths) <= 1
    assert len(found["blocks"]) == -(-4264 // 64)


def test_48_layers_on_one_chip_only_with_row_cuts(here: Path) -> None:
    assert asked("g42.onnx --target wtm2101")["arrays_used"] == 1
    assert asked("g43.onnx --target wtm2101")["lower_bound"] == 2
    whole = asked("g48.onnx --target wtm2101")
    assert (whole["arrays_used"], whole["proof"], whole["fits_chip"]) == (2, "bound", False)
    assert whole["infeasible"]["unit"] == "arrays"
    cut = asked("g48.onnx --target wtm2101 --cuts free -o cut.json -o layers.txt")
    assert (cut["arrays_used"], cut["fits_chip"], cut["infeasible"]) == (1, True, None)
    assert cut["row_cuts"] > 0
    assert verified("cut.json").status == 0
    lines = [list(map(int, line.split(","))) for line in Path("layers.txt").read_text().splitlines()]
    assert len(lines) == cut["pieces"]
    assert min(line[0] for line in lines) >= 128
    assert not any(line[2] < 896 <= line[3] for line in lines)
    assert max(line[5] for line in lines) <= 15


def test_bias_rows_make_it_infeasible(here: Path) -> None:
    found = asked("wide.onnx --target wtm2101 --bias-rows 8 --array-budget 1", status=1)
    assert found["infeasible"]["unit"] == "bias rows x columns"
    assert found["infeasible"]["demand"] == 4264 * 8 > found["infeasible"]["capacity"] == 16 * 896
    assert "--bias-rows" in found["infeasible"]["levers"][0]
    assert sum(b["rows"] * b["cols"] for b in found["blocks"]) < 1792 * 896
    assert asked("wide.onnx --target wtm2101 --bias-rows 2")["infeasible"] is None


@pytest.mark.parametrize("cuts", ["full", "balanced", "free"])
def test_a_bias_beyond_all_rows_takes_them_all(here: Path, cuts: str) -> None:
    found = asked(f"heavy.onnx --target wtm2101 --cuts {cuts}")
    assert found["verified"]
    assert {block["bias_rows"] for block in found["blocks"]} == {16}


def test_a_mutated_file_is_rejected(here: Path) -> None:
    asked(f"g5.onnx {SMALL} --cuts free -o sound.json")
    text = Path("sound.json").read_text()
    placement = json.loads(text)
    placement["blocks"][0]["w_row_start"] += 1
    Path("moved.json").write_text(json.dumps(placement))
    answer = verified("moved.json")
    assert answer.status == 1
    assert "BL0501" in answer.err
    Path("cut.json").write_text(text[: len(text) // 2])
    assert verified("cut.json").status == 5
    assert verified("none.json").status == 5


def test_groups_layer_by_layer(here: Path) -> None:
    most = asked(f"dw.onnx {SMALL}")
    least = asked(f"dw.onnx {SMALL} --depthwise-group auto")
    assert least["arrays_used"] < most["arrays_used"]
    assert least["mvm_fires"] > most["mvm_fires"]
    assert asked(f"dw.onnx {SMALL} --depthwise-group 3")["layers"][0]["depthwise_group"] == 3
    budget = asked(f"dw.onnx {SMALL} --depthwise-group auto --array-budget {least['arrays_used'] + 1}")
    assert budget["arrays_used"] <= least["arrays_used"] + 1
    assert most["mvm_fires"] <= budget["mvm_fires"] <= least["mvm_fires"]


def test_a_trade_off_holds_only_points_worth_taking(here: Path) -> None:
    points = asked(f"dw.onnx {SMALL} --pareto")["pareto"]
    assert len(points) > 2
    figures = [(p["arrays_used"], p["mvm_fires"], p["interval"]) for p in points]
    assert len(set(figures)) == len(figures)
    for one in figures:
        assert not any(other != one and all(a <= b for a, b in zip(other, one, strict=True)) for other in figures)
    again = asked(f"dw.onnx {SMALL} {points[0]['options']}")
    assert (again["arrays_used"], again["mvm_fires"], again["interval"]) == figures[0]


def test_copies_and_windows_shorten_the_interval(here: Path) -> None:
    one = asked(f"dw.onnx {SMALL} --objective interval")
    budget = 4 * one["pieces"]
    copies = asked(f"dw.onnx {SMALL} --objective interval --array-budget {budget} -o copies.json")
    windows = asked(f"dw.onnx {SMALL} --objective interval --array-budget {budget} --windows -o windows.json")
    latency = asked(f"dw.onnx {SMALL} --objective latency --array-budget {budget}")
    assert windows["interval"] <= copies["interval"] < one["interval"]
    assert latency["latency"] <= copies["latency"]
    assert max(layer["copies"] for layer in copies["layers"]) > 1
    assert copies["arrays_used"] <= budget
    assert verified("copies.json").status == verified("windows.json").status == 0


def test_bad_columns_stay_empty(here: Path) -> None:
    found = asked(f"g5.onnx {SMALL} --bad-cols 50,10-11 -o bad.json")
    for block in found["blocks"]:
        columns = range(block["w_col_start"], block["w_col_start"] + block["cols"])
        assert not {10, 11, 50} & set(columns)
    assert verified("bad.json").status == 0


def test_two_networks_share_arrays(here: Path) -> None:
    found = asked(f"dw.onnx g5.onnx {SMALL} --cuts free -o two.json")
    assert {block["network"] for block in found["blocks"]} == {"dw.onnx", "g5.onnx"}
    assert verified("two.json").status == 0


def test_pictures_and_pages_are_written(here: Path) -> None:
    answer = bitline(f"place dw.onnx {SMALL} --pareto -o plan.svg -o plan.png -o plan.html -o plan.csv")
    assert answer.status == 0, answer.err
    assert Path("plan.svg").read_text().startswith("<svg")
    assert Path("plan.png").read_bytes().startswith(b"\x89PNG")
    assert "depthwise" in Path("plan.html").read_text()
    assert "trade-off" in answer.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--depthwise-group some", "--depthwise-group"),
        ("--depthwise-group 0", "group of 0"),
        ("--array-budget 0", "budget of 0"),
        ("--time-limit 0", "time limit"),
        ("--time-limit nan", "time limit of nan"),
        ("--time-limit inf", "time limit of inf"),
        ("--fixed g5.json --fixed g9.json", "--fixed is given 2 times"),
        ("--windows", "windows without a budget"),
        ("--bad-cols 64", "--bad-cols"),
        ("--bad-cols 9-3", "--bad-cols"),
        ("-o plan.pdf", "says no form"),
        ("-o out.txt", "layers.txt"),
        ("--fixed g5.onnx", "no placement"),
        ("--fixed blocks_without_sizes.csv --cuts free", "no sizes"),
        ("--fixed g5.onnx --objective interval", "packed around"),
        ("--fixed none.csv", "cannot read"),
        ("--fixed .", "it is a folder"),
        ("--bad-cols 0-63", "none is left"),
        ("--bias-rows 3", "has none"),
    ],
)
def test_what_does_not_go_together_is_said(here: Path, words: str, said: str) -> None:
    answer = bitline(f"place g5.onnx {SMALL} {words}")
    assert answer.status in (2, 5), answer.err
    assert said in answer.err
    assert "Traceback" not in answer.err


@pytest.mark.parametrize("cuts", ["full", "free"])
def test_arrays_without_a_good_column_are_refused(here: Path, cuts: str) -> None:
    answer = bitline(f"place g5.onnx --target reram-tile --cuts {cuts} --bad-cols 0-63")
    assert answer.status == 2
    assert "BL0101" in answer.err
    assert "all 64 columns" in answer.err


def test_no_more_bias_rows_than_an_array_has(here: Path) -> None:
    answer = bitline("place g5.onnx --target wtm2101 --bias-rows 17")
    assert answer.status == 2
    assert "--bias-rows 17, but an array of wtm2101 has 16" in answer.err
    assert {b["bias_rows"] for b in asked("g5.onnx --target wtm2101 --bias-rows 16")["blocks"]} == {16}


def test_nothing_is_written_where_one_form_does_not_suit(here: Path) -> None:
    answer = bitline("place g43.onnx --target wtm2101 -o half.json -o half.txt -o half.csv")
    assert answer.status == 2
    assert "a layers.txt tells of one array, these are 2" in answer.err
    assert not [*Path().glob("half.*")]


def test_utilisation_is_what_the_glossary_says(here: Path) -> None:
    found = asked(f"dw.onnx {SMALL} --bad-cols 3,60-62")
    cells = sum(block["rows"] * block["cols"] for block in found["blocks"])
    assert found["utilisation"] == cells / (found["arrays_used"] * 64 * 60)
    weights = sum(layer["rows"] * layer["cols"] // layer["groups"] for layer in found["layers"])
    assert weights < cells


def test_the_same_answer_again(here: Path) -> None:
    words = f"dw.onnx g5.onnx {SMALL} --cuts free --objective interval"
    first, second = asked(words), asked(words)
    assert {k: v for k, v in first.items() if k != "seconds"} == {k: v for k, v in second.items() if k != "seconds"}

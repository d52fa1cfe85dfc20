"""`bitline place` as a user meets it: every option, every file, and `verify` of what it wrote."""

from __future__ import annotations

import csv
import json
import os
import signal
import threading
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from bitline.pack.bounds import Bound
from bitline.pack.cutting_search import search_cuts
from bitline.pack.rectangles import Packing, pack
from bitline.place.free import cut_freely
from tests.cli.invoke import Answer, bitline
from tests.place.models import depthwise, gemms

SMALL = "--target sram-dcim --set array.rows=64 --set array.cols=64 --set array.group_rows=64"


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("place")
    gemms(folder / "g5.onnx", 5, 40, 40)
    gemms(folder / "g9.onnx", 9, 40, 45)
    gemms(folder / "g48.onnx", 48, 235, 123)
    gemms(folder / "g43.onnx", 43, 235, 123)
    gemms(folder / "g42.onnx", 42, 235, 123)
    gemms(folder / "wide.onnx", 1, 64, 4264)
    gemms(folder / "heavy.onnx", 3, 64, 300, bias=1e4)
    depthwise(folder / "dw.onnx", 96)
    return folder


@pytest.fixture
def here(models: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(models)
    return models


def asked(words: str, status: int = 0) -> dict[str, Any]:
    answer = bitline(f"place {words} --json")
    assert answer.status == status, answer.err
    said: dict[str, Any] = json.loads(answer.out)
    return said


def verified(file: str) -> Answer:
    return bitline(f"verify {file}")


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
        ("--windows", "windows without a budget"),
        ("--bad-cols 64", "--bad-cols"),
        ("--bad-cols 9-3", "--bad-cols"),
        ("-o plan.pdf", "says no form"),
        ("-o out.txt", "layers.txt"),
        ("--fixed g5.onnx", "no placement"),
        ("--fixed g5.onnx --cuts free", "packed around"),
        ("--fixed g5.onnx --objective interval", "packed around"),
        ("--fixed none.csv", "cannot read"),
    ],
)
def test_what_does_not_go_together_is_said(here: Path, words: str, said: str) -> None:
    answer = bitline(f"place g5.onnx {SMALL} {words}")
    assert answer.status in (2, 5), answer.err
    assert said in answer.err
    assert "Traceback" not in answer.err


def test_ctrl_c_keeps_the_best(here: Path) -> None:
    """An interrupt in the search ends it; the answer is what was found before."""

    def first_then_interrupt(sizes: list[tuple[int, int]], *, rows: int, cols: int, **_: object) -> Any:
        best: Packing | None = pack(sizes, rows=rows, cols=cols)
        yield best
        raise KeyboardInterrupt

    with (
        patch("bitline.pack.gap.packings", first_then_interrupt),
        patch("bitline.pack.gap.best_bound", return_value=Bound(value=1, which="area")),
        patch("bitline.pack.gap.scale_bound", return_value=Bound(value=1, which="area")),
    ):
        found = asked(f"g5.onnx {SMALL}")
    assert found["interrupted"]
    assert (found["arrays_used"], found["proof"]) == (5, "none")
    assert found["verified"]


@pytest.mark.parametrize("stage", ["cut_freely", "spread_over"])
def test_ctrl_c_elsewhere_keeps_what_was_there(here: Path, stage: str) -> None:
    with patch(f"bitline.place.solve.{stage}", side_effect=KeyboardInterrupt):
        found = asked(f"g5.onnx {SMALL} --cuts free --objective interval")
    assert found["interrupted"]
    assert found["verified"]
    assert found["arrays_used"] == (5 if stage == "cut_freely" else 2)


def test_the_full_cut_is_said_where_no_free_one_was_found(here: Path) -> None:
    with patch("bitline.place.solve.cut_freely", side_effect=KeyboardInterrupt):
        answer = bitline(f"place g5.onnx {SMALL} --cuts free")
    assert "interrupted: no free cutting was found yet, this is the full cut" in answer.out
    assert "no fewer hold the blocks of this cut" in answer.out


@pytest.mark.parametrize(("model", "call"), [("g9", 1), ("g9", 2), ("g9", 8), ("g48", 1), ("g48", 3)])
def test_ctrl_c_keeps_the_best_free_cutting(here: Path, model: str, call: int) -> None:
    """In the n-th call of the compiled search: nine layers fit at once, 48 do not fit yet."""
    calls = 0

    def interrupted(*given: Any) -> None:
        nonlocal calls
        calls += len(given[0]) > 2  # not of the two matrices that warm up
        if calls == call:
            os.kill(os.getpid(), signal.SIGINT)
        search_cuts(*given)

    with patch("bitline.pack.cutting_run.search_cuts", interrupted):
        found = asked(f"{model}.onnx {SMALL} --cuts free -o plan.json")
    assert found["interrupted"]
    assert found["verified"]
    assert json.loads(Path("plan.json").read_text())["cuts"] == "free"
    assert verified("plan.json").status == 0
    assert found["gap"] == found["arrays_used"] - found["lower_bound"]
    if model == "g9":
        assert (calls, found["arrays_used"], found["gap"]) == (call, 4, 0)
    else:
        assert calls < call + 12, "two calls for each further number of arrays"
        assert 339 == found["lower_bound"] < found["arrays_used"] < 345


@pytest.mark.parametrize("delay", [0.0, 0.0005, 0.005, 0.02, 0.1, 0.3, 0.8])
def test_ctrl_c_at_any_instant_of_free_cuts(here: Path, delay: float) -> None:
    """The search for 339 arrays would take half a minute. Before it begins there is the full cut into 384."""

    def soon(*given: Any) -> Any:
        timer = threading.Timer(delay, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        try:
            return cut_freely(*given)
        finally:
            timer.join()

    with patch("bitline.place.solve.cut_freely", soon):
        found = asked(f"g48.onnx {SMALL} --cuts free -o plan.json")
    assert found["interrupted"]
    assert verified("plan.json").status == 0
    assert found["arrays_used"] < 345 or (found["arrays_used"] == 384 and delay < 0.02)


def test_a_second_ctrl_c_ends_free_cuts_at_once(here: Path) -> None:
    def twice(*given: Any) -> None:
        if len(given[0]) > 2:
            os.kill(os.getpid(), signal.SIGINT)
        search_cuts(*given)

    with patch("bitline.pack.cutting_run.search_cuts", twice):
        found = asked(f"g48.onnx {SMALL} --cuts free")
    assert found["interrupted"]
    assert (found["arrays_used"], found["verified"]) == (384, True)


def test_a_time_limit_keeps_the_best_free_cutting(here: Path) -> None:
    found = asked(f"g48.onnx {SMALL} --cuts free --time-limit 0.01 -o plan.json")
    assert not found["interrupted"]
    assert 339 == found["lower_bound"] < found["arrays_used"] < 345
    assert verified("plan.json").status == 0


def test_the_same_answer_again(here: Path) -> None:
    words = f"dw.onnx g5.onnx {SMALL} --cuts free --objective interval"
    first, second = asked(words), asked(words)
    assert {k: v for k, v in first.items() if k != "seconds"} == {k: v for k, v in second.items() if k != "seconds"}

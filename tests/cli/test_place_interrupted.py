"""Ctrl-C and time limits of `bitline place`: there is an answer at any instant, and it says what it is."""

from __future__ import annotations

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
from tests.cli.invoke import bitline
from tests.cli.placing import SMALL, asked, verified


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

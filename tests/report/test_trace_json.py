"""Proves that the trace is one that Perfetto takes: named processes and threads, and no overlap within a thread."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import replace
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from bitline.core.canonical import dumps
from bitline.report.lanes import lanes
from bitline.report.trace import trace_json
from tests.report import synthetic

Events = list[dict[str, Any]]


def events(text: str) -> Events:
    return json.loads(text)["traceEvents"]


def test_spans_become_complete_events_in_microseconds() -> None:
    found = [e for e in events(trace_json(synthetic.trace(), synthetic.network())) if e["ph"] == "X"]
    assert len(found) == 6
    write = next(e for e in found if e["cat"] == "write")
    assert (write["name"], write["pid"], write["ts"], write["dur"]) == ("/conv2/Conv", 0, 2.0, 4.0)
    assert write["args"] == {
        "kernel": "conv2",
        "kind": "MatMul",
        "nodes": ["/conv2/Conv", "/conv2/Conv/Relu"],
        "busy_us": 3.6,
        "busy_share": 0.9,
        "instructions": 3,
    }
    assert next(e for e in found if e["cat"] == "dma_out")["name"] == "(no layer)"


def test_every_process_and_thread_has_a_name() -> None:
    found = events(trace_json(synthetic.trace(), synthetic.network()))
    names = {(e["pid"], e["tid"]): e["args"]["name"] for e in found if e["name"] == "thread_name"}
    used = {(e["pid"], e["tid"]) for e in found if e["ph"] == "X"}
    assert set(names) == used
    assert sorted(names.values()) == ["dma in", "dma out", "mvm", "mvm", "vector", "write"]
    assert {e["pid"]: e["args"]["name"] for e in found if e["name"] == "process_name"} == {0: "core 0", 1: "core 1"}


def test_text_is_canonical_and_keeps_hostile_names_whole() -> None:
    name = "</script>\u2028\x1b[31m"
    text = trace_json(synthetic.trace(), synthetic.network(name))
    assert dumps(json.loads(text)) == text
    assert name in {e["name"] for e in events(text)}


def test_layers_that_take_turns_get_threads_of_their_own() -> None:
    spans = tuple(synthetic.span(k, "mvm", 10 * k, 10 * k + 15, 5) for k in range(4))
    found = events(trace_json(replace(synthetic.trace(), spans=spans), synthetic.network()))
    by_thread: dict[int, list[tuple[float, float]]] = defaultdict(list)
    for e in found:
        if e["ph"] == "X":
            by_thread[e["tid"]].append((e["ts"], e["ts"] + e["dur"]))
    assert len(by_thread) == 2
    for intervals in by_thread.values():
        assert all(end <= start for (_, end), (start, _) in pairwise(intervals))
    assert {e["args"]["name"] for e in found if e["name"] == "thread_name"} == {"mvm", "mvm (2)"}


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 9)).map(lambda p: (p[0], p[0] + p[1])), max_size=25))
def test_lanes_are_free_of_overlap_and_as_few_as_possible(intervals: list[tuple[int, int]]) -> None:
    lane_of = lanes(intervals)
    for i, (start, end) in enumerate(intervals):
        for j in range(i):
            if lane_of[i] == lane_of[j]:
                assert end <= intervals[j][0] or intervals[j][1] <= start
    deepest = max((sum(a <= t < b for a, b in intervals) for t in range(40)), default=0)
    assert len(set(lane_of)) == deepest

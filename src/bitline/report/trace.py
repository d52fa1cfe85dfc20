"""The trace in the form of Chrome's trace viewer and Perfetto: a process per core, a thread per unit."""

from __future__ import annotations

from collections import defaultdict

from bitline.core.canonical import dumps
from bitline.ir.kernels import Network
from bitline.ir.program import UNITS
from bitline.ir.trace import Span, Trace
from bitline.report.lanes import lanes
from bitline.report.layers import PS_PER_US, busy_share, unit_order
from bitline.report.names import node_label, unit_label

Event = dict[str, str | int | float | dict[str, str | int | float | list[str]]]
LANES_PER_UNIT = 1000
"""Room for the thread numbers of one unit: complete events of one thread may not overlap."""


def _meta(core: int, thread: int, name: str, value: str | int) -> Event:
    return {
        "ph": "M",
        "pid": core,
        "tid": thread,
        "name": name,
        "args": {"sort_index" if name.endswith("sort_index") else "name": value},
    }


def _span(span: Span, thread: int, network: Network) -> Event:
    known = 0 <= span.kernel < len(network.kernels)
    kernel = network.kernels[span.kernel] if known else None
    duration = span.end_ps - span.start_ps
    return {
        "ph": "X",
        "pid": span.core,
        "tid": thread,
        "ts": span.start_ps / PS_PER_US,
        "dur": duration / PS_PER_US,
        "name": node_label(kernel) if kernel else "(no layer)",
        "cat": span.unit,
        "args": {
            "kernel": kernel.name if kernel else "",
            "kind": kernel.kind if kernel else "",
            "nodes": list(kernel.nodes) if kernel else [],
            "busy_us": span.busy_ps / PS_PER_US,
            "busy_share": busy_share(span),
            "instructions": span.instructions,
        },
    }


def trace_json(trace: Trace, network: Network) -> str:
    """Canonical JSON that Perfetto and chrome://tracing open; times in us from the start of the inference."""
    rows: dict[tuple[int, tuple[int, str]], list[Span]] = defaultdict(list)
    for span in trace.spans:
        rows[span.core, unit_order(span.unit)].append(span)
    extra = sorted({span.unit for span in trace.spans} - set(UNITS))
    first = {unit: 1 + LANES_PER_UNIT * i for i, unit in enumerate((*UNITS, *extra))}
    events: list[Event] = []
    for core in sorted({span.core for span in trace.spans}):
        events += [_meta(core, 0, "process_name", f"core {core}"), _meta(core, 0, "process_sort_index", core)]
    for core, (order, unit) in sorted(rows):
        spans = sorted(rows[core, (order, unit)], key=lambda s: (s.start_ps, s.end_ps, s.kernel))
        lane_of = lanes([(span.start_ps, span.end_ps) for span in spans])
        for lane in range(max(lane_of) + 1):
            thread = first[unit] + lane
            name = unit_label(unit) if lane == 0 else f"{unit_label(unit)} ({lane + 1})"
            events += [_meta(core, thread, "thread_name", name), _meta(core, thread, "thread_sort_index", thread)]
        events += [_span(span, first[unit] + lane, network) for span, lane in zip(spans, lane_of, strict=True)]
    facts = {"network": network.name, "latency_us": trace.latency_ps / PS_PER_US, "energy_nj": trace.energy_fj / 1e6}
    return dumps({"displayTimeUnit": "ns", "otherData": facts, "traceEvents": events})

"""Pipelines over a stream of inputs: the interval between results beside its bound and the latency of one input.

    python benchmarks/streams.py [--quick] [--json] [--shared FOLDER] [--inputs N]

The bound: no result can come sooner than the busiest unit of any core is done with one input, nor than the latency
divided by the inputs that are on their way at once. Calibrated on noise. `--quick`: the network of the examples alone.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from _table import Row, row, show

from bitline import api, examples
from bitline.data.load import load_data
from bitline.sim import timing
from tests import networks

NETWORKS = ("ds_cnn", "resnet18_224", "mobilenet_v2_224", "bert_tiny")
TARGETS = ("isaac", "puma", "pimcomp-128")
PS_PER_US = 1e6


def measure(name: str, path: Path, target: str, inputs: int) -> list[Row]:
    """Interval, bound and ratio of one network on one chip."""
    model = api.load(path)
    started = time.perf_counter()
    calib = load_data("random:2", model, None, None).feeds
    package = api.compile(model, target=target, calib=calib, stream=inputs)
    seconds = time.perf_counter() - started
    contents = package.contents
    trace = timing.trace(contents.chip, contents.program, len(contents.network.kernels), contents.schedule.window)
    busy: Counter[tuple[int, str]] = Counter()
    for span in trace.spans:
        busy[span.core, span.unit] += span.busy_ps
    bound = max(*busy.values(), trace.latency_ps / contents.schedule.window) / PS_PER_US
    interval, latency = trace.interval_ps / PS_PER_US, trace.latency_ps / PS_PER_US
    title = f"{name} on {target}"
    return [
        row(f"{title}: latency of one input", latency, "us"),
        row(f"{title}: interval of a stream", interval, "us"),
        row(f"{title}: bound of the interval", bound, "us"),
        row(f"{title}: interval / bound", interval / bound, ""),
        row(f"{title}: latency / interval", latency / interval, ""),
        row(f"{title}: compile and checks", seconds, "s"),
    ]


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--shared", type=Path, default=Path(__file__).resolve().parents[2] / "shared")
    parser.add_argument("--inputs", type=int, default=8)
    given = parser.parse_args()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        found = {"mnist_cnn": Path(str(examples.path("mnist_cnn.onnx")))}
        if given.shared.is_dir() and not given.quick:
            found |= {name: networks.filled(given.shared, name, Path(folder)).model for name in NETWORKS}
        for name, path in found.items():
            for target in TARGETS[:1] if given.quick else TARGETS:
                rows += measure(name, path, target, given.inputs)
                show(rows[-6:])
    if given.json:
        print(json.dumps({"rows": rows}))
    return 0


if __name__ == "__main__":
    sys.exit(main())

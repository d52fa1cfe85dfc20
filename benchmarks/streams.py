"""Pipelines over a stream of inputs: the interval between results beside its bound and the latency of one input.

    python benchmarks/streams.py [--quick] [--copies] [--json] [--shared FOLDER] [--inputs N]

The bound: no result can come sooner than the busiest unit of any core is done with one input, nor than the latency
divided by the inputs that are on their way at once. Calibrated on noise. `--quick`: the network of the examples alone.

`--copies`: ResNet-18 on ISAAC with arrays of 256 x 256, a stream of 32 inputs, under budgets of arrays for copies of
its layers, beside the products of the slowest one; each package verified from end to end.
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
from bitline.ir.kernels import MatMul
from bitline.ir.program import Mvm, Program, executions, with_stream_length
from bitline.quant.options import QuantOptions
from bitline.sim import timing
from bitline.target.costs import instruction_cost
from bitline.target.schema import Chip
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


WIDE = ("array.rows=256", "array.cols=256")
FAST = QuantOptions(method="minmax")
"""Time does not depend on ranges."""
ALONE = 201
"""Blocks of ResNet-18 in arrays of 256 x 256."""
TIMES = (1.25, 2.0, 4.0)


def measure_copies(
    name: str, path: Path, target: str, overrides: tuple[str, ...], budget: int | None, inputs: int
) -> list[Row]:
    """Interval under a budget of arrays beside the time of the slowest layer's products, and what bounds it."""
    model = api.load(path)
    calib = load_data("random:2", model, None, None).feeds
    package = api.compile(
        model, target=target, overrides=overrides, calib=calib, options=FAST, stream=inputs, array_budget=budget
    )
    contents = package.contents
    chip, program, window = contents.chip, contents.program, contents.schedule.window
    trace = timing.trace(chip, program, len(contents.network.kernels), window)
    busy: Counter[tuple[int, str]] = Counter()
    for span in trace.spans:
        busy[span.core, span.unit] += span.busy_ps
    (_, unit), longest = busy.most_common(1)[0]
    port, port_ps = busiest_port(chip, program)
    product_ps = max(
        instruction_cost(chip, program, i).duration_ps
        for queue in program.main
        for i in queue.code
        if isinstance(i, Mvm)
    )
    fires = max(
        -(-kernel.pixels // plan.copies)
        for kernel, plan in zip(contents.network.kernels, contents.schedule.kernels, strict=True)
        if isinstance(kernel, MatMul)
    )
    interval, latency = trace.interval_ps / PS_PER_US, trace.latency_ps / PS_PER_US
    arrays = len({(b.region.core, b.region.array) for b in contents.blocks})
    title = f"{name} on {target}, {arrays} arrays"
    slowest = fires * product_ps / PS_PER_US
    failed = sum(bool(check.errors) for check in package.verify().checks)
    return [
        row(f"{title}: interval of a stream", interval, "us", f"{fires} products of the slowest layer", slowest),
        row(f"{title}: interval in products", trace.interval_ps / product_ps, ""),
        row(f"{title}: latency of one input", latency, "us"),
        row(f"{title}: latency / inputs on their way", latency / window, "us"),
        row(f"{title}: busiest unit of a core, {unit}", longest / PS_PER_US, "us"),
        row(f"{title}: busiest memory, {port}", port_ps / PS_PER_US, "us"),
        row(f"{title}: checks that fail", failed, "", target="0", met=failed == 0),
    ]


def busiest_port(chip: Chip, program: Program) -> tuple[str, int]:
    """The memory that all cores share and that one input keeps busy longest, and for how many picoseconds."""
    one = with_stream_length(program, 1)
    taken: Counter[int] = Counter()
    for queue in one.main:
        for place, times in executions(queue, one.cores):
            cost = instruction_cost(chip, one, queue.code[place])
            if cost.port_space is not None:
                taken[cost.port_space] += times * cost.port_ps
    space, longest = taken.most_common(1)[0]
    return program.spaces[space].name, longest


def measure_budgets(shared: Path, folder: Path, inputs: int = 32) -> list[Row]:
    """ResNet-18 without copies and under every budget."""
    path = networks.filled(shared, "resnet18_224", folder).model
    rows: list[Row] = []
    for budget in (None, *(int(times * ALONE) for times in TIMES)):
        rows += measure_copies("resnet18_224", path, "isaac", WIDE, budget, inputs)
        show(rows[-7:])
    return rows


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--copies", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--shared", type=Path, default=Path(__file__).resolve().parents[2] / "shared")
    parser.add_argument("--inputs", type=int, default=8)
    given = parser.parse_args()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        if given.copies:
            rows += measure_budgets(given.shared, Path(folder))
        found = {} if given.copies else {"mnist_cnn": Path(str(examples.path("mnist_cnn.onnx")))}
        if given.shared.is_dir() and not given.quick and not given.copies:
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

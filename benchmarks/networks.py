"""Five networks on two chips: compiled, verified, run; exact, and as near to ONNX Runtime as that is to itself.

    python benchmarks/networks.py [--quick] [--json] [--shared FOLDER] [--accuracy]

The baseline of every agreement with ONNX Runtime is ONNX Runtime itself, optimised against unoptimised. `--accuracy`
also runs all 5,000 CIFAR-10 images of the shared folder through the simulator.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from _table import Row, row, show

from bitline import api
from bitline.quant.score import score
from tests import networks
from tests.networks import Source

NAMES = ("mnist_cnn", "resnet20_cifar10", "ds_cnn", "mobilenet_v2_224", "resnet18_224")
COMPILE_SECONDS, COMPILE_MB, INFERENCE_SECONDS, STATIC = 30.0, 2000.0, 5.0, 20_000


def source(name: str, shared: Path, folder: Path) -> Source:
    """Model and data of a network."""
    if name == "mnist_cnn":
        return networks.example()
    return networks.resnet20(shared) if name == "resnet20_cifar10" else networks.filled(shared, name, folder)


def measure(name: str, target: str, where: Source) -> list[Row]:
    """All figures of one network on one chip, in a process of its own."""
    title = f"{name} on {target}"
    model = api.load(where.model)
    calibration = networks.samples(where, "calib", model, 16)
    started = time.perf_counter()
    package = api.compile(model, target=target, calib=calibration.feeds)
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    figures = package.figures()
    data = networks.samples(where, "test", package.model, 2)
    one = {key: value[:1] for key, value in data.feeds.items()}
    ran = package.run(one, check_samples=1)
    assert ran.checked is not None
    verified = package.verify().ok
    exact, forced, ends = ran.checked.exact, ran.checked.teacher_forced, ran.checked.end_to_end
    itself = ran.checked.runtime_itself
    wrong = exact.against_reference.values - exact.against_reference.equal
    wrong_golden = exact.against_golden.values - exact.against_golden.equal

    def figure(key: str) -> float:
        value = figures[key]
        assert isinstance(value, int | float)
        return float(value)

    on_arrays = 100 * figure("macs_on_arrays") / figure("macs")
    again = package.run(one).inference_seconds
    rows = [
        row(f"{title}: verified", float(verified), "", target="1", met=verified),
        row(f"{title}: mismatches vs reference", wrong, "values", target="0", met=wrong == 0),
        row(f"{title}: mismatches vs golden", wrong_golden, "values", target="0", met=wrong_golden == 0),
        row(f"{title}: MACs on arrays", on_arrays, "%", target=">= 99", met=on_arrays >= 99),
        row(
            f"{title}: teacher-forced equal",
            100 * forced.equal_share,
            "%",
            target=">= 99.5" if target == "sram-dcim" else "",
            met=forced.equal_share >= 0.995 if target == "sram-dcim" else None,
        ),
        row(
            f"{title}: teacher-forced within one step",
            100 * forced.within_one_share,
            "%",
            target="100" if target == "sram-dcim" else "",
            met=forced.within_one_share == 1.0 if target == "sram-dcim" else None,
        ),
        row(f"{title}: end to end equal", 100 * ends.equal_share, "%", "ONNX Runtime itself", 100 * itself.equal_share),
        row(
            f"{title}: end to end within one step",
            100 * ends.within_one_share,
            "%",
            "ONNX Runtime itself",
            100 * itself.within_one_share,
        ),
        row(f"{title}: compile", seconds, "s", target=f"<= {COMPILE_SECONDS:g}", met=seconds <= COMPILE_SECONDS),
        row(f"{title}: compile peak memory", peak, "MB", target=f"<= {COMPILE_MB:g}", met=peak <= COMPILE_MB),
        row(
            f"{title}: first exact inference",
            ran.inference_seconds,
            "s",
            "a later one",
            again,
            target=f"<= {INFERENCE_SECONDS:g}" if target == "sram-dcim" else "",
            met=ran.inference_seconds <= INFERENCE_SECONDS if target == "sram-dcim" else None,
        ),
        row(
            f"{title}: instructions static",
            figure("instructions_static"),
            "",
            "executed",
            figure("instructions_executed"),
            target=f"<= {STATIC}" if name == "resnet18_224" else "",
            met=figure("instructions_static") <= STATIC if name == "resnet18_224" else None,
        ),
        row(f"{title}: latency", figure("latency_us"), "us"),
        row(f"{title}: energy", figure("energy_uj"), "uJ"),
    ]
    if figure("weight_updates_default"):
        default = figure("weight_updates_default")
        rows.append(row(f"{title}: weight updates", figure("weight_updates"), "blocks", "no reuse", default))
    return rows


def accuracy(shared: Path) -> list[Row]:
    """ResNet-20 on all 5,000 test images, in the simulator and in ONNX Runtime in float."""
    where = networks.resnet20(shared)
    model = api.load(where.model)
    package = api.compile(model, target="sram-dcim", calib=networks.samples(where, "calib", model, 256).feeds)
    images = networks.samples(where, "test", package.model, 5000)
    assert images.labels is not None
    ran = package.run(images.feeds)
    scores = ran.outputs["logits"].reshape(ran.samples, -1)
    top1 = 100 * float((scores.argmax(axis=1) == images.labels).mean())
    wanted = score(model, package.model, images).top1_reference
    assert wanted is not None
    met = abs(top1 - wanted) <= 0.7
    return [
        row("resnet20_cifar10, 5,000 images: top-1", top1, "%", "float", wanted, "within 0.7 points of float", met),
        row("resnet20_cifar10, 5,000 images: simulated", ran.inference_seconds, "s"),
    ]


def in_process(arguments: list[str]) -> list[Row]:
    """Run one measurement in a process of its own, so that its peak memory is its own."""
    done = subprocess.run([sys.executable, __file__, *arguments], stdout=subprocess.PIPE, text=True, check=True)
    rows: list[Row] = json.loads(done.stdout)
    return rows


def main() -> int:
    """Measure, print, and exit with 1 where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the shipped network only")
    parser.add_argument("--accuracy", action="store_true", help="also all 5,000 CIFAR-10 images")
    parser.add_argument("--json", action="store_true", help="one object on stdout")
    parser.add_argument("--shared", type=Path, default=Path(__file__).resolve().parents[2] / "shared")
    parser.add_argument("--one", nargs=2, metavar=("NETWORK", "TARGET"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        find: Callable[[str], Source] = lambda name: source(name, given.shared, Path(folder))  # noqa: E731
        if given.one:
            print(json.dumps(measure(given.one[0], given.one[1], find(given.one[0]))))
            return 0
        names = NAMES if not given.quick and given.shared.is_dir() else NAMES[:1]
        rows: list[Row] = []
        for name in names:
            for target in networks.TARGETS:
                rows += in_process(["--one", name, target, "--shared", str(given.shared)])
                show(rows[-15:])
        if given.accuracy:
            rows += accuracy(given.shared)
            show(rows[-2:])
    if given.json:
        print(json.dumps({"rows": rows}))
    return int(any(one["met"] is False for one in rows))


if __name__ == "__main__":
    sys.exit(main())

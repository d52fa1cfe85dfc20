"""Placements of networks: arrays beside their bounds, cuts, groups, loads, copies and windows, each one verified.

    python benchmarks/placement_networks.py [--quick] [--json] [--shared FOLDER]

Seconds are of the search, loading and compilation apart. Every placement passes `verify` before it counts. `--quick`:
the smallest network alone.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from _table import Row, row, show

from bitline import api
from bitline.data.load import load_data
from bitline.ir.kernels import MatMul
from bitline.ir.placement import Placement
from bitline.lower.kernels import Lowered
from bitline.pipeline import quantise, to_kernels
from bitline.pipeline.placing import Placed, place_networks
from bitline.place.figures import interval, least_interval, mvm_fires
from bitline.place.options import PlaceOptions
from bitline.place.windows import best_window, im2col
from bitline.quant.options import QuantOptions
from bitline.target.arrays import array_math
from bitline.target.load import load_target
from bitline.target.schema import Chip
from tests import networks
from tests.place.test_windows import RESNET18, VGG13

SIZES = ((1024, 896), (512, 512), (256, 256), (128, 128), (64, 64))
FIXED = (("resnet18_224",), ("yolov3_tiny_416",), ("dtln_1", "dtln_2"), ("ds_cnn",))
MOBILENET = ("mobilenet_v2_224",)
MOST_MOBILENET = (12, 28, 82, 266, 946)
"""Multistart MaxRects and what rectpack found in 98 runs, full cut."""
FAST_SECONDS = 0.05
LOAD_SLACK = 1.05


class Networks:
    """Networks lowered once, with the arithmetic of any arrays."""

    def __init__(self, shared: Path, folder: Path) -> None:
        self.shared, self.folder = shared, folder
        self.known: dict[str, Lowered] = {}

    def lowered(self, name: str) -> Lowered:
        if name not in self.known:
            source = networks.filled(self.shared, name, self.folder)
            model = api.load(source.model)
            samples = load_data("random:1", model, None, None).feeds
            quantised = quantise(model, samples, QuantOptions(method="minmax", layer_bits=8)).model
            self.known[name] = to_kernels(quantised, chip_of(1024, 896))
        return self.known[name]

    def placed(self, names: Sequence[str], rows: int, cols: int, options: PlaceOptions) -> Placed:
        """A placement that passed all checks."""
        chip = chip_of(rows, cols)
        found = place_networks([for_chip(self.lowered(n), chip) for n in names], chip, options)
        errors = [error for check in found.checks for error in check.errors]
        assert not errors, errors[0]
        return found


def chip_of(rows: int, cols: int) -> Chip:
    """Digital arrays of that size."""
    return load_target("sram-dcim", (f"array.rows={rows}", f"array.cols={cols}", f"array.group_rows={rows}"))


def for_chip(lowered: Lowered, chip: Chip) -> Lowered:
    """The same kernels with the arithmetic of other arrays."""
    kernels = tuple(
        replace(
            k,
            math=array_math(
                chip,
                rows=k.matrix.rows,
                cols=k.matrix.cols,
                groups=k.matrix.groups,
                signed_input=bool(k.math.input_offset),
            ),
        )
        if isinstance(k, MatMul)
        else k
        for k in lowered.network.kernels
    )
    return replace(lowered, network=replace(lowered.network, kernels=kernels))


def fixed_cuts(of: Networks, nets: Sequence[tuple[str, ...]]) -> Iterator[Row]:
    """Full and balanced cuts: how many are proved optimal, and the longest time."""
    proved, longest, count = 0, 0.0, 0
    for names in nets:
        for rows, cols in SIZES:
            for cuts in ("full", "balanced"):
                found = of.placed(names, rows, cols, PlaceOptions(cuts="full" if cuts == "full" else "balanced"))
                claim = found.placement.certificate
                proved, longest, count = proved + (claim.proof != "none"), max(longest, found.seconds), count + 1
                title = f"{'+'.join(names)} {rows}x{cols} {cuts}: arrays, proof {claim.proof} ({claim.bound})"
                yield row(title, claim.arrays_used, "arrays", "bound", claim.lower_bound)
    yield row("fixed cuts: proved optimal", proved, f"of {count}", target=f">= {count}", met=proved == count)
    yield row("fixed cuts: longest", longest, "s", target=f"<= {FAST_SECONDS}", met=longest <= FAST_SECONDS)


def mobilenet(of: Networks) -> Iterator[Row]:
    """The full cut, groups at maximum."""
    proved = 0
    for (rows, cols), most in zip(SIZES, MOST_MOBILENET, strict=True):
        found = of.placed(MOBILENET, rows, cols, PlaceOptions())
        claim = found.placement.certificate
        proved += claim.proof != "none"
        title = f"MobileNetV2 {rows}x{cols} full, {found.seconds:.2f} s: arrays, proof {claim.proof} ({claim.bound})"
        met = claim.arrays_used <= most
        yield row(title, claim.arrays_used, "arrays", "bound", claim.lower_bound, target=f"<= {most}", met=met)
    yield row("MobileNetV2 full: proved optimal", proved, "of 5", target=">= 1", met=proved >= 1)


def free_cuts(of: Networks, nets: Sequence[tuple[str, ...]]) -> Iterator[Row]:
    """Beside the cells of the uncut matrices at their group sizes."""
    worst = 0
    for names in nets:
        for rows, cols in SIZES:
            found = of.placed(names, rows, cols, PlaceOptions(cuts="free"))
            claim = found.placement.certificate
            area = -(-whole_cells(found.placement) // (rows * cols))
            worst = max(worst, claim.arrays_used - area)
            pieces = len(found.placement.blocks)
            title = f"{'+'.join(names)} {rows}x{cols} free, {found.seconds:.2f} s, {pieces} pieces: arrays"
            yield row(title, claim.arrays_used, "arrays", "cells of the bundles", area)
    yield row("free cuts: most above the area bound", worst, "arrays", target="<= 1", met=worst <= 1)


def whole_cells(placement: Placement) -> int:
    """Cells of all bundles before any cut."""
    total = 0
    for m in placement.matrices:
        whole, rest = divmod(m.matrix.groups, m.math.bundle)
        total += m.copies * (whole * m.math.bundle**2 + rest**2) * m.matrix.rows * m.matrix.cols
    return total


def groups(of: Networks) -> Iterator[Row]:
    """Firings for fewer arrays."""
    plain = mvm_fires(of.placed(MOBILENET, 1024, 896, PlaceOptions()).placement)
    for arrays, most in ((7, 12.5), (5, 62.0)):
        options = PlaceOptions(depthwise_group="auto", array_budget=arrays)
        found = of.placed(MOBILENET, 1024, 896, options).placement
        more = 100 * (mvm_fires(found) / plain - 1)
        used = found.certificate.arrays_used
        title = f"MobileNetV2 1024x896, groups layer by layer in {used} arrays: more firings"
        yield row(title, more, "%", target=f"<= {most} in {arrays}", met=more <= most and used <= arrays)


def loads(of: Networks, nets: Sequence[tuple[str, ...]]) -> Iterator[Row]:
    """The interval at the fewest arrays."""
    for names in nets:
        for rows, cols in SIZES[:2]:
            found = of.placed(names, rows, cols, PlaceOptions(objective="interval")).placement
            loads = [m.fires for m in found.matrices]
            goal = max(*loads, -(-mvm_fires(found) // found.certificate.arrays_used))
            least, _ = least_interval(found)
            title = (
                f"{'+'.join(names)} {rows}x{cols}, {found.certificate.arrays_used} arrays, at least {least}: interval"
            )
            met = interval(found) <= LOAD_SLACK * max(goal, least)
            yield row(title, interval(found), "MVMs", "largest layer or mean", goal, target="<= 1.05 x", met=met)


def budgets(of: Networks) -> Iterator[Row]:
    """Copies, and windows beside them."""
    for times, most in ((1.25, 837), (2.0, 286), (4.0, 112)):
        budget = int(times * 201)
        copied = PlaceOptions(objective="interval", array_budget=budget)
        plain = interval(of.placed(("resnet18_224",), 256, 256, copied).placement)
        wide = interval(of.placed(("resnet18_224",), 256, 256, replace(copied, windows=True)).placement)
        yield row(f"ResNet18 256x256, {budget} arrays: interval", plain, "MVMs", target=f"<= {most}", met=plain <= most)
        title = f"ResNet18 256x256, {budget} arrays, windows as well: interval"
        yield row(title, wide, "MVMs", "one pixel at a time", plain, target="<= 1 x", met=wide <= plain)


def shared_budgets(of: Networks) -> Iterator[Row]:
    """Copies where blocks share arrays, beside the mean of all arrays and beside no copies."""
    alone = of.placed(MOBILENET, 1024, 896, PlaceOptions(objective="interval")).placement
    largest, fires = max(m.fires for m in alone.matrices), mvm_fires(alone)
    for budget in (12, 20, 40, 80):
        copied = PlaceOptions(objective="interval", array_budget=budget)
        plain = interval(of.placed(MOBILENET, 1024, 896, copied).placement)
        wide = interval(of.placed(MOBILENET, 1024, 896, replace(copied, windows=True)).placement)
        title = f"MobileNetV2 1024x896, {budget} arrays: interval (largest layer {largest:,})"
        yield row(
            title, plain, "MVMs", "mean of all arrays", -(-fires // budget), target="< largest", met=plain < largest
        )
        title = f"MobileNetV2 1024x896, {budget} arrays, windows as well: interval"
        yield row(title, wide, "MVMs", "one pixel at a time", plain, target="<= 1 x", met=wide <= plain)


def published_windows() -> Iterator[Row]:
    """The tables of VW-SDK, arrays of 512 x 512."""
    for name, layers, total in (("ResNet18", RESNET18, 4294), ("VGG13", VGG13, 77102)):
        found = sum(best_window(layer, 512, 512).cycles for layer, _, _ in layers)
        rows = sum(best_window(layer, 512, 512).cycles == cycles for layer, _, cycles in layers)
        plain = sum(im2col(layer, 512, 512).cycles for layer, _, _ in layers)
        met = found == total and rows == len(layers)
        title = f"VW-SDK {name}: cycles, {rows} of {len(layers)} rows equal"
        yield row(title, found, "cycles", "im2col", plain, target=f"= {total}", met=met)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--shared", type=Path, default=Path(__file__).resolve().parents[2] / "shared")
    given = parser.parse_args()
    rows: list[Row] = list(published_windows())
    show(rows)
    if (given.shared / "models").is_dir():
        with tempfile.TemporaryDirectory() as folder:
            of = Networks(given.shared, Path(folder))
            small = (("ds_cnn",),)
            parts = (
                [fixed_cuts(of, small), free_cuts(of, small), loads(of, small)]
                if given.quick
                else [
                    fixed_cuts(of, FIXED),
                    mobilenet(of),
                    free_cuts(of, (*FIXED, MOBILENET)),
                    groups(of),
                    loads(of, (*FIXED, MOBILENET)),
                    budgets(of),
                    shared_budgets(of),
                ]
            )
            for part in parts:
                for one in part:
                    show([one])
                    rows.append(one)
    else:
        print(f"no models in {given.shared}", file=sys.stderr)
    if given.json:
        print(json.dumps({"rows": rows}))
    return 0


if __name__ == "__main__":
    sys.exit(main())

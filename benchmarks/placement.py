"""Public instances of two-dimensional bin packing: bins, proofs and time, beside best known results and rectpack.

    python benchmarks/placement.py [--quick] [--json] [--shared FOLDER] [--instances FILE] [--seconds S]

A list of `{"name", "class", "n", "bin": [W, H], "items": [[w, h], ...]}`, items not turned; by default the Berkey-Wang
classes 1-6 of the shared folder. Search, bounds and proofs of an instance take at most `--seconds` (1) together, on one
core, compilation cached and solver loaded before. Every packing is painted cell by cell before it counts. Best known
results are shown where the instances are those that they are known of. `--quick`: every tenth instance.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from _table import Row, row, show

from bitline.pack.bounds import area_bound
from bitline.pack.gap import Found, narrow
from bitline.pack.maxrects import SHORT_SIDE, first_fit

BINS_IN_A_SECOND, BINS_IN_A_MINUTE = 2947, 2941
PROVED_PERCENT = 85.0
DECODE_RATIO = 300.0
REPEATS = 1000  # of our decoder, which is too fast for the clock and runs as often in any search
START_UP = """
import time, numpy, numba
started = time.perf_counter()
from bitline.pack.rectangles import pack
pack([(2, 3)] * 5, rows=5, cols=5, steps=1)
print(time.perf_counter() - started)
"""
START_SECONDS = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """Pieces as (rows, cols) for bins of `rows` x `cols`."""

    name: str
    kind: int
    size: int
    rows: int
    cols: int
    pieces: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Solved:
    """What came of an instance, and the seconds that it took."""

    found: Found
    seconds: float


def read(path: Path) -> list[Instance]:
    """Widths become columns."""
    return [
        Instance(
            name=one["name"],
            kind=one["class"],
            size=one["n"],
            rows=one["bin"][1],
            cols=one["bin"][0],
            pieces=tuple((height, width) for width, height in one["items"]),
        )
        for one in json.loads(path.read_text())
    ]


def best_known(path: Path, instances: Sequence[Instance]) -> Counter[int]:
    """By class; empty unless these are the instances: as many of each class and size, with the same area bounds."""
    if not path.exists():
        return Counter()
    table = json.loads(path.read_text())
    areas: Counter[tuple[str, str]] = Counter()
    for one in instances:
        areas[str(one.kind), str(one.size)] += area_bound(one.pieces, one.rows, one.cols)
    known = {(kind, size): bound for kind, sizes in table["area_bound"].items() for size, bound in sizes.items()}
    if known != areas:
        return Counter()
    return Counter({int(kind): sum(sizes.values()) for kind, sizes in table["best_known"].items()})


def solve(instance: Instance, seconds: float) -> Solved:
    """The last answer within the time."""
    started = time.perf_counter()
    found: Found | None = None
    for found in narrow(instance.pieces, rows=instance.rows, cols=instance.cols, seconds=seconds):  # noqa: B007
        pass
    assert found is not None, "there is an answer at once"
    spent = time.perf_counter() - started
    paint(instance, found)
    return Solved(found=found, seconds=spent)


def paint(instance: Instance, found: Found) -> None:
    """Every piece within its bin, no cell painted twice, no more bins than said."""
    packing = found.packing
    cells = np.zeros((packing.bins, instance.rows, instance.cols), dtype=np.int64)
    spots = zip(instance.pieces, packing.bin_of, packing.row_start, packing.col_start, strict=True)
    for (height, width), number, r, c in spots:
        if min(r, c) < 0 or r + height > instance.rows or c + width > instance.cols:
            raise SystemExit(f"{instance.name}: a piece lies across the border")
        cells[number, r : r + height, c : c + width] += 1
    if cells.max(initial=0) > 1 or found.least > packing.bins:
        raise SystemExit(f"{instance.name}: pieces overlap, or the bound is above the bins")


def sums(instances: Sequence[Instance], solved: Sequence[Solved], known: Counter[int], seconds: float) -> list[Row]:
    """Bins, bounds, proofs and times of all instances."""
    bins: Counter[int] = Counter()
    for instance, one in zip(instances, solved, strict=True):
        bins[instance.kind] += one.found.packing.bins
    most = BINS_IN_A_MINUTE if seconds >= 60 else BINS_IN_A_SECOND
    share = 100 * sum(one.found.optimal for one in solved) / len(solved)
    name = "best known" if known else ""
    rows = [
        row(
            "sum of bins",
            bins.total(),
            "bins",
            name,
            known.total() if known else None,
            f"<= {most}" if known else "",
            bins.total() <= most if known else None,
        ),
        row("sum of lower bounds", sum(one.found.least for one in solved), "bins"),
        row("proved optimal", share, "%", target=f">= {PROVED_PERCENT:g}", met=share >= PROVED_PERCENT),
    ]
    for proof, count in sorted(Counter(one.found.proof for one in solved if one.found.optimal).items()):
        rows.append(row(f"proved optimal by: {proof}", count, ""))
    for kind in sorted(bins):
        rows.append(row(f"class {kind}: sum of bins", bins[kind], "bins", name, known[kind] if known else None))
    longest = max(one.seconds for one in solved)
    rows.append(row("mean time of an instance", sum(one.seconds for one in solved) / len(solved), "s"))
    # a slice of the search, or the last call of the solver, may end a little after the time
    rows.append(
        row("longest time of an instance", longest, "s", target=f"<= {seconds:g} + 5 %", met=longest <= 1.05 * seconds)
    )
    return rows


def against_rectpack(instances: Sequence[Instance], solved: Sequence[Solved]) -> list[Row]:
    """Best of its four MaxRects rules, seven sort orders and two bin rules, beside our answer in the time given."""
    import rectpack

    rules = (rectpack.MaxRectsBl, rectpack.MaxRectsBssf, rectpack.MaxRectsBaf, rectpack.MaxRectsBlsf)
    orders = (
        *(rectpack.SORT_AREA, rectpack.SORT_PERI, rectpack.SORT_DIFF, rectpack.SORT_SSIDE),
        *(rectpack.SORT_LSIDE, rectpack.SORT_RATIO, rectpack.SORT_NONE),
    )
    choices = (rectpack.PackingBin.BFF, rectpack.PackingBin.BBF)
    peer, above = 0, 0
    for instance, one in zip(instances, solved, strict=True):
        best = min(run_rectpack(instance, *options)[0] for options in product(rules, orders, choices))
        peer += best
        above += one.found.packing.bins > best
    return [
        row("instances above rectpack's best of 56", above, "", target="0", met=above == 0),
        row("rectpack, best of 56: sum of bins", peer, "bins"),
    ]


def run_rectpack(instance: Instance, rule: Any, order: Any, choice: int) -> tuple[int, float]:
    """(bins, seconds) of one run."""
    import rectpack

    packer: Any = rectpack.newPacker(
        mode=rectpack.PackingMode.Offline, bin_algo=choice, pack_algo=rule, sort_algo=order, rotation=False
    )
    for height, width in instance.pieces:
        packer.add_rect(width, height)
    packer.add_bin(instance.cols, instance.rows, count=len(instance.pieces))
    started = time.perf_counter()
    packer.pack()
    return len(packer), time.perf_counter() - started


def decoding(instances: Sequence[Instance]) -> list[Row]:
    """The same pieces in the same order by the same rule, first fit: our decoder beside one run of rectpack."""
    import rectpack

    ours = peer = 0.0
    largest = max(instance.size for instance in instances)
    for instance in (one for one in instances if one.size == largest):
        sizes = np.asarray(instance.pieces, dtype=np.int64)
        order = np.argsort(-sizes[:, 0] * sizes[:, 1], kind="stable").astype(np.int64)
        positions = np.zeros((len(sizes), 3), dtype=np.int64)
        started = time.perf_counter()
        for _ in range(REPEATS):
            first_fit(order, sizes, instance.rows, instance.cols, SHORT_SIDE, len(sizes), positions)
        ours += (time.perf_counter() - started) / REPEATS
        peer += run_rectpack(instance, rectpack.MaxRectsBssf, rectpack.SORT_AREA, rectpack.PackingBin.BFF)[1]
    title = f"decoding of {largest} pieces: rectpack / ours"
    return [
        row("decoding: time of ours, all instances of a size", ours, "s", "rectpack", peer),
        row(title, peer / ours, "times", target=f">= {DECODE_RATIO:g}", met=peer / ours >= DECODE_RATIO),
    ]


def starting() -> list[Row]:
    """A second process that packs five pieces, compilation cached by the first: all of it, and without what Python,
    numpy and numba themselves take to start."""
    spent = own = 0.0
    for _ in range(2):
        started = time.perf_counter()
        said = subprocess.run([sys.executable, "-c", START_UP], check=True, capture_output=True, text=True)
        spent, own = time.perf_counter() - started, float(said.stdout)
    target = f"<= {START_SECONDS}"
    return [
        row("second process, with one search, Python, numpy and numba included", spent, "s"),
        row("start-up of the packer in a second process", own, "s", target=target, met=own <= START_SECONDS),
    ]


def warm_up() -> None:
    """Load the solver, compile or load the search."""
    from bitline.pack.prove import prove
    from bitline.pack.rectangles import pack
    from bitline.pack.scales import scale_bound

    pieces = [(3, 1), (1, 3), (1, 3), (3, 2)]
    pack(pieces, rows=4, cols=4, steps=10)
    prove(pieces, rows=4, cols=4, bins=1)
    scale_bound(pieces, 4, 4)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--shared", type=Path, default=Path(__file__).resolve().parents[2] / "shared")
    parser.add_argument("--instances", type=Path)
    parser.add_argument("--seconds", type=float, default=1.0)
    given = parser.parse_args()
    path = given.instances or given.shared / "data/bin_packing_2d/berkey_wang_1_6.json"
    rows = starting()
    show(rows)
    if path.exists():
        instances = read(path)[:: 10 if given.quick else 1]
        known = best_known(path.with_name("best_known.json"), instances)
        warm_up()
        solved = [solve(instance, given.seconds) for instance in instances]
        groups = [sums(instances, solved, known, given.seconds)]
        if find_spec("rectpack") is not None:
            groups += [against_rectpack(instances, solved), decoding(instances)]
        for group in groups:
            show(group)
            rows += group
    else:
        print(f"no instances at {path}", file=sys.stderr)
    if given.json:
        print(json.dumps({"rows": rows}))
    return 0


if __name__ == "__main__":
    sys.exit(main())

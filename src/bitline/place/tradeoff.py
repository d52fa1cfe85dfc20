"""The trade-off that a user picks a point of: arrays against firings against the interval of a pipeline.

Fewer arrays cost firings, where grouped convolutions lie in smaller blocks; more arrays take copies of layers and
shorten the interval. Every point is a placement that was made, and says with which options it is made again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from bitline.core.progress import SILENT, Progress
from bitline.ir.placement import ArrayShape, PlacedMatrix, Proof
from bitline.place.arrays import fewest_arrays
from bitline.place.blocks import cut_all, fitted
from bitline.place.figures import interval, mvm_fires
from bitline.place.groups import mixtures
from bitline.place.mapping import Sliding
from bitline.place.options import PlaceOptions
from bitline.place.regroup import regrouped
from bitline.place.solve import Solved, solve
from bitline.target.schema import Chip

MOST_POINTS = 12
"""On the way down to the fewest arrays, and on the way up to the most copies."""
MOST_TIMES = 4
"""Times the blocks of one copy of everything: the largest budget of arrays for copies."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A placement in figures, and the options that make it."""

    arrays_used: int
    lower_bound: int
    proof: Proof
    mvm_fires: int
    interval: int
    options: str


def tradeoff(
    matrices: Sequence[PlacedMatrix],
    layers: Sequence[Sliding | None],
    shape: ArrayShape,
    options: PlaceOptions,
    chip: Chip,
    progress: Progress = SILENT,
) -> tuple[Point, ...]:
    """Placements none of which is as good as another in arrays, firings and interval; fewest arrays first."""
    fast = replace(options, objective="interval", array_budget=None, depthwise_group="max", windows=False)

    def made(these: PlaceOptions) -> Solved:
        return solve(matrices, layers, shape, these, chip)

    plain = made(fast)
    asked = [(plain, _words(fast))]
    most = plain.placement.certificate.arrays_used
    budgets: list[PlaceOptions] = []
    if any(m.matrix.groups > 1 for m in matrices):
        cut = cut_all(regrouped([fitted(m, shape) for m in matrices], mixtures(matrices)[-1]), shape)
        least = fewest_arrays(cut.blocks, shape, replace(fast, objective="arrays"), {}, ()).certificate.arrays_used
        budgets += [replace(fast, depthwise_group="auto", array_budget=n) for n in _between(least, most)]
    blocks = len(plain.placement.blocks)
    budgets += [replace(fast, array_budget=n, windows=options.windows) for n in _between(most, MOST_TIMES * blocks)]
    progress.stage("trade-off", len(budgets))
    for these in budgets:
        asked.append((made(these), _words(these)))
        progress.advance()
    found: dict[tuple[int, int, int], Point] = {}
    for solved, words in asked:
        point = _point(solved, words)
        found.setdefault(_figures(point), point)
    return tuple(found[mine] for mine in sorted(found) if not any(_beats(other, mine) for other in found))


def _between(least: int, most: int) -> list[int]:
    """Numbers of arrays from `least` to `most`, not all where there are many."""
    if most - least < MOST_POINTS:
        return list(range(least, most + 1))
    ratio = (most / least) ** (1 / (MOST_POINTS - 1))
    return sorted({round(least * ratio**i) for i in range(MOST_POINTS)})


def _words(options: PlaceOptions) -> str:
    words = ["--objective interval"]
    if options.cuts != "full":
        words.append(f"--cuts {options.cuts}")
    if options.depthwise_group != "max":
        words.append(f"--depthwise-group {options.depthwise_group}")
    if options.array_budget is not None:
        words.append(f"--array-budget {options.array_budget}")
    if options.windows:
        words.append("--windows")
    return " ".join(words)


def _point(solved: Solved, words: str) -> Point:
    certificate = solved.placement.certificate
    return Point(
        arrays_used=certificate.arrays_used,
        lower_bound=certificate.lower_bound,
        proof=certificate.proof,
        mvm_fires=mvm_fires(solved.placement),
        interval=interval(solved.placement),
        options=words,
    )


def _figures(point: Point) -> tuple[int, int, int]:
    return point.arrays_used, point.mvm_fires, point.interval


def _beats(one: tuple[int, int, int], other: tuple[int, int, int]) -> bool:
    return one != other and all(a <= b for a, b in zip(one, other, strict=True))

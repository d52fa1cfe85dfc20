"""What a terminal shows of a placement: how few arrays, how full, how fast, and how far from the best possible."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from bitline.ir.placement import Placement
from bitline.report.figures import Json

MOST_ARRAYS = 20
"""More arrays than this are counted, not listed."""
BOUNDS: dict[str, str] = {
    "area": "their cells alone fill as many",
    "dff": "dual-feasible functions of their sizes",
    "scale": "a scale made for their sizes",
    "clique": "so many of which no two share an array",
    "bias": "bias rows",
    "occupied": "what lies there already",
    "solver": "exhaustive search",
}
"""Which bound says so, in words; others by their names."""


def placement_text(placement: Placement, values: Mapping[str, Json]) -> str:
    """The answer of `bitline place`, from its values."""
    shape, claim = placement.shape, placement.certificate
    noun = "array" if claim.arrays_used == 1 else "arrays"
    bias = f" and {shape.bias_rows} bias rows" if shape.bias_rows else ""
    lines = [
        f"{claim.arrays_used:,} {noun} of {shape.rows}x{shape.cols}{bias}: {_proof(placement)}",
        f"{values['pieces']:,} blocks, {100 * _float(values['utilisation']):.1f} % of the cells, "
        f"{values['row_cuts']:,} row cuts, {values['col_cuts']:,} column cuts",
        f"{values['mvm_fires']:,} MVM firings an inference, {values['interval']:,} on the busiest array "
        f"(at least {values['interval_bound']:,}: {values['interval_why']})",
    ]
    mapped = [m for m in placement.matrices if m.copies > 1 or m.window != (1, 1)]
    if mapped:
        lines.append(f"copies and windows of {len(mapped)} layers, {values['latency']:,} firings one after another:")
        lines += [
            f"  {m.nodes[0] if m.nodes else m.matrix.name}: {_mapping(m.copies, m.window)}, fires {m.fires:,} times"
            for m in mapped
        ]
    if values["interrupted"]:
        early = values["cuts"] == "free" and placement.cuts != "free"
        what = "no free cutting was found yet, this is the full cut" if early else "this is the best so far"
        lines.append(f"interrupted: {what}")
    lines += _infeasible(values["infeasible"], budget=values["array_budget"] is not None)
    lines += _arrays(placement)
    points = values["pareto"]
    if isinstance(points, list) and len(points) > 1:
        lines += _points(points)
    return "\n".join(lines)


def _proof(placement: Placement) -> str:
    claim = placement.certificate
    why = BOUNDS.get(claim.bound, claim.bound)
    if claim.proof == "none":
        return f"at least {claim.lower_bound:,} are needed ({why}), gap {claim.arrays_used - claim.lower_bound:,}"
    of = "however they are cut" if placement.cuts == "free" else "of this cut"
    return f"no fewer hold the blocks {of} ({'exhaustive search' if claim.proof == 'solver' else why})"


def _mapping(copies: int, window: tuple[int, int]) -> str:
    pixels = "" if window == (1, 1) else f"{window[0]}x{window[1]} pixels at once"
    times = f"{copies} copies" if copies > 1 else ""
    return ", ".join(part for part in (pixels, times) if part)


def _infeasible(reason: Json, *, budget: bool) -> list[str]:
    if not isinstance(reason, dict):
        return []
    levers = reason["levers"]
    assert isinstance(levers, list)
    capacity, demand = int(_float(reason["capacity"])), int(_float(reason["demand"]))
    what = "infeasible" if budget else "more than the chip holds at once"
    return [
        f"{what}: {demand:,} {reason['unit']} are needed, {capacity:,} there ({_word(str(reason['bound']))})",
        *(f"  try {lever}" for lever in levers),
    ]


def _word(bound: str) -> str:
    return BOUNDS.get(bound, bound)


def _arrays(placement: Placement) -> list[str]:
    shape = placement.shape
    cells: Counter[int] = Counter()
    loads: Counter[int] = Counter()
    blocks: Counter[int] = Counter()
    for b in placement.blocks:
        cells[b.array] += b.rows * b.cols
        loads[b.array] += placement.matrices[b.matrix].fires
        blocks[b.array] += 1
    for o in placement.occupied:
        cells[o.array] += o.rows * o.cols
    if len(cells) > MOST_ARRAYS:
        full = sum(count == shape.rows * shape.cols for count in cells.values())
        emptiest = min(cells, key=lambda array: (cells[array], array))
        share = 100 * cells[emptiest] / (shape.rows * shape.cols)
        return [
            f"{full:,} arrays are full, the emptiest, {emptiest}, is {share:.1f} % full; -o plan.svg draws them all"
        ]
    lines = ["array  blocks   full %   firings"]
    lines += [
        f"{array:5}  {blocks[array]:6}  {100 * cells[array] / (shape.rows * shape.cols):7.1f}  {loads[array]:8,}"
        for array in sorted(cells)
    ]
    return lines


def _points(points: Sequence[Json]) -> list[str]:
    lines = ["trade-off:", "arrays  needed   MVM firings    interval  options"]
    for point in points:
        assert isinstance(point, dict)
        numbers = [int(_float(point[key])) for key in ("arrays_used", "lower_bound", "mvm_fires", "interval")]
        lines.append(f"{numbers[0]:6,}  {numbers[1]:6,}  {numbers[2]:12,}  {numbers[3]:10,}  {point['options']}")
    return lines


def _float(value: Json) -> float:
    assert isinstance(value, int | float)
    return value

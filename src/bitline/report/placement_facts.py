"""What a placement comes to, array by array and layer by layer: figures that its picture and its page share."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from bitline.core.escape import printable
from bitline.ir.placement import Certificate, PlacedBlock, PlacedMatrix, Placement
from bitline.pack.shapes import Bin
from bitline.report.html.columns import grouped

LONGEST_BOUND = 80
"""Characters of the name of a bound that are shown: it comes from a file."""
TIMES = "\N{MULTIPLICATION SIGN}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrayFacts:
    """One array that holds something. `blocks` and `occupied` are places in the placement's lists; `cells` are those
    that either takes, `fill` is their share of the usable ones, `load` the MVMs it does in one inference."""

    array: int
    blocks: tuple[int, ...]
    occupied: tuple[int, ...]
    cells: int
    fill: float
    load: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerFacts:
    """One matrix: `name` of its first node, whose network comes first where there are several.

    `row_cuts`: blocks whose top edge lies inside their bundle of groups, so that each adds partial sums. `col_cuts`:
    left edges inside a bundle, blocks above one another counted once. `load`: MVMs of all its blocks in one inference.
    """

    number: int
    name: str
    size: str
    pieces: int
    row_cuts: int
    col_cuts: int
    load: int


def array_facts(placement: Placement) -> tuple[ArrayFacts, ...]:
    """All arrays that hold something, in the order of their numbers."""
    shape = placement.shape
    usable = Bin(rows=shape.rows, cols=shape.cols, blocked=shape.blocked).area
    blocks: dict[int, list[int]] = defaultdict(list)
    taken: dict[int, list[int]] = defaultdict(list)
    for place, block in enumerate(placement.blocks):
        blocks[block.array].append(place)
    for place, occupied in enumerate(placement.occupied):
        taken[occupied.array].append(place)
    found: list[ArrayFacts] = []
    for array in sorted({*blocks, *taken}):
        here = [placement.blocks[place] for place in blocks[array]]
        others = [placement.occupied[place] for place in taken[array]]
        cells = sum(b.rows * b.cols for b in here) + sum(o.rows * o.cols for o in others)
        found.append(
            ArrayFacts(
                array=array,
                blocks=tuple(blocks[array]),
                occupied=tuple(taken[array]),
                cells=cells,
                fill=cells / usable if usable else 0.0,
                load=sum(placement.matrices[b.matrix].fires for b in here),
            )
        )
    return tuple(found)


def extremes(arrays: tuple[ArrayFacts, ...]) -> tuple[int | None, int | None]:
    """Fewest cells taken and largest load: what marks the emptiest and the busiest arrays. None where all are alike."""
    cells = {facts.cells for facts in arrays}
    loads = {facts.load for facts in arrays}
    return min(cells) if len(cells) > 1 else None, max(loads) if len(loads) > 1 else None


def layer_facts(placement: Placement) -> tuple[LayerFacts, ...]:
    """All matrices in their order."""
    blocks: dict[int, list[PlacedBlock]] = defaultdict(list)
    for block in placement.blocks:
        blocks[block.matrix].append(block)
    several = len({m.network for m in placement.matrices}) > 1
    found: list[LayerFacts] = []
    for number, m in enumerate(placement.matrices):
        rows, cols = m.math.bundle * m.matrix.rows, m.math.bundle * m.matrix.cols
        edges = {(b.copy, b.col_offset) for b in blocks[number] if b.col_offset % cols}
        found.append(
            LayerFacts(
                number=number,
                name=f"{m.network}: {node_of(m)}" if several else node_of(m),
                size=size_of(m),
                pieces=len(blocks[number]),
                row_cuts=sum(b.row_offset % rows != 0 for b in blocks[number]),
                col_cuts=len(edges),
                load=m.fires * len(blocks[number]),
            )
        )
    return tuple(found)


def node_of(m: PlacedMatrix) -> str:
    """The first node that uses a matrix, else the matrix's own name."""
    return m.nodes[0] if m.nodes else m.matrix.name


def size_of(m: PlacedMatrix) -> str:
    """`576 x 64`, or of a block-diagonal matrix `384 groups of 9 x 1`."""
    size = f"{grouped(m.matrix.rows)} {TIMES} {grouped(m.matrix.cols)}"
    if m.window != (1, 1):
        size = f"{size} for {m.window[0]} {TIMES} {m.window[1]} pixels"
    return size if m.matrix.groups == 1 else f"{grouped(m.matrix.groups)} groups of {size}"


def proof_sentence(certificate: Certificate) -> str:
    """What is known about the number of arrays, in words."""
    c = certificate
    bound = printable(c.bound[:LONGEST_BOUND])
    count = counted(c.arrays_used, "array")
    if c.arrays_used == 0:
        return "No arrays: there is nothing to place"
    match c.proof:
        case "bound":
            return f"{count}, no fewer can hold these blocks ({bound} bound)"
        case "solver":
            return f"{count}, no fewer can hold these blocks (an exhaustive search found none)"
        case "none":
            needed = f"at least {grouped(c.lower_bound)} needed ({bound} bound)"
            return f"{count}, {needed}: gap {grouped(c.arrays_used - c.lower_bound)}"


def counted(count: int, noun: str) -> str:
    """`1 array`, `2 arrays`."""
    return f"{grouped(count)} {noun}{'' if count == 1 else 's'}"


def listed(numbers: tuple[int, ...]) -> str:
    """Sorted numbers, runs shortened: `3, 7-10`."""
    runs: list[tuple[int, int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1] = (runs[-1][0], number)
        else:
            runs.append((number, number))
    return ", ".join(str(a) if a == b else f"{a}, {b}" if b == a + 1 else f"{a}-{b}" for a, b in runs)

"""Packing and bound together: fewer bins from above, proofs from below, until they meet or the time is over.

    last(narrow(pieces, rows=1024, cols=896, seconds=1.0))
    -->  Found(packing=Packing(bins=17, ...), bound=17, proof="dff")

The cheap bounds and the multistart come first, then turns of search, scales and the prover share the time.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from bitline.pack.bounds import best_bound
from bitline.pack.rectangles import Packing, packings

Proof = Literal["area", "dff", "clique", "scale", "shares", "places"]

Turn = Literal["search", "scale", "shares", "places"]

TURNS: Final[tuple[tuple[Turn, float], ...]] = (
    ("search", 0.02),
    ("scale", 0.14),
    ("search", 0.10),
    ("shares", 0.20),
    ("search", 0.10),
    ("places", 0.36),
    ("search", 0.08),
)
"""What has its turn, and for which share of the time. Easy packings are found at once, and easy proofs end early; what
a turn leaves is there for the last one."""
FEW: Final = 40  # pieces for whose places the prover is asked; with more it hardly ever answers
ENDLESS_SECONDS: Final = 20.0  # the time that is shared out where none is given


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The best packing so far, how few bins might do, and what says that no fewer do."""

    packing: Packing
    bound: int
    proof: Proof

    @property
    def optimal(self) -> bool:
        return self.packing.bins == self.bound


def narrow(
    pieces: Sequence[tuple[int, int]], *, rows: int, cols: int, seconds: float | None = None, seed: int = 0
) -> Iterator[Found]:
    """Better and better answers, at first within milliseconds; ends where one is optimal or after `seconds`.

    While the prover has its turn nothing comes; Ctrl-C is raised within a tenth of a second all the same.
    """
    started = time.perf_counter()
    shared = ENDLESS_SECONDS if seconds is None else seconds
    bound = best_bound(pieces, rows, cols)
    few = len(pieces) - sum(group.times * (1 + len(group.partners)) for group in bound.groups) <= FEW
    search = packings(pieces, rows=rows, cols=cols, seed=seed)
    found = Found(packing=next(search), bound=bound.value, proof=bound.which)
    yield found
    for place, (turn, share) in enumerate(TURNS):
        left = shared - (time.perf_counter() - started)
        if found.optimal or (seconds is not None and left <= 0):
            return
        if turn == "search":
            last = place == len(TURNS) - 1
            end = None if last and seconds is None else time.perf_counter() + (left if last else share * shared)
            for packing in search:
                found = replace(found, packing=packing)
                yield found
                if found.optimal or (end is not None and time.perf_counter() >= end):
                    break
        elif turn != "places" or few:
            found = _proved(found, turn, pieces, rows, cols, min(left, share * shared))
            yield found


def _proved(
    found: Found,
    turn: Turn,
    pieces: Sequence[tuple[int, int]],
    rows: int,
    cols: int,
    seconds: float,
) -> Found:
    """With a better bound, or a packing that the prover came upon."""
    bins = found.packing.bins
    if turn == "scale":
        from bitline.pack.scales import scale_bound

        bound = scale_bound(pieces, rows, cols, target=bins, seconds=seconds)
        return replace(found, bound=bound.value, proof="scale") if bound.value > found.bound else found

    from bitline.pack.prove import prove

    answer = prove(
        pieces, rows=rows, cols=cols, bins=bins - 1, effort=seconds, seconds=seconds, places=turn == "places"
    )
    if answer.packing is not None:
        return replace(found, packing=answer.packing)
    if answer.verdict == "infeasible":
        return replace(found, bound=bins, proof=answer.question or "places")
    return found

"""Pieces that no bin holds together: two that fit neither beside nor above one another."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

STARTS: Final = 30


def conflicts(sizes: Ints, rows: int, cols: int) -> Bools:
    """`[i, j]` is true where pieces i and j share no bin; a piece is in conflict with itself."""
    high, wide = sizes[:, 0], sizes[:, 1]
    against = (high[:, None] + high[None, :] > rows) & (wide[:, None] + wide[None, :] > cols)
    np.fill_diagonal(against, True)
    return against


def alone(sizes: Ints, rows: int, cols: int) -> Bools:
    """Pieces that share a bin with no other: they take one each, whatever becomes of the others."""
    kinds, kind_of, count = np.unique(sizes, axis=0, return_inverse=True, return_counts=True)
    against = conflicts(kinds, rows, cols)
    with_itself = (2 * kinds[:, 0] > rows) & (2 * kinds[:, 1] > cols)
    return (np.all(against, axis=1) & (with_itself | (count == 1)))[kind_of.reshape(-1)]


def greedy_clique(against: Bools, order: Ints) -> list[int]:
    """Pieces in conflict with each other in pairs: the largest set found by going through `order` from some starts."""
    best: list[int] = []
    for start in range(min(STARTS, len(order))):
        open_pieces = against[order[start]].copy()
        if int(open_pieces.sum()) <= len(best):
            continue
        clique: list[int] = []
        for piece in np.roll(order, -start).tolist():
            if open_pieces[piece]:
                clique.append(piece)
                open_pieces &= against[piece]
        if len(clique) > len(best):
            best = clique
    return best


def cliques_of(against: Bools, order: Ints) -> list[list[int]]:
    """Cliques of at least two that cover every conflict of two pieces."""
    open_pairs = against.copy()
    np.fill_diagonal(open_pairs, False)
    found: list[list[int]] = []
    for first in order.tolist():
        while open_pairs[first].any():
            allowed = against[first].copy()
            allowed[first] = False
            clique = [first]
            # what is not covered yet comes first
            for piece in [*order[open_pairs[first][order]].tolist(), *order[~open_pairs[first][order]].tolist()]:
                if allowed[piece]:
                    clique.append(piece)
                    allowed &= against[piece]
                    allowed[piece] = False
            open_pairs[np.ix_(clique, clique)] = False
            found.append(clique)
    return found

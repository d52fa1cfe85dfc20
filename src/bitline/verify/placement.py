"""Whether a placement of whole networks is what it says, and whether its certificate follows.

Derived anew from the placement alone: nothing of the packer, of the cuts or of the bounds is used.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Final

import numpy as np

from bitline.core.diagnostics import Diagnostic
from bitline.ir.placement import ArrayShape, Certificate, Occupied, PlacedBlock, PlacedMatrix, Placement
from bitline.verify import placed_cells, placed_weights
from bitline.verify.array_bounds import BOUNDS, Demand
from bitline.verify.checks import Check
from bitline.verify.placed_cells import Placed, finding
from bitline.verify.placed_weights import Numbered, name_of, owner_of
from bitline.verify.scales import scale_bound

FINDINGS: Final = 20
OF_ONE_KIND: Final = 5
LARGEST: Final = 1 << 40
"""No honest number of a placement is larger; below it sums and sizes fit int64."""
BITS: Final = 64
"""No weight, cell, input or converter has more."""

Field = tuple[str, int, int]
"""(name, value, smallest value that makes sense)."""


def verify_placement(placement: Placement) -> tuple[Check, ...]:
    """What was looked at and what is wrong (BL0501, at most 20 findings a check); never raises on any numbers.

    Checked: places inside arrays and usable, no two blocks in one place, every weight of every copy once, cuts, order,
    bias rows, the number of arrays, and the lower bound, unless a solver proved it.
    """
    shape = placement.shape
    arrays = Check(name="arrays", saw=_shape_in_words(shape), errors=_some(_shape_errors(shape)))
    if arrays.errors:
        return (arrays,)
    matrices = {k: m for k, m in enumerate(placement.matrices) if not _wild_matrix(m)}
    blocks = [(k, b) for k, b in enumerate(placement.blocks) if not [*_wild(_block_fields(b))]]
    known = [(k, b) for k, b in blocks if b.matrix in matrices]
    items = _in_arrays(known, placement)
    places = Check(
        name="places",
        saw=f"{len(placement.blocks):,} blocks in {len({i.what.array for i in items}):,} arrays",
        errors=_place_errors(items, placement),
    )
    weights = Check(
        name="weights",
        saw=f"{len(matrices):,} matrices, {sum(_weights(m) for m in matrices.values()):,} weights",
        errors=_weight_errors(known, matrices, placement),
    )
    sound = not places.errors and not weights.errors
    return (arrays, places, weights, _certificate(placement, items, sound=sound))


def _some(*kinds: Iterable[Diagnostic]) -> tuple[Diagnostic, ...]:
    return tuple([error for kind in kinds for error in islice(kind, OF_ONE_KIND)][:FINDINGS])


def _weights(of: PlacedMatrix) -> int:
    return of.copies * of.matrix.groups * of.matrix.rows * of.matrix.cols


# -- numbers -----------------------------------------------------------------------------------------------------------


def _wild(fields: Iterable[Field], *, most: int = LARGEST - 1) -> Iterator[str]:
    """What is wrong with numbers, in words."""
    for name, value, least in fields:
        if not least <= value <= most:
            yield f"{name} {_shown(value)}, expected {least}..{most}"


def _shown(value: int) -> str:
    """A number of any length. Python refuses to print some that it reads."""
    return str(value) if abs(value) < LARGEST**2 else f"{hex(value)[:20]}..."


def _shape_in_words(shape: ArrayShape) -> str:
    """The arrays, for people."""
    words = [f"{_shown(shape.rows)} x {_shown(shape.cols)} weights"]
    words += [f"edges at {', '.join(map(_shown, shape.edges[:4]))}"] if shape.edges else []
    words += [f"{len(shape.blocked)} blocked rectangles"] if shape.blocked else []
    words += [f"{_shown(shape.bias_rows)} bias rows"] if shape.bias_rows else []
    return ", ".join(words)


def _shape_errors(shape: ArrayShape) -> Iterator[Diagnostic]:
    sizes = (("rows", shape.rows, 1), ("cols", shape.cols, 1), ("bias_rows", shape.bias_rows, 0))
    for message in _wild((*sizes, ("reserved_cols", shape.reserved_cols, 0))):
        yield finding("shape", message)
    for edge in shape.edges:
        if not 0 < edge < shape.rows:
            yield finding("shape", f"an edge at row {_shown(edge)} of {_shown(shape.rows)}")
    for rect in shape.blocked:
        r0, c0, r1, c1 = rect
        if not (0 <= r0 < r1 <= shape.rows and 0 <= c0 < c1 <= shape.cols):
            where = f"rows {_shown(r0)}..{_shown(r1 - 1)}, columns {_shown(c0)}..{_shown(c1 - 1)}"
            yield finding("shape", f"blocked cells outside the array or none: {where}")


def _wild_matrix(of: PlacedMatrix) -> list[str]:
    """What is wrong with the numbers of a matrix, in words."""
    matrix, math = of.matrix, of.math
    counts = (
        ("pixels", of.pixels, 1), ("bias_rows", of.bias_rows, 0), ("copies", of.copies, 1), ("gain", of.gain, 1),
        ("pixels down of the window", of.window[0], 1), ("pixels right of the window", of.window[1], 1),
        ("groups", matrix.groups, 1), ("rows", matrix.rows, 1), ("cols", matrix.cols, 1),
        ("groups x rows", matrix.groups * matrix.rows, 1), ("groups x cols", matrix.groups * matrix.cols, 1),
        ("group_rows", math.group_rows, 1), ("bundle", math.bundle, 1),
        ("size of weight_offset", abs(math.weight_offset), 0), ("size of input_offset", abs(math.input_offset), 0),
    )  # fmt: skip
    bits = (("weight_bits", math.weight_bits, 1), ("cell_bits", math.cell_bits, 1), ("input_bits", math.input_bits, 1))
    return [*_wild(counts), *_wild((*bits, ("adc_bits", math.adc_bits, 0)), most=BITS)]


def _block_fields(block: PlacedBlock) -> Iterator[Field]:
    yield from (("matrix", block.matrix, 0), ("copy", block.copy, 0))
    yield from (("row_offset", block.row_offset, 0), ("col_offset", block.col_offset, 0))
    yield from _place_fields(block)


def _place_fields(item: PlacedBlock | Occupied) -> Iterator[Field]:
    yield from (("rows", item.rows, 1), ("cols", item.cols, 1), ("array", item.array, 0))
    yield from (("w_row_start", item.w_row_start, 0), ("w_col_start", item.w_col_start, 0))
    yield from (("bias_start", item.bias_start, 0), ("bias_rows", item.bias_rows, 0))


def _number_errors(placement: Placement) -> Iterator[Diagnostic]:
    """Numbers of blocks and occupied cells that mean nothing."""
    for number, block in enumerate(placement.blocks):
        owner = f"block {number}"
        if 0 <= block.matrix < len(placement.matrices):
            owner = owner_of(placement.matrices[block.matrix])
        elif block.matrix >= 0:
            count = len(placement.matrices)
            yield finding(owner, f"block {number} is of matrix {_shown(block.matrix)}, there are {count}")
        for message in _wild(_block_fields(block)):
            yield finding(owner, f"block {number} has {message}")
    for item in placement.occupied:
        for message in _wild(_place_fields(item)):
            yield finding(item.name, f"occupied cells have {message}")


# -- checks ------------------------------------------------------------------------------------------------------------


def _in_arrays(blocks: Sequence[Numbered], placement: Placement) -> list[Placed]:
    """All that lies in arrays and has numbers that mean something."""
    owners = [owner_of(m) for m in placement.matrices]
    items = [Placed(name=name_of(k, b), owner=owners[b.matrix], what=b) for k, b in blocks]
    sane = [o for o in placement.occupied if not [*_wild(_place_fields(o))]]
    return items + [Placed(name="occupied cells", owner=o.name, what=o) for o in sane]


def _place_errors(items: Sequence[Placed], placement: Placement) -> tuple[Diagnostic, ...]:
    shape = placement.shape
    return _some(
        _number_errors(placement),
        placed_cells.place_errors(items, shape),
        placed_cells.unusable_errors(items, shape),
        placed_cells.overlap_errors(items),
        placed_cells.bias_errors(items, shape),
        placed_cells.gap_errors(items),
    )


def _weight_errors(
    blocks: Sequence[Numbered], matrices: Mapping[int, PlacedMatrix], placement: Placement
) -> tuple[Diagnostic, ...]:
    wild = [finding(owner_of(m), message) for m in placement.matrices for message in _wild_matrix(m)]
    present: dict[int, set[int]] = {}
    for _, block in blocks:
        present.setdefault(block.matrix, set()).add(block.copy)
    extent = placed_weights.extent_errors(blocks, placement.matrices)
    whole = [(k, b) for k, b in blocks if placed_weights.fits(b, matrices[b.matrix])]
    return _some(
        wild,
        placed_weights.window_errors(matrices.values()),
        extent,
        placed_weights.copy_errors(present, matrices),
        placed_weights.coverage_errors(whole, matrices),
        placed_weights.cut_errors(whole, matrices),
        placed_weights.order_errors(blocks, matrices),
        placed_weights.bias_row_errors(whole, matrices) if placement.shape.bias_rows else (),
    )


def _certificate(placement: Placement, items: Sequence[Placed], *, sound: bool) -> Check:
    """The number of arrays, and why no fewer will do. Bounds are recomputed only of placements that are right."""
    claim = placement.certificate
    used = len({item.what.array for item in items})
    wrong = [*_wild((("arrays_used", claim.arrays_used, 0), ("lower_bound", claim.lower_bound, 0)))]
    saw = f"{used:,} arrays, at least {_shown(claim.lower_bound)}"
    if not wrong:
        wrong += _claim_errors(claim, used)
    if claim.proof == "solver":
        saw += ": proved by a solver, not recomputed"
    elif claim.scale is not None and sound and not wrong:
        recomputed = scale_bound(_demand(items).sizes, placement.shape, claim.scale)
        saw += f": {claim.bound} gives {recomputed}"
        if isinstance(recomputed, str):
            wrong.append(f"the scale is none: {recomputed}")
        elif claim.lower_bound > recomputed:
            wrong.append(f"the bound does not follow: {claim.bound!r} gives {recomputed}, not {claim.lower_bound}")
    elif claim.bound not in BOUNDS and claim.bound != "scale":
        wrong.append(f"no bound is called {claim.bound[:40]!r}, known: {', '.join(sorted(BOUNDS))}")
    elif claim.bound == "scale" and claim.scale is None:
        wrong.append("a bound by scales without its scales")
    elif wrong or not sound:
        saw += ": not recomputed, something else is wrong"
    else:
        recomputed = BOUNDS[claim.bound](_demand(items), placement.shape)
        saw += f": {claim.bound} gives {recomputed:,}"
        if claim.lower_bound > recomputed:
            wrong.append(f"the bound does not follow: {claim.bound!r} gives {recomputed}, not {claim.lower_bound}")
    return Check(name="certificate", saw=saw, errors=tuple(finding("certificate", message) for message in wrong))


def _claim_errors(claim: Certificate, used: int) -> Iterator[str]:
    """Where a certificate is at odds with the arrays, or with itself."""
    if claim.arrays_used != used:
        yield f"{claim.arrays_used} arrays used, blocks lie in {used}"
    said = f"proof {claim.proof!r} of at least {claim.lower_bound} arrays, where {claim.arrays_used} are used"
    if claim.lower_bound > claim.arrays_used:
        yield f"more than there are: {said}"
    elif (claim.lower_bound == claim.arrays_used) != (claim.proof != "none"):
        yield f"does not say whether fewer would do: {said}"


def _demand(items: Sequence[Placed]) -> Demand:
    sizes = [(item.what.rows, item.what.cols, item.what.bias_rows) for item in items]
    arrays = {item.what.array for item in items if isinstance(item.what, Occupied)}
    placed_in = len({item.what.array for item in items})
    return Demand(sizes=np.array(sizes, np.int64).reshape(-1, 3), held=len(arrays), placed_in=placed_in)

"""Comparing numbers that others computed. Integers must be equal; against a float model one step is the unit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bitline.core.diagnostics import Diagnostic

Array = npt.NDArray[np.generic]


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How two sets of integer tensors compare, over all their values."""

    values: int
    equal: int
    within_one: int
    largest_difference: int

    @property
    def equal_share(self) -> float:
        return self.equal / self.values if self.values else 1.0

    @property
    def within_one_share(self) -> float:
        return self.within_one / self.values if self.values else 1.0


def compare(first: Mapping[str, Array], second: Mapping[str, Array]) -> Agreement:
    """All tensors of `first` against those of the same names."""
    values = equal = near = largest = 0
    for name, one in first.items():
        other = second[name].reshape(one.shape)
        if one.dtype.kind == "f":  # floats by their bits, so that one step is one unit in the last place
            one, other = (np.ascontiguousarray(v, np.float32).view(np.int32) for v in (one, other))
        difference = np.abs(one.astype(np.int64) - other.astype(np.int64))
        values += difference.size
        equal += int((difference == 0).sum())
        near += int((difference <= 1).sum())
        largest = max(largest, int(difference.max(initial=0)))
    return Agreement(values=values, equal=equal, within_one=near, largest_difference=largest)


def sqnr_db(wanted: Array, got: Array) -> float:
    """10 log10 of signal power over error power, at most 200; -200 where NaN or infinity are not where wanted."""
    reference, other = wanted.astype(np.float64).reshape(-1), got.astype(np.float64).reshape(-1)
    finite = np.isfinite(reference) & np.isfinite(other)
    if not np.array_equal(reference[~finite], other[~finite], equal_nan=True):
        return -200.0
    error = float(((reference[finite] - other[finite]) ** 2).sum())
    power = float((reference[finite] ** 2).sum())
    if error == 0.0:
        return 200.0
    return min(200.0, 10 * float(np.log10(power / error))) if power else 0.0


def must_equal(name: str, agreement: Agreement) -> tuple[Diagnostic, ...]:
    """A finding where integers differ."""
    if agreement.equal == agreement.values:
        return ()
    differing = agreement.values - agreement.equal
    return (_finding(f"{differing:,} of {agreement.values:,} values differ from {name}", "program.bin", agreement),)


def must_be_near(name: str, agreement: Agreement) -> tuple[Diagnostic, ...]:
    """A finding where integers are more than one step apart."""
    if agreement.within_one == agreement.values:
        return ()
    far = agreement.values - agreement.within_one
    what = f"{far:,} of {agreement.values:,} values are more than one step from {name}"
    return (_finding(what, "kernels.json", agreement),)


def _finding(what: str, place: str, agreement: Agreement) -> Diagnostic:
    return Diagnostic(
        code="BL0504",
        message=f"{what}, by up to {agreement.largest_difference}",
        place=place,
        help="compile the package again; if nobody changed it, this is a bug of bitline: please report it",
    )

"""What a chip states and programs do not follow is said, each in one sentence; nothing else is."""

from __future__ import annotations

import pytest

from bitline.target.limits import limits
from bitline.target.load import load_target


@pytest.mark.parametrize("name", ["reram-tile", "sram-dcim", "pimcomp-128"])
def test_chips_whose_every_statement_is_followed(name: str) -> None:
    assert limits(load_target(name)) == ()


def test_what_wtm2101_has_and_programs_do_not_use() -> None:
    keys = [limit.partition(" ")[0].rstrip(":") for limit in limits(load_target("wtm2101"))]
    assert keys == ["vector.rounding", "array.bias_rows", "array.shared_converters"]


@pytest.mark.parametrize(
    ("name", "override", "said"),
    [
        ("reram-tile", "precision=fp16", "precision fp16: programs compute with 8-bit"),
        ("reram-tile", "noc.adder=true", "noc.adder: the sums of a column stay on one core"),
        ("reram-tile", "array.weight_encoding=flip", "array.weight_encoding flip: arrays.bin holds the cells before"),
        ("reram-tile", "vector.rounding=half_up", "vector.rounding half_up: programs round once, ties to even"),
        ("reram-tile", "array.bias_rows=2", "array.bias_rows: biases are added by the vector unit"),
    ],
)
def test_every_statement_is_said_once(name: str, override: str, said: str) -> None:
    (found,) = limits(load_target(name, [override]))
    assert found.startswith(said)


def test_ties_to_even_are_what_programs_do() -> None:
    assert limits(load_target("reram-tile", ["vector.rounding=half_even"])) == ()

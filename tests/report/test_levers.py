"""Candidates follow from what binds a layer; the cheapest lever is the cheap one that saves enough."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bitline.report.layers import UnitShare
from bitline.report.levers import DEARNESS, MOST_LEVERS, Change, Lever, by_saving, candidates, cheapest, worth
from bitline.target.load import changed
from bitline.target.schema import KEYS
from tests.report import synthetic
from tests.report.test_explain import explained

UNITS = ("write", "mvm", "dma_in", "dma_out", "vector", "host")


def bound(unit: str, share: float, number: int = 1) -> tuple[Change, ...]:
    found = replace(explained(number), critical=UnitShare(unit=unit, core=0, share=share))
    return candidates(found, synthetic.network(), synthetic.chip())


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("share", [0.1, 0.9])
@pytest.mark.parametrize("number", [0, 1, 2])
def test_candidates_are_keys_that_have_a_place_in_the_order(unit: str, share: float, number: int) -> None:
    found = bound(unit, share, number)
    assert 0 < len(found) <= MOST_LEVERS
    assert len({change.key for change in found}) == len(found)
    known = {key for keys in DEARNESS for key in keys}
    assert {change.key for change in found} <= known <= set(KEYS)


def test_times_are_halved_and_the_rest_is_doubled() -> None:
    for unit in UNITS:
        for change in bound(unit, 0.9):
            factor = 0.5 if change.key.endswith("_ns") and "per_ns" not in change.key else 2
            assert change.after == change.before * factor


def test_waiting_layers_try_their_buffers() -> None:
    keys = {change.key for change in bound("dma_in", 0.2)}
    assert {"memory.psum_bytes", "memory.input_bytes", "memory.output_bytes"} <= keys


def test_what_takes_no_time_cannot_take_less() -> None:
    chip = changed(synthetic.chip(), ["dma.setup_ns=0"])
    found = candidates(
        replace(explained(1), critical=UnitShare(unit="dma_in", core=0, share=0.9)), synthetic.network(), chip
    )
    assert "dma.setup_ns" not in {change.key for change in found}


def test_a_layer_without_work_has_no_candidates() -> None:
    assert candidates(explained(3), synthetic.network(), synthetic.chip()) == ()


def lever(key: str, layer_us: float) -> Lever:
    change = Change(key=key, before=1, after=2)
    return Lever(change=change, replanned=False, layer_us=layer_us, latency_us=1.0, tiles=1, loads=0)


def test_a_cheap_lever_that_saves_enough_is_preferred() -> None:
    """conv2 takes 3 us."""
    silicon, buffer = lever("array.step_ns", 1.0), lever("memory.psum_bytes", 2.5)
    assert by_saving([buffer, silicon]) == (silicon, buffer)
    assert cheapest([silicon, buffer], explained(1)) is buffer


def test_a_cheap_lever_that_saves_little_is_not() -> None:
    silicon, buffer = lever("array.step_ns", 1.0), lever("memory.psum_bytes", 2.9)
    assert cheapest([silicon, buffer], explained(1)) is silicon
    assert cheapest([buffer], explained(1)) is buffer


def test_of_equally_dear_levers_the_one_that_saves_more() -> None:
    one, other = lever("memory.psum_bytes", 2.0), lever("memory.input_bytes", 1.5)
    assert cheapest([one, other], explained(1)) is other


def test_nothing_worth_it() -> None:
    assert not worth(lever("memory.psum_bytes", 2.98), explained(1))
    assert cheapest([lever("memory.psum_bytes", 3.0), lever("cores", 4.0)], explained(1)) is None

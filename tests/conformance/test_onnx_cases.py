"""Every node case of the onnx package for the 62 operators of real exports runs and is right, or is refused by name."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from bitline.target.load import load_target
from bitline.target.schema import Chip
from tests.conformance.onnx_cases import ENDS, OPERATORS, Case, Outcome, as_exported, carried_out, cases, close

LEAST_RUN = 417
"""What ONNX Runtime itself runs of the 540."""
TABLE = Path(__file__).with_name("ends.txt")
SOAK = os.environ.get("BITLINE_HYPOTHESIS") == "soak"
AS_GIVEN = slice(None, None, 1 if SOAK else 9)
"""Of the cases as they are, with weights and shapes as inputs; every ninth takes a few seconds."""


@pytest.fixture(scope="module")
def chip() -> Chip:
    """Small arrays, so that matrices of the cases are cut."""
    return load_target("sram-dcim", ("array.per_core=8", "array.rows=32", "array.cols=16"))


def _wrong(outcomes: Mapping[str, Outcome]) -> list[str]:
    return [f"{name} ({outcome.end}): {outcome.wrong}" for name, outcome in outcomes.items() if outcome.wrong]


def table(found: Sequence[Case], outcomes: Mapping[str, Outcome]) -> str:
    """How many cases of each operator ended how, and each refusal with its first diagnostic."""
    counts = {operator: Counter[str]() for operator in OPERATORS}
    for case in found:
        counts[case.operator][outcomes[case.name].end] += 1
    lines = [f"{'operator':20}" + "".join(f"{end:>9}" for end in ENDS)]
    rows = [*counts.items(), ("all", sum(counts.values(), Counter[str]()))]
    lines += [f"{name:20}" + "".join(f"{count[end]:9}" for end in ENDS) for name, count in rows]
    refused = [(name, outcome) for name, outcome in outcomes.items() if outcome.end == "refused"]
    lines += ["", *(f"{name}: {outcome.why[0][:140]}" for name, outcome in refused)]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def test_there_are_540_cases_of_62_operators() -> None:
    assert len(cases()) == 540
    assert {case.operator for case in cases()} == set(OPERATORS)
    assert len(OPERATORS) == 62


def test_every_case_is_right_or_refused_by_name(chip: Chip, tmp_path: Path) -> None:
    """As exporters write them, with weights and shapes as constants; the table shows a change of any count."""
    found = [as_exported(case) for case in cases()]
    outcomes = {case.name: carried_out(case, tmp_path, chip) for case in found}
    shown = table(found, outcomes)
    print(shown)
    assert _wrong(outcomes) == []
    assert sum(outcome.end != "refused" for outcome in outcomes.values()) >= LEAST_RUN
    if os.environ.get("BITLINE_UPDATE_GOLDEN"):
        TABLE.write_text(shown, encoding="utf-8")
    assert shown == TABLE.read_text(encoding="utf-8"), "counts changed: look, then BITLINE_UPDATE_GOLDEN=1 writes them"


def test_weights_and_shapes_may_be_inputs(chip: Chip, tmp_path: Path) -> None:
    """As the onnx package has them: everything an input. A shape that depends on data is refused, nothing crashes."""
    outcomes = {case.name: carried_out(case, tmp_path, chip) for case in cases()[AS_GIVEN]}
    assert _wrong(outcomes) == []
    ends = Counter(outcome.end for outcome in outcomes.values())
    assert ends["native"] > 0
    assert ends["host"] > 0
    assert ends["refused"] > 0


def test_refusals_of_cases_have_codes_of_their_kind(chip: Chip, tmp_path: Path) -> None:
    """Types that no memory holds, and empty tensors, are unsupported models (exit 3), not malformed files."""
    for name in ("test_cast_FLOAT_to_INT4", "test_slice_start_out_of_bounds", "test_batchnorm_example_training_mode"):
        case = next(as_exported(case) for case in cases() if case.name == name)
        outcome = carried_out(case, tmp_path, chip)
        assert outcome.end == "refused"
        assert outcome.why[0].startswith("BL0302 ")


class TestClose:
    """The rule itself: what it forgives and what it does not."""

    case = Case(name="any", operator="Relu", model=onnx.ModelProto(), inputs={}, outputs={}, rtol=1e-3, atol=1e-7)

    def test_two_steps_are_forgiven_three_are_not(self) -> None:
        wanted = np.array([0.0, 0.1, -0.1, 0.05])
        assert close(self.case, wanted, wanted + 0.19, step=0.1)
        assert not close(self.case, wanted, wanted + 0.21, step=0.1)

    def test_floats_that_nothing_rounded_keep_the_tolerance_of_the_case(self) -> None:
        wanted = np.array([1.0, -2.0])
        assert close(self.case, wanted, wanted * (1 + 5e-4), step=0.0)
        assert not close(self.case, wanted, wanted * 1.1, step=0.0)

    def test_noise_of_eight_bits_is_forgiven_and_a_wrong_value_is_not(self) -> None:
        wanted = np.linspace(-1, 1, 100)
        noise = np.random.default_rng(0).normal(0, 0.01, 100)
        assert close(self.case, wanted, wanted + noise, step=0.001)
        assert not close(self.case, wanted, np.where(np.arange(100) == 99, -1.0, wanted), step=0.001)

    def test_recurrent_cells_are_forgiven_more(self) -> None:
        wanted = np.linspace(-1, 1, 100)
        noisy = wanted + np.random.default_rng(0).normal(0, 0.04, 100)
        assert not close(self.case, wanted, noisy, step=0.001)
        assert close(replace(self.case, operator="GRU"), wanted, noisy, step=0.001)

    def test_nan_has_to_be_where_it_is_wanted(self) -> None:
        wanted = np.array([np.nan, 1.0])
        assert close(self.case, wanted, np.array([np.nan, 1.0]), step=0.1)
        assert not close(self.case, wanted, np.array([0.0, 1.0]), step=0.1)

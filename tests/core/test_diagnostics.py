"""A diagnostic has a code, a place, a message and a way out; its code alone fixes the exit status."""

from __future__ import annotations

import pytest

from bitline.core.diagnostics import CODES, EXIT_BY_FAMILY, Diagnostic, Refusal, refuse


def test_text_form() -> None:
    full = Diagnostic(code="BL0402", message="too wide", place="net.onnx:/fc", help="cut it")
    assert str(full) == "error[BL0402]: too wide\n  --> net.onnx:/fc\n  help: cut it"
    assert str(Diagnostic(code="BL0402", message="too wide")) == "error[BL0402]: too wide"


def test_a_refusal_shows_all_and_exits_by_the_first() -> None:
    first, second = Diagnostic(code="BL0301", message="no Foo"), Diagnostic(code="BL0101", message="no such option")
    refusal = Refusal([first, second])
    assert str(refusal) == f"{first}\n{second}"
    assert refusal.diagnostics == (first, second)
    assert refusal.exit_code == 3


@pytest.mark.parametrize(
    ("code", "status"),
    [("BL0101", 2), ("BL0201", 5), ("BL0301", 3), ("BL0401", 4), ("BL0501", 1), ("BL0901", 70)],
)
def test_exit_status(code: str, status: int) -> None:
    assert refuse(code, "why").exit_code == status


def test_every_code_has_a_family_and_a_meaning() -> None:
    assert {code[2:4] for code in CODES} == set(EXIT_BY_FAMILY)
    assert all(len(code) == 6 and code.startswith("BL") and code[2:].isdigit() for code in CODES)
    assert len(set(CODES.values())) == len(CODES)


def test_unknown_codes_and_empty_refusals_are_our_own_bugs() -> None:
    with pytest.raises(AssertionError):
        refuse("BL9999", "why")
    with pytest.raises(AssertionError):
        Refusal([])

"""What a user is told when something is wrong: a code, a place, a message and a way out.

A stage collects every diagnostic it can find and raises them together as one `Refusal`. The hundreds of a code
fix the exit status of the command line, so a code alone says which kind of trouble it is:

    BL01xx  usage or configuration   exit 2        BL04xx  does not fit        exit 4
    BL02xx  malformed or refused     exit 5        BL05xx  a check failed      exit 1
    BL03xx  unsupported model        exit 3        BL09xx  a bug of bitline    exit 70
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

EXIT_BY_FAMILY: Final = {"01": 2, "02": 5, "03": 3, "04": 4, "05": 1, "09": 70}

CODES: Final[dict[str, str]] = {
    "BL0101": "wrong option or argument",
    "BL0102": "unknown target",
    "BL0103": "wrong target file",
    "BL0104": "output place cannot be written",
    "BL0105": "calibration or input data do not match the model",
    "BL0110": "post-processing hook failed",
    "BL0201": "file missing or unreadable",
    "BL0202": "not a valid ONNX model",
    "BL0203": "file above the size limit",
    "BL0204": "NaN or infinite values in the weights",
    "BL0205": "package incomplete or altered",
    "BL0206": "data file unreadable",
    "BL0301": "operator not supported",
    "BL0302": "operator attribute or form not supported",
    "BL0303": "axis without a fixed size",
    "BL0304": "quantised graph not understood",
    "BL0401": "does not fit into a memory",
    "BL0402": "does not fit the arrays",
    "BL0501": "placement check failed",
    "BL0502": "schedule check failed",
    "BL0503": "program check failed",
    "BL0504": "numbers differ",
    "BL0505": "files of a package disagree",
    "BL0901": "internal error",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnostic:
    """One finding. `place` is the user's own: `model.onnx:/layer4/conv2/Conv`, `chip.yaml:12:array.rows`."""

    code: str
    message: str
    place: str = ""
    help: str = ""

    def __str__(self) -> str:
        lines = [f"error[{self.code}]: {self.message}"]
        if self.place:
            lines.append(f"  --> {self.place}")
        if self.help:
            lines.append(f"  help: {self.help}")
        return "\n".join(lines)


class Refusal(Exception):
    """All that one stage found wrong. The first diagnostic decides the exit status."""

    def __init__(self, diagnostics: Sequence[Diagnostic]) -> None:
        assert diagnostics, "a refusal needs a reason"
        assert all(d.code in CODES for d in diagnostics), [d.code for d in diagnostics]
        super().__init__("\n".join(str(d) for d in diagnostics))
        self.diagnostics = tuple(diagnostics)

    @property
    def exit_code(self) -> int:
        return EXIT_BY_FAMILY[self.diagnostics[0].code[2:4]]


def refuse(code: str, message: str, *, place: str = "", help: str = "") -> Refusal:
    """A refusal with a single diagnostic: `raise refuse("BL0201", ...)`."""
    return Refusal([Diagnostic(code=code, message=message, place=place, help=help)])


@dataclass(frozen=True, slots=True, kw_only=True)
class NoMatch:
    """Why something could not be done, as data: collected by the caller, shown to the user on request."""

    why: str

"""The best classes of an output, and the file that names them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
from onnx import TensorProto

from bitline.core.diagnostics import refuse
from bitline.graph.model import Model, Wiring, shape_of
from bitline.inference.answers import Box, Classes, Prediction

Array = npt.NDArray[Any]

_KEEPING: Final = frozenset(
    ("QuantizeLinear", "DequantizeLinear", "Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Cast")
)
"""Operators that leave probabilities probabilities."""
_WHOLE: Final = frozenset(
    (TensorProto.INT32, TensorProto.INT64, TensorProto.UINT32, TensorProto.UINT64, TensorProto.BOOL)
)

_NUMBERED: Final = re.compile(r"^(\d+)[\s:,]+(.+)$")
_SYNSET: Final = re.compile(r"^n\d{8}\s+")
_HELP: Final = "write one label a line, the first for class 0, as UTF-8"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scoring:
    """How the scores of classes come from the first output. `rule`: "softmax" of it, or the output "as it is"."""

    output: str
    classes: int
    rule: Literal["softmax", "as it is"]

    def __str__(self) -> str:
        return f"softmax of {self.output!r}" if self.rule == "softmax" else f"{self.output!r} as it is"


def scoring(model: Model) -> Scoring | None:
    """How the first output becomes scores; None where a sample gives no list of two numbers or more, or whole numbers,
    which are classes or places themselves."""
    first = model.outputs[0]
    if first.type.tensor_type.elem_type in _WHOLE:
        return None
    shape = shape_of(first) or ()
    sizes = [size for size in shape if size != 1]
    if len(sizes) != 1:
        return None
    wiring = Wiring(model.proto.graph)
    node = wiring.producer.get(first.name)
    while node is not None and node.op_type in _KEEPING:
        node = wiring.producer.get(node.input[0])
    bounded = node is not None and node.op_type in ("Softmax", "Sigmoid", "HardSigmoid")
    return Scoring(output=first.name, classes=sizes[0], rule="as it is" if bounded else "softmax")


def best_classes(values: Array, how: Scoring, top: int, labels: Sequence[str]) -> Classes:
    """The `top` largest of one sample; of equal ones the first."""
    scores = values.reshape(-1).astype(np.float64)
    if how.rule == "softmax":
        exponents = np.exp(scores - scores.max())
        scores = exponents / exponents.sum()
    order = np.argsort(-scores, kind="stable")[:top]
    best = (Prediction(number=int(i), label=_name(int(i), labels), score=float(scores[i])) for i in order)
    return Classes(best=tuple(best))


def named(answer: Classes | tuple[Box, ...], labels: Sequence[str]) -> Classes | tuple[Box, ...]:
    """What a hook says, with names for classes that it only numbers: a box whose label is a number, a class without."""
    if isinstance(answer, Classes):
        return Classes(best=tuple(replace(p, label=p.label or _name(p.number, labels)) for p in answer.best))
    return tuple(
        replace(b, label=_name(int(b.label), labels) or b.label) if b.label.isascii() and b.label.isdigit() else b
        for b in answer
    )


def _name(number: int, labels: Sequence[str]) -> str:
    return labels[number] if 0 <= number < len(labels) else ""


def read_labels(path: Path) -> tuple[str, ...]:
    """One label a line: `tabby cat`, `281: tabby cat` (all lines numbered, in any order) or `n02123045 tabby, tabby
    cat`. Raises `Refusal` (BL0206).
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else "it is no UTF-8 text"
        raise refuse("BL0206", f"labels cannot be read: {why}", place=str(path), help=_HELP) from None
    lines = [line.strip() for line in text.splitlines()]
    while lines and not lines[-1]:
        lines.pop()
    if not lines:
        raise refuse("BL0206", "no labels in the file", place=str(path), help=_HELP)
    numbered = [_NUMBERED.match(line) for line in lines]
    if all(match is not None for match in numbered):
        named = {int(match[1]): match[2] for match in numbered if match is not None}
        if len(named) == len(lines) and max(named) < 10 * len(lines):
            return tuple(named.get(number, "") for number in range(max(named) + 1))
    return tuple(_SYNSET.sub("", line) for line in lines)


def check_labels(labels: Sequence[str], how: Scoring | None, place: str) -> None:
    """Raise `Refusal` (BL0105) where there are more or fewer labels than classes."""
    if how is None:
        message = "the first output of the model is no list of classes"
        raise refuse("BL0105", message, place=place, help="leave --labels out, or use a post-processing hook")
    if len(labels) != how.classes:
        raise refuse(
            "BL0105",
            f"{len(labels)} labels for {how.classes} classes",
            place=place,
            help="give one line for each class; a list with a background class has one more",
        )

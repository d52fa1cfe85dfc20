"""Which outputs of a model feed which of its inputs at the next step of a stream."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from bitline.core.diagnostics import Diagnostic, Refusal
from bitline.graph.model import Model, shape_of

_MARKS: Final = re.compile(r"^(?:in|out|input|output|new|next|prev|previous|last|initial|init|0|n|t|tm1)$")
"""Parts of a name that say on which side of a step a state stands."""
_STATES: Final = re.compile(r"(?:^|_)(?:h|c|state|states|hidden|cell|memory|cache|carry|context)(?:$|_)")
"""What states are called: of names that differ on one side only, these are states; `frame`, `frame_out` are not."""


def state_pairs(model: Model, given: Sequence[str] = ()) -> tuple[tuple[str, str], ...]:
    """(output, input) of every state: `given` as OUT=IN, else those whose names and shapes say it.

    `state_out`, `state_in`; `stateN`, `state`; `hn`, `h0`. Raises `Refusal` (BL0101) for a pair that cannot be one.
    """
    inputs = {value.name: value for value in model.inputs}
    outputs = {value.name: value for value in model.outputs}

    def kind(name: str) -> tuple[int, tuple[int, ...] | None]:
        value = inputs.get(name) or outputs[name]
        return value.type.tensor_type.elem_type, shape_of(value)

    if not given:
        found: list[tuple[str, str]] = []
        for source in outputs:
            root, marked = _root(source)
            fitting = [i for i in inputs if root and _root(i)[0] == root and kind(i) == kind(source)]
            if not (_STATES.search(root) or (marked and all(_root(i)[1] for i in fitting))):
                continue
            if len(fitting) == 1:
                found.append((source, fitting[0]))
        return tuple(found)
    pairs: list[tuple[str, str]] = []
    wrong: list[Diagnostic] = []
    for text in given:
        source, equals, target = text.partition("=")
        if not equals or source not in outputs or target not in inputs or kind(source) != kind(target):
            why = "they differ in type or shape" if source in outputs and target in inputs else "no such pair"
            names = f"outputs: {', '.join(outputs)}; inputs: {', '.join(inputs)}"
            message = f"--state {text!r}: {why}"
            wrong.append(Diagnostic(code="BL0101", message=message, place=model.place(), help=f"write OUT=IN; {names}"))
        pairs.append((source, target))
    if wrong:
        raise Refusal(wrong)
    return tuple(pairs)


def _root(name: str) -> tuple[str, bool]:
    """What is left of a name without the parts that tell input from output, and whether there were any: `state_out`,
    `stateN`, `state` all give `state`."""
    parts = [part.lower() for part in re.split(r"[_./:]+|(?<=[a-z])(?=[A-Z0-9])", name) if part]
    kept = [part for part in parts if not _MARKS.match(part)]
    if len(kept) == 1 and len(kept[0]) == 2 and kept[0][1] == "n":  # hn, cn
        return kept[0][0], True
    return "_".join(kept), len(kept) < len(parts)

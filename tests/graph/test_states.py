"""Which outputs feed which inputs at the next step: found by name and shape, or stated."""

from __future__ import annotations

import pytest

from bitline.core.diagnostics import Refusal
from bitline.graph.model import Model
from bitline.graph.states import state_pairs
from tests.graph.build import as_model, parsed


def model(inputs: str, outputs: str) -> Model:
    """Every output is a copy of the input at its place."""
    names = [[entry.split()[-1] for entry in text.split(",") if entry.strip()] for text in (inputs, outputs)]
    ins = ", ".join(f"float[1,4] {name}" if "[" not in name else name for name in names[0])
    outs = ", ".join(f"float[1,4] {name}" for name in names[1])
    body = " ".join(f"{out} = Relu({source})" for out, source in zip(names[1], names[0], strict=True))
    return as_model(parsed(f"{ins}) => ({outs}", body))


@pytest.mark.parametrize(
    ("inputs", "outputs", "found"),
    [
        ("x, state_in", "y, state_out", (("state_out", "state_in"),)),
        ("input, state", "output, stateN", (("stateN", "state"),)),
        ("x, h0, c0", "y, hn, cn", (("hn", "h0"), ("cn", "c0"))),
        ("x, prev_hidden", "y, new_hidden", (("new_hidden", "prev_hidden"),)),
        ("enc_in, past_in", "dec_out, past_out", (("past_out", "past_in"),)),
        ("frame, state_in", "frame_out, state_out", (("state_out", "state_in"),)),
        ("x", "y", ()),
        ("input", "output", ()),
    ],
)
def test_names_tell_states(inputs: str, outputs: str, found: tuple[tuple[str, str], ...]) -> None:
    assert state_pairs(model(inputs, outputs)) == found


def test_names_alone_do_not_make_a_state() -> None:
    other = as_model(
        parsed("float[1,4] x, float[2,4] h0) => (float[1,4] hn, float[2,4] y", "hn = Relu(x) y = Relu(h0)")
    )
    assert state_pairs(other) == ()


def test_two_candidates_are_none() -> None:
    assert state_pairs(model("h_in, h_prev", "h_out, y")) == ()


def test_stated_pairs_win() -> None:
    assert state_pairs(model("x, state_in", "y, state_out"), ["y=x"]) == (("y", "x"),)


def test_wrong_pairs_are_named_all_at_once() -> None:
    with pytest.raises(Refusal) as caught:
        state_pairs(model("x, s", "y, t"), ["y", "y=z", "t=s"])
    assert [d.code for d in caught.value.diagnostics] == ["BL0101", "BL0101"]
    assert "outputs: y, t; inputs: x, s" in caught.value.diagnostics[0].help


def test_a_pair_of_other_shapes_is_refused() -> None:
    other = as_model(parsed("float[1,4] x, float[2,4] s) => (float[1,4] y, float[2,4] z", "y = Relu(x) z = Relu(s)"))
    with pytest.raises(Refusal, match="differ in type or shape"):
        state_pairs(other, ["y=s"])

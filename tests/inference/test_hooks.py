"""Post-processing hooks are found by their names; what they do wrong is told as theirs."""

from __future__ import annotations

from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from bitline.core.diagnostics import Refusal
from bitline.data.frame import NO_IMAGE, Frame
from bitline.inference import hooks as room
from bitline.inference.answers import Box, Classes, PostProcess
from bitline.inference.hooks import call_hook, load_hook
from tests.data.pictures import said
from tests.inference import hooks

OUTPUTS = {"y": np.eye(10, dtype=np.float32)[3:4]}
FRAME = Frame(width=20, height=10, input_width=8, input_height=8)


def test_a_hook_of_a_module_and_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    want = (Box(x0=0, y0=0, x1=20, y1=10, label="3", score=0.5),)
    assert call_hook(load_hook("tests.inference.hooks:whole"), OUTPUTS, FRAME) == want
    assert call_hook(load_hook(f"{Path(hooks.__file__)}:whole"), OUTPUTS, FRAME) == want
    monkeypatch.chdir(tmp_path)
    Path("mine_of_here.py").write_text("def f(outputs, frame):\n    return []\n")
    assert call_hook(load_hook("mine_of_here:f"), OUTPUTS, FRAME) == ()
    assert call_hook(load_hook("mine_of_here.py:f"), OUTPUTS, FRAME) == ()


def test_a_hook_may_say_classes_or_nothing() -> None:
    assert isinstance(call_hook(hooks.classes, OUTPUTS, NO_IMAGE), Classes)
    assert call_hook(hooks.nothing, OUTPUTS, NO_IMAGE) == ()


def test_numbers_of_numpy_become_pythons_own() -> None:
    found = call_hook(hooks.of_numpy, OUTPUTS, FRAME)
    assert isinstance(found, tuple)
    (box,) = found
    assert box == Box(x0=1.5, y0=2.0, x1=3.0, y1=4.0, label="7", score=1.5)
    assert {type(value) for value in (box.x0, box.y0, box.x1, box.y1, box.score)} == {float}
    assert type(box.label) is str


def test_installed_hooks_have_names(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EntryPoint(name="mine", value="tests.inference.hooks:nothing", group=room.GROUP)
    broken = EntryPoint(name="broken", value="tests.inference.gone:f", group=room.GROUP)

    def installed(**_: str) -> EntryPoints:
        return EntryPoints([entry, broken])

    monkeypatch.setattr(room, "entry_points", installed)
    assert load_hook("mine") is hooks.nothing
    with pytest.raises(Refusal, match="no post-processing hook 'other'; installed are broken, mine"):
        load_hook("other")
    with pytest.raises(Refusal, match="cannot be imported: ModuleNotFoundError"):
        load_hook("broken")


@pytest.mark.parametrize(
    ("spec", "word"),
    [
        ("nothing_installed", "none is installed"),
        ("tests.inference.gone:f", "cannot be imported: ModuleNotFoundError"),
        ("tests.inference.hooks:gone", "has no 'gone'"),
        ("tests.inference.hooks:NOT_A_FUNCTION", "is no function"),
        (":f", "is not understood"),
        ("a:b c", "is not understood"),
        ("gone.py:f", "no such file"),
    ],
)
def test_names_that_lead_nowhere(spec: str, word: str) -> None:
    with pytest.raises(Refusal) as refusal:
        load_hook(spec)
    assert refusal.value.diagnostics[0].code == "BL0101"
    assert word in said(refusal.value)
    assert "help:" in said(refusal.value)


def test_a_module_with_a_mistake_is_told(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("def f(:\n")
    with pytest.raises(Refusal, match="cannot be imported: SyntaxError"):
        load_hook(f"{tmp_path}/bad.py:f")


@pytest.mark.parametrize(
    ("hook", "word"),
    [
        (hooks.raises, "it raised ZeroDivisionError: of a hook"),
        (hooks.wrong_type, "it gave a str, not Box or Classes"),
        (hooks.no_sequence, "it raised TypeError"),
        (hooks.of_text, "a value that is no number: could not convert"),
        (lambda *_: Classes(best=(3,)), "a value that is no number"),  # pyright: ignore
        (hooks.not_finite, "a number that is not finite"),
        (hooks.endless_score, "no finite number"),
        (lambda: None, "it raised TypeError"),
    ],
)
def test_hooks_at_fault(hook: Any, word: str) -> None:
    with pytest.raises(Refusal) as refusal:
        call_hook(cast(PostProcess, hook), OUTPUTS, FRAME)
    (diagnostic,) = refusal.value.diagnostics
    assert diagnostic.code == "BL0110"
    assert word in diagnostic.message
    assert "Sequence[Box] | Classes" in diagnostic.help

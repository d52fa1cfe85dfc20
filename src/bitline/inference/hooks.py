"""Post-processing hooks: finding one by its name, and calling it on one sample."""

from __future__ import annotations

import importlib
import importlib.util
import math
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, Final, TypeVar, cast

import numpy.typing as npt

from bitline.core.diagnostics import Refusal, refuse
from bitline.data.frame import Frame
from bitline.inference.answers import Box, Classes, PostProcess, Prediction

GROUP: Final = "bitline.postprocess"
T = TypeVar("T")
_FORM: Final = "def hook(outputs: Mapping[str, NDArray], frame: Frame) -> Sequence[Box] | Classes"


def load_hook(spec: str) -> PostProcess:
    """A hook from `MODULE:FUNCTION`, `FILE.py:FUNCTION`, or the name of an installed entry point. What is named is run:
    it is the user's own code. Raises `Refusal` (BL0101)."""
    where, colon, name = spec.rpartition(":")
    if not colon:
        return _checked(_installed(spec), spec)
    if not where or not name.isidentifier():
        raise refuse("BL0101", f"--postprocess {spec!r} is not understood", help="write MODULE:FUNCTION")
    module = _module(where, spec)
    if not hasattr(module, name):
        raise refuse("BL0101", f"{where!r} has no {name!r}", place=spec, help=f"define there: {_FORM}")
    return _checked(getattr(module, name), spec)


def _installed(name: str) -> object:
    known: dict[str, EntryPoint] = {entry.name: entry for entry in entry_points(group=GROUP)}
    if name not in known:
        listed = f"installed are {', '.join(sorted(known))}" if known else "none is installed"
        raise refuse(
            "BL0101",
            f"no post-processing hook {name!r}; {listed}",
            help=f"write MODULE:FUNCTION or FILE.py:FUNCTION, or register one under {GROUP!r}",
        )
    return _imported(known[name].load, name)


def _module(where: str, spec: str) -> ModuleType:
    if where.endswith(".py"):
        path = Path(where)
        if not path.is_file():
            raise refuse("BL0101", "no such file", place=where, help="write FILE.py:FUNCTION")
        found = importlib.util.spec_from_file_location(f"bitline_hook_{path.stem}", path)
        assert found is not None, "a .py file has a loader"
        assert found.loader is not None, "a .py file has a loader"
        module = importlib.util.module_from_spec(found)
        sys.modules[found.name] = module  # dataclasses look their module up
        _imported(lambda: found.loader and found.loader.exec_module(module), spec)
        return module
    here = str(Path.cwd())  # as `python -m` does; installed programs begin without it
    sys.path.insert(0, here)
    try:
        return _imported(lambda: importlib.import_module(where), spec)
    finally:
        sys.path.remove(here)


def _imported(load: Callable[[], T], spec: str) -> T:
    try:
        return load()
    except Exception as error:  # noqa: BLE001  # whatever somebody's module does while it is imported
        raise refuse(
            "BL0101",
            f"the post-processing hook cannot be imported: {type(error).__name__}: {error}",
            place=spec,
            help="run `python -c 'import MODULE'` where you run bitline, or name the file: FILE.py:FUNCTION",
        ) from None


def _checked(found: object, spec: str) -> PostProcess:
    if not callable(found):
        raise refuse("BL0101", "the post-processing hook is no function", place=spec, help=f"define it as {_FORM}")
    return cast(PostProcess, found)


def call_hook(hook: PostProcess, outputs: Mapping[str, npt.NDArray[Any]], frame: Frame) -> Classes | tuple[Box, ...]:
    """What the hook says, checked. Raises `Refusal` (BL0110) where it fails or gives something else."""
    try:
        said: object = hook(outputs, frame)
        answer = said if isinstance(said, Classes) else tuple(cast("tuple[object, ...]", said))
    except Refusal:
        raise
    except Exception as error:  # noqa: BLE001  # somebody else's code: its faults are not bugs of ours
        raise _failed(f"it raised {type(error).__name__}: {error}") from None
    try:
        if isinstance(answer, Classes):
            return Classes(best=tuple(_plain_prediction(p) for p in answer.best))
        return tuple(_plain_box(box) for box in answer)
    except (TypeError, ValueError, OverflowError, AttributeError) as error:
        raise _failed(f"it gave a value that is no number: {error}") from None


def _plain_box(box: object) -> Box:
    """A box of Python's own numbers: hooks give those of numpy, which JSON does not know."""
    if not isinstance(box, Box):
        raise _failed(f"it gave a {type(box).__name__}, not Box or Classes")
    x0, y0, x1, y1, score = (float(value) for value in (box.x0, box.y0, box.x1, box.y1, box.score))
    if not all(map(math.isfinite, (x0, y0, x1, y1, score))):
        raise _failed("it gave a box with a number that is not finite")
    return Box(x0=x0, y0=y0, x1=x1, y1=y1, label=str(box.label), score=score)


def _plain_prediction(p: Prediction) -> Prediction:
    if not math.isfinite(p.score):
        raise _failed("it gave a score that is no finite number")
    return Prediction(number=int(p.number), label=str(p.label), score=float(p.score))


def _failed(why: str) -> Refusal:
    return refuse("BL0110", f"the post-processing hook failed: {why}", help=f"its form is {_FORM}")

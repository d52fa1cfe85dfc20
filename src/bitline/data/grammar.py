"""`--preprocess`: one line of KEY=VALUE pairs that says how pixels become the numbers of a model's input.

    key      values                        means                                                   left out
    resize   256, or 256x320 (H x W)       shorter side to 256, or both sides exactly              as `fit` says
    crop     224, or 224x224 (H x W)       the middle of it                                        the model's size
    fit      stretch, cover, letterbox     without resize and crop: to the model's size by         stretch
                                           squeezing, cutting, or adding grey edges
    filter   bilinear, bicubic, nearest    how pixels are mixed                                    bilinear
    color    RGB, BGR, GRAY                the order of the channels                               1 channel GRAY, 3 RGB
    layout   NCHW, NHWC                    the order of the axes                                   as the shape says
    scale    1/255, or a number            value = (pixel * scale - mean) / std                    1/255
    mean     one number, or one a channel                                                          0
    std      one number, or one a channel                                                          1

Imports nothing heavy: the command line asks for `KEYS` before it knows which command it runs.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, TypeVar

from bitline.core.diagnostics import Diagnostic, Refusal

Fit = Literal["stretch", "cover", "letterbox"]
Filter = Literal["bilinear", "bicubic", "nearest"]
Color = Literal["RGB", "BGR", "GRAY"]
Layout = Literal["NCHW", "NHWC"]

MOST_PIXELS_A_SIDE: Final = 16_384
LARGEST_MEAN_OF_SCALED: Final = 2.0
"""Pixels lie between 0 and 1 after 1/255; published means and stds of such pixels stay below 1."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocess:
    """What happens to the pixels of an image; None is inferred from the model's input. Sizes are (height, width).

    `scale` is numerator and denominator, so that 1/255 divides by 255 exactly.
    """

    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    scale: tuple[float, float] | None = None
    resize: int | tuple[int, int] | None = None
    crop: tuple[int, int] | None = None
    fit: Fit | None = None
    filter: Filter = "bilinear"
    color: Color | None = None
    layout: Layout | None = None


EXAMPLE: Final = "resize=256 crop=224 mean=0.485,0.456,0.406 std=0.229,0.224,0.225"
KEYS: Final = ("resize", "crop", "fit", "filter", "color", "layout", "scale", "mean", "std")
"""What may stand before an equals sign."""


class _WrongError(Exception):
    """Why one value is not understood."""


def parse_preprocess(text: str) -> Preprocess:
    """The rule that `text` writes down. Raises `Refusal` (BL0101) with every mistake in it."""
    found: list[Diagnostic] = []
    values: dict[str, str] = {}

    def wrong(message: str, help: str) -> None:
        found.append(Diagnostic(code="BL0101", message=f"--preprocess: {message}", place=text, help=help))

    for word in text.split():
        key, equals, value = word.partition("=")
        if key not in KEYS:
            near = difflib.get_close_matches(key.lower(), KEYS, 1)
            known = f"did you mean `{near[0]}`?" if near else f"known are {', '.join(KEYS)}"
            wrong(f"{key!r} is unknown", known)
        elif not equals or not value:
            wrong(f"{key!r} has no value", f"write it as KEY=VALUE, like `{EXAMPLE}`; no space around `=` or after `,`")
        elif key in values:
            wrong(f"{key!r} is given twice", "give it once")
        else:
            values[key] = value
    if not text.strip():
        wrong("nothing is given", f"write it like `{EXAMPLE}`, or leave the option out")

    def read(key: str, reader: Callable[[str], T], absent: T) -> T:
        if key not in values:
            return absent
        try:
            return reader(values[key])
        except _WrongError as error:
            wrong(f"{key}={values[key]} is not understood", str(error))
            return absent

    made = Preprocess(
        mean=read("mean", _numbers, (0.0,)),
        std=read("std", _spreads, (1.0,)),
        scale=read("scale", _scale, None),
        resize=read("resize", _resize, None),
        crop=read("crop", _crop, None),
        fit=read("fit", _fit, None),
        filter=read("filter", _filter, "bilinear"),
        color=read("color", _color, None),
        layout=read("layout", _layout, None),
    )
    for message, help in _contradictions(made):
        wrong(message, help)
    if found:
        raise Refusal(found)
    return made


def _contradictions(rule: Preprocess) -> list[tuple[str, str]]:
    """Values that are understood but do not go together, each with its way out."""
    found: list[tuple[str, str]] = []
    if rule.fit is not None and (rule.resize is not None or rule.crop is not None):
        found.append(("`fit` stands for `resize` and `crop`, both are given", "give `fit`, or `resize` and `crop`"))
    if rule.crop is not None and rule.resize is not None:
        sides = (rule.resize, rule.resize) if isinstance(rule.resize, int) else rule.resize
        if rule.crop[0] > sides[0] or rule.crop[1] > sides[1]:
            crop, size = "x".join(map(str, rule.crop)), "x".join(map(str, sides))
            found.append((f"crop={crop} is larger than what resize leaves, {size}", "crop at most what is resized"))
    if len(rule.mean) > 1 and len(rule.std) > 1 and len(rule.mean) != len(rule.std):
        found.append((f"{len(rule.mean)} values of mean, {len(rule.std)} of std", "give one, or one for each channel"))
    if rule.scale is None and max(map(abs, rule.mean)) > LARGEST_MEAN_OF_SCALED:
        means = ",".join(f"{value:g}" for value in rule.mean)
        help = "add `scale=1` if mean and std are meant for 0 to 255, or divide them by 255"
        found.append((f"mean={means} is outside of pixels, which lie between 0 and 1 after 1/255", help))
    return found


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise _WrongError(f"{text!r} is no number") from None
    if not math.isfinite(value):
        raise _WrongError("give finite numbers")
    return value


def _numbers(text: str) -> tuple[float, ...]:
    if "" in text.split(","):
        raise _WrongError("write numbers with commas between them and no spaces: 0.485,0.456,0.406")
    return tuple(_number(item) for item in text.split(","))


def _spreads(text: str) -> tuple[float, ...]:
    values = _numbers(text)
    if min(values) <= 0:
        raise _WrongError("pixels are divided by std: give numbers above 0")
    return values


def _scale(text: str) -> tuple[float, float]:
    above, slash, below = text.partition("/")
    pair = _number(above), _number(below) if slash else 1.0
    if pair[0] <= 0 or pair[1] <= 0:
        raise _WrongError("give a number above 0, or a fraction like 1/255")
    return pair


def _sides(text: str) -> tuple[int, ...]:
    sides = text.lower().split("x")
    if len(sides) > 2 or not all(s.isascii() and s.isdigit() and len(s) <= 5 for s in sides):
        raise _WrongError("write pixels: one number like 224, or height x width like 224x320")
    found = tuple(int(side) for side in sides)
    if not all(1 <= side <= MOST_PIXELS_A_SIDE for side in found):
        raise _WrongError(f"give 1 to {MOST_PIXELS_A_SIDE} pixels")
    return found


def _resize(text: str) -> int | tuple[int, int]:
    sides = _sides(text)
    return sides[0] if len(sides) == 1 else (sides[0], sides[1])


def _crop(text: str) -> tuple[int, int]:
    sides = _sides(text)
    return (sides[0], sides[-1])


def _fit(text: str) -> Fit:
    match text.lower():
        case "stretch" | "cover" | "letterbox" as word:
            return word
        case _:
            raise _WrongError("give stretch, cover or letterbox")


def _filter(text: str) -> Filter:
    match text.lower():
        case "bilinear" | "bicubic" | "nearest" as word:
            return word
        case _:
            raise _WrongError("give bilinear, bicubic or nearest")


def _color(text: str) -> Color:
    match text.upper():
        case "RGB" | "BGR" | "GRAY" as word:
            return word
        case "GREY":
            return "GRAY"
        case _:
            raise _WrongError("give RGB, BGR or GRAY")


def _layout(text: str) -> Layout:
    match text.upper():
        case "NCHW" | "NHWC" as word:
            return word
        case _:
            raise _WrongError("give NCHW or NHWC")

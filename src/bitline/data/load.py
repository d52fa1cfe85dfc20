"""Samples of DATA, brought into the form the model's inputs ask for.

DATA                              becomes
file.npz with the input names     those arrays, samples stacked on axis 0; `y`, if there, is the labels
file.npz with x uint8, NHWC       images, as --preprocess says (see `data.grammar`)
file.npz with x of the input's    x as it is: a stack of samples, or one; a stream of numbers is cut into frames of
  own type, or file.npy           the input's length
image, folder or glob of images   one sample each, as --preprocess says
file.txt                          token ids, one sequence a line (see `data.text`)
random:N                          N seeded samples: standard normal; integers uniform below the table they
                                  index, else 0 or 1
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from bitline.core.diagnostics import Diagnostic, Refusal, refuse
from bitline.data.arrays import as_labels, framed, read_arrays, stacked
from bitline.data.frame import Frame
from bitline.data.grammar import Preprocess
from bitline.data.images import read_image
from bitline.data.pixels import ImageInput, fitted, image_input, in_words, numbers
from bitline.data.random import random_count, random_feeds
from bitline.data.sources import Source, find_sources
from bitline.data.text import filled, lengths_in_words, read_ids
from bitline.graph.model import Model, dtype_of, shape_of
from bitline.quant.calibration import Samples, checked, sample_count

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How DATA become samples. `without`: inputs that nobody gives, as they carry state."""

    preprocess: Preprocess | None = None
    hop: int | None = None
    without: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """The samples of one file, stacked on axis 0. `remark`: what was done, the same for all files alike; `note`: what
    is true of this file only. `initial`: state that the file gives. `frames`: where images lie, one a sample."""

    feeds: Mapping[str, Array]
    count: int
    remark: str = ""
    note: str = ""
    labels: npt.NDArray[np.int64] | None = None
    frames: tuple[Frame, ...] = ()
    initial: Mapping[str, Array] | None = None


def load_data(
    spec: str,
    model: Model,
    preprocess: Preprocess | None = None,
    limit: int | None = None,
    *,
    hop: int | None = None,
    states: frozenset[str] = frozenset(),
) -> Samples:
    """All samples that `spec` names, at most `limit`. `states`: inputs that data may leave out.

    Raises `Refusal` with every file that is unfit: BL0206 unreadable, BL0105 unfit for the model, BL0101 options.
    """
    if limit is not None and limit < 1:
        raise refuse("BL0101", f"--limit {limit}", help="ask for at least one sample")
    rules = Rules(preprocess=preprocess, hop=hop, without=states)
    sources = find_sources((spec,), limit)
    parts: list[Loaded] = []
    wrong: list[Diagnostic] = []
    for source in sources:
        try:
            parts.append(load_source(source, model, rules))
        except Refusal as refusal:
            wrong += refusal.diagnostics
    if wrong:
        raise Refusal(wrong)
    if len(parts) == 1:
        (one,) = parts
        given = {name: x[:limit] for name, x in (one.initial or {}).items()}
        return Samples(feeds={**one.feeds, **given}, labels=one.labels, remark=_remark(one, sources[0]))
    feeds = {name: np.concatenate([part.feeds[name] for part in parts])[:limit] for name in parts[0].feeds}
    labels = [part.labels for part in parts if part.labels is not None]
    remarks = "; ".join(dict.fromkeys(part.remark for part in parts if part.remark))
    count = sum(part.count for part in parts)
    return Samples(
        feeds=feeds,
        labels=np.concatenate(labels)[:limit] if len(labels) == len(parts) else None,
        remark=f"{min(count, limit or count)} samples of {len(parts)} files of {spec}"
        + (f"; {remarks}" if remarks else ""),
    )


def _remark(loaded: Loaded, source: Source) -> str:
    if source.kind == "random":
        return loaded.remark
    texts = ", ".join(text for text in (loaded.note, loaded.remark) if text)
    return f"{loaded.count} samples of {source.path.name}" + (f", {texts}" if texts else "")


def load_source(source: Source, model: Model, rules: Rules) -> Loaded:
    """The samples of one file. Raises `Refusal` (BL0101, BL0105, BL0206)."""
    if rules.hop is not None and source.kind != "arrays":
        raise refuse("BL0101", "--hop cuts streams of numbers, in an .npy", place=source.name, help="leave it out")
    if rules.preprocess is not None and source.kind == "text":
        raise refuse("BL0101", "--preprocess is for images", place=source.name, help="leave it out")
    match source.kind:
        case "random":
            return _random(source, model, rules)
        case "image":
            return _image(source, model, rules)
        case "text":
            return _text(source, model, rules)
        case "arrays":
            return _arrays(source, model, rules)


def _random(source: Source, model: Model, rules: Rules) -> Loaded:
    count = source.limit or random_count(source.name)
    feeds = {name: x for name, x in random_feeds(model, count).items() if name not in rules.without}
    return Loaded(
        feeds=_whole(feeds, model, rules, source.name),
        count=count,
        remark=f"{count} random samples, seed 0: only shapes mean something",
    )


def _image(source: Source, model: Model, rules: Rules) -> Loaded:
    target = image_input(model, rules.preprocess, place=source.name, without=rules.without)
    rule = rules.preprocess or Preprocess()
    image = read_image(source.path, target.color or "RGB")
    pixels, frame = fitted(image, target, rule)
    feeds = {target.name: numbers(pixels[None], target, rule)}
    return Loaded(feeds=feeds, count=1, remark=in_words(target, rules.preprocess), frames=(frame,))


def _text(source: Source, model: Model, rules: Rules) -> Loaded:
    sequences = read_ids(source.path, source.limit)
    feeds = filled(model, sequences, place=source.name, without=rules.without)
    length = max(array.shape[-1] for array in feeds.values())
    return Loaded(
        feeds=_whole(feeds, model, rules, source.name),
        count=len(sequences),
        note=lengths_in_words(sequences, length),
    )


def _arrays(source: Source, model: Model, rules: Rules) -> Loaded:
    arrays, spec, limit = read_arrays(source.path), source.name, source.limit
    names = [value.name for value in model.inputs if value.name not in rules.without]
    initial = {name: arrays[name] for name in sorted(rules.without) if name in arrays}
    note, frames = "", ()
    if "x" in arrays and len(names) == 1 and (names[0] == "x" or names[0] not in arrays):
        x, note, frames = _only(arrays["x"], model, names[0], source, rules)
        feeds = {names[0]: x}
    elif rules.preprocess is not None:
        raise refuse(
            "BL0101", "--preprocess needs images under the key `x`", place=spec, help="rename the array to `x`"
        )
    elif rules.hop is not None:
        raise refuse("BL0101", "--hop needs a stream in an .npy or under the key `x`", place=spec, help="leave it out")
    else:
        feeds = {name: arrays[name][:limit] for name in names if name in arrays}
    labels = as_labels(arrays["y"][:limit], spec) if "y" in arrays and "y" not in names else None
    feeds = _whole(feeds, model, rules, spec)
    count = sample_count(feeds, _face(model, rules))
    if labels is not None and len(labels) != count:
        raise refuse("BL0105", f"{count} samples, but {len(labels)} labels in `y`", place=spec, help="give one each")
    return Loaded(feeds=feeds, count=count, note=note, labels=labels, frames=frames, initial=initial)


def _only(x: Array, model: Model, name: str, source: Source, rules: Rules) -> tuple[Array, str, tuple[Frame, ...]]:
    """`x` for the model's one input, what was done to it in words, and where images lie."""
    (value,) = (v for v in model.inputs if v.name == name)
    shape, dtype = shape_of(value) or (), dtype_of(value.type.tensor_type.elem_type)
    if x.dtype == np.uint8 and x.ndim in (3, 4) and (dtype.kind == "f" or rules.preprocess is not None):
        several = x.ndim == 3 and x.shape[2] not in (1, 3)  # [n, H, W], grey; else one image [H, W, C]
        return _pixels(x if x.ndim == 4 else x[..., None] if several else x[None], model, source, rules)
    if rules.preprocess is not None:
        help = "leave it out, or give images as uint8 [n, H, W, C]"
        message = f"--preprocess is for uint8 images; `x` is {x.dtype} {list(x.shape)}"
        raise refuse("BL0101", message, place=source.name, help=help)
    if (cut := framed(x, model, name, rules.hop, source.limit, source.name)) is not None:
        return *cut, ()
    return stacked(x, shape)[: source.limit], "", ()


def _pixels(x: Array, model: Model, source: Source, rules: Rules) -> tuple[Array, str, tuple[Frame, ...]]:
    """uint8 images [n, H, W, C], as `image_input` says. Another size is refused unless --preprocess says what to do."""
    target = image_input(model, rules.preprocess, place=source.name, without=rules.without, channels=x.shape[3])
    rule = rules.preprocess or Preprocess()
    x = x[: source.limit]
    sized = rule.resize is not None or rule.crop is not None or rule.fit is not None
    if (
        x.shape[3] != target.channels
        or not (sized or x.shape[1:3] == (target.height, target.width))
        or 0 in x.shape[1:]
    ):
        raise refuse(
            "BL0105",
            f"images `x` are {list(x.shape)} (NHWC); input {target.name!r} is {list(target.shape)} ({target.layout})",
            place=source.name,
            help="say `resize=`, `crop=` or `fit=` in --preprocess, or bring the images to the model's size",
        )
    said = "uint8 images" + ("" if rules.preprocess is not None else " without --preprocess: x / 255 only")
    if not sized:
        frame = _as_it_is(target)
        return numbers(x, target, rule), said, (frame,) * len(x)
    done = [_scaled(image, target, rule) for image in x]
    pixels = np.stack([pixels for pixels, _ in done]) if done else x
    return numbers(pixels, target, rule), said, tuple(frame for _, frame in done)


def _scaled(image: Array, target: ImageInput, rule: Preprocess) -> tuple[Array, Frame]:
    """One image [H, W, C] in the model's size; channels that are no colours one by one."""
    from PIL import Image

    if target.color is not None:
        return fitted(Image.fromarray(image[..., 0] if target.channels == 1 else image), target, rule)
    layers = [fitted(Image.fromarray(image[..., i]), target, rule) for i in range(target.channels)]
    return np.concatenate([pixels for pixels, _ in layers], axis=2), layers[0][1]


def _as_it_is(target: ImageInput) -> Frame:
    return Frame(width=target.width, height=target.height, input_width=target.width, input_height=target.height)


def _face(model: Model, rules: Rules) -> Model:
    """The model's inputs that DATA fill, and nothing else of it."""
    graph = onnx.GraphProto(input=[v for v in model.inputs if v.name not in rules.without])
    return Model(proto=onnx.ModelProto(graph=graph), name=model.name, path=model.path)


def _whole(feeds: Mapping[str, Array], model: Model, rules: Rules, place: str) -> dict[str, Array]:
    """Checked feeds, every input with one axis for samples: [n, ...], or [n, k, ...] where the model takes k > 1 at
    once. Feeds of several files can then be joined."""
    face = _face(model, rules)
    fitting = checked(feeds, face, place=place)
    count = sample_count(fitting, face)
    shapes = {value.name: shape_of(value) or () for value in face.inputs}
    return {
        name: x.reshape(count, *(shapes[name][1:] if shapes[name][:1] == (1,) else shapes[name]))
        for name, x in fitting.items()
    }

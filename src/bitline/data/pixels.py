"""From pixels to the numbers of an input: which input takes images, how they are brought to its size, and scaled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from bitline.core.diagnostics import Refusal, refuse
from bitline.data.frame import Frame
from bitline.data.grammar import Color, Layout, Preprocess
from bitline.graph.model import Model, dtype_of, shape_of

if TYPE_CHECKING:
    from PIL.Image import Image

Array = npt.NDArray[Any]
Pixels = npt.NDArray[np.uint8]

CHANNELS: Final[dict[Color, int]] = {"RGB": 3, "BGR": 3, "GRAY": 1}
GREY_EDGE: Final = 114
"""The colour of the edges that letterbox adds: what YOLO-like detectors were trained with (Darknet, Ultralytics)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageInput:
    """The input of a model that takes images."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    layout: Layout
    height: int
    width: int
    channels: int
    color: Color | None
    """None: channels that are no colours, which only arrays have."""

    def __str__(self) -> str:
        return f"{self.width} x {self.height} {self.color or f'with {self.channels} channels'}, {self.layout}"


def image_input(
    model: Model, rule: Preprocess | None, *, place: str, without: frozenset[str], channels: int | None = None
) -> ImageInput:
    """Which input takes images, and in which form. Raises `Refusal` (BL0101, BL0105) where none can.

    `channels`: those of an array of images, any number, which a model may also take several of at once; None: image
    files, which are grey or have three colours.
    """
    inputs = [value for value in model.inputs if value.name not in without]
    listed = ", ".join(f"{v.name} {list(shape_of(v) or ())}" for v in inputs)
    if len(inputs) != 1:
        raise refuse(
            "BL0105",
            f"an image fills one input, the model has {len(inputs)}: {listed}",
            place=place,
            help="give an .npz with one array for each input",
        )
    (value,) = inputs
    shape, dtype = shape_of(value) or (), dtype_of(value.type.tensor_type.elem_type)
    sizes = (*shape, 1) if len(shape) == 3 else shape  # [1, H, W]: one channel, not written down
    if len(sizes) != 4 or (channels is None and sizes[0] != 1) or dtype.kind not in "fiu":
        raise refuse(
            "BL0105",
            f"input {value.name!r} is {dtype} {list(shape)}: it takes no image",
            place=place,
            help="images go into inputs of shape [1, C, H, W], [1, H, W, C] or [1, H, W]; give an .npz otherwise",
        )
    asked = rule or Preprocess()
    layout = asked.layout or _layout(sizes, flat=len(shape) == 3, channels=channels)
    taken, height, width = sizes[1:] if layout == "NCHW" else (sizes[3], *sizes[1:3])
    color = asked.color or _color(taken, files=channels is None)
    if color is not None and CHANNELS[color] != taken:
        raise refuse(
            "BL0101" if asked.color or asked.layout else "BL0105",
            f"{color} images have {CHANNELS[color]} channels, "
            f"input {value.name!r} {list(shape)} takes {taken} as {layout}",
            place=place,
            help="say `color=` or `layout=` in --preprocess as the model was trained, or give an .npz",
        )
    _check_numbers(asked, taken, dtype)
    target = ImageInput(
        name=value.name,
        shape=shape,
        dtype=dtype,
        layout=layout,
        height=height,
        width=width,
        channels=taken,
        color=color,
    )
    _check_size(asked, target)
    return target


def _color(channels: int, *, files: bool) -> Color | None:
    """What a number of channels implies; image files have no other than these."""
    if channels == CHANNELS["GRAY"]:
        return "GRAY"
    return "RGB" if files or channels == CHANNELS["RGB"] else None


def _check_size(rule: Preprocess, target: ImageInput) -> None:
    """Raise `Refusal` (BL0101) where no image whatever comes out in the model's size."""
    left = rule.crop or (rule.resize if isinstance(rule.resize, tuple) else None)
    small = isinstance(rule.resize, int) and rule.crop is None and rule.resize < min(target.height, target.width)
    if small:
        raise _other_size(f"a shorter side of {rule.resize}", target)
    if left is not None and left != (target.height, target.width):
        raise _other_size(f"{left[1]} x {left[0]}", target)


def _other_size(what: str, target: ImageInput) -> Refusal:
    return refuse(
        "BL0101",
        f"--preprocess leaves {what} pixels, the model takes {target.width} x {target.height} (width x height)",
        help=f"say `crop={target.height}x{target.width}`, or leave resize and crop out",
    )


def _check_numbers(rule: Preprocess, channels: int, dtype: np.dtype[Any]) -> None:
    """Raise `Refusal` (BL0101) where a rule gives numbers that the input cannot take."""
    for name, values in (("mean", rule.mean), ("std", rule.std)):
        if len(values) not in (1, channels):
            raise refuse(
                "BL0101",
                f"--preprocess gives {len(values)} values of {name} for {channels} channels",
                help="give one value, or one for each channel",
            )
    if dtype.kind != "f" and (rule.mean, rule.std, rule.scale) != ((0.0,), (1.0,), None):
        raise refuse(
            "BL0101",
            f"--preprocess gives scale, mean or std, but the model takes {dtype} pixels as they are",
            help="leave them out",
        )


def _layout(sizes: tuple[int, ...], *, flat: bool, channels: int | None) -> Layout:
    """What the sizes imply: the axis that can be colours; where neither can, the one that has the `channels` of an
    array; else ONNX's own order."""
    colours = (sizes[1] in CHANNELS.values(), sizes[3] in CHANNELS.values())
    if not any(colours) and channels is not None:
        return "NHWC" if sizes[1] != channels == sizes[3] else "NCHW"
    return "NHWC" if flat or colours == (False, True) else "NCHW"


def fitted(image: Image, target: ImageInput, rule: Preprocess) -> tuple[Pixels, Frame]:
    """An image as [H, W, C] of the model's size, channels in RGB order or grey. Raises `Refusal` (BL0101) where resize
    and crop leave another size."""
    from PIL import Image as Images

    how = {"bilinear": Images.Resampling.BILINEAR, "bicubic": Images.Resampling.BICUBIC}.get(
        rule.filter, Images.Resampling.NEAREST
    )
    height, width = image.height, image.width
    new_height, new_width, high, wide = _sizes(height, width, target, rule)
    if (new_height, new_width) != (height, width):
        image = image.resize((new_width, new_height), how)
    if (high, wide) != (target.height, target.width):
        raise _other_size(f"{wide} x {high}", target)
    if rule.crop is not None and (high > new_height or wide > new_width):
        raise refuse(
            "BL0105",
            f"an image of {width} x {height} pixels is too small to cut {wide} x {high} out of it",
            help="say `resize=` before `crop=`, or leave both out",
        )
    top, left = _before(new_height, high), _before(new_width, wide)
    pixels = np.asarray(image, np.uint8).reshape(new_height, new_width, -1)
    pixels = pixels[max(top, 0) : max(top, 0) + high, max(left, 0) : max(left, 0) + wide]
    if pixels.shape[:2] != (high, wide):
        framed = np.full((high, wide, pixels.shape[2]), GREY_EDGE, np.uint8)
        framed[max(-top, 0) :, max(-left, 0) :][: pixels.shape[0], : pixels.shape[1]] = pixels
        pixels = framed
    frame = Frame(
        width=width,
        height=height,
        input_width=target.width,
        input_height=target.height,
        scale_x=new_width / width,
        scale_y=new_height / height,
        offset_x=float(-left),
        offset_y=float(-top),
    )
    return pixels, frame


def _before(size: int, kept: int) -> int:
    """Pixels cut before the middle `kept` of `size`, rounded half to even as torchvision does; below 0: added."""
    return round((size - kept) / 2)


def _sizes(height: int, width: int, target: ImageInput, rule: Preprocess) -> tuple[int, int, int, int]:
    """(height, width) after resizing, and after cutting or adding edges."""
    goal = (target.height, target.width)
    match rule.resize:
        case int() as side:
            # the longer side rounds down, as in torchvision.transforms.Resize
            tall = height > width
            resized = (int(side * height / width), side) if tall else (side, int(side * width / height))
        case (int() as high, int() as wide):
            resized = (high, wide)
        case _ if rule.crop is not None:
            resized = (height, width)
        case _ if rule.fit in ("cover", "letterbox"):
            ratios = (goal[0] / height, goal[1] / width)
            ratio = max(ratios) if rule.fit == "cover" else min(ratios)
            resized = (max(1, round(height * ratio)), max(1, round(width * ratio)))
        case _:
            resized = goal
    if rule.crop is not None:
        return (*resized, *rule.crop)
    if isinstance(rule.resize, tuple):
        return (*resized, *resized)
    enough = rule.resize is None or (resized[0] >= goal[0] and resized[1] >= goal[1])
    return (*resized, *(goal if enough else resized))


def numbers(pixels: Pixels, target: ImageInput, rule: Preprocess) -> Array:
    """[n, H, W, C] pixels, RGB or grey, as the model's input [n, ...]."""
    ordered = pixels[..., ::-1] if target.color == "BGR" else pixels
    if target.layout == "NCHW":
        ordered = ordered.transpose(0, 3, 1, 2)
    if target.dtype.kind == "f":
        above, below = rule.scale or (1.0, 255.0)
        scaled = ordered.astype(np.float32)
        scaled = (scaled * np.float32(above) if above != 1.0 else scaled) / np.float32(below)
        axes = (1, -1, 1, 1) if target.layout == "NCHW" else (1, 1, 1, -1)
        mean, std = (np.asarray(values, np.float32).reshape(axes) for values in (rule.mean, rule.std))
        ordered = (scaled - mean) / std
    return ordered.reshape(len(pixels), *target.shape[1:]).astype(target.dtype)


def in_words(target: ImageInput, rule: Preprocess | None) -> str:
    """What is done to images, with all that was inferred."""
    r = rule or Preprocess()
    steps: list[str] = []
    if isinstance(r.resize, int):
        steps.append(f"shorter side to {r.resize}")
    elif r.resize is not None:
        steps.append(f"scaled to {r.resize[1]} x {r.resize[0]}")
    elif r.crop is None:
        words = {"cover": "scaled and cut to size", "letterbox": "scaled, grey edges added"}
        steps.append(words.get(r.fit or "", "stretched to size"))
    if r.crop is not None or isinstance(r.resize, int):
        steps.append("the middle cut out")
    if target.dtype.kind == "f":
        above, below = r.scale or (1.0, 255.0)
        steps.append(f"pixel x {above:g} / {below:g}" if above != 1.0 else f"pixel / {below:g}")
        mean, std = (",".join(f"{value:g}" for value in values) for values in (r.mean, r.std))
        plain = (r.mean, r.std) == ((0.0,), (1.0,))
        steps.append("no mean and std (--preprocess gives none)" if plain else f"mean {mean}, std {std}")
    return f"images become {target.name!r}, {target}: {', '.join(steps)}"

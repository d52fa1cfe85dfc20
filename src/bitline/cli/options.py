"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

import click

from bitline.core.diagnostics import refuse
from bitline.data.grammar import KEYS

if TYPE_CHECKING:
    from bitline.data.grammar import Preprocess
    from bitline.graph.model import Model
    from bitline.quant.calibration import Samples
    from bitline.quant.options import QuantOptions

F = TypeVar("F", bound=Callable[..., object])

CALIBRATION_SAMPLES = 256
"""More samples move the ranges little and cost time; the manifest says how many were used."""


STREAM_SAMPLES = 2048
"""Of a stream, whose state takes long to become what it is; ranges come from some of them."""

WIDTHS: dict[str, Literal["auto", 8, 16]] = {"auto": "auto", "8": 8, "16": 16}


def model_options(function: F) -> F:
    """MODEL and --shape."""
    function = click.option(
        "--shape", "shapes", multiple=True, metavar="NAME=1,3,224,224", help="Fix an input's shape; may repeat."
    )(function)
    return click.argument("model", type=click.Path(path_type=Path))(function)


def target_options(function: F) -> F:
    """--target and --set."""
    function = click.option(
        "--set",
        "overrides",
        multiple=True,
        metavar="KEY.PATH=VALUE",
        help="Override a value of the target; may repeat.",
    )(function)
    return click.option("--target", required=True, help="A catalog name (see `bitline targets list`) or a YAML file.")(
        function
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantArguments:
    """The options of quantisation as they were typed."""

    calib: str | None
    preprocess: str | None
    hop: int | None
    weight_bits: int
    activation_bits: int
    granularity: str
    method: str
    percentile: float
    residual_bits: str
    unary_bits: str
    layer_bits: str
    residual_threshold_db: float
    state: tuple[str, ...]

    def options(self) -> QuantOptions:
        """Checked options. Raises `Refusal` (BL0101)."""
        from bitline.quant.options import QuantOptions

        options = QuantOptions(
            weight_bits=self.weight_bits,
            activation_bits=self.activation_bits,
            granularity="channel" if self.granularity == "channel" else "tensor",
            method="best" if self.method == "best" else "minmax" if self.method == "minmax" else "percentile",
            percentile=self.percentile,
            residual_bits=WIDTHS[self.residual_bits],
            unary_bits=WIDTHS[self.unary_bits],
            layer_bits=WIDTHS[self.layer_bits],
            residual_threshold_db=self.residual_threshold_db,
        )
        options.check()
        return options

    def prepare(self) -> Preprocess | None:
        """What happens to uint8 images."""
        from bitline.data.grammar import parse_preprocess

        return parse_preprocess(self.preprocess) if self.preprocess else None


def preprocess_option(function: F) -> F:
    """--preprocess."""
    return click.option(
        "--preprocess",
        metavar="'KEY=VALUE ...'",
        help="What happens to images: resize=256 crop=224 fit=stretch|cover|letterbox filter=bilinear|bicubic|nearest "
        "color=RGB|BGR|GRAY layout=NCHW|NHWC scale=1/255 mean=.. std=..; what is left out follows from the model.",
    )(function)


def hop_option(function: F) -> F:
    """--hop."""
    return click.option(
        "--hop",
        type=click.IntRange(min=1),
        help="Cut a one-dimensional .npy into frames of the input's length, this far apart (default: their length).",
    )(function)


def quant_options(function: Callable[..., None]) -> Callable[..., None]:
    """--calib and the options of quantisation, handed on as one `quant: QuantArguments`."""

    @wraps(function)
    def gathered(*args: object, **values: object) -> None:
        chosen = {field.name: values.pop(field.name) for field in fields(QuantArguments)}
        function(*args, quant=QuantArguments(**chosen), **values)  # type: ignore[arg-type]  # click checked the types

    for option in (
        click.option(
            "--state",
            multiple=True,
            metavar="OUT=IN",
            help="This output feeds that input at the next step of a stream.",
        ),
        click.option(
            "--residual-threshold-db",
            default=20.0,
            show_default=True,
            help="SQNR of the outputs below which `auto` tries 16 bits.",
        ),
        width_option("--layer-bits", "What layers on arrays read; 16 bits drive their arrays twice."),
        width_option("--unary-bits", "What functions of one value (Sigmoid, Sqrt, ...) read of a 16-bit tensor."),
        width_option("--residual-bits", "The residual path into LayerNormalization."),
        click.option(
            "--percentile", default=99.99, show_default=True, help="Share of values inside the range, percent."
        ),
        click.option(
            "--method",
            type=click.Choice(["best", "minmax", "percentile"]),
            default="best",
            show_default=True,
            help="How ranges follow from samples; `best` tries the others and keeps the least error at the outputs.",
        ),
        click.option(
            "--granularity",
            type=click.Choice(["channel", "tensor"]),
            default="channel",
            show_default=True,
            help="One weight scale per output channel, or per tensor.",
        ),
        click.option("--activation-bits", default=8, show_default=True, help="Bits of activations, 2 to 8."),
        click.option("--weight-bits", default=8, show_default=True, help="Bits of weights, 2 to 8."),
        hop_option,
        preprocess_option,
        click.option(
            "--calib",
            metavar="DATA",
            help="Calibration samples: images, a folder or glob of them, .npz, .npy, .txt of token ids, or random:N.",
        ),
    ):
        gathered = option(gathered)
    return gathered


def width_option(name: str, help: str) -> Callable[[F], F]:
    """An option that is auto, 8 or 16."""
    kinds = click.Choice(list(WIDTHS))
    return click.option(name, type=kinds, default="auto", show_default=True, help=f"{help} auto: 16 where it gains.")


def json_option(function: F) -> F:
    """--json."""
    return click.option("--json", "json", is_flag=True, help="Print one JSON object on stdout.")(function)


def preprocess_words(arguments: list[str]) -> list[str]:
    """`--preprocess mean=.. std=..` without quotes: join the words that follow into one."""
    starts = tuple(f"{key}=" for key in KEYS)
    out: list[str] = []
    for word in arguments:
        joins = len(out) >= 2 and out[-2] == "--preprocess" and word.startswith(starts)
        if joins:
            out[-1] += f" {word}"
        else:
            out.append(word)
    return out


def parse_shapes(texts: tuple[str, ...]) -> dict[str, tuple[int, ...]]:
    """NAME=1,3,224,224 options. Raises `Refusal` (BL0101)."""
    shapes: dict[str, tuple[int, ...]] = {}
    for text in texts:
        name, equals, sizes = text.rpartition("=")
        try:
            shapes[name] = tuple(int(size) for size in sizes.replace("x", ",").split(","))
        except ValueError:
            equals = ""
        if not equals or not name:
            raise refuse("BL0101", f"--shape {text!r} is not understood", help="write it as NAME=1,3,224,224")
    return shapes


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibrated:
    """A model, its calibration samples and what to do with them."""

    model: Model
    samples: Samples | None
    options: QuantOptions

    def labels(self) -> dict[str, str]:
        """What the manifest says of them."""
        o = self.options
        return {
            "calibration": self.samples.remark if self.samples else "none: the model was quantised already",
            "weight_bits": str(o.weight_bits),
            "activation_bits": str(o.activation_bits),
            "granularity": o.granularity,
            "method": o.method,
            "percentile": str(o.percentile),
            "residual_bits": str(o.residual_bits),
            "unary_bits": str(o.unary_bits),
            "layer_bits": str(o.layer_bits),
            "residual_threshold_db": str(o.residual_threshold_db),
        }


def calibrated(model: Path, shapes: tuple[str, ...], quant: QuantArguments, *, shapes_only: bool = False) -> Calibrated:
    """Load a model and its calibration data; `shapes_only` commands make do with random data."""
    from bitline import api
    from bitline.data.load import load_data
    from bitline.graph.states import state_pairs
    from bitline.quant.ptq import is_quantized

    options, prepare, calib = quant.options(), quant.prepare(), quant.calib
    loaded = api.load(model, shapes=parse_shapes(shapes))
    pairs = state_pairs(loaded, quant.state)
    options = replace(options, states=pairs)
    if is_quantized(loaded):
        return Calibrated(model=loaded, samples=None, options=options)
    if calib is None and shapes_only:
        calib = "random:1"
    if calib is None:
        raise refuse(
            "BL0101",
            "a float model needs calibration data",
            place=loaded.place(),
            help="give samples with --calib, or `--calib random:32` where only shapes matter",
        )
    carried = frozenset(name for _, name in pairs)
    limit = STREAM_SAMPLES if pairs else CALIBRATION_SAMPLES
    samples = load_data(calib, loaded, prepare, limit, hop=quant.hop, states=carried)
    if calib.startswith("random:") and options.layer_bits == "auto":
        options = replace(options, layer_bits=8)  # noise says nothing of what a network needs
    return Calibrated(model=loaded, samples=samples, options=options)

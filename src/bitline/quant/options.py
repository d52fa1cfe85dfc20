"""What a user may choose about quantisation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, get_args

from bitline.core.diagnostics import Diagnostic, Refusal

Granularity = Literal["channel", "tensor"]
Method = Literal["best", "minmax", "percentile"]
ResidualBits = Literal["auto", 8, 16]
UnaryBits = Literal["auto", 8, 16]
LayerBits = Literal["auto", 8, 16]

FEWEST_BITS: Final = 2
MOST_BITS: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantOptions:
    """Widths are of values, storage is always 8 bits: `weight_bits=4` is int8 within -7..7.

    `granularity`: one weight scale per output channel, or per tensor. `method`: how activation ranges follow from the
    calibration samples; "best" tries the others and keeps the one with the smallest error at the outputs.
    `percentile`: share of values inside the range, in percent, for "percentile" and "best".
    `states`: (output, input) of every state of a stream: one grid for both, and samples that lack it are a stream.
    `residual_bits`: width of the residual path into LayerNormalization. `unary_bits`: what functions of one value
    (Sigmoid, Sqrt, ...) may read of a 16-bit tensor; 16 also keeps the sums of squares below a Sqrt in 16 bits.
    `layer_bits`: what layers on arrays read; 16 bits drive the arrays twice. "auto" tries 16 bits, in this order, where
    8 leave the outputs below `residual_threshold_db`, and takes them where they gain 3 dB (layers: 10 dB).
    """

    weight_bits: int = 8
    activation_bits: int = 8
    granularity: Granularity = "channel"
    method: Method = "best"
    percentile: float = 99.99
    states: tuple[tuple[str, str], ...] = ()
    residual_bits: ResidualBits = "auto"
    residual_threshold_db: float = 20.0
    unary_bits: UnaryBits = "auto"
    layer_bits: LayerBits = "auto"

    def check(self) -> None:
        """Raise `Refusal` (BL0101) naming every option out of range."""
        found: list[Diagnostic] = []

        def wrong(option: str, value: object, allowed: str) -> None:
            found.append(Diagnostic(code="BL0101", message=f"{option} is {value!r}", help=f"allowed: {allowed}"))

        for option, bits in (("--weight-bits", self.weight_bits), ("--activation-bits", self.activation_bits)):
            if not FEWEST_BITS <= bits <= MOST_BITS:
                wrong(option, bits, f"{FEWEST_BITS} to {MOST_BITS}")
        if self.granularity not in get_args(Granularity):
            wrong("--granularity", self.granularity, ", ".join(get_args(Granularity)))
        if self.method not in get_args(Method):
            wrong("--method", self.method, ", ".join(get_args(Method)))
        if self.residual_bits not in get_args(ResidualBits):
            wrong("residual_bits", self.residual_bits, "auto, 8, 16")
        if self.unary_bits not in get_args(UnaryBits):
            wrong("unary_bits", self.unary_bits, "auto, 8, 16")
        if self.layer_bits not in get_args(LayerBits):
            wrong("layer_bits", self.layer_bits, "auto, 8, 16")
        if not -200 <= self.residual_threshold_db <= 200:
            wrong("residual_threshold_db", self.residual_threshold_db, "-200 to 200")
        if not 50 < self.percentile <= 100:
            wrong("percentile", self.percentile, "above 50, up to 100")
        if found:
            raise Refusal(found)

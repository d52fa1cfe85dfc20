"""A colour for every layer: stable, bright enough for dark text, unlike its neighbours."""

from __future__ import annotations

from math import cos, pi, sin

GOLDEN_TURN = (5**0.5 - 1) / 2
"""Steps of this part of the circle never come back to an old hue and spread any number of hues evenly."""
LIGHTNESS = (0.80, 0.68, 0.74)
CHROMA = 0.12


def layer_colour(place: int) -> str:
    """`#rrggbb` of the layer at `place`, from OKLCH (Ottosson, 'A perceptual color space', 2020)."""
    hue = 2 * pi * ((0.69 + place * GOLDEN_TURN) % 1.0)
    light = LIGHTNESS[place % len(LIGHTNESS)]
    a, b = CHROMA * cos(hue), CHROMA * sin(hue)
    long = (light + 0.3963377774 * a + 0.2158037573 * b) ** 3
    medium = (light - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (light - 0.0894841775 * a - 1.2914855480 * b) ** 3
    linear = (
        4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short,
        -1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short,
        -0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short,
    )
    return "#" + "".join(f"{round(255 * _gamma(min(1.0, max(0.0, part)))):02x}" for part in linear)


def _gamma(linear: float) -> float:
    return 12.92 * linear if linear <= 0.0031308 else 1.055 * linear ** (1 / 2.4) - 0.055

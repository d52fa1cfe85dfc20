"""Small pictures and models that take them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from bitline.core.diagnostics import Refusal
from bitline.graph.model import Model
from tests.graph.build import as_model, parsed

Pixels = npt.NDArray[np.uint8]


def takes(shape: str, dtype: str = "float") -> Model:
    """A model with one input `x`: `takes("1,3,8,8")`."""
    return as_model(parsed(f"{dtype}[{shape}] x) => ({dtype}[{shape}] y", "y = Identity(x)"))


def picture(height: int, width: int, seed: int = 0) -> Pixels:
    """RGB noise."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def gradient(height: int, width: int) -> Pixels:
    """Red grows to the right, green downwards; blue is 128."""
    across = np.linspace(0, 255, width).round().astype(np.uint8)
    down = np.linspace(0, 255, height).round().astype(np.uint8)
    found = np.full((height, width, 3), 128, np.uint8)
    found[..., 0], found[..., 1] = across[None, :], down[:, None]
    return found


def save(place: Path, pixels: Pixels, **options: object) -> Path:
    """A picture as a file in the format of its suffix."""
    Image.fromarray(pixels).save(place, **options)  # pyright: ignore[reportArgumentType]
    return place


def said(refusal: Refusal) -> str:
    """All codes, messages, places and ways out."""
    return "\n".join(str(diagnostic) for diagnostic in refusal.diagnostics)

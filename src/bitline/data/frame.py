"""Where a pixel of the model's input lies in the user's image."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One image on its way in: x_input = x_image * scale_x + offset_x, and y alike.

    `width` x `height` is the user's image, `input_width` x `input_height` what the model sees; all 0 where the sample
    is no image.
    """

    width: int
    height: int
    input_width: int
    input_height: int
    scale_x: float = 1.0
    scale_y: float = 1.0
    offset_x: float = 0.0
    offset_y: float = 0.0

    def to_image(self, x: float, y: float) -> tuple[float, float]:
        """A point of the model's input as a point of the user's image, moved to its edge where it lies outside."""
        across = (x - self.offset_x) / self.scale_x
        down = (y - self.offset_y) / self.scale_y
        return min(max(across, 0.0), float(self.width)), min(max(down, 0.0), float(self.height))


NO_IMAGE = Frame(width=0, height=0, input_width=0, input_height=0)

"""Drawing: a few shapes as SVG text. Colours are names of classes, which the style sheet sets for light and dark."""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape


@dataclass(slots=True)
class Picture:
    """Shapes one above another, in the order in which they are drawn. Lengths are pixels at full size."""

    width: int
    height: int
    label: str
    shapes: list[str] = field(default_factory=list[str])

    def box(self, x: float, y: float, width: float, height: float, kind: str = "box") -> None:
        """A rectangle; `kind` is its class."""
        self.shapes.append(f'<rect class="{kind}" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="3"/>')

    def text(self, x: float, y: float, words: str, *, kind: str = "", anchor: str = "middle") -> None:
        """Words on a base line."""
        self.shapes.append(f'<text class="{kind}" x="{x:g}" y="{y:g}" text-anchor="{anchor}">{escape(words)}</text>')

    def line(self, *points: tuple[float, float], kind: str = "wire", arrow: bool = False) -> None:
        """A line through points, with an arrow at its end."""
        path = " ".join(f"{x:g},{y:g}" for x, y in points)
        self.shapes.append(f'<polyline class="{kind}" points="{path}"/>')
        if arrow:
            (x0, y0), (x1, y1) = points[-2:]
            length = max(abs(x1 - x0), abs(y1 - y0)) or 1
            dx, dy = (x1 - x0) / length * 7, (y1 - y0) / length * 7
            tip = f"{x1:g},{y1:g} {x1 - dx - dy / 2:g},{y1 - dy + dx / 2:g} {x1 - dx + dy / 2:g},{y1 - dy - dx / 2:g}"
            self.shapes.append(f'<polygon class="tip" points="{tip}"/>')

    def dot(self, x: float, y: float, kind: str = "cell") -> None:
        """A small disc."""
        self.shapes.append(f'<circle class="{kind}" cx="{x:g}" cy="{y:g}" r="5"/>')

    def svg(self) -> str:
        """The picture, to stand inside a page."""
        head = f'<svg xmlns="http://www.w3.org/2000/svg" class="picture" viewBox="0 0 {self.width} {self.height}"'
        inside = "\n".join(self.shapes)
        head = f'{head} role="img" aria-label="{escape(self.label)}">'
        return f'<div class="picture-scroll">{head}\n{inside}\n</svg></div>\n'

"""The floor plan of a placement as one SVG file: no script, font or picture from elsewhere, light and dark."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from bitline.ir.placement import Placement
from bitline.report.floorplan_marks import DARK, LIGHT, Box, Dot, Hatch, Line, Mark, Text
from bitline.report.floorplan_scene import WIDTH, scene
from bitline.report.placement_facts import proof_sentence

FONT = 'system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif'
PATTERNS = (
    '<pattern id="empty" width="6" height="6" patternUnits="userSpaceOnUse">'
    '<rect width="6" height="6" class="f-lane"/><path d="M-1 1L1 -1M0 6L6 0M5 7L7 5" class="s-hatch"/></pattern>'
    '<pattern id="reserved" width="5" height="5" patternUnits="userSpaceOnUse">'
    '<rect width="5" height="5" class="f-panel"/><path d="M0 2.5H5" class="s-hatch"/></pattern>'
    '<pattern id="blocked" width="5" height="5" patternUnits="userSpaceOnUse">'
    '<rect width="5" height="5" class="f-hatch"/><path d="M-1 -1L6 6M-1 4L1 6M4 -1L6 1" class="s-soft"/></pattern>'
)


def floorplan_svg(placement: Placement, width: float = WIDTH) -> str:
    """All arrays, the same bytes for the same placement."""
    picture = scene(placement, width)
    size = f"{_n(picture.width)} {_n(picture.height)}"
    return "".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size}" width="{_n(picture.width)}" '
            f'height="{_n(picture.height)}" role="img">\n',
            f"<title>{_text(proof_sentence(placement.certificate))}</title>\n<style>{styles()}</style>\n",
            f"<defs>{PATTERNS}</defs>\n",
            svg_marks(picture.marks),
            "</svg>\n",
        )
    )


def styles() -> str:
    """Rules of every role in both themes; no variables, which programs besides browsers do not know."""
    dark = "".join(_rules(role, colour) for role, colour in DARK.items() if LIGHT[role] != colour)
    light = "".join(_rules(role, colour) for role, colour in LIGHT.items())
    return (
        f"text{{font-family:{FONT}}}.b{{font-weight:600}}.m{{text-anchor:middle}}.e{{text-anchor:end}}"
        f"{light}@media(prefers-color-scheme:dark){{{dark}}}"
    )


def _rules(role: str, colour: str) -> str:
    return f".f-{role}{{fill:{colour}}}.s-{role}{{stroke:{colour}}}"


def svg_marks(marks: Iterable[Mark]) -> str:
    """One element a line; `styles` and `PATTERNS` must be in the same document."""
    return "".join(f"{_element(mark)}\n" for mark in marks)


def _element(mark: Mark) -> str:
    match mark:
        case Box():
            line = f' stroke-width="{_n(mark.line)}"' if mark.stroke and mark.line != 1.0 else ""
            head = f"<rect {_place(mark)}{_paint(mark.fill, mark.stroke)}{line}"
            return f"{head}><title>{_text(mark.tip)}</title></rect>" if mark.tip else f"{head}/>"
        case Hatch():
            return f'<rect {_place(mark)} fill="url(#{mark.pattern})"/>'
        case Line():
            dashes = ' stroke-dasharray="5 3"' if mark.dashed else ""
            ends = f'x1="{_n(mark.x1)}" y1="{_n(mark.y1)}" x2="{_n(mark.x2)}" y2="{_n(mark.y2)}"'
            return f"<line {ends}{_paint('', mark.colour)}{dashes}/>"
        case Text():
            kinds = {"start": "", "middle": " m", "end": " e"}[mark.anchor] + (" b" if mark.bold else "")
            at = f'x="{_n(mark.x)}" y="{_n(mark.y)}"'
            tail = f' <tspan class="f-soft">{_text(mark.tail)}</tspan>' if mark.tail else ""
            turn = f' transform="rotate(-90 {_n(mark.x)} {_n(mark.y)})"' if mark.upright else ""
            head = f'<text {at} font-size="{_n(mark.size)}" class="f-{mark.colour}{kinds}"{turn}>'
            return f"{head}{_text(mark.text)}{tail}</text>"
        case Dot():
            head = f'<circle cx="{_n(mark.x)}" cy="{_n(mark.y)}" r="{_n(mark.radius)}"{_paint(mark.fill, mark.stroke)}'
            return f'{head} stroke-width="1.5"><title>{_text(mark.tip)}</title></circle>'


def _place(mark: Box | Hatch) -> str:
    return f'x="{_n(mark.x)}" y="{_n(mark.y)}" width="{_n(mark.width)}" height="{_n(mark.height)}"'


def _paint(fill: str, stroke: str) -> str:
    """Roles are classes, which themes colour; the colours of layers are the same in both."""
    plain, roles = ("" if fill else ' fill="none"'), list[str]()
    for kind, colour in (("fill", fill), ("stroke", stroke)):
        if colour.startswith("#"):
            plain += f' {kind}="{colour}"'
        elif colour:
            roles.append(f"{kind[0]}-{colour}")
    return f' class="{" ".join(roles)}"{plain}' if roles else plain


def _n(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _text(text: str) -> str:
    return escape(text)

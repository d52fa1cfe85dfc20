"""One self-contained page: floor plan, timeline, layers, data sheet. No script or picture comes from elsewhere."""

from bitline.report.html.page import render

__all__ = ["render"]

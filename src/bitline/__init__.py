"""bitline: a compiler for compute-in-memory chips that proves its programs right."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bitline.core.version import __version__

if TYPE_CHECKING:
    from bitline.api import Package, check_model, compile, load, open_package

__all__ = ["Package", "__version__", "check_model", "compile", "load", "open_package"]


def __getattr__(name: str) -> object:
    """`bitline.compile` and its like; imported when first used, as they bring heavy libraries with them."""
    if name in __all__:
        from bitline import api

        return getattr(api, name)
    raise AttributeError(f"module 'bitline' has no attribute {name!r}")

"""Small real files to try bitline on; `README.md` beside them says where they come from."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Final

from bitline.core.diagnostics import refuse

NAMES: Final = ("mnist_cnn.onnx", "mnist_calib_64.npz", "mnist_test_200.npz")


def path(name: str) -> Path:
    """Where the shipped file `name` lies. Raises `Refusal` (BL0201) for any name not in `NAMES`."""
    if name not in NAMES:
        raise refuse("BL0201", f"no example file {name!r}", help=f"the example files are {', '.join(NAMES)}")
    return Path(str(files(__name__) / name))
